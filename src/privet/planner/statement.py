"""What a plan says of itself in words, on its page and in the terminal: the choice, what was measured, and what these
numbers do not say."""

from __future__ import annotations

import math

import numpy as np

from privet.auditing.estimate import Estimate
from privet.data.corpus import Corpus
from privet.planner.choosing import Limits
from privet.planner.find import Found
from privet.planner.plan import Plan
from privet.planner.table import AGREES

NOTEWORTHY = 0.5  # dB
MORE = {
    "quick": "From more of both they draw more: where the limit matters, plan with --effort standard.",
    "standard": "From more of both they may draw more, which --effort full gives them.",
}


def lead(plan: Plan) -> str:
    """The choice as a sentence."""
    v = plan.verified
    return (
        f"Run **{counted(plan.layer, 'layer')}** of {plan.source} (up to `{plan.name}`) and release "
        f"**{counted(len(plan.channels), 'channel')}**: **{v.owner.mean:.1f} dB** is what fresh decoders draw of "
        f"private {thing(plan)}s ({interval(v.owner)}; {v.floor.mean:.1f} dB needs no payload), in **{v.ms:.3g} ms** "
        f"a {thing(plan)} and **{v.bytes:,} bytes** of weights."
    )


def cautions(found: Found) -> list[str]:
    """What the numbers do not say."""
    plan, said = found.plan, []
    said.append(
        f"PSNR says how close {'pixels' if plan.verified.pictures else 'values'} are, not what can be recognized: "
        "attributes and identities are audited apart."
    )
    said.append("plan.html names the seed of the plan's channels: like plan.json and edge.onnx it stays with you.")
    if found.limit is not None:
        said.append(
            f"The plan was made from {found.limit:,} people at most (--limit)"
            + (
                ": a release is of everybody, and its decoders have met few."
                if plan.verified.pictures
                else ", and a table's release wants the people of its plan: make it again without, to release all."
            )
        )
    above = plan.verified.owner.mean - plan.predicted.psnr
    if above > max(2 * plan.predicted.std, NOTEWORTHY):
        said.append(
            f"{above:.1f} dB more were drawn than the tables predicted: their decoders learned from fewer people, and "
            "their other figures are likely as low."
        )
    lonely = [name for name, count in _counts(found.corpus) if count == 1]
    if lonely:
        said.append(
            f"Of {' and '.join(map(repr, lonely[:3]))} there is one {thing(plan)} alone: nobody learns that class, and "
            "a release tells whose it is."
        )
    said.append(
        f"Decoders that verified it learned from {plan.verified.public:,} public {thing(plan)}s for at most "
        f"{plan.verified.epochs} epochs. {MORE.get(found.effort, '')}".rstrip()
    )
    said.append("Labels are uploaded in clear with a release; the limit on leakage says nothing of them.")
    if named := [one for one in plan.anonymity if one.named]:
        said.append(
            f"The extractor is no secret: whoever has {counted(named[0].pairs, 'picture')} released, and this pool, "
            f"names the network, the layer and {100 * named[0].rate:.0f} % of the channels. The limit holds for "
            f"decoders that do not know it; attacks that do {_drawn_knowing(plan)}."
        )
    elif plan.anonymity:
        said.append(f"From {counted(plan.anonymity[-1].pairs, 'picture')} the network was not named by its features.")
    measured = sum(row.psnr is not None for row in found.table.rows)
    agreement = found.table.rank_correlation()
    how = (
        "their ranks were not compared, for which these are too few"
        if math.isnan(agreement)
        else f"rank correlation {agreement:.2f}, {AGREES} asked"
    )
    if measured < len(found.table.rows):
        spoke = "the linear decoder alone spoke" if agreement >= AGREES else "nothing was taken"
        said.append(
            f"Networks were trained for {measured} of {len(found.table.rows)} rows of the tables; of the rest {spoke} "
            f"({how})."
        )
    if not agreement >= AGREES:
        said.append(
            f"The linear decoder was not asked about the channels that are released ({how}): the prediction is that of "
            "random ones."
        )
    if plan.kept:
        said.append("The accuracies of the tables are those of whole inner filters; fewer were kept.")
    if plan.limits.psnr is not None and plan.known and plan.known.aware.mean > plan.limits.psnr:
        said.append(
            f"The limit of {plan.limits.psnr:g} dB is NOT kept against whoever knows the network: "
            f"{plan.known.aware.mean:.1f} dB. Take a lower limit, or fewer inner filters (--inner)."
        )
    if plan.verified.accuracy and plan.verified.accuracy.low <= plan.verified.majority:
        said.append(
            "A linear classifier reads no more of the task off these features than the most frequent class says: the "
            "cloud may learn nothing from them."
        )
    if plan.limits.psnr is not None and plan.verified.owner.high > plan.limits.psnr:
        said.append(f"The upper end of the interval is beyond the limit: more private {thing(plan)}s would settle it.")
    if plan.limits.psnr is not None and plan.verified.victims.mean > plan.limits.psnr:
        said.append(
            f"On people met only now it is {plan.verified.victims.mean:.2f} dB ({interval(plan.verified.victims)}), "
            "beyond the limit."
        )
    return said


