"""Tables: features are scaled by task_train alone, hold no label, and survive what real tables hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from privet.data import Corpus, load
from privet.data.columns import encode
from privet.data.corpus import ROLES
from privet.data.tables import features, row_ids
from privet.errors import DataError


def ask(file: Path, **options: Any) -> Corpus:
    return load(str(file), target="y", hidden=["s"], **options)


def columns(**values: Any) -> dict[str, Any]:
    return {name: encode(name, pa.chunked_array([pa.array(value)])) for name, value in values.items()}


def test_a_table_becomes_features(tmp_path: Path, make: Any) -> None:
    c = ask(make.table(tmp_path / "a.parquet"))
    assert (c.kind, c.shape) == ("table", (4,))
    assert [len(c.parts[role]) for role in ROLES] == [80, 20, 50, 10, 40]
    for part in c.parts.values():
        assert part.x.dtype == np.float32
        assert part.x.min() >= 0
        assert part.x.max() <= 1
        assert np.array_equal(part.x[:, 1:].sum(1), np.ones(len(part)))
    assert any("the hidden and side columns (s) are not among them" in note for note in c.notes)


def test_labels_are_not_features(tmp_path: Path, make: Any) -> None:
    n = 200
    base = ask(make.table(tmp_path / "a.parquet"))
    table = pq.read_table(tmp_path / "a.parquet")
    y, s = table["y"].to_pylist(), table["s"].to_pylist()
    more = {
        "sex_code": [1 if v == "f" else 2 for v in s],
        "yes": ["yes" if v else "no" for v in y],
        "region": np.arange(n) % 4,
        "subject": np.arange(n),
    }
    wide = make.table(tmp_path / "b.parquet", **more)
    c = ask(wide, side=["region"])
    assert c.shape == base.shape
    assert set(c.victim.s) == {"s", "region"}
    for name, label in {"sex_code": "s", "yes": "y"}.items():
        assert f"column {name!r} is not a feature: it is {label!r} under another name" in c.notes


def test_scales_come_from_task_train() -> None:
    train = np.arange(200) < 100
    values = np.concatenate([np.linspace(0, 10, 100), np.linspace(-500, 500, 100)])
    made = features(columns(a=values), train, {})
    low, high = np.quantile(values[:100], [0.01, 0.99])
    assert np.allclose(made.x[:, 0], np.clip((values - low) / (high - low), 0, 1), atol=1e-6)
    unseen = np.array(["u", "v"] * 50 + ["w"] * 100)
    hot = features(columns(a=values, b=unseen), train, {})
    assert hot.names == ("a", "b=v")
    assert not hot.x[100:, 1].any()


def test_missing_values() -> None:
    train = np.ones(100, bool)
    number: list[float | None] = [float(i) + 0.5 for i in range(100)]
    number[3], number[4], number[5] = None, float("nan"), float("inf")
    word: list[str | None] = ["a", "b", "c", "a"] * 25
    word[7] = None
    made = features(columns(n=number, w=word), train, {})
    assert made.names == ("n", "n=(missing)", "w=a", "w=b", "w=c", "w=(missing)")
    (note,) = made.notes
    assert note.startswith("of 100 rows some lack a value: 'n' (3), 'w' (1);")
    assert np.isfinite(made.x).all()
    assert np.flatnonzero(made.x[:, 1]).tolist() == [3, 4, 5]
    assert made.x[3, 0] == pytest.approx(made.x[52:54, 0].mean(), abs=0.02)
    assert made.x[7].tolist()[2:] == [0, 0, 0, 1]


def test_a_gap_is_neither_of_two_categories() -> None:
    """Also where nobody in training lacks the value."""
    train = np.arange(100) < 80
    word: list[str | None] = ["a", "b"] * 50
    word[90] = None
    made = features(columns(w=word, n=[float(i) + 0.5 for i in range(100)]), train, {})
    assert made.names == ("w=a", "w=b", "n")
    assert made.x[90, :2].tolist() == [0, 0]
    assert made.x[:80, :2].sum(1).tolist() == [1] * 80


def test_columns_that_are_no_features() -> None:
    n = 300
    given = columns(
        name=[f"person {i}" for i in range(n)],
        same=[1] * n,
        lists=[[1]] * n,
        empty=pa.nulls(n),
        words=[f"w{i % 70}" for i in range(n)],
        few=[i % 3 for i in range(n)],
        many=[i % 40 for i in range(n)],
        flag=[i % 2 == 0 for i in range(n)],
        huge=[1e308, -1e308, 0.5] * (n // 3),
    )
    made = features(given, np.ones(n, bool), {})
    assert [note.split("'")[1] for note in made.notes] == ["name", "same", "lists", "empty"]
    prefixes = [name.split("=")[0] for name in made.names]
    assert {p: prefixes.count(p) for p in prefixes} == {"words": 51, "few": 3, "many": 1, "flag": 1, "huge": 1}
    assert np.isfinite(made.x).all()
    assert np.array_equal(made.x[:, :51].sum(1), np.ones(n))
    with pytest.raises(DataError, match="no column is left to be a feature"):
        features({"same": given["same"]}, np.ones(n, bool), {})


def test_equal_rows_stay_together(tmp_path: Path, make: Any) -> None:
    table = pq.read_table(make.table(tmp_path / "a.parquet", 150))
    pq.write_table(pa.concat_tables([table, table.slice(0, 60), table.slice(0, 30)]), tmp_path / "b.parquet")
    c = ask(tmp_path / "b.parquet")
    assert sum(len(part) for part in c.parts.values()) == 240
    assert sum(len(np.unique(part.ids)) for part in c.parts.values()) == 150
    assert sum(len(np.unique(part.groups)) for part in c.parts.values()) == 150


def test_a_pair_of_tables(tmp_path: Path, make: Any) -> None:
    make.table(tmp_path / "adult_train.parquet", 200, 1)
    make.table(tmp_path / "adult_test.parquet", 70, 2)
    c = ask(tmp_path / "adult")
    assert c.name == "adult"
    assert len(c.victim) == 70
    with pytest.raises(DataError, match=r"it holds tables, name one: .*adult"):
        ask(tmp_path)
    assert len(ask(tmp_path / "adult_train.parquet").victim) == 40


def test_another_table_is_read_in_the_main_ones_terms(tmp_path: Path, make: Any) -> None:
    main = make.table(tmp_path / "m.parquet", 200, 1)
    aux = make.table(tmp_path / "x.parquet", 200, 2, job=["smith", "cook"] * 100)
    c = ask(main, aux=str(aux))
    assert c.shape == (4,)
    assert len(c.aux_train) + len(c.aux_val) == 200
    hot = c.aux_train.x[:, 1:].sum(0)
    assert hot[0] == hot[2] == 0
    assert 0 < hot[1] < len(c.aux_train)
    pq.write_table(pq.read_table(aux).drop_columns(["height"]), aux)
    with pytest.raises(DataError, match="has no column 'height'"):
        ask(main, aux=str(aux))
    with pytest.raises(DataError, match="'height' is numeric in m"):
        ask(main, aux=str(make.table(tmp_path / "z.parquet", 200, 3, height=["tall"] * 200)))


def test_row_ids_follow_contents() -> None:
    table = pa.table({"a": [1, 2, None, 1], "b": ["x", "", "x", "x"], "c": [[1], [2], [1], [1]]})
    ids = row_ids(table)
    assert ids[0] == ids[3]
    assert len(set(ids.tolist())) == 3
    assert row_ids(table.slice(1))[0] == ids[1]
    assert row_ids(pa.table({"a": ["1\x1f2"], "b": ["3"]}))[0] != row_ids(pa.table({"a": ["1"], "b": ["2\x1f3"]}))[0]
