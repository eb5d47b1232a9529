"""Runs: the finished trials of a study, and what can be read off them: tables, floors, the headline's attack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from privet.auditing.estimate import Estimate, estimate, paired
from privet.auditing.tables import OWN, TARGET
from privet.errors import RunError
from privet.payload import Array
from privet.run import Run

RATES = {"accuracy", "balanced_accuracy", "auc", "coverage_at_95_precision", "tpr_at_1_fpr", "tpr_at_tenth_fpr"}
INPUT = "input"


@dataclass(frozen=True)
class Cell:
    """One statistic of one defense: its tables over seeds [S][1 + R], and how many victims and groups it stands on."""

    tables: list[Array]
    metric: str
    people: int
    groups: int

    def estimate(self) -> Estimate:
        """Mean and interval over victims and seeds."""
        bounds = (0.0, 1.0) if self.metric in RATES else None
        return estimate(self.tables, self.people, bounds, self.groups)

    def minus(self, other: Cell) -> Estimate:
        """The paired difference."""
        bounds = (-1.0, 1.0) if self.metric in RATES else None
        return paired(self.tables, other.tables, self.people, bounds, self.groups)


class Runs:
    """The finished trials of a study, by defense and seed, and what can be read off them."""

    def __init__(self, plan: dict[str, Any], runs: dict[tuple[str, int], Run]) -> None:
        self.plan, self.runs = plan, runs
        self.reference = str(plan["reference"])
        self.seeds = [s for s in plan["seeds"] if (self.reference, s) in runs]
        if not self.seeds:
            raise RunError(
                f"no finished trial of {self.reference!r}, the scale of this study, in {plan['folder']}; run the study "
                f"again to finish it, with a larger --max-minutes where that ended it"
            )
        self.defenses = [d for d in plan["defenses"] if any((d, s) in runs for s in self.seeds)]
        self.first = runs[self.reference, self.seeds[0]]

    def of(self, defense: str) -> list[Run]:
        """The finished runs of a defense over the seeds of the reference."""
        return [self.runs[defense, s] for s in self.seeds if (defense, s) in self.runs]

    def people(self, goal: str, name: str = "") -> tuple[int, int]:
        """Victims that carry this label (or whom a costly attack of this name was asked about), and their groups."""
        arrays = self.first.arrays
        asked = arrays.get(f"score/{goal}/{name}/psnr")
        labels = (
            arrays["victim/target"]
            if goal == TARGET
            else arrays.get(f"victim/hidden/{goal}", np.zeros(len(arrays["victim/target"])))
        )
        known = labels >= 0 if asked is None else np.isfinite(asked)
        return int(known.sum()), len(np.unique(arrays["victim/groups"][known]))

    def cell(self, defense: str, goal: str, name: str, metric: str, like: str | None = None) -> Cell:
        """The tables of one statistic, over the seeds that `like` (this defense itself, if not given) has finished."""
        seeds = [s for s in self.seeds if (like or defense, s) in self.runs and (defense, s) in self.runs]
        tables = [self.runs[defense, s].arrays[f"table/{goal}/{name}/{metric}"] for s in seeds]
        return Cell(tables, metric, *self.people(goal, name))

    def answered(self, defense: str) -> bool:
        """Whether the target's accuracy is known: of a recording it may not be."""
        return all(f"table/{TARGET}/answer/accuracy" in run.arrays for run in self.of(defense))

    def scores(self, goal: str) -> Iterator[tuple[str, str]]:
        """(attack, metric) pairs that were scored for a goal."""
        prefix = f"table/{goal}/"
        for key in self.first.arrays:
            if key.startswith(prefix):
                name, metric = key[len(prefix) :].rsplit("/", 1)
                if ":" not in name:  # floors, and adversaries that only some defenses have
                    yield name, metric

    def own(self, defense: str, goal: str) -> Iterator[tuple[str, str]]:
        """(adversary, metric) pairs that only some defenses have: an attack on the mask alone, and the adversary that
        was trained beside the defense, which is never selected."""
        prefixes = tuple(f"table/{goal}/{kind}:" for kind in OWN)
        for key in self.of(defense)[0].arrays:
            if key.startswith(prefixes):
                name, metric = key[len(f"table/{goal}/") :].rsplit("/", 1)
                yield name, metric

    @staticmethod
    def posterior(goal: str, attack: str) -> str:
        """The array that holds what an adversary answered, person by person."""
        kind, found, name = attack.partition(":")
        return f"{kind}/{goal}/{name}" if found else f"posterior/{goal}/{attack}"

    def headline(self, defense: str, goal: str, metric: str) -> str:
        """The attack with the best mean score on aux_val; victims have no say in it.

        Exposure is coarse on few people, so equal scores are decided by bits, then by AUC.
        """
        totals: dict[str, list[float]] = {}
        for run in self.of(defense):
            for attack, scores in run.record["results"]["selection"].get(goal, {}).items():
                found = [scores.get(m, float("-inf")) for m in (metric, "bits", "auc")]
                totals[attack] = [a + b for a, b in zip(totals.get(attack, [0.0] * 3), found, strict=True)]
        return max(sorted(totals), key=lambda name: totals[name])

    def floors(self, goal: str, metric: str, like: str) -> dict[str, Cell]:
        """Every floor of a goal, from the undefended runs."""
        prefix, suffix = f"table/{goal}/floor:", f"/{metric}"
        names = [
            k[len(prefix) : -len(suffix)] for k in self.first.arrays if k.startswith(prefix) and k.endswith(suffix)
        ]
        return {n: self.cell(self.reference, goal, f"floor:{n}", metric, like) for n in names}

    def floor(self, goal: str, metric: str, like: str) -> Cell:
        """The highest floor."""
        cells = self.floors(goal, metric, like).values()
        return max(cells, key=lambda cell: float(np.mean([t[0] for t in cell.tables])))
