"""What the parts of the claims measure: margins that are positive exactly where the paper is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import hypergeom

from privet.auditing.estimate import Estimate
from privet.errors import RunError
from privet.planner.choosing import SWITCH, Candidate, Limits, preferred
from privet.planner.table import Cell, Row, Table
from privet.recipes.claims import Measure, Tell
from privet.recipes.evidence import Attacker, Evidence, above, below, exactly
from privet.recipes.privynet.estimates import (
    Cells,
    Floats,
    cells,
    loss,
    mean_of,
    over_draws,
    rank,
    rate,
    shares,
    size,
    utility,
    welch,
    worst,
)
from privet.recipes.privynet.sets import HALF, Width, leaking

Both = tuple[Measure, Tell]
SETS = ("digits", "cifar10")  # of the quick grid, and of the others
Figure = Callable[[Row, Attacker], float]
NEAR = 0.5  # dB
HIGH, TIGHT = 28.0, 17.0  # dB, of the paper's example
RANGE, TIMES, APART = 2.0, 1.5, 0.3  # of single channels: dB, best over worst, largest correlation
ALIKE = 0.9  # rank correlation
MORE = 0.10  # of the worst quarter that Fisher's criterion finds beyond chance
SAME_ACCURACY, SAME_DB = 0.02, 0.7


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


def _alone(evidence: Evidence, data: str, which: int) -> tuple[int, Table, Table]:
    """Of the middle layer (0) or the deepest one (1): its number, channels that were redrawn, channels that were
    named."""
    made: dict[int, tuple[Table, Table]] = evidence.found(f"{data}/single")
    layer = sorted(made)[which]
    return layer, *made[layer]


def spread(data: str, which: int, figure: str) -> Both:
    """Figure 4 and table 4c: single channels of one layer differ: the best accuracy over the worst, or the range of the
    PSNR."""

    def values(evidence: Evidence, attacker: Attacker) -> Floats:
        _, redrawn, named = _alone(evidence, data, which)
        if figure == "psnr":
            return np.array([loss(row, attacker) for row in redrawn.rows])
        return np.array([utility(row, attacker) for row in named.rows])

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        if figure == "psnr":
            return above(over_draws([values(evidence, attacker)], lambda s: float(np.ptp(s[0]))), RANGE)
        return above(over_draws([values(evidence, attacker)], lambda s: float(s[0].max() / s[0].min())), TIMES)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        layer, found = _alone(evidence, data, which)[0], values(evidence, attacker)
        unit, scale = ("dB", 1.0) if figure == "psnr" else ("%", 100.0)
        low, high, mean, std = (scale * float(v) for v in (found.min(), found.max(), found.mean(), found.std(ddof=1)))
        return f"layer {layer}, {len(found)} channels: {low:.2f} to {high:.2f} {unit}, mean {mean:.2f}, std {std:.2f}"

    return measure, tell


def unrelated(data: str, which: int) -> Both:
    """Table 4c: what a channel leaks says little of what it is worth: |r| below .3."""

    def pairs(evidence: Evidence, attacker: Attacker) -> Floats:
        _, redrawn, named = _alone(evidence, data, which)
        worth = {row.channels: utility(row, attacker) for row in named.rows}
        return np.array([(loss(row, attacker), worth[row.channels]) for row in redrawn.rows])

    def correlation(strata: list[Floats]) -> float:
        x, y = strata[0].T
        return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > 0 and np.ptp(y) > 0 else float("nan")

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return below(size(over_draws([pairs(evidence, attacker)], correlation)), APART)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        found = pairs(evidence, attacker)
        return f"r {correlation([found]):+.2f} over {len(found)} channels of layer {_alone(evidence, data, which)[0]}"

    return measure, tell


def matters(data: str, factor: int, figure: Figure, name: str) -> Both:
    """Figure 5: the layer (0) or the depth (1) explains more of a figure's variance than the choice of channels."""

    def parts(evidence: Evidence, attacker: Attacker) -> Cells:
        return cells(_grid(evidence, data), figure, attacker)

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        made = parts(evidence, attacker)

        def statistic(strata: list[Floats]) -> float:
            found = shares(dict(zip(made, strata, strict=True)))
            return found[factor] - found[2]

        return over_draws(list(made.values()), statistic)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        layer, depth, draw = shares(parts(evidence, attacker))
        return f"eta squared of {name}: layer {layer:.2f}, depth {depth:.2f}, choice of channels {draw:.3f}"

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
        return above(over_draws([pairs(evidence, attacker)], lambda s: rank(*s[0].T)), ALIKE)

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


