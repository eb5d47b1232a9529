"""Payload files to Recordings: one row a person's payload, in Parquet or CSV.

payload | payload_0, payload_1, ...   what was sent (privet.recorded.columns)
hidden, target, side attributes       labels, named on the command line
answer       optional: the class that the server answered
input        optional: what the payload was made from, a picture as the hub stores it, or numbers in [0, 1]
person, ...  optional: whose it is (--group); never in two parts
role         optional: aux or victim, or aux_train, aux_val, victim (task_*: no part); dealt where there is none
id           optional: names a row, each once; pairs the rows of several files
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from privet.data.corpus import ADVERSARY, Ints, Part
from privet.data.question import Question, ask
from privet.data.roles import thin
from privet.data.sheet import ON_BAD
from privet.data.source import Progress
from privet.errors import DataError, SpecError, unknown
from privet.payload import Array
from privet.recorded.columns import PREFIX, stop
from privet.recorded.dealing import Deal, deal
from privet.recorded.sheets import (
    ANSWER,
    ID,
    Inputs,
    Sheet,
    aligned,
    answers_of,
    inputs_of,
    same_labels,
    sheet_of,
    with_reasons,
)
from privet.recorded.system import Recorded, Recordings
from privet.schedule import Source as Asked

FEWEST = 20  # rows


def read(
    files: Sequence[str], asked: Asked, *, prefix: str = PREFIX, on_bad: str = "stop", progress: Progress | None = None
) -> Recordings:
    """The people of the first file, with what every file says was sent of them.

    asked: its target (may be None), hidden, side, group, limit and resize. on_bad: "stop" refuses rows without a usable
    payload, "skip" leaves them out and counts them. Raises DataError for files that are not such a table, or of which
    the rows are not the same people; SpecError for options."""
    if on_bad not in ON_BAD:
        raise SpecError(unknown("way to treat bad rows", on_bad, ON_BAD))
    if asked.limit is not None and asked.limit < 1:
        raise SpecError(f"limit is {asked.limit}; give the size of the largest part, 1 or more")
    sheets = [sheet_of(Path(file), label, prefix, asked) for file, label in zip(files, labels(files), strict=True)]
    first = sheets[0]
    _enough(first.label, len(first.table), "rows")
    sheets = [first, *(aligned(sheet, first) for sheet in sheets[1:])]
    target = asked.target or (ANSWER if ANSWER in first.columns else None)
    if ANSWER in asked.hidden:
        raise DataError(f"the column {ANSWER!r} is what the server said and cannot be hidden; hide another column")
    own = {name: column for name, column in first.columns.items() if name not in {ANSWER, ID} - {target}}
    question = ask(first.source, own, target, asked.hidden, asked.side, asked.group, recorded=True)
    for sheet in sheets[1:]:
        same_labels(sheet, first, question)
    skip = on_bad == "skip"
    answers = {sheet.label: answers_of(sheet, first, question) for sheet in sheets}
    sheets = [with_reasons(sheet, answers[sheet.label]) for sheet in sheets]
    first = sheets[0]
    made = inputs_of(first, asked.resize, progress)
    why = first.why.copy()
    why[why == ""] = made.why[why == ""]
    notes = [stop(first.label, why, skip=skip)]
    for sheet in sheets[1:]:
        notes.append(stop(sheet.label, sheet.why, skip=skip))
        why[why == ""] = sheet.why[why == ""]
    rows = np.flatnonzero(why == "")
    _enough(first.label, len(rows), "usable rows")
    inputs = made.take(rows)
    dealt, more = deal(first, question, inputs, rows)
    kept = np.isin(dealt.roles, ADVERSARY)
    if asked.limit is not None:
        kept &= np.isin(np.arange(len(rows)), np.flatnonzero(kept)[thin(dealt.roles[kept], asked.limit, 0)])
    flags = ["rows_skipped"] if any(notes) else []
    return _recordings(
        sheets, question, inputs, rows, dealt, kept, answers,
        notes=[*_widths(sheets), *question.notes, *(n for n in notes if n), *inputs.notes, *more],
        flags=[*question.flags, *flags],
    )  # fmt: skip


def labels(files: Sequence[str]) -> list[str]:
    """What each recording is called: its file's name, or the whole path where two share one."""
    stems = [Path(file).stem for file in files]
    named = stems if len(set(stems)) == len(stems) else list(files)
    if len(set(named)) < len(named):
        raise SpecError("--payloads names one file twice; name each once")
    return named


