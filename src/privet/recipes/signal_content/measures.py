"""What the parts of the claims measure: margins that are positive exactly where the paper is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from privet.auditing.estimate import Estimate
from privet.recipes.claims import Both
from privet.recipes.curves import Trade, gap, spearman, steps, wins
from privet.recipes.evidence import Arm, Attacker, Evidence, above, below, combine, difference, exactly, measured
from privet.recipes.reading import by_seed, constant, family, percent, trade
from privet.recipes.signal_content.reading import (
    MATCHED,
    adversarial_trade,
    bounded,
    kept_in,
    kept_points,
    strongest,
    svd_trade,
)
from privet.recipes.signal_content.sets import CUTS, FC1, FREE, ONE, PLAINLY, Set, ours

MOST = 0.8  # "in most cases"
HEADER = 16  # bytes of a payload's frame that are no coefficients


def content_kept(one: Set) -> Both:
    """How much less of the signal the trained network passes on than the untrained one, all layers together."""
    key = f"{one.name}/{FC1}"

    def totals(evidence: Evidence) -> tuple[Arm, Arm]:
        like, found = evidence.utility(key, "none"), by_seed(evidence, key, "none", "content")
        sums = {
            kind: {seed: float(content[kind][-1]["cumulative"]) for seed, content in found.items()}
            for kind in ("untrained", "trained")
        }
        return constant(sums["untrained"], "untrained", like), constant(sums["trained"], "trained", like)

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return difference(*totals(evidence))

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        untrained, trained = (measured(arm).mean for arm in totals(evidence))
        return f"cumulative log content: trained {trained:.2f}, untrained {untrained:.2f}"

    return measure, tell


def deeper(one: Set, hidden: str) -> Both:
    """The attack on raw z falls from split to split."""

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        return [evidence.attack(f"{one.name}/{cut}", "none", hidden, attacker) for cut in one.cuts]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return below(spearman(arms(evidence, attacker)), 0.0)

    return measure, lambda evidence, attacker: f"split by split: {percent(*arms(evidence, attacker))}"


def free_lowers(one: Set, hidden: str) -> Both:
    """At every cut the attack on the whole signal content is below that on raw z."""
    return _lower(one, hidden, one.cuts, lambda evidence, key: ("none", FREE))


def bounded_lowers(one: Set, hidden: str, cuts: Sequence[str]) -> Both:
    """At each of these cuts the attack on the smallest payload that costs at most a point is below that on the whole
    signal content. Where no smaller payload does, the two are one, and nothing is lowered."""
    return _lower(one, hidden, cuts, lambda evidence, key: (FREE, bounded(evidence, key)))


def _lower(one: Set, hidden: str, cuts: Sequence[str], choose: Callable[[Evidence, str], tuple[str, str]]) -> Both:
    def pairs(evidence: Evidence, attacker: Attacker) -> list[tuple[Arm, Arm, str]]:
        found = []
        for key in (f"{one.name}/{cut}" for cut in cuts):
            before, after = choose(evidence, key)
            arms = [evidence.attack(key, d, hidden, attacker) for d in (before, after)]
            found.append((arms[0], arms[1], after))
        return found

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        arms = [arm for before, after, _ in pairs(evidence, attacker) for arm in (before, after)]
        return measured(combine(arms, lambda v: (v[0::2] - v[1::2]).min(0)))

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        said = [
            f"split {CUTS[cut]}: {percent(before)} to {percent(after)} ({kept_in(defense)} kept)"
            for cut, (before, after, defense) in zip(cuts, pairs(evidence, attacker), strict=True)
        ]
        return "; ".join(said)

    return measure, tell


def keeps_target(one: Set, cuts: Sequence[str]) -> Both:
    """What was chosen on task_val to cost at most a point costs the victims at most a point, too, at each cut."""

    def pairs(evidence: Evidence) -> list[tuple[Arm, Arm]]:
        keys = [f"{one.name}/{cut}" for cut in cuts]
        return [(evidence.utility(k, "none"), evidence.utility(k, bounded(evidence, k))) for k in keys]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        arms = [arm for pair in pairs(evidence) for arm in pair]
        return measured(combine(arms, lambda v: (MATCHED - v[0::2] + v[1::2]).min(0)))

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        said = [f"split {CUTS[cut]}: {percent(*pair)}" for cut, pair in zip(cuts, pairs(evidence), strict=True)]
        return "raw, chosen: " + "; ".join(said)

    return measure, tell


def rises(one: Set, hidden: str | None) -> Both:
    """From each number of kept coefficients to the next, target accuracy (no attribute) or the attack on an attribute
    rises, or falls by less than a point."""
    key = f"{one.name}/{FC1}"

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        if hidden is None:
            return [evidence.utility(key, d) for d in kept_points(evidence, key)]
        return [evidence.attack(key, d, hidden, attacker) for d in kept_points(evidence, key)]

    return (
        lambda evidence, attacker: above(steps(arms(evidence, attacker)), -MATCHED),
        lambda evidence, attacker: f"from one to all: {percent(*arms(evidence, attacker))}",
    )


Trader = Callable[[Evidence, Set, str, Attacker], Trade]


def beats(one: Set, hidden: str, rival: Trader, own: Trader = svd_trade) -> Both:
    """At equal target error the attack error is higher on at least 80 % of the grid."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return above(wins(own(evidence, one, hidden, attacker), rival(evidence, one, hidden, attacker)), MOST)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        pair = own(evidence, one, hidden, attacker), rival(evidence, one, hidden, attacker)
        return f"wins on {100 * wins(*pair).mean:.0f} % of the grid, mean gap {100 * gap(*pair).mean:+.1f} points"

    return measure, tell


