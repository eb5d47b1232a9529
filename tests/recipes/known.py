"""Evidence with made-up truths, for measures of recipes: positive where the paper is right, else negative."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from privet.recipes.evidence import Arm, Evidence

SEEDS = (0, 1, 2)


class Known:
    """Evidence with made-up truths: (study, defense) -> accuracy of target ("y") and of attacks, and recorded facts."""

    def __init__(self, values: dict[tuple[str, str, str], float], facts: dict[tuple[str, str, str], Any] | None = None):
        self.values, self.facts = values, facts or {}
        self.studies = {key: None for key, _, _ in values}

    def arm(self, key: str, defense: str, goal: str) -> Arm:
        value = self.values[key, defense, goal]
        tables = {}
        for seed in SEEDS:
            noise = np.random.default_rng([seed, len(key), len(defense)]).normal(0, 0.001, 41)
            tables[seed] = np.clip(value + noise, 0, 1)
        return Arm(tables, 1000, 1000)

    def utility(self, key: str, defense: str) -> Arm:
        return self.arm(key, defense, "y")

    def attack(self, key: str, defense: str, goal: str, attacker: str, metric: str = "accuracy") -> Arm:
        return self.arm(key, defense, goal)

    def floor(self, key: str, goal: str, metric: str = "accuracy") -> Arm:
        return self.arm(key, "floor", goal)

    def majority(self, key: str) -> float:
        return 0.5

    def runs(self, key: str) -> Any:
        defenses = list(dict.fromkeys(d for k, d, _ in [*self.values, *self.facts] if k == key))
        finished = {(d, s): None for d in defenses for s in SEEDS}
        return SimpleNamespace(plan={"defenses": defenses}, seeds=SEEDS, runs=finished)

    def fact(self, key: str, defense: str, name: str) -> list[Any]:
        found = self.facts[key, defense, name]
        return list(found) if isinstance(found, list) else [found] * len(SEEDS)


def value(pair: Any, known: Known) -> float:
    """The margin's mean; its sentence must be sayable."""
    measure, tell = pair
    evidence = cast(Evidence, known)
    assert tell(evidence, "fresh")
    return float(measure(evidence, "fresh").mean)


def both(make: Callable[[float], tuple[Any, Known]]) -> None:
    """A measure is clearly positive at +1 (the paper is right) and clearly negative at -1."""
    assert value(*make(+1)) > 0.005
    assert value(*make(-1)) < -0.005
