"""By group: the section of the page that says who is served worse and who is exposed, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from privet.auditing.estimate import Estimate
from privet.report import bars, words
from privet.report.bars import Lane
from privet.report.groups import Analysis, Beside, Group
from privet.report.sections import Cell, cell
from privet.report.sides import SURE
from privet.report.view import DEFENSES, Variant, View

MOST = 12  # groups that are drawn and listed; the JSON lines hold all
TOLD, DRAWN = 3, 6  # defenses that are told in a sentence, and those drawn group by group


def by_group(view: View) -> list[dict[str, Any]]:
    """One entry per hidden attribute that was attacked, in the order of the page."""
    found: dict[tuple[str, str], Analysis] = {(a.attribute, a.defense): a for a in view.results.groups}
    entries = []
    for attribute in view.attributes:
        pairs = [(v, found[attribute, v.defense]) for v in view.variants if (attribute, v.defense) in found]
        if pairs:
            raw = found.get((attribute, view.results.defenses[0]), pairs[0][1])
            defended = [(v, a) for v, a in pairs if v.defense != view.results.defenses[0]]
            entries.append(
                {
                    "name": view.name(attribute),
                    "broken": attribute in view.failed,
                    "answered": any(a.worst for _, a in pairs),
                    "odds": any(a.odds for _, a in pairs),
                    "lines": [_line(v, a, a is raw) for v, a in pairs],
                    "doubts": [s for v, a in pairs if (s := collapse(view, v, a))],
                    "said": [s for v, a in (defended or pairs)[:TOLD] if (s := story(view, v, a))],
                    "details": [_detail(view, v, a, raw) for v, a in (defended or pairs)[:DRAWN]],
                    "undrawn": max(0, len(defended) - DRAWN),
                    "notes": raw.notes,
                }
            )
    return entries


def story(view: View, variant: Variant, found: Analysis) -> str:
    """Who is served worst and who is most exposed, and what of it is luck or was so without a defense."""
    said, reference = f"{view.who(variant)} ", variant.index == 0
    if found.worst is None or found.gap is None:
        return ""
    value, gap = words.number("accuracy", found.worst.value.mean), found.gap
    said += f"{view.name(view.target)} is least often right for {found.worst.groups[0]} ({value}), "
    lucky = gap.chance is not None and gap.value.mean <= gap.chance
    said += f"{'' if lucky else '**'}{_points(gap.value.mean)} points{'' if lucky else '**'} below {gap.groups[-1]}"
    if gap.chance is not None:
        said += f", {'no more' if lucky else 'more'} than the {_points(gap.chance)} that luck gives"
    said += "." if reference else f"; {_compared(view, gap)}."
    if found.exposure is None or found.attribute in view.failed:
        return said
    most = found.exposure
    said += f" Most exposed is {most.groups[0]}, named **{_points(most.value.mean)} points** more often than among all"
    return said + ("." if reference else f"; {_compared(view, most)}.")


def _compared(view: View, found: Beside) -> str:
    """What the line changed, claimed where the paired interval excludes zero."""
    change = found.change
    span = f"({words.interval('accuracy', change)})"
    if change.low <= 0 <= change.high:
        return f"the {view.terms.line} is not shown to change that {span}"
    return (
        f"{_points(abs(change.mean))} points {'more' if change.mean > 0 else 'less'} than {view.terms.without} {span}"
    )


def _points(value: float) -> str:
    return words.figure("accuracy", value)


def collapse(view: View, variant: Variant, found: Analysis) -> str:
    """A collapsed adversary in a sentence, empty where it did not."""
    if not found.collapsed:
        return ""
    seeds = "" if found.collapsed_seeds == found.seeds else f" with {found.collapsed_seeds} of {found.seeds} seeds"
    share = next((g.rate for g in found.groups if g.name == found.collapsed), None)
    named = f" for {words.number('accuracy', share.mean, 0)} of the people" if share else ""
    told = (
        f"**Collapsed adversary.** {view.who(variant)} the attack names {found.collapsed}{named}{seeds}: that it is "
        "right about nearly all of them exposes nobody, and that it is wrong about the others hides nobody."
    )
    raw = found.undefended_collapsed
    return told + (
        f" {view.terms.without[:1].upper() + view.terms.without[1:]} it names {raw} as often."
        if raw and variant.index
        else ""
    )


def _line(variant: Variant, found: Analysis, is_raw: bool) -> dict[str, Any]:
    pairs = [("worst", found.worst), ("gap", found.gap), ("odds", found.odds), ("exposure", found.exposure)]
    return {
        "label": variant.label,
        "attack": found.attack,
        "collapsed": bool(found.collapsed),
        "p": Cell(words.DASH if found.p_value is None else _p(found.p_value), "", found.p_value or 0.0),
        "figures": {name: _figure(name, beside, is_raw) for name, beside in pairs},
    }


def _figure(name: str, found: Beside | None, is_raw: bool) -> dict[str, Any]:
    if found is None:
        return {"value": cell("accuracy", None), "who": "", "chance": "", "change": cell("accuracy", None)}
    value = cell("accuracy", found.value) if name == "worst" else points(found.value)
    who = f" {words.DASH} ".join(words.shorten(g, 18) for g in found.groups)
    of = f", {found.of.upper()}" if name == "odds" else ""
    return {
        "value": value,
        "who": who + of,
        "chance": "" if found.chance is None else f"luck: up to {words.figure('accuracy', found.chance)}",
        "change": Cell(words.DASH, sort=0.0) if is_raw else points(found.change, signed=True),
    }


def points(estimate: Estimate | None, *, signed: bool = False) -> Cell:
    """A difference of rates in points, its interval beneath."""
    if estimate is None:
        return cell("accuracy", None)
    text = words.figure("accuracy", estimate.mean)
    sign = "+" if signed and not text.startswith(words.MINUS) else ""
    return Cell(sign + text, words.interval("accuracy", estimate), estimate.mean)


def _p(value: float) -> str:
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _detail(view: View, variant: Variant, found: Analysis, raw: Analysis) -> dict[str, Any]:
    keep = sorted(sorted(range(len(found.groups)), key=lambda i: -found.groups[i].people)[:MOST])
    mine, theirs = ([a.groups[i] for i in keep] for a in (found, raw))
    label = "" if found is raw else variant.label
    name, target = view.name(found.attribute), view.name(view.target)
    pairs = list(zip(mine, theirs, strict=True))
    return {
        "label": variant.label,
        "attack": found.attack,
        "recall": attacked(pairs, name, label, view.terms.base),
        "accuracy": answered(pairs, name, target, label, view.terms.base)
        if view.target and view.utility(variant)
        else "",
        "matrices": [
            (who, bars.matrix([g.name for g in mine], _some(a.confusion, keep), [g.people for g in mine], title))
            for who, a, title in _matrices(variant, found, raw, name, view.terms.base)
        ],
        "positive": found.positive,
        "lines": [_row(g, found is raw) for g in mine],
        "more": len(found.groups) - len(keep),
    }


def attacked(pairs: Sequence[tuple[Group, Group]], name: str, label: str, base: str = DEFENSES.base) -> str:
    """Recall of the attack, group by group, over that of the `base` (no such bars where `label` is empty): SVG."""
    lanes = [
        Lane(g.name, g.people, g.recall, b.recall, _mean(g.rate), _mean(b.rate), _told(g, b, "recall", label, base))
        for g, b in pairs
    ]
    mark = "share of all people for whom it is named"
    return bars.bars(lanes, f"Recall of the attack on {name}, %", label, kind="leak", mark=mark, base=base)


def answered(
    pairs: Sequence[tuple[Group, Group]], name: str, target: str, label: str, base: str = DEFENSES.base
) -> str:
    """Accuracy of the target, group by group, over that of the `base`: SVG."""
    lanes = [
        Lane(g.name, g.people, g.accuracy, b.accuracy, told=_told(g, b, "accuracy", label, base)) for g, b in pairs
    ]
    return bars.bars(lanes, f"Accuracy of {target} by {name}, %", label, kind="answer", base=base)


def _matrices(
    variant: Variant, found: Analysis, raw: Analysis, name: str, base: str
) -> list[tuple[str, Analysis, str]]:
    shown = [(variant.label, found)] if found is raw else [(variant.label, found), (base, raw)]
    return [(who, a, f"Confusion matrix of the attack on {name}, {who}") for who, a in shown if a.confusion]


def _row(group: Group, is_raw: bool) -> dict[str, Any]:
    nothing = Cell(words.DASH, sort=0.0)
    people = f"{group.people:,}"
    return {
        "name": group.name,
        "people": Cell(people, f"{group.persons:,} persons" if group.persons < group.people else "", group.people),
        "target": [cell("accuracy", e) for e in (group.accuracy, group.tpr, group.fpr)],
        "target_change": nothing if is_raw else points(group.accuracy_change, signed=True),
        "attack": [cell("accuracy", e) for e in (group.recall, group.precision, group.rate)],
        "exposure": points(group.exposure),
        "exposure_change": nothing if is_raw else points(group.exposure_change, signed=True),
        "balanced": cell("accuracy", group.balanced),
        "sure": [cell("accuracy", getattr(group, quantity)) for quantity in SURE],
    }


def _told(group: Group, raw: Group, quantity: str, label: str, base: str) -> str:
    """One group in words."""

    def said(e: Estimate | None) -> str:
        return "unknown" if e is None else f"{words.number('accuracy', e.mean)} ({words.interval('accuracy', e)})"

    told = f"{group.name} (n = {group.people:,}): {said(getattr(group, quantity))}"
    told += f", {base} {said(getattr(raw, quantity))}" if label else ""
    return f"{told}, named for {said(group.rate)}." if quantity == "recall" else f"{told}."


def _mean(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.mean


def _some(counts: tuple[tuple[float, ...], ...], keep: list[int]) -> list[list[float]]:
    return [[counts[i][j] for j in keep] for i in keep]
