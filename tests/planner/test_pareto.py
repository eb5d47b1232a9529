"""Pareto search: what dominates what, by brute force; the order of verification; both strategies beside each other."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

import extractors
import numpy as np
import pytest

from privet.errors import SpecError
from privet.planner import device as devices
from privet.planner.choosing import SWITCH, Candidate, Limits, preferred
from privet.planner.pareto import best, compared, deviation, front, ordered, undominated
from privet.planner.plan import plan
from privet.planner.table import Table
from privet.train import one_thread


def choice(layer: int, depth: int, psnr: float, accuracy: float, ms: float = 1.0, size: int = 1000) -> Candidate:
    return Candidate("a", layer, depth, psnr, 0.5, accuracy, ms, size, 10)


def many(seed: int, n: int = 60) -> list[Candidate]:
    """Choices on a coarse grid of figures, so that many are equal in some of them."""
    draw = np.random.default_rng(seed)
    return [
        choice(
            int(draw.integers(1, 7)), i + 1, float(draw.integers(10, 20)), float(draw.integers(3, 9)) / 10,
            float(draw.integers(1, 5)), 1000 * int(draw.integers(1, 5)),
        )
        for i in range(n)
    ]  # fmt: skip


def beats(a: Candidate, b: Candidate, margin: float) -> bool:
    """Domination, spelled out."""
    pairs = [(a.told(margin)[k], b.told(margin)[k]) for k in ("psnr", "ms", "bytes")] + [(-a.accuracy, -b.accuracy)]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def test_a_dominated_row_is_nowhere_better_and_somewhere_worse() -> None:
    rows = np.array([[1, 5], [2, 4], [2, 5], [3, 3], [1, 5], [4, 4]], float)
    assert undominated(rows).tolist() == [True, True, False, True, True, False], "equal rows keep each other"
    assert undominated(np.array([[1.0, math.inf], [2.0, 1.0], [2.0, math.inf]])).tolist() == [True, True, False]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_the_front_is_what_brute_force_finds(seed: int, margin: float) -> None:
    choices = many(seed)
    found = front(choices, margin)
    assert found == [c for c in choices if not any(beats(other, c, margin) for other in choices)]
    assert 0 < len(found) < len(choices)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_is_the_most_accurate_within_the_limits(seed: int) -> None:
    choices, limits = many(seed), Limits(psnr=16, ms=3, bytes=3000)
    within = [c for c in choices if c.psnr + c.std <= 16 and c.ms <= 3 and c.bytes <= 3000]
    found = best(choices, limits, 1.0)
    assert found is not None
    assert found in within
    assert found.accuracy == max(c.accuracy for c in within)
    equals = [c for c in within if c.accuracy == found.accuracy]
    assert (found.ms, found.bytes) == min((c.ms, c.bytes) for c in equals)
    assert found in front(within, 1.0), "nothing dominates it"
    assert best(choices, Limits(psnr=1), 1.0) is None


@pytest.mark.parametrize("seed", range(8))
def test_choices_are_verified_by_their_accuracy_those_on_the_front_first(seed: int) -> None:
    choices, limits = many(seed), Limits(psnr=17, ms=4)
    order = ordered(choices, limits, 1.0)
    assert order[0] == best(choices, limits, 1.0)
    assert all(limits.kept(c.told(1.0)) for c in order)
    on_front = [c in front([c for c in choices if limits.kept(c.told(1.0))], 1.0) for c in order]
    assert on_front == sorted(on_front, reverse=True)
    for kept in (True, False):
        worth = [c.accuracy for c, is_front in zip(order, on_front, strict=True) if is_front is kept]
        assert worth == sorted(worth, reverse=True)
    for layer in range(1, 7):
        depths = [c.depth for c in order if c.layer == layer]
        assert all(b <= max(0.75 * a, min(depths)) and b < a for a, b in pairwise(depths))


def test_what_is_not_known_to_be_accurate_comes_last() -> None:
    known, unknown = choice(1, 2, 15, 0.3), choice(1, 1, 15, math.nan)
    assert front([unknown, known], 0.0) == [known]
    assert ordered([unknown, known], Limits(psnr=20), 0.0) == [known, unknown]
    alone = compared([unknown], Limits(psnr=20), 0.0, SWITCH)
    assert [(one.pareto, one.gain) for one in alone] == [(unknown, None)]


def test_both_strategies_stand_beside_each_other_at_every_limit() -> None:
    """A deep layer that is worth less than a shallow one misleads the paper's strategy where little may leak."""
    shallow, deep = choice(1, 2, 15, 0.7, ms=1), choice(6, 2, 14, 0.5, ms=6)
    found = compared([shallow, deep], Limits(psnr=99, ms=8), 0.0, SWITCH)
    assert [one.limit for one in found] == [14, 15]
    assert [one.paper for one in found] == [deep, deep]
    assert [one.pareto for one in found] == [deep, shallow]
    assert [one.gain for one in found] == [0.0, pytest.approx(0.2)]
    quick = compared([shallow, deep], Limits(psnr=99, ms=2), 0.0, SWITCH)
    assert [(one.paper, one.pareto, one.gain) for one in quick] == [(None, None, None), (shallow, shallow, 0.0)]


