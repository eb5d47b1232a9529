"""What is measured, per example or under explicit weights: whoever aggregates says how. numpy only, pure.

    pictures     mse psnr ssim                 one value per example [N]
    posteriors   accuracy balanced_accuracy auc bits coverage_at_95_precision tpr_at_1_fpr tpr_at_tenth_fpr
                 f(p, s, weights) -> [R]       p [N, K] probabilities, s [N] labels in 0..K-1, weights [R, N] >= 0

A row of weights says how often each example counts: a row of ones is the point estimate, rows of bootstrap
multiplicities (`privet.auditing.estimate.weights`) are its replicates, and each gives exactly what repeating the
examples that many times would give. Larger always means that more leaks. All of them refuse with `DataError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from privet.errors import DataError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

CHUNK = 1 << 20  # numbers of one picture batch held as float64 at a time
CLIP = 1e-6  # the smallest probability that `bits` charges for
FEWEST = 20  # people an attacker must speak about before his precision counts
PRECISION = 0.95
COLLAPSED, MOST = 0.8, 0.5  # of all people, and of those who do not hold it, for whom one value is named
ROUND = 1e-9  # slack for comparing sums of weights


# ---------------------------------------------------------------------------------------------------- pictures


def mse(x: Array, x_hat: Array) -> Floats:
    """Mean squared error of each example, x and x_hat [N, ...] -> [N], in squared units of x; nothing is clipped."""
    _alike(x, x_hat)
    return _per_example(lambda a, b: np.square(a - b).reshape(len(a), -1).mean(axis=1), x, x_hat)


def psnr(x: Array, x_hat: Array, *, data_range: float) -> Floats:
    """Peak signal-to-noise ratio of each example in dB, x and x_hat [N, ...] -> [N]; 100 dB at most.

    10 log10(range^2 / max(MSE, 1e-10 range^2)) with x_hat clipped to [0, data_range]. `DataError` where x leaves that
    interval, or where floats up to 1 meet a range such as 255, which would add 48 dB.
    """
    _in_range(x, x_hat, data_range)
    error = _per_example(lambda a, b: np.square(a - b.clip(0, data_range)).reshape(len(a), -1).mean(axis=1), x, x_hat)
    decibels: Floats = -10.0 * np.log10(np.maximum(error / data_range**2, 1e-10))
    return decibels


def ssim(x: Array, x_hat: Array, *, data_range: float) -> Floats:
    """Structural similarity of each picture (Wang et al. 2004), x and x_hat [N, C, H, W] -> [N] in [-1, 1].

    Gaussian window with sigma 1.5, 11 x 11 (7 x 7 where the shorter side is at most 16 px), K1 = .01, K2 = .03, valid
    region, mean over channels, x_hat clipped to [0, data_range]. `DataError` as in `psnr`, and below 7 px.
    """
    _in_range(x, x_hat, data_range)
    if x.ndim != 4 or min(x.shape[2:]) < 7:
        raise DataError(f"ssim was given shape {x.shape}; give [N, C, H, W] with sides of 7 px or more, or use mse")
    size = 7 if min(x.shape[2:]) <= 16 else 11
    rows, columns = _gaussian(x.shape[2], size), _gaussian(x.shape[3], size).T
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2

    def blur(a: Floats) -> Floats:
        blurred: Floats = rows @ (a @ columns)
        return blurred

    def similarity(a: Floats, b: Floats) -> Floats:
        b = b.clip(0, data_range)
        mean_a, mean_b = blur(a), blur(b)
        product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
        covariance, variances = blur(a * b) - product, blur(a * a + b * b) - squares
        value = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
        means: Floats = value.reshape(len(a), -1).mean(axis=1)
        return means

    return _per_example(similarity, x, x_hat)


def _gaussian(length: int, size: int) -> Floats:
    """The valid 1-D filter as a banded matrix [length - size + 1, length]: a product is faster than a sliding sum."""
    taps = np.exp(-0.5 * (np.arange(size) - size // 2) ** 2 / 1.5**2)
    band = np.zeros((length - size + 1, length))
    for row in range(len(band)):
        band[row, row : row + size] = taps / taps.sum()
    return band


def _per_example(f: Callable[[Floats, Floats], Floats], x: Array, x_hat: Array) -> Floats:
    """f over batches of examples as float64, so that a whole corpus is never held twice in double precision."""
    step = max(1, CHUNK // max(1, x[0].size)) if len(x) else 1
    batches = [slice(i, i + step) for i in range(0, len(x), step)]
    parts = [f(x[rows].astype(np.float64), x_hat[rows].astype(np.float64)) for rows in batches]
    return np.concatenate(parts) if parts else np.zeros(0)


def _alike(x: Array, x_hat: Array) -> None:
    if x.shape != x_hat.shape or x.ndim < 2:
        raise DataError(f"x has shape {x.shape} and x_hat {x_hat.shape}; give two arrays of the same shape [N, ...]")
    for name, a in (("x", x), ("x_hat", x_hat)):
        if not np.isfinite(a).all():
            raise DataError(f"{name} holds values that are not finite; a reconstruction must be numbers in pixel units")


def _in_range(x: Array, x_hat: Array, data_range: float) -> None:
    _alike(x, x_hat)
    if not (np.isfinite(data_range) and data_range > 0):
        raise DataError(f"data_range is {data_range}; give the width of the pixel scale, such as 1 or 255")
    if x.size == 0:
        return
    low, high, top = float(x.min()), float(x.max()), float(x_hat.max())
    if low < -1e-6 * data_range or high > data_range * (1 + 1e-6):
        raise DataError(f"x lies in [{low:g}, {high:g}], outside of [0, {data_range:g}]; give the range that x has")
    if data_range > 2 and np.issubdtype(x.dtype, np.floating) and high <= 1:
        raise DataError(f"x holds floats up to {high:g} and data_range is {data_range:g}; give 1 for [0, 1] pixels")
    if data_range > 2 and np.issubdtype(x_hat.dtype, np.floating) and 0 < top <= 1 < high:
        raise DataError(f"x_hat holds floats up to {top:g} and x values up to {high:g}; bring both to one pixel scale")


# ---------------------------------------------------------------------------------------------------- posteriors


def accuracy(p: Array, s: Array, weights: Array) -> Floats:
    """Share of examples whose most probable value is the true one, [R]; the first class wins a tie."""
    q, t, w = _checked(p, s, weights)
    return _over(w @ (q.argmax(axis=1) == t).astype(np.float64), w.sum(axis=1))


def balanced_accuracy(p: Array, s: Array, weights: Array) -> Floats:
    """Mean recall over the values that occur with weight above 0, [R]; 1/K for whoever always says the same.

    A posterior that knows how rare a value is hardly ever names it: give `evenly` of it where that is not to count.
    """
    q, t, w = _checked(p, s, weights)
    member = np.eye(q.shape[1])[t]
    people = w @ member
    recall = _over(w @ (member * (q.argmax(axis=1) == t)[:, None]), people)
    return _over(recall.sum(axis=1), (people > 0).sum(axis=1))


def evenly(p: Array, prior: Array) -> Array:
    """The posterior [N, K] of whoever holds all values for equally frequent, from one that was learned where they have
    the frequencies `prior` [K], above 0: p / prior, normalized. Its most likely value is Bayes' answer where the recall
    of every value counts the same."""
    even = np.asarray(p, np.float64) / prior
    return np.asarray(even / even.sum(axis=1, keepdims=True))


def auc(p: Array, s: Array, weights: Array) -> Floats:
    """Area under the ROC curve, one value against the rest, mean over values with both positives and negatives, [R].

    Exact, ties count half; 0.5 in a row where nothing can be told apart because one value holds all the weight.
    """
    q, t, w = _checked(p, s, weights)
    total, defined = np.zeros(len(w)), np.zeros(len(w))
    for _, hits, misses in _curves(q, t, w):
        gain = np.diff(misses, axis=1, prepend=0.0)
        area = np.einsum("rn,rn->r", gain, hits) - 0.5 * np.einsum("rn,rn->r", gain, np.diff(hits, axis=1, prepend=0.0))
        pairs = hits[:, -1] * misses[:, -1]
        total += _over(area, pairs)
        defined += pairs > 0
    return np.where(defined > 0, _over(total, defined), 0.5)


def bits(p: Array, s: Array, weights: Array) -> Floats:
    """Predictive V-information (Xu et al. 2020) in bits per example, [R]: entropy of s minus the cross-entropy of p.

    The entropy is that of the victims' own weighted frequencies; probabilities are clipped at 1e-6. 0 says that the
    posterior is worth no more than knowing those frequencies; a miscalibrated posterior falls below 0.
    """
    q, t, w = _checked(p, s, weights)
    people = w.sum(axis=1)
    prior = (w @ np.eye(q.shape[1])[t]) / people[:, None]
    entropy = -(prior * np.log2(np.where(prior > 0, prior, 1.0))).sum(axis=1)
    surprise = -np.log2(q[np.arange(len(t)), t].clip(CLIP, 1.0))
    gained: Floats = entropy - (w @ surprise) / people
    return gained


def coverage_at_95_precision(p: Array, s: Array, weights: Array) -> Floats:
    """Largest share of people about whom the attacker is right 95 times in 100, speaking only above a confidence, [R].

    The confidence is the largest posterior; people of equal confidence are spoken of together; fewer than 20 count
    as none. The threshold is the best one for these people: exposure, not a forecast. Where one value is held by 95 %
    of them or more, saying it of everybody gives 1: the floor shows it.
    """
    q, t, w = _checked(p, s, weights)
    hits, misses = _curve(q.max(axis=1), q.argmax(axis=1) == t, w)
    spoken = hits + misses
    return _over(np.where(_precise(hits, spoken), spoken, 0.0).max(axis=1), spoken[:, -1])


def spoken_of(p: Array, s: Array) -> npt.NDArray[np.bool_]:
    """Whom `coverage_at_95_precision` counts, each example once: those whose confidence reaches its threshold, [N]."""
    q, t, w = _checked(p, s, np.ones((1, len(s))))
    confidence = q.max(axis=1)
    hits, misses = _curve(confidence, q.argmax(axis=1) == t, w)
    precise = np.flatnonzero(_precise(hits, hits + misses)[0])
    if not len(precise):
        return np.zeros(len(t), bool)
    found: npt.NDArray[np.bool_] = confidence >= np.unique(confidence)[::-1][precise[-1]]
    return found


def _precise(hits: Floats, spoken: Floats) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (hits >= PRECISION * spoken - ROUND) & (spoken >= FEWEST - ROUND)
    return found


def tpr_at_1_fpr(p: Array, s: Array, weights: Array) -> Floats:
    """Mean over the values with both positives and negatives of the true positive rate at 1 % false positives, [R].

    The mean, since a maximum over values would be a choice made on the victims; `tpr_at_fpr` has the single values.
    0 where one value holds all the weight.
    """
    return _mean_tpr(p, s, weights, 0.01)


def tpr_at_tenth_fpr(p: Array, s: Array, weights: Array) -> Floats:
    """The same at one false positive in a thousand: whom an attacker knows who is hardly ever wrong, [R].

    Among fewer than 1,000 negatives not one may be accused.
    """
    return _mean_tpr(p, s, weights, 0.001)


def _mean_tpr(p: Array, s: Array, weights: Array, fpr: float) -> Floats:
    rates = tpr_at_fpr(p, s, weights, fpr)
    return _over(np.nansum(rates, axis=1), np.isfinite(rates).sum(axis=1))


def tpr_at_fpr(p: Array, s: Array, weights: Array, fpr: float) -> Floats:
    """True positive rate of each value against the rest at the best threshold on its posterior with FPR <= fpr, [R, K].

    Steps are not interpolated: a constant posterior speaks of nobody and gets 0. NaN where a value has no positives or
    no negatives. With fewer than 1 / fpr negatives not one of them may be accused.
    """
    if not 0 <= fpr < 1:
        raise DataError(f"fpr is {fpr}; give a false positive rate in [0, 1), such as 0.01")
    q, t, w = _checked(p, s, weights)
    rates = np.full((len(w), q.shape[1]), np.nan)
    for k, hits, misses in _curves(q, t, w):
        negatives = misses[:, -1:]
        reached = np.where(misses <= fpr * negatives + ROUND, hits, 0.0).max(axis=1)
        defined = (hits[:, -1] > 0) & (negatives[:, 0] > 0)
        rates[:, k] = np.where(defined, _over(reached, hits[:, -1]), np.nan)
    return rates


def tpr_at_fpr_per_value(p: Array, s: Array, fpr: float) -> Floats:
    """`tpr_at_fpr` with every example counted once, [K]."""
    values: Floats = tpr_at_fpr(p, s, np.ones((1, len(s))), fpr)[0]
    return values


METRICS: dict[str, Callable[[Array, Array, Array], Floats]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "auc": auc,
    "bits": bits,
    "coverage_at_95_precision": coverage_at_95_precision,
    "tpr_at_1_fpr": tpr_at_1_fpr,
    "tpr_at_tenth_fpr": tpr_at_tenth_fpr,
}


def _curves(q: Floats, t: Array, w: Floats) -> Iterator[tuple[int, Floats, Floats]]:
    """(value, hits, misses) of one value against the rest, for the values that anybody has."""
    for k in np.unique(t):
        yield int(k), *_curve(q[:, k], t == k, w)


def _curve(score: Floats, positive: Array, w: Floats) -> tuple[Floats, Floats]:
    """Weight of positives and of negatives at or above each distinct score, highest first: two [R, distinct]."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    ranked = w[:, order]
    hits = np.cumsum(ranked * positive[order], axis=1)
    np.cumsum(ranked, axis=1, out=ranked)
    if len(ends) < len(order):
        hits, ranked = hits[:, ends], ranked[:, ends]
    return hits, ranked - hits


