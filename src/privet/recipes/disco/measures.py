"""What the parts of the claims measure: margins that are positive exactly where the paper is right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.stats import spearmanr

from privet.auditing.estimate import Estimate, weights
from privet.defense import parse
from privet.errors import RunError
from privet.recipes import frontier
from privet.recipes.claims import Measure, Tell
from privet.recipes.curves import Trade, gap, spearman
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
from privet.recipes.reading import by_seed, constant, family, percent, trade
from privet.report.runs import Runs

MATCHED = 0.02  # of target accuracy
COLLAPSED = 0.8  # of all people get one and the same answer
Both = tuple[Measure, Tell]


def within_reach(evidence: Evidence, key: str, defenses: list[str]) -> list[str]:
    """Those that cost at most two points of target accuracy on task_val; the cheapest one where none does."""
    raw = float(np.mean(evidence.fact(key, "none", "task_val_accuracy")))
    lost = {d: raw - float(np.mean(evidence.fact(key, d, "task_val_accuracy"))) for d in defenses}
    return [d for d in defenses if lost[d] <= MATCHED] or [min(defenses, key=lambda d: lost[d])]


def chosen(evidence: Evidence, key: str, hidden: str, method: str) -> str:
    """The operating point of a method: of those within reach, the one whose strongest attack is weakest on aux_val."""

    def found(defense: str) -> float:
        selections = evidence.fact(key, defense, "selection")
        return float(np.mean([max(scores["accuracy"] for scores in s[hidden].values()) for s in selections]))

    return min(within_reach(evidence, key, family(evidence, key, method)), key=found)


def lowers(one: Set, method: str = "disco") -> Both:
    """The attack at the method's operating point is below that on raw z."""
    key = f"{one.name}/trade"

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        point = chosen(evidence, key, one.hidden, method)
        return [evidence.attack(key, d, one.hidden, attacker) for d in ("none", point)]

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        return f"raw, {chosen(evidence, key, one.hidden, method)}: {percent(*arms(evidence, attacker))}"

    return lambda evidence, attacker: difference(*arms(evidence, attacker)), tell


def beside_random(one: Set) -> Both:
    """At the same share removed, the learned filter leaves less than channels drawn at random."""
    key = f"{one.name}/trade"

    def pair(evidence: Evidence) -> tuple[str, str]:
        point = chosen(evidence, key, one.hidden, "disco")
        at_random = [d for d in family(evidence, key, "random_channels") if removed(d) == removed(point)]
        if not at_random:
            raise RunError(f"{key}: no random_channels that removes {removed(point):g} in this grid")
        return at_random[0], point

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        return [evidence.attack(key, d, one.hidden, attacker) for d in pair(evidence)]

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        targets = percent(*(evidence.utility(key, d) for d in pair(evidence)))
        return f"random, learned: {percent(*arms(evidence, attacker))} (target {targets})"

    return lambda evidence, attacker: difference(*arms(evidence, attacker)), tell


def random_hides_nothing(one: Set) -> Both:
    """Random pruning leaves the adversary at least what raw z gives, within two points, at every share removed."""
    key = f"{one.name}/trade"

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        points = family(evidence, key, "random_channels")
        return [evidence.attack(key, d, one.hidden, attacker) for d in ("none", *points)]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        raw, *pruned = arms(evidence, attacker)
        margins = [above(difference(arm, raw), -MATCHED) for arm in pruned]
        return min(margins, key=lambda m: m.mean)

    return measure, lambda evidence, attacker: f"raw, then rising ratio: {percent(*arms(evidence, attacker))}"


def keeps_target(one: Set) -> Both:
    """The victims lose at most two points of the target at the operating point."""
    key = f"{one.name}/trade"

    def arms(evidence: Evidence) -> list[Arm]:
        return [evidence.utility(key, d) for d in (chosen(evidence, key, one.hidden, "disco"), "none")]

    return (
        lambda evidence, attacker: above(difference(*arms(evidence)), -MATCHED),
        lambda evidence, attacker: f"defended, raw: {percent(*arms(evidence))}",
    )


METHODS = (
    ("trade", "disco", "learned for each"), ("trade", "random_channels", "random"),
    ("rivals", "static_channels", "learned once"), ("rivals", "adversarial", "adversarial training"),
    ("rivals", "maxent", "maximum entropy"),
)  # fmt: skip


def methods(evidence: Evidence, one: Set) -> list[tuple[str, str, list[str]]]:
    """The methods with trade-offs that were run: study, name in words, operating points."""
    found = [(f"{one.name}/{study}", method, name) for study, method, name in METHODS]
    return [(key, name, family(evidence, key, method)) for key, method, name in found if key in evidence.studies]


