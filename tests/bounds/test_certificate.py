"""Certificates: hand-computed cases, coverage on populations whose truth is known, and the ways to lose it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privet.bounds import certificate
from privet.bounds.certificate import (
    Certificate,
    accuracy,
    balanced_accuracy,
    cell_errors,
    maximal_leakage,
    of_groups,
    psnr_of,
    several,
    squared_error,
)
from privet.errors import DataError, SpecError

POPULATIONS = 1000
Array = np.ndarray[Any, Any]


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


CELLS, S, ALONE = ints(0, 0, 0, 1, 1, 7), ints(0, 0, 1, 1, 1, 0), np.arange(6)


# By hand ----------------------------------------------------------------------------------------------------------


def test_accuracy_by_hand() -> None:
    """Cell 0 guesses 0 (2 of 3), cell 1 guesses 1 (2 of 2), cell 7 guesses 0: 5 of 6."""
    found = accuracy(CELLS, S, ALONE, delta=0.1)
    assert found.in_sample == 5 / 6
    assert found.slack == pytest.approx(math.sqrt(math.log(10) / 12))
    assert (found.people, found.groups, found.messages, found.confidence) == (6, 6, 3, 0.9)
    assert found.bound == 1
    assert not found.informative
    assert "6 people in 6 groups with 3 messages" in found.scope


def test_groups_by_hand() -> None:
    """Groups of 3, 2 and 1: sum c_g^2 = 14/36."""
    found = accuracy(CELLS, S, ints(5, 5, 5, 2, 2, 0), delta=0.1)
    assert found.slack == pytest.approx(math.sqrt(math.log(10) * 14 / 36 / 2))
    assert found.groups == 3


def test_balanced_by_hand() -> None:
    """n_0 = n_1 = 3 of K' = 2: a_i = 1/6; with a fourth 0 in cell 1, recalls become (3/4 of 0, 2/3 of 1)."""
    assert balanced_accuracy(CELLS, S, ALONE, 2).in_sample == pytest.approx(5 / 6)
    cells, s = ints(*CELLS, 1), ints(*S, 0)
    found = balanced_accuracy(cells, s, ints(0, 1, 2, 3, 4, 5, 3), 3, delta=0.1)
    assert found.in_sample == pytest.approx((3 / 4 + 2 / 3) / 2)
    shares = np.array([1 / 8, 1 / 8, 1 / 6, 1 / 6 + 1 / 8, 1 / 6, 1 / 8])  # the fourth group has both labels
    assert found.slack == pytest.approx(math.sqrt(math.log(10) * (shares**2).sum() / 2))
    assert "2 values (of 3: nothing is said of the others)" in found.scope


def test_large_sample_is_informative() -> None:
    n = 10_000
    s = np.arange(n) % 2
    found = accuracy(np.zeros(n, np.int64), s, np.arange(n))
    assert (found.in_sample, found.messages, found.informative) == (0.5, 1, True)
    assert found.bound == pytest.approx(0.5 + math.sqrt(math.log(20) / 20_000))
    for words in ("one payload a person", "knows nothing else", "no", "10000 groups, independent as far as is known"):
        assert words in found.scope
    unique = accuracy(np.arange(n), s, np.arange(n))
    assert (unique.in_sample, unique.bound, unique.informative) == (1, 1, False)


def test_missing_labels_are_left_out() -> None:
    s = np.array([0, 0, 1, -1, 1, -1])
    assert accuracy(CELLS, s, ALONE) == accuracy(CELLS[s >= 0], s[s >= 0], ALONE[s >= 0])


def test_names_of_cells_and_groups_do_not_matter() -> None:
    renamed = accuracy(CELLS * -977 + 3, S, np.array(list("fedcba")))
    assert renamed == accuracy(CELLS, S, ALONE)
    odd = accuracy(CELLS, S * 10**15, ALONE)
    assert odd.in_sample == 5 / 6


def test_of_groups() -> None:
    by = ints(4, 4, 4, 2, 2, -1)
    found = of_groups(CELLS, S, by, ALONE, delta=0.1, bounds=3)
    assert list(found) == [2, 4]
    for value, got in found.items():
        rows = by == value
        assert got == accuracy(CELLS[rows], S[rows], ALONE[rows], delta=0.1, bounds=6)
    alone = of_groups(CELLS, S, ints(0, 0, 0, 0, 0, 1), ALONE)[1]
    assert (alone.people, alone.groups, alone.bound, alone.informative) == (1, 1, 1, False)


