"""Shared fixtures: poisoned global generators, the optional folder of real data."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest

# A shell that starts the tests in the background has them ignore Ctrl-C, and they test what Ctrl-C does.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPO = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("PRIVET_DATA", REPO.parent / "shared" / "data"))


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


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, or a skip that says it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA} (set PRIVET_DATA)")
    return DATA
