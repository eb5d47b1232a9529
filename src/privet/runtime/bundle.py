"""A bundle: the directory in which a defended split travels to its edge and to its server.

    manifest.json         canonical JSON: what this is, what may travel, and the sha256 of every other file
    edge.safetensors      server.safetensors      the halves' weights, the obfuscator's buffers included
    edge.onnx             server.onnx             the halves' graphs, weights inside

`split_hash` names a bundle: sha256 of its canonical manifest without that entry, so two halves of different bundles
never pass for a pair. Everything is hashed before anything is parsed, and nothing here can hold code: no pickle, no
links, no external data. Runs without torch; only `write` needs it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from privet.errors import PayloadError, RunError, unknown
from privet.payload import Array, Field, Noise, Signature
from privet.run import writing

if TYPE_CHECKING:
    from privet.defense import Defended

FORMAT = 1
MANIFEST = "manifest.json"
FILES = ("edge.onnx", "edge.safetensors", "server.onnx", "server.safetensors")
META = ("model", "input_shape", "input_kind", "classes", "defense")
ANEW = "write the bundle again with `privet fit`"
KINDS = ("image", "table")
MAX_MANIFEST = 1 << 20
MAX_FILE = 1 << 31
MAX_HEADER = 1 << 20
MAX_TENSORS = 4096
DTYPES = frozenset({"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U8", "BOOL"})
# a protobuf string of length 8, its length written in one byte or padded: the key without which no tensor is external
EXTERNAL_DATA = re.compile(rb"[\x08\x00]location")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. `manifest` is the parsed manifest.json."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def split_hash(self) -> str:
        """The name of this pair of halves, 64 hex digits."""
        return str(self.manifest["split_hash"])

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one x: (C, H, W) or (D,)."""
        return tuple(self.manifest["input"]["shape"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return tuple(self.manifest["classes"])

    @property
    def signature(self) -> Signature:
        """What travels."""
        return tuple(Field(f["name"], f["dtype"], tuple(f["shape"])) for f in self.manifest["signature"])

    @property
    def noise(self) -> tuple[Noise, ...]:
        """What the edge draws for every payload."""
        return tuple(Noise(n["name"], tuple(n["shape"]), n["law"], n["per"]) for n in self.manifest["noise"])

    def read(self, name: str) -> bytes:
        """The verified bytes of one file; RunError where it has changed since the bundle was opened."""
        return _read(self.folder, name, self.manifest["files"][name])

    def weights(self, half: str) -> dict[str, Array]:
        """The state dict of `edge` or `server` as arrays."""
        return _tensors(f"{half}.safetensors", self.read(f"{half}.safetensors"))


def write(defended: Defended, folder: str | os.PathLike[str], *, meta: Mapping[str, Any]) -> Path:
    """Write a bundle at once or not at all, and return its folder.

    `meta` holds model (its reference), input_shape, input_kind (image | table), classes (names) and defense (as
    spelled); whatever else it holds is kept under `meta`. A bundle that stands there already is replaced.
    Raises RunError where another folder stands there that is not empty, where the disk is full or does not allow it,
    where weights are not finite or meta is incomplete, ModelError where a half cannot be exported.
    """
    target = check_target(folder)
    with writing(target):
        return _write(defended, target, meta)


def _write(defended: Defended, target: Path, meta: Mapping[str, Any]) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as room:
        fresh = Path(room) / "bundle"
        fresh.mkdir()
        _write_files(defended, fresh, _described(defended, meta))
        open(fresh)
        _swap(fresh, target, Path(room) / "replaced")
    return target


def open(folder: str | os.PathLike[str]) -> Bundle:
    """Verify a bundle and return it.

    Raises RunError where the manifest is malformed or of an unknown version; before anything else is parsed, where a
    file is missing, foreign, a link, of another size or hash; then where a graph keeps data outside its file, or
    weights are malformed or not finite.
    """
    path = Path(folder)
    if not path.is_dir() or path.is_symlink():
        raise RunError(f"no bundle at {path}: give the folder that `privet fit` wrote")
    found = {entry.name for entry in os.scandir(path)}
    whole = {MANIFEST, *FILES}
    if found != whole:
        wrong = f"misses {sorted(whole - found)}" if whole - found else f"also holds {sorted(found - whole)}"
        raise RunError(f"{path} is not a bundle: it {wrong}; a bundle holds exactly {', '.join(sorted(whole))}")
    manifest = _manifest(_bytes(path / MANIFEST, MAX_MANIFEST))
    contents = {name: _read(path, name, manifest["files"][name]) for name in FILES}
    for name, data in contents.items():
        if name.endswith(".safetensors"):
            _tensors(name, data)
        elif data[:1] != b"\x08" or EXTERNAL_DATA.search(data):  # field 1 of an ONNX model, its version, comes first
            raise RunError(f"{name} is not an ONNX graph with its weights inside; {ANEW}")
    return Bundle(path, manifest)


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: keys sorted, no spaces, no NaN; arrays of numpy or torch become lists."""
    form: dict[str, Any] = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}
    return json.dumps(value, default=lambda item: item.tolist(), **form).encode()


def split_hash(manifest: Mapping[str, Any]) -> str:
    """sha256 of the canonical manifest without its own entry `split_hash`."""
    return hashlib.sha256(canonical({k: v for k, v in manifest.items() if k != "split_hash"})).hexdigest()


def _described(defended: Defended, meta: Mapping[str, Any]) -> dict[str, Any]:
    if missing := [key for key in META if key not in meta]:
        raise RunError(f"a bundle's meta needs {', '.join(META)}; missing: {', '.join(missing)}")
    if meta["input_kind"] not in KINDS:
        raise RunError(unknown("kind of input", str(meta["input_kind"]), KINDS))
    manifest = {
        "format": FORMAT,
        "privet": _version(),
        "model": meta["model"],
        "cut": defended.split.cut,
        "input": {"shape": list(meta["input_shape"]), "kind": meta["input_kind"]},
        "classes": list(meta["classes"]),
        "defense": meta["defense"],
        "signature": [asdict(f) for f in defended.obfuscator.signature],
        "noise": [asdict(n) for n in defended.obfuscator.noise],
        "guarantee": asdict(defended.guarantee),
        "log": defended.log,
        "meta": {key: value for key, value in meta.items() if key not in META},
    }
    try:
        plain: dict[str, Any] = json.loads(canonical(manifest))
    except (TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"log or meta is not plain JSON ({error}); keep finite numbers, texts, lists and dicts"
        ) from error
    return plain


def _write_files(defended: Defended, fresh: Path, manifest: dict[str, Any]) -> None:
    from safetensors.torch import save

    from privet.runtime.export import export_edge, export_server

    for half, module in (("edge", defended.edge_half), ("server", defended.server_half)):
        state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
        weights = save(state)
        _tensors(f"{half}.safetensors", weights)
        (fresh / f"{half}.safetensors").write_bytes(weights)
    export_edge(defended, fresh / "edge.onnx", manifest["input"]["shape"])
    export_server(defended, fresh / "server.onnx")
    manifest = manifest | {"files": {name: _fingerprint((fresh / name).read_bytes()) for name in FILES}}
    (fresh / MANIFEST).write_bytes(canonical(manifest | {"split_hash": split_hash(manifest)}))
    for name in (MANIFEST, *FILES):
        os.chmod(fresh / name, 0o644)
        with (fresh / name).open("rb") as file:
            os.fsync(file.fileno())


def check_target(folder: str | os.PathLike[str]) -> Path:
    """The absolute path of a folder that a bundle may be written to; nothing is written.

    Raises RunError where something else than a bundle stands there, or nothing can be made there.
    """
    target = Path(folder).absolute()
    with writing(target):
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise RunError(f"{target} is a file or a link; give a folder that does not exist yet")
        held = {entry.name for entry in target.iterdir()} if target.exists() else set()
        above = next(place for place in target.parents if place.exists())
    if held and held != {MANIFEST, *FILES}:
        raise RunError(f"{target} holds something that is not a bundle; give a folder that is empty or new")
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise RunError(f"no folder can be made in {above}; give a folder where you may write")
    return target


def _swap(fresh: Path, target: Path, aside: Path) -> None:
    """Put the new bundle in the old one's place; where that fails, the old one stays."""
    try:
        if target.exists():
            os.rename(target, aside)
        os.rename(fresh, target)
    except OSError as error:
        if aside.exists() and not target.exists():
            os.rename(aside, target)
        raise RunError(
            f"the bundle cannot be put at {target} ({error.strerror}); is somebody else writing it?"
        ) from error


def _fingerprint(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _read(folder: Path, name: str, wanted: Mapping[str, Any]) -> bytes:
    data = _bytes(folder / name, min(MAX_FILE, wanted["bytes"]))
    if _fingerprint(data) != wanted:
        raise RunError(
            f"{name} is not the file its manifest describes (size or sha256 differ); copy it again, or {ANEW}"
        )
    return data


def _bytes(path: Path, limit: int) -> bytes:
    """A regular file's bytes, never through a link, never more than one beyond the limit."""
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise RunError(f"{path.name} is a link or a special file; a bundle holds plain files: copy their contents")
        if status.st_size > limit:
            raise RunError(f"{path.name} has {status.st_size} bytes where at most {limit} belong; {ANEW}")
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise RunError(f"{path.name} of the bundle cannot be read: {error.strerror}") from error


def _manifest(data: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(data)
        plain = canonical(manifest) == data
    except (ValueError, RecursionError, AttributeError) as error:
        raise RunError(f"{MANIFEST} is not JSON; {ANEW}") from error
    if not isinstance(manifest, dict) or not plain:
        raise RunError(f"{MANIFEST} is not canonical JSON (keys sorted, none twice), so it was edited; {ANEW}")
    if type(manifest.get("format")) is not int or manifest["format"] != FORMAT:
        raise RunError(f"this bundle has format {manifest.get('format')!r}, this privet reads {FORMAT}; {ANEW}")
    if manifest.get("split_hash") != split_hash(manifest):
        raise RunError(f"{MANIFEST} does not match its split_hash, so it was edited; {ANEW}")
    with _refusing(f"{MANIFEST} lacks an entry or holds one of the wrong kind; {ANEW}"):
        bundle, files = Bundle(Path(), manifest), manifest["files"]
        texts = [*bundle.classes, manifest["cut"], manifest["model"], manifest["defense"]]
        shapes = [bundle.input_shape, *(f.shape for f in bundle.signature), *(n.shape for n in bundle.noise)]
        right = (
            set(files) == set(FILES)
            and all(type(f["bytes"]) is int and f["bytes"] >= 0 for f in files.values())
            and all(type(size) is int and size > 0 for shape in shapes for size in shape)
            and all(isinstance(text, str) for text in texts)
            and manifest["input"]["kind"] in KINDS
            and bool(bundle.signature)
            and {"statement", "scope"} == set(manifest["guarantee"])
            and isinstance(manifest["log"], dict)
        )
        if not right:
            raise ValueError(MANIFEST)
    return manifest


def _tensors(name: str, data: bytes) -> dict[str, Array]:
    """Parse safetensors within our own limits: small header, no key twice, known dtypes, finite values."""
    with _refusing(f"{name} is not a well-formed safetensors file; {ANEW}"):
        length = int.from_bytes(data[:8], "little")
        if len(data) < 8 or length > min(MAX_HEADER, len(data) - 8):
            raise ValueError(name)
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_once)
        dtypes = {str(entry["dtype"]) for key, entry in header.items() if key != "__metadata__"}
        if len(header) > MAX_TENSORS:
            raise ValueError(name)
        if dtypes - DTYPES:
            raise RunError(
                f"{name} holds {', '.join(sorted(dtypes - DTYPES))}; convert the model with model.float() first"
            )
        tensors: dict[str, Array] = load_tensors(data)
    for key, value in tensors.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise RunError(f"weight {key!r} in {name} is not finite: training diverged; train again")
    return tensors


def _once(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) != len(items):
        raise ValueError("a key stands twice")
    return found


@contextlib.contextmanager
def _refusing(message: str) -> Iterator[None]:
    """Turn whatever malformed content raises into one typed sentence."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError, PayloadError) as error:
        raise RunError(message) from error


def _version() -> str:
    try:
        return version("privet")
    except PackageNotFoundError:
        return "unknown"