def test_several() -> None:
    found = several(CELLS, {"b": S, "a": 1 - S}, ALONE, delta=0.2)
    assert list(found) == ["a", "b"]
    assert found["b"] == accuracy(CELLS, S, ALONE, delta=0.2, bounds=2)
    assert found["b"].confidence == 0.9
    assert "one of 2 bounds that hold together with probability 0.8" in found["b"].scope


def test_maximal_leakage() -> None:
    assert [maximal_leakage(b) for b in (0, 1, 8)] == [1, 2, 256]
    assert maximal_leakage(3) * maximal_leakage(5) == maximal_leakage(8)
    assert maximal_leakage(2000) == math.inf


def test_cell_errors_by_hand() -> None:
    x = np.array([[0, 255], [255, 255], [7, 9]], np.uint8)
    np.testing.assert_allclose(cell_errors(ints(3, 3, 1), x), [0.125, 0.125, 0])
    np.testing.assert_allclose(cell_errors(ints(3, 3, 1), (x / 255).astype(np.float32)), [0.125, 0.125, 0], atol=1e-8)


@pytest.mark.parametrize("chunk", [1, 50, 1 << 20])
def test_cell_errors_in_pieces(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (40, 3, 5, 2), dtype=np.uint8)
    cells = rng.integers(0, 7, 40)
    monkeypatch.setattr(certificate, "CHUNK", chunk)
    plain = x.reshape(40, -1) / 255
    means = np.array([plain[cells == c].mean(0) for c in cells])
    np.testing.assert_allclose(cell_errors(cells, x), np.square(plain - means).mean(1), atol=1e-12)


def test_squared_error_by_hand() -> None:
    """10,000 people, mean error .04: the self-bounding slack is below McDiarmid's; at .25 it is the other way."""
    n, level = 10_000, math.log(40)
    cells = np.zeros(n, np.int64)
    found = squared_error(cells, np.full(n, 0.04), np.arange(n))
    assert found.bound == pytest.approx((math.sqrt(0.04) - math.sqrt(level / n)) ** 2)
    assert found.bound + found.slack == pytest.approx(found.in_sample) == pytest.approx(0.04)
    assert "not the PSNR of each picture" in found.scope
    wide = squared_error(cells, np.full(n, 0.25), np.arange(n))
    assert wide.slack == pytest.approx(math.sqrt(level / 2 / n))
    pairs = squared_error(cells, np.full(n, 0.04), np.arange(n) // 2)
    assert pairs.bound == pytest.approx((math.sqrt(0.04) - math.sqrt(2 * level / n)) ** 2)
    few = squared_error(cells[:20], np.full(20, 0.04), np.arange(20))
    assert (few.bound, few.informative) == (0, False)
    assert few.scope.startswith("says nothing")


def test_decibels() -> None:
    assert psnr_of(0.01) == pytest.approx(20)
    assert psnr_of(0) == psnr_of(1e-12) == 100


# What an in-sample optimum is ----------------------------------------------------------------------------------------

people = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 5)), min_size=2, max_size=30)


