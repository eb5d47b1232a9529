"""A recipe that reproduces nothing but itself: claims on digits that are true, false, mixed and beyond this grid."""

from __future__ import annotations

from privet.recipes.claims import Claim, Figure, Grid, Paper, Part, Where
from privet.recipes.curves import Trade, spearman
from privet.recipes.evidence import Attacker, Evidence, below, difference, exactly
from privet.report.chart import Chart, Point, Series
from privet.schedule import Source, Study
from privet.setting import Setting

PAPER = Paper("A toy: noise hides", "Nobody et al. 2021", "0000.00000")
NOISY = tuple(f"gaussian:sigma={s}" for s in (1, 4, 16))
KEY, ELSEWHERE = "digits/flatten", "utkface/flatten"


def studies(grid: Grid, where: Where) -> dict[str, Study]:
    setting = Setting(
        "", "", effort="tiny" if grid.name == "quick" else grid.effort, attacks=("server_probe", "linear_probe")
    )
    defenses = ("none", *NOISY, "random_channels:ratio=.5")
    found = {KEY: where.study(Source("digits", limit=150), setting, defenses, grid)}
    if grid.name != "quick":
        faces = Source(where.place("utkface"), "gender", ("race",))
        found[ELSEWHERE] = where.study(faces, setting, defenses, grid)
    return found


def lowers(evidence: Evidence, attacker: Attacker):  # type: ignore[no-untyped-def]
    return difference(
        evidence.attack(KEY, "none", "digit", attacker), evidence.attack(KEY, NOISY[2], "digit", attacker)
    )


def raises(evidence: Evidence, attacker: Attacker):  # type: ignore[no-untyped-def]
    return difference(
        evidence.attack(KEY, NOISY[2], "digit", attacker), evidence.attack(KEY, "none", "digit", attacker)
    )


def falls(evidence: Evidence, attacker: Attacker):  # type: ignore[no-untyped-def]
    return below(spearman([evidence.attack(KEY, d, "digit", attacker) for d in ("none", *NOISY)]), -0.5)


def told(evidence: Evidence, attacker: Attacker) -> str:
    before, after = (evidence.attack(KEY, d, "digit", attacker).estimate().mean for d in ("none", NOISY[2]))
    return f"digit named {100 * before:.1f} % without, {100 * after:.1f} % with noise"


def absent(evidence: Evidence, attacker: Attacker):  # type: ignore[no-untyped-def]
    return difference(
        evidence.attack(ELSEWHERE, "none", "race", attacker), evidence.attack(ELSEWHERE, NOISY[2], "race", attacker)
    )


def draw(evidence: Evidence, attacker: Attacker) -> Chart:
    arms = [
        (evidence.utility(KEY, d).error(), evidence.attack(KEY, d, "digit", attacker).error()) for d in ("none", *NOISY)
    ]
    trade = Trade("gaussian", tuple(arms))
    points = tuple(Point(x.estimate(), y.estimate()) for x, y in trade.points)
    return Chart("target error, %", "attack error, %", (Series("gaussian", points),), scale=100, x_scale=100)


TRUE = Part("noise of 16 lowers the attack on the digit", lowers, (KEY,), told)
FALSE = Part("noise of 16 raises the attack on the digit", raises, (KEY,))
FAR = Part("the same on faces", absent, (ELSEWHERE,))
CLAIMS = (
    Claim("t1", "Noise hides the digit.", "Figure 1", "yes", "The attack falls.", (TRUE,), ("f1",)),
    Claim("t2", "Noise shows the digit.", "Figure 1", "no", "The attack rises.", (FALSE,), ("f1",)),
    Claim("t3", "Noise does both.", "Figure 1", "yes and no", "It falls and rises.", (TRUE, FALSE)),
    Claim("t4", "Noise hides faces, too.", "Figure 2", "yes", "It falls on both sets.", (TRUE, FAR)),
    Claim("t5", "More noise hides more.", "Figure 3", "yes", "Spearman at most -.5.", (Part("falls", falls, (KEY,)),)),
    Claim("t6", "It costs nothing.", "text", "0", "No byte more.", (Part("bytes", lambda e, a: exactly(1.0), ()),)),
)
FIGURES = (Figure("f1", "Noise against digit", draw, (KEY,), "Each point is a noise."),)
