"""What the claims read off the evidence: families of defenses, operating points, and arms by the adversary asked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from privet.auditing.estimate import Estimate, weights
from privet.defense import Defense, parse
from privet.errors import RunError
from privet.recipes.disco.sets import ALONE, ALPHA
from privet.recipes.evidence import COTRAINED, Arm, Attacker, Evidence
from privet.recipes.reading import family
from privet.report.runs import Runs

MATCHED = 0.02  # of target accuracy
Floats = np.ndarray


def option(defense: str, name: str) -> float:
    """A number that a defense was given."""
    return float(getattr(parse(defense), name))


def learned(evidence: Evidence, key: str) -> list[str]:
    """DISCO where hiding is worth something."""
    return [d for d in family(evidence, key, "disco") if option(d, "alpha") > 0]


def sweep(evidence: Evidence, key: str, alpha: float = float(ALPHA)) -> list[str]:
    """DISCO at every share, at one alpha; 0 is the control: pruning and training behind it, without hiding."""
    return [d for d in family(evidence, key, "disco") if option(d, "alpha") == alpha]


def control(evidence: Evidence, key: str, defense: str) -> str:
    """The same without hiding."""
    found = [d for d in sweep(evidence, key, 0.0) if option(d, "ratio") == option(defense, "ratio")]
    if not found:
        raise RunError(f"{key}: no disco with alpha=0 that removes {option(defense, 'ratio'):g} in this grid")
    return found[0]


def at_random(evidence: Evidence, key: str, defense: str | None = None) -> list[str]:
    """Random pruning for each person with both halves trained: at every share, or at that of a defense."""

    def fits(one: Defense) -> bool:
        return getattr(one, "draw", "") == "sample" and getattr(one, "train", "") == "both"

    found = [d for d in family(evidence, key, "random_channels") if fits(parse(d))]
    found = [d for d in found if defense is None or option(d, "ratio") == option(defense, "ratio")]
    if not found:
        raise RunError(f"{key}: no random_channels with train=both of this share in this grid")
    return found


def cheapest(evidence: Evidence, key: str, defenses: list[str]) -> tuple[str, float]:
    """The defense that costs least of the target on task_val, and how much that is."""
    raw = float(np.mean(evidence.fact(key, "none", "task_val_accuracy")))
    lost = {d: raw - float(np.mean(evidence.fact(key, d, "task_val_accuracy"))) for d in defenses}
    best = min(lost, key=lambda d: lost[d])
    return best, lost[best]


def chosen(evidence: Evidence, key: str, hidden: str) -> str:
    """DISCO's operating point: of those that cost at most two points of target accuracy on task_val, the one whose
    strongest attack is weakest on aux_val. RunError where none is so cheap."""
    defenses = learned(evidence, key)
    raw = float(np.mean(evidence.fact(key, "none", "task_val_accuracy")))
    near = [d for d in defenses if raw - float(np.mean(evidence.fact(key, d, "task_val_accuracy"))) <= MATCHED]
    if not near:
        best, lost = cheapest(evidence, key, defenses)
        raise RunError(
            f"{key}: no point costs at most two points of the target; the cheapest, {best}, costs {lost:.1%}"
        )

    def found(defense: str) -> float:
        selections = evidence.fact(key, defense, "selection")
        return float(np.mean([max(scores["accuracy"] for scores in s[hidden].values()) for s in selections]))

    return min(near, key=found)


def raw(evidence: Evidence, key: str, hidden: str, attacker: Attacker) -> Arm:
    """The attack on raw z; the paper's own is trained beside a network that hears nothing of it."""
    if attacker == "published" and ALONE in evidence.runs(key).plan["defenses"]:
        return evidence.by(key, ALONE, hidden, COTRAINED)
    return evidence.attack(key, "none", hidden, attacker)


def over_victims(runs: Runs, defense: str, function: Callable[[dict[str, Floats], Floats], Floats], name: str) -> Arm:
    """A statistic of a trial's arrays under the bootstrap weights of its victims [1 + R, N] -> [1 + R], by seed."""
    tables = {}
    for seed in runs.seeds:
        if (defense, seed) in runs.runs:
            arrays = dict(runs.runs[defense, seed].arrays)
            replicates = len(arrays["table/(target)/answer/accuracy"]) - 1
            tables[seed] = np.asarray(function(arrays, weights(arrays["victim/groups"], replicates, seed=0)))
    if not tables:
        raise RunError(f"no trial of {defense} is finished; run the same command again to finish it")
    groups = next(iter(runs.runs.values())).arrays["victim/groups"]
    return Arm(tables, len(groups), len(np.unique(groups)), "accuracy", f"{name} of {defense}")


def worst(margins: list[Estimate]) -> Estimate:
    """Of several margins that must all be positive, the one that is least surely so."""
    return min(margins, key=lambda m: m.low)