def measured(plan: Plan) -> list[tuple[str, str, str]]:
    """Name, value, limit of everything that was measured."""
    v, limits = plan.verified, plan.limits
    psnr = f"at most {limits.psnr:g} dB" if limits.psnr is not None else ""
    return [
        (f"Reconstruction, the owner's held-out {thing(plan)}s", _db(v.owner), psnr),
        ("Reconstruction, people met only now", _db(v.victims), psnr),
        *_known_rows(plan),
        (f"Without a payload: the mean {thing(plan)}", f"{v.floor.mean:.2f} dB", ""),
        ("Of the task, by a linear classifier", useful(plan), ""),
        ("Predicted for these channels", f"{plan.predicted.psnr:.2f} dB, deviation {plan.predicted.std:.2f}", ""),
        (f"A {thing(plan)} takes", f"{v.ms:.3g} ms", f"at most {limits.ms:g} ms" if limits.ms is not None else ""),
        ("Weights", f"{v.bytes:,} bytes", f"at most {limits.bytes:,} bytes" if limits.bytes is not None else ""),
        ("Payload", f"{v.payload_bytes:,} bytes", ""),
        ("Multiply-accumulates", f"{v.macs:,}", ""),
        ("Pruned", ", ".join(f"{n} {name}" for name, n in plan.pruned.items()), ""),
    ]


def useful(plan: Plan) -> str:
    """What is left of the task, as a first look."""
    v = plan.verified
    if v.accuracy is None:
        return f"no private {thing(plan)} that was held out carries a label"
    mean, low, high = (100 * getattr(v.accuracy, name) for name in ("mean", "low", "high"))
    return f"{mean:.1f} % ({low:.1f} to {high:.1f}); the most frequent class is {100 * v.majority:.1f} %"


def limits_text(limits: Limits) -> str:
    """The limits in a line."""
    said = []
    if limits.psnr is not None:
        said.append(f"{limits.psnr:g} dB")
    if limits.ms is not None:
        said.append(f"{limits.ms:g} ms")
    if limits.bytes is not None:
        said.append(f"{limits.bytes:,} bytes")
    return ", ".join(said)


def interval(value: Estimate) -> str:
    """Where it lies, in 95 of 100 cases."""
    return f"{value.low:.2f} to {value.high:.2f}"


def thing(plan: Plan) -> str:
    """What the private people are."""
    return "row" if plan.verified.pictures is None else "picture"


def counted(number: int, what: str) -> str:
    """So many of something."""
    return f"one {what}" if number == 1 else f"{number:,} {what}s"


def _counts(corpus: Corpus) -> list[tuple[str, int]]:
    """Each class of the target with the number of its people."""
    y = np.concatenate([part.y for part in corpus.parts.values()])
    return [(name, int((y == number).sum())) for number, name in enumerate(corpus.classes[corpus.target])]


def _drawn_knowing(plan: Plan) -> str:
    if plan.known is None:
        return "may draw much more, which --known measures"
    return f"draw {plan.known.aware.mean:.1f} dB where others draw {plan.known.unaware.mean:.1f}"


def _known_rows(plan: Plan) -> list[tuple[str, str, str]]:
    """What attacks draw that know the extractor, beside those that do not, on the same pictures."""
    if plan.known is None:
        return []
    by = plan.known.by.replace("_", " ")
    return [
        (f"The same by who knows the network ({by})", _db(plan.known.aware), ""),
        ("Those pictures by who does not", _db(plan.known.unaware), ""),
    ]


def _db(value: Estimate) -> str:
    return f"{value.mean:.2f} dB ({interval(value)}, n {value.n:,})"
