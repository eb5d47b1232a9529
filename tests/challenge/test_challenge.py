"""A challenge: what outsiders see, what they cannot, and figures that mean what an audit's mean."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from privet import run
from privet.challenge import folder as place
from privet.challenge.make import floor
from privet.challenge.score import score
from privet.errors import DataError, RunError
from recordings import people, write
from studies import privet as command_line

Capture = pytest.CaptureFixture[str]
ASKED = ["--hidden", "race", "--target", "gender"]


@cache
def published() -> Path:
    """A finished challenge; nobody writes into it."""
    room = Path(mkdtemp(prefix="privet-challenge-"))
    sent = write(room / "sent.parquet", people(4.0, n=400) | {"person": np.arange(400) // 2})
    assert command_line("challenge", "make", "--payloads", sent, *ASKED, "--out", room / "game") == 0
    return room / "game"


@pytest.fixture
def game(tmp_path: Path) -> Path:
    """The same, to be written into."""
    shutil.copyfile(place.secret_path(published()), tmp_path / "game.secret.json")
    return Path(shutil.copytree(published(), tmp_path / "game"))


def truth() -> dict[str, list[Any]]:
    challenge = place.read(published())
    ids = challenge.payloads["id"].to_pylist()
    return {"id": ids, "race": [challenge.secret.labels[person]["race"] for person in ids]}


def scored(path: Path, answers: dict[str, Any]) -> dict[str, Any]:
    pq.write_table(pa.table(answers), path)
    return {one.metric: one for one in score(place.read(published()), path)}


def test_nothing_hidden_is_published() -> None:
    folder = published()
    assert {path.name for path in folder.iterdir()} == {
        "challenge.json",
        "train.parquet",
        "payloads.parquet",
        "README.md",
    }
    train, payloads = (pq.read_table(folder / name) for name in ("train.parquet", "payloads.parquet"))
    assert train.column_names == ["id", "payload", "answer", "race"]
    assert payloads.column_names == ["id", "payload", "answer"]
    assert stat.S_IMODE(os.stat(place.secret_path(folder)).st_mode) == 0o600
    given = people(4.0, n=400)
    row = {tuple(values): i for i, values in enumerate(given["payload"].tolist())}
    at = [row[tuple(values)] for values in payloads["payload"].to_pylist()]
    assert truth()["race"] == given["race"][at].tolist()
    assert np.abs(np.corrcoef(at, np.arange(len(at)))[0, 1]) < 0.4  # the order of the file says nothing
    learned = [row[tuple(values)] for values in train["payload"].to_pylist()]
    assert not {i // 2 for i in at} & {i // 2 for i in learned}  # no person on two sides
    assert train["race"].to_pylist() == given["race"][learned].tolist()


def test_the_truth_is_right_and_the_floor_is_the_floor(tmp_path: Path) -> None:
    told = truth()
    right = scored(tmp_path / "a.parquet", told)
    assert set(right) == {"accuracy", "balanced_accuracy"}
    assert right["accuracy"].value.mean == right["balanced_accuracy"].value.mean == 1.0
    sure = {f"race={value}": [float(value == race) for race in told["race"]] for value in "abc"}
    right = scored(tmp_path / "a.parquet", {"id": told["id"]} | sure)
    assert {metric: one.value.mean for metric, one in right.items()} == dict.fromkeys(
        ("accuracy", "balanced_accuracy", "auc", "coverage_at_95_precision", "tpr_at_1_fpr"), 1.0
    )
    assert all(one.over.low > 0 for one in right.values())
    challenge = place.read(published())
    labels = np.array(["abc".index(race) for race in challenge.train["race"].to_pylist()])
    answers = [table["answer"].to_pylist() for table in (challenge.train, challenge.payloads)]
    for guess in floor(labels, ["a", "b", "c"], *answers).values():
        named = [{"id": told["id"]} | {f"race={v}": guess[:, i] for i, v in enumerate("abc")}]
        found = scored(tmp_path / "b.parquet", named[0])["accuracy"]
        assert found.value.mean <= found.floor.mean + 1e-9
        if found.floor_by == "majority" or len(np.unique(guess, axis=0)) > 1:
            assert found.over.low <= 0


def test_persons_and_not_rows_make_the_interval(tmp_path: Path) -> None:
    told = truth()
    generator = np.random.default_rng(0)
    told["race"] = [race if generator.random() < 0.6 else "a" for race in told["race"]]
    found = scored(tmp_path / "a.parquet", told)["accuracy"]
    half = 1.96 * np.sqrt(found.value.mean * (1 - found.value.mean) / found.value.n)
    assert found.value.n == len(told["id"])
    assert 0.7 * half < (found.value.high - found.value.low) / 2 < 2.2 * half


def test_the_readme_runs(game: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(game)
    code = re.search(r"```python\n(.*?)```", (game / "README.md").read_text(), re.DOTALL)
    assert code
    exec(code[1], {})
    assert command_line("challenge", "score", game, "--answers", "answers.csv", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0]["metric"] == "accuracy"
    assert rows[0]["value"]["mean"] > 0.85
    assert "The column `answer` of both is what the system answered" in (game / "README.md").read_text()
    stated = json.loads((game / "challenge.json").read_text())["attributes"]["race"]["floor"]["majority"]
    assert 0 < stated["low"] < stated["mean"] < stated["high"] < 1
    assert rows[0]["floor"]["mean"] < 0.55
    assert command_line("challenge", "score", game, "--answers", "answers.csv") == 0
    assert "above the floor" in capsys.readouterr().err


def _edit(game: Path, name: str) -> None:
    file = game / name
    file.write_bytes(file.read_bytes().replace(b"a", b"b", 1) if name.endswith((".md", ".json")) else b"x")


def _relabel(game: Path) -> None:
    secret = place.secret_path(game)
    kept = json.loads(secret.read_text())
    person = next(iter(kept["labels"]))
    kept["labels"][person]["race"] = "a" if kept["labels"][person]["race"] != "a" else "b"
    secret.write_text(json.dumps(kept))


def _regroup(game: Path) -> None:
    secret = place.secret_path(game)
    kept = json.loads(secret.read_text())
    kept["persons"] = dict.fromkeys(kept["persons"], 0) | {next(iter(kept["persons"])): 1}
    secret.write_text(json.dumps(kept))


def _rehash(game: Path) -> None:
    """Whoever changes a file may change its hash, too; the secret knows the first challenge.json."""
    table = pq.read_table(game / "payloads.parquet")
    pq.write_table(table.slice(1), game / "payloads.parquet")
    said = json.loads((game / "challenge.json").read_text())
    said["files"]["payloads.parquet"] = run.file_hash(game / "payloads.parquet")
    (game / "challenge.json").write_text(json.dumps(said))


TAMPERED = {
    "train": (lambda game: _edit(game, "train.parquet"), "train.parquet is not the file that was published"),
    "payloads": (lambda game: _edit(game, "payloads.parquet"), "payloads.parquet is not the file that was published"),
    "readme": (lambda game: _edit(game, "README.md"), "README.md is not the file that was published"),
    "challenge": (lambda game: _edit(game, "challenge.json"), "challenge.json is not the one"),
    "file and hash": (_rehash, "challenge.json is not the one"),
    "label": (_relabel, "not those that the commitment"),
    "persons": (_regroup, "not those that the commitment"),
    "gone": (lambda game: (game / "train.parquet").unlink(), "train.parquet is not the file that was published"),
    "no secret": (lambda game: place.secret_path(game).unlink(), "give the maker's secret file with --secret"),
    "half a secret": (
        lambda game: place.secret_path(game).write_text('{"salt": ""}'),
        "secret, it has no challenge, format",
    ),
    "another file": (
        lambda game: shutil.copyfile(game / "challenge.json", place.secret_path(game)),
        "is not a challenge's secret, it has no challenge, labels, persons, salt; give the maker's game.secret.json",
    ),
    "a table": (
        lambda game: shutil.copyfile(game / "train.parquet", place.secret_path(game)),
        "is not a challenge's secret, it holds no JSON; give",
    ),
    "no challenge": (lambda game: (game / "challenge.json").unlink(), "is not a challenge"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampering_is_detected(case: str, game: Path) -> None:
    change, message = TAMPERED[case]
    place.read(game)
    change(game)
    with pytest.raises(RunError, match=message):
        place.read(game)


def test_the_secret_of_another_challenge_fits_no_other(game: Path, tmp_path: Path) -> None:
    sent = write(tmp_path / "sent.parquet", people(4.0))
    assert command_line("challenge", "make", "--payloads", sent, *ASKED, "--out", tmp_path / "other") == 0
    with pytest.raises(RunError, match=r"challenge\.json is not the one"):
        place.read(game, place.secret_path(tmp_path / "other"))
    salts = [place.read(folder).secret.salt for folder in (game, tmp_path / "other")]
    assert len({*salts}) == 2
    assert all(len(salt) == 64 for salt in salts)


def _wrong(told: dict[str, list[Any]]) -> dict[str, tuple[dict[str, Any], str]]:
    third = [1 / 3] * len(told["id"])
    thirds = {f"race={value}": third for value in "abc"}
    return {
        "missing": ({name: values[1:] for name, values in told.items()}, "does not answer ids: v000000;"),
        "twice": ({name: [*values, values[3]] for name, values in told.items()}, "names twice ids: v000003;"),
        "unknown": (told | {"id": ["w1", *told["id"][1:]]}, "v000000"),
        "no id": ({"race": told["race"]}, "has no column 'id'"),
        "no value": (told | {"race": ["z", *told["race"][1:]]}, "says 'z' about 'race' of v000000"),
        "null": (told | {"race": [None, *told["race"][1:]]}, "says nothing about 'race'"),
        "nothing": ({"id": told["id"]}, "answers none of race"),
        "NaN": ({"id": told["id"]} | thirds | {"race=a": [float("nan"), *third[1:]]}, "of v000000 that are missing"),
        "negative": ({"id": told["id"]} | thirds | {"race=a": [-1 / 3, *third[1:]]}, "of v000000 that are missing"),
        "no sum": ({"id": told["id"]} | thirds | {"race=a": [0.9, *third[1:]]}, "do not sum to one"),
        "a class short": ({"id": told["id"], "race=a": third}, "it lacks race=b, race=c"),
        "words": ({"id": told["id"]} | thirds | {"race=a": ["x"] * len(third)}, "is of type string"),
    }


@pytest.mark.parametrize("case", list(_wrong({"id": ["v"] * 4, "race": ["a"] * 4})))
def test_wrong_answers_are_one_sentence(case: str, tmp_path: Path) -> None:
    answers, message = _wrong(truth())[case]
    with pytest.raises(DataError) as told:
        scored(tmp_path / "a.parquet", answers)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("absent", ["digits", "answers.csv"])
def test_answers_are_a_file(absent: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{absent} is not there; give one CSV or Parquet file of answers"):
        score(place.read(published()), Path(absent))
    with pytest.raises(DataError, match="is a folder; give one CSV or Parquet file of answers"):
        score(place.read(published()), tmp_path)


def test_answers_may_come_in_any_order_as_csv(tmp_path: Path) -> None:
    table = pa.table(truth())
    pc.write_csv(table.take(list(reversed(range(len(table))))), tmp_path / "a.csv")
    assert score(place.read(published()), tmp_path / "a.csv")[0].value.mean == 1.0


def test_nothing_is_half_written_or_written_over(
    tmp_path: Path, game: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    sent = write(tmp_path / "sent.parquet", people(4.0))
    make = ["challenge", "make", "--payloads", sent, *ASKED, "--out"]
    before = sorted(path.read_bytes() for path in game.iterdir())
    assert command_line(*make, game) == 2
    assert "is there already" in capsys.readouterr().err
    assert sorted(path.read_bytes() for path in game.iterdir()) == before

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    for broken in ("write_table", "replace"):
        with monkeypatch.context() as patch, contextlib.suppress(RunError):
            patch.setattr(*((pq, broken) if broken == "write_table" else (os, broken)), full)
            assert command_line(*make, tmp_path / "new") == 2
        assert "is full" in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["game", "game.secret.json", "sent.parquet"]
    assert command_line("challenge", "make", "--out", tmp_path / "new") == 2
    assert "--payloads FILE" in capsys.readouterr().err
    assert command_line("challenge", "make", "--payloads", sent, "--hidden", "rase", "--out", tmp_path / "new") == 2
    assert "did you mean 'race'" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
