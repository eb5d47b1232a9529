"""Estimates from rows of a characterization: what varies is the draw of channels, resampled within every cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata, t

from privet.auditing.estimate import Estimate
from privet.errors import RunError
from privet.metrics import wilson
from privet.planner.table import Row, Table
from privet.recipes.evidence import Attacker

REPLICATES = 400
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
    """A statistic of several strata [draws, ...] with the percentile interval of a bootstrap over the draws of each.

    RunError where the statistic is not defined on the draws as they are; replicates on which it is not are left out."""
    mean = statistic(list(strata))
    if not np.isfinite(mean):
        raise RunError("the statistic is not defined on these draws")
    generator = np.random.default_rng(0)
    found = []
    for _ in range(REPLICATES):
        value = statistic([s[generator.integers(len(s), size=len(s))] for s in strata])
        if np.isfinite(value):
            found.append(value)
    low, high = np.percentile(found, [2.5, 97.5]) if found else (mean, mean)
    return Estimate(mean, min(float(low), mean), max(float(high), mean), sum(map(len, strata)))


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


def shares(made: Cells) -> tuple[float, float, float]:
    """Shares of the sum of squares of a figure (eta squared): of the layer, of the depth, and of the choice of channels
    within a cell."""
    values = np.concatenate(list(made.values()))
    keys = np.array([key for key, draws in made.items() for _ in draws])
    whole = float(((values - values.mean()) ** 2).sum())
    if not whole > 0:
        return float("nan"), float("nan"), float("nan")
    main = [
        sum(((values[keys[:, i] == level].mean() - values.mean()) ** 2) * (keys[:, i] == level).sum()
            for level in np.unique(keys[:, i]))
        for i in (0, 1)
    ]  # fmt: skip
    within = sum(float(((draws - draws.mean()) ** 2).sum()) for draws in made.values())
    return float(main[0]) / whole, float(main[1]) / whole, within / whole


def worst(values: npt.ArrayLike, share: float) -> npt.NDArray[np.bool_]:
    """The lowest share of values, ties by their order."""
    order = rankdata(np.asarray(values, np.float64), method="ordinal")
    return np.asarray(order <= round(share * len(order)))
