"""What the parts of the claims on the method's design measure: what is kept from the client, which channels go, cuts,
people, and whether a choice for each is worth it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.stats import rankdata, spearmanr

from privet.auditing.estimate import Estimate
from privet.defense import parse
from privet.defenses.disco import Disco
from privet.errors import RunError
from privet.recipes.claims import Both
from privet.recipes.curves import Trade, gap, spearman
from privet.recipes.disco.arms import at_random, chosen, control, learned, sweep, worst
from privet.recipes.disco.sets import Set
from privet.recipes.evidence import Arm, Attacker, Evidence, above, below, combine, difference, measured
from privet.recipes.reading import by_seed, constant, family, percent, trade

SWITCHES = ("shield", "through", "hide", "mode", "adversaries", "learn")


def variant(evidence: Evidence, key: str, **changed: object) -> str:
    """DISCO in a study of ablations: as the grid has it, or with one thing changed."""
    usual = {name: getattr(Disco(), name) for name in SWITCHES} | changed
    for defense in family(evidence, key, "disco"):
        if all(getattr(parse(defense), name) == value for name, value in usual.items()):
            return defense
    raise RunError(f"{key}: no disco with {changed or 'nothing changed'} in this grid")


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


def learning_pays(one: Set) -> Both:
    """The attack is below that behind a filter that stays as it was drawn."""
    key = f"{one.name}/ablations"

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        defenses = variant(evidence, key, learn=False), variant(evidence, key)
        return [evidence.attack(key, d, one.hidden, attacker) for d in defenses]

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        defenses = variant(evidence, key, learn=False), variant(evidence, key)
        targets = percent(*(evidence.utility(key, d) for d in defenses))
        return f"drawn, learned: attack {percent(*arms(evidence, attacker))}, target {targets}"

    return lambda evidence, attacker: difference(*arms(evidence, attacker)), tell


def prunes_what_leaks(one: Set) -> Both:
    """Of channels that serve the target alike, those that tell more of the attribute on their own are kept less often:
    partial rank correlation below zero."""

    def partial(log: dict[str, list[float]]) -> float:
        kept, leak, use = (rankdata(log[name]) for name in ("kept_share", "channel_leak", "channel_use"))
        design = np.stack([use, np.ones_like(use)], 1)
        left = [values - design @ np.linalg.lstsq(design, values, rcond=None)[0] for values in (kept, leak)]
        size = float(np.linalg.norm(left[0]) * np.linalg.norm(left[1]))
        return float(left[0] @ left[1]) / size if size > 1e-9 else 0.0

    return _over_channels(one, partial, "kept share and leakage, use held fixed", below)


def disentangled(one: Set) -> Both:
    """Channels that tell more of the attribute tell less of the target: rank correlation below zero."""

    def plain(log: dict[str, list[float]]) -> float:
        return float(spearmanr(log["channel_use"], log["channel_leak"]).statistic)

    return _over_channels(one, plain, "use and leakage", below)


def _over_channels(
    one: Set, statistic: Callable[[dict[str, list[float]]], float], said: str,
    side: Callable[[Estimate, float], Estimate],
) -> Both:  # fmt: skip
    key = f"{one.name}/trade"

    def correlation(evidence: Evidence) -> Arm:
        point = chosen(evidence, key, one.hidden)
        logs = by_seed(evidence, key, point, "fit")
        return constant({seed: statistic(log) for seed, log in logs.items()}, said, evidence.utility(key, point))

    return (
        lambda evidence, attacker: side(measured(correlation(evidence), -1, 1), 0.0),
        lambda evidence, attacker: f"rank correlation of {said}: {correlation(evidence).estimate().mean:+.2f}",
    )


def dynamic_pays(one: Set) -> Both:
    """Choosing for each person beats one learned set of the same weight, at equal target error."""
    keys = f"{one.name}/trade", f"{one.name}/rivals"

    def pair(evidence: Evidence, attacker: Attacker) -> tuple[Trade, Trade]:
        own = trade(evidence, keys[0], sweep(evidence, keys[0]), one.hidden, attacker, "learned for each")
        static = family(evidence, keys[1], "static_channels")
        return own, trade(evidence, keys[1], static, one.hidden, attacker, "learned once")

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        fits = [log for d in sweep(evidence, keys[0]) for log in evidence.fact(keys[0], d, "fit")]
        masks = ", ".join(f"{log['masks']} of {log['people']}" for log in fits)
        return f"mean gap {100 * gap(*pair(evidence, attacker)).mean:+.1f} points; masks among people: {masks}"

    return lambda evidence, attacker: gap(*pair(evidence, attacker)), tell


def cut_matters(one: Set, cuts: tuple[str, ...]) -> Both:
    """At each legal cut around, hiding lowers the attack below that on the same pruning without it."""

    def arms(evidence: Evidence, attacker: Attacker, at: str) -> list[Arm]:
        key = f"{one.name}/{at}"
        (ours, *_) = learned(evidence, key)
        found = control(evidence, key, ours), ours
        return [evidence.attack(key, d, one.hidden, attacker) for d in found]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return worst([difference(*arms(evidence, attacker, at)) for at in cuts])

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        said = []
        for at in cuts:
            key = f"{one.name}/{at}"
            (ours, *_) = learned(evidence, key)
            beside = ["none", control(evidence, key, ours), ours, at_random(evidence, key)[0]]
            attacks = percent(*(evidence.attack(key, d, one.hidden, attacker) for d in beside))
            targets = percent(*(evidence.utility(key, d) for d in beside))
            said.append(f"{evidence.runs(key).plan['at']}: {attacks} (target {targets})")
        return "raw, alpha=0, learned, random at " + "; ".join(said)

    return measure, tell


def follows_dependence(one: Set) -> Both:
    """The advantage of the attack on the pruned z over its floor, in points, rises with I(y; s)."""

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        found = []
        for nats in one.thinned:
            key = f"{one.name}/{nats} nats"
            point = learned(evidence, key)[0]
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
