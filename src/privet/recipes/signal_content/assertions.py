"""The claims: what the paper asserts, where, and what is to be found here."""

from __future__ import annotations

from collections.abc import Callable

from privet.recipes.claims import Both, Claim, Part
from privet.recipes.curves import Trade
from privet.recipes.evidence import Attacker, Evidence
from privet.recipes.signal_content.measures import (
    ablated,
    adversarial_on,
    alike,
    beats,
    better_target,
    bounded_lowers,
    content_kept,
    deeper,
    fewer_values,
    free_lowers,
    gaussian,
    keeps_target,
    layer_hides,
    macs_exact,
    one_coefficient,
    ranked,
    relaxed,
    rises,
    shaped,
    stays_exposed,
)
from privet.recipes.signal_content.reading import adversarial_trade, plain_pruning_trade, plain_svd_trade, pruning_trade
from privet.recipes.signal_content.sets import CELEBA, DIGITS, FC1, FC2, IDENTITY, PLAINLY, SETS, UTKFACE, Set


def part(said: str, one: Set, both: Both, *keys: str) -> Part:
    """A part on one data set."""
    return Part(f"{one.name}: {said}", both[0], tuple(f"{one.name}/{k}" for k in keys), both[1])


def depth_parts(one: Set) -> list[Part]:
    """Figure 3 on one data set."""
    made = []
    for hidden in one.hidden[:2]:
        made.append(part(f"the attack on {hidden} falls with depth", one, deeper(one, hidden), *one.cuts))
        free = free_lowers(one, hidden)
        made.append(part(f"distortion-free lowers the attack on {hidden} at every split", one, free, *one.cuts))
        for cuts, where in ((one.cuts, "every split"), ((FC1, FC2), "splits 4 and 5")):
            less = bounded_lowers(one, hidden, cuts)
            made.append(part(f"a point of target lowers the attack on {hidden} further at {where}", one, less, *cuts))
    made.append(part("the victims lose at most that point at every split", one, keeps_target(one, one.cuts), *one.cuts))
    return made


def against_plain(one: Set) -> Part:
    hidden = one.hidden[0]
    both = beats(one, hidden, plain_pruning_trade, plain_svd_trade)
    return part(f"the same on a network without the training ({hidden})", one, both, "plain")


def against(one: Set, what: str, rival: Callable[[Evidence, Set, str, Attacker], Trade], *keys: str) -> Part:
    hidden = one.hidden[0]
    return part(f"less is learned about {hidden} than with {what}", one, beats(one, hidden, rival), *keys)


def attribute_parts(one: Set) -> list[Part]:
    """Figure 7 on one data set."""
    own, apart = one.hidden[0], [h for h in one.hidden if h not in one.correlated]
    made = [part(f"m' = 1 lowers the attack on {h}", one, one_coefficient(one, h), FC1) for h in apart]
    made += [part(f"{h} stays exposed", one, stays_exposed(one, h), FC1) for h in one.correlated]
    hides = adversarial_on(one, own, True)
    made.append(part(f"adversarial training lowers the attack on {own}", one, hides, "plain"))
    for other in apart[1:]:
        less = adversarial_on(one, other, False)
        made.append(part(f"m' = 1 leaves less about {other} than adversarial training", one, less, FC1, "plain"))
    made.append(part("m' = 1 keeps the target as well as it", one, better_target(one), FC1, "plain"))
    return made


def cost_parts(one: Set) -> list[Part]:
    """What the text says of communication and computation, on one data set."""
    early = tuple(c for c in one.cuts if c not in (FC1, FC2))
    return [
        part("less travels at fully connected splits", one, fewer_values(one, (FC1, FC2)), FC1, FC2),
        part("less travels at convolution splits", one, fewer_values(one, early), *early),
        part("extra work is m'/m", one, macs_exact(one), *one.cuts),
    ]


