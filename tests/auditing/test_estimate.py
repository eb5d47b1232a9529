"""Estimates: the resampling, the intervals' coverage, and what may not be built."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from privet.auditing.estimate import Estimate, estimate, paired, weights
from privet.errors import DataError, SpecError


def test_weights_resample_groups() -> None:
    groups = np.array([7, 7, 3, 3, 3, 9, -1])
    w = weights(groups, 500, seed=1)
    assert w.shape == (501, 7)
    assert (w[0] == 1).all()
    assert (w[:, 0] == w[:, 1]).all()
    assert (w[:, 2] == w[:, 3]).all()
    per_group = w[:, [0, 2, 5, 6]]
    assert (per_group.sum(axis=1) == 4).all()
    assert per_group[1:].mean(axis=0) == pytest.approx(1, abs=0.15)
    assert (w == weights(groups, 500, seed=1)).all()
    assert (w == weights(groups, 500, seed=np.random.default_rng(1))).all()
    assert (w != weights(groups, 500, seed=2)).any()


def test_weights_refuse() -> None:
    with pytest.raises(DataError, match="two or more"):
        weights(np.zeros(5, int), 10, seed=0)
    with pytest.raises(DataError):
        weights(np.zeros((2, 2), int), 10, seed=0)
    with pytest.raises(SpecError, match="replicates"):
        weights(np.arange(5), 1, seed=0)


def test_one_seed_is_the_normal_interval_of_the_victims() -> None:
    row = np.array([0.5, 0.4, 0.6, 0.45, 0.55])
    half = 1.959964 * row[1:].std(ddof=1)
    e = estimate([row], n=10)
    assert (e.mean, e.low, e.high, e.n) == pytest.approx((0.5, 0.5 - half, 0.5 + half, 10))
    few = estimate([row], n=10, effective_n=5)  # t with 4 degrees of freedom, variance times 5/4
    assert few.high - few.mean == pytest.approx(2.776445 * row[1:].std(ddof=1) * math.sqrt(5 / 4))


def test_seeds_alone_are_students_interval() -> None:
    points = [0.5, 0.6, 0.7]
    e = estimate([np.full(4, v) for v in points], n=10)
    half = 4.302653 * np.std(points, ddof=1) / math.sqrt(3)
    assert (e.mean, e.low, e.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half))


def test_satterthwaite_lies_between() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.05, 400)
    rows = [np.append(v, v + noise) for v in (0.5, 0.6, 0.7)]
    e = estimate(rows, n=10)
    a, b = noise.var(ddof=1), np.var([0.5, 0.6, 0.7], ddof=1) / 3
    t = (e.high - e.mean) / math.sqrt(a + b)
    assert 1.96 < t < 4.3026
    from scipy import stats

    assert t == pytest.approx(stats.t.ppf(0.975, (a + b) ** 2 / (b**2 / 2)))


def test_bounds_cut() -> None:
    row = np.array([0.9, 0.6, 1.0, 0.7, 1.0])
    e = estimate([row], n=10, bounds=(0, 1))
    assert e.high == 1.0
    assert e.low > 0
    with pytest.raises(SpecError, match="bounds"):
        estimate([row], n=10, bounds=(0, 0.5))
    with pytest.raises(SpecError, match="bounds"):
        estimate([row], n=10, bounds=(1, 0))


def test_a_rate_of_nothing_has_an_interval() -> None:
    never, always = [np.zeros(11)] * 3, [np.ones(11)] * 3
    assert estimate(never, 500, (0, 1)).high == 0.0
    e = estimate(never, 500, (0, 1), effective_n=50)
    assert (e.mean, e.low, e.high, e.n) == pytest.approx((0, 0, 0.07135, 500), abs=1e-5)
    e = estimate(always, 500, (0, 1), effective_n=50)
    assert (e.low, e.high) == pytest.approx((1 - 0.07135, 1), abs=1e-5)
    e = estimate([2 * row - 1 for row in always], 500, (-1, 1), effective_n=50)
    assert e.low == pytest.approx(1 - 2 * 0.07135, abs=1e-5)


def test_identical_values_have_no_width_without_bounds() -> None:
    e = estimate([np.full(5, 3.0)], n=4)
    assert (e.mean, e.low, e.high) == (3.0, 3.0, 3.0)


@pytest.mark.parametrize(
    "rows",
    [[], [np.zeros(1)], [np.zeros(2)], [np.zeros(5), np.zeros(6)], [np.zeros((2, 5))], [np.array([0, 1, np.nan])]],
)
def test_what_is_not_a_table_is_refused(rows) -> None:
    with pytest.raises(DataError, match="statistic"):
        estimate(rows, n=5)


def test_impossible_estimates_are_refused() -> None:
    for mean, low, high, n in [
        (0.5, 0.6, 0.7, 5),
        (0.5, 0.1, 0.4, 5),
        (math.nan, 0, 1, 5),
        (0, -math.inf, 1, 5),
        (0, 0, 0, 0),
    ]:
        with pytest.raises(DataError):
            Estimate(mean, low, high, n)
    assert Estimate(0.5, 0.5 + 1e-12, 0.5, 1).mean == 0.5
    with pytest.raises(SpecError, match="independent groups"):
        estimate([np.zeros(5)], 5, effective_n=1)


def test_views() -> None:
    e = Estimate(0.612, 0.598, 0.626, 40)
    assert str(e) == "0.612 [0.598, 0.626]"
    assert json.loads(json.dumps(e.json())) == {"mean": 0.612, "low": 0.598, "high": 0.626, "n": 40}
    assert e.touches(Estimate(0.7, 0.626, 0.8, 40))
    assert Estimate(0.7, 0.626, 0.8, 40).touches(e)
    assert not e.touches(Estimate(0.7, 0.627, 0.8, 40))
    plain = estimate([np.float32([0.5, 0.25, 0.75])], n=np.int64(9)).json()
    assert [type(v) for v in plain.values()] == [float, float, float, int]


def test_pairs_cancel_what_they_share() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.1, (3, 401))
    a = list(0.7 + shared + rng.normal(0, 0.001, (3, 401)))
    b = list(0.6 + shared)
    e = paired(a, b, n=20)
    assert e.mean == pytest.approx(0.1, abs=0.005)
    assert e.high - e.low < 0.01 < estimate(a, 20).high - estimate(a, 20).low
    assert paired(b, b, n=20).json() == {"mean": 0.0, "low": 0.0, "high": 0.0, "n": 20}
    for wrong in (b[:2], [row[:-1] for row in b]):
        with pytest.raises(DataError, match="same"):
            paired(a, wrong, n=20)


def test_rates_that_differ_for_nobody_may_differ_for_somebody() -> None:
    same = [np.full(401, 0.9)]
    e = paired(same, same, 50, (-1, 1), 50)
    assert (e.mean, e.low, e.high) == (0.0, pytest.approx(-0.071, abs=1e-3), pytest.approx(0.071, abs=1e-3))


@pytest.mark.parametrize(("first", "second"), [(0.04, 0.0), (0.05, 0.02), (0.3, 0.1)])
def test_differences_of_rates_are_covered(first: float, second: float) -> None:
    """Of 40 people some are right in one alone: 95 % intervals hold the true difference about as often as they say,
    and without the bounds, by which they know to be of rates, far less often where such people are few."""
    generator, hits = np.random.default_rng(0), np.zeros(2)
    w = weights(np.arange(40), 200, seed=1)
    for _ in range(300):
        lot = generator.random(40)
        rows = [w @ (lot < first) / 40, w @ ((lot >= first) & (lot < first + second)) / 40]
        for i, bounds in enumerate(((-1.0, 1.0), None)):
            e = paired(rows[:1], rows[1:], 40, bounds, 40)
            hits[i] += e.low <= first - second <= e.high
    assert hits[0] / 300 >= 0.93
    assert (hits[1] / 300 < 0.85) == (first < 0.045)


def covered(seeds: int, simulations: int = 300) -> tuple[float, float]:
    """Share of simulations whose interval holds the truth, with groups as groups and with groups ignored.

    40 people with 1 to 8 examples, a person effect, `seeds` trainings with an effect of their own; the truth is 0.
    """
    rng = np.random.default_rng(seeds)
    held = np.zeros(2)
    for _ in range(simulations):
        groups = np.repeat(np.arange(40), rng.integers(1, 9, 40))
        value = rng.normal(0, 1, 40)[groups] + rng.normal(0, 0.5, len(groups))
        training = rng.normal(0, 0.3, seeds) if seeds > 1 else np.zeros(1)
        for j, unit in enumerate((groups, np.arange(len(groups)))):
            w = weights(unit, 100, seed=rng)
            share = w / w.sum(axis=1, keepdims=True)
            rows = [share @ (value + effect) for effect in training]
            e = estimate(rows, len(groups), effective_n=len(np.unique(unit)))
            held[j] += e.low <= 0 <= e.high
    return tuple(held / simulations)


@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_cover(seeds: int) -> None:
    grouped, ignored = covered(seeds)
    assert 0.92 <= grouped <= 0.985
    if seeds == 1:
        assert ignored < 0.85  # the check has teeth: ten pictures of one person are not ten people


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
def test_intervals_of_rates_cover(rate: float) -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        hits = (rng.random(50) < rate).astype(float)
        w = weights(np.arange(50), 100, seed=rng)
        e = estimate([w @ hits / 50], 50, (0, 1), effective_n=50)
        held += e.low <= rate <= e.high
    assert held / 300 >= 0.92
