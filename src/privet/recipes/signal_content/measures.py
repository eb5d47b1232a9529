"""What the parts of the claims measure: margins that are positive exactly where the paper is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from privet.auditing.estimate import Estimate
from privet.errors import RunError
from privet.recipes.claims import Measure, Tell
from privet.recipes.curves import Trade, gap, spearman, wins
from privet.recipes.evidence import Arm, Attacker, Evidence, above, below, combine, difference, exactly, measured
from privet.recipes.signal_content.sets import CUTS, FC1, FREE, ONE, Set, ours

MATCHED = 0.01  # of target accuracy
MOST = 0.8  # "in most cases"
HEADER = 16  # bytes of a payload's frame that are no coefficients


def family(evidence: Evidence, key: str, method: str) -> list[str]:
    """The defenses of one method in a study, in the order of the grid; RunError where it has none."""
    found = [str(d) for d in evidence.runs(key).plan["defenses"] if str(d).startswith(method)]
    if not found:
        raise RunError(f"{key}: no {method} in this grid")
    return found


def kept_points(evidence: Evidence, key: str) -> list[str]:
    """The paper's obfuscator at every number of kept coefficients, rising."""
    return [d for d in family(evidence, key, "signal_content") if d.endswith("order=singular")]


def strongest(evidence: Evidence, key: str) -> str:
    """Adversarial training with the largest gamma of the grid."""
    return family(evidence, key, "adversarial")[-1]


def percent(*arms: Arm) -> str:
    """Means of several arms in percent."""
    return ", ".join(f"{100 * arm.estimate().mean:.1f} %" for arm in arms)


def bounded(evidence: Evidence, key: str) -> str:
    """The smallest payload whose target accuracy on task_val is at most one point below that of raw z."""
    raw = float(np.mean(evidence.fact(key, "none", "task_val_accuracy")))
    for defense in kept_points(evidence, key):
        if raw - float(np.mean(evidence.fact(key, defense, "task_val_accuracy"))) <= MATCHED:
            return defense
    return FREE


def constant(values: dict[int, float], name: str, like: Arm) -> Arm:
    """Numbers that each seed has, without victims, on the replicates of another arm."""
    tables = {seed: np.full_like(like.tables[seed], value) for seed, value in values.items() if seed in like.tables}
    return Arm(tables, like.people, like.groups, "", name)


def content_kept(one: Set) -> tuple[Measure, Tell]:
    """How much less of the signal the trained network passes on than the untrained one, all layers together."""
    key = f"{one.name}/{FC1}"

    def totals(evidence: Evidence) -> tuple[Arm, Arm]:
        like = evidence.utility(key, "none")
        found = dict(zip(evidence.seeds(key), evidence.fact(key, "none", "content"), strict=False))
        sums = {
            kind: {seed: float(content[kind][-1]["cumulative"]) for seed, content in found.items()}
            for kind in ("untrained", "trained")
        }
        return constant(sums["untrained"], "untrained", like), constant(sums["trained"], "trained", like)

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        untrained, trained = totals(evidence)
        if attacker == "published":  # the curve falls, whatever network it is drawn for
            return below(measured(trained), 0.0)
        return difference(untrained, trained)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        untrained, trained = (measured(arm).mean for arm in totals(evidence))
        return f"cumulative log content: trained {trained:.2f}, untrained {untrained:.2f}"

    return measure, tell


def deeper(one: Set, hidden: str) -> tuple[Measure, Tell]:
    """The attack on raw z falls from split to split."""

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        return [evidence.attack(f"{one.name}/{cut}", "none", hidden, attacker) for cut in one.cuts]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return below(spearman(arms(evidence, attacker)), 0.0)

    return measure, lambda evidence, attacker: f"split by split: {percent(*arms(evidence, attacker))}"


def lower_at(one: Set, hidden: str, cuts: Sequence[str], free: bool) -> tuple[Measure, Tell]:
    """At each of these cuts the attack on the obfuscated payload is below that on raw z."""

    def pairs(evidence: Evidence, attacker: Attacker) -> list[tuple[Arm, Arm, str]]:
        found = []
        for cut in cuts:
            key = f"{one.name}/{cut}"
            defense = FREE if free else bounded(evidence, key)
            own = evidence.attack(key, defense, hidden, attacker)
            found.append((evidence.attack(key, "none", hidden, attacker), own, defense))
        return found

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        arms = [arm for raw, own, _ in pairs(evidence, attacker) for arm in (raw, own)]
        return measured(combine(arms, lambda v: (v[0::2] - v[1::2]).min(0)))

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        said = [
            f"split {CUTS[cut]}: {percent(raw)} to {percent(own)}" + ("" if free else f" with {kept_in(defense)} kept")
            for cut, (raw, own, defense) in zip(cuts, pairs(evidence, attacker), strict=True)
        ]
        return "; ".join(said)

    return measure, tell


def kept_in(defense: str) -> str:
    """What a spelling of signal_content keeps."""
    return defense.partition("keep=")[2].partition(",")[0]