def _over(part: Array, whole: Array) -> Floats:
    """part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0)


def _checked(p: Array, s: Array, weights: Array) -> tuple[Floats, Array, Floats]:
    q, t, w = np.asarray(p, np.float64), np.asarray(s), np.asarray(weights, np.float64)
    if q.ndim != 2 or len(q) == 0 or t.shape != (len(q),) or w.ndim != 2 or w.shape[1] != len(q):
        raise DataError(f"p, s and weights have shapes {q.shape}, {t.shape}, {w.shape}; give [N, K], [N], [R, N]")
    if not np.issubdtype(t.dtype, np.integer) or t.min() < 0 or t.max() >= q.shape[1]:
        raise DataError(f"labels must be integers in 0..{q.shape[1] - 1}; leave out examples whose label is missing")
    if not (np.isfinite(q).all() and q.min() >= 0 and np.abs(q.sum(axis=1) - 1).max() < 0.01):
        raise DataError("p must hold probabilities that sum to 1 in each row; apply softmax to logits first")
    if not (np.isfinite(w).all() and w.min(initial=0.0) >= 0 and (w.sum(axis=1) > 0).all()):
        raise DataError("weights must be finite, not negative, and not all zero in any row")
    return q, t, w


# ---------------------------------------------------------------------------------------------------- single numbers


def collapsed(named: Array, s: Array) -> int | None:
    """The value that an attack names for more than 80 % of the people, and for most of those who do not hold it; None
    where it does not. named, s: [N] labels in 0..K-1. Naming 85 % where 85 % hold the value is no collapse."""
    if named.shape != s.shape or named.size == 0:
        raise DataError(f"named {named.shape} and s {s.shape} are not labels of the same people; give [N] of both")
    top = int(np.bincount(named).argmax())
    said, others = named == top, s != top
    return top if said.mean() > COLLAPSED and others.any() and said[others].mean() > MOST else None


def hypervolume(points: Sequence[tuple[float, float]]) -> float:
    """Area of the union of the rectangles [0, u] x [0, p] over points (utility, privacy), both cut to [0, 1].

    Reference (0, 0), so in [0, 1]. Compare only sets of equally many points: k points of a coin flip that sends all or
    nothing already reach (1 - 1 / (k - 1)) / 2.
    """
    area = tallest = right = 0.0
    for u, p in sorted(points, reverse=True):
        if not (np.isfinite(u) and np.isfinite(p)):
            raise DataError(f"the point ({u}, {p}) is not finite; leave out operating points that were not measured")
        u, p = min(max(u, 0.0), 1.0), min(max(p, 0.0), 1.0)
        area += (right - u) * tallest
        right, tallest = u, max(tallest, p)
    return float(area + right * tallest)


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval (1927) of a rate from successes among n independent trials; n may be effective."""
    if not (n > 0 and 0 <= successes <= n):
        raise DataError(f"{successes} successes in {n} trials; give 0 <= successes <= n and n > 0")
    z = 1.959963984540054
    rate, spread = successes / n, z * z / n
    center = (rate + spread / 2) / (1 + spread)
    half = (rate * (1 - rate) * spread + spread * spread / 4) ** 0.5 / (1 + spread)
    return max(0.0, min(rate, center - half)), min(1.0, max(rate, center + half))
