"""What judges say of rebuilt pictures: each answer beside that about the originals and what needs no payload."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from privet.auditing.estimate import Estimate, weights
from privet.auditing.panel import FLOOR, ORIGINAL
from privet.auditing.tables import JUDGED
from privet.payload import Array
from privet.report.runs import Cell, Runs

ORDER = ("attribute", "found", "distance", "faces")
RATES = ("attribute", "found", "faces:verdict", "faces:gender")


@dataclass(frozen=True)
class Judged:
    """One question about the pictures that an attack rebuilt.

    `attribute:A`: how often the judge reads A off them correctly. `found:judge`, `found:pixels`: how often a picture is
    nearest to its own original in a random gallery of 100. `distance:judge`, `distance:vgg19`: of features, 0 for the
    same. `faces:verdict`, `faces:gender`, `faces:years`: a network for faces agrees with what it says of the original,
    is right, misses the original's age by. `original`: the same asked of the originals, None where that says nothing.
    """

    question: str
    value: Estimate
    original: Estimate | None
    floor: Estimate


def judged(runs: Runs, defense: str, attack: str) -> tuple[Judged, ...]:
    """Every question that all seeds of a defense have an answer to; none for tables and for older runs."""
    prefix, found = f"table/{JUDGED}/{attack}/", []
    for key in runs.of(defense)[0].arrays:
        if key.startswith(prefix):
            question = key.removeprefix(prefix)
            value = _cell(runs, defense, attack, question, defense)
            asked = np.isfinite(runs.of(defense)[0].arrays[f"judged/input/{attack}/{question}"])
            if question.startswith("found:"):  # without the payload this is luck, which everybody tells best
                asked[:] = True
            floor = _cell(runs, runs.reference, FLOOR, question, defense, asked)
            original = (
                _cell(runs, runs.reference, ORIGINAL, question, defense, asked)
                if _asked_of_originals(question)
                else None
            )
            if value and floor:
                found.append(Judged(question, value, original, floor))
    return tuple(sorted(found, key=lambda one: ORDER.index(one.question.partition(":")[0])))


def _asked_of_originals(question: str) -> bool:
    return question.startswith("attribute:") or question == "faces:gender"


def _cell(runs: Runs, defense: str, name: str, question: str, like: str, asked: Array | None = None) -> Estimate | None:
    """The mean answer in the seeds that `like` has, too; of those people alone who were `asked` [N] about, where the
    judges were shown most of them: few people may be easy or hard ones."""
    seeds = [s for s in runs.seeds if (like, s) in runs.runs and (defense, s) in runs.runs]
    key = f"table/{JUDGED}/{name}/{question}"
    if not all(key in runs.runs[defense, s].arrays for s in seeds):
        return None
    tables, metric = [], "accuracy" if question.startswith(RATES) else "distance"
    for arrays in (runs.runs[defense, s].arrays for s in seeds):
        answers, groups, table = arrays[f"judged/input/{name}/{question}"], arrays["victim/groups"], arrays[key]
        people = np.isfinite(answers)
        if asked is not None and 2 * (people & asked).sum() >= asked.sum() and (people & ~asked).any():
            people &= asked
            drawn = weights(groups[people], len(table) - 1, seed=0)
            table = drawn @ answers[people] / drawn.sum(1)
        tables.append(table)
    return Cell(tables, metric, int(people.sum()), len(np.unique(groups[people]))).estimate()