@pytest.mark.parametrize("seed", range(4))
def test_pareto_is_never_less_accurate_by_the_tables(seed: int) -> None:
    choices, limits = many(seed), Limits(ms=4)
    found = compared(choices, limits, 1.0, 16.0)
    assert len(found) >= 8
    for one in found:
        at = replace(limits, psnr=one.limit)
        assert one.paper == next(iter(preferred(choices, at, 1.0, 16.0)), None)
        assert (one.paper is None) == (one.pareto is None)
        assert one.gain is None or one.gain >= 0
    assert any(one.gain for one in found)


def test_the_deviation_is_that_of_draws_within_cells() -> None:
    worth = {(1, 2): (0.5, 0.6, 0.7), (6, 2): (0.1, 0.1, 0.4)}
    rows = [extractors.row(*key, 20.0, w, draw=i) for key, values in worth.items() for i, w in enumerate(values)]
    rows = [replace(row, linear_accuracy=0.0) for row in rows]
    within = [np.var(values, ddof=1) for values in worth.values()]
    assert deviation(Table(tuple(rows))) == pytest.approx(math.sqrt(np.mean(within)))
    lines = [
        replace(row, psnr=None, accuracy=None, linear_accuracy=w)
        for row, w in zip(rows, chain(*worth.values()), strict=True)
    ]
    assert deviation(Table(tuple(lines))) == pytest.approx(math.sqrt(np.mean(within))), "by the linear classifier"
    assert deviation(Table((rows[0], rows[3]))) is None


def test_a_plan_by_pareto_tries_the_most_accurate_first(tmp_path: Path) -> None:
    """The tables say that the second layer of three is the most accurate; the paper's strategy would take the third."""
    people, small = extractors.corpus(), extractors.source(tmp_path)
    rows = [
        extractors.row(m, d, 12.0 + d - m, 0.9 if m == 2 else 0.5, draw=i)
        for m in (1, 2, 3) for d in (1, 3) for i in range(2)
    ]  # fmt: skip
    with one_thread():
        where = devices.measured([small], {"small": [1, 2, 3]}, people.shape)
        made = {
            strategy: plan(
                [small], people, Table(tuple(rows)), Limits(psnr=45), where, extractors.GRID, seed=1,
                strategy=strategy, switch=99.0,
            )
            for strategy in ("paper", "pareto")
        }  # fmt: skip
    assert made["paper"].tried[0]["layer"] == 3
    assert made["pareto"].tried[0]["layer"] == 2
    assert made["pareto"].strategy == "pareto"
    assert made["pareto"].compared == made["paper"].compared != ()
    told = made["pareto"].json()["compared"][-1]
    assert told["paper"]["layer"] == 3
    assert told["pareto"]["layer"] == 2
    assert told["gain"] == pytest.approx(0.4)


def test_other_strategies_are_refused(tmp_path: Path) -> None:
    people, small = extractors.corpus(), extractors.source(tmp_path)
    nowhere = devices.Device("there", people.shape, ())
    with pytest.raises(SpecError, match="no strategy named 'paretto'; did you mean 'pareto'"):
        plan([small], people, Table(()), Limits(psnr=45), nowhere, extractors.GRID, strategy="paretto")
