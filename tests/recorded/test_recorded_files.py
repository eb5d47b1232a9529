"""Payload files: one convention, every bad row named, and nobody on two sides."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from privet.data.corpus import ADVERSARY
from privet.errors import DataError, PrivetError, SpecError
from privet.recorded import files
from privet.recorded.system import Recorded, Recordings
from privet.schedule import Source
from recordings import people, write


def read(*paths: Path, target: str | None = "gender", **options: Any) -> Recordings:
    named = {key: options.pop(key) for key in ("side", "group", "limit", "resize") if key in options}
    asked = Source("digits", target, options.pop("hidden", ("race",)), **named)
    return files.read([str(path) for path in paths], asked, **options)


def recorded(corpus: Recordings, label: str) -> Recorded:
    found = corpus.systems[label]
    assert isinstance(found, Recorded)
    return found


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    given = people() | {"id": [f"p{i}" for i in range(240)]}
    corpus = read(write(tmp_path / "sent.parquet", given))
    assert set(corpus.parts) == set(ADVERSARY)
    assert [len(corpus.parts[role]) for role in ADVERSARY] == [120, 24, 96]
    assert corpus.kind == "payload"
    assert corpus.shape == (0,)
    system = recorded(corpus, "sent")
    rows = {tuple(row): i for i, row in enumerate(given["payload"].tolist())}
    for role in ADVERSARY:
        at = [rows[tuple(row)] for row in system.payloads[role].tolist()]
        assert system.payloads[role].dtype == np.float32
        assert [corpus.classes["race"][s] for s in corpus.parts[role].s["race"]] == given["race"][at].tolist()
        assert [corpus.classes["gender"][y] for y in corpus.parts[role].y] == given["gender"][at].tolist()
        assert [corpus.classes["gender"][a] for a in system.answers[role]] == given["answer"][at].tolist()


def _binary(given: dict[str, Any]) -> dict[str, Any]:
    return given | {"payload": pa.array([bytes(row) for row in (given["payload"] > 0).astype(np.uint8)])}


def _columns(given: dict[str, Any]) -> dict[str, Any]:
    payload = given["payload"]
    order = [f"payload_{i}" for i in reversed(range(12))]  # as text payload_10 stands before payload_2
    wide = np.concatenate([payload, payload], axis=1)
    return {name: wide[:, int(name.split("_")[1])] for name in order} | {
        k: v for k, v in given.items() if k != "payload"
    }


FORMS: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], Any, int]] = {
    "float64": (lambda g: g | {"payload": g["payload"].astype(np.float64)}, np.float64, 6),
    "float16": (lambda g: g | {"payload": g["payload"].astype(np.float16)}, np.float16, 6),
    "int8": (lambda g: g | {"payload": np.rint(g["payload"]).astype(np.int8)}, np.int8, 6),
    "bool": (lambda g: g | {"payload": g["payload"] > 0}, np.bool_, 6),
    "bytes": (_binary, np.uint8, 6),
    "columns": (_columns, np.float32, 12),
    "fixed": (
        lambda g: g | {"payload": pa.FixedSizeListArray.from_arrays(pa.array(g["payload"].ravel()), 6)}, np.float32, 6
    ),
    "constant": (lambda g: g | {"payload": np.zeros((240, 6), np.float32)}, np.float32, 6),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_payload(form: str, tmp_path: Path) -> None:
    change, dtype, width = FORMS[form]
    given = change(people())
    system = recorded(read(write(tmp_path / "sent.parquet", given)), "sent")
    assert system.payloads["victim"].dtype == dtype
    assert system.width == width
    assert system.facts()["payload_bytes"] == width * np.dtype(dtype).itemsize
    if form == "columns":
        assert np.array_equal(system.payloads["victim"][:, :6], system.payloads["victim"][:, 6:])


def test_a_csv_and_another_prefix(tmp_path: Path) -> None:
    given = {name.replace("payload_", "f"): values for name, values in _columns(people()).items()}
    pc.write_csv(pa.table(given), tmp_path / "sent.csv")
    corpus = read(tmp_path / "sent.csv", prefix="f")
    assert corpus.systems["sent"].width == 12
    assert "a payload of sent is 12 values, f0 to f11" in corpus.notes
    with pytest.raises(DataError, match="--payload-columns PREFIX"):
        read(tmp_path / "sent.csv")


def test_only_numbered_columns_are_values(tmp_path: Path) -> None:
    """Prefixes that labels, persons and ids begin with, too: none of them is taken for a number that was sent."""
    given = _columns(people())
    path = tmp_path / "sent.parquet"
    own = {name.replace("payload_", "p"): v for name, v in given.items()} | {"person": np.arange(240) // 2}
    corpus = read(write(path, own | {"page": given["race"]}), prefix="p", hidden=("page",))
    assert corpus.systems["sent"].width == 12
    assert corpus.person == "person"
    wrong = {
        "payload_time' of sent begins with 'payload_'": given | {"payload_time": np.arange(240)},
        "payload_7 is missing between payload_6 and payload_8": {k: v for k, v in given.items() if k != "payload_7"},
        "has the number of another value": given | {"payload_07": given["payload_7"]},
        "row 7 \\(NaN or infinity in 'payload_3'\\)": given
        | {"payload_3": np.where(np.arange(240) == 7, np.nan, given["payload_3"])},
        "row 7 \\(a missing value in 'payload_3'\\)": given
        | {"payload_3": pa.array([None if i == 7 else float(v) for i, v in enumerate(given["payload_3"])])},
    }
    for sentence, columns in wrong.items():
        with pytest.raises(DataError, match=sentence):
            read(write(path, columns))


def _row(value: Any) -> Callable[[list[Any]], None]:
    def change(rows: list[Any]) -> None:
        rows[7] = value

    return change


def _inside(value: Any) -> Callable[[list[Any]], None]:
    def change(rows: list[Any]) -> None:
        rows[7] = [*rows[7][:3], value, *rows[7][4:]]

    return change


BAD: dict[str, tuple[Callable[[list[Any]], None], str]] = {
    "null row": (_row(None), "no payload"),
    "short row": (_row([1.0, 2.0]), "2 values in 'payload' where most rows have 6"),
    "empty row": (_row([]), "0 values"),
    "NaN": (_inside(float("nan")), "NaN or infinity"),
    "infinity": (_inside(float("inf")), "NaN or infinity"),
    "missing value": (_inside(None), "a missing value"),
    "too large": (_inside(1e300), "beyond 1e+15"),
    "too large to square": (_inside(-2e18), "a value of 'payload' beyond 1e+15: divide all of them by a constant"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_named_or_skipped(case: str, tmp_path: Path) -> None:
    change, reason = BAD[case]
    given = people()
    rows = [row.astype(float).tolist() for row in given["payload"]]
    change(rows)
    path = write(tmp_path / "sent.parquet", given | {"payload": pa.array(rows, pa.list_(pa.float64()))})
    with pytest.raises(DataError) as told:
        read(path)
    assert "1 of 240 rows of sent cannot be used: row 7 (" in str(told.value)
    assert reason in str(told.value)
    assert "--on-bad skip" in str(told.value)
    corpus = read(path, on_bad="skip")
    assert sum(map(len, corpus.parts.values())) == 239
    assert "rows_skipped" in corpus.flags
    assert any("row 7" in note for note in corpus.notes)


def test_mostly_bad_rows_are_never_skipped(tmp_path: Path) -> None:
    given = people()
    given["payload"][:150, 2] = np.nan
    with pytest.raises(DataError, match=r"150 of 240 rows .* and 145 more; mend them \(rows"):
        read(write(tmp_path / "sent.parquet", given), on_bad="skip")


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "text": ({"payload": pa.array([["a", "b"]] * 240)}, {}, "which are no numbers"),
    "structs": ({"payload": pa.array([{"a": 1.0}] * 240)}, {}, "it holds lists of numbers"),
    "lists of lists": ({"payload": pa.array([[[1.0]]] * 240)}, {}, "which are no numbers"),
    "numbers alone": ({"payload": np.arange(240.0)}, {}, "it holds lists of numbers"),
    "no such label": ({}, {"hidden": ("rase",)}, "did you mean 'race'"),
    "nothing hidden": ({}, {"hidden": ()}, "needs a hidden attribute"),
    "one value": ({"race": ["a"] * 240}, {}, "fewer than two classes"),
    "no labels": ({"race": pa.array([None] * 240, pa.string())}, {}, "is empty"),
    "no such target": ({}, {"target": "gendr"}, "did you mean 'gender'"),
    "strange answers": ({"answer": ["maybe"] * 240}, {}, "which is no value of 'gender'"),
    "missing answer": ({"answer": pa.array(["no"] * 239 + [None])}, {}, "row 239 (no answer)"),
    "strange role": ({"role": ["aux"] * 200 + ["spy"] * 40}, {}, "row 200 of sent has the role 'spy'"),
    "no victims": ({"role": ["aux"] * 240}, {}, "no row has the role 'victim'"),
    "no such group": ({}, {"group": "persn"}, "no column named 'persn'"),
    "twice an id": ({"id": ["x", "x", *map(str, range(238))]}, {}, "an id that stands twice ('x')"),
    "two rows": ({name: values[:2] for name, values in people().items()}, {}, "has 2 rows; an audit needs 20"),
    "few rows": ({name: values[:12] for name, values in people().items()}, {}, "an audit needs 20"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_one_sentence(case: str, tmp_path: Path) -> None:
    columns, options, sentence = REFUSED[case]
    with pytest.raises(PrivetError) as told:
        read(write(tmp_path / "sent.parquet", people() | columns), **options)
    assert sentence in str(told.value)
    assert "\n" not in str(told.value)


def test_roles_are_kept_and_persons_stay_together(tmp_path: Path) -> None:
    given = people()
    roles = ["aux"] * 130 + ["victim"] * 90 + ["task_train"] * 20
    corpus = read(write(tmp_path / "sent.parquet", given | {"role": roles}))
    assert len(corpus.victim) == 90
    assert len(corpus.aux_train) + len(corpus.aux_val) == 130
    assert np.array_equal(
        np.sort(recorded(corpus, "sent").payloads["victim"], 0), np.sort(given["payload"][130:220], 0)
    )
    corpus = read(write(tmp_path / "sent.parquet", given | {"person": np.arange(240) // 4}))
    assert len(np.unique(np.concatenate([part.groups for part in corpus.parts.values()]))) == 60
    person = np.arange(240)
    person[0] = person[239]
    path = write(tmp_path / "sent.parquet", given | {"person": person, "role": ["aux"] * 150 + ["victim"] * 90})
    with pytest.raises(DataError, match="share 1 groups"):
        read(path)


def test_equal_payloads_of_many_numbers_are_one_person(tmp_path: Path) -> None:
    given = people()
    given["payload"][1::2] = given["payload"][::2]
    corpus = read(write(tmp_path / "sent.parquet", given))
    seen = [{tuple(row) for row in recorded(corpus, "sent").payloads[role].tolist()} for role in ADVERSARY]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


def test_integers_far_from_zero_are_read_where_they_are_near_each_other(tmp_path: Path) -> None:
    payload = 2**62 + np.arange(240 * 6).reshape(240, 6)
    path = tmp_path / "sent.parquet"
    assert read(write(path, people() | {"payload": payload})).systems["sent"].width == 6
    payload[7, 2] = 0
    with pytest.raises(DataError, match="1 of 240 rows of sent cannot be used: row 7 "):
        read(write(path, people() | {"payload": payload}))


def _sent(corpus: Recordings) -> list[set[tuple[float, ...]]]:
    """The different payloads of each part."""
    return [{tuple(row) for row in recorded(corpus, "sent").payloads[role].tolist()} for role in ADVERSARY]


def test_the_adversary_has_no_payload_of_a_victim_where_roles_are_given(tmp_path: Path) -> None:
    given = people() | {"role": ["aux"] * 150 + ["victim"] * 90}
    given["payload"][:10] = given["payload"][230:]
    corpus = read(write(tmp_path / "sent.parquet", given))
    train, val, victim = _sent(corpus)
    assert not (train | val) & victim
    assert (len(train | val), len(corpus.victim)) == (140, 90)
    assert any(note.startswith("10 rows were removed from the adversary's part") for note in corpus.notes)
    assert not any("take no part" in note for note in corpus.notes)


@pytest.mark.parametrize("values", [1, 60])
def test_payloads_of_few_bits_are_kept_on_both_sides_with_a_note(values: int, tmp_path: Path) -> None:
    """The same for very many people, and a few times each: nobody was recorded twice."""
    given = people() | {"role": ["aux"] * 150 + ["victim"] * 90}
    given["payload"] = np.random.default_rng(0).integers(0, values, (240, 1))
    corpus = read(write(tmp_path / "sent.parquet", given))
    assert sum(map(len, corpus.parts.values())) == 240
    assert any("of 150 rows of the adversary have the payload of a victim" in note for note in corpus.notes)


def test_equal_payloads_do_not_make_one_person_of_two(tmp_path: Path) -> None:
    """200 persons with four payloads of 8 bits each would else all hang together."""
    given = people(n=800) | {"person": np.arange(800) // 4}
    given["payload"] = np.random.default_rng(0).integers(0, 256, (800, 1), np.uint8)
    corpus = read(write(tmp_path / "sent.parquet", given))
    assert [len(np.unique(corpus.parts[role].groups)) for role in ADVERSARY] == [100, 20, 80]
    assert sum(map(len, corpus.parts.values())) == 800
    assert corpus.person == "person"


def test_a_payload_that_two_persons_sent_is_not_learned_from_and_attacked(tmp_path: Path) -> None:
    given = people() | {"person": np.arange(240)}
    given["payload"][:20] = given["payload"][20:40]
    corpus = read(write(tmp_path / "sent.parquet", given))
    train, val, victim = _sent(corpus)
    assert not (train | val) & victim
    assert len(corpus.victim) == 96


def test_inputs_grant_pairs(tmp_path: Path) -> None:
    given = people()
    assert read(write(tmp_path / "sent.parquet", given)).held == {"labels"}
    values = np.random.default_rng(1).random((240, 5))
    corpus = read(write(tmp_path / "sent.parquet", given | {"input": values}))
    assert corpus.held == {"labels", "pairs"}
    assert corpus.kind == "table"
    values[3, 2] = 1.5
    with pytest.raises(DataError, match=r"row 3 \(values of 'input' outside \[0, 1\]\)"):
        read(write(tmp_path / "sent.parquet", given | {"input": values}))
    pictures = []
    for i in range(240):
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (9, 8), np.uint8)).save(buffer, "PNG")
        pictures.append({"bytes": buffer.getvalue() if i != 5 else b"no picture", "path": None})
    path = write(tmp_path / "sent.parquet", given | {"input": pa.array(pictures)})
    with pytest.raises(DataError, match=r"row 5 \(a picture that cannot be decoded"):
        read(path)
    corpus = read(path, on_bad="skip")
    assert corpus.kind == "image"
    assert corpus.shape == (1, 9, 8)


def test_without_target_and_answer(tmp_path: Path) -> None:
    path = write(tmp_path / "sent.parquet", people(), "gender", "answer")
    assert read(path, target=None).target == ""
    path = write(tmp_path / "sent.parquet", people(), "gender")
    corpus = read(path, target=None)
    assert corpus.target == "answer"
    assert (corpus.victim.y == -1).all()
    assert set(recorded(corpus, "sent").answers) == set(ADVERSARY)


def test_several_files_are_paired_by_id_or_by_row(tmp_path: Path) -> None:
    given = people() | {"id": [f"p{i}" for i in range(240)]}
    other = {name: values[::-1] for name, values in (given | {"payload": given["payload"] * 2}).items()}
    first = write(tmp_path / "one.parquet", given)
    corpus = read(first, write(tmp_path / "two.parquet", other))
    assert list(corpus.systems) == ["one", "two"]
    one, two = (recorded(corpus, name).payloads["victim"] for name in ("one", "two"))
    assert np.array_equal(one * 2, two)
    with pytest.raises(DataError, match="do not name the same people: 2 ids"):
        read(first, write(tmp_path / "two.parquet", other | {"id": ["q", *other["id"][1:]]}))
    bare = write(tmp_path / "one.parquet", given, "id")
    with pytest.raises(DataError, match="'gender' differs in"):
        read(bare, write(tmp_path / "two.parquet", other, "id"))
    with pytest.raises(DataError, match="cannot be paired"):
        read(bare, write(tmp_path / "two.parquet", {name: values[:200] for name, values in other.items()}, "id"))
    with pytest.raises(SpecError, match="names one file twice"):
        read(bare, bare)


def test_answers_are_in_the_classes_of_the_first_file(tmp_path: Path) -> None:
    """Numbers in one file and text in the other, of which the order differs; the target in one file only."""
    given = people()
    digits = np.random.default_rng(0).integers(0, 12, 240)
    given |= {"gender": digits, "answer": digits}
    words = {"gender": digits.astype(str), "answer": digits.astype(str)}
    first = write(tmp_path / "one.parquet", given)
    for more, left_out, target in ((words, (), "gender"), (words, ("gender",), "gender"), (words, (), "answer")):
        corpus = read(first, write(tmp_path / "two.parquet", given | more, *left_out), target=target)
        one, two = (recorded(corpus, name).answers["victim"] for name in ("one", "two"))
        assert np.array_equal(one, two)
        if target == "gender":
            assert np.array_equal(one, corpus.victim.y)
    for target, remedy in (("gender", "as the target is written"), ("answer", "with --target")):
        second = write(tmp_path / "two.parquet", given | {"answer": ["twelve", *words["answer"][1:]]}, "gender")
        with pytest.raises(DataError, match=f"of two says twelve, which is no value of '{target}' in one .*{remedy}"):
            read(first, second, target=target)


@pytest.mark.parametrize("column", ["race", "person", "role"])
def test_files_that_say_different_things_of_one_person(column: str, tmp_path: Path) -> None:
    given = people() | {"person": np.arange(240), "role": ["aux"] * 150 + ["victim"] * 90}
    other = given | {column: np.roll(given[column], 1)}
    paths = write(tmp_path / "one.parquet", given), write(tmp_path / "two.parquet", other)
    with pytest.raises(DataError, match=f"{column!r} differs in .* or a column 'id'"):
        read(*paths)
    named = [f"p{i}" for i in range(240)]
    paths = (
        write(tmp_path / "one.parquet", given | {"id": named}),
        write(tmp_path / "two.parquet", other | {"id": named}),
    )
    with pytest.raises(DataError, match=rf"differ in {column!r} of \d+ ids, the first is 'p\d+' \(.* and .*\); mend"):
        read(*paths)


def test_roles_depend_on_the_contents_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "sent.parquet", people())
    assert read(path).digest == read(path).digest
    one = recorded(read(path), "sent").digest
    table = pq.read_table(path)
    payload = np.stack(table["payload"].to_pylist())
    payload[100, 2] += 1e-3
    assert recorded(read(write(path, people() | {"payload": payload.astype(np.float32)})), "sent").digest != one
