"""Shared fixtures: poisoned global generators, an exporter that prepares once, the optional folder of real data."""

from __future__ import annotations

import functools
import gc
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest

# A shell that starts the tests in the background has them ignore Ctrl-C, and they test what Ctrl-C does.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPO = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("PRIVET_DATA", REPO.parent / "shared" / "data"))


def pytest_collection_finish() -> None:
    """What all imports left behind stays until the end: the collector of garbage need not look through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def poisoned_generators(request: pytest.FixtureRequest) -> None:
    """Seed the global generators differently for every test, so that nobody can lean on them."""
    seed = int.from_bytes(os.urandom(4), "little")
    random.seed(seed)
    np.random.seed(seed)
    try:
        import torch

        torch.manual_seed(seed)
    except ImportError:
        pass


@pytest.fixture(autouse=True)
def prepared_exporter() -> None:
    """Torch's exporter reads the sources of all its operators anew for every graph, which takes longer than a small
    graph does. Here each process reads them once, and every export gets its own copy of the table."""
    module = sys.modules.get("torch.onnx._internal.exporter._registration")
    table = getattr(module, "ONNXRegistry", None)
    if table is None or getattr(table, "prepared", False) or not hasattr(table, "from_torchlib"):
        return
    read = functools.cache(table.from_torchlib)

    def from_torchlib(cls: Any, *version: Any, **more: Any) -> Any:
        known = read(*version, **more)
        made = cls()
        made.__dict__.update(known.__dict__)
        made.functions = {target: list(found) for target, found in known.functions.items()}
        return made

    table.from_torchlib, table.prepared = classmethod(from_torchlib), True
    list_operators_once()


def list_operators_once() -> None:
    """An export asks a dozen times for torch's operators to be listed by name; again only where some were added."""
    utils = sys.modules.get("torch._export.utils")
    listing = getattr(utils, "_materialize_cpp_cia_ops", None)
    asked = getattr(getattr(sys.modules["torch"], "_C", None), "_dispatch_get_registrations_for_dispatch_key", None)
    if utils is None or listing is None or asked is None:
        return
    listed: list[Any] = []

    def when_new() -> None:
        known = asked("CompositeImplicitAutograd")
        if known != listed:
            listing()
            listed[:] = known

    utils._materialize_cpp_cia_ops = when_new  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, or a skip that says it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA} (set PRIVET_DATA)")
    return DATA
