"""Estimate: no naked numbers. Two things vary, the victims and the seeds, and an interval owns both.

    w = weights(part.groups, replicates=400, seed=0)                       # [1 + R, N], first row ones
    a = estimate([auc(p, part.s["race"], w) for p in posteriors], n=len(w[0]), bounds=(0, 1), effective_n=groups)

Victims are resampled by group (person, near-duplicates), so ten pictures of one person are not ten people.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from privet.errors import DataError, SpecError
from privet.metrics import wilson

Floats = npt.NDArray[np.float64]
FEW = 5.0  # below so many expected successes or failures a rate's normal interval is too narrow


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval and the number of examples it stands on.

    `DataError` unless all are finite, low <= mean <= high (up to rounding) and n >= 1.
    """

    mean: float
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        slack = 1e-9 * max(1.0, abs(self.mean))
        if not all(math.isfinite(v) for v in (self.mean, self.low, self.high)):
            raise DataError(f"an estimate of {self.mean} in [{self.low}, {self.high}] is not finite; leave it out")
        if self.low > self.mean + slack or self.mean > self.high + slack:
            raise DataError(f"the mean {self.mean} lies outside of [{self.low}, {self.high}]; give low <= mean <= high")
        if self.n < 1:
            raise DataError(f"an estimate on n = {self.n} examples; at least one is needed")

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def json(self) -> dict[str, Any]:
        """{mean, low, high, n} as plain values."""
        return asdict(self)

    def touches(self, other: Estimate) -> bool:
        """Whether the two intervals share a point: a difference is then not claimed; `paired` asks more sharply."""
        return self.low <= other.high and other.low <= self.high


def weights(groups: npt.NDArray[Any], replicates: int, seed: int | np.random.Generator) -> Floats:
    """Cluster bootstrap multiplicities [1 + replicates, N] of groups [N]; row 0 is ones.

    The other rows draw groups with replacement; all examples of a group get the same number. `DataError` for fewer
    than two groups, where nothing could vary, `SpecError` for fewer than two replicates.
    """
    names, member = np.unique(groups, return_inverse=True)
    if groups.ndim != 1 or len(names) < 2:
        raise DataError(f"groups of shape {groups.shape} hold {len(names)} distinct; an interval needs two or more")
    if replicates < 2:
        raise SpecError(f"{replicates} bootstrap replicates; a variance needs two or more, 400 is usual")
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=replicates)
    return np.vstack([np.ones(len(names)), drawn])[:, member.ravel()]


def estimate(
    per_seed: Sequence[npt.NDArray[Any]],
    n: int,
    bounds: tuple[float, float] | None = None,
    effective_n: int | None = None,
) -> Estimate:
    """Mean over seeds with a 95 % interval for new victims and new seeds.

    per_seed: for each of S seeds the statistic under the same weights [1 + R], the point estimate first. The variance
    is that of the seeds' mean over the replicates (victims), plus the sample variance of the S point estimates over S
    (0 for one seed: the interval then holds for that seed only). Interval: mean -/+ t sqrt(variance), t with
    Satterthwaite's degrees of freedom, infinite for the victims and S - 1 for the seeds, cut to `bounds`. What of the
    seeds' spread comes from these victims is counted in both parts, which errs on the wide side.

    effective_n is the number of independent groups. Given it, the bootstrap variance is multiplied by n / (n - 1), the
    victims have n - 1 degrees of freedom, and a bounded statistic with fewer than 5 expected successes or failures is
    widened to hold Wilson's interval at that number: 0 of 50 is [0, 0.071] and not [0, 0].
    `DataError` for values that are not finite or unequal lengths, `SpecError` for impossible bounds.
    """
    table = _table(per_seed)
    points = table[:, 0]
    mean, seeds = float(points.mean()), len(points)
    shrink, freedom = (1.0, math.inf) if effective_n is None else _groups(effective_n)
    victims = float(table[:, 1:].mean(axis=0).var(ddof=1)) * shrink
    training = float(points.var(ddof=1)) / seeds if seeds > 1 else 0.0
    half = _t975(victims, freedom, training, seeds - 1) * math.sqrt(victims + training)
    low, high = mean - half, mean + half
    if bounds is not None:
        floor, top = bounds
        slack = 1e-9 * (top - floor)
        if not floor < top or not floor - slack <= mean <= top + slack:
            raise SpecError(f"the mean {mean} with bounds {bounds}; give the (lowest, highest) possible value")
        if effective_n is not None:
            near, far = _few(min(max((mean - floor) / (top - floor), 0.0), 1.0), effective_n)
            low, high = min(low, floor + near * (top - floor)), max(high, floor + far * (top - floor))
        mean = min(max(mean, floor), top)
        low, high = max(low, floor), min(high, top)
    return Estimate(mean, min(low, mean), max(high, mean), int(n))


