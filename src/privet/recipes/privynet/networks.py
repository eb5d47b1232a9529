"""What the claims about networks measure, those that draw and those that stay secret (sections 4 and 5, appendices):
margins that are positive exactly where the paper is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from privet.auditing.estimate import Estimate
from privet.errors import RunError
from privet.planner.table import Row, Table
from privet.recipes.claims import Both
from privet.recipes.evidence import Attacker, Evidence, below, exactly
from privet.recipes.privynet.estimates import (
    Floats,
    difference,
    loss,
    mean_of,
    rate,
    size,
    utility,
)
from privet.recipes.privynet.sizes import HALF
from privet.recipes.privynet.unknown import Width

Figure = Callable[[Row, Attacker], float]
NEAR = 0.5  # dB
SAME_ACCURACY, SAME_DB = 0.02, 0.7


def _halved(evidence: Evidence, data: str, every: bool) -> tuple[Width, Width]:
    """All inner filters, and half of those of the first layer or of every layer."""
    found: list[Width] = evidence.found(f"{data}/widths")
    for one in found:
        first, *rest = one.shares
        if first == HALF and all(share == (HALF if every else 1.0) for share in rest):
            return found[0], one
    raise RunError(f"{data}: no width leaves half of the filters of {'every' if every else 'the first'} layer out")


def unharmed(data: str, figure: str, every: bool = False) -> Both:
    """Figures 14 and 15: without half of the first (or every) inner layer's filters accuracy changes by two points,
    PSNR by .7 dB at most."""
    of, limit = (loss, SAME_DB) if figure == "psnr" else (utility, SAME_ACCURACY)

    def values(evidence: Evidence, attacker: Attacker) -> list[Floats]:
        return [np.array([of(row, attacker) for row in one.table.rows]) for one in _halved(evidence, data, every)]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        whole, half = values(evidence, attacker)
        return below(size(mean_of((half - whole).tolist())), limit)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        whole, half = values(evidence, attacker)
        if figure == "psnr":
            return f"{half.mean():.2f} dB instead of {whole.mean():.2f}"
        return f"{100 * half.mean():.1f} % instead of {100 * whole.mean():.1f}"

    return measure, tell


def faster(data: str, every: bool = False) -> Both:
    """Figure 15: half of the first (or every) inner layer's filters save a fifth of the time."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        whole, half = _halved(evidence, data, every)
        return mean_of([0.8 - a / b for a, b in zip(half.ms, whole.ms, strict=True)])

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        whole, half = _halved(evidence, data, every)
        return (
            f"{np.median(half.ms):.2f} ms instead of {np.median(whole.ms):.2f}, {half.macs / 1e6:.1f} million "
            f"multiply-accumulates instead of {whole.macs / 1e6:.1f}"
        )

    return measure, tell


def harder_to_guess(data: str, every: bool = False) -> Both:
    """Figure 14's promise: with half of the first (or every) inner layer's filters fewer channels are identified from
    ten pictures."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        whole, half = _halved(evidence, data, every)
        return difference(rate(whole.rates), rate(half.rates))

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        found: list[Width] = evidence.found(f"{data}/widths")
        said = [f"{'/'.join(f'{s:g}' for s in one.shares)} {100 * np.mean(one.rates):.0f} %" for one in found]
        return f"channels identified by width: {'; '.join(said)}"

    return measure, tell


def saturates(data: str, gains: bool) -> Both:
    """Figure 19: the second cluster of the reconstruction network gains something; it gains more than the third."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        one, two, three = (np.array([loss(r, "published") for r in t.rows]) for t in _clusters(evidence, data).values())
        return mean_of((two - one if gains else (two - one) - (three - two)).tolist())

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        made = {n: np.mean([loss(r, "published") for r in t.rows]) for n, t in _clusters(evidence, data).items()}
        return "; ".join(f"{n} cluster{'s' if n > 1 else ''} {v:.2f} dB" for n, v in made.items())

    return measure, tell


def _clusters(evidence: Evidence, data: str) -> dict[int, Table]:
    made: dict[int, Table] = evidence.found(f"{data}/clusters")
    return made


def dominates(what: str) -> Both:
    """Figure 20: convolutions take most of the time (ms), dense layers most of the storage (bytes), at every size of
    the picture: the least share, above a half."""
    of = "conv" if what == "ms" else "fc"

    def per_side(evidence: Evidence) -> dict[int, float]:
        sides: dict[str, list[dict[str, Any]]] = evidence.found("vgg16/cost")["sides"]
        return {
            int(side): sum(r[what] for r in rows if r["block"].startswith(of)) / sum(r[what] for r in rows)
            for side, rows in sides.items()
        }

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return exactly(min(per_side(evidence).values()) - 0.5)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        return "; ".join(f"{side} px {100 * share:.1f} %" for side, share in per_side(evidence).items())

    return measure, tell


def dense_grows() -> Both:
    """Figure 20: the share of the dense layers in the storage grows with the picture."""
    shares_of = dominates("bytes")

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        sides: dict[str, list[dict[str, Any]]] = evidence.found("vgg16/cost")["sides"]
        found = [sum(r["bytes"] for r in rows if r["block"] == "fc") / sum(r["bytes"] for r in rows)
                 for _, rows in sorted(sides.items(), key=lambda pair: int(pair[0]))]  # fmt: skip
        return exactly(float(np.diff(found).min()))

    return measure, shares_of[1]


def grows_as(what: str, most: float) -> Both:
    """Appendix E: the time of Fisher's criterion grows at most with this power."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return below(mean_of(evidence.found("fisher/cost")[what]), most)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        return f"exponent {np.mean(evidence.found('fisher/cost')[what]):.2f}"

    return measure, tell


def anonymous(data: str, share: float, pictures: int) -> Both:
    """Section 4: who may have so many pictures released does not name network, layer and most channels, with this share
    of the inner filters: the rate of identified channels stays below a half."""

    def rates(evidence: Evidence) -> list[float]:
        draws: list[list[dict[str, Any]]] = evidence.found(f"{data}/guesses")[share]
        return [one["rate"] for draw in draws for one in draw if one["pairs"] == pictures]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        found = rates(evidence)
        if not found:
            raise RunError(f"{data}: there are no {pictures:,} pictures to be released")
        return below(rate(found), 0.5)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        draws: list[list[dict[str, Any]]] = evidence.found(f"{data}/guesses")[share]
        named = [one["named"] for draw in draws for one in draw if one["pairs"] == pictures]
        share_of = 100 * np.mean(rates(evidence))
        return (
            f"by comparing maps, network and layer named in {sum(named)} of {len(named)} draws, {share_of:.0f} % of "
            "channels"
        )

    return measure, tell


def knowing_helps_not(data: str, which: int) -> Both:
    """Section 4: who knows the extractor (which: 0 the shallowest layer, 1 the deepest) draws no better, within .5 dB,
    than who does not."""

    def told(evidence: Evidence) -> tuple[int, dict[str, Any]]:
        made: dict[int, dict[str, Any]] = evidence.found(f"{data}/known")
        layer = sorted(made)[which if len(made) > 1 else 0]
        return layer, made[layer]

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return below(Estimate(**told(evidence)[1]["gain"]), NEAR)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        layer, found = told(evidence)
        return (
            f"layer {layer}: {found['aware']['mean']:.2f} dB by {found['by'].replace('_', ' ')}, "
            f"{found['unaware']['mean']:.2f} dB by who does not know the network"
        )

    return measure, tell
