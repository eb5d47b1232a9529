"""Groups: for each value v of a hidden attribute, who is served worse and who is exposed, beside the undefended network
on the same people, from the predictions that every run keeps.

    exposure   E_v = P(s_hat = v | s = v) - P(s_hat = v)

Recall alone says that an adversary who calls everybody White exposes every White person; E_v is 0 for whoever names one
value for all. The figures are those of Singh et al. 2021 (arXiv:2012.11025, Figure 3), which shows recall; the two
halves of the equalized odds are of Hardt et al. 2016 (arXiv:1610.02413), and their gap is the larger one. An adversary
who names one value for more than 80 % of the people, and for most of those who do not hold it, is called collapsed.

Intervals: Wilson's where every example of a cell is another person and there is one seed; else the audit's cluster
bootstrap. The two groups of a gap are chosen by looking, so that no gap is zero: `chance` is what 95 of 100 shuffles of
the groups stay below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from privet.auditing.estimate import FEW, Estimate, estimate, paired, weights
from privet.auditing.tables import TARGET
from privet.errors import RunError
from privet.metrics import wilson
from privet.report.chances import chances
from privet.report.crowds import Crowd, Guesses, Ints
from privet.report.runs import Runs
from privet.report.sides import SURE, Side, proportion

KNOWN = "hidden_is_group"
MATRIX = 25  # groups beyond which the confusion matrix is left out
REPLICATES = 400
SMALL = 20  # people
LISTED = 8  # names in a note
Parts = dict[tuple[str, int], int]  # (quantity, group) -> sign: a figure as a sum of tables


@dataclass(frozen=True)
class Group:
    """One value of the attribute: accuracy, TPR and FPR of the target among its people (None where nobody counts);
    recall, precision, prediction rate, exposure and one-vs-rest balanced accuracy of the attack; what the defense
    changed, paired. `covered`: the share of its people whom the attack names rightly when it speaks only where it is
    right 95 times in 100; then the share found at 1 % and .1 % false positives among all others."""

    name: str
    people: int
    persons: int
    accuracy: Estimate | None
    tpr: Estimate | None
    fpr: Estimate | None
    recall: Estimate | None
    precision: Estimate | None
    rate: Estimate | None
    exposure: Estimate
    balanced: Estimate | None
    accuracy_change: Estimate | None
    exposure_change: Estimate | None
    covered: Estimate | None = None
    tpr_at_1_fpr: Estimate | None = None
    tpr_at_tenth_fpr: Estimate | None = None


@dataclass(frozen=True)
class Beside:
    """One figure over all groups, the same without a defense, the paired difference, and the groups that make each;
    `of` says which of several rates it is a gap of."""

    value: Estimate
    undefended: Estimate
    change: Estimate
    chance: float | None
    undefended_chance: float | None
    groups: tuple[str, ...]
    undefended_groups: tuple[str, ...]
    of: str


@dataclass(frozen=True)
class Analysis:
    """The groups of one attribute under one defense. p values: are the target's errors independent of the group?
    `confusion` [V][V] counts, rows what people hold and columns what is named, mean over seeds; empty where there are
    more than 25 groups."""

    defense: str
    attribute: str
    attack: str
    undefended_attack: str
    seeds: int
    people: int
    persons: int
    positive: str
    groups: tuple[Group, ...]
    worst: Beside | None
    gap: Beside | None
    odds: Beside | None
    exposure: Beside | None
    p_value: float | None
    undefended_p_value: float | None
    collapsed: str
    collapsed_seeds: int
    undefended_collapsed: str
    confusion: tuple[tuple[float, ...], ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def analyses(runs: Runs) -> tuple[Analysis, ...]:
    """Every hidden attribute under every defense of a study, by the attack that was selected on aux_val."""
    table = runs.first.arrays.get(f"table/{TARGET}/answer/accuracy")
    replicates = REPLICATES if table is None else len(table) - 1
    found = []
    for number, hidden in enumerate(runs.plan["data"]["hidden"]):
        crowd, known = _crowd(runs, number)
        if not runs.first.record["results"]["selection"].get(hidden["name"]) or len(np.unique(crowd.units)) < 2:
            continue
        pairs = [(d, tuple(s for s in runs.seeds if (d, s) in runs.runs)) for d in runs.defenses]
        wanted = dict.fromkeys(key for d, seeds in pairs for key in ((d, seeds), (runs.reference, seeds)))
        guesses = [
            _guesses(runs, known, hidden["name"], d, seeds, runs.headline(d, hidden["name"], "accuracy"))
            for d, seeds in wanted
        ]
        kept = dict(zip(wanted, sides(crowd, guesses, replicates), strict=True))
        found += [analyze(kept[d, q], kept[runs.reference, q], d, str(hidden["name"])) for d, q in pairs]
    return tuple(found)


def analysis(runs: Runs, defense: str, attribute: str, attack: str) -> Analysis:
    """One hidden attribute under one defense, by a named adversary, beside the undefended headline. RunError where
    nobody can be compared."""
    names = [str(h["name"]) for h in runs.plan["data"]["hidden"]]
    crowd, known = _crowd(runs, names.index(attribute))
    if len(np.unique(crowd.units)) < 2:
        raise RunError(f"fewer than two people have a known {attribute}, so groups cannot be compared")
    seeds = tuple(s for s in runs.seeds if (defense, s) in runs.runs)
    raw = runs.headline(runs.reference, attribute, "accuracy")
    both = [_guesses(runs, known, attribute, d, seeds, by) for d, by in ((defense, attack), (runs.reference, raw))]
    here, base = sides(crowd, both)
    return analyze(here, base, defense, attribute)


def _crowd(runs: Runs, number: int) -> tuple[Crowd, Ints]:
    """The victims with a label, and which of all victims they are."""
    hidden, target, arrays = runs.plan["data"]["hidden"][number], runs.plan["data"]["target"], runs.first.arrays
    s, y = (arrays[key].astype(np.int64) for key in (f"victim/hidden/{hidden['name']}", "victim/target"))
    known = np.flatnonzero(s >= 0)
    # Where the person is what is hidden, new examples of the same people are the independent units.
    units = np.arange(len(s)) if KNOWN in runs.plan["data"]["flags"] else arrays["victim/groups"].astype(np.int64)
    positive = str(target["classes"][1]) if target and len(target["classes"]) == 2 and np.any(y >= 0) else ""
    names = tuple(str(c) for c in hidden["classes"])
    return Crowd(names, s[known], y[known], units[known], positive, len(s) - len(known)), known


def _guesses(runs: Runs, known: Ints, attribute: str, defense: str, seeds: tuple[int, ...], attack: str) -> Guesses:
    arrays = [runs.runs[defense, seed].arrays for seed in seeds]
    sure = [a[runs.posterior(attribute, attack)][known] for a in arrays]
    return Guesses(attack, [a["victim/answer"][known] for a in arrays], [p.argmax(1) for p in sure], sure)


def sides(crowd: Crowd, guesses: Sequence[Guesses], replicates: int = REPLICATES) -> list[Side]:
    """Several defended splits before the same crowd, under the same weights and shuffles. DataError for fewer than two
    independent people."""
    drawn, luck = weights(crowd.units, replicates, seed=0), chances(crowd, guesses)
    return [Side(crowd, one, drawn, chance) for one, chance in zip(guesses, luck, strict=True)]


def analyze(here: Side, base: Side, defense: str = "", attribute: str = "") -> Analysis:
    """The groups of a crowd under a defense and without one: two sides of the same crowd, seeds and weights."""
    crowd = here.crowd
    collapsed, times = here.collapsed
    return Analysis(
        defense=defense,
        attribute=attribute,
        attack=here.guesses.attack,
        undefended_attack=base.guesses.attack,
        seeds=len(here.guesses.named),
        people=len(crowd.s),
        persons=len(np.unique(crowd.units)),
        positive=crowd.positive,
        groups=tuple(_group(here, base, v) for v in range(len(crowd.present))),
        worst=_single(here, base, "accuracy", highest=False),
        gap=_gap(here, base, ("accuracy",)),
        odds=_gap(here, base, ("tpr", "fpr")) if crowd.positive else None,
        exposure=_single(here, base, "exposure", highest=True),
        p_value=here.chance.p_value,
        undefended_p_value=base.chance.p_value,
        collapsed=collapsed,
        collapsed_seeds=times,
        undefended_collapsed=base.collapsed[0],
        confusion=here.confusion if len(crowd.present) <= MATRIX else (),
        left_out=tuple(name for i, name in enumerate(crowd.names) if i not in crowd.present),
        notes=_notes(here),
    )


def _group(here: Side, base: Side, v: int) -> Group:
    (n, persons), answered, exposed = here.people("recall", v), {("accuracy", v): 1}, {("exposure", v): 1}
    return Group(
        name=here.name(v),
        people=n,
        persons=persons,
        **{q: here.rate(q, v) for q in ("accuracy", "tpr", "fpr", "recall", "precision", "rate")},
        exposure=here.exposure(v),
        balanced=here.balanced(v),
        **{q: here.rate(q, v) for q in SURE},
        accuracy_change=_change(here, base, answered, answered) if here.of("accuracy", v) else None,
        exposure_change=_change(here, base, exposed, exposed),
    )


def _single(here: Side, base: Side, quantity: str, *, highest: bool) -> Beside | None:
    """The group that stands out by a quantity; None below two groups that have one."""
    found = []
    for side in (here, base):
        ends = side.extremes(quantity)
        if ends is None:
            return None
        found.append({(quantity, ends[highest]): 1})
    return _beside(here, base, found)


def _gap(here: Side, base: Side, quantities: tuple[str, ...]) -> Beside | None:
    """The largest difference between two groups, in the quantity where it is largest."""
    found = []
    for side in (here, base):
        ends = [(q, *pair) for q in quantities if (pair := side.extremes(q))]
        if not ends:
            return None
        quantity, low, high = max(ends, key=lambda e: side.mean(e[0])[e[2]] - side.mean(e[0])[e[1]])
        found.append({(quantity, low): -1, (quantity, high): 1})
    return _beside(here, base, found)


def _beside(here: Side, base: Side, found: list[Parts]) -> Beside:
    (value, luck), (raw, raw_luck) = (_value(side, parts) for side, parts in zip((here, base), found, strict=True))
    names, raw_names = (tuple(here.name(v) for _, v in parts) for parts in found)
    quantity = next(iter(found[0]))[0]
    return Beside(value, raw, _change(here, base, *found), luck, raw_luck, names, raw_names, quantity)


def _value(side: Side, parts: Parts) -> tuple[Estimate, float | None]:
    """A figure with its interval, and what 95 of 100 shuffles stay below."""
    (quantity, v), *others = parts
    if quantity == "exposure":
        return side.exposure(v), side.chance.exposure
    n, persons = (min(side.people(q, g)[i] for q, g in parts) for i in (0, 1))
    if not others:
        return proportion(side.sum(parts), n, persons), None
    chance = side.chance.gap if quantity == "accuracy" else side.chance.odds
    return estimate(side.sum(parts), n, (0.0, 1.0), max(2, persons)), chance


def _change(here: Side, base: Side, mine: Parts, theirs: Parts) -> Estimate:
    """What the defense changed, paired. Where it changed what happens to few of a group, the paired interval alone is
    too narrow (none of five people says little) and is widened by what Wilson's interval leaves open."""
    cells = list({**mine, **theirs})
    n, persons = (min(here.people(q, v)[i] for q, v in cells) for i in (0, 1))
    found = paired(here.sum(mine), base.sum(theirs), n, None, max(2, persons))
    if here is base:
        return found
    open_ = math.hypot(*(_unseen(here.moved(base, q, v), here.people(q, v)[1]) for q, v in cells))
    return Estimate(found.mean, min(found.low, found.mean - open_), max(found.high, found.mean + open_), n)


def _unseen(share: float, persons: int) -> float:
    """How much larger a share of few people may truly be."""
    return wilson(share * persons, persons)[1] - share if share * persons < FEW else 0.0


def _notes(side: Side) -> tuple[str, ...]:
    crowd, said = side.crowd, []
    sizes = [crowd.size(crowd.member[:, v]) for v in range(len(crowd.present))]
    if absent := [name for i, name in enumerate(crowd.names) if i not in crowd.present]:
        said.append(f"Left out, because no victim holds it: {_listed(absent)}.")
    if crowd.missing:
        said.append(f"{crowd.missing:,} victims without this label are left out.")
    if len(sizes) < 2:
        said.append("All victims hold one value, so there is nothing to compare.")
    elif side.chance.p_value is None:
        said.append("No p value: too few people could change places to shuffle the groups.")
    if small := [side.name(v) for v, (_, persons) in enumerate(sizes) if persons < SMALL]:
        said.append(f"Fewer than {SMALL} people, so that little can be said: {_listed(small)}.")
    if any(n > persons for n, persons in sizes):
        said.append("Several examples of one person count as one where intervals are drawn and groups shuffled.")
    return tuple(said)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