def worst_and_leaking(evidence: Evidence, data: str, attacker: Attacker) -> tuple[Floats, Floats]:
    """Of every channel of the deepest layer: what it is worth, and what it leaks, alone."""
    _, redrawn, named = _alone(evidence, data, 1)
    return np.array([utility(row, attacker) for row in named.rows]), np.array(leaking(redrawn, named))


def independent(data: str) -> Both:
    """Figure 10: the quarter that leaks most is not the quarter that is worth least: no more of one are among the other
    than chance puts there, to the 97.5 % point of the hypergeometric distribution."""

    def overlap(evidence: Evidence, attacker: Attacker) -> tuple[int, int, int]:
        worth, leaks = worst_and_leaking(evidence, data, attacker)
        useless, leaky = worst(worth, 0.25), worst(-leaks, 0.25)
        return int((useless & leaky).sum()), int(useless.sum()), len(worth)

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        shared, quarter, count = overlap(evidence, attacker)
        return exactly(float(hypergeom.ppf(0.975, count, quarter, quarter)) + 0.5 - shared, count)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        shared, quarter, count = overlap(evidence, attacker)
        p = float(hypergeom.cdf(shared, count, quarter, quarter))
        return (
            f"{shared} of the {quarter} that leak most are among the {quarter} that are worth least; chance puts "
            f"{quarter * quarter / count:.1f} there, and at most {shared} with probability {p:.3f}"
        )

    return measure, tell


def found_by_fisher(evidence: Evidence, data: str, batches: int, pruned: float, attacker: Attacker) -> float:
    """The share of the worst quarter of channels that is pruned by Fisher's criterion on so many mini-batches."""
    worth, _ = worst_and_leaking(evidence, data, attacker)
    criterion: dict[int, Floats] = evidence.found(f"{data}/fisher")
    return _share(np.stack([worth, criterion[batches]], 1), pruned)


def _share(pairs: Floats, pruned: float = 0.5) -> float:
    useless = worst(pairs[:, 0], 0.25)
    return float((useless & worst(pairs[:, 1], pruned)).sum() / useless.sum())