@settings(max_examples=200, deadline=None)
@given(people, st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_no_rule_beats_the_in_sample_optimum(rows: list[tuple[int, int, int]], rule: list[int]) -> None:
    cells, s, _ = np.array(rows).T
    right = np.array(rule)[cells] == s
    assert right.mean() <= accuracy(cells, s, np.arange(len(s))).in_sample
    recall = np.mean([right[s == v].mean() for v in np.unique(s)])
    assert recall <= balanced_accuracy(cells, s, np.arange(len(s)), 4).in_sample + 1e-12


@settings(max_examples=200, deadline=None)
@given(people, people)
def test_a_group_moves_the_optimum_by_its_share(rows: list[tuple[int, int, int]], other: list[Any]) -> None:
    """One group sends other messages and has other labels: S moves by c_g at most, in either direction."""
    cells, s, g = np.array(rows).T
    moved = np.resize(np.array(other), (len(rows), 3))
    mine = g == g[0]
    after = accuracy(np.where(mine, moved[:, 0], cells), np.where(mine, moved[:, 1], s), np.arange(len(s)))
    assert abs(after.in_sample - accuracy(cells, s, np.arange(len(s))).in_sample) <= mine.mean() + 1e-12
    fixed = [balanced_accuracy(c, s, np.arange(len(s)), 4) for c in (cells, np.where(mine, moved[:, 0], cells))]
    shares = 1 / (len(np.unique(s)) * np.bincount(s)[s])
    assert abs(fixed[0].in_sample - fixed[1].in_sample) <= shares[mine].sum() + 1e-12


@settings(max_examples=200, deadline=None)
@given(people, st.integers(0, 2**32 - 1))
def test_squared_errors_bound_themselves(rows: list[tuple[int, int, int]], seed: int) -> None:
    """0 <= Z - Z_g <= |g| and sum_g (Z - Z_g) <= 2 Z, for groups of any size in any cells."""
    cells, _, g = np.array(rows).T
    x = (np.random.default_rng(seed).random((len(rows), 2)) > 0.5).astype(np.float64)
    whole = cell_errors(cells, x).sum()
    drops = np.array([whole - (cell_errors(cells[g != v], x[g != v]).sum() if (g != v).any() else 0) for v in set(g)])
    assert (drops >= -1e-9).all()
    assert (drops <= np.array([(g == v).sum() for v in set(g)]) + 1e-9).all()
    assert drops.sum() <= 2 * whole + 1e-9


# Coverage ------------------------------------------------------------------------------------------------------------


def sizes(rng: np.random.Generator, n: int, largest: int) -> Array:
    """Group of each of n people; sizes 1..largest, skewed to the small ones."""
    drawn = 1 + np.floor(largest * rng.random(n) ** 3).astype(int)
    return np.repeat(np.arange(n), drawn)[:n]


def follow(rng: np.random.Generator, values: Array, groups: Array, copies: float) -> Array:
    """Row indices: each person, with probability `copies`, gives what the first of the group gives."""
    first = np.searchsorted(groups, groups)
    return np.where(rng.random(len(groups)) < copies, first, np.arange(len(values)))


def joint(rng: np.random.Generator, cells: int, classes: int, skew: float) -> Array:
    """p(w, s) [cells, classes] with class masses that fall like a power and laws of w that differ by class."""
    mass = np.arange(1, classes + 1) ** -skew
    given_s = rng.dirichlet(np.full(cells, 0.7), size=classes) * 0.5 + rng.dirichlet(np.full(cells, 5.0)) * 0.5
    table: Array = (given_s * (mass / mass.sum())[:, None]).T
    return table


def population(rng: np.random.Generator, p: Array, n: int, largest: int, copies: float) -> tuple[Array, Array, Array]:
    flat = rng.choice(p.size, n, p=p.ravel() / p.sum())
    groups = sizes(rng, n, largest) if largest > 1 else np.arange(n)
    flat = flat[follow(rng, flat, groups, copies)]
    return flat // p.shape[1], flat % p.shape[1], groups


def failures(found: list[Certificate], truths: list[float]) -> float:
    return float(np.mean([c.bound < t for c, t in zip(found, truths, strict=True)]))


def at_most(share: float, delta: float) -> bool:
    """Whether a share of failures is compatible with delta: three standard deviations of a binomial."""
    return share <= delta + 3 * math.sqrt(delta * (1 - delta) / POPULATIONS)


SHAPES = {
    "few cells": (2, 2, 0.0, 1, 0.0),
    "many cells": (64, 3, 0.5, 1, 0.0),
    "skewed": (8, 6, 2.0, 1, 0.0),
    "groups": (4, 3, 0.5, 12, 0.9),
    "many cells in groups": (32, 2, 1.0, 6, 1.0),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_coverage(shape: str) -> None:
    """delta = .3, so that the failures allowed are many; slack and Jensen's gap leave far fewer."""
    cells, classes, skew, largest, copies = SHAPES[shape]
    rng = np.random.default_rng(len(shape))
    delta, plain, balanced, truths, fair = 0.3, [], [], [], []
    for _ in range(POPULATIONS):
        p = joint(rng, cells, classes, skew)
        w, s, g = population(rng, p, 800, largest, copies)
        plain.append(accuracy(w, s, g, delta=delta))
        balanced.append(balanced_accuracy(w, s, g, classes, delta=delta))
        truths.append(float(p.max(1).sum()))
        fair.append(float((p / p.sum(0)).max(1).sum() / classes))
    for name, found, true in (("plain", plain, truths), ("balanced", balanced, fair)):
        assert at_most(failures(found, true), delta)
        gap = float(np.median([c.bound - t for c, t in zip(found, true, strict=True)]))
        assert gap < 0.13, f"{shape}, {name}: the median gap between bound and truth is {gap:.3f}"


def certain(rng: np.random.Generator, certify: Callable[[Array, Array, Array], Certificate]) -> float:
    """Failures where Jensen's gap is nil, one message and a majority of .8, people in groups of 1 to 40 alike."""
    found = []
    for _ in range(POPULATIONS):
        w, s, g = population(rng, np.array([[0.8, 0.2]]), 800, 40, 1.0)
        found.append(certify(w, s, g))
    return failures(found, [0.8] * POPULATIONS)


def test_coverage_where_nothing_is_optimistic_and_the_fault_of_no_groups() -> None:
    with_groups = certain(np.random.default_rng(1), lambda w, s, g: accuracy(w, s, g, delta=0.1))
    without = certain(np.random.default_rng(1), lambda w, s, g: accuracy(w, s, np.arange(len(s)), delta=0.1))
    assert at_most(with_groups, 0.1)
    assert without > 0.2, "people in groups taken for independent: too narrow"


def test_coverage_of_balanced_where_groups_straddle_labels() -> None:
    """A group of 1 to 39 shares one coin; its members of label 0 send the coin, those of label 1 its opposite: within
    a group all messages depend on each other, across both labels. Forgetting the groups fails."""
    rng = np.random.default_rng(2)
    share = {"groups": 0, "none": 0}
    for _ in range(POPULATIONS):
        g = np.repeat(np.arange(30), rng.integers(1, 40, 30))
        s = (rng.random(len(g)) < 0.3).astype(np.int64)
        w = (rng.random(30) < 0.7).astype(np.int64)[g] ^ s  # the best rule, 1 -> 0 and 0 -> 1, has recalls of .7
        share["groups"] += balanced_accuracy(w, s, g, 2, delta=0.1).bound < 0.7
        share["none"] += balanced_accuracy(w, s, np.arange(len(g)), 2, delta=0.1).bound < 0.7
    assert at_most(share["groups"] / POPULATIONS, 0.1)
    assert share["none"] / POPULATIONS > 0.2


def test_union_and_the_fault_of_forgetting_it() -> None:
    """200 independent attributes with a majority of .6 and no message: all hold together only with the union."""
    rng = np.random.default_rng(3)
    n, k, delta, runs = 400, 200, 0.1, 40
    broken = {"union": 0, "forgotten": 0}
    cells, groups = np.zeros(n, np.int64), np.arange(n)
    for _ in range(runs):
        s = (rng.random((k, n)) < 0.4).astype(np.int64)
        broken["union"] += any(c.bound < 0.6 for c in several(cells, dict(enumerate(s)), groups, delta=delta).values())
        broken["forgotten"] += any(accuracy(cells, row, groups, delta=delta).bound < 0.6 for row in s)
    assert broken["union"] / runs <= delta
    assert broken["forgotten"] / runs > 0.5


def test_control_a_quantizer_chosen_on_the_scored_people_breaks_it() -> None:
    """2,000 one-bit quantizers of equal true leakage .6 (each bit is s, flipped with probability .4); the defender
    takes the one with the smallest S on the scored people. Chosen there the bound fails, on fresh people it holds."""
    rng = np.random.default_rng(4)
    n, candidates, runs = 400, 2000, 60
    picked = fresh = 0
    for _ in range(runs):
        s = rng.integers(0, 2, n)
        bits = s ^ (rng.random((candidates, n), dtype=np.float32) < 0.4)
        ones, both = bits.sum(1), (bits & s).sum(1)
        zeros = s.sum() - both
        in_sample = np.maximum(both, ones - both) + np.maximum(zeros, n - ones - zeros)
        best = bits[in_sample.argmin()].astype(np.int64)
        picked += accuracy(best, s, np.arange(n)).bound < 0.6
        new = rng.integers(0, 2, n)
        fresh += accuracy(new ^ (rng.random(n) < 0.4), new, np.arange(n)).bound < 0.6
    assert picked / runs > 0.7
    assert fresh / runs <= 0.05


def squares(rng: np.random.Generator, n: int, largest: int, cells: int) -> tuple[Array, Array, Array, float]:
    """x of 4 coin flips whose odds depend on the cell, groups alike: the least error is the mean of q (1 - q)."""
    p, odds = rng.dirichlet(np.ones(cells)), rng.beta(0.3, 1.0, (cells, 4))
    groups = sizes(rng, n, largest) if largest > 1 else np.arange(n)
    w = rng.choice(cells, n, p=p)
    x = (rng.random((n, 4)) < odds[w]).astype(np.uint8) * 255
    rows = follow(rng, w, groups, 1.0)
    return w[rows], x[rows], groups, float(p @ (odds * (1 - odds)).mean(1))


@pytest.mark.parametrize(("largest", "cells"), [(1, 1), (1, 40), (20, 4)])
def test_coverage_of_squared_error(largest: int, cells: int) -> None:
    rng = np.random.default_rng(cells)
    delta, over, gaps = 0.3, 0, []
    for _ in range(POPULATIONS):
        w, x, g, true = squares(rng, 500, largest, cells)
        found = squared_error(w, cell_errors(w, x), g, delta=delta)
        over += found.bound > true
        gaps.append(true - found.bound)
    assert at_most(over / POPULATIONS, delta)
    assert np.median(gaps) < (0.05 if largest == 1 else 0.12), f"median gap {np.median(gaps):.3f}"


def rare(rng: np.random.Generator, single: bool) -> float:
    """Failures for x = 1 in a share .05 of groups of 20, and no message: the self-bounding bound decides."""
    over = 0
    for _ in range(POPULATIONS):
        g = np.repeat(np.arange(100), 20)
        x = (rng.random((100, 1)) < 0.05).astype(np.float64)[g]
        w = np.zeros(len(g), np.int64)
        over += squared_error(w, cell_errors(w, x), np.arange(len(g)) if single else g, delta=0.05).bound > 0.05 * 0.95
    return over / POPULATIONS


def test_squared_error_and_the_fault_of_no_groups() -> None:
    assert at_most(rare(np.random.default_rng(5), single=False), 0.05)
    assert rare(np.random.default_rng(5), single=True) > 0.12


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delta", [0, 1, -0.1, 2, math.nan])
def test_impossible_delta(delta: float) -> None:
    with pytest.raises(SpecError, match="between 0 and 1"):
        accuracy(CELLS, S, ALONE, delta=delta)


@pytest.mark.parametrize("bounds", [0, -1, True, 1.5])
def test_impossible_bounds(bounds: Any) -> None:
    with pytest.raises(SpecError, match="1 or more"):
        squared_error(CELLS, np.zeros(6), ALONE, bounds=bounds)


@pytest.mark.parametrize(
    ("cells", "s", "groups", "says"),
    [
        (CELLS[:5], S, ALONE, "5 cells, 6 labels"),
        (CELLS, S, ALONE[:5], "one of each per person"),
        (CELLS, S, ALONE * 0, "one group"),
        (CELLS, S * 0 - 1, ALONE, "none of 6 people has a label"),
        (CELLS, S - 2, ALONE, "a label is -2"),
        (CELLS.astype(float), S, ALONE, "cells is float64"),
        (CELLS, S.reshape(2, 3), ALONE, "one integer per person"),
        (CELLS[:0], S[:0], ALONE[:0], "N >= 1"),
    ],
)
def test_refused(cells: Array, s: Array, groups: Array, says: str) -> None:
    for certify in (accuracy, lambda c, t, g: balanced_accuracy(c, t, g, 2), lambda c, t, g: several(c, {"s": t}, g)):
        with pytest.raises(DataError, match=says):
            certify(cells, s, groups)


def test_other_refusals() -> None:
    with pytest.raises(DataError, match="labels reach 1 with 1 classes"):
        balanced_accuracy(CELLS, S, ALONE, 1)
    with pytest.raises(DataError, match="by has 5 values for 6 people"):
        of_groups(CELLS, S, CELLS[:5], ALONE)
    with pytest.raises(DataError, match="no attribute"):
        several(CELLS, {}, ALONE)
    with pytest.raises(SpecError, match="bits"):
        maximal_leakage(-1)
    with pytest.raises(SpecError, match="squared error"):
        psnr_of(-0.1)


@pytest.mark.parametrize("errors", [np.full(6, 1.5), np.full(6, -0.1), np.full(6, np.nan), np.zeros(5)])
def test_errors_refused(errors: Array) -> None:
    with pytest.raises(DataError, match="cell_errors"):
        squared_error(CELLS, errors, ALONE)


def test_errors_of_other_cells_refused() -> None:
    with pytest.raises(DataError, match="alone in his cell"):
        squared_error(CELLS, np.full(6, 0.1), ALONE)


@pytest.mark.parametrize(
    "x", [np.zeros((5, 2)), np.zeros(6), np.full((6, 2), 255.0), np.full((6, 2), np.nan), np.zeros((6, 2), np.int64)]
)
def test_pictures_refused(x: Array) -> None:
    with pytest.raises(DataError, match="x "):
        cell_errors(CELLS, x)
