"""Where data come from: layouts of the hub, CSV, folders, and everything that is none of these."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from privet.data import Corpus, load
from privet.errors import DataError, MissingExtra

Y, S = np.arange(100) % 2, np.arange(100) // 2 % 2


def ask(data: Path | str, **options: Any) -> Corpus:
    return load(str(data), target="y", hidden=["s"], **options)


def total(corpus: Corpus) -> int:
    return sum(len(part) for part in corpus.parts.values())


@pytest.mark.parametrize("folder", [".", "data", "default"])
def test_shards(folder: str, tmp_path: Path, make: Any) -> None:
    pictures = make.noise(100)
    place = tmp_path / folder
    make.images(place / "train-00000-of-00002.parquet", pictures[:40], {"y": ("n", "p")}, y=Y[:40], s=S[:40])
    make.images(place / "train-00001-of-00002.parquet", pictures[40:80], {"y": ("n", "p")}, y=Y[40:80], s=S[40:80])
    make.images(place / "test-00000-of-00001.parquet", pictures[80:], {"y": ("n", "p")}, y=Y[80:], s=S[80:])
    c = ask(tmp_path)
    assert (total(c), len(c.victim)) == (100, 20)
    assert c.classes["y"] == ("n", "p")


def test_validation_stands_for_a_missing_test(tmp_path: Path, make: Any) -> None:
    pictures = make.noise(100)
    make.images(tmp_path / "train.parquet", pictures[:60], y=Y[:60], s=S[:60])
    make.images(tmp_path / "validation.parquet", pictures[60:80], y=Y[60:80], s=S[60:80])
    assert len(ask(tmp_path).victim) == 20
    make.images(tmp_path / "test.parquet", pictures[80:], y=Y[80:], s=S[80:])
    c = ask(tmp_path)
    assert (total(c), len(c.victim)) == (100, 20)
    assert sum(len(c.parts[role]) for role in c.parts if role != "victim") == 80


def test_train_alone_or_one_file_is_dealt_to_five(tmp_path: Path, make: Any) -> None:
    make.images(tmp_path / "train.parquet", make.noise(100), y=Y, s=S)
    assert len(ask(tmp_path).victim) == 20
    (tmp_path / "train.parquet").rename(tmp_path / "faces.parquet")
    assert len(ask(tmp_path).victim) == 20
    assert ask(tmp_path / "faces.parquet").name == "faces"


def test_pictures_in_a_column_of_any_name(tmp_path: Path, make: Any) -> None:
    table = pq.read_table(make.images(tmp_path / "a.parquet", make.noise(100), y=Y, s=S))
    table = table.rename_columns({"image": "scan"}).append_column("thumbnail", table["image"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert ask(tmp_path / "a.parquet").shape == (3, 12, 10)


def folder_of_pictures(tmp_path: Path, make: Any, column: str = "file", name: str = "labels.csv") -> Path:
    (tmp_path / "p").mkdir(parents=True)
    lines = [f"{column},y,s"]
    for i, data in enumerate(make.noise(100)):
        (tmp_path / "p" / f"{i}.png").write_bytes(data)
        lines.append(f"p/{i}.png,{'yes' if Y[i] else 'no'},{S[i]}")
    (tmp_path / name).write_text("\n".join(lines))
    return tmp_path / name


@pytest.mark.parametrize("column", ["file", "path", "image", "filename", "file_name"])
def test_a_folder_with_labels(column: str, tmp_path: Path, make: Any) -> None:
    file = folder_of_pictures(tmp_path, make, column)
    c = ask(tmp_path)
    assert (total(c), c.kind, c.classes["y"]) == (100, "image", ("no", "yes"))
    assert ask(file).digest == c.digest
    (tmp_path / "p" / "3.png").unlink()
    (tmp_path / "p" / "4.png").write_bytes(b"")
    c = ask(tmp_path)
    assert total(c) == 98
    assert "rows_skipped" in c.flags


@pytest.mark.parametrize("path", ["../secret.png", "/etc/hostname", "link.png"])
def test_pictures_outside_the_folder_are_not_opened(path: str, tmp_path: Path, make: Any) -> None:
    file = folder_of_pictures(tmp_path / "d", make)
    (tmp_path / "secret.png").write_bytes(make.noise(1, 7)[0])
    (tmp_path / "d" / "link.png").symlink_to(tmp_path / "secret.png")
    file.write_text(file.read_text().replace("p/5.png", path))
    with pytest.raises(DataError, match="outside its own folder"):
        ask(file)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_table(delimiter: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [(f"{rng.normal():.3f}", rng.choice(["a", "b"]), Y[i], S[i]) for i in range(100)]
    lines = ["n,w,y,s", *(",".join(map(str, row)) for row in rows)]
    text = "\n".join(lines).replace(",", delimiter)
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    c = ask(tmp_path / "t.csv")
    assert (c.kind, c.shape, total(c)) == ("table", (2,), 100)


def test_gaps_in_a_csv_are_missing(tmp_path: Path) -> None:
    lines = [f"{i / 7 if i % 9 else ''},{Y[i] if i % 10 else 'NA'},{'fm'[S[i]] if i % 25 else ''}" for i in range(100)]
    (tmp_path / "t.csv").write_text("\n".join(["n,y,s", *lines]))
    c = ask(tmp_path / "t.csv")
    assert c.shape == (2,)
    assert c.classes["s"] == ("f", "m")
    assert sum(int((part.y < 0).sum()) for part in c.parts.values()) == 10
    assert sum(int((part.s["s"] < 0).sum()) for part in c.parts.values()) == 4


BAD_CSV = {
    "empty": (b"", "not a readable CSV"),
    "header": (b"a,y,s\n", "no rows below its header"),
    "latin": ("n,y,s\n1,0,\xe9\n".encode("latin-1"), r"not UTF-8 \(byte 10\)"),
    "ragged": (b"a,y,s\n1,2,3\n1,2\n", "not a readable CSV"),
    "twice": (b"y,y,s\n1,2,3\n", "two columns of one name"),
    "binary": (bytes(range(256)), "not UTF-8"),
    "nul": (b"\0" * 64, "no rows|not a readable CSV|no column|needs"),
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_bad_csv(name: str, tmp_path: Path) -> None:
    data, message = BAD_CSV[name]
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(DataError, match=message):
        ask(tmp_path / "t.csv")


def test_labels_without_paths(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,y,s\n1,0,1\n2,1,0\n")
    with pytest.raises(DataError, match="no column of picture paths; name one of: file, path"):
        ask(tmp_path)


def test_what_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data at 'digitz'; did you mean 'digits'"):
        load("digitz")
    with pytest.raises(DataError, match="give digits, a Parquet or CSV file, a directory, or hub:NAME"):
        load(str(tmp_path / "nothing"))
    with pytest.raises(DataError, match="has no train"):
        ask(tmp_path)
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(DataError, match=r"neither \.parquet nor \.csv"):
        ask(tmp_path / "a.pkl")


def test_what_cannot_be_read(tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "d" / "train.parquet").mkdir(parents=True)
    labeled = folder_of_pictures(tmp_path / "n", make)
    labeled.write_text(labeled.read_text().replace("p/5.png", "p/\0.png"))
    cases = {
        str(tmp_path / "d"): "train.parquet: Is a directory",
        "x" * 5000: "File name too long",
        "~nobody-of-this-name/x": "home directory",
        str(tmp_path / "n"): "null byte",
    }
    for data, why in cases.items():
        with pytest.raises(DataError, match=f"cannot be read .*{why}") as caught:
            ask(data)
        assert len(str(caught.value)) < 600

    def forbidden(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    (tmp_path / "t.csv").touch()
    for file in (make.table(tmp_path / "t.parquet"), tmp_path / "t.csv"):
        with pytest.raises(DataError, match=f"cannot be read .{file.name}: Permission denied"):
            ask(file)


def test_bad_parquet(tmp_path: Path, make: Any) -> None:
    good = make.images(tmp_path / "g.parquet", make.noise(100), y=Y, s=S).read_bytes()
    cases = {
        "empty": b"",
        "text": b"hello",
        "truncated": good[:-40],
        "half": good[: len(good) // 2],
        "magic": b"PAR1PAR1",
    }
    for name, data in cases.items():
        file = tmp_path / f"{name}.parquet"
        file.write_bytes(data)
        with pytest.raises(DataError, match=f"{name}.parquet is not a readable Parquet file"):
            ask(file)
    pq.write_table(pa.table({"y": pa.array([], pa.int64())}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="has no rows"):
        ask(tmp_path / "rows.parquet")


def test_mutated_parquet_reads_or_refuses(tmp_path: Path, make: Any) -> None:
    good = make.table(tmp_path / "g.parquet", 60, word=["a", "b", "c"] * 20).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(250):
        data = bytearray(good)
        for _ in range(rng.integers(1, 5)):
            data[rng.integers(len(data))] = rng.integers(256)
        (tmp_path / "m.parquet").write_bytes(bytes(data))
        try:
            ask(tmp_path / "m.parquet")
        except DataError:
            refused += 1
    assert refused > 50


def test_labels_that_have_no_name(tmp_path: Path, make: Any) -> None:
    file = make.images(tmp_path / "a.parquet", make.noise(100), {"y": ("only",)}, y=Y, s=S)
    with pytest.raises(DataError, match="column 'y' holds 1, but its schema names 1 classes"):
        ask(file)


@pytest.mark.parametrize(("value", "told"), [(0.5, "0.5"), (-5, "-5"), (2, "2"), (1e300, "1e[+]300")])
def test_labels_that_are_no_index(value: float, told: str, tmp_path: Path, make: Any) -> None:
    y = np.where(np.arange(100) == 7, value, Y)
    file = make.images(tmp_path / "a.parquet", make.noise(100), {"y": ("n", "p")}, y=y, s=S)
    with pytest.raises(DataError, match=f"column 'y' holds {told}, but its schema names 2 classes"):
        ask(file)


def test_a_schema_that_lies_is_ignored(tmp_path: Path, make: Any) -> None:
    file = make.images(tmp_path / "a.parquet", make.noise(100), y=Y, s=S)
    table = pq.read_table(file)
    for meta in ("{", "[]", '{"info": 3}', '{"info": {"features": {"y": {"_type": "ClassLabel", "names": 3}}}}'):
        pq.write_table(table.replace_schema_metadata({"huggingface": meta}), file)
        assert ask(file).classes["y"] == ("0", "1")


def test_splits_with_different_columns(tmp_path: Path, make: Any) -> None:
    pictures = make.noise(100)
    make.images(tmp_path / "train.parquet", pictures[:80], y=Y[:80], s=S[:80], extra=np.arange(80))
    make.images(tmp_path / "test.parquet", pictures[80:], y=Y[80:], s=S[80:])
    assert total(ask(tmp_path)) == 100
    make.table(tmp_path / "test.parquet")
    with pytest.raises(DataError, match="only one has pictures"):
        ask(tmp_path)
    make.images(tmp_path / "test.parquet", pictures[80:], y=["a"] * 20, s=S[80:])
    with pytest.raises(DataError, match=r"do not fit together .*Field y has incompatible"):
        ask(tmp_path)


class FakeSplit:
    """What hub.py uses of datasets.Dataset."""

    def __init__(self, table: pa.Table, names: dict[str, Any]) -> None:
        info = {k: {"names": v, "_type": "ClassLabel"} for k, v in names.items()}
        meta = {"huggingface": json.dumps({"info": {"features": info}})}
        self.table = table
        self.features = types.SimpleNamespace(arrow_schema=table.schema.with_metadata(meta))

    def with_format(self, kind: str) -> FakeSplit:
        assert kind == "arrow"
        return self

    def __getitem__(self, rows: slice) -> pa.Table:
        return self.table[rows] if rows != slice(None) else self.table


def test_the_hub(tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"privet\[hub\]"):
        ask("hub:someone/faces")
    table = pq.read_table(make.images(tmp_path / "a.parquet", make.noise(100), y=Y, s=S))
    splits = {
        name: FakeSplit(part, {"y": ["n", "p"]})
        for name, part in {"train": table.slice(0, 80), "test": table.slice(80)}.items()
    }
    asked: list[tuple[str, str | None]] = []

    def load_dataset(path: str, config: str | None) -> dict[str, FakeSplit]:
        asked.append((path, config))
        if path == "absent":
            raise ConnectionError("Couldn't reach the hub\nand more")
        return {"rest": splits["test"]} if path == "odd" else splits

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    c = ask("hub:someone/faces:small")
    assert asked == [("someone/faces", "small")]
    assert (len(c.victim), c.classes["y"], c.name) == (20, ("n", "p"), "someone/faces")
    with pytest.raises(
        DataError, match=r"could not be loaded \(Couldn't reach the hub\); check the name and the network"
    ):
        ask("hub:absent")
    with pytest.raises(DataError, match="no split 'train'; it has: rest"):
        ask("hub:odd")
