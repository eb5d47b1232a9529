"""Evidence: what finished studies say, as tables that claims are measured on.

    before = evidence.attack("utkface/flatten", "none", "race", attacker)
    after = evidence.attack("utkface/flatten", "signal_content:keep=4", "race", attacker)
    margin = difference(before, after)                    # positive where the defense lowers the attack

Every table holds a statistic and its replicates under one set of bootstrap weights, for each seed. Whatever is computed
from several tables is computed for each seed and replicate, so that victims and seeds are in every interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from privet.auditing.estimate import Estimate, estimate
from privet.auditing.tables import TARGET
from privet.errors import RunError, unknown
from privet.recipes.measurement import Finding
from privet.report.runs import RATES, Cell, Runs

Floats = npt.NDArray[np.float64]
Attacker = Literal["published", "fresh"]
PUBLISHED = ("server_probe",)  # of most papers: the server's own architecture, trained for the hidden label
COTRAINED = "cotrained:server"  # the same, trained beside the defense and never asked again


@dataclass(frozen=True)
class Arm:
    """One statistic of one defended split: for each seed [1 + R], the statistic first, then its replicates.

    people and groups are the victims it stands on; arms of one data set share victims and weights, and can be paired.
    """

    tables: Mapping[int, Floats]
    people: int
    groups: int
    metric: str = "accuracy"
    name: str = ""

    def estimate(self) -> Estimate:
        """Mean with its 95 % interval over victims and seeds."""
        return Cell([self.tables[s] for s in sorted(self.tables)], self.metric, self.people, self.groups).estimate()

    def error(self) -> Arm:
        """One minus the statistic: the error of an accuracy."""
        return replace(self, tables={s: 1 - t for s, t in self.tables.items()})


@dataclass(frozen=True)
class Evidence:
    """The finished studies and measurements of a recipe by key, and why others are absent. Whatever is not there raises
    RunError, so that no claim is judged on less than it names.

    published: the attacks that stand for the paper's adversary; of each defense the first that there is counts.
    """

    studies: Mapping[str, Runs]
    absent: Mapping[str, str] = field(default_factory=dict)
    published: tuple[str, ...] = PUBLISHED
    findings: Mapping[str, Finding] = field(default_factory=dict)

    @property
    def keys(self) -> tuple[str, ...]:
        """All that is there."""
        return (*self.studies, *self.findings)

    def check(self, key: str) -> None:
        """RunError with the reason where a study or a measurement is not there."""
        if key in self.absent:
            raise RunError(f"{key}: {self.absent[key]}")
        if key not in self.keys:
            raise RunError(unknown("study of this grid", key, self.keys))

    def runs(self, key: str) -> Runs:
        """The runs of a study; RunError with the reason where there are none."""
        self.check(key)
        return self.studies[key]

    def found(self, key: str) -> Any:
        """The value of a measurement; RunError with the reason where there is none."""
        self.check(key)
        return self.findings[key].value

    def utility(self, key: str, defense: str) -> Arm:
        """Accuracy of the target on the victims."""
        return self._arm(key, defense, TARGET, "answer", "accuracy")

    def attack(self, key: str, defense: str, goal: str, attacker: Attacker, metric: str = "accuracy") -> Arm:
        """A hidden attribute (or `input`) under attack: by the paper's adversary, or by the headline that was selected
        on aux_val over all attacks."""
        finished = self.runs(key).of(defense)
        if not finished:
            raise self._lacking(key, defense)
        if attacker == "fresh":
            name = self.runs(key).headline(defense, goal, metric)
        else:
            there = (n for n in self.published if f"table/{goal}/{n}/{metric}" in finished[0].arrays)
            name = next(there, self.published[-1])
        return self._arm(key, defense, goal, name, metric)

    def by(self, key: str, defense: str, goal: str, attack: str, metric: str = "accuracy") -> Arm:
        """The same by one named attack."""
        return self._arm(key, defense, goal, attack, metric)

    def floor(self, key: str, goal: str, metric: str = "accuracy") -> Arm:
        """The highest floor: what is reached without the payload."""
        runs = self.runs(key)
        floors = runs.floors(goal, metric, runs.reference)
        if not floors:
            raise RunError(f"{key}: there is no floor for {metric} of {goal}")
        best = max(floors, key=lambda name: float(np.mean([t[0] for t in floors[name].tables])))
        return self._arm(key, runs.reference, goal, f"floor:{best}", metric)

    def majority(self, key: str) -> float:
        """The share of the most frequent class of the target among the victims."""
        labels = self.runs(key).first.arrays["victim/target"]
        return float(np.bincount(labels[labels >= 0]).max() / (labels >= 0).sum())

    def fact(self, key: str, defense: str, name: str) -> list[Any]:
        """What each seed's trial recorded under a name, such as payload_bytes, edge_macs or fit."""
        finished = self.runs(key).of(defense)
        if not finished:
            raise self._lacking(key, defense)
        found = [run.record["results"].get(name) for run in finished]
        if any(value is None for value in found):
            raise RunError(f"{key}: the trials of {defense} hold no {name}")
        return found

    def seeds(self, key: str) -> tuple[int, ...]:
        """The seeds of a study that every one of its defenses has finished, or those of a measurement."""
        if key in self.findings:
            return self.findings[key].seeds
        runs = self.runs(key)
        return tuple(s for s in runs.seeds if all((d, s) in runs.runs for d in runs.plan["defenses"]))

    def data(self, key: str) -> str:
        """The name of the data set of a study or a measurement."""
        if key in self.findings:
            return self.findings[key].data
        return str(self.runs(key).plan["data"]["name"])

    def _lacking(self, key: str, defense: str) -> RunError:
        """Why there is no trial of a defense."""
        why = [str(r["why"]) for r in self.runs(key).plan.get("refused", ()) if r["defense"] == defense]
        if why:
            return RunError(f"{key}: {defense} was refused: {why[0]}")
        return RunError(f"{key}: no trial of {defense} is finished; run the same command again to finish it")

    def _arm(self, key: str, defense: str, goal: str, name: str, metric: str) -> Arm:
        runs, table = self.runs(key), f"table/{goal}/{name}/{metric}"
        own = {s: runs.runs[defense, s] for s in runs.seeds if (defense, s) in runs.runs}
        if not own:
            raise self._lacking(key, defense)
        tables = {s: np.asarray(run.arrays[table], np.float64) for s, run in own.items() if table in run.arrays}
        if not tables:
            raise RunError(f"{key}: {defense} was not scored by {metric} of {name} on {goal}")
        people, groups = runs.people(goal)
        return Arm(tables, people, groups, metric, f"{defense} at {key}: {goal} by {name}")


