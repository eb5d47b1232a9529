"""Tables: every statistic of a trial under the same bootstrap weights, so that trials can be compared person by person.

A table is [1 + R]: the statistic itself, then R replicates in which the victims' groups are drawn with replacement. The
weights depend on the groups alone, so the tables of two trials on the same victims are paired.
"""

from __future__ import annotations

import numpy as np

from privet import metrics
from privet.auditing.audit import Evidence, answered
from privet.auditing.estimate import weights
from privet.data.corpus import Corpus
from privet.payload import Array

TARGET, JUDGED = "(target)", "(judged)"
OWN = ("cotrained", "mask")  # adversaries that only some defenses have


def tabulate(evidence: Evidence, corpus: Corpus, answers: Array | None, replicates: int) -> dict[str, Array]:
    """`table/GOAL/ATTACK/METRIC` for attacks, `table/GOAL/floor:NAME/METRIC` for floors,
    `table/(target)/answer/accuracy` for utility where answers and target are known, `table/GOAL/mask:NAME/METRIC` for
    an attack on the choice of values alone, `table/GOAL/cotrained:NAME/METRIC` for the adversary that a defense was
    trained beside, `table/GOAL/curve:NAME@PEOPLE/METRIC` for an attack that learned from fewer people,
    `table/(judged)/NAME/QUESTION` for what judges say of rebuilt pictures."""
    victim = corpus.victim
    everybody = weights(victim.groups, replicates, seed=0)
    known = victim.y >= 0
    tables = {}
    if answers is not None and known.any():
        asked = weights(victim.groups[known], replicates, seed=0)
        tables[f"table/{TARGET}/answer/accuracy"] = _share(answers[known] == victim.y[known], asked)
    for key, value in evidence.arrays.items():
        kind, *rest = key.split("/")
        if kind in ("posterior", "floor", "curve", *OWN) and rest[0] != "input":
            s = victim.s[rest[0]]
            people = s >= 0
            own = weights(victim.groups[people], replicates, seed=0)
            name = rest[1] if kind == "posterior" else f"{kind}:{rest[1]}"
            wanted = {"accuracy": metrics.accuracy} if kind == "curve" else metrics.METRICS
            prior = evidence.arrays.get(f"prior/{rest[0]}")
            for metric, function in wanted.items():
                said = answered(value[people], metric, prior)
                tables[f"table/{rest[0]}/{name}/{metric}"] = function(said, s[people], own)
        elif kind in ("score", "floor", "curve", "judged"):
            goal = JUDGED if kind == "judged" else "input"
            name = rest[1] if kind in ("score", "judged") else f"{kind}:{rest[1]}"
            scored = np.isfinite(value)  # a costly attack is asked about some people only
            rows = everybody[:, scored]  # the same draws of the same people, so that tables stay paired
            if not rows.any(1).all():
                rows = weights(victim.groups[scored], replicates, seed=0)
            table = _share(value[scored], rows)
            # Few people may be easy or hard ones: what counts is the gain on them over the attack that they were shared
            # with, which was asked about everybody.
            beside = evidence.logs.get(f"input/{rest[1]}", {}).get("beside") if kind == "score" else None
            if beside is not None and not scored.all():
                other = evidence.arrays[f"score/input/{beside}/{rest[2]}"]
                table = table + _share(other, everybody) - _share(other[scored], rows)
            tables[f"table/{goal}/{name}/{rest[2]}"] = table
    return tables


def _share(values: Array, rows: Array) -> Array:
    return np.asarray(rows @ values.astype(np.float64) / rows.sum(1))
