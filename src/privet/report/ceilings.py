"""Ceilings: for payloads of a few bits, the strongest attack below and the bound on every attacker above."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from privet.bounds.certificate import maximal_leakage, psnr_of
from privet.report import words
from privet.report.results import Bound, Row
from privet.report.svg import Axis, line, text
from privet.report.view import INPUT, Variant, View

WIDTH, LANE, TOP, LEFT, RIGHT = 620, 46, 26, 8, 612


def ceilings(view: View) -> list[dict[str, Any]]:
    """One entry per hidden attribute that has a bound, in the order of the page."""
    found = []
    for attribute in (a for a in view.attributes if a != INPUT):
        pairs = [(v, b, r) for v in view.variants for b, r in _of(view, v, attribute)]
        if pairs:
            lines = [_line(view, v, b, r) for v, b, r in pairs]
            found.append(
                {
                    "attribute": attribute,
                    "name": view.name(attribute),
                    "svg": _svg(view, attribute, pairs),
                    "lines": lines,
                    "scope": next((b.scope for _, b, _ in pairs if b.informative), pairs[0][1].scope),
                }
            )
    return found


def errors(view: View) -> list[dict[str, str]]:
    """The least mean squared error of any attacker on the input, and what it is in dB."""
    found = []
    for b in view.results.bounds:
        if b.attribute == INPUT:
            said = least(b.bound) if b.informative else "cannot be bounded from so few people"
            found.append({"label": b.defense, "bound": said, "attack": f"{b.strongest:.4f} by {b.attack}"})
    return found


def ceiling(bound: float) -> str:
    """A bound from above in percent, rounded up: a rounded bound must still be one."""
    return f"{math.ceil(1000 * bound - 1e-9) / 10:.1f}{words.NBSP}%"


def least(error: float) -> str:
    """A squared error from below, rounded down, and what it is in dB, rounded up."""
    decibel = math.ceil(10 * psnr_of(error) - 1e-9) / 10
    return (
        f"at least {math.floor(1e4 * error) / 1e4:.4f} (at most {decibel:.1f}{words.NBSP}dB, if it were one picture's)"
    )


def sentence(b: Bound) -> str:
    """A bound in a sentence, for the list of promises."""
    if not b.informative:
        return (
            f"{b.attribute.replace('_', ' ')}: {b.people:,} people are too few for a bound on {b.messages:,} messages"
        )
    return (
        f"no attacker whatever is right about {b.attribute.replace('_', ' ')} for more than "
        f"{ceiling(b.bound)} of new {'examples of these people' if b.known_people else 'people'}"
    )


def anything(bits: int) -> str:
    """What so many bits mean for attributes that nobody named."""
    if bits > 40:
        return f"improves a guess of anything at most 2^{bits}-fold"
    return f"improves a guess of anything, also of what nobody named, at most {maximal_leakage(bits):,.0f}-fold"


def _of(view: View, variant: Variant, attribute: str) -> list[tuple[Bound, Row]]:
    rows = {r.metric: r for r in view.headlines(variant, attribute)}
    return [
        (b, rows["accuracy"])
        for b in view.results.bounds
        if (b.defense, b.attribute, b.metric, b.among) == (variant.defense, attribute, "accuracy", None)
        and "accuracy" in rows
    ]


def _line(view: View, variant: Variant, bound: Bound, row: Row) -> dict[str, Any]:
    others = [
        b
        for b in view.results.bounds
        if (b.defense, b.attribute) == (variant.defense, row.attribute) and (b.metric, b.among) != ("accuracy", None)
    ]
    return {
        "label": variant.label,
        "bits": bound.bits,
        "messages": f"{bound.messages:,}",
        "attack": f"{words.number('accuracy', row.value.mean)}",
        "by": row.attack.replace("_", " "),
        "bound": ceiling(bound.bound) if bound.informative else words.DASH,
        "gap": words.gap("accuracy", bound.bound - row.value.mean) if bound.informative else words.DASH,
        "says": "" if bound.informative else f"{bound.people:,} people are too few for {bound.messages:,} messages",
        "raw": bound.informative and row.undefended is not None and bound.bound >= row.undefended.mean,
        "anything": anything(bound.bits),
        "others": [
            {
                "name": "balanced accuracy" if b.metric == "balanced_accuracy" else f"among {b.among}",
                "bound": ceiling(b.bound) if b.informative else words.DASH,
                "attack": words.number("accuracy", b.strongest),
            }
            for b in others
        ],
        "broken": row.attribute in view.failed,
    }


def _svg(view: View, attribute: str, pairs: list[tuple[Variant, Bound, Row]]) -> str:
    """Lanes: a bar from the strongest attack to the bound, on the scale from the lowest floor to the highest value."""
    first = pairs[0][2]
    raws = [first.undefended.mean] if first.undefended else []
    ends = [first.floor.mean, *raws, *(b.bound for _, b, _ in pairs if b.informative)]
    ends += [r.value.low for _, _, r in pairs] + [r.value.high for _, _, r in pairs]
    low, high = max(0.0, min(ends) - 0.04), min(1.0, max(ends) + 0.04)
    x = Axis(low * 100, high * 100, LEFT, RIGHT)
    bottom = TOP + LANE * len(pairs)
    body = [line("grid", x(t), TOP, x(t), bottom) for t in x.ticks()]
    body += [text("quiet", x(t), bottom + 15, f"{t:g}", "middle") for t in x.ticks()]
    floor = x(first.floor.mean * 100)
    body.append(line("floor", floor, TOP, floor, bottom))
    body.append(text("name-floor", min(max(floor, LEFT + 60), RIGHT - 190), TOP - 10, "without the payload", "middle"))
    for raw in (x(value * 100) for value in raws):
        body.append(line("raw", raw, TOP, raw, bottom))
        said = words.shorten(view.terms.scale, 16)
        body.append(text("name-raw", min(max(raw, LEFT + 150), RIGHT - 40), TOP - 10, said, "middle"))
    for index, (variant, bound, row) in enumerate(pairs):
        y = TOP + LANE * index + 30
        said = f"{words.shorten(variant.label, 44)}, {bound.bits} bit{'s' if bound.bits != 1 else ''}"
        body.append(text("lane", LEFT, y - 13, said))
        at, low_x, high_x = (x(v * 100) for v in (row.value.mean, row.value.low, row.value.high))
        if bound.informative:
            end = x(bound.bound * 100)
            body.append(f'<path class="span" d="M{at:.1f} {y}H{end:.1f}"/>')
            body.append(f'<path class="ceiling" d="M{end:.1f} {y - 9}v18"/>')
            body.append(text("", min(end + 6, RIGHT - 44), y + 4, ceiling(bound.bound)))
        else:
            body.append(text("quiet", high_x + 8, y + 4, "too few people for a bound"))
        body.append(f'<path class="bar leak" d="M{low_x:.1f} {y}H{high_x:.1f}"/>')
        body.append(f'<circle class="mark leak" cx="{at:.1f}" cy="{y}" r="5"/>')
    told = " ".join(
        f"{v.label}: attack {words.number('accuracy', r.value.mean)}, "
        + (f"no attacker above {ceiling(b.bound)}." if b.informative else "no bound.")
        for v, b, r in pairs
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fig" viewBox="0 0 {WIDTH} {bottom + 22}" role="img" '
        f'aria-label="{escape(f"Accuracy on {view.name(attribute)}, percent. {told}")}">{"".join(body)}</svg>'
    )
