"""Seconds and people: what the page says of them is what was measured, and a law that failed foretells nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import fixtures
import numpy as np
import pytest

from privet.auditing import curves
from privet.report import efforts, html, spending
from privet.report.runs import Runs
from privet.run import Run

SIZES = (100, 200, 400, 800)


def runs(values: dict[str, tuple[float, float, float]], laws: dict[int, float] | None = None) -> Runs:
    """One defense, one seed, one attribute; for each attack its score on aux_val, on victims, and its seconds."""
    generator = np.random.default_rng(0)
    groups = np.arange(50)
    arrays: dict[str, Any] = {"victim/target": np.zeros(50, np.int64), "victim/groups": groups}
    arrays["victim/hidden/race"] = np.zeros(50, np.int64)
    for name, (_, reached, _) in values.items():
        arrays[f"table/race/{name}/accuracy"] = reached + generator.normal(0, 0.01, 41) * (np.arange(41) > 0)
    for size, reached in (laws or {}).items():
        noise = generator.normal(0, 0.001, 41) * (np.arange(41) > 0)
        arrays[f"table/race/curve:mlp_probe@{size}/accuracy"] = reached + noise
    record = {
        "results": {"selection": {"race": {n: {"accuracy": v[0]} for n, v in values.items()}}},
        "attack_seconds": {f"race/{n}": v[2] for n, v in values.items() if v[2]},
    }
    plan = {
        "reference": "none", "seeds": [0], "defenses": ["none"], "folder": "",
        "data": {"hidden": [{"name": "race", "classes": ["a", "b"]}]},
    }  # fmt: skip
    return Runs(plan, {("none", 0): Run(Path(), record, arrays)})


def test_a_purse_goes_from_cheap_to_dear_and_chooses_on_aux_val() -> None:
    kept = {
        "slow": (0.9, 0.85, 30.0),
        "cheap": (0.5, 0.55, 1.0),
        "worse": (0.4, 0.99, 2.0),  # better on the victims, which nobody may know
        "middle": (0.8, 0.7, 10.0),
        "ensemble": (0.95, 0.9, 0.0),
    }
    (purse,) = spending.purses(runs(kept))
    told = [(seconds, name, e.mean) for seconds, name, e in purse.steps]
    assert told == [
        (1.0, "cheap", pytest.approx(0.55)),
        (13.0, "middle", pytest.approx(0.7)),
        (43.0, "slow", pytest.approx(0.85)),
        (43.0, "ensemble", pytest.approx(0.9)),
    ]


def test_a_purse_ends_where_the_money_does() -> None:
    (purse,) = spending.purses(runs({"cheap": (0.9, 0.8, 1.0), "dear": (0.5, 0.6, 9.0)}))
    assert [(s, n) for s, n, _ in purse.steps] == [(1.0, "cheap"), (10.0, "cheap")]


def test_a_law_that_holds_is_believed() -> None:
    truth = {n: 0.9 - 2.0 * n**-0.5 for n in SIZES}
    (curve,) = spending.learned(runs({"mlp_probe": (0.9, 0.8, 1.0)}, truth))
    assert [n for n, _ in curve.points] == list(SIZES)
    assert curve.attack == "mlp_probe"
    assert abs(curve.missed.mean) < 1e-6
    assert curve.ahead is not None
    assert curve.ahead.mean == pytest.approx(0.9 - 2.0 * (curves.BEYOND * 800) ** -0.5)


def test_a_law_that_fails_foretells_nothing() -> None:
    jump = {100: 0.5, 200: 0.5, 400: 0.5, 800: 0.8}  # nothing in the smaller sizes says so
    (curve,) = spending.learned(runs({"mlp_probe": (0.9, 0.8, 1.0)}, jump))
    assert curve.missed.mean == pytest.approx(-0.3, abs=0.01)
    assert curve.ahead is None


def test_too_few_sizes_are_no_curve() -> None:
    assert spending.learned(runs({"mlp_probe": (0.9, 0.8, 1.0)}, {100: 0.5, 200: 0.6, 400: 0.7})) == ()


def test_a_law_that_nobody_could_refute_is_not_believed() -> None:
    """On average it meets the largest size, but the miss is known to no better than twenty points."""
    truth = {n: 0.9 - 2.0 * n**-0.5 for n in SIZES}
    loose = runs({"mlp_probe": (0.9, 0.8, 1.0)}, truth)
    (run,) = loose.runs.values()
    run.arrays["table/race/curve:mlp_probe@800/accuracy"][1:] += np.random.default_rng(1).normal(0, 0.1, 40)
    (curve,) = spending.learned(loose)
    assert abs(curve.missed.mean) < 1e-6
    assert curve.ahead is None
    assert curve.unsure
    assert efforts._why_not(curve).startswith("not sure enough: its interval spans ")
    assert "points" in efforts._why_not(curve)


def test_a_law_that_surely_missed_is_not_called_unsure() -> None:
    jump = {100: 0.5, 200: 0.5, 400: 0.5, 800: 0.8}
    (curve,) = spending.learned(runs({"mlp_probe": (0.9, 0.8, 1.0)}, jump))
    assert efforts._why_not(curve) == "the law failed"
    results = dataclasses.replace(fixtures.utk(), curves=(dataclasses.replace(curve, attribute="race"),))
    page = html.render(results)
    assert "Nothing is foretold" in page
    assert "A last mark" not in page
    ahead = dataclasses.replace(curve, attribute="race", ahead=curve.missed)
    assert "A last mark" in html.render(dataclasses.replace(results, curves=(ahead,)))
