"""What the parts of the claims on the trade-off measure: margins that are positive exactly where the paper is right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from privet.auditing.estimate import Estimate
from privet.errors import RunError
from privet.recipes import frontier
from privet.recipes.claims import Both
from privet.recipes.curves import Trade, gap
from privet.recipes.disco.arms import (
    MATCHED,
    at_random,
    cheapest,
    chosen,
    control,
    learned,
    over_victims,
    raw,
    sweep,
)
from privet.recipes.disco.sets import Set
from privet.recipes.evidence import (
    COTRAINED,
    Arm,
    Attacker,
    Evidence,
    above,
    below,
    combine,
    difference,
    measured,
)
from privet.recipes.reading import family, percent, trade

COLLAPSED = 0.8  # of all people get one and the same answer
MASK = "mask:mlp_probe"


def lowers(one: Set) -> Both:
    """The attack at the operating point is below that on raw z."""
    key = f"{one.name}/trade"

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        point = chosen(evidence, key, one.hidden)
        return [raw(evidence, key, one.hidden, attacker), evidence.attack(key, point, one.hidden, attacker)]

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        return f"raw, {chosen(evidence, key, one.hidden)}: {percent(*arms(evidence, attacker))}"

    return lambda evidence, attacker: difference(*arms(evidence, attacker)), tell


def hides(one: Set) -> Both:
    """The attack at the operating point is below that on the same pruning without hiding (alpha=0)."""
    key = f"{one.name}/trade"

    def pair(evidence: Evidence) -> tuple[str, str]:
        point = chosen(evidence, key, one.hidden)
        return control(evidence, key, point), point

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return difference(*(evidence.attack(key, d, one.hidden, attacker) for d in pair(evidence)))

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        attacks = percent(*(evidence.attack(key, d, one.hidden, attacker) for d in pair(evidence)))
        targets = percent(*(evidence.utility(key, d) for d in pair(evidence)))
        return f"alpha=0, {pair(evidence)[1]}: {attacks} (target {targets})"

    return measure, tell


def beside_random(one: Set) -> Both:
    """At the same share removed, the learned filter leaves less than channels drawn at random."""
    key = f"{one.name}/trade"

    def pair(evidence: Evidence) -> tuple[str, str]:
        point = chosen(evidence, key, one.hidden)
        return at_random(evidence, key, point)[0], point

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        return [evidence.attack(key, d, one.hidden, attacker) for d in pair(evidence)]

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        targets = percent(*(evidence.utility(key, d) for d in pair(evidence)))
        return f"random, learned: {percent(*arms(evidence, attacker))} (target {targets})"

    return lambda evidence, attacker: difference(*arms(evidence, attacker)), tell


def beats_random(one: Set) -> Both:
    """At equal target error the attack error is higher than behind channels drawn at random."""
    key = f"{one.name}/trade"

    def pair(evidence: Evidence, attacker: Attacker) -> tuple[Trade, Trade]:
        return (
            trade(evidence, key, sweep(evidence, key), one.hidden, attacker, "learned"),
            trade(evidence, key, at_random(evidence, key), one.hidden, attacker, "random"),
        )

    return (
        lambda evidence, attacker: gap(*pair(evidence, attacker)),
        lambda evidence, attacker: f"mean gap {100 * gap(*pair(evidence, attacker)).mean:+.1f} points",
    )


def random_hides_nothing(one: Set) -> Both:
    """Random pruning of the operating point's share leaves the adversary at least what raw z gives, within two
    points."""
    key = f"{one.name}/trade"

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        point = at_random(evidence, key, chosen(evidence, key, one.hidden))[0]
        return [evidence.attack(key, point, one.hidden, attacker), raw(evidence, key, one.hidden, attacker)]

    return (
        lambda evidence, attacker: above(difference(*arms(evidence, attacker)), -MATCHED),
        lambda evidence, attacker: f"random, raw: {percent(*arms(evidence, attacker))}",
    )


def keeps_target(one: Set) -> Both:
    """The victims lose at most two points of the target at the operating point; at the cheapest one, where none is
    within two points on task_val."""
    key = f"{one.name}/trade"

    def arms(evidence: Evidence) -> list[Arm]:
        try:
            point = chosen(evidence, key, one.hidden)
        except RunError:
            point = cheapest(evidence, key, learned(evidence, key))[0]
        return [evidence.utility(key, d) for d in (point, "none")]

    return (
        lambda evidence, attacker: above(difference(*arms(evidence)), -MATCHED),
        lambda evidence, attacker: f"defended, raw: {percent(*arms(evidence))}",
    )


def fooled(one: Set) -> Both:
    """The adversary that was trained beside the filter, whose accuracy the paper prints, finds what a fresh one finds,
    within two points."""
    key = f"{one.name}/trade"

    def arms(evidence: Evidence) -> list[Arm]:
        point = chosen(evidence, key, one.hidden)
        return [
            evidence.by(key, point, one.hidden, COTRAINED), evidence.attack(key, point, one.hidden, "fresh"),
            evidence.floor(key, one.hidden),
        ]  # fmt: skip

    return (
        lambda evidence, attacker: above(difference(*arms(evidence)[:2]), -MATCHED),
        lambda evidence, attacker: f"co-trained, fresh, floor: {percent(*arms(evidence))}",
    )


def mask_is_silent(one: Set) -> Both:
    """What an adversary reads off the mask alone is within two points of the floor."""
    key = f"{one.name}/trade"

    def arms(evidence: Evidence) -> list[Arm]:
        point = chosen(evidence, key, one.hidden)
        return [evidence.floor(key, one.hidden), evidence.by(key, point, one.hidden, MASK)]

    return (
        lambda evidence, attacker: above(difference(*arms(evidence)), -MATCHED),
        lambda evidence, attacker: f"floor, mask alone: {percent(*arms(evidence))}",
    )


def collapses(one: Set) -> Both:
    """The adversary gives one answer for more than 80 % of all people, whoever they are."""
    key = f"{one.name}/trade"

    def share(evidence: Evidence, attacker: Attacker) -> Arm:
        point, runs = chosen(evidence, key, one.hidden), evidence.runs(key)
        attack = COTRAINED if attacker == "published" else runs.headline(point, one.hidden, "accuracy")
        name = runs.posterior(one.hidden, attack)

        def largest(arrays: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
            answers = arrays[name].argmax(1)
            shares = [rows @ (answers == v) / rows.sum(1) for v in range(arrays[name].shape[1])]
            return np.asarray(np.max(shares, 0))

        return over_victims(runs, point, largest, f"largest share of one answer of {attack}")

    return (
        lambda evidence, attacker: above(measured(share(evidence, attacker), 0, 1), COLLAPSED),
        lambda evidence, attacker: f"one answer for {percent(share(evidence, attacker))} of all people",
    )


def fair(one: Set) -> Both:
    """The variance of target accuracy between groups grows by at most that of a spread of two points."""
    key = f"{one.name}/trade"

    def spreads(evidence: Evidence) -> list[Arm]:
        points = "none", chosen(evidence, key, one.hidden)
        return [over_victims(evidence.runs(key), d, between_groups(one.hidden), "spread") for d in points]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return below(measured(combine(spreads(evidence)[::-1], lambda v: v[0] - v[1])), MATCHED**2)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        told = [f"{100 * max(0.0, measured(arm).mean) ** 0.5:.1f}" for arm in spreads(evidence)]
        return f"spread of accuracy between groups, raw, defended: {', '.join(told)} points"

    return measure, tell


def between_groups(hidden: str) -> Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray]:
    """Variance of target accuracy between the groups of an attribute, each counted by its people, less what equal
    groups of these sizes would show by chance."""

    def spread(arrays: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        y, s = arrays["victim/target"], arrays[f"victim/hidden/{hidden}"]
        right = (arrays["victim/answer"] == y).astype(np.float64)
        members = np.stack([(s == value) & (y >= 0) for value in np.unique(s[s >= 0])], 1).astype(np.float64)
        count = rows @ members
        rate = (rows @ (members * right[:, None])) / np.maximum(count, 1)
        whole = count.sum(1, keepdims=True)
        mean = (count * rate).sum(1, keepdims=True) / whole
        chance = (mean * (1 - mean)).squeeze(1) * (members.shape[1] - 1) / whole.squeeze(1)
        return np.asarray((count * (rate - mean) ** 2).sum(1) / whole.squeeze(1) - chance)

    return spread


def curves(evidence: Evidence, one: Set) -> list[tuple[str, str, list[str]]]:
    """The methods that have equally many operating points: study, name in words, points."""
    key, rivals = f"{one.name}/trade", f"{one.name}/rivals"
    found = [
        (key, "learned for each", sweep(evidence, key)), (key, "alpha = 0", sweep(evidence, key, 0.0)),
        (key, "random", at_random(evidence, key)),
    ]  # fmt: skip
    if rivals in evidence.studies:
        found += [
            (rivals, "learned once", family(evidence, rivals, "static_channels")),
            (rivals, "adversarial training", family(evidence, rivals, "adversarial")),
            (rivals, "maximum entropy", family(evidence, rivals, "maxent")),
        ]
    return found


def singles(evidence: Evidence, one: Set) -> list[tuple[str, str]]:
    """Every other defense that was run beside: study, defense."""
    drawn = {d for key, _, points in curves(evidence, one) for d in points} | {"none"}
    keys = [key for key in (f"{one.name}/trade", f"{one.name}/rivals") if key in evidence.studies]
    return [(key, d) for key in keys for d in evidence.runs(key).defenses if d not in drawn]


def volumes(evidence: Evidence, one: Set, attacker: Attacker) -> tuple[dict[str, Arm], int]:
    """The normalized hypervolume of every method with a trade-off, and of how many points each."""
    there = curves(evidence, one)
    counts = {len(points) for _, _, points in there}
    if len(counts) > 1:
        raise RunError(f"{one.name}: methods with {sorted(counts)} operating points cannot be compared by hypervolume")
    found = {n: frontier.volume(evidence, key, p, one.hidden, attacker) for key, n, p in there}
    return found, counts.pop()


def beats_coin(one: Set) -> Both:
    """The hypervolume of the learned filter is larger than that of a coin that sends raw z or nothing."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        found, count = volumes(evidence, one, attacker)
        return above(measured(found["learned for each"], 0, 1), frontier.coin(count))

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        found, count = volumes(evidence, one, attacker)
        said = ", ".join(f"{name} {arm.estimate().mean:.2f}" for name, arm in found.items())
        return f"{count} point{'s' if count > 1 else ''} each: {said}; coin {frontier.coin(count):.2f}"

    return measure, tell


def beats(one: Set, other: str) -> Both:
    """The hypervolume of the learned filter is larger than that of another method."""

    def pair(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        found = volumes(evidence, one, attacker)[0]
        if other not in found:
            raise RunError(f"{one.name}: {other!r} was not run beside")
        return [found["learned for each"], found[other]]

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        return ", ".join(f"{arm.estimate().mean:.2f}" for arm in pair(evidence, attacker))

    return lambda evidence, attacker: difference(*pair(evidence, attacker)), tell
