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
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from privet.data import cache as store
from privet.data.assemble import open_source
from privet.data.columns import Column, encode, rename
from privet.data.corpus import ADVERSARY, ROLES, Ints, Part, Pixels, Strings
from privet.data.deal import alike, too_many
from privet.data.groups import group_column, join, persons
from privet.data.images import decode, parse_resize, refit
from privet.data.question import Question, ask
from privet.data.roles import Roles, allot, shares, thin
from privet.data.sheet import ON_BAD
from privet.data.source import Decoded, Progress, Source
from privet.errors import DataError, SpecError, unknown
from privet.payload import Array
from privet.recorded.columns import PREFIX, lists, payload, stop
from privet.recorded.system import Recorded, Recordings
from privet.schedule import Source as Asked

ANSWER, INPUT, ROLE, ID = "answer", "input", "role", "id"
FEWEST = 20  # rows
FEW = 5  # one in so many of the adversary's rows may be left out


@dataclass(frozen=True)
class Sheet:
    """One file: labels and payload [N, P] of every row, the columns that it stands in, and why a row cannot be used
    (empty where it can)."""

    label: str
    source: Source
    table: pa.Table
    columns: dict[str, Column]
    payload: Array
    held: tuple[str, ...]
    why: Array


@dataclass(frozen=True)
class Inputs:
    """What the payloads were made from: x [N, ...] and content hashes; thumbs of pictures."""

    kind: str
    x: Array
    ids: Strings | None = None
    thumbs: Pixels | None = None
    notes: tuple[str, ...] = ()


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
    sheets = [_sheet(Path(file), label, prefix, asked) for file, label in zip(files, labels(files), strict=True)]
    first = sheets[0]
    _enough(first.label, len(first.table), "rows")
    sheets = [first, *(_aligned(sheet, first) for sheet in sheets[1:])]
    target = asked.target or (ANSWER if ANSWER in first.columns else None)
    if ANSWER in asked.hidden:
        raise DataError(f"the column {ANSWER!r} is what the server said and cannot be hidden; hide another column")
    own = {name: column for name, column in first.columns.items() if name not in {ANSWER, ID} - {target}}
    question = ask(first.source, own, target, asked.hidden, asked.side, asked.group, recorded=True)
    for sheet in sheets[1:]:
        _same_labels(sheet, first, question)
    skip = on_bad == "skip"
    answers = {sheet.label: _answers(sheet, first, question) for sheet in sheets}
    sheets = [_with_reasons(sheet, answers[sheet.label]) for sheet in sheets]
    first = sheets[0]
    made = _inputs(first, asked.resize, progress)
    why = first.why.copy()
    why[why == ""] = made.why[why == ""]
    notes = [stop(first.label, why, skip=skip)]
    for sheet in sheets[1:]:
        notes.append(stop(sheet.label, sheet.why, skip=skip))
        why[why == ""] = sheet.why[why == ""]
    rows = np.flatnonzero(why == "")
    _enough(first.label, len(rows), "usable rows")
    inputs = made.take(rows)
    dealt, more = _dealt(first, question, inputs, rows)
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


def _sheet(path: Path, label: str, prefix: str, asked: Asked) -> Sheet:
    source = _open(path)
    table = source.train.table
    group = asked.group or group_column(table.column_names)
    others = (ANSWER, INPUT, ROLE, ID, asked.target, *asked.hidden, *asked.side, group)
    block = payload(table, prefix, label, [name for name in others if name])
    rest = table.drop_columns(list(block.columns))
    names = source.train.names
    columns = {n: encode(n, rest[n], names.get(n)) for n in rest.column_names if n not in (INPUT, ROLE)}
    return Sheet(label, source, table, columns, block.values, block.columns, block.why)


def _open(path: Path) -> Source:
    if not os.path.isfile(path.expanduser()):
        what = "is a folder" if os.path.isdir(path.expanduser()) else "is not there"
        raise DataError(f"{path} {what}; give one Parquet or CSV file of payloads for each system")
    return open_source(str(path))


def _aligned(sheet: Sheet, first: Sheet) -> Sheet:
    """The rows of a further file in the order of the first one."""
    ours, theirs = (s.columns.get(ID) for s in (first, sheet))
    if ours is None or theirs is None:
        if len(sheet.table) != len(first.table):
            raise DataError(
                f"{sheet.label} has {len(sheet.table)} rows and {first.label} {len(first.table)}, so their people "
                f"cannot be paired; give both a column {ID!r}"
            )
        return sheet
    place = {name: row for row, name in enumerate(_names(sheet, theirs))}
    wanted = _names(first, ours)
    if set(wanted) != place.keys():
        odd = sorted(set(wanted) ^ place.keys())
        raise DataError(
            f"{sheet.label} and {first.label} do not name the same people: {len(odd)} ids stand in one only, such as "
            f"{odd[0]!r}; record both of the same people"
        )
    order = np.array([place[name] for name in wanted])
    columns = {name: column.take(order) for name, column in sheet.columns.items()}
    return replace(
        sheet, table=sheet.table.take(order), columns=columns, payload=sheet.payload[order], why=sheet.why[order]
    )


