"""The real sets, where they are present: all of them load, with the facts that their README states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from privet.data import describe, load

IMAGES = {
    "utkface": ("gender", "race", (3, 50, 50), 4_626, ()),
    "celeba_attr": ("smiling", "gender", (3, 50, 50), 1_945, ()),
    "celeba_id": ("gender", "identity", (3, 50, 50), 1_094, ("hidden_is_group",)),
    "lfw_gender": ("gender", "identity", (3, 50, 50), 1_639, ("hidden_is_group",)),
    "att_faces": ("shot", "identity", (1, 61, 50), 80, ("hidden_is_group",)),
    "qmnist": ("digit", "source", (1, 28, 28), 12_016, ("groups_shared",)),
    "cifar10": ("animal", "label", (3, 32, 32), 12_000, ()),
    "fsdd": ("digit", "speaker", (1, 40, 64), 600, ("hidden_is_group",)),
}
TABLES = {
    "adult": ("income", "sex", 9_768),
    "compas": ("two_year_recid", "race", 1_441),
    "german": ("class-label", "sex", 200),
    "law_school": ("pass_bar", "race", 4_160),
    "dutch": ("occupation", "sex", 12_084),
    "credit_card": ("default payment", "SEX", 5_999),
    "student": ("class", "sex", 129),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.heavy) if n == "cifar10" else n for n in IMAGES])
def test_pictures(name: str, shared_data: Path) -> None:
    target, hidden, shape, victims, flags = IMAGES[name]
    c = load(str(shared_data / name), target=target, hidden=[hidden])
    assert (c.kind, c.shape, len(c.victim), c.flags) == ("image", shape, victims, flags)
    assert max(c.n_classes(target), c.n_classes(hidden)) <= 4_278


@pytest.mark.parametrize("name", TABLES)
def test_tables(name: str, shared_data: Path) -> None:
    target, hidden, victims = TABLES[name]
    c = load(str(shared_data / "tabular" / name), target=target, hidden=[hidden])
    assert (c.kind, len(c.victim)) == ("table", victims)
    assert all(np.isfinite(part.x).all() for part in c.parts.values())
    assert c.flags == (("many_removed",) if name == "dutch" else ())


def test_utkface_facts(shared_data: Path) -> None:
    c = load(str(shared_data / "utkface"), target="gender", hidden=["race"])
    assert c.classes["race"] == ("white", "black", "asian", "indian", "other")
    assert describe(c)["dependence"]["race"] == pytest.approx(0.004, abs=0.002)


def test_celeba_gender_is_male(shared_data: Path) -> None:
    from privet.errors import DataError

    with pytest.raises(DataError, match="'gender' and hidden 'male' are one labeling"):
        load(str(shared_data / "celeba_attr"), target="gender", hidden=["male"])