def one_coefficient(one: Set, hidden: str) -> Both:
    """m' = 1 lowers the attack on an attribute that is not correlated with the target."""
    key = f"{one.name}/{FC1}"

    def arms(evidence: Evidence, attacker: Attacker) -> tuple[Arm, Arm]:
        return tuple(evidence.attack(key, d, hidden, attacker) for d in ("none", ONE))  # type: ignore[return-value]

    return (
        lambda evidence, attacker: difference(*arms(evidence, attacker)),
        lambda evidence, attacker: f"raw, m' = 1: {percent(*arms(evidence, attacker))}",
    )


def adversarial_on(one: Set, hidden: str, own: bool) -> Both:
    """Adversarial training against the first attribute lowers the attack on it (own), and leaves another one more
    exposed than one coefficient does."""
    key = f"{one.name}/plain"

    def arms(evidence: Evidence, attacker: Attacker) -> tuple[Arm, Arm]:
        trained = evidence.attack(key, strongest(evidence, key), hidden, attacker)
        if own:
            return evidence.attack(key, "none", hidden, attacker), trained
        return trained, evidence.attack(f"{one.name}/{FC1}", ONE, hidden, attacker)

    names = "raw, adversarially trained" if own else "adversarially trained, m' = 1"
    return (
        lambda evidence, attacker: difference(*arms(evidence, attacker)),
        lambda evidence, attacker: f"{names}: {percent(*arms(evidence, attacker))}",
    )


def fewer_values(one: Set, cuts: Sequence[str]) -> Both:
    """Fewer values travel than z has, however many coefficients are kept."""

    def shares(evidence: Evidence) -> list[tuple[str, str, float]]:
        found = []
        for cut in cuts:
            key = f"{one.name}/{cut}"
            for defense in kept_points(evidence, key):
                fit, sent = (evidence.fact(key, defense, name)[0] for name in ("fit", "payload_bytes"))
                found.append((cut, kept_in(defense), (sent - HEADER) / (2 * fit["raw_values"])))
        return found

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        return "; ".join(f"{k} kept at split {CUTS[c]}: {share:.4f} of z" for c, k, share in shares(evidence))

    return lambda evidence, attacker: exactly(1 - max(share for _, _, share in shares(evidence))), tell


def macs_exact(one: Set) -> Both:
    """The edge's extra work is m'/m of the server's first layer, within a per cent of that layer."""

    def shares(evidence: Evidence) -> list[tuple[str, str, float, float]]:
        found = []
        for cut in one.cuts:
            key = f"{one.name}/{cut}"
            base = evidence.fact(key, "none", "edge_macs")[0]
            for defense in kept_points(evidence, key):
                fit = evidence.fact(key, defense, "fit")[0]
                extra = (evidence.fact(key, defense, "edge_macs")[0] - base) / fit["first_layer_macs"]
                found.append((cut, kept_in(defense), extra, fit["kept"] / fit["outputs"]))
        return found

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return exactly(0.01 - max(abs(extra - claimed) for _, _, extra, claimed in shares(evidence)))

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        said = [f"{k} at split {CUTS[c]}: {e:.4f} of the layer, m'/m = {m:.4f}" for c, k, e, m in shares(evidence)]
        return "; ".join(said)

    return measure, tell


def ranked(one: Set, which: int) -> Both:
    """Adversarial training has the higher attack error at equal target error than noise (0) or bottleneck (1)."""
    hidden, key = one.hidden[0], f"{one.name}/plain"
    method = ("supervised_noise", "information_bottleneck")[which]

    def pair(evidence: Evidence, attacker: Attacker) -> tuple[Trade, Trade]:
        rival = trade(evidence, key, family(evidence, key, method), hidden, attacker, method.replace("_", " "))
        return adversarial_trade(evidence, one, hidden, attacker), rival

    return (
        lambda evidence, attacker: gap(*pair(evidence, attacker)),
        lambda evidence, attacker: f"mean gap {100 * gap(*pair(evidence, attacker)).mean:+.1f} points",
    )