def _names(sheet: Sheet, column: Column) -> list[str]:
    """The ids of a file, every row one of its own."""
    counts = np.bincount(column.codes[column.codes >= 0], minlength=1)
    missing = np.flatnonzero(column.codes < 0)
    twice = np.flatnonzero(counts[column.codes] > 1) if not len(missing) else missing
    if len(twice):
        what = (
            "has no id" if len(missing) else f"has an id that stands twice ({column.levels[column.codes[twice[0]]]!r})"
        )
        raise DataError(f"row {twice[0]} of {sheet.label} {what}; name every row once (rows are counted from 0)")
    return [column.levels[code] for code in column.codes]


def _same_labels(sheet: Sheet, first: Sheet, question: Question) -> None:
    """DataError where two files say different things of the same people: of an attribute, the group or the role."""
    names = [name for name in dict.fromkeys((*question.attributes, question.group or "")) if name != ANSWER]
    pairs = {
        name: (_words(first.columns[name]), _words(sheet.columns[name])) for name in names if name in sheet.columns
    }
    if ROLE in sheet.table.column_names and ROLE in first.table.column_names:
        pairs[ROLE] = (_roles(first), _roles(sheet))
    for name, (ours, theirs) in pairs.items():
        odd = np.flatnonzero(ours != theirs)
        if not len(odd):
            continue
        if ID in sheet.columns and ID in first.columns:
            person = _names(first, first.columns[ID])[odd[0]]
            raise DataError(
                f"{first.label} and {sheet.label} differ in {name!r} of {len(odd)} ids, the first is {person!r} "
                f"({_said(ours[odd[0]])} and {_said(theirs[odd[0]])}); mend one of the files"
            )
        raise DataError(
            f"{sheet.label} and {first.label} are not recordings of the same people: {name!r} differs in "
            f"{len(odd)} rows, the first is row {odd[0]}; give both the same order, or a column {ID!r}"
        )


def _words(column: Column) -> Array:
    """A label's words [N], None where it is missing."""
    return np.array([*column.levels, None], dtype=object)[column.codes]


def _roles(sheet: Sheet) -> Array:
    """The words [N] of the column `role`, in small letters; empty where there is none."""
    words = _words(encode(ROLE, sheet.table[ROLE]))
    return np.array([(word or "").strip().lower() for word in words], dtype=object)


def _said(word: str | None) -> str:
    return "nothing" if not word else repr(word)


def _answers(sheet: Sheet, first: Sheet, question: Question) -> Ints | None:
    """What the server answered, [N] in the classes that the target has in the first file; None where nobody recorded
    it. DataError for an answer that is none of them."""
    if ANSWER not in sheet.columns or not question.target:
        return None
    answered = sheet.columns[ANSWER]
    if reason := answered.why_not():
        raise DataError(f"the column {ANSWER!r} of {sheet.label} {reason}; it holds the class that the server answered")
    levels = first.columns[question.target].levels
    column, strangers = rename(answered, levels)
    if strangers:
        remedy = "write answers as the target is written"
        if question.target == ANSWER:
            remedy = "write the answers of all files in one way, and name the column of the true classes with --target"
        raise DataError(
            f"the column {ANSWER!r} of {sheet.label} says {', '.join(strangers[:3])}, which is no value of "
            f"{question.target!r} in {first.label} ({', '.join(levels[:5])}); {remedy}"
        )
    return column.codes


def _with_reasons(sheet: Sheet, answers: Ints | None) -> Sheet:
    if answers is None:
        return sheet
    why = sheet.why.copy()
    why[(why == "") & (answers < 0)] = f"no {ANSWER}"
    return replace(sheet, why=why)


@dataclass(frozen=True)
class _Made:
    """Inputs of every row [N, ...], and why a row has none."""

    inputs: Inputs
    why: Array

    def take(self, rows: Ints) -> Inputs:
        ids = None if self.inputs.ids is None else self.inputs.ids[rows]
        thumbs = None if self.inputs.thumbs is None else self.inputs.thumbs[rows]
        return replace(self.inputs, x=self.inputs.x[rows], ids=ids, thumbs=thumbs)


def _inputs(sheet: Sheet, resize: str | None, progress: Progress | None) -> _Made:
    """What the first file holds of the inputs themselves."""
    n, read = len(sheet.table), sheet.source.train.pictures
    why = np.array([""] * n, dtype=object)
    if read is not None:
        size = parse_resize(resize)
        decoded = refit(
            read if isinstance(read, Decoded) else decode(read, size, store.default_folder(), progress), size
        )
        whole = [np.zeros((n, *a.shape[1:]), a.dtype) for a in (decoded.x, decoded.ids, decoded.thumbs)]
        for target, values in zip(whole, (decoded.x, decoded.ids, decoded.thumbs), strict=True):
            target[decoded.rows] = values
        why[decoded.bad] = [f"a picture that cannot be decoded: {reason}" for reason in decoded.why]
        return _Made(Inputs("image", whole[0], whole[1], whole[2]), why)
    if INPUT in sheet.table.column_names:
        block = lists(INPUT, sheet.table[INPUT], sheet.label)
        x, why = block.values.astype(np.float32), block.why
        why[(why == "") & ((x < 0) | (x > 1)).any(1)] = f"values of {INPUT!r} outside [0, 1]"
        ids = np.array([hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in x])
        return _Made(Inputs("table", x, ids), why)
    return _Made(Inputs("payload", np.zeros((n, 0), np.float32)), why)


