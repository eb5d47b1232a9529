"""What is run for Samragh et al. 2021: data sets, cuts, defenses and the studies made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from privet.recipes.claims import Grid, Where
from privet.schedule import Source, Study
from privet.setting import Setting

CUTS = {"block1": 2, "block2": 3, "flatten": 4, "fc1": 5}  # a cut and the paper's number of the layer behind it
FC1, FC2 = "flatten", "fc1"
FREE = "signal_content:keep=free,order=singular"
ONE = "signal_content:keep=1,order=singular"
PLAINLY = "none of the three"  # as many epochs of plain training
TRAINING = "content_training"
ABLATIONS = {
    "no removal": "content_training:removal=false",
    "no decorrelation": "content_training:decorrelate=0",
    "no variational part": "content_training:variational=0",
    PLAINLY: "content_training:removal=false,decorrelate=0,variational=0",
}


@dataclass(frozen=True)
class Points:
    """The operating points of a grid: coefficients and features kept, weights of the adversary."""

    kept: tuple[str, ...]
    features: tuple[str, ...]
    gammas: tuple[str, ...]


QUICK = Points(("1", "4", "free"), ("1", "4", "16"), ("0.1", "1"))
STANDARD = Points(("1", "4", "16", "free"), ("1", "4", "16", "64"), ("0.1", "0.3", "1"))
FULL = Points(
    ("1", "2", "4", "8", "16", "32", "free"),
    ("1", "2", "4", "8", "16", "32", "64"),
    tuple(f"{g / 10:g}" for g in range(1, 11)),
)
POINTS = {"quick": QUICK, "standard": STANDARD, "full": FULL}


@dataclass(frozen=True)
class Set:
    """A data set as the paper uses one: its hidden attributes, those correlated with the target among them, and how
    many examples the largest part has at `standard`."""

    name: str
    target: str
    hidden: tuple[str, ...]
    limit: int | None = None
    resize: str | None = None
    published_resize: str | None = None
    top: str | None = None
    correlated: tuple[str, ...] = ()
    cuts: tuple[str, ...] = tuple(CUTS)
    ablations: tuple[str, ...] = tuple(ABLATIONS)

    def source(self, grid: Grid, where: Where) -> Source:
        limit = self.limit if grid.name == "standard" and not grid.as_published else None
        resize = self.published_resize if grid.as_published else self.resize
        if self.name == "digits":
            return Source("digits", limit=400)
        return Source(where.place(self.name), self.target, self.hidden, resize=resize, limit=limit, top=self.top)


DIGITS = Set("digits", "parity", ("digit",), cuts=("block2", FC1, FC2), ablations=("no removal", PLAINLY))
UTKFACE = Set("utkface", "gender", ("race", "age_group"), 3000)
QMNIST = Set("qmnist", "digit", ("writer",), None, top="writer=100")
CELEBA = Set(
    "celeba_attr",
    "smiling",
    ("male", "heavy_makeup", "high_cheekbones", "mouth_slightly_open", "wearing_lipstick", "attractive"),
    2500,
    published_resize="73x60",
    correlated=("high_cheekbones", "mouth_slightly_open"),
)
IDENTITY = Set("celeba_id", "gender", ("identity",))
SETS = (DIGITS, UTKFACE, QMNIST, CELEBA, IDENTITY)


def paper_method(kept: str) -> str:
    """The paper's obfuscator: singular order around zero."""
    return f"signal_content:keep={kept},order=singular"


def ours(kept: str) -> str:
    """The same on our default order, around the training mean."""
    return f"signal_content:keep={kept}"


def adversarial(gamma: str, hidden: str) -> str:
    """Adversarial training against one attribute (Eq. 3)."""
    return f"adversarial:gamma={gamma},attribute={hidden}"


def supervised(gamma: str, hidden: str) -> tuple[str, str]:
    """Learned noise (Eq. 1) and the information bottleneck (Eq. 2) against one attribute."""
    return (
        f"supervised_noise:gamma={gamma},attribute={hidden}",
        f"information_bottleneck:gamma={gamma},attribute={hidden}",
    )


def studies(grid: Grid, where: Where) -> dict[str, Study]:
    """The cuts with the paper's training, the same cut without it and its rivals, and the ablations of the training.

    As published: every example, CelebA at 73x60, 50 epochs of Adam, the whole grid, and the paper's adversary alone."""
    found: dict[str, Study] = {}
    points = FULL if grid.as_published else POINTS[grid.name]
    effort = "full" if grid.as_published else grid.effort
    attacks = (
        ("server_probe",)
        if grid.as_published
        else {
            "quick": ("server_probe", "linear_probe"),
            "standard": ("server_probe", "linear_probe", "mlp_probe", "boosted_trees"),
            "full": (),
        }[grid.name]
    )
    for one in (DIGITS,) if grid.name == "quick" and not grid.as_published else SETS[1:]:
        source = one.source(grid, where)

        def study(at: str, training: str | None, defenses: Sequence[str], source: Source = source) -> Study:
            setting = Setting("cnn3", at, attacks=attacks, effort=effort, training=training)
            return where.study(source, setting, ("none", *defenses), grid)

        for cut in one.cuts:
            pruned = [f"feature_l1:keep={k}" for k in points.features] if cut == FC1 else []
            found[f"{one.name}/{cut}"] = study(cut, TRAINING, [*map(paper_method, points.kept), *pruned])
        own = one.hidden[0]
        rivals = [adversarial(g, own) for g in points.gammas]
        rivals += [text for g in points.gammas for text in supervised(g, own)]
        rivals += [f"feature_l1:keep={k}" for k in points.features]
        rivals += ["autoencoder:keep=4", "linear_split", "one_more_layer"]
        found[f"{one.name}/plain"] = study(FC1, None, [*map(ours, points.kept), *rivals])
        for name in one.ablations:
            found[f"{one.name}/{name}"] = study(FC1, ABLATIONS[name], [ONE])
    return found
