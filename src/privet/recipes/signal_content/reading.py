"""What the measures and the figures read off the evidence: operating points, facts by seed, trade-offs."""

from __future__ import annotations

import numpy as np

from privet.recipes.curves import Trade
from privet.recipes.evidence import Attacker, Evidence
from privet.recipes.reading import family, trade
from privet.recipes.signal_content.sets import FC1, FREE, Set

MATCHED = 0.01  # of target accuracy


def kept_points(evidence: Evidence, key: str) -> list[str]:
    """The paper's obfuscator at every number of kept coefficients, rising."""
    return [d for d in family(evidence, key, "signal_content") if d.endswith("order=singular")]


def strongest(evidence: Evidence, key: str) -> str:
    """Adversarial training with the largest gamma of the grid."""
    return family(evidence, key, "adversarial")[-1]


def bounded(evidence: Evidence, key: str) -> str:
    """The smallest payload whose target accuracy on task_val is at most one point below that of raw z."""
    raw = float(np.mean(evidence.fact(key, "none", "task_val_accuracy")))
    for defense in kept_points(evidence, key):
        if raw - float(np.mean(evidence.fact(key, defense, "task_val_accuracy"))) <= MATCHED:
            return defense
    return FREE


def kept_in(defense: str) -> str:
    """What a spelling of signal_content keeps."""
    return defense.partition("keep=")[2].partition(",")[0]


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