def beats_coin(one: Set) -> Both:
    """The hypervolume of the learned filter is larger than that of a coin that sends raw z or nothing, at equally many
    operating points for every method."""

    def volumes(evidence: Evidence, attacker: Attacker) -> tuple[dict[str, Arm], int]:
        there = methods(evidence, one)
        count = min(len(points) for _, _, points in there)
        chosen = [(key, name, frontier.best(evidence, key, p, one.hidden, count)) for key, name, p in there]
        return {name: frontier.volume(evidence, key, p, one.hidden, attacker) for key, name, p in chosen}, count

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        found, count = volumes(evidence, attacker)
        return above(measured(found["learned for each"], 0, 1), frontier.coin(count))

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        found, count = volumes(evidence, attacker)
        said = ", ".join(f"{name} {arm.estimate().mean:.2f}" for name, arm in found.items())
        return f"{count} point{'s' if count > 1 else ''} each: {said}; coin {frontier.coin(count):.2f}"

    return measure, tell


def fooled(one: Set) -> Both:
    """A fresh adversary finds more than the one that was trained beside the filter: what the paper's figure leaves
    out."""
    key = f"{one.name}/trade"

    def arms(evidence: Evidence) -> list[Arm]:
        point = chosen(evidence, key, one.hidden, "disco")
        return [
            evidence.attack(key, point, one.hidden, "fresh"), evidence.by(key, point, one.hidden, COTRAINED),
            evidence.floor(key, one.hidden),
        ]  # fmt: skip

    return (
        lambda evidence, attacker: difference(*arms(evidence)[:2]),
        lambda evidence, attacker: f"fresh, co-trained, floor: {percent(*arms(evidence))}",
    )


def collapses(one: Set) -> Both:
    """The adversary gives one answer for more than 80 % of all people, whoever they are."""
    key = f"{one.name}/trade"

    def share(evidence: Evidence, attacker: Attacker) -> Arm:
        point = chosen(evidence, key, one.hidden, "disco")
        runs = evidence.runs(key)
        name = f"posterior/{one.hidden}/{runs.headline(point, one.hidden, 'accuracy')}"
        if attacker == "published":
            name = f"cotrained/{one.hidden}/{COTRAINED.partition(':')[2]}"

        def largest(arrays: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
            answers = arrays[name].argmax(1)
            shares = [rows @ (answers == v) / rows.sum(1) for v in range(arrays[name].shape[1])]
            return np.asarray(np.max(shares, 0))

        return over_victims(runs, point, largest, f"largest share of one answer of {name}")

    return (
        lambda evidence, attacker: above(measured(share(evidence, attacker), 0, 1), COLLAPSED),
        lambda evidence, attacker: f"one answer for {percent(share(evidence, attacker))} of all people",
    )


def fair(one: Set) -> Both:
    """The gap of target accuracy between the best and the worst served group grows by at most two points."""
    key = f"{one.name}/trade"

    def gaps(evidence: Evidence) -> list[Arm]:
        points = "none", chosen(evidence, key, one.hidden, "disco")
        return [over_victims(evidence.runs(key), d, between_groups(one.hidden), "gap") for d in points]

    return (
        lambda evidence, attacker: above(difference(*gaps(evidence)), -MATCHED),
        lambda evidence, attacker: f"gap between groups, raw, defended: {percent(*gaps(evidence))}",
    )


def between_groups(hidden: str) -> Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray]:
    """Largest minus smallest target accuracy over the groups of an attribute."""

    def gap_of(arrays: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        y, s = arrays["victim/target"], arrays[f"victim/hidden/{hidden}"]
        right = (arrays["victim/answer"] == y).astype(np.float64)
        found = []
        for value in np.unique(s[s >= 0]):
            people = (s == value) & (y >= 0)
            count = rows[:, people].sum(1)
            found.append(np.where(count > 0, rows[:, people] @ right[people] / np.maximum(count, 1), np.nan))
        return np.asarray(np.nanmax(found, 0) - np.nanmin(found, 0))

    return gap_of


def over_victims(
    runs: Runs, defense: str, function: Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray], name: str
) -> Arm:
    """A statistic of a trial's arrays under the bootstrap weights of its victims [1 + R, N] -> [1 + R], by seed."""
    tables = {}
    for seed in runs.seeds:
        if (defense, seed) in runs.runs:
            arrays = dict(runs.runs[defense, seed].arrays)
            replicates = len(arrays["table/(target)/answer/accuracy"]) - 1
            tables[seed] = np.asarray(function(arrays, weights(arrays["victim/groups"], replicates, seed=0)))
    if not tables:
        raise RunError(f"no trial of {defense} is finished; run the same command again to finish it")
    groups = next(iter(runs.runs.values())).arrays["victim/groups"]
    return Arm(tables, len(groups), len(np.unique(groups)), "accuracy", f"{name} of {defense}")


def variant(evidence: Evidence, key: str, **changed: object) -> str:
    """DISCO in a study of ablations: as the grid has it, or with one thing changed."""
    usual = {"shield": True, "hide": "error", "mode": "ste", "adversaries": 1} | changed
    for defense in family(evidence, key, "disco"):
        if all(getattr(parse(defense), name) == value for name, value in usual.items()):
            return defense
    raise RunError(f"{key}: no disco with {usual} in this grid")