def _enough(label: str, many: int, what: str) -> None:
    if many < FEWEST:
        raise DataError(f"{label} has {many} {what}; an audit needs {FEWEST} or more: record more people")


def _widths(sheets: Sequence[Sheet]) -> list[str]:
    """Of every payload that stands in several columns, in which."""
    wide = [sheet for sheet in sheets if len(sheet.held) > 1]
    return [f"a payload of {s.label} is {len(s.held)} values, {s.held[0]} to {s.held[-1]}" for s in wide]


def _recordings(
    sheets: Sequence[Sheet], question: Question, inputs: Inputs, rows: Ints, dealt: Deal, kept: Array,
    answers: Mapping[str, Ints | None], *, notes: list[str], flags: list[str],
) -> Recordings:  # fmt: skip
    """Cut what is kept into parts."""
    first = sheets[0]
    codes = {name: first.columns[name].codes[rows] for name in question.attributes}
    recorded_target = bool(question.target) and question.target != ANSWER
    y = codes[question.target] if recorded_target else np.full(len(rows), -1, np.int64)
    places = {role: np.flatnonzero(kept & (dealt.roles == role)) for role in ADVERSARY}
    parts = {
        role: Part(
            dealt.ids[at], dealt.groups[at], inputs.x[at], y[at],
            {name: codes[name][at] for name in question.attributes if name != question.target},
        )
        for role, at in places.items()
    }  # fmt: skip
    for name in question.hidden:
        _enough_values(name, parts)
    missing = [
        n for n in question.attributes if n != ANSWER and any((_of(p, n, question) < 0).any() for p in parts.values())
    ]
    notes += [f"some rows have no label of {', '.join(missing)}"] if missing else []
    if left := int((~kept & (dealt.roles != "")).sum()):
        notes.append(f"{left} rows take no part: they are the owner's, or beyond --limit")
    systems = {}
    for sheet in sheets:
        said = answers[sheet.label]
        sent = {role: np.ascontiguousarray(sheet.payload[rows][at]) for role, at in places.items()}
        told = {} if said is None else {role: said[rows][at] for role, at in places.items()}
        systems[sheet.label] = Recorded(sent, told, _digest(sent, told), inputs.kind != "payload")
    return Recordings(
        name=first.label if len(sheets) == 1 else f"{len(sheets)} recordings",
        kind=inputs.kind,
        target=question.target,
        hidden=question.hidden,
        side=question.side,
        classes={name: first.columns[name].levels for name in question.attributes},
        parts=parts,
        notes=tuple(notes),
        flags=tuple(dict.fromkeys([*flags, *(["labels_missing"] if missing else [])])),
        person=question.group or "",
        systems=systems,
    )


def _of(part: Part, name: str, question: Question) -> Ints:
    return part.y if name == question.target else part.s[name]


def _enough_values(name: str, parts: Mapping[str, Part]) -> None:
    learned = parts["aux_train"].s[name]
    if len(np.unique(learned[learned >= 0])) < 2:
        raise DataError(
            f"the adversary's rows have fewer than two values of {name!r}; record more people, or hide another"
        )


def _digest(sent: Mapping[str, Array], told: Mapping[str, Ints]) -> str:
    total = hashlib.sha256()
    for role in ADVERSARY:
        payloads = sent[role]
        total.update(f"{role} {payloads.dtype} {payloads.shape}".encode())
        total.update(payloads.tobytes())
        total.update(told[role].tobytes() if role in told else b"-")
    return total.hexdigest()
