"""Run: the identity of a trial, and its folder on disk.

A folder's name is the hash of the settings that differ from the defaults, of the data and of the model. A finished run
is `run.json` and `arrays.safetensors`, written beside and moved into place, so that a run is there whole or not at all.
Running again finds it. The digest covers results only, not times or environment.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from privet.errors import RunError

Arrays = dict[str, npt.NDArray[Any]]
FORMAT = 1
# Rooms that show or ship results, or hold methods; a change there makes no other number.
_BESIDE = {"__init__.py", "__main__.py", "api.py", "profile.py", "screen.py", "shipping.py"}
_BESIDE |= {"attacks", "challenge", "cli", "cli.py", "defenses", "planner", "recipes", "report", "runtime"}
_LIBRARIES = ("privet", "torch", "numpy", "scikit-learn", "onnxruntime")


def canonical(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def name_of(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Sixteen hex digits: the hash of the settings that differ from their defaults, so that a new option renames
    nothing."""
    differing = {k: v for k, v in settings.items() if k not in defaults or defaults[k] != v}
    return hashlib.sha256(canonical(differing).encode()).hexdigest()[:16]


def sealed(told: Mapping[str, Any]) -> dict[str, Any]:
    """The same with its hash as `seal`, so that a change of the file is noticed."""
    return {**told, "seal": hashlib.sha256(canonical(told).encode()).hexdigest()}


def unsealed(told: Mapping[str, Any]) -> dict[str, Any]:
    """What was sealed; ValueError where it was changed since."""
    if not isinstance(told, Mapping):
        raise ValueError("it is a list or a number, and not what was written")
    rest = {k: v for k, v in told.items() if k != "seal"}
    if sealed(rest) != told:
        raise ValueError("it was changed since it was written")
    return rest


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """The versions that a number stands on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for library in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[library] = version(library)
    found["privet"] = f"{found.get('privet', '0')}+{_code()}"
    return found


@functools.cache
def _code() -> str:
    """Eight hex digits over the code that numbers depend on. Methods have hashes of their own in a trial's identity."""
    package = Path(__file__).parent
    files = [f for f in sorted(package.rglob("*.py")) if f.relative_to(package).parts[0] not in _BESIDE]
    total = hashlib.sha256("".join(f"{f.relative_to(package)}{file_hash(f)}" for f in files).encode())
    return total.hexdigest()[:8]


@dataclass(frozen=True)
class Run:
    """One finished trial: its settings and results (`record`), its predictions (`arrays`), and where it lies."""

    folder: Path
    record: dict[str, Any]
    arrays: Arrays

    @property
    def digest(self) -> str:
        """sha256 over results only: equal for equal runs."""
        total = hashlib.sha256(canonical(self.record["results"]).encode())
        for key in sorted(self.arrays):
            value = np.ascontiguousarray(self.arrays[key])
            total.update(f"{key}{value.dtype}{value.shape}".encode())
            total.update(value.tobytes())
        return total.hexdigest()


def write(folder: Path, record: dict[str, Any], arrays: Arrays) -> Run:
    """Write a finished run in one step; RunError where the disk does not take it, with nothing left behind."""
    record = record | {"format": FORMAT, "digest": Run(folder, record, arrays).digest}
    with replacing_folder(folder) as draft:
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, draft / "arrays.safetensors")
        (draft / "run.json").write_text(json.dumps(record, indent=1, sort_keys=True, allow_nan=False), encoding="utf-8")
    return Run(folder, record, arrays)


def read(folder: Path, *, any_version: bool = False) -> Run | None:
    """A finished run, or None where there is none.

    Raises RunError where it was made by another version of Privet (unless `any_version`), or is damaged.
    """
    if not (folder / "run.json").is_file():
        return None
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        arrays = load_file(folder / "arrays.safetensors")
        made_by, whole = record["versions"]["privet"], Run(folder, record, arrays)
        if whole.digest != record["digest"]:
            raise ValueError("its contents are not those that were written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as problem:
        raise RunError(f"the run {folder} is damaged ({problem}); delete that folder and run again") from problem
    if record.get("format") != FORMAT or (made_by != versions().get("privet") and not any_version):
        raise RunError(
            f"the run {folder} was made by privet {made_by}; choose another --out, or accept it with --any-version"
        )
    return whole


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file in one step, beside and moved into place; `mode` says who may read it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(draft, mode)
            os.replace(draft, path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as problem:
        raise _refusal(path, problem) from problem


def ensure(folder: Path) -> None:
    """Make a folder; RunError where the disk does not take it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise _refusal(folder, problem) from problem


@contextlib.contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A draft folder beside `folder` that takes its place when the block ends well, and vanishes when it does not."""
    draft: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        yield draft
        for file in draft.iterdir():
            os.chmod(file, 0o644)
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
        os.chmod(draft, 0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(draft, folder)
    except (OSError, SafetensorError) as problem:
        raise _refusal(folder, problem) from problem
    finally:
        if draft is not None and draft.exists():
            shutil.rmtree(draft, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove the drafts that a killed process left in a folder of runs; only who holds its lock may."""
    for draft in folder.glob(".*.*"):
        shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a study's folder; RunError where another process holds it. The lock falls with the process, however it
    ends."""
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / ".lock").open("w")
    except OSError as problem:
        raise _refusal(folder, problem) from problem
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            raise RunError(f"another process works in {folder}; wait for it, or choose another --out") from problem
        yield


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever the disk refuses while the block writes `path` becomes a RunError."""
    try:
        yield
    except (OSError, SafetensorError) as problem:
        raise _refusal(path, problem) from problem


def _refusal(path: Path, problem: Exception) -> RunError:
    full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or "No space left" in str(problem) or "File too large" in str(problem):
        return RunError(
            f"the disk that holds {path} is full; free some space or choose another --out, finished trials are kept"
        )
    if isinstance(problem, FileExistsError | NotADirectoryError):
        return RunError(f"cannot write {path}: a file is in the way of that folder; choose another --out")
    return RunError(f"cannot write {path}: {problem}; choose another --out")
