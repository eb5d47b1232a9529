"""Comparison: person by person, on the same victims and seeds, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privet.auditing.tables import TARGET
from privet.errors import RunError
from privet.report import compare
from privet.report.rows import Runs
from studies import people, study

KNOWLEDGE = {
    "none": {"mlp_probe": 3.0},
    "a": {
        "mlp_probe": 2.0,
    },
    "b": {"mlp_probe": 1.0},
}
A, B = Path("A"), Path("B")


def made(knowledge: dict[str, dict[str, float]] = KNOWLEDGE, victim: int = 300, **more: Any) -> Runs:
    return Runs(*study(people(victim=victim), knowledge, **more))


def by_name(found: list[compare.Difference]) -> dict[tuple[str, str], compare.Difference]:
    return {(d.attribute, d.metric): d for d in found}


def test_differences_are_paired() -> None:
    runs = made()
    found = by_name(compare.differences(compare.side(runs, A, "a"), compare.side(runs, A, "b")))
    d = found["s", "accuracy"]
    means = [
        np.mean(
            [(r.arrays["posterior/s/mlp_probe"].argmax(1) == r.arrays["victim/hidden/s"]).mean() for r in runs.of(x)]
        )
        for x in ("a", "b")
    ]
    assert d.difference.mean == pytest.approx(means[0] - means[1])
    assert d.claimed
    assert d.seeds == 2
    assert d.attacks == ("mlp_probe", "mlp_probe")
    assert (TARGET, "accuracy") in found
    assert not found[TARGET, "accuracy"].claimed
    same = by_name(compare.differences(compare.side(runs, A, "a"), compare.side(runs, A, "a")))
    e = same["s", "accuracy"].difference
    assert -0.02 < e.low < e.mean == 0.0 < e.high < 0.02  # nobody differs of these people, of others some may
    assert d.json()["claimed"] is True


def test_the_same_people_cancel() -> None:
    """The paired interval is narrower than that of two unpaired studies, when both err on the same people."""
    shared = {}

    def nearly(defense: str, seed: int, arrays: dict[str, Any]) -> None:
        name = "posterior/s/mlp_probe"
        if defense == "a":
            shared[seed] = arrays[name]
        if defense == "b":
            arrays[name] = shared[seed].copy()
            arrays[name][:2] = [[0.2, 0.3, 0.5]]

    runs = made(edit=nearly)
    paired = by_name(compare.differences(compare.side(runs, A, "a"), compare.side(runs, A, "b")))["s", "accuracy"]
    own = runs.cell("a", "s", "mlp_probe", "accuracy").estimate()
    assert paired.difference.high - paired.difference.low < own.high - own.low


def test_other_people_are_refused() -> None:
    with pytest.raises(RunError, match="not audited on the same people"):
        compare.differences(compare.side(made(), A, "a"), compare.side(made(victim=301), B, "a"))


def test_no_shared_seed_is_refused() -> None:
    plan, runs = study(people(victim=300), KNOWLEDGE)
    first = {k: v for k, v in runs.items() if k != ("a", 1)}
    second = {k: v for k, v in runs.items() if k != ("b", 0)}
    one, two = Runs(plan, first), Runs(plan, second)
    with pytest.raises(RunError, match="share no finished seed"):
        compare.differences(compare.side(one, A, "a"), compare.side(two, B, "b"))
    assert compare.differences(compare.side(one, A, "a"), compare.side(two, B, "a"))[0].seeds == 1


def test_other_efforts_are_refused() -> None:
    with pytest.raises(RunError, match="same --effort"):
        compare.differences(compare.side(made(), A, "a"), compare.side(made(replicates=30), B, "a"))


def test_choosing_a_side() -> None:
    runs = made()
    assert compare.side(runs, A, "b").label == "A#b"
    with pytest.raises(RunError, match="holds several defenses; write A#DEFENSE with one of: none, a, b"):
        compare.side(runs, A, None)
    with pytest.raises(RunError, match="no defense in this study named 'c'"):
        compare.side(runs, A, "c")
    assert compare.side(made({"none": {"x": 1.0}, "a": {"x": 1.0}}), A, None).defense == "a"
    assert compare.side(made({"none": {"x": 1.0}}), A, None).defense == "none"


def test_pictures_are_compared_where_both_have_them() -> None:
    runs = made(pictures={"none": 9.0, "a": 5.0, "b": 2.0})
    both = by_name(compare.differences(compare.side(runs, A, "a"), compare.side(runs, A, "b")))
    assert both["input", "psnr"].difference.mean == pytest.approx(3.0, abs=0.2)
    without = by_name(compare.differences(compare.side(runs, A, "a"), compare.side(made(), B, "b")))
    assert ("input", "psnr") not in without
    assert ("s", "auc") in without
