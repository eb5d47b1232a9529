"""Thinned examples: the dependence that was asked for, nobody twice, and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from privet.data import load
from privet.data.describe import mutual_information
from privet.data.resample import information, joint, partners
from privet.errors import DataError, SpecError


def write(folder: Any, n: int = 3000, seed: int = 0) -> str:
    """A CSV of a table whose target and attribute depend a little, five values of unequal shares."""
    generator = np.random.default_rng(seed)
    s = generator.choice(5, n, p=[0.4, 0.25, 0.2, 0.1, 0.05])
    y = (generator.random(n) < 0.4 + 0.05 * (s == 1)).astype(int)
    rows = ["a,b,target,race"] + [
        f"{generator.random():.6f},{generator.random():.6f},{'yn'[i]},{'uvwxz'[j]}" for i, j in zip(y, s, strict=True)
    ]
    path = folder / "people.csv"
    path.write_text("\n".join(rows) + "\n")
    return str(path)


@pytest.mark.parametrize("nats", [0.0, 0.05, 0.2, 0.4])
def test_dependence_is_what_was_asked_for(tmp_path: Any, nats: float) -> None:
    data = write(tmp_path)
    found = load(data, target="target", hidden=["race"], dependence=f"race={nats}")
    whole = load(data, target="target", hidden=["race"])
    y = np.concatenate([p.y for p in found.parts.values()])
    s = np.concatenate([p.s["race"] for p in found.parts.values()])
    assert mutual_information(y, s) == pytest.approx(nats, abs=0.01)
    ids = np.concatenate([p.ids for p in found.parts.values()])
    assert len(np.unique(ids)) == len(ids) < sum(len(p) for p in whole.parts.values())
    assert set(ids) <= set(np.concatenate([p.ids for p in whole.parts.values()]))
    assert any(note.startswith("thinned to I(target; race)") for note in found.notes)
    again = load(data, target="target", hidden=["race"], dependence=f"race={nats}")
    assert again.digest == found.digest != whole.digest


def test_joint_keeps_the_rest_of_the_product() -> None:
    """At 0 it is the product of the marginals; beyond, only whether y goes with s counts."""
    counts = np.array([[30.0, 20, 10], [10, 40, 5]])
    product = np.outer(counts.sum(1), counts.sum(0)) / counts.sum() ** 2
    np.testing.assert_allclose(joint(counts, 0.0), product)
    tilted = joint(counts, 0.1)
    assert information(tilted) == pytest.approx(0.1, abs=1e-6)
    odds = tilted / product
    assert len(np.unique(odds.round(9))) == 2
    for column, value in enumerate(partners(counts.sum(0), 2)):
        assert odds[value, column] == pytest.approx(odds.max())


def test_information_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    y, s = generator.integers(0, 3, 500), generator.integers(0, 4, 500)
    counts = np.bincount(y * 4 + s, minlength=12).reshape(3, 4)
    assert information(counts / 500) == pytest.approx(mutual_info_score(y, s))


def test_partners_are_balanced() -> None:
    assert partners(np.array([5.0, 4, 3, 2, 1]), 2).tolist() == [0, 1, 1, 0, 0]
    assert partners(np.array([1.0, 9.0]), 2).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("race", SpecError, "ATTRIBUTE=NATS"), ("race=much", SpecError, "ATTRIBUTE=NATS"),
        ("race=-1", SpecError, "ATTRIBUTE=NATS"), ("race=nan", SpecError, "ATTRIBUTE=NATS"),
        ("race=inf", SpecError, "ATTRIBUTE=NATS"), ("age=0.1", SpecError, "attribute for dependence"),
        ("target=0.1", SpecError, "attribute for dependence"), ("race=0.9", DataError, "at most"),
    ],
)  # fmt: skip
def test_refusals(tmp_path: Any, text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        load(write(tmp_path), target="target", hidden=["race"], dependence=text)


def test_combinations_that_do_not_exist() -> None:
    """Digits decide their parity, so no thinning makes them independent."""
    with pytest.raises(DataError, match="only 0 examples would be left"):
        load("digits", target="parity", hidden=["digit"], dependence="digit=0.1")