WITHOUT_IDENTITY = SETS[:-1]
CLAIMS = (
    Claim(
        "3a", "From layer to layer the network discards content that the target does not need.", "Figure 2",
        "the cumulative log signal content falls with depth, on four data sets",
        "The trained network passes on less signal content, summed over layers, than the same network untrained: that "
        "the sum falls is so by construction, and judges nothing.",
        tuple(part("less content passes than untrained", s, content_kept(s), FC1) for s in WITHOUT_IDENTITY),
        ("2",),
    ),
    Claim(
        "3b", "Deeper splits leak less, distortion-free obfuscation leaks less than raw z, and one point of target "
        "accuracy buys less still.", "Figure 3",
        "attack accuracy falls with the split layer; free < baseline and bounded < free at every split",
        "Rank correlation of split and attack below 0; at every split the attack falls from raw z to the "
        "whole rank, and "
        "from the whole rank to the smallest m' that costs at most a point on task_val; and the victims lose no more.",
        tuple(p for s in WITHOUT_IDENTITY for p in depth_parts(s)),
        tuple(f"3-{s.name}" for s in WITHOUT_IDENTITY),
    ),
    Claim(
        "3c", "More kept coefficients serve the target and the attack.", "Figure 4",
        "UTKFace at FC1: target error falls and attack error falls with m'",
        "From each m' to the next, target and attack accuracy rise, or fall by less than a point.",
        tuple(
            part(said, s, rises(s, hidden), FC1)
            for s in (DIGITS, UTKFACE)
            for said, hidden in (("target accuracy rises with m'", None), ("the attack rises with m'", s.hidden[0]))
        ),
        ("4-digits", "4-utkface"),
    ),
    Claim(
        "3d", "Signal content hides more than pruning features by the L1 norm.", "Figure 5",
        "a higher attack error at the same target error in most cases, although pruning is fine-tuned and it is not",
        "At equal target error the attack error is higher on at least 80 % of the target errors that both "
        "reach, on the "
        "trained network and on a plain one.",
        tuple(
            p for s in WITHOUT_IDENTITY for p in (against(s, "L1 pruning", pruning_trade, FC1), against_plain(s))
        ),
        tuple(f"5-{s.name}" for s in WITHOUT_IDENTITY),
    ),
    Claim(
        "3e", "Signal content hides more than adversarial training that knows the attribute.", "Figure 6",
        "a higher attack error at the same target error in most cases, gamma from 0.1 to 1",
        "At equal target error the attack error is higher on at least 80 % of the target errors that both reach.",
        tuple(against(s, "adversarial training", adversarial_trade, FC1, "plain") for s in WITHOUT_IDENTITY),
        tuple(f"5-{s.name}" for s in WITHOUT_IDENTITY),
    ),
    Claim(
        "3f", "One coefficient hides what nobody named; adversarial training hides the attribute it was trained on.",
        "Figure 7", "CelebA, m' = 1: lower attack accuracy on all six attributes but the two "
        "correlated with the target; adversarial training hides gender only",
        "The attack falls on each attribute that does not go with the target, and stays above the floor on "
        "those that do; "
        "adversarial training (the largest gamma) lowers the attack on its own attribute, leaves every other one above "
        "what one coefficient leaves, and keeps the target no better, within a point.",
        tuple(p for s in (UTKFACE, CELEBA) for p in attribute_parts(s)),
        ("7-utkface", "7-celeba_attr"),
    ),
    Claim(
        "3g", "Communication shrinks to m'/n, and the edge computes m'/m of the server's first layer more.",
        "section 4.3", "factors m'/n and m'/m",
        "Fewer values travel than z has, at every m' and the whole rank; extra work within 1 % of m'/m of the layer.",
        tuple(p for s in SETS for p in cost_parts(s)),
    ),
    Claim(
        "3h", "Adversarial training has a better trade-off than learned noise (Eq. 1) and the information bottleneck "
        "(Eq. 2).", "section 5.2", "stated without figures",
        "Mean attack error at equal target error higher than that of each.",
        tuple(
            part(f"better than {name}", s, ranked(s, which), "plain")
            for s in WITHOUT_IDENTITY
            for which, name in enumerate(("learned noise", "the information bottleneck"))
        ),
        tuple(f"5-{s.name}" for s in WITHOUT_IDENTITY),
    ),
    Claim(
        "3i", "Solving the problem for the first linear layer alone costs little.", "section 4.2",
        "stated without figures",
        "At m' = 4 the SVD is at most a point of target accuracy below an auto-encoder trained on the network's "
        "output, and leaks at most two points more.",
        tuple(
            part(said, s, relaxed(s, hidden), "plain")
            for s in WITHOUT_IDENTITY
            for said, hidden in (("target accuracy", None), (f"attack on {s.hidden[0]}", s.hidden[0]))
        ),
    ),
    Claim(
        "3j", "Training makes the representation decorrelated and Gaussian.", "section 4.3", "stated without figures",
        "Mean squared correlation between units and mean excess kurtosis are lower than after as many epochs of plain "
        "training, and at least half of the units are near a Gaussian (skewness under a half, excess "
        "kurtosis under one).",
        tuple(
            p
            for s in WITHOUT_IDENTITY
            for p in (
                part("less correlation", s, shaped(s, "correlation_energy"), FC1, PLAINLY),
                part("less kurtosis", s, shaped(s, "excess_kurtosis"), FC1, PLAINLY),
                part("half of the units are near a Gaussian", s, gaussian(s), FC1),
            )
        ),
    ),
    Claim(
        "3k", "The same holds where the identity is hidden (FaceScrub; here CelebA identities).", "Figures 3, 5, 6",
        "as 3b, 3d and 3e", "As 3b, 3d and 3e.",
        (
            *depth_parts(IDENTITY),
            against(IDENTITY, "L1 pruning", pruning_trade, FC1),
            against(IDENTITY, "adversarial training", adversarial_trade, FC1, "plain"),
        ),
        ("3-celeba_id", "5-celeba_id"),
    ),
    Claim(
        "3l", "Each part of the training is needed: removal keeps the target, decorrelation and the Gaussian prior "
        "hide.", "section 4.3", "no ablation is reported",
        "With one coefficient kept, target accuracy falls without removal; the attack rises without either penalty.",
        tuple(
            part(said, s, ablated(s, arm, hidden), FC1, arm)
            for s in WITHOUT_IDENTITY
            for said, arm, hidden in (
                ("removal keeps the target", "no removal", None),
                ("decorrelation lowers the attack", "no decorrelation", s.hidden[0]),
                ("the Gaussian prior lowers the attack", "no variational part", s.hidden[0]),
                ("the training as a whole keeps the target", PLAINLY, None),
            )
            if arm in s.ablations
        ),
    ),
    Claim(
        "3m", "Distortion-free obfuscation hides what the server does not use.", "section 4.2, Definition 2",
        "obfuscates without any distortion of the output",
        "It is W z in other coordinates: the attack is within two points of that on W z, and one more layer "
        "on the edge "
        "leaks no more, within a point.",
        tuple(
            p
            for s in WITHOUT_IDENTITY
            for p in (
                part(f"leaks what W z leaks ({s.hidden[0]})", s, alike(s, s.hidden[0]), "plain"),
                part(f"one more layer leaks no more ({s.hidden[0]})", s, layer_hides(s, s.hidden[0]), "plain"),
            )
        ),
    ),
)  # fmt: skip
