"""Frontiers: one scale for all methods, equally many points, chosen without the victims, and the coin to beat."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
from known import Known, both

from privet.errors import RunError
from privet.metrics import hypervolume
from privet.recipes import frontier
from privet.recipes.disco import measures as m
from privet.recipes.disco.sets import DIGITS
from privet.recipes.evidence import Evidence

KEY = "digits/trade"
RAW, FLOOR, MAJORITY = 0.8, 0.1, 0.5
DISCO = tuple(f"disco:ratio={r}" for r in (0.5, 0.75, 0.9))
CONTROL = tuple(f"disco:ratio={r},alpha=0" for r in (0.5, 0.75, 0.9))
RANDOM = tuple(f"random_channels:ratio={r},train=both" for r in (0.5, 0.75, 0.9))


def known(disco: dict[str, tuple[float, float]], random: dict[str, tuple[float, float]] | None = None) -> Known:
    """Methods by (U, P), the same on the owner's parts as on the victims."""
    values, facts = {(KEY, "floor", "digit"): FLOOR}, {}
    for name, (u, p) in {"none": (1.0, 0.0), **disco, **(random or {})}.items():
        values[KEY, name, "y"] = MAJORITY + u * (0.98 - MAJORITY)
        values[KEY, name, "digit"] = RAW - p * (RAW - FLOOR)
        facts[KEY, name, "task_val_accuracy"] = values[KEY, name, "y"]
        facts[KEY, name, "selection"] = {"digit": {"mlp_probe": {"accuracy": values[KEY, name, "digit"]}}}
    return Known(values, facts)


LINE = dict(zip(RANDOM, ((0.75, 0.25), (0.5, 0.5), (0.25, 0.75)), strict=True))


def test_points_lie_on_the_scale_of_raw_z() -> None:
    evidence = cast(Evidence, known({DISCO[0]: (0.9, 0.4)}))
    ((u, p),) = frontier.points(evidence, KEY, [DISCO[0]], "digit", "fresh")
    assert u.estimate().mean == pytest.approx(0.9, abs=0.01)
    assert p.estimate().mean == pytest.approx(0.4, abs=0.01)
    ((one, nothing),) = frontier.points(evidence, KEY, ["none"], "digit", "fresh")
    assert one.estimate().mean == pytest.approx(1.0, abs=1e-9)
    assert nothing.estimate().mean == pytest.approx(0.0, abs=1e-9)


def test_a_coin_reaches_what_its_formula_says() -> None:
    for count in (1, 2, 3, 8):
        places = np.arange(1, count + 1) / (count + 1)
        assert hypervolume([(p, 1 - p) for p in places]) == pytest.approx(frontier.coin(count))
    found = frontier.volume(cast(Evidence, known({}, LINE)), KEY, RANDOM, "digit", "fresh").estimate()
    assert found.mean == pytest.approx(frontier.coin(3), abs=0.01)
    assert found.low < found.mean < found.high


def test_no_scale_where_raw_z_has_nothing() -> None:
    made = known({DISCO[0]: (0.9, 0.4)})
    made.values[KEY, "none", "digit"] = FLOOR
    with pytest.raises(RunError, match="no scale"):
        frontier.points(cast(Evidence, made), KEY, [DISCO[0]], "digit", "fresh")


def test_the_claim_compares_equally_many_points_with_a_coin() -> None:
    def made(sign: float) -> Known:
        shift = 0.12 * sign
        disco = {d: (u + shift, p + shift) for d, (u, p) in zip(DISCO, LINE.values(), strict=True)}
        return known(disco | dict(zip(CONTROL, LINE.values(), strict=True)), LINE)

    for measure in (m.beats_coin(DIGITS), m.beats(DIGITS, "alpha = 0"), m.beats(DIGITS, "random")):
        both(lambda sign, measure=measure: (measure, made(sign)))
    said = m.beats_coin(DIGITS)[1](cast(Evidence, made(1)), "fresh")
    assert said.startswith("3 points each: learned for each 0.")
    assert "alpha = 0 0.37, random 0.37" in said or "alpha = 0 0.38, random 0.38" in said
    assert said.endswith("coin 0.38")
    fewer = made(1)
    for table in (fewer.values, fewer.facts):
        for name in [n for n in table if n[1] == CONTROL[0]]:
            del table[name]
    with pytest.raises(RunError, match=r"\[2, 3\] operating points"):
        m.beats_coin(DIGITS)[0](cast(Evidence, fewer), "fresh")
    with pytest.raises(RunError, match="'learned once' was not run"):
        m.beats(DIGITS, "learned once")[0](cast(Evidence, made(1)), "fresh")
