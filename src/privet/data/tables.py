"""Tables: rows to features in [0, 1], scaled and coded by what task_train shows, and to content hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from privet.data.columns import Column, bijective
from privet.data.corpus import Ints, Strings
from privet.errors import DataError

MOST_CATEGORIES = 50
FEW_INTEGERS = 12
NAMED = 5  # columns with gaps that a note names
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """x: float32 [N, D] in [0, 1]; names: D of them, such as "age" or "job=teacher"; notes: what was left out, and
    why."""

    x: Floats
    names: tuple[str, ...]
    notes: tuple[str, ...]


def row_ids(table: pa.Table) -> Strings:
    """16 hex digits per row, from the column names and all values as text."""
    head = "\x1f".join(table.column_names).encode()
    texts = [_text(table[name]) for name in table.column_names]
    lines = pc.binary_join_element_wise(*texts, pa.scalar("\x1f", pa.large_string())).to_pylist()
    return np.array([hashlib.sha256(head + line.encode()).hexdigest()[:16] for line in lines])


def _text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        text = values.cast(pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        text = pa.chunked_array([pa.array([repr(value) for value in values.to_pylist()], pa.large_string())])
    text = pc.replace_substring(pc.replace_substring(text, "\\", "\\\\"), "\x1f", "\\x")
    return pc.fill_null(text, "\\0")  # no escaped text looks like this


def features(columns: Mapping[str, Column], train: npt.NDArray[np.bool_], labels: Mapping[str, Ints]) -> Features:
    """Inputs from the feature columns. train: [N] bool, the rows that set scales and categories; labels: target and
    hidden codes [N]: a column that is one of them under another name is left out, with a note.

    Continuous columns (and integers of more than 12 values): min-max on the 1 % and 99 % quantiles, clipped, missing
    at the median; text and few-valued integers: one-hot, of more than 50 categories the most frequent and one for
    the rest. Where task_train has missing values, an indicator is added. DataError where nothing is left."""
    made: list[tuple[str, npt.NDArray[np.float64]]] = []
    notes: list[str] = []
    gaps: dict[str, int] = {}
    for name, column in columns.items():
        if reason := _unusable(column, train, labels):
            notes.append(f"column {name!r} is not a feature: it {reason}")
            continue
        made += _numeric(column, train) if _is_numeric(column, train) else _one_hot(column, train)
        gaps[name] = int((~_known(column)).sum())
    if not made:
        raise DataError("no column is left to be a feature; give a table with more columns than target and hidden")
    notes += _missing(gaps, len(train))
    x = np.stack([values for _, values in made], axis=1).astype(np.float32)
    return Features(x, tuple(name for name, _ in made), tuple(notes))


def _missing(gaps: Mapping[str, int], rows: int) -> list[str]:
    """A note on the columns that lack values, those that lack most first."""
    told = [f"{name!r} ({count:,})" for name, count in sorted(gaps.items(), key=lambda one: -one[1]) if count]
    if not told:
        return []
    more = [f"{len(told) - NAMED} more"] if len(told) > NAMED else []
    return [
        f"of {rows:,} rows some lack a value: {', '.join([*told[:NAMED], *more])}; a missing number is the median "
        "of its column, a missing word none of its categories"
    ]


def _known(column: Column) -> npt.NDArray[np.bool_]:
    return ~np.isnan(column.numbers) if column.numbers is not None else column.codes >= 0


def _unusable(column: Column, train: npt.NDArray[np.bool_], labels: Mapping[str, Ints]) -> str | None:
    if column.kind == "other":
        return f"is of type {column.type}"
    for name, codes in labels.items():
        if column.kind == "label" and bijective(column.codes, codes):
            return f"is {name!r} under another name"
    known = _known(column) & train
    values = column.numbers[known] if column.numbers is not None else column.codes[known]
    distinct = len(np.unique(values))
    if distinct < 2:
        return "has one value in task_train"
    if column.numbers is None and distinct > MOST_CATEGORIES and 2 * distinct > len(values):
        return "is different in most rows, as a name is"
    return None


def _is_numeric(column: Column, train: npt.NDArray[np.bool_]) -> bool:
    if column.numbers is None or column.named:
        return False
    return column.kind == "number" or len(np.unique(column.codes[train & _known(column)])) > FEW_INTEGERS


def _numeric(column: Column, train: npt.NDArray[np.bool_]) -> list[tuple[str, npt.NDArray[np.float64]]]:
    assert column.numbers is not None
    known = _known(column)
    seen = column.numbers[known & train]
    low, high = np.quantile(seen, [0.01, 0.99])
    if high <= low:
        low, high = seen.min(), seen.max()
    filled = np.where(known, column.numbers, np.median(seen))
    scaled = np.clip((filled / 2 - low / 2) / (high / 2 - low / 2), 0.0, 1.0)  # halved: high - low may overflow
    return [(column.name, scaled), *_indicator(column, known, train)]


def _one_hot(column: Column, train: npt.NDArray[np.bool_]) -> list[tuple[str, npt.NDArray[np.float64]]]:
    known = column.codes >= 0
    counts = np.bincount(column.codes[known & train], minlength=len(column.levels))
    kept = np.flatnonzero(counts)
    if len(kept) == 2 and known.all():
        return [(f"{column.name}={column.levels[kept[1]]}", (column.codes == kept[1]).astype(np.float64))]
    if len(kept) > MOST_CATEGORIES:
        kept = np.sort(np.argsort(-counts, kind="stable")[:MOST_CATEGORIES])
    made = [(f"{column.name}={column.levels[code]}", (column.codes == code).astype(np.float64)) for code in kept]
    if len(kept) == MOST_CATEGORIES:
        made.append((f"{column.name}=(other)", (known & ~np.isin(column.codes, kept)).astype(np.float64)))
    return [*made, *_indicator(column, known, train)]


def _indicator(
    column: Column, known: npt.NDArray[np.bool_], train: npt.NDArray[np.bool_]
) -> list[tuple[str, npt.NDArray[np.float64]]]:
    return [] if known[train].all() else [(f"{column.name}=(missing)", (~known).astype(np.float64))]
