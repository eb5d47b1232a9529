"""Compare two defended splits person by person: paired differences on the same victims and seeds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from privet.auditing.estimate import Estimate, paired
from privet.auditing.tables import TARGET
from privet.errors import RunError, unknown
from privet.report.runs import RATES, Runs


@dataclass(frozen=True)
class Difference:
    """First minus second of one statistic of the headline attacks; it is claimed where the interval excludes zero."""

    first: str
    second: str
    attribute: str
    metric: str
    attacks: tuple[str, str]
    difference: Estimate
    seeds: int

    @property
    def claimed(self) -> bool:
        """Whether the interval excludes zero."""
        return self.difference.low > 0 or self.difference.high < 0

    def json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"attacks": list(self.attacks), "claimed": self.claimed}


@dataclass(frozen=True)
class Side:
    """One side of a comparison: the runs of a study, and the defense that is meant."""

    label: str
    runs: Runs
    defense: str


def side(runs: Runs, folder: Path, defense: str | None) -> Side:
    """Choose the defense: the one named, else the only one beside the reference."""
    choices = [d for d in runs.defenses if d != runs.reference] or runs.defenses
    if defense is None:
        if len(choices) != 1:
            raise RunError(
                f"{folder} holds several defenses; write {folder}#DEFENSE with one of: {', '.join(runs.defenses)}"
            )
        defense = choices[0]
    if defense not in runs.defenses:
        raise RunError(unknown("defense in this study", defense, runs.defenses))
    return Side(f"{folder}#{defense}", runs, defense)


def differences(a: Side, b: Side) -> list[Difference]:
    """All paired differences that both sides hold. Raises RunError where they were not run on the same victims or share
    no seed."""
    if a.runs.plan["data_digest"] != b.runs.plan["data_digest"]:
        raise RunError(
            f"{a.label} and {b.label} were not audited on the same people, so their victims cannot be paired; audit "
            "both on one data set"
        )
    seeds = sorted({s for d, s in a.runs.runs if d == a.defense} & {s for d, s in b.runs.runs if d == b.defense})
    if not seeds:
        raise RunError(f"{a.label} and {b.label} share no finished seed; run both with the same --seeds")
    both = a.runs.answered(a.defense) and b.runs.answered(b.defense)
    found = [_difference(a, b, TARGET, "accuracy", ("answer", "answer"), seeds)] if both else []
    shared = [pair for pair in _headlines(a) if pair in set(_headlines(b))]
    for goal, metric in shared:
        attacks = (a.runs.headline(a.defense, goal, metric), b.runs.headline(b.defense, goal, metric))
        found.append(_difference(a, b, goal, metric, attacks, seeds))
    return found


def _headlines(one: Side) -> list[tuple[str, str]]:
    goals = (*(h["name"] for h in one.runs.plan["data"]["hidden"]), "input")
    return list(dict.fromkeys((goal, metric) for goal in goals for _, metric in one.runs.scores(goal)))


def _difference(a: Side, b: Side, goal: str, metric: str, attacks: tuple[str, str], seeds: list[int]) -> Difference:
    tables = [
        [s.runs.runs[s.defense, seed].arrays[f"table/{goal}/{name}/{metric}"] for seed in seeds]
        for s, name in zip((a, b), attacks, strict=True)
    ]
    people, groups = a.runs.people(goal)
    if tables[0][0].shape != tables[1][0].shape:
        raise RunError(f"{a.label} and {b.label} were audited with different efforts; use the same --effort for both")
    value = paired(tables[0], tables[1], people, (-1.0, 1.0) if metric in RATES else None, groups)
    return Difference(a.label, b.label, goal, metric, attacks, value, len(seeds))
