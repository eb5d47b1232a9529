"""What the claims about layers, depths and random channels measure (figures 3, 5, 7 and 8): margins that are positive
exactly where the paper is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from privet.auditing.estimate import Estimate
from privet.errors import RunError
from privet.planner.choosing import SWITCH, Candidate, Limits, preferred
from privet.planner.table import Cell, Row, Table
from privet.recipes.claims import Both
from privet.recipes.evidence import Attacker, Evidence, above, below, exactly
from privet.recipes.privynet.estimates import (
    Cells,
    Floats,
    cells,
    components,
    loss,
    mean_of,
    over_channels,
    over_draws,
    rank,
    size,
    utility,
)

Figure = Callable[[Row, Attacker], float]
NEAR = 0.5  # dB
HIGH, TIGHT = 28.0, 17.0  # dB, of the paper's example
ALIKE = 0.9  # rank correlation


def _grid(evidence: Evidence, data: str) -> Table:
    table: Table = evidence.found(f"{data}/grid")
    return table


def trend(data: str, what: str) -> Both:
    """Figure 3a: the PSNR falls with the layer at every depth, or rises with the depth at every layer: the mean rank
    correlation, signed."""
    fixed, sign = (1, -1.0) if what == "layer" else (0, 1.0)

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        made = cells(_grid(evidence, data), loss, attacker)
        keys = list(made)

        def statistic(strata: list[Floats]) -> float:
            found = []
            for level in {key[fixed] for key in keys}:
                own = [
                    (key[1 - fixed], v) for key, s in zip(keys, strata, strict=True) if key[fixed] == level for v in s
                ]
                if len({x for x, _ in own}) > 1:
                    found.append(rank(*zip(*own, strict=True)))
            return sign * float(np.mean(found))

        return over_draws(list(made.values()), statistic)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        made = {key: float(v.mean()) for key, v in cells(_grid(evidence, data), loss, attacker).items()}
        low, high = min(made, key=made.__getitem__), max(made, key=made.__getitem__)
        return (
            f"mean rank correlation {sign * measure(evidence, attacker).mean:+.2f}; from {made[low]:.1f} dB (layer "
            f"{low[0]}, {low[1]} channels) to {made[high]:.1f} dB (layer {high[0]}, {high[1]} channels)"
        )

    return measure, tell


def _corners(evidence: Evidence, data: str, attacker: Attacker) -> tuple[list[tuple[int, int]], Cells]:
    """Accuracies, and the corners of the grid: (shallow, few), (shallow, many), (deep, few), (deep, many)."""
    made = cells(_grid(evidence, data), utility, attacker)
    layers = sorted({m for m, _ in made})
    both = [d for d in sorted({d for _, d in made}) if all((m, d) in made for m in (layers[0], layers[-1]))]
    return [(m, d) for m in (layers[0], layers[-1]) for d in (both[0], both[-1])], made


def lost_where_deep(data: str) -> Both:
    """Figure 3b: at the deepest layer fewer channels cost more accuracy than at the shallowest."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        corners, made = _corners(evidence, data, attacker)
        return over_draws(
            [made[c] for c in corners], lambda s: float((s[3].mean() - s[2].mean()) - (s[1].mean() - s[0].mean()))
        )

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        corners, made = _corners(evidence, data, attacker)
        said = [f"layer {m}, {d} channels {100 * made[m, d].mean():.1f} %" for m, d in corners]
        return "; ".join(said)

    return measure, tell


def lost_with_depth(data: str) -> Both:
    """Figure 3b: with few channels the deepest layer is worth less than the shallowest."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        corners, made = _corners(evidence, data, attacker)
        return over_draws([made[corners[0]], made[corners[2]]], lambda s: float(s[0].mean() - s[1].mean()))

    return measure, lost_where_deep(data)[1]


def envelope(data: str) -> Both:
    """Figure 3c: at equal, low privacy loss the deeper layer is worth more: the mean difference in accuracy over pairs
    of layers at the lowest PSNR that the curves of both reach."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        leaks, worth = (cells(_grid(evidence, data), figure, attacker) for figure in (loss, utility))
        keys = list(leaks)
        layers = sorted({m for m, _ in keys})

        def statistic(strata: list[Floats]) -> float:
            of = dict(zip(keys, strata, strict=True))
            lines = []
            for m in layers:
                points = sorted((float(of[k][:, 0].mean()), float(of[k][:, 1].mean())) for k in keys if k[0] == m)
                lines.append((np.array([p for p, _ in points]), np.array([u for _, u in points])))
            found = []
            for i, (x, y) in enumerate(lines):
                for deeper, worth_there in lines[i + 1 :]:
                    low = max(x[0], deeper[0])
                    if low <= min(x[-1], deeper[-1]):
                        found.append(float(np.interp(low, deeper, worth_there) - np.interp(low, x, y)))
            return float(np.mean(found)) if found else float("nan")

        return over_draws([np.stack([leaks[k], worth[k]], 1) for k in keys], statistic)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        found = measure(evidence, attacker)
        return f"the deeper of two layers is worth {100 * found.mean:+.1f} points at the lowest PSNR that both reach"

    return measure, tell


