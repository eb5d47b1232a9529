"""Decoded pictures kept on disk: plain .npy files with checksums, never pickle; a cache that fails is a cache that
misses."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import zlib
from pathlib import Path

import numpy as np

from privet.data.source import Decoded

ARRAYS = ("rows", "x", "ids", "thumbs", "bad", "why")


def default_folder() -> Path | None:
    """$PRIVET_CACHE, else $XDG_CACHE_HOME/privet, else ~/.cache/privet; None where there is no home."""
    if own := os.environ.get("PRIVET_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "privet"
    try:
        return Path.home() / ".cache" / "privet"
    except RuntimeError:
        return None


def read(folder: Path | None, key: str) -> Decoded | None:
    """The entry, or None where it is absent, damaged or unreadable."""
    if folder is None:
        return None
    try:
        place = folder / key
        manifest = json.loads((place / "manifest.json").read_text())
        arrays = {}
        for name in ARRAYS:
            arrays[name] = np.load(place / f"{name}.npy", allow_pickle=False)
            if _checksum(arrays[name]) != manifest["crc32"][name]:
                return None
        lengths = {len(arrays[name]) for name in ("rows", "x", "ids", "thumbs")}
        if len(lengths) > 1 or arrays["x"].dtype != np.uint8 or arrays["x"].ndim != 4:
            return None
        return Decoded(**arrays, odd=int(manifest["odd"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def write(folder: Path | None, key: str, decoded: Decoded) -> None:
    """Keep an entry; whole or not at all. A folder that cannot be written is left alone."""
    if folder is None:
        return
    draft = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=folder))
        arrays = {name: np.asarray(getattr(decoded, name)) for name in ARRAYS}
        for name, values in arrays.items():
            np.save(draft / f"{name}.npy", values, allow_pickle=False)
        sums = {name: _checksum(values) for name, values in arrays.items()}
        (draft / "manifest.json").write_text(json.dumps({"crc32": sums, "odd": decoded.odd}))
        if (folder / key).exists():  # only a damaged entry is ever written again
            shutil.rmtree(folder / key, ignore_errors=True)
        draft.rename(folder / key)
    except OSError:
        if draft is not None:
            with contextlib.suppress(OSError):
                shutil.rmtree(draft)


def _checksum(values: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(values).view(np.uint8).data)
