"""Processes beside this one."""

from __future__ import annotations

import os

import pytest

from privet import workers
from privet.errors import RunError


def squared(x: int) -> tuple[int, int]:
    return x * x, os.getpid()


def ended(x: int) -> int:
    os._exit(3)


def refused(x: int) -> int:
    raise ValueError(f"{x} is refused")


def test_each_keeps_the_order_and_uses_other_processes() -> None:
    found = workers.each(2, squared, range(6))
    assert [value for value, _ in found] == [0, 1, 4, 9, 16, 25]
    assert os.getpid() not in {process for _, process in found}


def test_one_job_stays_in_this_process() -> None:
    for jobs, given in ((1, [2, 3]), (4, [2])):
        found = workers.each(jobs, squared, given)
        assert {process for _, process in found} == {os.getpid()}
    assert workers.each(4, squared, []) == []


def test_what_goes_wrong_in_a_process_is_told_here() -> None:
    with pytest.raises(ValueError, match="2 is refused"):
        workers.each(2, refused, [2, 3])
    with pytest.raises(RunError, match="a worker process ended without a word"):
        workers.each(2, ended, [2, 3])
