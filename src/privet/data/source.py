"""A source: one data set as read, before anybody is given a role."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from privet.data.columns import Column, class_names, encode
from privet.data.corpus import Pixels, Strings
from privet.errors import DataError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pictures:
    """Encoded pictures: `read(i)` gives the bytes of the i-th of n (or None where there are none); `key` names their
    contents (sha256) for the cache; `where` names them in messages."""

    n: int
    read: Callable[[int], bytes | None]
    key: str
    where: str


@dataclass(frozen=True)
class Decoded:
    """M of the N pictures, decoded: rows [M] their places, x uint8 [M, C, H, W], ids [M] content hashes,
    thumbs uint8 [M, 8, 9] for near-duplicates; bad [N-M] the places of the others and why [N-M] the reasons;
    odd: how many were brought to the common size from another."""

    rows: npt.NDArray[np.int64]
    x: Pixels
    ids: Strings
    thumbs: Pixels
    bad: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    why: Strings = field(default_factory=lambda: np.zeros(0, "U1"))
    odd: int = 0


@dataclass(frozen=True)
class Frame:
    """One split of a source: a table without its picture column, and the pictures (encoded or decoded) or None."""

    table: pa.Table
    pictures: Pictures | Decoded | None = None
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A data set as read. test is None where one file holds everything. defaults: the target and hidden attribute
    that a built-in set has of itself."""

    name: str
    train: Frame
    test: Frame | None = None
    defaults: tuple[str, str] | None = None

    @property
    def frames(self) -> tuple[Frame, ...]:
        return (self.train,) if self.test is None else (self.train, self.test)

    @property
    def kind(self) -> str:
        return "table" if self.train.pictures is None else "image"

    def table(self) -> pa.Table:
        """All rows, train first; columns of one split only are null in the other. DataError where a column has another
        type in each."""
        try:
            return pa.concat_tables([frame.table for frame in self.frames], promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(
                f"train and test of {self.name} do not fit together ({error}); give both one type"
            ) from error

    def columns(self) -> dict[str, Column]:
        """All rows as encoded columns, train first."""
        table, names = self.table(), self.train.names
        return {name: encode(name, table[name], names.get(name)) for name in table.column_names}


def frame_of(table: pa.Table, pictures: Pictures | Decoded | None = None) -> Frame:
    """A frame whose class names come from the table's schema."""
    return Frame(table.replace_schema_metadata(None), pictures, class_names(table.schema.metadata))


def short(path: Path) -> str:
    """The last two parts of a path: enough to know it, without the machine's layout."""
    return "/".join(path.parts[-2:])
