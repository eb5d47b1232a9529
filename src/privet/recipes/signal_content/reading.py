"""What the measures and the figures read off the evidence: operating points, facts by seed, trade-offs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from privet.errors import RunError
from privet.recipes.curves import Trade
from privet.recipes.evidence import Arm, Attacker, Evidence
from privet.recipes.signal_content.sets import FC1, FREE, Set

MATCHED = 0.01  # of target accuracy


def family(evidence: Evidence, key: str, method: str) -> list[str]:
    """The defenses of one method in a study, in the order of the grid; RunError where it has none."""
    found = [str(d) for d in evidence.runs(key).plan["defenses"] if str(d).startswith(method)]
    if not found:
        raise RunError(f"{key}: no {method} in this grid")
    return found


def kept_points(evidence: Evidence, key: str) -> list[str]:
    """The paper's obfuscator at every number of kept coefficients, rising."""
    return [d for d in family(evidence, key, "signal_content") if d.endswith("order=singular")]


def by_seed(evidence: Evidence, key: str, defense: str, name: str) -> dict[int, Any]:
    """What each finished seed of a defense recorded."""
    runs = evidence.runs(key)
    finished = [s for s in runs.seeds if (defense, s) in runs.runs]
    return dict(zip(finished, evidence.fact(key, defense, name), strict=True))


def strongest(evidence: Evidence, key: str) -> str:
    """Adversarial training with the largest gamma of the grid."""
    return family(evidence, key, "adversarial")[-1]


def percent(*arms: Arm) -> str:
    """Means of several arms in percent."""
    return ", ".join(f"{100 * arm.estimate().mean:.1f} %" for arm in arms)


def bounded(evidence: Evidence, key: str) -> str:
    """The smallest payload whose target accuracy on task_val is at most one point below that of raw z."""
    raw = float(np.mean(evidence.fact(key, "none", "task_val_accuracy")))
    for defense in kept_points(evidence, key):
        if raw - float(np.mean(evidence.fact(key, defense, "task_val_accuracy"))) <= MATCHED:
            return defense
    return FREE


def constant(values: dict[int, float], name: str, like: Arm) -> Arm:
    """Numbers that each seed has, without victims, on the replicates of another arm; RunError for a single seed, whose
    number would have an interval of no width."""
    if len(values) < 2:
        raise RunError(f"{name} is one number a seed, and one seed has no interval; give --seeds 3")
    tables = {seed: np.full_like(like.tables[seed], value) for seed, value in values.items() if seed in like.tables}
    return Arm(tables, like.people, like.groups, "", name)


def kept_in(defense: str) -> str:
    """What a spelling of signal_content keeps."""
    return defense.partition("keep=")[2].partition(",")[0]


def trade(evidence: Evidence, key: str, defenses: Sequence[str], hidden: str, attacker: Attacker, name: str) -> Trade:
    """Operating points of a method: target error and attack error, the undefended split first."""
    points = [
        (evidence.utility(key, d).error(), evidence.attack(key, d, hidden, attacker).error())
        for d in ("none", *defenses)
    ]
    return Trade(name, tuple(points))


def svd_trade(evidence: Evidence, one: Set, hidden: str, attacker: Attacker) -> Trade:
    key = f"{one.name}/{FC1}"
    return trade(evidence, key, kept_points(evidence, key), hidden, attacker, "signal content")


def pruning_trade(evidence: Evidence, one: Set, hidden: str, attacker: Attacker) -> Trade:
    key = f"{one.name}/{FC1}"
    return trade(evidence, key, family(evidence, key, "feature_l1"), hidden, attacker, "L1 pruning")


def plain_svd_trade(evidence: Evidence, one: Set, hidden: str, attacker: Attacker) -> Trade:
    key = f"{one.name}/plain"
    return trade(
        evidence, key, family(evidence, key, "signal_content"), hidden, attacker, "signal content, plain network"
    )


def plain_pruning_trade(evidence: Evidence, one: Set, hidden: str, attacker: Attacker) -> Trade:
    key = f"{one.name}/plain"
    return trade(evidence, key, family(evidence, key, "feature_l1"), hidden, attacker, "L1 pruning, plain net")


def adversarial_trade(evidence: Evidence, one: Set, hidden: str, attacker: Attacker) -> Trade:
    key = f"{one.name}/plain"
    return trade(evidence, key, family(evidence, key, "adversarial"), hidden, attacker, "adversarial training")
