"""Frontiers: what several operating points of a method reach together, on one scale for all methods.

    U = clip((accuracy of the target - majority) / (raw - majority), 0, 1)     how much of the target is kept
    P = clip(1 - (accuracy of the attack - floor) / (raw - floor), 0, 1)       how much is hidden
    hypervolume = area of the union of [0, U] x [0, P] over the points

A coin that sends raw z or nothing lies on U + P = 1, and K of its points reach K / (2 (K + 1)). More points reach more,
by chance alone, so only sets of equally many are to be compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from privet.errors import RunError
from privet.metrics import hypervolume
from privet.recipes.evidence import Arm, Attacker, Evidence, Floats, above, combine, difference, measured

CLEAR = 1.5  # half widths of a 95 % interval (three standard errors) that raw z must be above majority and floor


def points(
    evidence: Evidence, key: str, defenses: Sequence[str], hidden: str, attacker: Attacker
) -> list[tuple[Arm, Arm]]:
    """(U, P) of each defense; RunError where the raw representation itself has too little to keep or to hide."""
    majority, raw = evidence.majority(key), evidence.utility(key, "none")
    told, floor = evidence.attack(key, "none", hidden, attacker), evidence.floor(key, hidden)
    kept, known = above(measured(raw), majority), difference(told, floor)
    if any(gain.mean <= CLEAR * (gain.high - gain.low) / 2 for gain in (kept, known)):
        raise RunError(f"{key}: raw z hardly beats the majority or the floor, so there is no scale to put a method on")

    def utility(values: Floats) -> Floats:
        return np.asarray(np.clip((values[0] - majority) / np.maximum(values[1] - majority, 1e-9), 0, 1))

    def privacy(values: Floats) -> Floats:
        return np.asarray(np.clip((values[1] - values[0]) / np.maximum(values[1] - values[2], 1e-9), 0, 1))

    return [
        (
            combine((evidence.utility(key, d), raw), utility),
            combine((evidence.attack(key, d, hidden, attacker), told, floor), privacy),
        )
        for d in defenses
    ]


def volume(evidence: Evidence, key: str, defenses: Sequence[str], hidden: str, attacker: Attacker) -> Arm:
    """The normalized hypervolume of some operating points, in every seed and replicate."""
    pairs = points(evidence, key, defenses, hidden, attacker)

    def area(values: Floats) -> Floats:
        us, ps = values[: len(pairs)], values[len(pairs) :]
        return np.array([hypervolume(list(zip(u, p, strict=True))) for u, p in zip(us.T, ps.T, strict=True)])

    return combine([u for u, _ in pairs] + [p for _, p in pairs], area)


def coin(count: int) -> float:
    """The hypervolume of as many points of a coin flip, placed as well as they can be."""
    return count / (2 * (count + 1))
