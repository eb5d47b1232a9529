"""Runs on disk: there whole or not at all, found again, never trusted when damaged or foreign."""

from __future__ import annotations

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privet import run
from privet.errors import RunError

ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b/c": np.array([1, 2], np.int64)}
RECORD = {"results": {"x": 0.1, "list": [1, 2]}, "versions": run.versions(), "seconds": 1.0}


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = run.write(tmp_path / "runs" / "one", RECORD, ARRAYS)
    found = run.read(tmp_path / "runs" / "one")
    assert found is not None
    assert found.digest == written.digest
    assert set(found.arrays) == set(ARRAYS)
    assert all(np.array_equal(found.arrays[k], ARRAYS[k]) for k in ARRAYS)
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["one"]
    assert run.read(tmp_path / "runs" / "two") is None


def test_the_digest_is_of_results_only() -> None:
    base = run.Run(Path("x"), RECORD, ARRAYS).digest
    assert run.Run(Path("y"), RECORD | {"seconds": 2.0, "versions": {}}, ARRAYS).digest == base
    assert run.Run(Path("x"), RECORD | {"results": {"x": 0.2}}, ARRAYS).digest != base
    assert run.Run(Path("x"), RECORD, ARRAYS | {"a": ARRAYS["a"].astype(np.float32)}).digest != base
    assert run.Run(Path("x"), RECORD, ARRAYS | {"a": ARRAYS["a"].reshape(3, 2)}).digest != base
    assert run.Run(Path("x"), RECORD, ARRAYS | {"a": ARRAYS["a"] + 1e-12}).digest != base
    assert run.Run(Path("x"), RECORD, dict(reversed(ARRAYS.items()))).digest == base


def test_names_hash_what_differs_from_the_defaults() -> None:
    name = run.name_of({"a": 1, "b": 2}, {"b": 2})
    assert name == run.name_of({"a": 1}, {"b": 2}) == run.name_of({"b": 2, "a": 1, "new": 0}, {"b": 2, "new": 0})
    assert name != run.name_of({"a": 1, "b": 3}, {"b": 2})
    assert len(name) == 16
    with pytest.raises(ValueError):
        run.canonical(float("nan"))


def test_another_version_is_refused(tmp_path: Path) -> None:
    run.write(tmp_path / "one", RECORD | {"versions": {"privet": "0.0.1"}}, ARRAYS)
    with pytest.raises(RunError, match=r"made by privet 0.0.1; choose another --out, or accept it with --any-version"):
        run.read(tmp_path / "one")
    assert run.read(tmp_path / "one", any_version=True) is not None


@pytest.mark.parametrize("damage", ["arrays", "json", "keys", "missing", "format"])
def test_a_damaged_run_is_refused(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "one"
    run.write(folder, RECORD, ARRAYS)
    record = json.loads((folder / "run.json").read_text())
    if damage == "arrays":
        (folder / "arrays.safetensors").write_bytes(b"\0" * 40)
    elif damage == "missing":
        (folder / "arrays.safetensors").unlink()
    elif damage == "json":
        (folder / "run.json").write_text((folder / "run.json").read_text()[:-20])
    elif damage == "keys":
        (folder / "run.json").write_text(json.dumps({k: v for k, v in record.items() if k != "versions"}))
    else:
        (folder / "run.json").write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(RunError, match=str(folder)):
        run.read(folder)


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write(tmp_path / "kept", RECORD, ARRAYS)

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run.json, "dumps", stop)
    with pytest.raises(KeyboardInterrupt):
        run.write(tmp_path / "one", RECORD, ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    run.write(tmp_path / "kept", RECORD, ARRAYS)

    def full(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"disk that holds .*one is full; free some space") as told:
        run.write(tmp_path / "one", RECORD, ARRAYS)
    assert "\n" not in str(told.value)
    with pytest.raises(RunError, match="full"):
        run.write_text(tmp_path / "page.html", "x")
    with pytest.raises(RunError, match="full"), run.writing(tmp_path / "model"):
        full()
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert run.read(tmp_path / "kept") is not None


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for attempt in (
        lambda: run.write(tmp_path / "file" / "runs" / "one", RECORD, ARRAYS),
        lambda: run.write_text(tmp_path / "file" / "page", "x"),
        lambda: run.ensure(tmp_path / "file"),
        lambda: run.locked(tmp_path / "file" / "x").__enter__(),
    ):
        with pytest.raises(RunError, match=r"cannot write .*; choose another --out"):
            attempt()


def test_text_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run.write_text(tmp_path / "page", "old")
    assert (tmp_path / "page").stat().st_mode & 0o777 == 0o644

    def fails(*_: Any) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(RunError, match="cannot write"):
        run.write_text(tmp_path / "page", "new")
    assert (tmp_path / "page").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["page"]


def test_a_folder_has_one_worker(tmp_path: Path) -> None:
    with run.locked(tmp_path / "out"):
        with pytest.raises(RunError, match=r"another process works in .*; wait for it, or choose another --out"):
            run.locked(tmp_path / "out").__enter__()
        told: list[str] = []

        def other() -> None:
            try:
                with run.locked(tmp_path / "out"):
                    told.append("entered")
            except RunError:
                told.append("refused")

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert told == ["refused"]
    with run.locked(tmp_path / "out"):
        pass


def test_drafts_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    run.write(tmp_path / "0123456789abcdef", RECORD, ARRAYS)
    (tmp_path / ".0123456789abcdef.x8k2").mkdir()
    (tmp_path / ".0123456789abcdef.x8k2" / "arrays.safetensors").write_bytes(b"half")
    run.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["0123456789abcdef"]
    run.sweep(tmp_path / "absent")
