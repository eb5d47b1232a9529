"""The page of a plan: what was chosen and measured, pictures that were drawn from it, and the tables behind it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from privet import run
from privet.auditing.estimate import Estimate
from privet.data.corpus import Corpus
from privet.planner.choosing import Candidate, Limits
from privet.planner.find import Found
from privet.planner.pareto import Compared
from privet.planner.plan import Plan
from privet.planner.table import AGREES, Cell
from privet.report import chart, pages
from privet.report.chart import Chart, Point, Series
from privet.report.sections import png

NOTEWORTHY = 0.5  # dB


def write(found: Found, command: str, path: Path) -> Path:
    """Write the page, whole or not at all, for the owner's eyes alone: it shows private pictures."""
    run.write_text(path, render(found, command), mode=0o600)
    return path


def render(found: Found, command: str) -> str:
    """The page, self-contained."""
    plan, cells = found.plan, [c for c in found.table.smoothed() if c.source == found.plan.source]
    return pages.render(
        "plan.html.j2",
        title=f"{found.corpus.name}: a local network for {found.corpus.target}",
        eyebrow="Privet plan",
        facts=[
            ("Limits", limits_text(plan.limits)),
            ("Network", plan.source),
            ("Device", f"{plan.device}{'' if plan.verified.ms_here else ' (from its profile)'}"),
            (f"Public {thing(plan)}s", f"{found.table.rows[0].pictures:,}"),
        ],
        lead=lead(plan),
        cautions=cautions(found),
        figures=figures(plan, cells),
        measured=measured(plan),
        pictures=_pictures(plan),
        cells=[_cell(c, plan) for c in sorted(cells, key=lambda c: (c.layer, c.depth))],
        tried=[_tried(one) for one in plan.tried],
        strategies=[_compared(one, plan) for one in plan.compared],
        strategies_told=strategies_told(plan),
        refused=list(found.refused.items()),
        commands=[("The plan again; what is in the tables is not measured again:", command)],
        versions=list(run.versions().items()),
    )


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
        f"{plan.verified.epochs} epochs. From more of both they may draw more, which a larger --effort gives them."
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
        said.append("The upper end of the interval is beyond the limit: more private pictures would settle it.")
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


def figures(plan: Plan, cells: list[Cell]) -> list[tuple[str, str, str]]:
    """Title, drawing and caption of each figure."""
    levels = (("limit", plan.limits.psnr),) if plan.limits.psnr is not None else ()
    depths = sorted({c.depth for c in cells})
    leak = Chart(
        "layers on the device", "privacy loss, dB",
        tuple(
            Series(f"{d} channels", tuple(Point(c.layer, c.psnr, f"{d} channels") for c in cells if c.depth == d))
            for d in depths
        ),
        levels,
    )  # fmt: skip
    trade = Chart(
        "privacy loss, dB", "accuracy, %",
        tuple(
            Series(
                f"layer {m}",
                tuple(Point(c.psnr, c.accuracy, f"{c.depth} channels") for c in cells if c.layer == m),
            )
            for m in sorted({c.layer for c in cells})
        ),
        scale=100,
    )  # fmt: skip
    picks = (("the paper's", [one.paper for one in plan.compared]), ("Pareto", [one.pareto for one in plan.compared]))
    strategies = Chart(
        "limit, dB", "accuracy by the tables, %",
        tuple(
            Series(
                name,
                tuple(
                    Point(one.limit, c.accuracy, _named(c))
                    for one, c in zip(plan.compared, chosen, strict=True)
                    if c and c.accuracy == c.accuracy
                ),
            )
            for name, chosen in picks
        ),
        scale=100,
    )  # fmt: skip
    released = set(plan.channels)
    fisher, psnr = plan.scores.get("fisher", []), plan.scores.get("psnr", [])
    points = [(i, p, j) for i, (p, j) in enumerate(zip(psnr, fisher, strict=True)) if j > 0]
    channels = Chart(
        "a channel alone, dB by a linear decoder", "Fisher's criterion",
        (
            Series("released", tuple(Point(p, j, f"channel {i}") for i, p, j in points if i in released), False),
            Series("kept back", tuple(Point(p, j, f"channel {i}") for i, p, j in points if i not in released), False),
        ),
    )  # fmt: skip
    drawn = [("What layers and channels leak", leak, "Deeper layers and fewer channels leak less.")]
    if all(c.accuracy == c.accuracy for c in cells):
        drawn.append(
            ("What is paid for it", trade, "Left leaks less; high is more useful. Points of a line are depths.")
        )
    if any(one.gain is not None for one in plan.compared):
        told = "By the tables, not verified; the section Strategies says how much of the difference is noise."
        drawn.append(("What each strategy would give at each limit", strategies, told))
    if points:
        drawn.append(
            ("Which channels", channels, "Of those that say much of the task and draw little, some at random.")
        )
    return [(name, chart.svg(made, name), told) for name, made, told in drawn]


