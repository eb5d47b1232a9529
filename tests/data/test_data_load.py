"""Roles: whole groups, right proportions, one seed one split; questions that the data cannot carry are refused."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privet.data import Corpus, describe, load
from privet.data.corpus import ROLES
from privet.data.groups import group_column, join, near_duplicates
from privet.data.roles import allot, shares, thin
from privet.errors import DataError, SpecError


def sizes(corpus: Corpus) -> list[int]:
    return [len(corpus.parts[role]) for role in ROLES]


def disjoint(corpus: Corpus, what: str, roles: tuple[str, ...] = ROLES) -> bool:
    sets = [set(getattr(corpus.parts[role], what).tolist()) for role in roles]
    return not any(a & b for a, b in combinations(sets, 2))


def test_digits() -> None:
    c = load("digits")
    assert (c.target, c.hidden, c.kind, c.shape) == ("parity", ("digit",), "image", (1, 8, 8))
    assert sum(sizes(c)) == 1797
    assert np.allclose(np.array(sizes(c)) / 1797, [0.4, 0.1, 0.25, 0.05, 0.2], atol=0.002)
    assert disjoint(c, "ids")
    assert disjoint(c, "groups")
    assert c.task_train.x.max() == 255
    assert np.array_equal(c.victim.y, c.victim.s["digit"] % 2)
    assert describe(c)["dependence"]["digit"] == pytest.approx(np.log(2), abs=0.01)
    for part in c.parts.values():
        assert abs(part.y.mean() - 0.5) < 0.03


def test_digits_with_other_questions() -> None:
    assert load("digits", target="high", hidden=["parity"]).classes["high"] == ("0-4", "5-9")
    c = load("digits", target="digit")
    assert c.hidden == ("parity",)
    assert "target_determines_hidden" in c.flags
    both = load("digits", hidden=["digit", "high"], side=[])
    assert set(both.victim.s) == {"digit", "high"}
    assert load("digits", hidden=["high"], side=["digit"]).side == ("digit",)
    assert load("digits", resize="16x12").shape == (1, 16, 12)


def test_one_seed_one_split() -> None:
    assert load("digits", seed=3).digest == load("digits", seed=3).digest
    assert load("digits", seed=3).digest != load("digits", seed=4).digest


def test_limit_shrinks_all_parts_in_proportion() -> None:
    c = load("digits", limit=100)
    assert sizes(c) == [100, 25, 62, 12, 49]
    assert load("digits", limit=100).digest == c.digest
    assert load("digits", limit=100, seed=1).digest != c.digest
    assert any("limited to 100" in note for note in c.notes)
    assert not any("limited" in note for note in load("digits", limit=2000).notes)
    with pytest.raises(SpecError, match="limit is 0"):
        load("digits", limit=0)


def test_a_directory_keeps_test_for_the_victims(tmp_path: Path, make: Any) -> None:
    pictures = make.noise(260)
    labels = np.arange(260)
    make.images(tmp_path / "d/train.parquet", pictures[:200], gender=labels[:200] % 2, race=labels[:200] % 3)
    make.images(tmp_path / "d/test.parquet", pictures[200:], gender=labels[200:] % 2, race=labels[200:] % 3)
    c = load(str(tmp_path / "d"), target="gender", hidden=["race"])
    assert np.abs(np.array(sizes(c)) - [100, 25, 62.5, 12.5, 60]).max() <= 1
    assert sorted(c.victim.s["race"].tolist()) == sorted((labels[200:] % 3).tolist())
    assert c.name == "d"


def test_victims_are_removed_from_train(tmp_path: Path, make: Any) -> None:
    pictures = make.noise(120)
    y, s = np.arange(120) % 2, np.arange(120) % 3
    make.images(tmp_path / "train.parquet", pictures[:100], y=y[:100], s=s[:100])
    make.images(tmp_path / "test.parquet", pictures[90:], y=y[90:], s=s[90:])
    c = load(str(tmp_path), target="y", hidden=["s"])
    assert sizes(c)[-1] == 30
    assert sum(sizes(c)) == 120
    assert any(note.startswith("10 examples were removed from the training data") for note in c.notes)
    assert "many_removed" in c.flags
    make.images(tmp_path / "test.parquet", pictures, y=y, s=s)
    with pytest.raises(DataError, match="every example to train on is also a victim"):
        load(str(tmp_path), target="y", hidden=["s"])


def people(make: Any, file: Path, pictures: list[bytes], per_person: int, **columns: Any) -> Path:
    n = len(pictures)
    rng = np.random.default_rng(5)
    own = {"y": rng.integers(0, 2, n), "s": rng.integers(0, 3, n), "identity": np.arange(n) // per_person}
    return make.images(file, pictures, **{**own, **columns})


def test_a_person_stays_in_one_part(tmp_path: Path, make: Any) -> None:
    file = people(make, tmp_path / "a.parquet", make.noise(300), 6)
    c = load(str(file), target="y", hidden=["s"])
    assert disjoint(c, "groups")
    assert sum(len(np.unique(part.groups)) for part in c.parts.values()) == 50
    assert all(
        np.bincount(part.groups)[np.unique(part.groups)].tolist() == [6] * (len(part) // 6) for part in c.parts.values()
    )
    named = people(make, tmp_path / "b.parquet", make.noise(300), 6, batch=np.arange(300) // 30)
    c = load(str(named), target="y", hidden=["s"], group="batch")
    assert sum(len(np.unique(part.groups)) for part in c.parts.values()) == 10
    assert disjoint(c, "groups")


def test_a_hidden_person_is_in_every_part_and_flagged(tmp_path: Path, make: Any) -> None:
    file = people(make, tmp_path / "a.parquet", make.noise(300), 60)
    c = load(str(file), target="y", hidden=["identity"])
    assert "hidden_is_group" in c.flags
    assert disjoint(c, "ids")
    for part in c.parts.values():
        counts = np.bincount(part.s["identity"], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert "target_is_group" in load(str(file), target="identity", hidden=["s"]).flags


def test_few_groups(tmp_path: Path, make: Any) -> None:
    file = people(make, tmp_path / "a.parquet", make.noise(60), 20)
    c = load(str(file), target="y", hidden=["s"])
    assert any("too few groups" in note for note in c.notes)
    with pytest.raises(DataError, match="3 groups cannot fill the 5 parts"):
        load(str(file), target="y", hidden=["s"], group="identity")
    many = people(make, tmp_path / "b.parquet", make.noise(60), 5)
    assert disjoint(load(str(many), target="y", hidden=["s"], group="identity"), "groups")
    six = people(make, tmp_path / "c.parquet", make.noise(60), 10)
    with pytest.raises(DataError, match="the victims are of one group only"):
        load(str(six), target="y", hidden=["s"], group="identity")


def test_groups_that_the_data_set_shares_are_flagged(tmp_path: Path, make: Any) -> None:
    pictures = make.noise(300)
    people(make, tmp_path / "train.parquet", pictures[:240], 8)
    people(make, tmp_path / "test.parquet", pictures[240:], 8)
    c = load(str(tmp_path), target="y", hidden=["s"])
    assert "groups_shared" in c.flags
    assert any("8 groups are in the victims" in note for note in c.notes)
    assert disjoint(c, "groups", ROLES[:-1])


def test_near_duplicates_stay_together(tmp_path: Path, make: Any) -> None:
    rng = np.random.default_rng(0)
    pictures, cluster = [], []
    for i in range(60):
        coarse = rng.integers(20, 230, (8, 9)).astype(float)
        big = np.kron(coarse, np.ones((6, 6)))
        for _ in range(3):
            pictures.append(make.png((big + rng.normal(0, 0.5, big.shape)).clip(0, 255).astype(np.uint8)))
            cluster.append(i)
    y, s = rng.integers(0, 2, 180), rng.integers(0, 2, 180)
    make.images(tmp_path / "a.parquet", pictures, y=y, s=s, which=np.array(cluster))
    c = load(str(tmp_path / "a.parquet"), target="y", hidden=["s"], side=["which"])
    assert len(np.unique(np.concatenate([p.ids for p in c.parts.values()]))) == 180
    where = {role: set(part.s["which"].tolist()) for role, part in c.parts.items()}
    assert not any(a & b for a, b in combinations(where.values(), 2))
    assert sum(map(len, where.values())) == 60


def test_pictures_too_alike_fall_back_to_equality(tmp_path: Path, make: Any) -> None:
    ramp = np.tile(np.arange(40, dtype=np.uint8) * 5, (40, 1))
    flat = []
    for i in range(100):
        ramp[i // 40, i % 40] += 1
        flat.append(make.png(ramp))
    make.images(tmp_path / "a.parquet", flat, y=np.arange(100) % 2, s=np.arange(100) // 2 % 2)
    c = load(str(tmp_path / "a.parquet"), target="y", hidden=["s"])
    assert any("too alike" in note for note in c.notes)
    assert sizes(c) == [40, 10, 25, 5, 20]


def test_missing_labels_are_kept_and_told(tmp_path: Path, make: Any) -> None:
    y = pa.array([None if i % 10 == 0 else i % 2 for i in range(200)])
    s = pa.array([-1 if i % 20 == 0 else i % 3 for i in range(200)])
    file = make.images(tmp_path / "a.parquet", make.noise(200), {"s": ("a", "b", "c")}, y=y, s=s)
    c = load(str(file), target="y", hidden=["s"])
    assert sum(sizes(c)) == 200
    assert sum(int((part.y == -1).sum()) for part in c.parts.values()) == 20
    assert sum(int((part.s["s"] == -1).sum()) for part in c.parts.values()) == 10
    assert "labels_missing" in c.flags
    assert "20 of 200 examples have no label of 'y'" in c.notes
    assert c.classes["s"] == ("a", "b", "c")


def test_columns_as_labels(tmp_path: Path, make: Any) -> None:
    n = 120
    file = make.images(
        tmp_path / "a.parquet",
        make.noise(n),
        y=np.array(["no", "yes"])[np.arange(n) % 2],
        whole=(np.arange(n) // 2 % 3).astype(float),
        truth=pa.array((np.arange(n) // 3 % 2).astype(bool)),
        word=pa.array(np.array(["ten", "two", "nine"])[np.arange(n) % 3]).dictionary_encode(),
        age=np.arange(n) % 12,
    )
    c = load(str(file), target="y", hidden=["whole", "truth", "word"], side=["age"])
    assert c.classes["y"] == ("no", "yes")
    assert c.classes["whole"] == ("0", "1", "2")
    assert c.classes["truth"] == ("False", "True")
    assert c.classes["word"] == ("nine", "ten", "two")
    assert c.classes["age"] == tuple(str(i) for i in range(12))
    assert c.n_classes("age") == 12


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, make: Any) -> str:
    """Pictures with every sort of column that can be asked for wrongly."""
    n = 400
    rng = np.random.default_rng(1)
    male = rng.integers(0, 2, n)
    return str(
        make.images(
            tmp_path_factory.mktemp("odd") / "odd.parquet",
            make.noise(n, size=(2, 3)),
            male=male,
            gender=1 - male,
            race=rng.integers(0, 4, n),
            weight=rng.normal(size=n),
            one=np.zeros(n, np.int64),
            tags=pa.array([[1]] * n),
            rare=(np.arange(n) < 7).astype(np.int64),
            serial=np.arange(n),
            nothing=pa.nulls(n),
        )
    )


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({}, "needs a target; columns with labels: male, gender, race, rare"),
        ({"target": "male"}, "needs a hidden attribute; columns with labels: gender, race, rare"),
        ({"target": "male", "hidden": ["gender"]}, "'male' and hidden 'gender' are one labeling"),
        ({"target": "male", "hidden": ["male"]}, "'male' is the target and cannot also be hidden"),
        ({"target": "male", "hidden": ["rce"]}, "did you mean 'race'"),
        ({"target": "sex", "hidden": ["race"]}, "no column named 'sex'; .*known: .*tags, weight"),
        ({"target": "weight", "hidden": ["race"]}, "'weight' cannot be the target: it holds continuous numbers"),
        ({"target": "male", "hidden": ["tags"]}, "'tags' cannot be the hidden attribute: it is of type list"),
        ({"target": "male", "hidden": ["one"]}, "'one' has fewer than two classes"),
        ({"target": "one", "hidden": ["race"]}, "'one' has fewer than two classes"),
        ({"target": "male", "hidden": ["nothing"]}, "'nothing' cannot be the hidden attribute: it is empty"),
        ({"target": "male", "hidden": ["race", "race"]}, "names a column twice"),
        ({"target": "male", "hidden": ["race"], "side": ["race"]}, "hidden and cannot also be side"),
        ({"target": "male", "hidden": ["race"], "group": "peron"}, "no column named 'peron'"),
        ({"target": "male", "hidden": ["race"], "group": "weight"}, "'weight' cannot be the group"),
        ({"target": "male", "hidden": "race"}, "sequences of column names"),
    ],
)
def test_questions_that_the_data_cannot_carry(odd: str, question: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(odd, **question)


def test_hidden_all(odd: str) -> None:
    c = load(odd, target="male", hidden=["all"])
    assert c.hidden == ("race",)
    for name in ("gender", "weight", "one", "tags", "rare", "serial", "nothing"):
        assert any(note.startswith(f"column {name!r} is not among the hidden") for note in c.notes), name


@pytest.mark.parametrize("name", ["input", "(target)", "a/b"])
def test_names_that_results_are_filed_under_are_refused(name: str, tmp_path: Path, make: Any) -> None:
    file = make.table(tmp_path / "a.parquet", 400, **{name: np.arange(400) // 2 % 2})
    for question in ({"hidden": [name]}, {"hidden": ["s"], "side": [name]}, {"target": name, "hidden": ["s"]}):
        with pytest.raises(DataError, match="rename the column"):
            load(str(file), **{"target": "y", **question})
    every = load(str(file), target="y", hidden=["all"])
    assert name not in every.hidden
    assert any(note.startswith(f"column {name!r}") and "rename" in note for note in every.notes)


def test_a_corpus_prints_in_a_line() -> None:
    c = load("digits")
    assert repr(c) == (
        "Corpus('digits', image (1, 8, 8), target='parity', hidden=('digit',), parts: "
        + ", ".join(f"{role} {len(part)}" for role, part in c.parts.items())
        + ")"
    )
    assert repr(c.victim) == f"Part({len(c.victim)} examples of (1, 8, 8), hidden and side: digit)"


def test_victims_who_can_tell_nothing_are_refused(tmp_path: Path, make: Any) -> None:
    main, own = make.table(tmp_path / "m.parquet"), tmp_path / "v.parquet"
    with pytest.raises(DataError, match="the victims are of one group only"):
        load(str(main), target="y", hidden=["s"], victims=str(make.table(own, 1, seed=1)))
    pictures = make.noise(100)
    y, s = np.arange(100) % 2, np.arange(100) // 2 % 2
    make.images(tmp_path / "d/train.parquet", pictures[:80], y=y[:80], s=s[:80])
    for left, kept in (("y", {"s": s[80:]}), ("s", {"y": y[80:]})):
        make.images(tmp_path / "d/test.parquet", pictures[80:], **kept)
        with pytest.raises(DataError, match=f"no victim has a label of '{left}'"):
            load(str(tmp_path / "d"), target="y", hidden=["s"])


def test_an_adversary_left_without_data_is_refused(tmp_path: Path, make: Any) -> None:
    main = make.table(tmp_path / "m.parquet")
    with pytest.raises(DataError, match="nothing of --aux is left"):
        load(str(main), target="y", hidden=["s"], aux=str(main))
    other = make.table(tmp_path / "x.parquet", seed=1)
    with pytest.raises(DataError, match="nothing of --aux is left"):
        load(str(main), target="y", hidden=["s"], aux=str(other), victims=str(other))
    pq.write_table(pa.table({"height of a tree": [1.0, 2.0]}), other)
    with pytest.raises(DataError, match="aux: x has none of the columns of m"):
        load(str(main), target="y", hidden=["s"], aux=str(other))


def test_too_many_classes(tmp_path: Path, make: Any) -> None:
    n = 5_200
    make.table(tmp_path / "a.parquet", n, many=np.arange(n))
    with pytest.raises(DataError, match="has 5,200 distinct values; an attribute has at most 5,000"):
        load(str(tmp_path / "a.parquet"), target="y", hidden=["many"])


def test_rare_hidden_values_are_noted(odd: str) -> None:
    c = load(odd, target="male", hidden=["rare"])
    assert any("classes of 'rare' have fewer than 2 examples in" in note for note in c.notes)


def test_own_data_for_adversary_and_victims(tmp_path: Path, make: Any) -> None:
    n, pictures = 100, make.noise(350)
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 350)
    main = make.images(tmp_path / "m.parquet", pictures[:n], {"s": ("a", "b", "c")}, y=y[:n], s=np.arange(n) % 3)
    aux = make.images(
        tmp_path / "x.parquet", pictures[n - 5 : 250], {"s": ("c", "b", "z")}, y=y[95:250], s=np.arange(155) % 3
    )
    own = make.images(tmp_path / "v.parquet", pictures[250:], {"s": ("b", "a")}, y=y[250:], s=np.arange(100) % 2)
    c = load(str(main), target="y", hidden=["s"], aux=str(aux), victims=str(own))
    assert sizes(c) == [80, 20, 125, 25, 100]
    assert any("5 examples were removed from the adversary's data" in note for note in c.notes)
    assert any("the classes z of 's' are unknown" in note for note in c.notes)
    assert any("no examples of the classes a of 's'" in note for note in c.notes)
    assert "labels_missing" in c.flags
    assert set(np.unique(c.victim.s["s"])) == {0, 1}
    assert c.victim.s["s"].tolist() == [1, 0] * 50
    assert set(np.unique(c.aux_train.s["s"])) == {-1, 1, 2}
    strange = make.images(tmp_path / "w.parquet", pictures[250:], y=y[250:], s=np.arange(100) % 2)
    with pytest.raises(DataError, match="none of the classes of 's'"):
        load(str(main), target="y", hidden=["s"], aux=str(strange))
    silent = make.images(tmp_path / "n.parquet", pictures[100:250], {"s": ("b", "a")}, s=np.arange(150) % 2)
    c = load(str(main), target="y", hidden=["s"], aux=str(silent), victims=str(own))
    assert set(c.aux_train.y.tolist()) == {-1}
    assert "labels_missing" not in c.flags
    assert any("no column 'y': nobody attacks the target" in note for note in c.notes)
    with pytest.raises(DataError, match="has no column 'y'"):
        load(str(main), target="y", hidden=["s"], victims=str(silent))
    less = make.images(tmp_path / "u.parquet", pictures[250:], y=y[250:])
    with pytest.raises(DataError, match="has no column 's'"):
        load(str(main), target="y", hidden=["s"], victims=str(less))
    with pytest.raises(DataError, match="not of one kind"):
        load(str(main), target="y", hidden=["s"], victims=str(make.table(tmp_path / "t.parquet")))


def test_another_set_takes_the_size_and_color_of_the_main_one(tmp_path: Path, make: Any) -> None:
    s = np.arange(60) // 2 % 2
    main = make.images(tmp_path / "m.parquet", make.noise(60, 1, (20, 16)), y=np.arange(60) % 2, s=s)
    aux = make.images(tmp_path / "x.parquet", make.noise(60, 2, (31, 40), 1), y=np.arange(60) % 2, s=s)
    c = load(str(main), target="y", hidden=["s"], aux=str(aux))
    assert c.shape == (3, 20, 16)
    assert np.array_equal(c.aux_train.x[:, 0], c.aux_train.x[:, 2])


def test_the_same_person_number_in_another_set_is_another_person(tmp_path: Path, make: Any) -> None:
    main = people(make, tmp_path / "m.parquet", make.noise(80, 1), 4)
    aux = people(make, tmp_path / "x.parquet", make.noise(80, 2), 4)
    c = load(str(main), target="y", hidden=["s"], aux=str(aux))
    assert disjoint(c, "groups")
    assert sum(sizes(c)) == 160


def test_large_person_numbers_are_not_rounded(tmp_path: Path, make: Any) -> None:
    who = (np.arange(200) // 2) + 2**60
    file = make.images(
        tmp_path / "a.parquet", make.noise(200), y=np.arange(200) % 2, s=np.arange(200) // 2 % 2, subject_id=who
    )
    c = load(str(file), target="y", hidden=["s"])
    assert sum(len(np.unique(part.groups)) for part in c.parts.values()) == 100


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=5, max_size=200).filter(lambda units: len(set(units)) >= 5),
    st.integers(0, 2**31),
)
def test_allot_keeps_units_whole_and_fills_every_role(units: list[int], seed: int) -> None:
    unit = np.array(units)
    roles = allot(unit, unit % 3, shares(*ROLES), seed)
    assert set(roles.tolist()) == set(ROLES)
    for value in set(units):
        assert len(set(roles[unit == value].tolist())) == 1
    assert np.array_equal(roles, allot(unit, unit % 3, shares(*ROLES), seed))


def test_allot_is_stratified() -> None:
    strata = np.random.default_rng(0).integers(0, 10, 2000)
    roles = allot(np.arange(2000), strata, shares(*ROLES), 0)
    for value in range(10):
        portion = [np.mean(roles[strata == value] == role) for role in ROLES]
        assert np.allclose(portion, [0.4, 0.1, 0.25, 0.05, 0.2], atol=0.02)


def test_thin_never_empties_a_part() -> None:
    roles = np.array(["task_train"] * 1000 + ["aux_val"] * 3)
    kept = thin(roles, 10, 0)
    assert (roles[kept] == "task_train").sum() == 10
    assert (roles[kept] == "aux_val").sum() == 1


def test_join_and_group_names() -> None:
    assert join(np.array([0, 0, 1, 2]), np.array(["a", "b", "b", "c"])).tolist() == [0, 0, 0, 1]
    assert group_column(["writer", "Subject_ID"]) == "writer"
    assert group_column(["name", "Person-ID"]) == "Person-ID"
    assert group_column(["grouped", "username"]) is None


def test_near_duplicates_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(3)
    base = rng.integers(0, 256, (60, 8, 9)).astype(float)
    thumbs = np.concatenate([base, *(base + rng.normal(0, spread, base.shape) for spread in (0.3, 1, 3, 12))])
    thumbs = thumbs.clip(0, 255).astype(np.uint8)
    signs = (thumbs[:, :, 1:] > thumbs[:, :, :-1]).reshape(-1, 64)
    levels = thumbs.reshape(-1, 72) - thumbs.reshape(-1, 72).mean(1, keepdims=True)
    close = (signs[:, None] != signs[None]).sum(-1) <= 2
    close &= np.abs(levels[:, None] - levels[None]).mean(-1) <= 6
    reach = np.linalg.matrix_power(close.astype(float), 8) > 0
    labels = near_duplicates(thumbs)
    assert np.array_equal(labels[:, None] == labels[None], reach)
    assert 60 < len(np.unique(labels)) < 240


def test_top_keeps_the_most_frequent_values(tmp_path: Path, make: Any) -> None:
    whole = load("digits", target="parity", hidden=["digit"])
    counts = {d: sum(int((p.s["digit"] == d).sum()) for p in whole.parts.values()) for d in range(10)}
    best = sorted(sorted(counts, key=lambda d: (-counts[d], d))[:5])
    found = load("digits", target="parity", hidden=["digit"], top="digit=5")
    assert found.classes["digit"] == tuple(whole.classes["digit"][d] for d in best)
    assert sum(sizes(found)) == sum(counts[d] for d in best)
    assert {int(v) for p in found.parts.values() for v in p.s["digit"]} == set(range(5))
    assert any("only the 5 most frequent of 10 values of 'digit'" in note for note in found.notes)
    even = {i for i, d in enumerate(best) if d % 2 == 0}
    for p in found.parts.values():
        assert all(
            (int(s) in even) == (found.classes["parity"][y] == "even") for s, y in zip(p.s["digit"], p.y, strict=True)
        )


@pytest.mark.parametrize(
    ("top", "said"),
    [
        ("digit", "COLUMN=NUMBER"), ("digit=1", "at least 2"), ("digit=-3", "COLUMN=NUMBER"),
        ("digit=x", "COLUMN=NUMBER"),
        ("writer=5", "did you mean|known: digit"), ("digit=11", "has 10; ask for fewer"),
    ],
)  # fmt: skip
def test_top_that_cannot_be(top: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        load("digits", target="parity", hidden=["digit"], top=top)
