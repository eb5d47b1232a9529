"""Persons: what several payloads of one person tell together, and whether a person is recognized.

From n payloads of a person whose attribute does not change, an adversary adds what each says:

    log p(s | w_1 .. w_n) = sum_i log p(s | w_i) - (n - 1) log p(s)

up to a constant, as if payloads were independent given s (naive Bayes); p(s) are the frequencies among its own people.
Blocks of n payloads are made of each person's once, in a drawn order, and a person counts once, however many blocks.
The floor of each n is made in the same way, of the same people, from what the floors of the reference say of each
payload's person.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from privet.auditing.estimate import Estimate, estimate, weights
from privet.auditing.linkage import ANSWERS
from privet.auditing.panel import GALLERY
from privet.data.corpus import Ints
from privet.payload import Array
from privet.report.runs import Runs

Floats = npt.NDArray[np.float64]
LADDER = (1, 2, 3, 5, 10, 20, 50)
FEWEST = 5  # persons


@dataclass(frozen=True)
class Many:
    """Accuracy of an attack from n payloads of a person, for the persons who have as many as the last n, and for every
    n the highest floor: the same people and as many answers, without the payloads."""

    defense: str
    attribute: str
    attack: str
    persons: int
    points: tuple[tuple[int, Estimate], ...]
    floors: tuple[tuple[int, Estimate], ...]

    def json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Linked:
    """How often a person's other payload is the nearest among those of `gallery` people, and the AUC of its rank; both
    again by the server's answers alone, None where the adversary sees none."""

    defense: str
    distance: str
    persons: int
    gallery: int
    first: Estimate
    auc: Estimate
    first_by_answer: Estimate | None = None
    auc_by_answer: Estimate | None = None

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
    keys = [key for key in runs.first.arrays if key.startswith(f"floor/{name}/")]
    floors: dict[tuple[int, ...], tuple[tuple[int, Estimate], ...]] = {}
    for defense in runs.defenses:
        attack = runs.headline(defense, name, "accuracy")
        seeds = tuple(seed for seed in runs.seeds if (defense, seed) in runs.runs)
        beside = [runs.runs[runs.reference, seed].arrays for seed in seeds]
        priors = [arrays[f"floor/{name}/majority"][0] for arrays in beside]
        own = _right([run.arrays[runs.posterior(name, attack)] for run in runs.of(defense)], priors, s, rows, ladder)
        if seeds not in floors:
            blind = [_right([arrays[key] for arrays in beside], priors, s, rows, ladder) for key in keys]
            floors[seeds] = tuple((n, max((b[i] for b in blind), key=lambda e: e.mean)) for i, n in enumerate(ladder))
        yield Many(defense, name, attack, len(rows), tuple(zip(ladder, own, strict=True)), floors[seeds])


def _right(
    posteriors: list[Array], priors: list[Array], s: Ints, rows: list[Ints], ladder: list[int]
) -> list[Estimate]:
    """The accuracy from each number of payloads, over the seeds of these posteriors [N, K] and priors [K]."""
    drawn, found = weights(np.arange(len(rows)), 400, seed=0), []
    for n in ladder:
        pairs = zip(posteriors, priors, strict=True)
        hits = [together(p.astype(np.float64), prior.astype(np.float64), s, rows, n) for p, prior in pairs]
        found.append(estimate([drawn @ hit / drawn.sum(1) for hit in hits], len(rows), (0.0, 1.0), len(rows)))
    return found


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
        kept: dict[tuple[bool, str], list[Array]] = {}
        names = []
        for run in runs.of(defense):
            for key in (k for k in run.arrays if k.startswith("linkage/")):
                _, name, kind = key.split("/")
                kept.setdefault((name == ANSWERS, kind), []).append(run.arrays[key])
                names += [name] if name != ANSWERS else []
        if (False, "first") not in kept:
            continue
        persons = len(kept[False, "people"][0])
        told = {
            place: estimate(tables, persons, (0.0, 1.0), persons)
            for place, tables in kept.items() if place[1] in ("first", "auc")
        }  # fmt: skip
        found.append(
            Linked(
                defense,
                max(names, key=names.count),
                persons,
                min(GALLERY, persons),
                told[False, "first"],
                told[False, "auc"],
                told.get((True, "first")),
                told.get((True, "auc")),
            )
        )
    return tuple(found)
