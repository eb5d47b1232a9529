"""What is run for Singh et al. 2021: data sets in both directions, cuts, and the defenses held against one another.

Every method with a trade-off has as many operating points as DISCO has ratios; adversarial methods, which prune
nothing, have weights in their place. `disco` with alpha=0 is the control of every study: pruning, and training behind
it, without a word about hiding."""

from __future__ import annotations

from dataclasses import dataclass

from privet.recipes.claims import Grid, Where
from privet.schedule import Source, Study
from privet.setting import Setting

CUT = "block3"  # maps in front of the fully connected layers: the deepest cut with channels to prune
EARLIER = ("block1", "block2")


@dataclass(frozen=True)
class Points:
    """The operating points of a grid: shares removed at equal alpha, alphas at an equal share, and as many weights of
    adversarial methods as shares."""

    ratios: tuple[str, ...]
    alphas: tuple[str, ...]
    gammas: tuple[str, ...]


QUICK = Points(("0.75",), (), ("1",))
STANDARD = Points(("0.5", "0.75", "0.9", "0.97"), ("0.1", "0.9"), ("0.1", "0.5", "1", "3"))
FULL = Points(
    ("0.25", "0.5", "0.65", "0.75", "0.85", "0.9", "0.95", "0.98"), ("0.1", "0.3", "0.7", "0.9"),
    ("0.05", "0.1", "0.25", "0.5", "1", "2", "4", "9"),
)  # fmt: skip
POINTS = {"quick": QUICK, "standard": STANDARD, "full": FULL}
ALPHA, MIDDLE = "0.5", "0.9"  # where one thing at a time is changed
ABLATIONS = (
    "shield=false", "through=true", "hide=prior", "hide=entropy", "mode=soft", "mode=gumbel", "adversaries=3",
    "learn=false", "temperature=0.0333",
)  # fmt: skip
NATS = ("0", "0.1", "0.2", "0.3", "0.4")  # I(y; s) of the people that claim 0h is asked on
ALONE = "adversarial:gamma=0"  # the paper's adversary on raw z: trained beside a network that hears nothing of it


@dataclass(frozen=True)
class Set:
    """A data set with its target and the attribute to hide; `name` is that of the study, `folder` of the data."""

    name: str
    folder: str
    target: str
    hidden: str
    limit: int | None = None
    whole: bool = True  # with every baseline and ablation, not the trade-off alone
    thinned: tuple[str, ...] = ()  # the dependences, in nats, that its examples are thinned to

    def source(self, grid: Grid, where: Where, nats: str | None = None) -> Source:
        if self.folder == "digits":
            return Source("digits", limit=400)
        # Thinned people are equally many at every dependence, whatever the grid.
        limit = self.limit if nats is not None or (grid.name == "standard" and not grid.as_published) else None
        dependence = None if nats is None else f"{self.hidden}={nats}"
        return Source(where.place(self.folder), self.target, (self.hidden,), limit=limit, dependence=dependence)


DIGITS = Set("digits", "digits", "parity", "digit")
UTKFACE = Set("utkface", "utkface", "gender", "race", 3000, thinned=NATS)
SWAPPED = Set("utkface-swapped", "utkface", "race", "gender", 3000, whole=False)
CELEBA = Set("celeba_attr", "celeba_attr", "smiling", "male", 2500, whole=False)
CIFAR = Set("cifar10", "cifar10", "animal", "label", 3000, whole=False)
SETS = (DIGITS, UTKFACE, SWAPPED, CELEBA, CIFAR)
STRAIGHT = (DIGITS, UTKFACE, CELEBA, CIFAR)
WHOLE = tuple(s for s in SETS if s.whole)
FIRST = (*WHOLE, CIFAR)  # Figure 3


@dataclass(frozen=True)
class Spelling:
    """How the methods that learn a choice are spelled: as they come, or at the paper's rate and temperature."""

    more: str = ""

    def disco(self, ratio: str, alpha: str = ALPHA) -> str:
        return f"disco:ratio={ratio},alpha={alpha}{self.more}"

    def static(self, ratio: str) -> str:
        return f"static_channels:ratio={ratio},alpha={ALPHA}{self.more}"


def studies(grid: Grid, where: Where) -> dict[str, Study]:
    """For each set the trade-off at the last convolution with its control, and with `whole` sets rivals, ablations and
    the cuts around.

    As published: a ResNet-18, every example, Adam at 1e-2 and a temperature of 1/30."""
    found: dict[str, Study] = {}
    points = FULL if grid.as_published else POINTS[grid.name]
    effort = "full" if grid.as_published else grid.effort
    attacks = {
        "quick": ("server_probe", "linear_probe"),
        "standard": ("server_probe", "linear_probe", "mlp_probe", "boosted_trees"),
        "full": (),
    }[grid.name]
    model, cut, around = ("resnet18", "layer2", ("layer1", "layer3")) if grid.as_published else ("cnn3", CUT, EARLIER)
    spelled = Spelling(",rate=0.01,temperature=0.0333" if grid.as_published else "")
    ratio = points.ratios[0] if grid.name == "quick" else MIDDLE
    for one in (DIGITS,) if grid.name == "quick" and not grid.as_published else SETS[1:]:
        source = one.source(grid, where)

        def study(at: str, defenses: list[str], source: Source = source) -> Study:
            setting = Setting(model, at, attacks=attacks, effort=effort)
            return where.study(source, setting, ("none", *dict.fromkeys(defenses)), grid)

        found[f"{one.name}/trade"] = study(cut, [*trade(points, spelled, ratio), "label_only"])
        if one.whole:
            found[f"{one.name}/rivals"] = study(cut, rivals(points, spelled, ratio))
            ours = spelled.disco(ratio)
            changed = [f"{ours},{o}" for o in ABLATIONS if "=" not in spelled.more or not o.startswith("temperature")]
            found[f"{one.name}/ablations"] = study(cut, [ours, *changed])
            for nats in one.thinned:
                found[f"{one.name}/{nats} nats"] = study(cut, [ours], one.source(grid, where, nats))
            for number, at in enumerate(around if grid.name != "quick" else around[:1], start=1):
                both = f"random_channels:ratio={ratio},train=both"
                found[f"{one.name}/cut {number}"] = study(at, [ours, spelled.disco(ratio, "0"), both])
    return found


def trade(points: Points, spelled: Spelling, ratio: str) -> list[str]:
    """DISCO over shares and weights, its control, and random pruning with both halves trained."""
    learned = [spelled.disco(r) for r in points.ratios] + [spelled.disco(ratio, a) for a in points.alphas]
    control = [spelled.disco(r, "0") for r in points.ratios]
    return [*learned, *control, *(f"random_channels:ratio={r},train=both" for r in points.ratios), ALONE]


def rivals(points: Points, spelled: Spelling, ratio: str) -> list[str]:
    """What else is held against it."""
    found = [spelled.static(r) for r in points.ratios]
    found += [f"adversarial:gamma={g}" for g in points.gammas] + [f"maxent:alpha={g}" for g in points.gammas]
    found += [f"channel_l1:ratio={ratio}", f"random_channels:ratio={ratio}"]
    found += [f"random_channels:ratio={ratio},draw=fixed", "matched_noise:drop=2", "shredder", "nopeek"]
    return [*found, "deep_obfuscator", "jpeg", "downsampling", "coin_flip"]
