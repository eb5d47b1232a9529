"""Estimates from rows of a characterization: what varies is the draw of channels of a cell, or the channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata, t

from privet.auditing.estimate import Estimate
from privet.errors import RunError
from privet.metrics import wilson
from privet.planner.table import Row, Table
from privet.recipes.evidence import Attacker

REPLICATES = 400
T = TypeVar("T")
Floats = npt.NDArray[np.float64]
Cells = dict[tuple[int, int], Floats]  # (layer, depth) -> a figure for each draw


def loss(row: Row, attacker: Attacker) -> float:
    """The privacy loss in dB: what the paper's reconstruction network draws, or the better of it and the linear
    decoder. RunError where no network was trained for this row."""
    found = row.psnr if attacker == "published" else row.loss
    if found is None:
        raise RunError(f"no reconstruction network was trained for layer {row.layer} with {row.depth} channels")
    return found


def utility(row: Row, attacker: Attacker) -> float:
    """The accuracy of the paper's classification network, or of the better of it and the linear one. RunError where no
    network was trained for this row."""
    found = row.accuracy if attacker == "published" else row.utility
    if found is None:
        raise RunError(f"no classification network was trained for layer {row.layer} with {row.depth} channels")
    return found


def cells(table: Table, figure: Callable[[Row, Attacker], float], attacker: Attacker) -> Cells:
    """A figure of every draw by layer and depth."""
    made: dict[tuple[int, int], list[float]] = {}
    for row in table.rows:
        made.setdefault((row.layer, row.depth), []).append(figure(row, attacker))
    return {key: np.array(values) for key, values in sorted(made.items())}


def over_draws(strata: Sequence[Floats], statistic: Callable[[list[Floats]], float]) -> Estimate:
    """A statistic of several cells [draws, ...] with the percentile interval of a parametric bootstrap (Efron 1979):
    draws of a cell vary normally about its mean, in all cells alike, by a deviation that is as uncertain as its few
    degrees of freedom make it. To resample two or three draws would understate it.

    RunError where no cell has two draws, or the statistic is not defined on the draws as they are."""
    freedom = sum(len(s) - 1 for s in strata)
    if freedom < 1:
        raise RunError("one draw of each cell has no interval; take two or more with --seeds")
    flat = [s.reshape(len(s), -1) for s in strata]
    rest = np.concatenate([s - s.mean(0) for s in flat])
    level, axes = np.linalg.eigh(rest.T @ rest / freedom)
    spread = (axes * np.sqrt(np.clip(level, 0.0, None))).T

    def replicate(generator: np.random.Generator) -> list[Floats]:
        scale = np.sqrt(freedom / generator.chisquare(freedom))
        return [
            (s.mean(0) + scale * generator.standard_normal(s.shape) @ spread).reshape(whole.shape)
            for s, whole in zip(flat, strata, strict=True)
        ]

    return _bootstrap(statistic, list(strata), replicate, sum(map(len, strata)))


def over_channels(values: Floats, statistic: Callable[[Floats], float]) -> Estimate:
    """A statistic of many channels or extractors [n, ...] with the percentile interval of a bootstrap over them.
    RunError where it is not defined on them as they are."""
    return _bootstrap(statistic, values, lambda g: values[g.integers(len(values), size=len(values))], len(values))


def _bootstrap(
    statistic: Callable[[T], float], whole: T, replicate: Callable[[np.random.Generator], T], n: int
) -> Estimate:
    """Replicates on which the statistic is not defined are left out."""
    mean = statistic(whole)
    if not np.isfinite(mean):
        raise RunError("the statistic is not defined on these draws")
    generator = np.random.default_rng(0)
    found = [value for _ in range(REPLICATES) if np.isfinite(value := statistic(replicate(generator)))]
    low, high = np.percentile(found, [2.5, 97.5]) if found else (mean, mean)
    return Estimate(mean, min(float(low), mean), max(float(high), mean), n)


def welch(a: Floats, b: Floats) -> Estimate:
    """mean(a) - mean(b) with Welch's interval (Welch 1947), from independent draws."""
    if min(len(a), len(b)) < 2:
        raise RunError(f"{len(a)} and {len(b)} draws have no interval; take two or more with --seeds")
    difference = float(a.mean() - b.mean())
    each = np.array([v.var(ddof=1) / len(v) for v in (a, b)])
    reach = 0.0
    if each.sum() > 0:
        degrees = each.sum() ** 2 / (each**2 / (np.array([len(a), len(b)]) - 1)).sum()
        reach = float(t.ppf(0.975, degrees) * np.sqrt(each.sum()))
    return Estimate(difference, difference - reach, difference + reach, len(a) + len(b))


