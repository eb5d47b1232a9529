"""The page of a plan: what was chosen and measured, pictures that were drawn from it, and the tables behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from privet import run
from privet.planner.choosing import Candidate
from privet.planner.figures import figures, named
from privet.planner.find import Found
from privet.planner.pareto import Compared
from privet.planner.plan import Plan
from privet.planner.statement import cautions, counted, lead, limits_text, measured, thing
from privet.planner.table import Cell
from privet.report import pages
from privet.report.sections import png


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
        thing=thing(plan),
        strategies=[_compared(one, plan) for one in plan.compared],
        strategies_told=strategies_told(plan),
        refused=list(found.refused.items()),
        commands=[("The plan again; what is in the tables is not measured again:", command)],
        versions=list(run.versions().items()),
    )


def strategies_told(plan: Plan) -> str:
    """What the comparison of strategies says, with what of it is noise."""
    both = [(c.gain, c.pareto.ms - c.paper.ms) for c in plan.compared if c.gain is not None and c.paper and c.pareto]
    if not both:
        return "No limit of this range lets both strategies take something whose accuracy is known."
    gains = [gain for gain, _ in both]
    if all(c.paper == c.pareto for c in plan.compared):
        return "By the tables both strategies take the same at every limit."
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
        "what": named(choice), "accuracy": f"{100 * choice.accuracy:.1f}" if known else "", "ms": f"{choice.ms:.3g}"
    }  # fmt: skip


def _tried(one: dict[str, Any]) -> str:
    kept = "keeps the limits" if one["kept"] else "does not keep the limits"
    return (
        f"layer {one['layer']} of {one['source']}, {counted(one['depth'], 'channel')}: {one['psnr']:.2f} dB, "
        f"{one['ms']:.3g} ms, {one['bytes']:,} bytes, {kept}"
    )