def relaxed(one: Set, hidden: str | None) -> Both:
    """At m' = 4 the SVD loses at most a point of target accuracy to the auto-encoder, and leaks at most two more."""
    key, defenses = f"{one.name}/plain", ("autoencoder:keep=4", ours("4"))

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        if hidden is None:
            return [evidence.utility(key, d) for d in defenses]
        return [evidence.attack(key, d, hidden, attacker) for d in defenses]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        network, svd = arms(evidence, attacker)
        return above(difference(svd, network), -MATCHED) if hidden is None else above(difference(network, svd), -0.02)

    return measure, lambda evidence, attacker: f"auto-encoder, SVD: {percent(*arms(evidence, attacker))}"


def shaped(one: Set, figure: str) -> Both:
    """After the training a figure of z on task_val is lower than after as many epochs of plain training: correlation
    between units, or distance from a Gaussian."""
    keys = f"{one.name}/{PLAINLY}", f"{one.name}/{FC1}"

    def values(evidence: Evidence) -> list[Arm]:
        like = evidence.utility(keys[1], "none")
        logs = [by_seed(evidence, key, "none", "training") for key in keys]
        return [constant({s: float(log["after"][figure]) for s, log in found.items()}, figure, like) for found in logs]

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        plain, whole = (measured(arm).mean for arm in values(evidence))
        logs = evidence.fact(keys[1], "none", "training")
        zeros = np.mean([log["after"]["share_of_zeros"] for log in logs])
        chance = np.mean([log["after"]["correlation_energy_by_chance"] for log in logs])
        more = f" (by chance {chance:.4f})" if figure == "correlation_energy" else ""
        return f"plain {plain:.4f}, trained {whole:.4f}{more}; {100 * zeros:.0f} % of z is exactly zero"

    return lambda evidence, attacker: difference(*values(evidence)), tell


def gaussian(one: Set) -> Both:
    """At least half of the units are near a Gaussian after the training."""
    key = f"{one.name}/{FC1}"

    def share(evidence: Evidence) -> Arm:
        found = by_seed(evidence, key, "none", "training")
        shares = {s: float(log["after"]["share_near_gaussian"]) for s, log in found.items()}
        return constant(shares, "share", evidence.utility(key, "none"))

    return (
        lambda evidence, attacker: above(measured(share(evidence)), 0.5),
        lambda evidence, attacker: f"{percent(share(evidence))} of the units",
    )


def alike(one: Set, hidden: str) -> Both:
    """The whole signal content leaks as much as W z, of which it is a bijection: within two points either way."""
    key = f"{one.name}/plain"

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        return [evidence.attack(key, d, hidden, attacker) for d in (ours("free"), "linear_split")]

    return (
        lambda evidence, attacker: measured(combine(arms(evidence, attacker), lambda v: 0.02 - np.abs(v[0] - v[1]))),
        lambda evidence, attacker: f"free, W z: {percent(*arms(evidence, attacker))}",
    )


def layer_hides(one: Set, hidden: str) -> Both:
    """One layer more on the edge leaks no more than the whole signal content, within a point."""
    key = f"{one.name}/plain"

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        return [evidence.attack(key, d, hidden, attacker) for d in (ours("free"), "one_more_layer")]

    return (
        lambda evidence, attacker: above(difference(*arms(evidence, attacker)), -MATCHED),
        lambda evidence, attacker: f"free, one more layer: {percent(*arms(evidence, attacker))}",
    )


def better_target(one: Set) -> Both:
    """One coefficient keeps the target at least as well as adversarial training, within a point."""
    key, plain = f"{one.name}/{FC1}", f"{one.name}/plain"

    def arms(evidence: Evidence) -> list[Arm]:
        return [evidence.utility(key, ONE), evidence.utility(plain, strongest(evidence, plain))]

    return (
        lambda evidence, attacker: above(difference(*arms(evidence)), -MATCHED),
        lambda evidence, attacker: f"m' = 1, adversarially trained: {percent(*arms(evidence))}",
    )


def stays_exposed(one: Set, hidden: str) -> Both:
    """An attribute that goes with the target is still recognized above its floor."""
    key = f"{one.name}/{FC1}"

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        return [evidence.attack(key, ONE, hidden, attacker), evidence.floor(key, hidden)]

    return (
        lambda evidence, attacker: difference(*arms(evidence, attacker)),
        lambda evidence, attacker: f"m' = 1, floor: {percent(*arms(evidence, attacker))}",
    )


def ablated(one: Set, arm: str, hidden: str | None) -> Both:
    """With one part of the training left out, one kept coefficient has a lower target accuracy, or leaks more."""
    keys, defense = (f"{one.name}/{FC1}", f"{one.name}/{arm}"), ONE

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        if hidden is None:
            return [evidence.utility(key, defense) for key in keys]
        return [evidence.attack(key, defense, hidden, attacker) for key in keys]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        whole, without = arms(evidence, attacker)
        return difference(whole, without) if hidden is None else difference(without, whole)

    return measure, lambda evidence, attacker: f"whole training, {arm}: {percent(*arms(evidence, attacker))}"