def strategies_told(plan: Plan) -> str:
    """What the comparison of strategies says, with what of it is noise."""
    both = [(c.gain, c.pareto.ms - c.paper.ms) for c in plan.compared if c.gain is not None and c.paper and c.pareto]
    if not both:
        return "No limit of this range lets both strategies take something whose accuracy is known."
    gains = [gain for gain, _ in both]
    said = (
        f"By the tables, Pareto's choice is more accurate by {100 * sum(gains) / len(gains):.1f} points on average "
        f"over {len(gains)} limits and by {100 * max(gains):.1f} at most, and takes "
        f"{sum(ms for _, ms in both) / len(both):.2f} ms more; this plan was made by the strategy {plan.strategy}."
    )
    if plan.accuracy_deviation is None:
        return f"{said} How far draws of channels lie apart is not known: the tables hold one of each."
    noise = sum(0 < gain < plan.accuracy_deviation for gain in gains)
    return (
        f"{said} Draws of channels of one layer and depth lie {100 * plan.accuracy_deviation:.1f} points apart "
        f"(standard deviation): {noise} of the {len(gains)} differences are smaller, which is noise, and "
        f"{sum(gain == 0 for gain in gains)} are none. Whoever takes the largest of many figures takes luck with them: "
        "expect less than stands here."
    )


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


def _counts(corpus: Corpus) -> list[tuple[str, int]]:
    """Each class of the target with the number of its people."""
    y = np.concatenate([part.y for part in corpus.parts.values()])
    return [(name, int((y == number).sum())) for number, name in enumerate(corpus.classes[corpus.target])]


def thing(plan: Plan) -> str:
    """What the private people are."""
    return "row" if plan.verified.pictures is None else "picture"


def counted(number: int, what: str) -> str:
    """So many of something."""
    return f"one {what}" if number == 1 else f"{number:,} {what}s"


def _db(value: Estimate) -> str:
    return f"{value.mean:.2f} dB ({interval(value)}, n {value.n:,})"


def _pictures(plan: Plan) -> dict[str, Any] | None:
    if plan.verified.pictures is None:
        return None
    originals, drawn = plan.verified.pictures
    return {"originals": [png(x) for x in originals], "drawn": [png(x) for x in drawn], "by": plan.verified.by}


def _cell(cell: Cell, plan: Plan) -> dict[str, Any]:
    return {
        "layer": cell.layer, "depth": cell.depth, "psnr": f"{cell.psnr:.1f}", "std": f"{cell.std:.2f}",
        "accuracy": f"{100 * cell.accuracy:.1f}" if cell.accuracy == cell.accuracy else "",
        "draws": cell.draws, "measured": cell.measured, "best": cell.layer == plan.layer,
    }  # fmt: skip


def _compared(one: Compared, plan: Plan) -> dict[str, Any]:
    gain, noise = one.gain, plan.accuracy_deviation
    return {
        "limit": f"{one.limit:g}",
        "picks": [_pick(one.paper), _pick(one.pareto)],
        "gain": "" if gain is None else f"{100 * gain:.1f}",
        "real": gain is not None and noise is not None and gain >= noise,
    }


def _pick(choice: Candidate | None) -> dict[str, str]:
    if choice is None:
        return {"what": "nothing", "accuracy": "", "ms": ""}
    known = choice.accuracy == choice.accuracy
    return {
        "what": _named(choice), "accuracy": f"{100 * choice.accuracy:.1f}" if known else "", "ms": f"{choice.ms:.3g}"
    }  # fmt: skip


def _named(choice: Candidate) -> str:
    return f"layer {choice.layer}, {choice.depth} channels"


def _tried(one: dict[str, Any]) -> str:
    kept = "keeps the limits" if one["kept"] else "does not keep the limits"
    return (
        f"layer {one['layer']} of {one['source']}, {one['depth']} channels: {one['psnr']:.2f} dB, {one['ms']:.3g} ms, "
        f"{one['bytes']:,} bytes, {kept}"
    )