def shield(one: Set) -> Both:
    """At equal target error the attack error is higher where the client does not hear of the adversaries."""
    key = f"{one.name}/ablations"

    def pair(evidence: Evidence, attacker: Attacker) -> tuple[Trade, Trade]:
        kept, told = variant(evidence, key), variant(evidence, key, shield=False)
        return (
            trade(evidence, key, [kept], one.hidden, attacker, "kept from the client"),
            trade(evidence, key, [told], one.hidden, attacker, "told to the client"),
        )

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        defenses = variant(evidence, key), variant(evidence, key, shield=False)
        attacks = percent(*(evidence.attack(key, d, one.hidden, attacker) for d in defenses))
        return f"kept, told: attack {attacks}, target {percent(*(evidence.utility(key, d) for d in defenses))}"

    return lambda evidence, attacker: gap(*pair(evidence, attacker)), tell


def prunes_what_leaks(one: Set) -> Both:
    """Channels that tell more of the hidden attribute on their own are kept less often: rank correlation below zero."""
    return _ranks(one, "kept_share", "channel_leak", "kept share and leakage", below)


def disentangled(one: Set) -> Both:
    """Channels that tell more of the attribute tell less of the target: rank correlation below zero."""
    return _ranks(one, "channel_use", "channel_leak", "use and leakage", below)


def _ranks(one: Set, a: str, b: str, said: str, side: Callable[[Estimate, float], Estimate]) -> Both:
    key = f"{one.name}/trade"

    def correlation(evidence: Evidence) -> Arm:
        point = chosen(evidence, key, one.hidden, "disco")
        logs = by_seed(evidence, key, point, "fit")
        found = {seed: float(spearmanr(log[a], log[b]).statistic) for seed, log in logs.items()}
        return constant(found, said, evidence.utility(key, point))

    return (
        lambda evidence, attacker: side(measured(correlation(evidence), -1, 1), 0.0),
        lambda evidence, attacker: f"rank correlation of {said}: {correlation(evidence).estimate().mean:+.2f}",
    )


def dynamic_pays(one: Set) -> Both:
    """Choosing for each person beats one learned set, at equal target error."""

    def pair(evidence: Evidence, attacker: Attacker) -> tuple[Trade, Trade]:
        keys = f"{one.name}/trade", f"{one.name}/rivals"
        own = trade(evidence, keys[0], family(evidence, keys[0], "disco"), one.hidden, attacker, "learned for each")
        static = family(evidence, keys[1], "static_channels")
        return own, trade(evidence, keys[1], static, one.hidden, attacker, "learned once")

    return (
        lambda evidence, attacker: gap(*pair(evidence, attacker)),
        lambda evidence, attacker: f"mean gap {100 * gap(*pair(evidence, attacker)).mean:+.1f} points",
    )


def cut_matters(one: Set, cuts: tuple[str, ...]) -> Both:
    """At each legal cut around the paper's, which lies inside a block, the attack on the pruned z falls below raw."""

    def arms(evidence: Evidence, attacker: Attacker, at: str) -> list[Arm]:
        key = f"{one.name}/{at}"
        return [evidence.attack(key, d, one.hidden, attacker) for d in ("none", *family(evidence, key, "disco")[:1])]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return min((difference(*arms(evidence, attacker, at)) for at in cuts), key=lambda m: m.mean)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        return "; ".join(f"{at}: {percent(*arms(evidence, attacker, at))}" for at in cuts)

    return measure, tell


def follows_dependence(one: Set) -> Both:
    """The advantage of the attack on the pruned z over its floor, in points, rises with I(y; s)."""

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        found = []
        for nats in one.thinned:
            key = f"{one.name}/{nats} nats"
            point = family(evidence, key, "disco")[0]
            pair = evidence.attack(key, point, one.hidden, attacker), evidence.floor(key, one.hidden)
            found.append(unpaired(combine(pair, lambda v: v[0] - v[1]), nats))
        return found

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        said = [f"{n} nats: {percent(arm)}" for n, arm in zip(one.thinned, arms(evidence, attacker), strict=True)]
        return "attack over floor at " + "; ".join(said)

    return lambda evidence, attacker: above(spearman(arms(evidence, attacker)), 0.0), tell


def unpaired(arm: Arm, name: str) -> Arm:
    """Replicates in an order of their own: arms of different people are not drawn together."""
    generator = np.random.default_rng([len(name), *name.encode()])
    tables = {s: np.concatenate([t[:1], generator.permutation(t[1:])]) for s, t in arm.tables.items()}
    return replace(arm, tables=tables)


def removed(defense: str) -> float:
    """The share that a channel pruner removes."""
    return float(parse(defense).ratio)  # type: ignore[attr-defined]
