"""The claims: what the paper asserts, where, and what is to be found here."""

from __future__ import annotations

from privet.recipes.claims import Both, Claim, Part
from privet.recipes.disco.design import (
    cut_matters,
    disentangled,
    dynamic_pays,
    follows_dependence,
    learning_pays,
    prunes_what_leaks,
    shield,
)
from privet.recipes.disco.measures import (
    beats,
    beats_coin,
    beats_random,
    beside_random,
    collapses,
    fair,
    fooled,
    hides,
    keeps_target,
    lowers,
    mask_is_silent,
    random_hides_nothing,
)
from privet.recipes.disco.sets import DIGITS, FIRST, STRAIGHT, SWAPPED, UTKFACE, WHOLE, Set


def part(said: str, one: Set, both: Both, *studies: str) -> Part:
    """A part on one data set."""
    return Part(f"{one.name}: {said}", both[0], tuple(f"{one.name}/{k}" for k in studies or ("trade",)), both[1])


def lower_parts(one: Set) -> list[Part]:
    """Figure 2a on one data set."""
    return [
        part(f"the attack on {one.hidden} is below that on raw z", one, lowers(one)),
        part("it is below that on the same pruning without hiding", one, hides(one)),
        part("it is below that on random pruning of the same share", one, beside_random(one)),
        part("random pruning hides nothing", one, random_hides_nothing(one)),
    ]


def volume_studies(one: Set) -> tuple[str, ...]:
    """What hypervolumes are read from."""
    return ("trade", "rivals") if one.whole else ("trade",)


CUTS = ("cut 1", "cut 2")
FIGURES_2 = tuple(f"2-{s.name}" for s in STRAIGHT)
CLAIMS = (
    Claim(
        "0a", "Learned pruning lowers the adversary's accuracy, random pruning does not.", "Figure 2a",
        "race on FairFace: none 40 %, random 43 %, learned 20 % (majority 19 %)",
        "At the point that costs at most two points of the target the attack is below that on raw z, below the same "
        "pruning without hiding (alpha = 0) and below random pruning of the same share, both halves trained; and this "
        "random pruning is within two points of raw z or above.",
        tuple(p for s in STRAIGHT for p in lower_parts(s)), FIGURES_2,
    ),
    Claim(
        "0b", "The target is served as well as without pruning.", "Figure 2b", "equal; values are in a plot only",
        "The victims lose at most two points at the operating point, which was chosen on task_val.",
        tuple(part("the target keeps within two points", s, keeps_target(s)) for s in STRAIGHT), FIGURES_2,
    ),
    Claim(
        "0c", "The same with the roles of gender and race exchanged.", "section 4", "a similar trend, without a number",
        "As 0a and 0b, with race as the target and gender hidden.",
        (*lower_parts(SWAPPED), part("the target keeps within two points", SWAPPED, keeps_target(SWAPPED))),
        ("2-utkface-swapped",),
    ),
    Claim(
        "0d", "The adversary is left with one answer.", "Figure 3a",
        "most of one group right, few of two others, the rest wrong", "One answer for more than 80 % of all people.",
        tuple(part("the adversary collapses", s, collapses(s)) for s in FIRST), tuple(f"3a-{s.name}" for s in FIRST),
    ),
    Claim(
        "0e", "Errors of the target are spread evenly over the groups.", "Figure 3b", "visible in a plot",
        "The variance of target accuracy between groups grows by at most that of a spread of two points.",
        tuple(part("the spread does not grow", s, fair(s)) for s in FIRST), tuple(f"3b-{s.name}" for s in FIRST),
    ),
    Claim(
        "0f", "The client must not hear of the adversary.", "section 3", "a design decision, without an ablation",
        "At equal target error the attack error is higher with the adversary's gradient kept from the client.",
        tuple(part("better where it is kept from it", s, shield(s), "ablations") for s in WHOLE),
    ),
    Claim(
        "0g", "Channels disentangle attributes, and those that leak are pruned.", "section 3",
        "stated without figures",
        "Over channels, what one tells of the attribute on its own falls with what it tells of the target; and of "
        "channels that serve the target alike, those that leak are kept less often.",
        tuple(p for s in FIRST for p in (
            part("leaking channels are kept less often", s, prunes_what_leaks(s)),
            part("channels that leak do not serve", s, disentangled(s)),
        )),
    ),
    Claim(
        "0h", "What leaks depends on how far target and attribute go together.", "section 4", "stated without figures",
        "With people thinned from 0 to 0.4 nats between gender and race, the attack's advantage over its floor on the "
        "pruned representation rises (rank correlation above 0).",
        (part("the advantage rises with I(y; s)", UTKFACE, follows_dependence(UTKFACE),
              *(f"{n} nats" for n in UTKFACE.thinned)),),
    ),
    Claim(
        "0i", "Choosing for each person beats one set for all.", "sections 1 and 3", "the name: dynamic",
        "Mean attack error at equal target error is higher than that of one learned set of the same weight.",
        tuple(part("dynamic beats static", s, dynamic_pays(s), "trade", "rivals") for s in WHOLE), FIGURES_2,
    ),
    Claim(
        "0j", "The cut may lie after six convolutions.", "section 4", "the only cut reported",
        "That lies inside a residual block; at the legal cuts around it hiding lowers the attack below that on the "
        "same pruning without it.",
        (
            part("hiding works at an earlier cut", DIGITS, cut_matters(DIGITS, CUTS[:1]), *CUTS[:1]),
            part("hiding works at the cuts around", UTKFACE, cut_matters(UTKFACE, CUTS), *CUTS),
        ),
    ),
    Claim(
        "0k", "It is worth its price.", "not in the paper", "compared at an equal share removed, not at equal accuracy",
        "Normalized hypervolume (target kept, attribute hidden) of equally many operating points above that of a coin "
        "that sends raw z or nothing, of the same pruning without hiding, and of random pruning; and attack error at "
        "equal target error above that of random pruning.",
        tuple(p for s in STRAIGHT for p in (
            part("more than a coin", s, beats_coin(s), *volume_studies(s)),
            part("more than pruning without hiding", s, beats(s, "alpha = 0"), *volume_studies(s)),
            part("more than random pruning", s, beats(s, "random"), *volume_studies(s)),
            part("more than random pruning at equal accuracy", s, beats_random(s)),
        )),
        tuple(f"frontier-{s.name}" for s in STRAIGHT),
    ),
    Claim(
        "0l", "The adversary that was trained beside the filter says what leaks.", "Figures 2a and 3a",
        "its accuracy is the evidence",
        "It finds what a fresh adversary finds, within two points.",
        tuple(part("the co-trained one finds as much", s, fooled(s)) for s in STRAIGHT),
    ),
    Claim(
        "0m", "The choice of channels tells nothing of its own.", "not in the paper", "not asked",
        "A fresh adversary that reads the mask alone is within two points of the floor.",
        tuple(part("the mask is silent", s, mask_is_silent(s)) for s in STRAIGHT),
    ),
    Claim(
        "0n", "The filter has to learn.", "section 3", "a design decision, without an ablation",
        "The attack is below that behind a filter that stays as it was drawn.",
        tuple(part("learning lowers the attack", s, learning_pays(s), "ablations") for s in WHOLE),
    ),
)  # fmt: skip
