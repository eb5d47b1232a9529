"""Part and Corpus refuse what would make an audit lie; dependence has known answers."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from privet.data import Corpus, Part, dependence, describe
from privet.data.corpus import ROLES
from privet.data.describe import mutual_information
from privet.errors import DataError


def part(first: int, n: int = 6) -> Part:
    rows = np.arange(first, first + n)
    ids = np.array([f"{row:016x}" for row in rows])
    x = np.full((n, 1, 4, 4), first % 256, np.uint8)
    return Part(ids, rows.astype(np.int64), x, rows % 2, {"s": rows % 3})


def corpus(**changes: object) -> Corpus:
    fields: dict[str, object] = {
        "name": "made",
        "kind": "image",
        "target": "y",
        "hidden": ("s",),
        "side": (),
        "classes": {"y": ("no", "yes"), "s": ("a", "b", "c")},
        "parts": {role: part(10 * i) for i, role in enumerate(ROLES)},
    }
    return Corpus(**{**fields, **changes})  # type: ignore[arg-type]


def with_part(role: str, new: Part) -> dict[str, Part]:
    return {**corpus().parts, role: new}


def test_properties() -> None:
    c = corpus()
    assert c.shape == (1, 4, 4)
    assert c.n_classes("s") == 3
    assert [len(p) for p in (c.task_train, c.task_val, c.aux_train, c.aux_val, c.victim)] == [6] * 5
    assert c.victim.take(np.array([True, False] * 3)).y.tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="known: s, y"):
        c.n_classes("t")


def test_a_part_refuses_unequal_lengths() -> None:
    good = part(0)
    for change in ({"y": good.y[:-1]}, {"ids": good.ids[:-1]}, {"s": {"s": good.y[:2]}}, {"x": good.x[:1]}):
        with pytest.raises(DataError, match="one entry per example"):
            replace(good, **change)


def test_parts_share_no_example_whatever_the_flags() -> None:
    shared = replace(part(40), ids=np.array([*part(40).ids[:-1], part(0).ids[3]]))
    for flags in ((), ("hidden_is_group",), ("groups_shared",)):
        with pytest.raises(DataError, match="task_train and victim share 1 examples"):
            corpus(parts=with_part("victim", shared), flags=flags)


def test_parts_share_no_group_unless_flagged() -> None:
    for role, first in (("victim", 40), ("aux_val", 30)):
        shared = replace(part(first), groups=np.array([1, 2, 95, 96, 97, 98]))
        with pytest.raises(DataError, match="share 2 groups"):
            corpus(parts=with_part(role, shared))
        corpus(parts=with_part(role, shared), flags=("hidden_is_group",))
        corpus(parts=with_part(role, shared), flags=("target_is_group",))
        if role == "victim":
            corpus(parts=with_part(role, shared), flags=("groups_shared",))
        else:
            with pytest.raises(DataError, match="share 2 groups"):
                corpus(parts=with_part(role, shared), flags=("groups_shared",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": {r: part(10 * i) for i, r in enumerate(ROLES) if r != "aux_val"}}, "'aux_val' has no examples"),
        ({"parts": with_part("test", part(90))}, "no role named 'test'"),
        ({"kind": "video"}, "no kind of data named 'video'"),
        ({"kind": "table"}, "table data is float32 with 2"),
        ({"classes": {"y": ("no", "yes")}}, "no class names for 's'"),
        ({"classes": {"y": ("no", "yes"), "s": ("a", "b")}}, "labels outside -1..1"),
        ({"hidden": ()}, "hidden and side are"),
        ({"parts": with_part("aux_val", replace(part(60), x=np.zeros((6, 1, 4, 5), np.uint8)))}, r"shape \(1, 4, 5\)"),
        ({"parts": with_part("victim", replace(part(60), y=np.full(6, -2)))}, "labels outside"),
    ],
)
def test_impossible_corpora_cannot_be_built(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        corpus(**change)


def test_the_digest_follows_contents_labels_and_roles() -> None:
    base = corpus().digest
    assert corpus().digest == base
    assert corpus(name="other", notes=("a note",)).digest == base
    victim = part(40)
    flipped = victim.x.copy()
    flipped[3, 0, 1, 1] ^= 1
    changes = [
        {"parts": with_part("victim", replace(victim, x=flipped))},
        {"parts": with_part("victim", replace(victim, y=1 - victim.y))},
        {"parts": with_part("victim", replace(victim, s={"s": victim.s["s"][::-1].copy()}))},
        {"parts": {**corpus().parts, "victim": part(30), "aux_val": part(40)}},
        {"classes": {"y": ("no", "yes"), "s": ("a", "b", "z")}},
    ]
    assert len({base, *(corpus(**change).digest for change in changes)}) == len(changes) + 1


def test_mutual_information_has_known_values() -> None:
    a = np.tile([0, 1], 5000)
    assert mutual_information(a, a) == pytest.approx(np.log(2), abs=1e-3)
    rng = np.random.default_rng(0)
    independent = [mutual_information(rng.integers(0, 4, 2000), rng.integers(0, 8, 2000)) for _ in range(40)]
    assert min(independent) >= 0
    # the plug-in estimate alone would be (4-1)(8-1)/(2n) = .005 too high
    assert float(np.mean(independent)) < 0.0012
    assert mutual_information(np.full(9, -1), np.zeros(9, np.int64)) == 0.0
    # a joint table worked by hand: p = [[.4, .1], [.1, .4]]
    joint = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], [4000, 1000, 1000, 4000], axis=0)
    wanted = 0.8 * np.log(0.8 / 0.5) + 0.2 * np.log(0.2 / 0.5)
    assert mutual_information(joint[:, 0], joint[:, 1]) == pytest.approx(wanted, abs=1e-3)


def test_dependence_does_not_look_at_victims() -> None:
    c = corpus()
    other = replace(c.victim, s={"s": np.zeros(6, np.int64)})
    assert dependence(corpus(parts=with_part("victim", other))) == dependence(c)


def test_describe_is_json() -> None:
    facts = json.loads(json.dumps(describe(corpus(notes=("n",), flags=("f",)))))
    assert facts["examples"] == dict.fromkeys(ROLES, 6)
    assert facts["hidden"][0]["victim_frequencies"] == pytest.approx([1 / 3] * 3)
    assert facts["notes"] == ["n"]
    assert facts["flags"] == ["f"]


def test_the_nouns_need_neither_torch_nor_pyarrow() -> None:
    code = "import sys, privet.data; assert not {'torch', 'pyarrow', 'scipy', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
