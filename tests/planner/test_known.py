"""What an extractor lets through to whoever knows it."""

from __future__ import annotations

from pathlib import Path

import extractors
import torch

from driver import TINY
from privet.planner.known import AWARE, UNAWARE, known
from privet.train import one_thread


def test_who_knows_the_network_draws_more_and_victims_are_not_asked(tmp_path: Path) -> None:
    """All six channels of two convolutions are nearly the picture, to whoever can search through them."""
    head, people = extractors.source(tmp_path).chain.head(3, torch.arange(6)), extractors.corpus(200)
    with one_thread():
        found = known(head, people, effort=TINY.name, seed=1)
    assert found.by in AWARE
    assert set(AWARE).isdisjoint(UNAWARE)
    assert 3 < found.aware.n == found.unaware.n <= 16
    assert found.aware.mean > found.unaware.mean + 3
    assert found.aware.high - found.aware.low < 15, "an interval of decibels, not of a rate"
