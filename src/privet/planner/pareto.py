"""Pareto search over the tables: what no other choice beats in everything, and what that is worth beside the paper's
strategy (`privet.planner.choosing.preferred`; Li et al. 2017, "PrivyNet", section 3.3).

    a dominates b    a is nowhere worse than b and somewhere better, in (privacy loss + z std, ms, bytes, -accuracy)
    best             of the choices within the limits the most accurate; of equals the fastest, then the smallest

The strategy of the paper looks at no accuracy: it trusts that deep layers are worth more where little may leak."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from privet.payload import Array
from privet.planner.choosing import SHRINK, Candidate, Limits, preferred
from privet.planner.table import Table

STRATEGIES = ("paper", "pareto")


@dataclass(frozen=True)
class Compared:
    """What each strategy takes at one limit in dB; None where nothing keeps the limits. `gain` is the accuracy of
    Pareto's choice minus that of the paper's, by the tables; None where either is not known."""

    limit: float
    paper: Candidate | None
    pareto: Candidate | None
    gain: float | None


def undominated(figures: Array) -> Array:
    """Which rows of [N, D], less is better, no other row dominates: [N] bool. Equal rows do not dominate each other."""
    kept = np.ones(len(figures), bool)
    for i, row in enumerate(figures):
        nowhere_worse = (figures <= row).all(1)
        kept[i] = not (nowhere_worse & (figures < row).any(1)).any()
    return kept


def front(choices: Sequence[Candidate], margin: float) -> list[Candidate]:
    """The choices that none of them dominates in (PSNR with so many deviations, ms, bytes, -accuracy), in their order.
    An accuracy that is not known counts as the worst."""
    if not choices:
        return []
    kept = undominated(np.array([[*c.told(margin).values(), -_worth(c)] for c in choices]))
    return [c for c, is_kept in zip(choices, kept, strict=True) if is_kept]


def best(choices: Sequence[Candidate], limits: Limits, margin: float) -> Candidate | None:
    """The most accurate choice within the limits, of equals the fastest, then the smallest; no other dominates it. None
    where nothing keeps the limits."""
    return min((c for c in choices if limits.kept(c.told(margin))), key=_preference, default=None)


def ordered(choices: Sequence[Candidate], limits: Limits, margin: float) -> list[Candidate]:
    """Choices within the limits in the order in which they are verified: by their accuracy in the tables (of equals the
    fastest, then the smallest), those that nothing dominates before the others. Whoever failed is not asked again with
    about as many channels: of a layer each is followed by three quarters of its depth at most."""
    feasible = [c for c in choices if limits.kept(c.told(margin))]
    first = front(feasible, margin)
    known = set(first)
    ranked = sorted(first, key=_preference) + sorted((c for c in feasible if c not in known), key=_preference)
    least: dict[tuple[str, int], int] = {}
    for c in feasible:
        least[c.source, c.layer] = min(c.depth, least.get((c.source, c.layer), c.depth))
    most: dict[tuple[str, int], int] = {}
    made = []
    for c in ranked:
        place = (c.source, c.layer)
        if c.depth <= most.get(place, c.depth):
            made.append(c)
            most[place] = min(c.depth - 1, max(math.floor(c.depth * SHRINK), least[place]))
    return made


def compared(choices: Sequence[Candidate], limits: Limits, margin: float, switch: float) -> tuple[Compared, ...]:
    """What both strategies take at every whole dB that the choices span, within the limits on ms and bytes."""
    levels = [c.told(margin)["psnr"] for c in choices]
    if not levels:
        return ()
    made = []
    for level in range(math.ceil(min(levels)), math.ceil(max(levels)) + 1):
        at = replace(limits, psnr=float(level))
        paper = next(iter(preferred(choices, at, margin, switch)), None)
        pareto = best(choices, at, margin)
        gain = pareto.accuracy - paper.accuracy if paper and pareto else math.nan
        made.append(Compared(float(level), paper, pareto, gain if math.isfinite(gain) else None))
    return tuple(made)


def deviation(table: Table) -> float | None:
    """By how much accuracies of one layer and depth differ from draw to draw of their channels (standard deviation,
    pooled over the cells): what is less is noise. By the linear classifier where networks were trained for one draw
    alone; None where there is one draw of everything."""
    spreads = []
    for key in dict.fromkeys((r.source, r.layer, r.depth) for r in table.rows):
        rows = [r for r in table.rows if (r.source, r.layer, r.depth) == key]
        known = [r.utility for r in rows if r.utility is not None]
        values = known if len(known) > 1 else [r.linear_accuracy for r in rows]
        if len(values) > 1:
            spreads.append(float(np.var(values, ddof=1)))
    return math.sqrt(float(np.mean(spreads))) if spreads else None


def _worth(choice: Candidate) -> float:
    return choice.accuracy if math.isfinite(choice.accuracy) else -math.inf


def _preference(choice: Candidate) -> tuple[float, float, int, float]:
    return -_worth(choice), choice.ms, choice.bytes, choice.psnr