@dataclass(frozen=True)
class _Deal:
    """For every usable row a role, a group and an id."""

    roles: Roles
    groups: Ints
    ids: Strings


def _dealt(sheet: Sheet, question: Question, inputs: Inputs, rows: Ints) -> tuple[_Deal, list[str]]:
    """Nobody, and nothing that looks the same, on two sides; notes say by what people are told apart.

    Rows with equal payloads stay in one part where nothing else says who is who. Where the file names persons or roles
    they are left to it, and the adversary's are left out where they are few; a role is empty of what is left out."""
    own = np.array([f"{row:016x}" for row in rows])
    if ID in sheet.columns:
        names = _names(sheet, sheet.columns[ID])
        own = np.array([hashlib.sha256(names[row].encode()).hexdigest()[:16] for row in rows])
    notes: list[str] = []
    same = join(own)
    if inputs.ids is not None:
        same, notes = alike(inputs.ids, inputs.x if inputs.kind == "image" else None, inputs.thumbs)
    people = persons(sheet.columns[question.group].codes[rows]) if question.group else None
    if people is not None:
        notes.append(f"groups are {question.group!r}: {len(np.unique(people))} of them")
    groups = same if people is None else people if question.by_design else join(people, same)
    equal = _equal(sheet.payload[rows])
    if ROLE in sheet.table.column_names:
        roles, more = _apart(_given(sheet, rows), equal)
        return _Deal(_split_aux(roles, groups, question), groups, own), [*notes, *more]
    sizes = np.bincount(equal)
    if people is None and sizes.max() > 1 and not too_many(sizes):
        groups = join(groups, equal)
        notes.append(f"{int(sizes[sizes > 1].sum())} rows have equal payloads; those that do stay in one part")
    strata = sheet.columns[question.group or ""].codes[rows] if question.by_design else _strata(sheet, question, rows)
    units = same if question.by_design else groups
    roles, more = _apart(allot(units, strata, shares(*ADVERSARY), 0), equal)
    return _Deal(roles, groups, own), [*notes, *more]


def _apart(roles: Roles, equal: Ints) -> tuple[Roles, list[str]]:
    """Roles [N] without the adversary's rows that have a victim's payload (empty there), and a note. Where these are
    many, or one payload is sent by very many people, payloads say too little to be one person's: all rows stay."""
    mine = np.isin(roles, ("aux", "aux_train", "aux_val"))
    met = mine & np.isin(equal, equal[roles == "victim"])
    many = int(met.sum())
    if not many:
        return roles, []
    if too_many(np.bincount(equal)) or FEW * many > mine.sum():
        return roles, [
            f"{many} of {int(mine.sum())} rows of the adversary have the payload of a victim; they are too many to be "
            "the same people recorded twice, so they stay"
        ]
    note = f"{many} rows were removed from the adversary's part, for a victim has the same payload"
    return np.where(met, "", roles), [note]


def _strata(sheet: Sheet, question: Question, rows: Ints) -> Ints:
    return sheet.columns[question.target or question.hidden[0]].codes[rows]


def _equal(payloads: Array) -> Ints:
    raw = np.ascontiguousarray(payloads).view(np.uint8).reshape(len(payloads), -1)
    return join(np.array([hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in raw]))


def _given(sheet: Sheet, rows: Ints) -> Roles:
    """The roles that the file names; those of the owner take no part."""
    legal = ("aux", *ROLES)
    words = _roles(sheet)[rows]
    if len(odd := np.flatnonzero(~np.isin(words, legal))):
        what = f"the role {str(words[odd[0]])!r}" if words[odd[0]] else "no role"
        raise DataError(
            f"row {rows[odd[0]]} of {sheet.label} has {what}; a role is one of {', '.join(legal)}, and every row has "
            "one (rows are counted from 0)"
        )
    return np.array(words, dtype="U10")


def _split_aux(roles: Roles, groups: Ints, question: Question) -> Roles:
    """`aux` dealt into what the adversary learns from and what it chooses on."""
    aux = roles == "aux"
    if aux.any():
        roles = roles.copy()
        roles[aux] = allot(groups[aux], np.zeros(int(aux.sum()), np.int64), shares("aux_train", "aux_val"), 0)
    for role in ADVERSARY:
        if not np.any(roles == role):
            raise DataError(f"no row has the role {role!r}; an audit needs people of the adversary (aux) and victims")
    return roles


def _recordings(
    sheets: Sequence[Sheet], question: Question, inputs: Inputs, rows: Ints, dealt: _Deal, kept: Array,
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
