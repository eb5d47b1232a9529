"""Efforts: the sections of the page about seconds, people, and several payloads of one person, as plain values."""

from __future__ import annotations

from typing import Any

from privet.auditing.curves import BEYOND
from privet.report import words
from privet.report.chart import Chart, Point, Series, svg
from privet.report.results import Row
from privet.report.sections import Cell, cell
from privet.report.spending import Curve, Purse
from privet.report.view import View

DRAWN = 7  # defenses on one chart
FLOOR = "without the payload"


def efforts(view: View) -> dict[str, Any] | None:
    """Charts of seconds and of people for every attribute, and what the laws foretell; None where nothing was kept."""
    found = {"purses": _panels(view, view.results.purses), "curves": _panels(view, view.results.curves)}
    if not found["purses"] and not found["curves"]:
        return None
    labels = {v.defense: v.label for v in view.variants}
    lines = [_line(view, curve, labels[curve.defense]) for curve in view.results.curves]
    foretold = any(curve.ahead for curve in view.results.curves)
    tables = [table for a in view.attributes if (table := matrix(view, a))]
    return found | {"lines": lines, "tables": tables, "foretold": foretold}


def matrix(view: View, attribute: str) -> dict[str, Any] | None:
    """All attacks on an attribute against all defenses: a line an attack, the strongest first where nothing defends."""
    metric = next(iter(view.metrics(attribute)), None)
    if metric is None:
        return None
    rows = [r for r in view.results.rows if (r.attribute, r.metric) == (attribute, metric)]
    held = {(r.attack, r.defense): r for r in rows}
    raw = {r.attack: r.value.mean for r in rows if r.defense == view.variants[0].defense}
    attacks = sorted(dict.fromkeys(r.attack for r in rows), key=lambda a: -raw.get(a, float("-inf")))
    lines = [{"attack": a, "cells": [_heat(held.get((a, v.defense))) for v in view.variants]} for a in attacks]
    return {
        "name": view.name(attribute),
        "metric": words.metric_name(metric),
        "labels": [v.label for v in view.variants],
        "lines": lines,
        "broken": attribute in view.failed,
    }


def _heat(row: Row | None) -> dict[str, Any] | None:
    """One attack on one defense: how much of what leaks undefended it finds."""
    if row is None:
        return None
    span = row.undefended.mean - row.floor.mean if row.undefended else 0.0
    share = (row.value.mean - row.floor.mean) / span if span > 0 else 0.0
    return {"cell": cell(row.metric, row.value), "share": round(min(max(share, 0.0), 1.0), 3), "chosen": row.headline}


def persons(view: View) -> dict[str, Any] | None:
    """Several payloads of one person, by attribute, and linkage by defense; None where persons are not known."""
    results, labels = view.results, {v.defense: v.label for v in view.variants}
    if not results.many and not results.linked:
        return None
    panels = []
    for attribute in view.attributes:
        own = [m for m in results.many if m.attribute == attribute and m.defense in labels][:DRAWN]
        if own:
            told = [*((labels[m.defense], m.points) for m in own), (FLOOR, own[0].floors)]
            series = tuple(Series(words.shorten(name), tuple(Point(float(n), e) for n, e in at)) for name, at in told)
            chart = Chart("payloads of one person", "accuracy, %", series, (), 100.0, log_x=True)
            panels.append(
                {
                    "name": view.name(attribute),
                    "svg": svg(chart, f"Accuracy on {view.name(attribute)} by the payloads of one person"),
                    "persons": own[0].persons,
                    "counts": [n for n, _ in own[0].points],
                    "lines": [(name, [cell("accuracy", e) for _, e in at]) for name, at in told],
                    "broken": attribute in view.failed,
                }
            )
    lines = [
        {
            "label": labels[link.defense],
            "distance": link.distance,
            "persons": f"{link.persons:,}",
            "cells": [
                cell("accuracy", link.first),
                cell("accuracy", link.first_by_answer),
                cell("auc", link.auc),
                cell("auc", link.auc_by_answer),
            ],
        }
        for link in results.linked
        if link.defense in labels
    ]
    gallery = results.linked[0].gallery if results.linked else 0
    chance = words.number("accuracy", 1 / gallery) if gallery else ""
    person = str(results.data.get("person", ""))
    return {"panels": panels, "lines": lines, "gallery": gallery, "chance": chance, "person": person}


def _panels(view: View, found: tuple[Purse, ...] | tuple[Curve, ...]) -> list[dict[str, Any]]:
    labels = {v.defense: v.label for v in view.variants}
    panels = []
    for attribute in view.attributes:
        own = [f for f in found if f.attribute == attribute and f.defense in labels][:DRAWN]
        if not own:
            continue
        metric, name = own[0].metric, view.name(attribute)
        series = tuple(Series(words.shorten(labels[f.defense]), _points(f)) for f in own)
        rate = metric in words.RATES
        floor = next((r.floor.mean for r in view.results.rows if (r.attribute, r.metric) == (attribute, metric)), None)
        axis = "seconds of computing" if isinstance(own[0], Purse) else "people to learn from"
        chart = Chart(
            axis, f"{words.metric_name(metric)}, {'%' if rate else 'dB'}", series,
            ((FLOOR, floor),) if floor is not None else (), 100.0 if rate else 1.0, log_x=True,
        )  # fmt: skip
        drawn = svg(chart, f"What an adversary reaches on {name} by {axis}")
        panels.append({"name": name, "svg": drawn, "broken": attribute in view.failed})
    return panels


def _points(found: Purse | Curve) -> tuple[Point, ...]:
    if isinstance(found, Purse):
        return tuple(Point(max(s, 0.01), e, attack.replace("_", " ")) for s, attack, e in found.steps)
    points = [Point(float(people), e) for people, e in found.points]
    ahead = [Point(float(BEYOND * found.points[-1][0]), found.ahead, "foretold")] if found.ahead else []
    return (*points, *ahead)


def _line(view: View, curve: Curve, label: str) -> dict[str, Any]:
    people, value = curve.points[-1]
    missed = words.figure(curve.metric, curve.missed.mean)
    return {
        "name": view.name(curve.attribute),
        "label": label,
        "attack": curve.attack,
        "people": people,
        "value": cell(curve.metric, value),
        "missed": Cell(missed, words.interval(curve.metric, curve.missed), curve.missed.mean),
        "ahead": cell(curve.metric, curve.ahead) if curve.ahead else Cell(_why_not(curve), sort=-1.0),
        "broken": curve.attribute in view.failed,
    }


def _why_not(curve: Curve) -> str:
    if not curve.unsure:
        return "the law failed"
    span = words.gap(curve.metric, curve.missed.high - curve.missed.low, 1 if curve.metric == "psnr" else 0)
    return f"not sure enough: its interval spans {span.lstrip('+')}"