def combine(arms: Sequence[Arm], function: Callable[[Floats], Floats]) -> Arm:
    """A statistic of several arms, computed for each seed that all of them have and each replicate.

    function: [A, M] values of A arms in M columns -> [M]. RunError where they share no seed or were not scored under
    the same weights.
    """
    if not arms:
        raise RunError("a statistic of no arms; name at least one")
    seeds = sorted(set.intersection(*(set(arm.tables) for arm in arms)))
    if not seeds:
        raise RunError(f"these share no finished seed: {'; '.join(arm.name for arm in arms)}")
    shapes = {arm.tables[s].shape for arm in arms for s in seeds}
    if len(shapes) > 1:
        raise RunError(f"these were scored under different weights {sorted(shapes)}: {arms[0].name}, {arms[-1].name}")
    tables = {s: np.asarray(function(np.stack([arm.tables[s] for arm in arms])), np.float64) for s in seeds}
    least = min(arms, key=lambda arm: arm.groups)
    return Arm(tables, least.people, least.groups, "", arms[0].name)


def measured(arm: Arm, low: float = -np.inf, high: float = np.inf) -> Estimate:
    """The estimate of a computed arm, its interval cut to the range that the statistic can have."""
    found = estimate([arm.tables[s] for s in sorted(arm.tables)], arm.people, None, arm.groups)
    return Estimate(found.mean, max(found.low, min(low, found.mean)), min(found.high, max(high, found.mean)), found.n)


def difference(a: Arm, b: Arm) -> Estimate:
    """a - b, paired over victims and seeds."""
    limit = 1.0 if {a.metric, b.metric} <= RATES else np.inf
    return measured(combine((a, b), lambda v: v[0] - v[1]), -limit, limit)


def exactly(value: float, n: int = 1) -> Estimate:
    """A margin that is computed, not estimated: bytes, multiply-accumulates."""
    return Estimate(value, value, value, n)


def above(found: Estimate, limit: float) -> Estimate:
    """The margin of "at least `limit`"."""
    return Estimate(found.mean - limit, found.low - limit, found.high - limit, found.n)


def below(found: Estimate, limit: float) -> Estimate:
    """The margin of "at most `limit`"."""
    return Estimate(limit - found.mean, limit - found.high, limit - found.low, found.n)