def fisher_finds(data: str) -> Both:
    """Figure 11: half of the channels pruned by Fisher's criterion hold more of the worst quarter than chance puts
    there, by ten points."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        worth, _ = worst_and_leaking(evidence, data, attacker)
        criterion: dict[int, Floats] = evidence.found(f"{data}/fisher")
        pairs = np.stack([worth, criterion[max(criterion)]], 1)
        return above(over_draws([pairs], lambda s: _share(s[0])), 0.5 + MORE)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        criterion: dict[int, Floats] = evidence.found(f"{data}/fisher")
        worth, _ = worst_and_leaking(evidence, data, attacker)
        share = found_by_fisher(evidence, data, max(criterion), 0.5, attacker)
        return (
            f"{100 * share:.1f} % of the worst quarter are pruned, 50 % at random; rank correlation of the criterion "
            f"with the accuracy {rank(criterion[max(criterion)], worth):+.2f}"
        )

    return measure, tell


def fisher_settles(data: str) -> Both:
    """Figure 12: ten mini-batches (or the most below) rank the channels as the most do."""

    def both(evidence: Evidence) -> tuple[int, int, float]:
        criterion: dict[int, Floats] = evidence.found(f"{data}/fisher")
        some = [n for n in criterion if n <= 10 and n < max(criterion)]
        if not some:
            raise RunError(f"{data}: one number of mini-batches compares with nothing")
        return max(some), max(criterion), rank(criterion[max(some)], criterion[max(criterion)])

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        some, most, _ = both(evidence)
        criterion: dict[int, Floats] = evidence.found(f"{data}/fisher")
        pairs = np.stack([criterion[some], criterion[most]], 1)
        return above(over_draws([pairs], lambda s: rank(*s[0].T)), ALIKE)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        some, most, found = both(evidence)
        return f"rank correlation {found:.3f} of {some} with {most} mini-batches"

    return measure, tell


def better(data: str, which: int, figure: str) -> Both:
    """Figure 13: channels that were pruned first (1: by characterization, 2: by Fisher's criterion) leak less, or are
    worth no less (within a point), than channels at random."""

    def values(evidence: Evidence, attacker: Attacker) -> tuple[Floats, Floats]:
        tables: list[Table] = evidence.found(f"{data}/settings")
        of = loss if figure == "psnr" else utility
        a, b = (np.array([of(row, attacker) for row in tables[i].rows]) for i in (0, which))
        return a, b

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        a, b = values(evidence, attacker)
        return welch(a, b) if figure == "psnr" else above(welch(b, a), -0.01)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        a, b = values(evidence, attacker)
        scale, unit = (1.0, "dB") if figure == "psnr" else (100.0, "%")
        return (
            f"{scale * b.mean():.2f} {unit} (std {scale * b.std(ddof=1):.2f}) instead of {scale * a.mean():.2f} {unit} "
            f"(std {scale * a.std(ddof=1):.2f}), {len(a)} draws each"
        )

    return measure, tell


def _halved(evidence: Evidence, data: str) -> tuple[Width, Width]:
    """All inner filters, and half of those of the first layer."""
    found: list[Width] = evidence.found(f"{data}/widths")
    half = next((one for one in found if one.shares[0] == HALF), None)
    if half is None:
        raise RunError(f"{data}: no width leaves half of the first layer's filters out")
    return found[0], half


def unharmed(data: str, figure: str) -> Both:
    """Figures 14 and 15: half of the first layer's filters change accuracy by two points, PSNR by .7 dB at most."""
    of, limit = (loss, SAME_DB) if figure == "psnr" else (utility, SAME_ACCURACY)

    def values(evidence: Evidence, attacker: Attacker) -> list[Floats]:
        return [np.array([of(row, attacker) for row in one.table.rows]) for one in _halved(evidence, data)]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        whole, half = values(evidence, attacker)
        return below(size(mean_of((half - whole).tolist())), limit)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        whole, half = values(evidence, attacker)
        if figure == "psnr":
            return f"{half.mean():.2f} dB instead of {whole.mean():.2f}"
        return f"{100 * half.mean():.1f} % instead of {100 * whole.mean():.1f}"

    return measure, tell


def faster(data: str) -> Both:
    """Figure 15: half of the first layer's filters save a fifth of the time."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        whole, half = _halved(evidence, data)
        return exactly(0.8 - half.ms / whole.ms)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        whole, half = _halved(evidence, data)
        return (
            f"{half.ms:.2f} ms instead of {whole.ms:.2f}, {half.macs / 1e6:.1f} million multiply-accumulates instead "
            f"of {whole.macs / 1e6:.1f}"
        )

    return measure, tell


def harder_to_guess(data: str) -> Both:
    """Figure 14's promise: with half of the first layer's filters fewer channels are identified from ten pictures."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        whole, half = _halved(evidence, data)
        return mean_of([a - b for a, b in zip(whole.rates, half.rates, strict=True)])

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        found: list[Width] = evidence.found(f"{data}/widths")
        said = [f"{'/'.join(f'{s:g}' for s in one.shares)} {100 * np.mean(one.rates):.0f} %" for one in found]
        return f"channels identified by width: {'; '.join(said)}"

    return measure, tell


def saturates(data: str) -> Both:
    """Figure 19: the second cluster of the reconstruction network gains more than the third."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        one, two, three = (np.array([loss(r, "published") for r in t.rows]) for t in _clusters(evidence, data).values())
        return mean_of(((two - one) - (three - two)).tolist())

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        made = {n: np.mean([loss(r, "published") for r in t.rows]) for n, t in _clusters(evidence, data).items()}
        return "; ".join(f"{n} cluster{'s' if n > 1 else ''} {v:.2f} dB" for n, v in made.items())

    return measure, tell


def _clusters(evidence: Evidence, data: str) -> dict[int, Table]:
    made: dict[int, Table] = evidence.found(f"{data}/clusters")
    return made


def dominates(what: str) -> Both:
    """Figure 20: convolutions take most of the time (ms), dense layers most of the storage (bytes), at every size of
    the picture: the least share, above a half."""
    of = "conv" if what == "ms" else "fc"

    def per_side(evidence: Evidence) -> dict[int, float]:
        sides: dict[str, list[dict[str, Any]]] = evidence.found("vgg16/cost")["sides"]
        return {
            int(side): sum(r[what] for r in rows if r["block"].startswith(of)) / sum(r[what] for r in rows)
            for side, rows in sides.items()
        }

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return exactly(min(per_side(evidence).values()) - 0.5)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        return "; ".join(f"{side} px {100 * share:.1f} %" for side, share in per_side(evidence).items())

    return measure, tell


def dense_grows() -> Both:
    """Figure 20: the share of the dense layers in the storage grows with the picture."""
    shares_of = dominates("bytes")

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        sides: dict[str, list[dict[str, Any]]] = evidence.found("vgg16/cost")["sides"]
        found = [sum(r["bytes"] for r in rows if r["block"] == "fc") / sum(r["bytes"] for r in rows)
                 for _, rows in sorted(sides.items(), key=lambda pair: int(pair[0]))]  # fmt: skip
        return exactly(float(np.diff(found).min()))

    return measure, shares_of[1]


def grows_as(what: str, most: float) -> Both:
    """Appendix E: the time of Fisher's criterion grows at most with this power."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return below(mean_of(evidence.found("fisher/cost")[what]), most)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        return f"exponent {np.mean(evidence.found('fisher/cost')[what]):.2f}"

    return measure, tell


def anonymous(data: str, share: float, pictures: int) -> Both:
    """Section 4: who may have so many pictures released does not name network, layer and most channels, with this share
    of the inner filters: the rate of identified channels stays below a half."""

    def rates(evidence: Evidence) -> list[float]:
        draws: list[list[dict[str, Any]]] = evidence.found(f"{data}/guesses")[share]
        return [one["rate"] for draw in draws for one in draw if one["pairs"] == pictures]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        found = rates(evidence)
        if not found:
            raise RunError(f"{data}: there are no {pictures:,} pictures to be released")
        return below(rate(found), 0.5)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        draws: list[list[dict[str, Any]]] = evidence.found(f"{data}/guesses")[share]
        named = [one["named"] for draw in draws for one in draw if one["pairs"] == pictures]
        share_of = 100 * np.mean(rates(evidence))
        return f"network and layer named in {sum(named)} of {len(named)} draws, {share_of:.0f} % of channels"

    return measure, tell


def knowing_helps_not(data: str, which: int) -> Both:
    """Section 4: who knows the extractor (which: 0 the shallowest layer, 1 the deepest) draws no better, within .5 dB,
    than who does not."""

    def told(evidence: Evidence) -> tuple[int, dict[str, Any]]:
        made: dict[int, dict[str, Any]] = evidence.found(f"{data}/known")
        layer = sorted(made)[which if len(made) > 1 else 0]
        return layer, made[layer]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        _, found = told(evidence)
        aware, unaware = (Estimate(**found[k]) for k in ("aware", "unaware"))
        gain = aware.mean - unaware.mean
        reach = float(np.hypot(aware.high - aware.mean, unaware.mean - unaware.low))
        return below(Estimate(gain, gain - reach, gain + reach, aware.n), NEAR)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        layer, found = told(evidence)
        return (
            f"layer {layer}: {found['aware']['mean']:.2f} dB by {found['by'].replace('_', ' ')}, "
            f"{found['unaware']['mean']:.2f} dB by who does not know the network"
        )

    return measure, tell
