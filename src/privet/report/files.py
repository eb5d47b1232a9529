"""Writing a text whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from privet.errors import RunError


def write_atomic(path: Path, text: str) -> Path:
    """Write UTF-8 `text` beside `path` and move it there in one step; returns the path.

    Raises RunError where the folder does not take it; an older file at `path` is then still whole."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; give a folder that exists, is writable and has room"
        ) from error
    return path