def paired(
    a: Sequence[npt.NDArray[Any]],
    b: Sequence[npt.NDArray[Any]],
    n: int,
    bounds: tuple[float, float] | None = None,
    effective_n: int | None = None,
) -> Estimate:
    """The difference a - b under the same weights and seeds: what both share cancels. Arguments as in `estimate`.

    `DataError` unless a and b have the same seeds and the same replicates. `bounds` are those of the difference; given
    them and effective_n, a and b are taken for rates of the same people, and where fewer than 5 are right in one alone
    the interval is widened to what Wilson's say of those: none of 50 is [-0.071, 0.071] and not [0, 0].
    """
    first, second = _table(a), _table(b)
    if first.shape != second.shape:
        raise DataError(f"a is {first.shape} and b {second.shape} (seeds, 1 + replicates); give the same of both")
    found = estimate(list(first - second), n, bounds, effective_n)
    if bounds is None or effective_n is None:
        return found
    low, high = _few_differ(found.mean, float((first - second)[:, 1:].var(axis=1, ddof=1).mean()), effective_n)
    return Estimate(found.mean, max(min(found.low, low), bounds[0]), min(max(found.high, high), bounds[1]), n)


def _table(per_seed: Sequence[npt.NDArray[Any]]) -> Floats:
    """[S, 1 + R] float64, or a refusal."""
    rows = [np.asarray(row, np.float64) for row in per_seed]
    if not rows or any(row.ndim != 1 or row.shape != rows[0].shape or len(row) < 3 for row in rows):
        shapes = [row.shape for row in rows]
        raise DataError(
            f"statistics per seed have shapes {shapes}; give one [1 + R] each, R >= 2, under the same weights"
        )
    table = np.stack(rows)
    if not np.isfinite(table).all():
        raise DataError("a statistic is not finite for some seed or replicate; give one that is defined on every row")
    return table


def _groups(effective_n: int) -> tuple[float, float]:
    """(n / (n - 1), n - 1): what the bootstrap of n groups loses in variance, and its degrees of freedom."""
    if effective_n < 2:
        raise SpecError(f"effective_n is {effective_n}; give the number of independent groups, two or more")
    return effective_n / (effective_n - 1), effective_n - 1


def _few(rate: float, effective_n: int) -> tuple[float, float]:
    """Wilson's interval where successes or failures are few, else the rate alone."""
    if min(rate, 1 - rate) * effective_n >= FEW:
        return rate, rate
    return wilson(rate * effective_n, effective_n)


def _few_differ(mean: float, variance: float, effective_n: int) -> tuple[float, float]:
    """What Wilson's intervals leave open of a difference of two rates, p - q, where p of the people are right in the
    first alone and q in the second alone: its variance is (p + q - (p - q)^2) / n, which gives both."""
    differ = min(max(variance * effective_n + mean**2, abs(mean)), 1.0)
    p, q = (differ + mean) / 2, (differ - mean) / 2
    if min(p, q) * effective_n >= FEW:
        return mean, mean
    (least_p, most_p), (least_q, most_q) = (wilson(share * effective_n, effective_n) for share in (p, q))
    return min(mean, least_p - most_q), max(mean, most_p - least_q)


def _t975(first: float, first_freedom: float, second: float, second_freedom: float) -> float:
    """97.5 % quantile of Student's t for a sum of two independent variances (Satterthwaite 1946)."""
    from scipy.special import ndtri, stdtrit  # here, so that reading an Estimate needs no scipy

    spread = sum(v * (v / f) for v, f in ((first, first_freedom), (second, second_freedom)) if v > 0)
    freedom = (first + second) ** 2 / spread if spread > 0 else math.inf
    return float(stdtrit(freedom, 0.975)) if freedom < 1e6 else float(ndtri(0.975))