def rises(one: Set, hidden: str | None) -> tuple[Measure, Tell]:
    """With more coefficients kept, target accuracy (no attribute) or the attack on an attribute rises."""
    key = f"{one.name}/{FC1}"

    def arms(evidence: Evidence, attacker: Attacker) -> list[Arm]:
        if hidden is None:
            return [evidence.utility(key, d) for d in kept_points(evidence, key)]
        return [evidence.attack(key, d, hidden, attacker) for d in kept_points(evidence, key)]

    return (
        lambda evidence, attacker: spearman(arms(evidence, attacker)),
        lambda evidence, attacker: f"from one to all: {percent(*arms(evidence, attacker))}",
    )


def trade(evidence: Evidence, key: str, defenses: Sequence[str], hidden: str, attacker: Attacker, name: str) -> Trade:
    """Operating points of a method: target error and attack error, the undefended split first."""
    points = [
        (evidence.utility(key, d).error(), evidence.attack(key, d, hidden, attacker).error())
        for d in ("none", *defenses)
    ]
    return Trade(name, tuple(points))


def svd_trade(evidence: Evidence, one: Set, hidden: str, attacker: Attacker) -> Trade:
    key = f"{one.name}/{FC1}"
    return trade(evidence, key, kept_points(evidence, key), hidden, attacker, "signal content")


def pruning_trade(evidence: Evidence, one: Set, hidden: str, attacker: Attacker) -> Trade:
    key = f"{one.name}/{FC1}"
    return trade(evidence, key, family(evidence, key, "feature_l1"), hidden, attacker, "L1 pruning")


def adversarial_trade(evidence: Evidence, one: Set, hidden: str, attacker: Attacker) -> Trade:
    key = f"{one.name}/plain"
    return trade(evidence, key, family(evidence, key, "adversarial"), hidden, attacker, "adversarial training")


def beats(one: Set, hidden: str, rival: Callable[[Evidence, Set, str, Attacker], Trade]) -> tuple[Measure, Tell]:
    """At equal target error the attack error is higher on at least 80 % of the grid."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return above(wins(svd_trade(evidence, one, hidden, attacker), rival(evidence, one, hidden, attacker)), MOST)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        pair = svd_trade(evidence, one, hidden, attacker), rival(evidence, one, hidden, attacker)
        return f"wins on {100 * wins(*pair).mean:.0f} % of the grid, mean gap {100 * gap(*pair).mean:+.1f} points"

    return measure, tell


def one_coefficient(one: Set, hidden: str) -> tuple[Measure, Tell]:
    """m' = 1 lowers the attack on an attribute that is not correlated with the target."""
    key = f"{one.name}/{FC1}"

    def arms(evidence: Evidence, attacker: Attacker) -> tuple[Arm, Arm]:
        return tuple(evidence.attack(key, d, hidden, attacker) for d in ("none", ONE))  # type: ignore[return-value]

    return (
        lambda evidence, attacker: difference(*arms(evidence, attacker)),
        lambda evidence, attacker: f"raw, m' = 1: {percent(*arms(evidence, attacker))}",
    )


def adversarial_on(one: Set, hidden: str, own: bool) -> tuple[Measure, Tell]:
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


def bytes_exact(one: Set) -> Measure:
    """m' coefficients of two bytes travel instead of n."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        worst = 0.0
        for cut in one.cuts:
            key = f"{one.name}/{cut}"
            for defense in kept_points(evidence, key):
                fits = evidence.fact(key, defense, "fit")
                sent = evidence.fact(key, defense, "payload_bytes")
                for fit, size in zip(fits, sent, strict=True):
                    worst = max(worst, abs((size - HEADER) / (2 * fit["values"]) - 1))
        return exactly(0.001 - worst)

    return measure


def macs_exact(one: Set) -> tuple[Measure, Tell]:
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


def ranked(one: Set, which: int) -> tuple[Measure, Tell]:
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


def relaxed(one: Set, hidden: str | None) -> tuple[Measure, Tell]:
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


def shaped(one: Set, figure: str) -> tuple[Measure, Tell]:
    """Training lowers a figure of z on task_val: correlation between units, or distance from a Gaussian."""
    key = f"{one.name}/{FC1}"

    def values(evidence: Evidence) -> tuple[Arm, Arm]:
        like, logs = evidence.utility(key, "none"), evidence.fact(key, "none", "training")
        by_seed = dict(zip(evidence.seeds(key), logs, strict=False))
        return tuple(  # type: ignore[return-value]
            constant({s: float(log[when][figure]) for s, log in by_seed.items()}, when, like)
            for when in ("before", "after")
        )

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        before, after = (measured(arm).mean for arm in values(evidence))
        zeros = np.mean([log["after"]["share_of_zeros"] for log in evidence.fact(key, "none", "training")])
        return f"{before:.4f} before, {after:.4f} after; {100 * zeros:.0f} % of z is exactly zero"

    return lambda evidence, attacker: difference(*values(evidence)), tell


def ablated(one: Set, arm: str, hidden: str | None) -> tuple[Measure, Tell]:
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
