"""Spending: how much an adversary learns for its seconds, and what ten times as many people would bring it.

A *purse* is the best score on aux_val after so many seconds of computing, attacks taken from the cheapest to the
dearest: what is reached on the victims is that of the attack which an adversary would have chosen by then. A *curve* is
the strongest attack with fewer people, and what a power law makes of it (`privet.auditing.curves`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from privet.auditing import curves
from privet.auditing.estimate import Estimate, estimate
from privet.report.runs import INPUT, RATES, Runs

SLACK = {"accuracy": 0.02, "psnr": 0.5}  # how far a law may miss the largest size and still be believed


@dataclass(frozen=True)
class Purse:
    """Seconds spent, the attack that is best by then, and what it reaches on the victims; the last one is that of the
    whole portfolio."""

    defense: str
    attribute: str
    metric: str
    steps: tuple[tuple[float, str, Estimate], ...]

    def json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Curve:
    """An attack by the people it learned from. `missed`: what the law of the smaller sizes says of the largest, minus
    what was measured there. `ahead`: what the law of all sizes says of ten times as many; None where it
    missed, or where the interval of `missed` is too wide to tell."""

    defense: str
    attribute: str
    metric: str
    attack: str
    points: tuple[tuple[int, Estimate], ...]
    missed: Estimate
    ahead: Estimate | None

    @property
    def unsure(self) -> bool:
        """Whether nobody can tell how far the law missed: its interval is too wide, and holds a miss that is small."""
        slack, missed = SLACK[self.metric], self.missed
        return missed.high - missed.low > 4 * slack and missed.low <= slack and missed.high >= -slack

    def json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def purses(runs: Runs) -> tuple[Purse, ...]:
    """One for each defense and goal, in the order of the page."""
    found = []
    for defense, goal, metric in _goals(runs):
        records = [r.record for r in runs.of(defense)]
        kept = [r["results"]["selection"].get(goal, {}) for r in records]
        clocks = [r.get("attack_seconds", {}) for r in records]
        names = [n for n in kept[0] if all(n in k and f"{goal}/{n}" in c for k, c in zip(kept, clocks, strict=True))]
        if not names:
            continue
        cost = {n: float(np.mean([c[f"{goal}/{n}"] for c in clocks])) for n in names}
        worth = {n: float(np.mean([k[n].get(metric, -np.inf) for k in kept])) for n in kept[0]}
        spent, best, steps = 0.0, -np.inf, []
        votes = [n for n in kept[0] if n not in cost and ":" not in n]  # what costs nothing more, such as the vote
        logs = records[0]["results"].get("logs", {})
        dear = {n: "asked" in logs.get(f"{goal}/{n}", {}) for n in names}  # these begin where the others have come to
        for name in (*sorted(names, key=lambda n: (dear[n], cost[n])), *votes):
            spent += cost.get(name, 0.0)
            if worth[name] > best:
                best = worth[name]
                steps.append((spent, name, runs.cell(defense, goal, name, metric).estimate()))
        if steps and spent > steps[-1][0]:
            steps.append((spent, *steps[-1][1:]))
        found.append(Purse(defense, goal, metric, tuple(steps)))
    return tuple(found)


def learned(runs: Runs) -> tuple[Curve, ...]:
    """The learning curves of a study that was asked for them."""
    return tuple(curve for place in _goals(runs) if (curve := _curve(runs, *place)) is not None)


def _goals(runs: Runs) -> Iterator[tuple[str, str, str]]:
    for hidden in (*(str(h["name"]) for h in runs.plan["data"]["hidden"]), INPUT):
        for defense in runs.defenses:
            yield defense, hidden, "psnr" if hidden == INPUT else "accuracy"


def _curve(runs: Runs, defense: str, goal: str, metric: str) -> Curve | None:
    prefix = f"table/{goal}/curve:"
    tables: dict[int, list[Any]] = {}
    attacks = []
    for run in runs.of(defense):
        for key in run.arrays:
            if key.startswith(prefix) and key.endswith(f"/{metric}"):
                name, _, size = key[len(prefix) : -len(metric) - 1].rpartition("@")
                tables.setdefault(int(size), []).append(run.arrays[key])
                attacks.append(name)
    seeds = len(runs.of(defense))
    sizes = sorted(n for n, of_seeds in tables.items() if len(of_seeds) == seeds)
    if len(sizes) < curves.FEWEST:
        return None
    people, groups = runs.people(goal)
    bounds = (0.0, 1.0) if metric in RATES else None
    stacked = [np.stack([tables[size][seed] for size in sizes]) for seed in range(seeds)]  # [S][M, 1 + R]
    missed = estimate([curves.foretell(sizes[:-1], v[:-1], sizes[-1]) - v[-1] for v in stacked], people, None, groups)
    ahead = [curves.foretell(sizes, v, curves.BEYOND * sizes[-1]) for v in stacked]
    ahead = [np.clip(v, *bounds) for v in ahead] if bounds else ahead
    sure = missed.high - missed.low <= 4 * SLACK[metric]  # a law that missed by nobody knows how much has not held
    held = abs(missed.mean) <= SLACK[metric] and sure
    return Curve(
        defense,
        goal,
        metric,
        " or ".join(sorted(set(attacks))),  # seeds may have chosen different ones
        tuple((size, estimate(tables[size], people, bounds, groups)) for size in sizes),
        missed,
        estimate(ahead, people, bounds, groups) if held else None,
    )
