"""What recipes read off the evidence: a method's operating points, facts by seed, trade-offs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from privet.errors import RunError
from privet.recipes.curves import Trade
from privet.recipes.evidence import Arm, Attacker, Evidence


def family(evidence: Evidence, key: str, method: str) -> list[str]:
    """The defenses of one method in a study, in the order of the grid; RunError where it has none."""
    found = [str(d) for d in evidence.runs(key).plan["defenses"] if str(d).startswith(method)]
    if not found:
        raise RunError(f"{key}: no {method} in this grid")
    return found


def by_seed(evidence: Evidence, key: str, defense: str, name: str) -> dict[int, Any]:
    """What each finished seed of a defense recorded."""
    runs = evidence.runs(key)
    finished = [s for s in runs.seeds if (defense, s) in runs.runs]
    return dict(zip(finished, evidence.fact(key, defense, name), strict=True))


def percent(*arms: Arm) -> str:
    """Means of several arms in percent."""
    return ", ".join(f"{100 * arm.estimate().mean:.1f} %" for arm in arms)


def constant(values: dict[int, float], name: str, like: Arm) -> Arm:
    """Numbers that each seed has, without victims, on the replicates of another arm; RunError for a single seed, whose
    number would have an interval of no width."""
    if len(values) < 2:
        raise RunError(f"{name} is one number a seed, and one seed has no interval; give --seeds 3")
    tables = {seed: np.full_like(like.tables[seed], value) for seed, value in values.items() if seed in like.tables}
    return Arm(tables, like.people, like.groups, "", name)


def trade(evidence: Evidence, key: str, defenses: Sequence[str], hidden: str, attacker: Attacker, name: str) -> Trade:
    """Operating points of a method: target error and attack error, the undefended split first."""
    points = [
        (evidence.utility(key, d).error(), evidence.attack(key, d, hidden, attacker).error())
        for d in ("none", *defenses)
    ]
    return Trade(name, tuple(points))
