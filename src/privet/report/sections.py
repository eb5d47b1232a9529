"""What each section of the page shows, as plain values: the template only lays out."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from privet.auditing.estimate import Estimate
from privet.auditing.threat import SLOW
from privet.report import figures, words
from privet.report.results import Row
from privet.report.view import INPUT, Variant, View, flags, nothing_to_hide, over

SHOWN, FEWER, MANY = 8, 4, 6  # pictures in a row, and in each of more than so many rows
SIDE = 96  # pixels beyond which pictures are shown smaller, so that the page stays light
CLASSES = 12


@dataclass(frozen=True)
class Cell:
    """One number of a table: what is read first, what stands beneath it, and what it is sorted by."""

    text: str
    under: str = ""
    sort: float | str = ""
    tone: str = ""


def cell(metric: str, estimate: Estimate | None, tone: str = "") -> Cell:
    """An estimate with its interval beneath; a dash where there is none."""
    if estimate is None:
        return Cell(words.DASH, sort=-math.inf)
    text = words.figure(metric, estimate.mean) if metric == "bits" else words.number(metric, estimate.mean)
    return Cell(text, words.interval(metric, estimate), estimate.mean, tone)


def facts(view: View) -> list[tuple[str, str]]:
    """What was audited, in a line of small facts."""
    r = view.results
    shape = " \u00d7 ".join(map(str, r.cut_shape))
    cut = ("Payload", f"{shape} values") if view.recorded else ("Cut", f"{r.at} ({shape})")
    seeds = f"{len(r.seeds)} seed{'s' if len(r.seeds) != 1 else ''}"
    asked = [
        ("Data", str(r.data["name"])),
        ("Victims", f"{r.data['examples']['victim']:,}"),
        ("Target", view.name(view.target)),
        ("Model", r.model),
        cut,
        ("Adversary", r.threat["name"]),
        ("Effort", f"{r.effort}, {seeds}"),
    ]
    return [(name, told) for name, told in asked if told]


def overview(view: View) -> dict[str, Any] | None:
    """Defenses by attributes, how far each stands above its floor; None for a single attribute."""
    if len(view.attributes) < 3:
        return None
    lines = []
    for variant in view.variants:
        cells = [(a, _over(view, variant, a)) for a in view.attributes]
        lines.append({"variant": variant, "utility": cell("accuracy", view.utility(variant)), "cells": cells})
    return {"lines": lines}


def _over(view: View, variant: Variant, attribute: str) -> dict[str, Any] | None:
    row = view.headline(variant, attribute)
    if row is None:
        return None
    share = 0.0 if row.normalized is None else min(max(row.normalized, 0.0), 1.0)
    return {
        "gap": words.gap(row.metric, over(row).mean),
        "under": f"{words.number(row.metric, row.value.mean)} over {words.figure(row.metric, row.floor.mean)}",
        "share": round(share if view.tone(variant, row) == "leak" else 0.0, 3),
        "broken": attribute in view.failed,
        "link": link(view, attribute, variant),
    }


def link(view: View, attribute: str, variant: Variant) -> str:
    """The id of a row of the page."""
    return f"row-{view.attributes.index(attribute)}-{variant.index}"


def leakage(view: View, attribute: str) -> dict[str, Any]:
    """The table of one attribute: a line per defense, and every attack below."""
    metrics = view.metrics(attribute)
    lines = [_line(view, v, row, metrics) for v in view.variants if (row := view.headline(v, attribute))]
    base = next((row for v in view.variants if (row := view.headline(v, attribute))), None)
    rows = {r.metric: r for v in reversed(view.variants) for r in view.headlines(v, attribute)}
    return {
        "attribute": attribute,
        "name": view.name(attribute),
        "metric": heading(metrics[0]) if metrics else "",
        "unit": words.gap(metrics[0], 0.0).partition(words.NBSP)[2] if metrics else "",
        "others": [heading(m) for m in metrics[1:]],
        "lines": lines,
        "floors": [cell(m, rows[m].floor) for m in metrics[1:]],
        "undefended": [cell(m, rows[m].undefended) for m in metrics[1:]] if view.terms.scale else [],
        "broken": view.failed.get(attribute, ()),
        "empty": base is not None and nothing_to_hide(base),
        "attacks": _attacks(view, attribute, metrics),
        "metrics": [heading(m) for m in metrics],
    }


def heading(metric: str) -> str:
    """A metric at the head of a column; bits carry their unit here rather than in every cell."""
    name = "information, bits" if metric == "bits" else words.metric_name(metric)
    return name[:1].upper() + name[1:]


def _line(view: View, variant: Variant, row: Row, metrics: tuple[str, ...]) -> dict[str, Any]:
    found = {r.metric: r for r in view.headlines(variant, row.attribute)}
    broken, tone, share = row.attribute in view.failed, view.tone(variant, row), row.normalized
    others = [found.get(m) for m in metrics[1:]]
    return {
        "id": link(view, row.attribute, variant),
        "label": variant.label,
        "flags": row.flags,
        "collapsed": view.collapsed(variant),
        "utility": cell("accuracy", row.utility),
        "attack": row.attack,
        "value": cell(row.metric, row.value, tone),
        "floor": cell(row.metric, row.floor),
        "over": _over_floor(row),
        "undefended": cell(row.metric, row.undefended),
        "normalized": Cell(
            words.DASH if share is None else words.figure("ssim", share, 2), "", -1.0 if share is None else share
        ),
        "glyph": figures.glyph(row, "broken" if broken else tone),
        "others": [
            cell(m, r.value if r else None, view.tone(variant, r) if r else "")
            for m, r in zip(metrics[1:], others, strict=True)
        ],
    }


def _over_floor(row: Row) -> Cell:
    """The advantage with its interval; the unit stands at the head of the column."""
    text = words.gap(row.metric, over(row).mean).partition(words.NBSP)[0]
    return Cell(text, words.interval(row.metric, over(row)), over(row).mean)


def _attacks(view: View, attribute: str, metrics: tuple[str, ...]) -> list[dict[str, Any]]:
    lines = []
    for variant in view.variants:
        rows = view.rows(variant, attribute)
        for attack in dict.fromkeys(r.attack for r in rows):
            found = {r.metric: r for r in rows if r.attack == attack}
            cells = [
                (cell(m, found[m].value if m in found else None), m in found and found[m].headline) for m in metrics
            ]
            lines.append({"label": variant.label, "attack": attack, "cells": cells, "flags": flags(found.values())})
    return lines


def pictures(view: View) -> dict[str, Any] | None:
    """Originals and what was rebuilt from each defense; None for tables."""
    r = view.results
    if r.originals is None or not r.reconstructions:
        return None
    shown = SHOWN if len(r.reconstructions) <= MANY else FEWER
    strips, everybody = [], int(r.data["examples"]["victim"])
    for variant in {v.defense: v for v in reversed(view.variants)}.values():
        if variant.defense in r.reconstructions:
            rows = view.headlines(variant, INPUT)
            strips.append(
                {
                    "label": variant.defense,
                    "attack": r.reconstruction_by.get(variant.defense, ""),
                    "asked": f"for {rows[0].value.n:,} of {everybody:,} victims" if rows[0].value.n < everybody else "",
                    "scores": [
                        (words.metric_name(row.metric), cell(row.metric, row.value), cell(row.metric, row.floor))
                        for row in rows
                    ],
                    "images": [png(x) for x in r.reconstructions[variant.defense][:shown]],
                    "order": variant.index,
                }
            )
    floor = [
        (words.metric_name(row.metric), cell(row.metric, row.floor)) for row in view.headlines(view.variants[0], INPUT)
    ]
    return {
        "originals": [png(x) for x in r.originals[:shown]],
        "strips": sorted(strips, key=lambda s: s["order"]),
        "floor": floor,
        "broken": INPUT in view.failed,
        "smaller": max(r.originals.shape[-2:]) > SIDE,
    }


def png(x: npt.NDArray[np.uint8]) -> str:
    """uint8 [C, H, W] as a data URI; three channels are RGB, others are averaged to gray."""
    pixels = x.transpose(1, 2, 0) if x.shape[0] == 3 else x.mean(0).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if max(image.size) > SIDE:
        image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def left_out(view: View) -> dict[str, Any]:
    """The attacks that did not run: those refused, each with the reason without its own name, and the slow ones."""
    told = {a: why.removeprefix(f"{a} ") for a, why in view.results.left_out.items()}
    slow = [a for a, why in told.items() if why == SLOW]
    return {"refused": [(a, why) for a, why in told.items() if a not in slow], "slow": slow}


def costs(view: View) -> dict[str, Any]:
    """Payload bytes and the edge's work per defense, against the raw input."""
    shape, image = view.results.data["shape"], view.results.data["kind"] == "image"
    raw = math.prod(shape) * (1 if image else 4)  # 0 where the inputs were not recorded
    most = max([1.0, *(r.payload_bytes / raw for r in view.results.rows if raw)])
    lines = []
    for variant in view.variants:
        row = next(iter(view.rows(variant)))
        ratio, macs = row.payload_bytes / raw if raw else None, row.edge_macs
        lines.append(
            {
                "label": variant.label,
                "bytes": Cell(f"{row.payload_bytes:,}", "", row.payload_bytes),
                "ratio": _ratio(ratio),
                "width": min(100.0, 100 * (ratio or 0.0) / most),
                "macs": Cell(words.DASH, sort=-1.0) if macs is None else Cell(_big(macs), "", macs),
                "utility": cell("accuracy", row.utility),
            }
        )
    unit = "8-bit pixels" if image else "32-bit columns"
    return {"raw": f"{raw:,}" if raw else "", "unit": unit, "lines": lines}


def _ratio(ratio: float | None) -> Cell:
    if ratio is None:
        return Cell(words.DASH, sort=-1.0)
    return Cell(f"{ratio:.2f}\u00a0\u00d7" if ratio >= 0.01 else f"{ratio:.4f}\u00a0\u00d7", "", ratio)


def _big(count: int) -> str:
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.2f}\u00a0{letter}"
    return str(count)