def matters(data: str, factor: int, figure: Figure, name: str) -> Both:
    """Figure 5: the layer (0) or the depth (1) explains more of a figure's variance than the choice of channels: the
    difference of their components, as a share of all three."""

    def parts(evidence: Evidence, attacker: Attacker) -> Cells:
        return cells(_grid(evidence, data), figure, attacker)

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        made = parts(evidence, attacker)

        def statistic(strata: list[Floats]) -> float:
            found = components(dict(zip(made, strata, strict=True)))
            return (found[factor] - found[2]) / sum(found) if sum(found) > 0 else float("nan")

        return over_draws(list(made.values()), statistic)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        found = components(parts(evidence, attacker))
        layer, depth, draw = (value / sum(found) for value in found)
        return f"of the variance of {name}: layer {layer:.0%}, depth {depth:.0%}, choice of channels {draw:.1%}"

    return measure, tell


def enough(data: str) -> Both:
    """Figure 7a: from the first thousand pictures on (or the largest number below) the PSNR is that of the most."""

    def both(evidence: Evidence, attacker: Attacker) -> tuple[dict[int, Floats], int]:
        made: dict[int, Table] = evidence.found(f"{data}/samples")
        found = {n: np.array([loss(row, attacker) for row in table.rows]) for n, table in made.items()}
        some = [n for n in found if n <= 1000 and n < max(found)]
        if not some:
            raise RunError(f"{data}: one number of pictures compares with nothing")
        return found, max(some)

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        found, n = both(evidence, attacker)
        paired = found[max(found)] - found[n]
        return below(size(mean_of(paired.tolist())), NEAR)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        found, _ = both(evidence, attacker)
        return "; ".join(f"{n:,} pictures {v.mean():.2f} dB" for n, v in found.items())

    return measure, tell


def transfers(data: str) -> Both:
    """Figures 7b and 7c: extractors rank alike on both halves of the classes."""

    def pairs(evidence: Evidence, attacker: Attacker) -> Floats:
        tables: list[Table] = evidence.found(f"{data}/halves")
        return np.array([[loss(row, attacker) for row in table.rows] for table in tables]).T

    return _alike(pairs, "the other half")


def transfers_to(data: str, other: str) -> Both:
    """The same with another data set: the same draws of the same layers."""

    def pairs(evidence: Evidence, attacker: Attacker) -> Floats:
        here, there = (_grid(evidence, name) for name in (data, other))
        known = {(row.layer, row.channels): loss(row, attacker) for row in there.rows}
        both = [
            (loss(row, attacker), known[row.layer, row.channels])
            for row in here.rows
            if (row.layer, row.channels) in known
        ]
        if not both:
            raise RunError(f"{data} and {other} share no extractor")
        return np.array(both)

    return _alike(pairs, other)


def _alike(pairs: Callable[[Evidence, Attacker], Floats], other: str) -> Both:
    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return above(over_channels(pairs(evidence, attacker), lambda s: rank(*s.T)), ALIKE)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        found = pairs(evidence, attacker)
        apart = np.abs(found[:, 0] - found[:, 1])
        return (
            f"rank correlation {rank(*found.T):.3f} over {len(found)} extractors; {other} differs by "
            f"{apart.mean():.2f} dB on average, {apart.max():.2f} at most"
        )

    return measure, tell


def chosen(evidence: Evidence, data: str, limit: float, attacker: Attacker) -> Candidate:
    """What the paper's strategy takes under a limit in dB, of cells that were measured, without a margin; RunError
    where nothing keeps it."""
    choices = _choices(evidence, data, attacker)
    found = preferred(choices, Limits(psnr=limit), 0.0, _switch(choices))
    if not found:
        raise RunError(
            f"{data}: nothing leaks as little as {limit:g} dB; the least is {min(c.psnr for c in choices):.1f}"
        )
    return found[0]


def _choices(evidence: Evidence, data: str, attacker: Attacker) -> list[Candidate]:
    """The smoothed cells of the grid, as the strategy sees them."""
    rows = _grid(evidence, data).rows
    if attacker == "published":
        rows = tuple(_as_published(row) for row in rows)
    return [_candidate(cell) for cell in Table(rows).smoothed()]


def _switch(choices: Sequence[Candidate]) -> float:
    """The paper's 22 dB where the grid reaches it, else the middle of what the grid spans."""
    low, high = min(c.psnr for c in choices), max(c.psnr for c in choices)
    return SWITCH if low < SWITCH < high else (low + high) / 2


def _as_published(row: Row) -> Row:
    return replace(row, linear_psnr=row.psnr or 0.0, linear_accuracy=row.accuracy or 0.0)


def _candidate(cell: Cell) -> Candidate:
    return Candidate(cell.source, cell.layer, cell.depth, cell.psnr, cell.std, cell.accuracy, 0.0, 0, 0)


def plans(data: str) -> Both:
    """Figure 8: the strategy takes a shallower layer under the loose limit than under the tight one. The limits are the
    paper's where the grid spans them, else a tenth inside of what it spans."""

    def both(evidence: Evidence, attacker: Attacker) -> tuple[tuple[float, Candidate], tuple[float, Candidate]]:
        made = [c.psnr for c in _choices(evidence, data, attacker)]
        low, high = min(made), max(made)
        inside = 0.1 * (high - low)
        tight = TIGHT if low < TIGHT < high else low + inside
        loose = HIGH if tight < HIGH < high else high - inside
        return (
            (loose, chosen(evidence, data, loose, attacker)),
            (tight, chosen(evidence, data, tight, attacker)),
        )

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        (_, loose), (_, tight) = both(evidence, attacker)
        return exactly(float(tight.layer - loose.layer) or -1.0)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        said = [f"{db:.1f} dB: layer {c.layer}, {c.depth} channels" for db, c in both(evidence, attacker)]
        return "; ".join(said)

    return measure, tell
