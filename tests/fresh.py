"""A package that is imported anew in this process: as another one would, without the seconds that torch takes there."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


@contextmanager
def nothing_imported(*first: Path, names: tuple[str, ...] = ("privet",)) -> Iterator[None]:
    """As in a process that has not yet imported these packages and looks for them in the folders `first`; afterwards
    all is there as before."""

    def ours() -> dict[str, ModuleType]:
        return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}

    before, path = ours(), list(sys.path)
    try:
        for name in before:
            del sys.modules[name]
        sys.path[:0] = map(str, first)
        importlib.invalidate_caches()
        yield
    finally:
        for name in ours():
            del sys.modules[name]
        sys.modules.update(before)
        sys.path[:] = path
        importlib.invalidate_caches()
