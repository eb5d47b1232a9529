"""How far to trust a study: what must be known before, calibrations, floors, the data, and what is promised."""

from __future__ import annotations

import math
from typing import Any

from privet.report import ceilings, words
from privet.report.results import Check
from privet.report.sections import cell
from privet.report.view import View

CLASSES = 12


def cautions(view: View) -> list[str]:
    """What must be known before any number is read."""
    r, said = view.results, []
    if r.unfinished:
        said.append(f"Not all trials ended ({len(r.unfinished)} noted below): some defenses stand on fewer seeds.")
    if r.refused:
        said.append(f"{len(r.refused)} trials were refused: see below why.")
    if len(r.seeds) == 1:
        said.append("One seed only: the intervals hold the chance of the victims, not that of training.")
    if r.effort == "quick":
        said.append("Quick effort: networks and adversaries were trained briefly, so a real adversary does better.")
    unchecked = [view.name(a) for a in view.attributes if not any(c.attribute == a for c in r.checks)]
    if unchecked:
        said.append(f"No calibration of the attacks ran for {', '.join(unchecked)}.")
    return said


def calibrations(view: View) -> list[dict[str, Any]]:
    """One line per attribute and kind of check: how many passed, the value nearest to failing, and every failure."""
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in view.results.checks:
        groups.setdefault((check.attribute, check.check), []).append(check)
    lines = []
    for (attribute, kind), checks in groups.items():
        worst = max(checks, key=_strain)
        lines.append(
            {
                "name": view.name(attribute),
                "check": kind.replace("_", " "),
                "meaning": MEANING.get(kind, ""),
                "passed": sum(c.passed for c in checks),
                "total": len(checks),
                "metric": worst.metric,
                "worst": words.number(worst.metric, worst.value),
                "wanted": words.wanted(worst),
                "decisive": any(c.decisive for c in checks if not c.passed),
                "failed": [
                    f"{words.attacker(c).removeprefix('the attack ').strip('`')}: "
                    f"{words.number(c.metric, c.value)}, seed {c.seed}"
                    for c in checks
                    if not c.passed
                ],
            }
        )
    return lines


MEANING = {
    "constant": "nothing is sent: an attack must not do better than chance",
    "shuffled_labels": "the adversary's labels are dealt out anew: who still knows the victims must have "
    "met them. Guesses still follow the payload's clusters, so an attack may come half way from chance to knowing "
    "everybody: parts that were mixed up are found, a few people who stand in two of them are not",
    "planted_bit": "the attribute itself is put into the payload: an attack must find it",
    "identity": "the input itself is sent: a reconstruction must succeed",
    "first_stage": "the first layer's output is sent: a search through it must bring the input back",
}


def _strain(check: Check) -> tuple[bool, float]:
    return not check.passed, check.value if check.wanted.startswith("at most") else -check.value


def floors(view: View) -> list[dict[str, Any]]:
    """Every floor of every attribute and metric, the largest marked."""
    lines = []
    for attribute, by_metric in view.results.floors.items():
        for metric, found in by_metric.items():
            top = max((e.mean for e in found.values()), default=0.0)
            cells = [
                (name.replace("_", " ").replace("image", view.thing), cell(metric, e), e.mean == top)
                for name, e in found.items()
            ]
            lines.append(
                {"name": view.name(attribute), "metric": metric, "cells": cells, "broken": attribute in view.failed}
            )
    return lines


def dependence(view: View) -> list[tuple[str, str, str]]:
    """Attribute, I(y; s) in nats and in bits."""
    found = view.results.data.get("dependence", {})
    return [(view.name(a), f"{v:.4f}", f"{v / math.log(2):.4f}") for a, v in found.items()]


def labels(view: View) -> list[dict[str, Any]]:
    """Class frequencies among the victims of the target, the hidden and the side attributes."""
    data, lines = view.results.data, []
    asked = data["target"] if data["target"] and any(data["target"]["victim_frequencies"]) else None
    roles = [
        *([("target", asked)] if asked else []),
        *(("hidden", a) for a in data["hidden"]),
        *(("side", a) for a in data.get("side", ())),
    ]
    for role, attribute in roles:
        pairs = sorted(zip(attribute["classes"], attribute["victim_frequencies"], strict=True), key=lambda p: -p[1])
        shown = [(name, words.number("accuracy", f), round(100 * f, 2)) for name, f in pairs[:CLASSES]]
        more = len(pairs) - len(shown)
        missing = attribute.get("victim_missing", 0)
        lines.append(
            {"role": role, "name": view.name(attribute["name"]), "shown": shown, "more": more, "missing": missing}
        )
    return lines


def promises(view: View) -> list[dict[str, Any]]:
    """Per defense what it promises, or that and why it promises nothing, and what fitting it logged."""
    r, lines = view.results, []
    for defense in r.defenses:
        text = r.guarantees.get(defense, "promises nothing, because no bound on it is known")
        nothing = text.lower().startswith(("promises nothing", "none", "no guarantee"))
        bounds = [b for b in r.bounds if (b.defense, b.metric, b.among) == (defense, "accuracy", None)]
        bounded = [ceilings.sentence(b) for b in bounds]
        log = _scalars(r.logs.get(defense, {}))
        if bounds and nothing:
            text = text.replace("promises nothing:", "promises nothing by its construction:", 1)
            bounded = [f"From the people of this audit, with 95 % confidence: {said}" for said in bounded]
        nothing = nothing and not any(b.informative for b in bounds)
        lines.append({"label": defense, "text": text, "nothing": nothing, "bounds": bounded, "log": log})
    return lines


def _scalars(log: dict[str, Any]) -> dict[str, str]:
    """What can be read in a line: no lists, no more than three digits of a float."""
    kept = {k: v for k, v in log.items() if isinstance(v, str | int | float)}
    return {k: f"{v:.3g}" if isinstance(v, float) else str(v) for k, v in kept.items()}


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
