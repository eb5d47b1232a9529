"""What an extractor lets through to whoever knows it."""

from __future__ import annotations

import shlex
from pathlib import Path

import extractors
import pytest
import torch

from driver import TINY
from privet.cli.plan import command
from privet.planner.choosing import Limits
from privet.planner.find import Question, identified
from privet.planner.identify import Anonymity
from privet.planner.known import AWARE, known
from privet.planner.verifying import begin
from privet.schedule import Source
from privet.train import one_thread


def test_who_knows_the_network_draws_more_and_victims_are_not_asked(tmp_path: Path) -> None:
    """All six channels of two convolutions are nearly the picture, to whoever can search through them."""
    head, people = extractors.source(tmp_path).chain.head(3, torch.arange(6)), extractors.corpus(200)
    with one_thread():
        begun = begin(head, people, extractors.GRID)
        found = known(head, people, begun, effort=TINY.name, seed=1)
    assert found.by in AWARE
    assert begun.by not in AWARE
    private = {id_ for role in ("task_val", "victim") for id_ in people.parts[role].ids.tolist()}
    assert private.isdisjoint(begun.held.ids.tolist()), "attacks are chosen on public people"
    assert set(begun.asked.ids.tolist()) <= set(people.parts["task_val"].ids.tolist()), "never on victims"
    assert 3 < found.aware.n == found.unaware.n <= 16
    assert found.aware.mean > found.unaware.mean + 3
    assert found.aware.high - found.aware.low < 15, "an interval of decibels, not of a rate"


@pytest.mark.parametrize(
    ("guesses", "expected"),
    [
        ([], False),
        ([Anonymity(1, False, 0.0, 0.4), Anonymity(10, True, 0.5, 0.9)], True),
        ([Anonymity(1, True, 0.49, 0.4)], False),
        ([Anonymity(100, False, 0.0, 1.0)], False),
    ],
)
def test_most_channels_named_is_identified(guesses: list[Anonymity], expected: bool) -> None:
    assert identified(guesses) is expected


@pytest.mark.parametrize(("known", "flag"), [(None, None), (True, "--known"), (False, "--no-known")])
def test_the_command_says_whether_it_was_asked(known: bool | None, flag: str | None) -> None:
    asked = Question(Source("digits"), Limits(psnr=19.0), known=known)
    words = shlex.split(command(asked, 7, Path("out")))
    assert words[words.index("--seed") + 1] == "7", "its channels were drawn by it"
    assert [w for w in words if w.endswith("known")] == ([flag] if flag else [])
    assert "--jobs" not in words
