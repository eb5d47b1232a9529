"""A file's payload as numbers, and the rows that hold none.

One convention: a column `payload` of lists of numbers (or of byte strings of one length), or else one column of numbers
for each value, `payload_0`, `payload_1`, ... in the order of their numbers, without a gap.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privet.errors import DataError
from privet.payload import Array

WHOLE, PREFIX = "payload", "payload_"
NAMED = 5  # rows that a message names
LIMIT = 1e15  # squares of larger values, summed over people, come near the end of float32


@dataclass(frozen=True)
class Block:
    """Numbers [N, P] of a table's rows, and for each row why it holds none (empty where it does); `columns` are those
    that were read."""

    values: Array
    why: Array
    columns: tuple[str, ...]


def payload(table: pa.Table, prefix: str, where: str, others: Collection[str] = ()) -> Block:
    """The payload of every row; `others` are columns that are something else, however they are called. DataError where
    there is none, or none of numbers, and where a column that begins as they do is no value or a value is missing."""
    if WHOLE in table.column_names and prefix == PREFIX:
        return lists(WHOLE, table[WHOLE], where)
    return _scalars(_values(table, prefix, where, others), table, where)


def _values(table: pa.Table, prefix: str, where: str, others: Collection[str]) -> list[str]:
    """The columns of the payload's values, in the order of their numbers."""
    begun = [name for name in table.column_names if name.startswith(prefix) and name not in others]
    names = [name for name in begun if re.fullmatch("[0-9]+", name.removeprefix(prefix))]
    if not names:
        raise DataError(
            f"{where} has no column {WHOLE!r} and none that is {prefix!r} and a number; its columns are "
            f"{', '.join(table.column_names[:12])}: rename one, or give --payload-columns PREFIX"
        )
    if odd := [name for name in begun if name not in names]:
        raise DataError(
            f"column {odd[0]!r} of {where} begins with {prefix!r} and is no value, for no number follows; rename it"
        )
    numbers = {int(name.removeprefix(prefix)): name for name in names}
    if len(numbers) < len(names):
        twice = next(name for name in names if name not in numbers.values())
        raise DataError(f"column {twice!r} of {where} has the number of another value; number every value once")
    order = sorted(numbers)
    for low, high in itertools.pairwise(order):
        if high > low + 1:
            raise DataError(
                f"{prefix}{low + 1} is missing between {numbers[low]} and {numbers[high]} of {where}; write the "
                "columns of all values, or number them without a gap"
            )
    return [numbers[place] for place in order]


def lists(name: str, column: pa.ChunkedArray, where: str) -> Block:
    """A column of lists or byte strings, all of one length but for bad rows. DataError where it holds no numbers."""
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        column = pa.chunked_array([pa.array([None if v is None else list(v) for v in column.to_pylist()],
                                            pa.list_(pa.uint8()))])  # fmt: skip
    elif not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise DataError(
            f"column {name!r} of {where} is of type {kind}; it holds lists of numbers or byte strings: "
            "write it as one of them, or give a column for each value"
        )
    _numeric(name, column.type.value_type, where)
    column = column.cast(pa.large_list(column.type.value_type))
    whole = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    lengths = pc.fill_null(pc.list_value_length(whole), -1).to_numpy(zero_copy_only=False)
    found, counts = np.unique(lengths[lengths > 0], return_counts=True)
    if not len(found):
        raise DataError(f"column {name!r} of {where} holds no values; record the payloads themselves")
    usual = int(found[np.argmax(counts)])
    why = np.array([""] * len(lengths), dtype=object)
    for row in np.flatnonzero(lengths != usual):
        held = lengths[row]
        why[row] = f"no {name}" if held < 0 else f"{held} values in {name!r} where most rows have {usual}"
    good = lengths == usual
    flat = whole.filter(pa.array(good)).flatten()
    values = np.zeros((len(good), usual), _dtype(flat.type))
    values[good] = _numbers(flat).reshape(-1, usual)
    holes = np.zeros(values.shape, bool)
    if flat.null_count:
        holes[good] = pc.is_null(flat).to_numpy(zero_copy_only=False).reshape(-1, usual)
    return _checked(values, why, holes, (name,))


def stop(where: str, why: Array, *, skip: bool, remedy: str = "mend them") -> str:
    """The sentence about bad rows: empty where there are none, a note where they may be skipped, else DataError; where
    more than half of the rows are bad they are never skipped."""
    bad = np.flatnonzero(why != "")
    if not len(bad):
        return ""
    said = f"{len(bad)} of {len(why)} rows of {where} cannot be used: {rows(bad, why)}"
    if not skip or 2 * len(bad) > len(why):
        also = "" if 2 * len(bad) > len(why) else ", or leave them out with --on-bad skip"
        raise DataError(f"{said}; {remedy}{also} (rows are counted from 0)")
    return f"{said}; they were skipped"


def rows(bad: Sequence[int] | Array, why: Array) -> str:
    """The first bad rows with their reasons."""
    told = [f"row {row} ({why[row]})" for row in bad[:NAMED]]
    return ", ".join(told) + (f" and {len(bad) - NAMED} more" if len(bad) > NAMED else "")


def _scalars(names: list[str], table: pa.Table, where: str) -> Block:
    for name in names:
        _numeric(name, table[name].type, where)
    values = np.stack([_numbers(table[name]) for name in names], axis=1)
    holes = np.stack([pc.is_null(table[name]).to_numpy() for name in names], axis=1)
    return _checked(values, np.array([""] * len(values), dtype=object), holes, tuple(names))


def _checked(values: Array, why: Array, holes: Array, columns: tuple[str, ...]) -> Block:
    """The block of values and holes [N, P]; why names the first column of a row that is at fault."""
    faults = [("a missing value in {!r}", holes)]
    if values.dtype.kind == "f":
        faults.append(("NaN or infinity in {!r}", ~np.isfinite(values)))
    if values.dtype.itemsize >= 4:
        faults.append((f"a value of {{!r}} beyond {LIMIT:g}: divide all of them by a constant", _too_large(values)))
    for said, found in faults:
        for row in np.flatnonzero((why == "") & found.any(1)):
            why[row] = said.format(columns[found[row].argmax() if len(columns) > 1 else 0])
    return Block(values, why, columns)


def _too_large(values: Array) -> Array:
    """Which of the values [N, P] adversaries cannot compute with; long integers are counted from their column's
    middle, as they are read from one of them (`privet.recorded.system.fine`)."""
    if values.dtype.kind == "f":
        return np.asarray(np.abs(values) > LIMIT)
    real = values.astype(np.float64)
    far: Array = np.abs(real) > LIMIT
    return np.asarray(np.abs(real - np.median(real, axis=0)) > LIMIT) if far.any() else far


def _numeric(name: str, kind: pa.DataType, where: str) -> None:
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise DataError(
            f"column {name!r} of {where} holds values of type {kind}, which are no numbers; write them as float or int"
        )


def _dtype(kind: pa.DataType) -> np.dtype:
    return np.dtype(np.bool_ if pa.types.is_boolean(kind) else kind.to_pandas_dtype())


def _numbers(values: pa.Array) -> Array:
    """Numbers of the file's own type; 0 stands where one is missing."""
    if values.null_count:
        zero = pa.scalar(False) if pa.types.is_boolean(values.type) else pa.scalar(0).cast(values.type)
        values = pc.if_else(pc.is_null(values), zero, values)
    return np.asarray(values.to_numpy() if isinstance(values, pa.ChunkedArray) else values.to_numpy(False))
