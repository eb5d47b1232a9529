"""What is run for Singh et al. 2021: data sets in both directions, cuts, and the defenses held against one another."""

from __future__ import annotations

from dataclasses import dataclass

from privet.experiment import Setting
from privet.recipes.claims import Grid, Where
from privet.schedule import Source, Study

CUT = "block3"  # maps in front of the fully connected layers: the deepest cut with channels to prune
EARLIER = ("block1", "block2")


@dataclass(frozen=True)
class Points:
    """The operating points of a grid: shares removed, and what hiding weighs."""

    ratios: tuple[str, ...]
    alphas: tuple[str, ...]


QUICK = Points(("0.75",), ("0.5",))
STANDARD = Points(("0.5", "0.75", "0.9", "0.97"), ("0.1", "0.5", "0.9"))
FULL = Points(("0.25", "0.5", "0.65", "0.75", "0.85", "0.9", "0.95", "0.98"), ("0.1", "0.3", "0.5", "0.7", "0.9"))
POINTS = {"quick": QUICK, "standard": STANDARD, "full": FULL}
ABLATIONS = ("shield=false", "hide=prior", "hide=entropy", "mode=soft", "mode=gumbel", "adversaries=3")
NATS = ("0", "0.1", "0.2", "0.3", "0.4")  # I(y; s) of the people that claim 0h is asked on
MIDDLE = "0.9", "0.5"  # the ratio and the weight at which one thing at a time is changed


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
        limit = self.limit if grid.name == "standard" and not grid.as_published else None
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


def ours(ratio: str, alpha: str, **options: str) -> str:
    """DISCO, spelled."""
    more = "".join(f",{name}={value}" for name, value in options.items())
    return f"disco:ratio={ratio},alpha={alpha}{more}"


def as_published(ratio: str, alpha: str) -> str:
    """The same at the paper's rate."""
    return ours(ratio, alpha, rate="0.01")


def studies(grid: Grid, where: Where) -> dict[str, Study]:
    """For each set the trade-off at the last convolution, and with `whole` sets its rivals, ablations and earlier cuts.

    As published: a ResNet-18, every example, and Adam at 1e-2."""
    found: dict[str, Study] = {}
    points = FULL if grid.as_published else POINTS[grid.name]
    effort = "full" if grid.as_published else grid.effort
    attacks = {
        "quick": ("server_probe", "linear_probe"),
        "standard": ("server_probe", "linear_probe", "mlp_probe", "boosted_trees"),
        "full": (),
    }[grid.name]
    model, cut, earlier = ("resnet18", "layer2", ("layer1", "layer3")) if grid.as_published else ("cnn3", CUT, EARLIER)
    make = as_published if grid.as_published else ours
    for one in (DIGITS,) if grid.name == "quick" and not grid.as_published else SETS[1:]:
        source = one.source(grid, where)

        def study(at: str, defenses: list[str], source: Source = source) -> Study:
            setting = Setting(model, at, attacks=attacks, effort=effort)
            return where.study(source, setting, ("none", *dict.fromkeys(defenses)), grid)

        ratio, alpha = (points.ratios[0], points.alphas[0]) if grid.name == "quick" else MIDDLE
        trade = [make(r, alpha) for r in points.ratios] + [make(ratio, a) for a in points.alphas]
        random = [f"random_channels:ratio={r}" for r in points.ratios]
        found[f"{one.name}/trade"] = study(cut, [*trade, *random])
        if one.whole:
            static = [f"static_channels:ratio={r},alpha={alpha}" for r in points.ratios]
            found[f"{one.name}/rivals"] = study(
                cut,
                [*static, f"channel_l1:ratio={ratio}", f"random_channels:ratio={ratio},draw=fixed", *rivals(points)],
            )
            found[f"{one.name}/ablations"] = study(
                cut, [make(ratio, alpha), *(f"{make(ratio, alpha)},{o}" for o in ABLATIONS)]
            )
            for nats in one.thinned:
                people = one.source(grid, where, nats)
                found[f"{one.name}/{nats} nats"] = study(cut, [make(ratio, alpha)], people)
            for at in earlier if grid.name != "quick" else earlier[:1]:
                found[f"{one.name}/{at}"] = study(at, [make(ratio, alpha), f"random_channels:ratio={ratio}"])
    return found


def rivals(points: Points) -> list[str]:
    """What else is held against it, at the weights of the grid."""
    found = ["matched_noise:drop=2", "shredder", "jpeg", "downsampling"]
    found += [f"adversarial:gamma={a}" for a in points.alphas]
    found += [f"maxent:alpha={a}" for a in points.alphas]
    return [*found, "nopeek", "deep_obfuscator"]
