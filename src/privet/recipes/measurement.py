"""Measurements: what a claim reads beside trials of defenses. Anything that is measured, kept in the recipe's folder as
far as it took long, and found again.

    Measurement(where.place("cifar10"), "36 extractors", perform)      # perform(report) -> Finding
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privet import run
from privet.setting import Report


@dataclass(frozen=True)
class Finding:
    """What was measured: any value that the recipe's claims know how to read; on whose data, with which seeds or draws,
    in how many seconds of computing; `facts` says in a line what the value stands on."""

    data: str
    value: Any
    seeds: tuple[int, ...] = ()
    seconds: float = 0.0
    facts: str = ""


@dataclass(frozen=True)
class Measurement:
    """Something to measure: the place of its data set (empty: it needs none), what it is in a line, and how. `perform`
    goes on where it was stopped; `seconds` is a guess of how long it takes from the start, on one core."""

    data: str
    about: str
    perform: Callable[[Report], Finding]
    seconds: float = 1.0


def remembered(folder: Path, name: str, settings: Mapping[str, Any], measure: Callable[[], Any]) -> Any:
    """A measurement as JSON holds it: found in the folder under these settings, or made and put there."""
    path = folder / f"{name}-{run.name_of(settings, {})}.json"
    if path.is_file():
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # damaged: measured again
            pass
    run.ensure(folder)
    value = json.loads(json.dumps(measure(), allow_nan=False))
    run.write_text(path, json.dumps(value))
    return value