def size(found: Estimate) -> Estimate:
    """|difference|: from the nearest to the farthest from 0 that the interval holds."""
    ends = abs(found.low), abs(found.high)
    return Estimate(abs(found.mean), 0.0 if found.low <= 0 <= found.high else min(ends), max(ends), found.n)


def mean_of(values: Sequence[float]) -> Estimate:
    """The mean of a few repetitions with Student's interval; RunError for fewer than two."""
    if len(values) < 2:
        raise RunError("one repetition has no interval")
    mean = float(np.mean(values))
    reach = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return Estimate(mean, mean - reach, mean + reach, len(values))


def rate(values: Sequence[float]) -> Estimate:
    """The mean of shares, one for each draw, with Student's interval or Wilson's for so many draws, whichever reaches
    further: shares that are all 0 or all 1 are not known to be so."""
    found = mean_of(values)
    low, high = wilson(found.mean * len(values), len(values))
    return Estimate(found.mean, max(0.0, min(found.low, low)), min(1.0, max(found.high, high)), found.n)


def rank(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Spearman's correlation; NaN where one of both does not vary."""
    a, b = (rankdata(np.asarray(v, np.float64)) for v in (x, y))
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else float("nan")


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b of independent estimates."""
    gap = a.mean - b.mean
    low, high = np.hypot(a.mean - a.low, b.high - b.mean), np.hypot(a.high - a.mean, b.mean - b.low)
    return Estimate(gap, gap - float(low), gap + float(high), a.n + b.n)


def components(made: Cells) -> tuple[float, float, float]:
    """Components of the variance of a figure: of the layer, of the depth, and of the choice of channels within a cell,
    each without what the others' chance adds to it, over depths that all layers have; NaN where nothing varies."""
    layers = sorted({m for m, _ in made})
    depths = [d for d in sorted({d for _, d in made}) if all((m, d) in made for m in layers)]
    cells = {(m, d): made[m, d] for m in layers for d in depths}
    freedom = sum(len(draws) - 1 for draws in cells.values())
    if not cells or freedom < 1:
        return float("nan"), float("nan"), float("nan")
    within = sum(float(((draws - draws.mean()) ** 2).sum()) for draws in cells.values()) / freedom
    means = np.array([[cells[m, d].mean() for d in depths] for m in layers])
    chance = within * np.array([[1 / len(cells[m, d]) for d in depths] for m in layers]).mean()
    found = []
    for axis in (1, 0):
        main = means.mean(axis)
        found.append(float(main.var()) - chance / means.shape[axis] * (1 - 1 / len(main)))
    return found[0], found[1], within


def expected_range(deviation: float, count: int) -> float:
    """How far the extremes of so many normal values of this deviation lie apart (Blom 1958's approximation)."""
    return 2.0 * deviation * float(norm.ppf((count - 0.375) / (count + 0.25)))


def leaking(redrawn: Table, named: Table, attacker: Attacker) -> list[float]:
    """What every channel of `named` leaks alone, in dB: by networks where all were redrawn, else by the linear decoder,
    which speaks for fresh adversaries alone (RunError for the paper's)."""
    if len(redrawn.rows) == len(named.rows):
        return [loss(row, attacker) for row in redrawn.rows]
    if attacker == "published":
        raise RunError(f"reconstruction networks were trained for {len(redrawn.rows)} of {len(named.rows)} channels")
    return [row.linear_psnr for row in named.rows]


def worst(values: npt.ArrayLike, share: float) -> npt.NDArray[np.bool_]:
    """The lowest share of values, ties by their order."""
    order = rankdata(np.asarray(values, np.float64), method="ordinal")
    return np.asarray(order <= round(share * len(order)))
