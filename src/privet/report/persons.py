"""Persons: what several payloads of one person tell together, and whether a person is recognized.

From n payloads of a person whose attribute does not change, an adversary adds what each says:

    log p(s | w_1 .. w_n) = sum_i log p(s | w_i) - (n - 1) log p(s)

up to a constant, as if payloads were independent given s (naive Bayes); p(s) are the frequencies among its own people.
Blocks of n payloads are made of each person's once, in a drawn order, and a person counts once, however many blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from privet.auditing.estimate import Estimate, estimate, weights
from privet.auditing.panel import GALLERY, gallery_odds
from privet.data.corpus import Ints
from privet.report.runs import Runs

Floats = npt.NDArray[np.float64]
LADDER = (1, 2, 3, 5, 10, 20, 50)
FEWEST = 5  # persons


@dataclass(frozen=True)
class Many:
    """Accuracy of an attack from n payloads of a person, for the persons who have as many as the last n."""

    defense: str
    attribute: str
    attack: str
    persons: int
    points: tuple[tuple[int, Estimate], ...]

    def json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Linked:
    """How often a person's other payload is the nearest among those of `gallery` people, and the AUC of its rank."""

    defense: str
    distance: str
    persons: int
    gallery: int
    first: Estimate
    auc: Estimate

    def json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def many(runs: Runs) -> tuple[Many, ...]:
    """For each hidden attribute and defense; nothing where fewer than five persons have two payloads."""
    return tuple(found for hidden in runs.plan["data"]["hidden"] for found in _many(runs, hidden))


def _many(runs: Runs, hidden: dict[str, Any]) -> Iterator[Many]:
    name = str(hidden["name"])
    groups, s = runs.first.arrays["victim/groups"], runs.first.arrays[f"victim/hidden/{name}"]
    if not runs.plan["data"].get("person") or not runs.first.record["results"]["selection"].get(name):
        return
    rows = _constant(groups, s)
    ladder = [n for n in LADDER if sum(len(own) >= n for own in rows) >= FEWEST]
    if len(ladder) < 2:
        return
    rows = [own for own in rows if len(own) >= ladder[-1]]
    persons = np.arange(len(rows))
    drawn = weights(persons, 400, seed=0)
    for defense in runs.defenses:
        attack = runs.headline(defense, name, "accuracy")
        prior = runs.first.arrays[f"floor/{name}/majority"][0].astype(np.float64)
        posteriors = [run.arrays[runs.posterior(name, attack)].astype(np.float64) for run in runs.of(defense)]
        points = []
        for n in ladder:
            hits = [together(p, prior, s, rows, n) for p in posteriors]
            tables = [drawn @ hit / drawn.sum(1) for hit in hits]
            points.append((n, estimate(tables, len(rows), (0.0, 1.0), len(rows))))
        yield Many(defense, name, attack, len(rows), tuple(points))


def together(posterior: Floats, prior: Floats, s: Ints, rows: list[Ints], n: int) -> Floats:
    """The share of blocks of n payloads from which each person's value is named rightly, [persons]."""
    said = np.log(posterior.clip(1e-6, 1.0))
    start = np.log(prior.clip(1e-6, 1.0))
    generator = np.random.default_rng(0)
    found = []
    for own in rows:
        order = generator.permutation(own)
        blocks = order[: len(order) // n * n].reshape(-1, n)
        named = (said[blocks].sum(1) - (n - 1) * start).argmax(1)
        found.append(float((named == s[own[0]]).mean()))
    return np.asarray(found)


def _constant(groups: Ints, s: Ints) -> list[Ints]:
    """The victims of each person whose label is known and always the same."""
    found = []
    for person in np.unique(groups[s >= 0]):
        own = np.flatnonzero((groups == person) & (s >= 0))
        if len(np.unique(s[own])) == 1:
            found.append(own)
    return found


def linked(runs: Runs) -> tuple[Linked, ...]:
    """One for each defense that was linked; nothing where the data know no persons."""
    found = []
    for defense in runs.defenses:
        kept = [
            (key.split("/")[1], run.arrays[key]) for run in runs.of(defense) for key in run.arrays
            if key.startswith("linkage/") and key.endswith("/ranks")
        ]  # fmt: skip
        if not kept:
            continue
        names = [name for name, _ in kept]
        persons = kept[0][1].shape[1]
        gallery, drawn = min(GALLERY, persons), weights(np.arange(persons), 400, seed=0)
        first = [drawn @ gallery_odds(persons - 1, gallery)[r - 1].mean(0) / persons for _, r in kept]
        areas = [drawn @ (1 - (r - 1) / (persons - 1)).mean(0) / persons for _, r in kept]
        found.append(
            Linked(
                defense,
                max(names, key=names.count),
                persons,
                gallery,
                estimate(first, persons, (0.0, 1.0), persons),
                estimate(areas, persons, (0.0, 1.0), persons),
            )
        )
    return tuple(found)
