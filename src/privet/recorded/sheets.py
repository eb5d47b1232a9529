"""One payload file, read: its columns, the payload of every row, what it was made from, and what the server answered;
and several files, brought into one order and held beside each other."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from privet.data import cache as store
from privet.data.assemble import open_source
from privet.data.columns import Column, encode, rename
from privet.data.corpus import Ints, Pixels, Strings
from privet.data.groups import group_column
from privet.data.images import decode, parse_resize, refit
from privet.data.question import Question
from privet.data.source import Decoded, Progress, Source
from privet.errors import DataError
from privet.payload import Array
from privet.recorded.columns import lists, payload
from privet.schedule import Source as Asked

ANSWER, INPUT, ROLE, ID = "answer", "input", "role", "id"


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


def sheet_of(path: Path, label: str, prefix: str, asked: Asked) -> Sheet:
    """The file as it stands: columns that the question names are no part of the payload, however they are called."""
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


def aligned(sheet: Sheet, first: Sheet) -> Sheet:
    """The rows of a further file in the order of the first one."""
    ours, theirs = (s.columns.get(ID) for s in (first, sheet))
    if ours is None or theirs is None:
        if len(sheet.table) != len(first.table):
            raise DataError(
                f"{sheet.label} has {len(sheet.table)} rows and {first.label} {len(first.table)}, so their people "
                f"cannot be paired; give both a column {ID!r}"
            )
        return sheet
    place = {name: row for row, name in enumerate(names_of(sheet, theirs))}
    wanted = names_of(first, ours)
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


def names_of(sheet: Sheet, column: Column) -> list[str]:
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


def same_labels(sheet: Sheet, first: Sheet, question: Question) -> None:
    """DataError where two files say different things of the same people: of an attribute, the group or the role."""
    names = [name for name in dict.fromkeys((*question.attributes, question.group or "")) if name != ANSWER]
    pairs = {
        name: (_words(first.columns[name]), _words(sheet.columns[name])) for name in names if name in sheet.columns
    }
    if ROLE in sheet.table.column_names and ROLE in first.table.column_names:
        pairs[ROLE] = (roles_of(first), roles_of(sheet))
    for name, (ours, theirs) in pairs.items():
        odd = np.flatnonzero(ours != theirs)
        if not len(odd):
            continue
        if ID in sheet.columns and ID in first.columns:
            person = names_of(first, first.columns[ID])[odd[0]]
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


def roles_of(sheet: Sheet) -> Array:
    """The words [N] of the column `role`, in small letters; empty where there is none."""
    words = _words(encode(ROLE, sheet.table[ROLE]))
    return np.array([(word or "").strip().lower() for word in words], dtype=object)


def _said(word: str | None) -> str:
    return "nothing" if not word else repr(word)


def answers_of(sheet: Sheet, first: Sheet, question: Question) -> Ints | None:
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


def with_reasons(sheet: Sheet, answers: Ints | None) -> Sheet:
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


def inputs_of(sheet: Sheet, resize: str | None, progress: Progress | None) -> _Made:
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
