"""The claims: what the paper asserts, where, and what is to be found here."""

from __future__ import annotations

from collections.abc import Callable

from privet.recipes.claims import Claim, Measure, Part, Tell
from privet.recipes.curves import Trade
from privet.recipes.evidence import Attacker, Evidence
from privet.recipes.signal_content.measures import (
    ablated,
    adversarial_on,
    adversarial_trade,
    beats,
    bytes_exact,
    content_kept,
    deeper,
    lower_at,
    macs_exact,
    one_coefficient,
    pruning_trade,
    ranked,
    relaxed,
    rises,
    shaped,
)
from privet.recipes.signal_content.sets import CELEBA, DIGITS, FC1, FC2, IDENTITY, SETS, UTKFACE, Set


def part(said: str, one: Set, both: tuple[Measure, Tell], *keys: str) -> Part:
    """A part on one data set."""
    return Part(f"{one.name}: {said}", both[0], tuple(f"{one.name}/{k}" for k in keys), both[1])


def depth_parts(one: Set) -> list[Part]:
    """Figure 3 on one data set."""
    made = []
    for hidden in one.hidden[:2]:
        made.append(part(f"the attack on {hidden} falls with depth", one, deeper(one, hidden), *one.cuts))
        free = lower_at(one, hidden, one.cuts, True)
        made.append(part(f"distortion-free lowers the attack on {hidden} at every split", one, free, *one.cuts))
        tight = lower_at(one, hidden, one.cuts, False)
        made.append(part(f"at most a point of target lowers it at every split ({hidden})", one, tight, *one.cuts))
        deep = lower_at(one, hidden, (FC1, FC2), False)
        made.append(part(f"at most a point of target lowers it at splits 4 and 5 ({hidden})", one, deep, FC1, FC2))
    return made


def against(one: Set, what: str, rival: Callable[[Evidence, Set, str, Attacker], Trade], *keys: str) -> Part:
    hidden = one.hidden[0]
    return part(f"less is learned about {hidden} than with {what}", one, beats(one, hidden, rival), *keys)


WITHOUT_IDENTITY = SETS[:-1]
CLAIMS = (
    Claim(
        "3a", "From layer to layer the network discards content that the target does not need.", "Figure 2",
        "the cumulative log signal content falls with depth, on four data sets",
        "The trained network passes on less signal content, summed over layers, than the same network untrained: the "
        "sum falls by construction. As published: the sum is below zero.",
        tuple(part("less content passes than untrained", s, content_kept(s), FC1) for s in WITHOUT_IDENTITY),
        ("2",),
    ),
    Claim(
        "3b", "Deeper splits leak less, distortion-free obfuscation leaks less than raw z, and one point of target "
        "accuracy buys less still.", "Figure 3",
        "attack accuracy falls with the split layer; free < baseline and bounded < free at every split",
        "Rank correlation of split and attack below 0; the smallest drop over the splits above 0, for the whole rank "
        "and for the smallest m' that costs at most a point on task_val.",
        tuple(p for s in WITHOUT_IDENTITY for p in depth_parts(s)),
        tuple(f"3-{s.name}" for s in WITHOUT_IDENTITY),
    ),
    Claim(
        "3c", "More kept coefficients serve the target and the attack.", "Figure 4",
        "UTKFace at FC1: target error falls and attack error falls with m'",
        "Rank correlation of m' with target accuracy and with attack accuracy above 0.",
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
        "At equal target error the attack error is higher on at least 80 % of the target errors that both reach.",
        tuple(against(s, "L1 pruning", pruning_trade, FC1) for s in WITHOUT_IDENTITY),
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
        "The attack falls on each attribute that is not correlated with the target; adversarial training lowers the "
        "attack on its own attribute, and leaves every other one above what one coefficient leaves.",
        tuple(
            [part(f"m' = 1 lowers the attack on {h}", s, one_coefficient(s, h), FC1) for s in (UTKFACE, CELEBA)
             for h in s.hidden if h not in s.correlated]
            + [part(f"adversarial training lowers the attack on {s.hidden[0]}", s,
                    adversarial_on(s, s.hidden[0], True), "plain") for s in (UTKFACE, CELEBA)]
            + [part(f"m' = 1 leaves less about {h} than adversarial training", s, adversarial_on(s, h, False), FC1,
                    "plain") for s in (UTKFACE, CELEBA) for h in s.hidden[1:] if h not in s.correlated]
        ),
        ("7-utkface", "7-celeba_attr"),
    ),
    Claim(
        "3g", "Communication shrinks to m'/n, and the edge computes m'/m of the server's first layer more.",
        "section 4.3", "factors m'/n and m'/m",
        "Two bytes a coefficient (m' filters times places, for a convolution); extra work within 1 % of the layer.",
        tuple(
            p
            for s in SETS
            for p in (
                Part(f"{s.name}: two bytes a coefficient", bytes_exact(s), tuple(f"{s.name}/{c}" for c in s.cuts)),
                part("extra work is m'/m", s, macs_exact(s), *s.cuts),
            )
        ),
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
        "Mean squared correlation between units and mean excess kurtosis fall from before to after the training.",
        tuple(
            part(said, s, shaped(s, figure), FC1)
            for s in WITHOUT_IDENTITY
            for said, figure in (("correlation falls", "correlation_energy"), ("kurtosis falls", "excess_kurtosis"))
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
                ("the training as a whole keeps the target", "none of the three", None),
            )
            if arm in s.ablations
        ),
    ),
)  # fmt: skip
