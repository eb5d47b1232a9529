"""Metrics against hand values, slow truths and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from privet import metrics
from privet.errors import DataError
from privet.metrics import METRICS, hypervolume, mse, psnr, ssim, wilson


def pictures(seed: int, size: int, n: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.random((n, 3, size, size + 2))
    return x, np.clip(x + rng.normal(0, 0.2, x.shape), 0, 1)


def people(seed: int, n: int = 300, k: int = 4, digits: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Posteriors with many ties, labels, and 5 rows of multiplicities of which the first is ones."""
    rng = np.random.default_rng(seed)
    s = rng.choice(k, n, p=np.arange(1, k + 1) / (k * (k + 1) / 2))
    p = np.round(rng.dirichlet(np.ones(k), n) + 0.5 * np.eye(k)[s], digits) + 0.01
    return p / p.sum(1, keepdims=True), s, np.vstack([np.ones(n), rng.poisson(1, (4, n))]).astype(float)


# ---------------------------------------------------------------------------------------------------- pictures


def test_psnr_of_a_tenth_is_20_db() -> None:
    x = np.full((2, 3, 8, 8), 0.3)
    assert psnr(x, x + 0.1, data_range=1.0) == pytest.approx([20.0, 20.0], abs=1e-9)
    assert mse(x, x + 0.1) == pytest.approx([0.01, 0.01])
    assert psnr(x, x, data_range=1.0) == pytest.approx([100.0, 100.0])
    whole = np.full((1, 3, 8, 8), 100, np.uint8)
    assert psnr(whole, whole - np.uint8(51), data_range=255)[0] == pytest.approx(20 * math.log10(5))


def test_psnr_is_per_example_and_clips() -> None:
    x = np.zeros((2, 5))
    x_hat = np.stack([np.full(5, -3.0), np.full(5, 0.1)])
    assert psnr(x, x_hat, data_range=1.0) == pytest.approx([100.0, 20.0])
    assert mse(x, x_hat) == pytest.approx([9.0, 0.01])


def test_bytes_do_not_wrap() -> None:
    low, high = np.full((1, 4), 10, np.uint8), np.full((1, 4), 20, np.uint8)
    assert mse(low, high)[0] == mse(high, low)[0] == 100


@pytest.mark.parametrize("f", [psnr, ssim])
def test_a_wrong_range_is_refused(f) -> None:
    x, x_hat = pictures(0, 20)
    with pytest.raises(DataError, match="give 1 for"):
        f(x, x_hat, data_range=255)
    with pytest.raises(DataError, match="outside of"):
        f(x * 255, x_hat * 255, data_range=1.0)
    with pytest.raises(DataError, match="outside of"):
        f(x - 0.5, x_hat, data_range=1.0)
    with pytest.raises(DataError, match="one pixel scale"):
        f((x * 255).astype(np.uint8), x_hat, data_range=255)
    with pytest.raises(DataError, match="same shape"):
        f(x, x_hat[:1], data_range=1.0)
    with pytest.raises(DataError, match="not finite"):
        f(x, x_hat * np.nan, data_range=1.0)
    with pytest.raises(DataError, match="data_range"):
        f(x, x_hat, data_range=0.0)


