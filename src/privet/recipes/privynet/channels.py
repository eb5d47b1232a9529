"""What the claims about single channels and their pruning measure (figures 4 and 9 to 13, table 4c): margins that are
positive exactly where the paper is right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import hypergeom

from privet.auditing.estimate import Estimate
from privet.errors import RunError
from privet.planner.table import Row, Table
from privet.recipes.claims import Both
from privet.recipes.evidence import Attacker, Evidence, above, below, exactly
from privet.recipes.privynet.estimates import (
    Floats,
    loss,
    over_draws,
    rank,
    size,
    utility,
    welch,
    worst,
)
from privet.recipes.privynet.sets import leaking

Figure = Callable[[Row, Attacker], float]
RANGE, TIMES, APART = 2.0, 1.5, 0.3  # of single channels: dB, best over worst, largest correlation
ALIKE = 0.9  # rank correlation
MORE = 0.10  # of the worst quarter that Fisher's criterion finds beyond chance


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
