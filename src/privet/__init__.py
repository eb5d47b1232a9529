"""Privet prunes what leaves the device: cut a network in two, obfuscate what travels, and measure honestly what
still leaks.

    import privet
    answer = privet.audit("digits", defenses=["signal_content:keep=4"], effort="quick")

The base package imports without torch; what needs it is loaded when it is used.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

try:
    __version__ = version("privet")
except PackageNotFoundError:
    __version__ = "0.0.0"

_LAZY = {
    "Answer": "privet.api",
    "audit": "privet.api",
    "Corpus": "privet.data.corpus",
    "Part": "privet.data.corpus",
    "Payload": "privet.payload",
    "PrivetError": "privet.errors",
    "Split": "privet.split",
    "load_data": "privet.data",
}
_NAMES = {"load_data": "load"}
__all__ = ["Answer", "Corpus", "Part", "Payload", "PrivetError", "Split", "__version__", "audit", "load_data"]

if TYPE_CHECKING:
    from privet.api import Answer, audit
    from privet.data import load as load_data
    from privet.data.corpus import Corpus, Part
    from privet.errors import PrivetError
    from privet.payload import Payload
    from privet.split import Split


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'privet' has no attribute {name!r}")
    try:
        found = getattr(importlib.import_module(_LAZY[name]), _NAMES.get(name, name))
    except ModuleNotFoundError as missing:
        from privet.errors import MissingExtra

        if missing.name is None or missing.name.startswith("privet"):
            raise
        raise MissingExtra(missing.name, "lab") from missing
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
