"""All examples of a question in one place, and where they came from: main set, its test split, --aux, --victims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from privet.data.columns import Column, rename
from privet.data.corpus import Ints, Pixels, Strings
from privet.data.question import Question
from privet.data.sheet import Sheet, stack
from privet.errors import DataError, SpecError, unknown


@dataclass(frozen=True)
class Pool:
    """All sheets end to end; columns carry the main set's classes; persons: [N] codes of the group column, -1 none,
    or None."""

    kind: str
    origin: Strings
    ids: Strings
    columns: dict[str, Column]
    persons: Ints | None
    x: Pixels | None
    thumbs: Pixels | None
    notes: tuple[str, ...]
    flags: tuple[str, ...]

    def take(self, rows: npt.NDArray[np.bool_] | Ints) -> Pool:
        return replace(
            self,
            origin=self.origin[rows],
            ids=self.ids[rows],
            columns={name: column.take(rows) for name, column in self.columns.items()},
            persons=None if self.persons is None else self.persons[rows],
            x=None if self.x is None else self.x[rows],
            thumbs=None if self.thumbs is None else self.thumbs[rows],
        )


def pool(sheets: Sequence[Sheet], question: Question) -> Pool:
    """Put the sheets together. Raises DataError where a further set lacks a column (the adversary's may lack the
    target's), has none of an attribute's classes, or has pictures where the main set has none."""
    main = sheets[0]
    for sheet in sheets[1:]:
        if (sheet.x is None) != (main.x is None):
            raise DataError(f"{main.name} and {sheet.name} are not of one kind: only one of them has pictures")
    names = question.attributes if main.x is not None else tuple(main.columns)
    notes = [note for sheet in sheets for note in sheet.notes]
    joined = {name: _joined(name, sheets, question, notes) for name in names if name != question.group}
    if question.group in question.attributes:
        joined[question.group] = _joined(question.group, sheets, question, notes)
    return Pool(
        "table" if main.x is None else "image",
        np.concatenate([sheet.origin for sheet in sheets]),
        np.concatenate([sheet.ids for sheet in sheets]),
        joined,
        _persons(sheets, question, joined),
        None if main.x is None else stack([sheet.x for sheet in sheets if sheet.x is not None]),
        None if main.thumbs is None else np.concatenate([s.thumbs for s in sheets if s.thumbs is not None]),
        tuple(notes),
        tuple(flag for sheet in sheets for flag in sheet.flags),
    )


def most_frequent(pool: Pool, question: Question, top: str) -> Pool:
    """Only the examples that have one of the n most frequent values of a column; `top` is written `writer=100`.

    Equally frequent values are taken in the order of their names. Raises SpecError where `top` is written otherwise or
    names a column that is no attribute of the question, or has too few values."""
    name, _, text = top.partition("=")
    if not text.isdecimal() or int(text) < 2:
        raise SpecError(f"top is written COLUMN=NUMBER with a number of at least 2, such as writer=100; got {top!r}")
    if name not in question.attributes:
        raise SpecError(unknown("attribute for top", name, question.attributes))
    column, n = pool.columns[name], int(text)
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.levels))
    if n > np.count_nonzero(counts):
        raise SpecError(f"top asks for {n} values of {name!r}, which has {np.count_nonzero(counts)}; ask for fewer")
    chosen = np.sort(np.lexsort((np.arange(len(counts)), -counts))[:n])
    place = np.full(len(counts) + 1, -1)  # the last one for missing labels
    place[chosen] = np.arange(n)
    rows = place[column.codes] >= 0
    kept = pool.take(rows)
    levels = tuple(column.levels[i] for i in chosen)
    kept.columns[name] = replace(kept.columns[name], codes=place[kept.columns[name].codes], levels=levels)
    note = f"only the {n} most frequent of {np.count_nonzero(counts)} values of {name!r}: {rows.sum()} of {len(rows)}"
    return replace(kept, notes=(*kept.notes, f"{note} examples"))


def _joined(name: str, sheets: Sequence[Sheet], question: Question, notes: list[str]) -> Column:
    """One column over all sheets, in the main set's classes."""
    first, attribute = sheets[0].columns[name], name in question.attributes
    columns = [first]
    for sheet in sheets[1:]:
        if name not in sheet.columns and name == question.target and sheet.origin[0] == "aux":
            notes.append(f"{sheet.name} has no column {name!r}: nobody attacks the target")
            columns.append(first.unknown(len(sheet.ids)))
            continue
        if name not in sheet.columns:
            raise DataError(
                f"{sheet.name} has no column {name!r}, which {sheets[0].name} has; give a set of the same layout"
            )
        column, strangers = rename(sheet.columns[name], first.levels)
        if attribute and not np.any(column.codes >= 0):
            raise DataError(
                f"{sheet.name} has none of the classes of {name!r} ({', '.join(first.levels[:5])}) but "
                f"{', '.join(strangers[:5]) or 'no value'}; classes are matched by name"
            )
        if attribute and strangers:
            notes.append(
                f"{sheet.name}: the classes {', '.join(strangers[:5])} of {name!r} are unknown and count as missing"
            )
        if attribute and (absent := set(first.codes.tolist()) - set(column.codes.tolist()) - {-1}):
            lacking = ", ".join(first.levels[code] for code in sorted(absent)[:5])
            notes.append(f"{sheet.name} has no examples of the classes {lacking} of {name!r}")
        columns.append(column)
    numeric = all(column.numbers is not None for column in columns)
    if first.numbers is not None and not numeric and not attribute:
        raise DataError(
            f"column {name!r} is numeric in {sheets[0].name} but not in every other set; give the same layout"
        )
    numbers = np.concatenate([c.numbers for c in columns if c.numbers is not None]) if numeric else None
    codes = np.concatenate([column.codes for column in columns])
    kind = "number" if first.numbers is not None and any(c.kind == "number" for c in columns) else first.kind
    return Column(name, kind, codes, first.levels, numbers, first.named, first.type)


def _persons(sheets: Sequence[Sheet], question: Question, joined: Mapping[str, Column]) -> Ints | None:
    """Codes of the group column; the same name in another set is another person, unless persons are what is asked
    for."""
    if question.group is None:
        return None
    if question.by_design:
        return joined[question.group].codes
    codes: list[Ints] = []
    used = 0
    for sheet in sheets:
        column = sheet.columns.get(question.group)
        own = np.full(len(sheet.ids), -1, np.int64) if column is None else column.codes
        codes.append(np.where(own < 0, -1, own + used))
        used += 0 if column is None else len(column.levels)
    return np.concatenate(codes)
