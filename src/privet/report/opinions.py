"""The section on what a person would mind of rebuilt pictures, as plain values: the template only lays out."""

from __future__ import annotations

from typing import Any

from privet.auditing.panel import GALLERY
from privet.report import words
from privet.report.judged import Judged
from privet.report.sections import Cell, cell, heading
from privet.report.view import INPUT, View

SENTENCES = 6
CLOSE = 0.05  # over the floor: what an interval must exclude before a judge is said to see nothing


def opinions(view: View) -> dict[str, Any] | None:
    """What judges say of the pictures by the headline attack, a line per defense between originals and floor."""
    heads = {v.label: h for v in view.variants for h in view.headlines(v, INPUT) if h.judged}
    if not heads:
        return None
    asked = {o.question: o for h in reversed(heads.values()) for o in h.judged}
    scores = {v.label: {h.metric: h for h in view.headlines(v, INPUT)} for v in view.variants}
    metrics = view.metrics(INPUT)
    lines = []
    for label, head in heads.items():
        found = {o.question: o for o in head.judged}
        shown = [cell(m, scores[label][m].value if m in scores[label] else None) for m in metrics]
        shown += [cell(metric(q), found[q].value if q in found else None) for q in asked]
        lines.append({"label": label, "cells": shown})
    floors = [cell(m, row.floor) for m, row in next(iter(scores.values())).items()]
    told = [
        sentence(view, label, one)
        for label, head in heads.items()
        for one in head.judged
        if one.question.startswith("attribute:") and one.question != f"attribute:{view.target}"
    ]
    return {
        "metrics": [heading(m) for m in metrics],
        "questions": [column(view, q) for q in asked],
        "lines": lines,
        "originals": [Cell(words.DASH)] * len(metrics) + [cell(metric(q), o.original) for q, o in asked.items()],
        "floor": floors + [cell(metric(q), o.floor) for q, o in asked.items()],
        "sentences": told[:SENTENCES],
        "faces": any(q.startswith("faces:") for q in asked),
    }


def metric(question: str) -> str:
    """The metric whose way of writing numbers suits a question."""
    return "years" if question == "faces:years" else "ssim" if question.startswith("distance") else "accuracy"


def column(view: View, question: str) -> tuple[str, str]:
    """Head of a column, and the small print in it."""
    kind, _, name = question.partition(":")
    if kind == "attribute":
        return view.name(name).capitalize(), "judge right"
    gallery = f"Found among {min(GALLERY, int(view.results.data['examples']['victim']))}"
    return {
        "found:judge": (gallery, "by the judge"),
        "found:pixels": (gallery, "by pixels"),
        "distance:judge": ("Distance", "by the judge"),
        "distance:vgg19": ("Distance", "by VGG-19"),
        "faces:verdict": ("Same gender", "as of the original, face-api"),
        "faces:gender": ("Gender", "right, face-api"),
        "faces:years": ("Age", "years off, face-api"),
    }[question]


def sentence(view: View, label: str, one: Judged) -> str:
    """Whether an attribute may be read off the rebuilt pictures."""
    name = view.name(one.question.partition(":")[2]).capitalize()
    read, unread = one.value.low > one.floor.mean, one.value.high < one.floor.mean + CLOSE
    said = "can be read off" if read else "is not read off" if unread else "is perhaps read off"
    value, floor = (words.number("accuracy", e.mean, 0) for e in (one.value, one.floor))
    sharp = f"originals {words.number('accuracy', one.original.mean, 0)}, " if one.original else ""
    return (
        f"{name} {said} the pictures rebuilt from `{label}`: the judge is right for {value} ({sharp}{floor} without)."
    )