def slow_ssim(x: np.ndarray, y: np.ndarray, size: int) -> float:
    """Wang et al. 2004, equation 13, window by window."""
    offsets = np.arange(size) - (size - 1) / 2
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for channel in range(x.shape[0]):
        for i in range(x.shape[1] - size + 1):
            for j in range(x.shape[2] - size + 1):
                a, b = x[channel, i : i + size, j : j + size], y[channel, i : i + size, j : j + size]
                ma, mb = (window * a).sum(), (window * b).sum()
                va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
                cov = (window * (a - ma) * (b - mb)).sum()
                values.append((2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    return float(np.mean(values))


@pytest.mark.parametrize(("size", "window"), [(7, 7), (16, 7), (17, 11), (24, 11)])
def test_ssim_against_the_slow_truth(size: int, window: int) -> None:
    x, x_hat = pictures(size, size)
    expected = [slow_ssim(a, b, window) for a, b in zip(x, x_hat, strict=True)]
    assert ssim(x, x_hat, data_range=1.0) == pytest.approx(expected, abs=1e-10)
    assert ssim(x * 255, x_hat * 255, data_range=255) == pytest.approx(expected, abs=1e-10)


def test_ssim_by_hand() -> None:
    x, x_hat = pictures(1, 20)
    assert ssim(x, x, data_range=1.0) == pytest.approx([1.0, 1.0])
    flat = np.full((1, 1, 20, 20), 0.5)
    luminance = (2 * 0.5 * 0.7 + 1e-4) / (0.25 + 0.49 + 1e-4)  # two flat pictures differ in luminance only
    assert ssim(flat, flat + 0.2, data_range=1.0)[0] == pytest.approx(luminance)
    wild = 2 * x_hat - 0.5
    assert (ssim(x, wild, data_range=1.0) == ssim(x, wild.clip(0, 1), data_range=1.0)).all()
    for shape in [(2, 3, 6, 20), (2, 20, 20)]:
        with pytest.raises(DataError, match="7 px"):
            ssim(np.zeros(shape), np.zeros(shape), data_range=1.0)


def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, x_hat = pictures(2, 18, n=5)
    whole = [f(x, x_hat, data_range=1.0) for f in (psnr, ssim)]
    monkeypatch.setattr(metrics, "CHUNK", 2 * x[0].size)
    for f, expected in zip((psnr, ssim), whole, strict=True):
        assert f(x, x_hat, data_range=1.0) == pytest.approx(expected, abs=1e-12)


# ---------------------------------------------------------------------------------------------------- posteriors


def test_the_table_and_its_order() -> None:
    names = ["accuracy", "balanced_accuracy", "auc", "bits", "coverage_at_95_precision", "tpr_at_1_fpr"]
    names += ["tpr_at_tenth_fpr"]
    assert list(METRICS) == names
    assert all(METRICS[name] is getattr(metrics, name) for name in names)


@pytest.mark.parametrize("name", METRICS)
def test_weights_are_repetitions(name: str) -> None:
    p, s, w = people(3)
    p[:150] = np.eye(4)[s[:150]] * 0.96 + 0.01  # some are known for sure, so that every metric has something to say
    got = METRICS[name](p, s, w)
    assert got.shape == (5,)
    assert np.ptp(got) > 0
    for row, value in zip(w, got, strict=True):
        again = np.repeat(np.arange(len(s)), row.astype(int))
        assert METRICS[name](p[again], s[again], np.ones((1, len(again))))[0] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_order_of_the_people_changes_nothing(name: str) -> None:
    p, s, w = people(4)
    turn = np.random.default_rng(0).permutation(len(s))
    assert METRICS[name](p[turn], s[turn], w[:, turn]) == pytest.approx(METRICS[name](p, s, w), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_auc_and_recall_against_scikit_learn(seed: int) -> None:
    p, s, w = people(seed)
    for row, area, recall in zip(w, metrics.auc(p, s, w), metrics.balanced_accuracy(p, s, w), strict=True):
        each = [roc_auc_score(s == k, p[:, k], sample_weight=row) for k in range(4)]
        assert area == pytest.approx(np.mean(each), abs=1e-12)
        assert recall == pytest.approx(balanced_accuracy_score(s, p.argmax(1), sample_weight=row), abs=1e-12)


def test_auc_counts_pairs() -> None:
    p = np.array([0.1, 0.4, 0.4, 0.8])
    both, s = np.stack([1 - p, p], axis=1), np.array([0, 0, 1, 1])
    assert metrics.auc(both, s, np.ones((1, 4)))[0] == pytest.approx(3.5 / 4)
    assert metrics.auc(np.full((4, 2), 0.5), s, np.ones((1, 4)))[0] == 0.5
    assert metrics.auc(both, s, np.array([[1.0, 1, 0, 0]]))[0] == 0.5  # nobody left to tell apart


def test_values_that_do_not_occur_are_left_out() -> None:
    p, s, _ = people(5)
    wide = np.hstack([p, np.zeros((len(s), 2))])
    for name in METRICS:
        assert METRICS[name](wide, s, np.ones((1, len(s)))) == pytest.approx(METRICS[name](p, s, np.ones((1, len(s)))))


def test_bits_of_a_known_channel() -> None:
    s = np.repeat([0, 1], 500)
    flipped = np.where(np.arange(1000) % 10 == 0, 1 - s, s)  # a binary symmetric channel that errs in one of ten
    p = np.where(flipped[:, None] == np.arange(2), 0.9, 0.1)
    capacity = 1 + 0.1 * math.log2(0.1) + 0.9 * math.log2(0.9)
    one = np.ones((1, 1000))
    assert metrics.bits(p, s, one)[0] == pytest.approx(capacity)
    assert metrics.bits(np.full((1000, 2), 0.5), s, one)[0] == pytest.approx(0.0, abs=1e-12)
    assert metrics.bits(np.eye(2)[s], s, one)[0] == pytest.approx(1.0)
    assert metrics.bits(np.eye(2)[1 - s], s, one)[0] == pytest.approx(1 + math.log2(1e-6))
    frequencies = np.array([[0.2, 0.8]])
    tilted = np.where(s == 0, 0.4, 1.6)[None]  # the prior is that of the weighted people
    assert metrics.bits(frequencies.repeat(1000, 0), s, tilted)[0] == pytest.approx(0.0, abs=1e-12)


def confident(right: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Binary posteriors of falling confidence, right or wrong as listed."""
    p = np.linspace(0.99, 0.6, len(right))
    s = np.where(right, 0, 1)
    return np.stack([p, 1 - p], axis=1), s


def test_coverage_by_hand() -> None:
    def coverage(right: list[bool]) -> float:
        p, s = confident(right)
        return float(metrics.coverage_at_95_precision(p, s, np.ones((1, len(s))))[0])

    assert coverage([True] * 20 + [False] * 80) == pytest.approx(0.21)  # 20 of 21 is .952, 20 of 22 is not
    assert coverage([True] * 18 + [False] * 82) == 0.0  # 18 of 20 is not precise; 18 of 18 are too few
    assert coverage([False] + [True] * 18) == 0.0
    assert coverage([False] + [True] * 19) == 1.0  # a bad start is forgiven: the largest prefix counts
    assert coverage([True] * 96 + [False] * 4) == 1.0
    p, s = np.full((100, 2), 0.5), np.repeat([0, 1], [94, 6])
    assert metrics.coverage_at_95_precision(p, s, np.ones((1, 100)))[0] == 0.0  # equal confidence: all or nobody
    s = np.repeat([0, 1], [95, 5])
    assert metrics.coverage_at_95_precision(p, s, np.ones((1, 100)))[0] == 1.0


def test_tpr_by_hand() -> None:
    score = np.concatenate([np.linspace(0.9, 0.8, 30), [0.85], np.linspace(0.5, 0.4, 20), np.linspace(0.3, 0.1, 149)])
    s = np.repeat([1, 0, 1, 0], [30, 1, 20, 149])  # 50 positives, 150 negatives, one of them among the best
    p = np.stack([1 - score, score], axis=1)
    per_value = metrics.tpr_at_fpr_per_value(p, s, 0.01)
    assert per_value[1] == 1.0  # one of 150 negatives may be accused
    assert metrics.tpr_at_fpr_per_value(p, s, 0.0)[1] == pytest.approx((score[:30] > 0.85).mean() * 30 / 50)
    assert per_value[0] == pytest.approx(149 / 150)  # 1 % of 50 is nobody: all negatives below every positive
    assert metrics.tpr_at_1_fpr(p, s, np.ones((1, 200)))[0] == pytest.approx(per_value.mean())
    assert metrics.tpr_at_1_fpr(np.full((200, 2), 0.5), s, np.ones((1, 200)))[0] == 0.0
    assert np.isnan(metrics.tpr_at_fpr_per_value(np.eye(3)[s], s, 0.01)[2])
    assert metrics.tpr_at_1_fpr(p[s == 1], s[s == 1], np.ones((1, 50)))[0] == 0.0
    many, held = (
        np.linspace(1, 0, 2100),
        np.repeat([1, 0, 1, 0], [40, 1, 60, 1999]),
    )  # 2,000 negatives: two may be accused
    many = np.stack([1 - many, many], axis=1)
    assert metrics.tpr_at_fpr_per_value(many, held, 0.001)[1] == 1.0
    assert metrics.tpr_at_fpr_per_value(many, held, 0.0004)[1] == pytest.approx(0.4)
    both = metrics.tpr_at_fpr_per_value(many, held, 0.001)
    assert metrics.tpr_at_tenth_fpr(many, held, np.ones((1, 2100)))[0] == pytest.approx(both.mean())
    with pytest.raises(DataError, match="false positive rate"):
        metrics.tpr_at_fpr_per_value(p, s, 1.0)


@pytest.mark.parametrize("name", METRICS)
def test_what_is_not_a_posterior_is_refused(name: str) -> None:
    p, s, w = people(6)
    f = METRICS[name]
    for bad, sentence in [
        ((np.log(p), s, w), "softmax"),
        ((p * np.nan, s, w), "softmax"),
        ((p, s - 1, w), "missing"),
        ((p, s + 1, w), "missing"),
        ((p, s.astype(float), w), "missing"),
        ((p, s[:-1], w), "shapes"),
        ((p, s, w[0]), "shapes"),
        ((p[:0], s[:0], w[:, :0]), "shapes"),
        ((p, s, -w), "weights"),
        ((p, s, 0 * w), "weights"),
    ]:
        with pytest.raises(DataError, match=sentence):
            f(*bad)


# ---------------------------------------------------------------------------------------------------- single numbers


def test_collapsed() -> None:
    even = np.arange(20) % 2
    assert metrics.collapsed(np.zeros(20, int), even) == 0
    assert metrics.collapsed(np.where(np.arange(20) < 17, 1, 0), even) == 1
    assert metrics.collapsed(np.where(np.arange(20) < 16, 1, 0), even) is None, "80 % and not more"
    skewed = np.where(np.arange(20) < 18, 0, 1)
    assert metrics.collapsed(skewed, skewed) is None, "right about everybody"
    assert metrics.collapsed(np.zeros(20, int), np.zeros(20, int)) is None
    with pytest.raises(DataError, match="not labels of the same people"):
        metrics.collapsed(np.zeros(0, int), np.zeros(0, int))


@pytest.mark.parametrize(("n", "area"), [(5, 0.375), (10, 0.444), (20, 0.474), (100, 0.495)])
def test_hypervolume_of_the_coin_flip(n: int, area: float) -> None:
    assert hypervolume([(u, 1 - u) for u in np.linspace(0, 1, n)]) == pytest.approx(area, abs=5e-4)


unit = st.floats(0, 1)
points = st.lists(st.tuples(unit, unit), max_size=8)


@settings(max_examples=80, deadline=None)
@given(points, unit, unit, st.randoms(use_true_random=False))
def test_hypervolume_is_monotone_and_a_union(some, u: float, p: float, order) -> None:
    area = hypervolume(some)
    more = hypervolume([*some, (u, p)])
    assert hypervolume([(u, p)]) == pytest.approx(u * p)
    assert max(area, u * p) - 1e-12 <= more <= min(1, area + u * p) + 1e-12
    assert hypervolume([*some, (u * 0.5, p * 0.5), (u, p)]) == pytest.approx(more)  # the dominated add nothing
    mixed = [*some, (u, p)]
    order.shuffle(mixed)
    assert hypervolume(mixed) == more
    fine = (np.arange(200) + 0.5) / 200
    grid = np.zeros((200, 200), bool)
    for a, b in mixed:
        grid |= (fine[:, None] < a) & (fine[None, :] < b)
    assert more == pytest.approx(grid.mean(), abs=0.02)


def test_hypervolume_at_the_edges() -> None:
    assert hypervolume([]) == 0.0
    assert hypervolume([(2.0, 0.5), (-1.0, 1.0)]) == 0.5
    with pytest.raises(DataError, match="finite"):
        hypervolume([(math.nan, 0.5)])


def test_wilson() -> None:
    low, high = wilson(0, 50)
    assert low == 0.0
    assert high == pytest.approx(0.07135, abs=1e-5)  # z^2 / (n + z^2)
    assert wilson(50, 50) == pytest.approx((1 - 0.07135, 1.0), abs=1e-5)
    assert wilson(25, 50) == pytest.approx((0.36645, 0.63355), abs=1e-4)
    for successes, n in [(3, 2), (-1, 5), (0, 0), (math.nan, 5)]:
        with pytest.raises(DataError):
            wilson(successes, n)
