"""Columns of a table as labels: integer codes with class names, or the reason why a column cannot be an attribute."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privet.data.corpus import Ints
from privet.errors import DataError, unknown

MOST_CLASSES = 5_000
LABEL_LIKE = range(2, 51)


@dataclass(frozen=True)
class Column:
    """One column of N rows. kind: "label" (integers, booleans, text), "number" (continuous) or "other" (not usable).

    codes: [N] int64 into `levels`, -1 missing (all -1 unless kind is "label"); numbers: [N] float64, NaN missing, for
    numeric columns, else None; named: the levels come from the schema (ClassLabel), not from the values."""

    name: str
    kind: str
    codes: Ints
    levels: tuple[str, ...] = ()
    numbers: np.ndarray | None = None
    named: bool = False
    type: str = ""

    def unknown(self, rows: int) -> Column:
        """The same column where no row has a value."""
        numbers = None if self.numbers is None else np.full(rows, np.nan)
        return replace(self, codes=np.full(rows, -1, np.int64), numbers=numbers)

    def why_not(self) -> str | None:
        """Why this column cannot be a target, hidden or side attribute; None where it can."""
        if self.kind == "number":
            return "holds continuous numbers; an attribute has classes (bin it into a new column first)"
        if self.kind == "other":
            return f"is of type {self.type}; an attribute is integers, booleans or text"
        if len(self.levels) > MOST_CLASSES:
            return f"has {len(self.levels):,} distinct values; an attribute has at most {MOST_CLASSES:,}"
        if not self.levels:
            return "is empty"
        return None

    def take(self, rows: np.ndarray) -> Column:
        numbers = None if self.numbers is None else self.numbers[rows]
        return Column(self.name, self.kind, self.codes[rows], self.levels, numbers, self.named, self.type)


def class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, tuple[str, ...]]:
    """Names of the ClassLabel columns in a hub schema's metadata; empty where there are none or they do not parse."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        found = {
            str(name): tuple(str(label) for label in feature["names"])
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and "names" in feature
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: names for name, names in found.items() if len(set(names)) == len(names)}


def encode(name: str, values: pa.ChunkedArray, names: Sequence[str] | None = None) -> Column:
    """A column as codes. `names`: the schema's class names, then values are indices and -1 is missing.

    Raises DataError for an index that is no whole number or has no name."""
    kind = values.type
    empty = np.full(len(values), -1, np.int64)
    if pa.types.is_dictionary(kind):
        return encode(name, values.cast(kind.value_type), names)
    if pa.types.is_boolean(kind):
        codes = pc.fill_null(values.cast(pa.int64()), -1).to_numpy()
        return Column(name, "label", codes, ("False", "True"), np.where(codes < 0, np.nan, codes))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _from_text(name, values)
    if pa.types.is_integer(kind) and names is None:
        return _from_integers(name, values)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _from_numbers(name, values, names)
    if pa.types.is_null(kind):
        return Column(name, "label", empty, (), np.full(len(values), np.nan))
    return Column(name, "other", empty, type=str(kind))


def _from_text(name: str, values: pa.ChunkedArray) -> Column:
    found = values.cast(pa.large_string()).combine_chunks().dictionary_encode()
    words = np.array(found.dictionary.to_pylist() or [""], dtype=object)
    order = np.argsort(words, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    codes = pc.fill_null(found.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    codes = np.where(codes < 0, -1, rank[codes]).astype(np.int64)
    return Column(name, "label", codes, tuple(str(word) for word in words[order]) if len(found.dictionary) else ())


def _from_integers(name: str, values: pa.ChunkedArray) -> Column:
    known = pc.is_valid(values).to_numpy()
    exact = np.uint64 if pa.types.is_uint64(values.type) else np.int64  # 64-bit person numbers do not fit a float
    whole = pc.fill_null(values, 0).to_numpy().astype(exact)
    codes = np.full(len(whole), -1, np.int64)
    levels, codes[known] = np.unique(whole[known], return_inverse=True)
    numbers = np.where(known, whole.astype(np.float64), np.nan)
    return Column(name, "label", codes, tuple(str(value) for value in levels.tolist()), numbers)


def _from_numbers(name: str, values: pa.ChunkedArray, names: Sequence[str] | None) -> Column:
    numbers = values.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    known = ~np.isnan(numbers)
    codes = np.full(len(numbers), -1, np.int64)
    if names is not None:
        found = numbers[known]
        wrong = found[(found < -1) | (found >= len(names)) | (found != np.round(found))]
        if len(wrong):
            raise DataError(
                f"column {name!r} holds {wrong[0]:.16g}, but its schema names {len(names)} classes: "
                f"whole numbers from 0 to {len(names) - 1}, -1 where missing; correct the file or remove the names"
            )
        codes[known] = found.astype(np.int64)
        return Column(name, "label", codes, tuple(names), np.where(codes < 0, np.nan, numbers), named=True)
    if np.any((numbers[known] != np.round(numbers[known])) | (np.abs(numbers[known]) > 2**53)):
        return Column(name, "number", codes, (), numbers)
    levels, codes[known] = np.unique(numbers[known], return_inverse=True)
    return Column(name, "label", codes, tuple(str(int(value)) for value in levels), numbers)


def rename(column: Column, levels: Sequence[str]) -> tuple[Column, tuple[str, ...]]:
    """The same column in another's classes, matched by name; also the names that the other does not have (now
    missing)."""
    index = {level: code for code, level in enumerate(levels)}
    table = np.array([index.get(level, -1) for level in column.levels] + [-1], np.int64)
    strangers = tuple(level for level in column.levels if level not in index)
    renamed = Column(column.name, column.kind, table[column.codes], tuple(levels), column.numbers, True, column.type)
    return renamed, strangers


def determines(a: Ints, b: Ints) -> bool:
    """Whether, on rows where both are known, every value of `a` goes with one value of `b`."""
    known = (a >= 0) & (b >= 0)
    width = int(b.max(initial=0)) + 1
    pairs = np.unique(a[known] * width + b[known])
    return len(pairs) > 0 and len(np.unique(pairs // width)) == len(pairs)


def bijective(a: Ints, b: Ints) -> bool:
    """Whether two labelings are one labeling under two names."""
    return determines(a, b) and determines(b, a)


def pick(columns: Mapping[str, Column], name: str, what: str) -> Column:
    """The column `name` as an attribute; DataError with the nearest name, or with the reason why it cannot be one."""
    if name not in columns:
        raise DataError(unknown("column", name, columns))
    if reason := columns[name].why_not():
        raise DataError(f"column {name!r} cannot be the {what}: it {reason}; columns that can: {listed(columns)}")
    return columns[name]


def usable(columns: Mapping[str, Column]) -> list[str]:
    """Names of the columns that can be attributes."""
    return [name for name, column in columns.items() if column.why_not() is None]


def label_like(columns: Mapping[str, Column], leave_out: Iterable[str] = ()) -> list[str]:
    """Names of the columns that look like labels: 2 to 50 classes in the data."""
    seen = {name: len(np.unique(columns[name].codes[columns[name].codes >= 0])) for name in usable(columns)}
    return [name for name, count in seen.items() if count in LABEL_LIKE and name not in set(leave_out)]


def listed(columns: Mapping[str, Column], leave_out: Iterable[str] = ()) -> str:
    """The label-like columns, for an error message."""
    return ", ".join(label_like(columns, leave_out)) or "none (a label has 2 to 50 classes)"
