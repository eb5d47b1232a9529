"""The claims: what the paper asserts, where, and what is to be found here."""

from __future__ import annotations

from privet.recipes.claims import Claim, Part
from privet.recipes.disco.measures import (
    Both,
    beats_coin,
    beside_random,
    collapses,
    cut_matters,
    disentangled,
    dynamic_pays,
    fair,
    follows_dependence,
    fooled,
    keeps_target,
    lowers,
    prunes_what_leaks,
    random_hides_nothing,
    shield,
)
from privet.recipes.disco.sets import DIGITS, EARLIER, FIRST, STRAIGHT, SWAPPED, UTKFACE, WHOLE, Set


def part(said: str, one: Set, both: Both, *studies: str) -> Part:
    """A part on one data set."""
    return Part(f"{one.name}: {said}", both[0], tuple(f"{one.name}/{k}" for k in studies or ("trade",)), both[1])


def lower_parts(one: Set) -> list[Part]:
    """Figure 2a on one data set."""
    return [
        part(f"learned pruning lowers the attack on {one.hidden}", one, lowers(one)),
        part("it leaves less than random pruning of the same share", one, beside_random(one)),
        part("random pruning hides nothing", one, random_hides_nothing(one)),
    ]


FIGURES_2 = tuple(f"2-{s.name}" for s in STRAIGHT)
CLAIMS = (
    Claim(
        "0a", "Learned pruning lowers the adversary's accuracy, random pruning does not.", "Figure 2a",
        "race on FairFace: none 40 %, random 43 %, learned 20 % (majority 19 %)",
        "At the point that costs at most two points of the target the attack is below that on raw z and below random "
        "pruning of the same share, and random pruning is within two points of raw z or above.",
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
        "most of one group right, few of two others, the rest wrong",
        "One answer for more than 80 % of all people; and the adversary of the paper finds less than a fresh one, so "
        "that a collapsed adversary is no evidence of hiding.",
        tuple(p for s in FIRST for p in (
            part("the adversary collapses", s, collapses(s)), part("a fresh one finds more", s, fooled(s)),
        )), tuple(f"3a-{s.name}" for s in FIRST),
    ),
    Claim(
        "0e", "Errors of the target are spread evenly over the groups.", "Figure 3b", "visible in a plot",
        "The gap of target accuracy between groups is at most two points wider than without pruning.",
        tuple(part("the gap does not grow", s, fair(s)) for s in FIRST), tuple(f"3b-{s.name}" for s in FIRST),
    ),
    Claim(
        "0f", "The client must not hear of the adversary.", "section 3", "a design decision, without an ablation",
        "At equal target error the attack error is higher with the adversary's gradient kept from the client.",
        tuple(part("better where it is kept from it", s, shield(s), "ablations") for s in WHOLE),
    ),
    Claim(
        "0g", "Channels disentangle attributes, and those that leak are pruned.", "section 3",
        "stated without figures",
        "Over channels, the share of people for whom one is kept falls with what it tells of the attribute on its own; "
        "and what it tells of the attribute falls with what it tells of the target.",
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
        "Mean attack error at equal target error is higher than that of one learned set.",
        tuple(part("dynamic beats static", s, dynamic_pays(s), "trade", "rivals") for s in WHOLE), FIGURES_2,
    ),
    Claim(
        "0j", "The cut may lie after six convolutions.", "section 4", "the only cut reported",
        "That lies inside a residual block; at the legal cuts around it the attack falls below that on raw z.",
        (
            part("the attack falls at an earlier cut", DIGITS, cut_matters(DIGITS, EARLIER[:1]), EARLIER[0]),
            part("the attack falls at earlier cuts", UTKFACE, cut_matters(UTKFACE, EARLIER), *EARLIER),
        ),
    ),
    Claim(
        "0k", "It is worth more than a coin.", "not in the paper", "not asked",
        "Normalized hypervolume (target kept, attribute hidden) of equally many operating points, chosen on task_val "
        "and aux_val, above that of a coin that sends raw z or nothing.",
        tuple(
            part("more than a coin", s, beats_coin(s), "trade", *(("rivals",) if s.whole else ())) for s in STRAIGHT
        ),
        tuple(f"frontier-{s.name}" for s in STRAIGHT),
    ),
)  # fmt: skip
