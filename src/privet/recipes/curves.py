"""Curves: what several operating points say together: a trend, a step, a trade-off against another one.

All of it is computed for each seed and bootstrap replicate, see `privet.recipes.evidence.combine`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from privet.auditing.estimate import Estimate
from privet.errors import RunError
from privet.recipes.evidence import Arm, Floats, combine, measured

GRID = 200  # target errors at which two trade-offs are compared


def spearman(arms: Sequence[Arm], order: Sequence[float] | None = None) -> Estimate:
    """Rank correlation of the arms' values with their order (or the numbers in `order`), in [-1, 1]; 0 where all values
    are equal. RunError for fewer than three arms."""
    if len(arms) < 3:
        raise RunError(f"a rank correlation of {len(arms)} settings says nothing; three or more are needed")
    from scipy.stats import rankdata

    ranks = rankdata(np.arange(len(arms)) if order is None else np.asarray(order, np.float64))
    place = (ranks - ranks.mean()) / max(np.linalg.norm(ranks - ranks.mean()), 1e-12)

    def correlation(values: Floats) -> Floats:
        ranked = rankdata(values, axis=0)
        ranked = ranked - ranked.mean(0)
        size = np.linalg.norm(ranked, axis=0)
        return np.asarray(np.where(size > 0, place @ ranked / np.maximum(size, 1e-12), 0.0))

    return measured(combine(arms, correlation), -1, 1)


def steps(arms: Sequence[Arm], *, falling: bool = False) -> Estimate:
    """The smallest step from one setting to the next, counted upward (downward with `falling`): positive where the
    values rise (fall) throughout. Add a tolerance with `above(steps(...), -tolerance)`."""
    if len(arms) < 2:
        raise RunError(f"{len(arms)} setting makes no step; two or more are needed")
    sign = -1.0 if falling else 1.0
    return measured(combine(arms, lambda values: (sign * np.diff(values, axis=0)).min(0)))


def change(arms: Sequence[Arm]) -> Estimate:
    """The last setting's value minus the first one's."""
    return measured(combine((arms[0], arms[-1]), lambda values: values[1] - values[0]))


def mean(arms: Sequence[Arm]) -> Arm:
    """The mean over several arms, such as all hidden attributes of one defense."""
    return combine(arms, lambda values: values.mean(0))


@dataclass(frozen=True)
class Trade:
    """The operating points of one method: (error of the target, error of the attack) for each setting."""

    name: str
    points: tuple[tuple[Arm, Arm], ...]


def wins(a: Trade, b: Trade) -> Estimate:
    """The share of a grid of target errors at which a's attack error is higher than b's, both interpolated between
    their points. The grid lies between the target errors that both reach on average.

    RunError where they have no target error in common; then put the undefended split into both as their first point.
    """
    return measured(_compare(a, b, lambda gap: (gap > 0).mean(0) + 0.5 * (gap == 0).mean(0)), 0, 1)


def gap(a: Trade, b: Trade) -> Estimate:
    """The mean of a's attack error minus b's over the same grid: the area between the curves, divided by its width."""
    return measured(_compare(a, b, lambda gap: gap.mean(0)), -1, 1)


def within(reference: Arm, settings: Sequence[tuple[Arm, Arm]], tolerance: float) -> Arm:
    """What is measured (second of each pair) at the first setting whose utility (first) lies at most `tolerance` below
    the reference; at the last setting where none does.

    Each seed and replicate chooses for itself, so that the choice is in the interval. Settings go from the smallest
    payload to the largest."""
    count = len(settings)

    def chosen(values: Floats) -> Floats:
        base, utility, found = values[0], values[1 : 1 + count], values[1 + count :]
        fits = base - utility <= tolerance
        index = np.where(fits.any(0), fits.argmax(0), count - 1)
        return np.asarray(np.take_along_axis(found, index[None], 0)[0])

    return combine([reference, *(u for u, _ in settings), *(m for _, m in settings)], chosen)


def _compare(a: Trade, b: Trade, function: Callable[[Floats], Floats]) -> Arm:
    """`function` of a's attack error minus b's on the common grid [GRID, M]."""
    low, high = limits(a, b)
    grid = low + (np.arange(GRID) + 0.5) / GRID * (high - low)
    counts = len(a.points), len(b.points)
    arms = [arm for trade in (a, b) for side in (0, 1) for arm in (p[side] for p in trade.points)]

    def compared(values: Floats) -> Floats:
        xa, ya, xb, yb = np.split(values, np.cumsum([counts[0], counts[0], counts[1]]))
        gaps = [_line(xa[:, m], ya[:, m], grid) - _line(xb[:, m], yb[:, m], grid) for m in range(values.shape[1])]
        return np.asarray(function(np.stack(gaps, 1)))

    return combine(arms, compared)


def limits(a: Trade, b: Trade) -> tuple[float, float]:
    """The target errors that both reach, by their means over seeds."""
    spans = []
    for trade in (a, b):
        errors = [arm.estimate().mean for arm, _ in trade.points]
        spans.append((min(errors, default=0.0), max(errors, default=0.0)))
    low, high = max(s[0] for s in spans), min(s[1] for s in spans)
    if not low < high:
        told = " and ".join(f"{t.name} from {s[0]:.3f} to {s[1]:.3f}" for t, s in zip((a, b), spans, strict=True))
        raise RunError(f"no target error is reached by both: {told}; put the undefended split into both")
    return low, high


def _line(x: Floats, y: Floats, at: Floats) -> Floats:
    """The polygon through the points, flat beyond its ends; of points at one x the highest counts."""
    order = np.lexsort((y, x))
    x, y = x[order], y[order]
    last = np.append(x[1:] != x[:-1], True)
    return np.asarray(np.interp(at, x[last], y[last]), np.float64)
