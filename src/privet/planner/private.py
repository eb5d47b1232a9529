"""Private examples that are released: read whole where they are small, and pictures in Parquet as they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from privet.data import parquet
from privet.data.columns import Column, class_names, encode
from privet.data.images import pixels
from privet.data.source import short
from privet.errors import DataError, unknown
from privet.payload import Array
from privet.planner.local import Local

BATCH = 256  # examples that are held at a time


@dataclass(frozen=True)
class Loaded:
    """What is small, and read whole: tables, digits, folders of pictures. The people of the plan, by their ids;
    `batches` gives the numbers and examples of rows, which ascend."""

    x: Array
    column: Column
    digest: str
    where: str
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, data: str, target: str, local: Local) -> Loaded:
        from privet.data.assemble import load

        if local.read_as.get("limit"):
            raise DataError(
                "the plan was made from some of the people (--limit); make it again without, to release all"
            )
        corpus = load(data, target=target, hidden=("none",), **local.read_as)
        if corpus.digest != local.data:
            raise DataError(
                f"{data} is not what the plan was made from, and tables are coded by what they hold; make a plan of "
                "it, or give pictures in Parquet, which any plan for their size takes"
            )
        parts = list(corpus.parts.values())
        order = np.argsort(np.concatenate([part.ids for part in parts]), kind="stable")
        x, y = (np.concatenate([getattr(part, name) for part in parts])[order] for name in ("x", "y"))
        column = Column(target, "label", y, corpus.classes[target])
        return cls(x, column, corpus.digest, corpus.name, tuple(corpus.notes))

    def batches(self, rows: Array) -> Iterator[tuple[Array, Array]]:
        """(numbers, examples) of those rows, which ascend, a batch at a time."""
        for start in range(0, len(rows), BATCH):
            numbers = rows[start : start + BATCH]
            yield numbers, self.x[numbers]


@dataclass(frozen=True)
class Pictures:
    """Parquet files of pictures, read a batch at a time; labels of all rows are known beforehand."""

    files: tuple[Path, ...]
    image: str
    column: Column
    shape: tuple[int, ...]
    digest: str
    where: str
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path, target: str, shape: tuple[int, ...]) -> Pictures:
        files = tuple(file for split in parquet.find(path).values() for file in split)
        opened = [_open(file) for file in files]
        schema = opened[0].schema_arrow
        images = [name for name in schema.names if parquet.is_picture(schema.field(name).type)]
        labels = [name for name in schema.names if name not in images]
        if target not in labels:
            raise DataError(unknown("column", target, labels))
        strangers = [
            short(file)
            for file, one in zip(files, opened, strict=True)
            if images[0] not in one.schema_arrow.names or target not in one.schema_arrow.names
        ]
        if strangers:
            raise DataError(f"{strangers[0]} has no column {images[0]!r} or no {target!r}; give files of one layout")
        try:
            tables = [file.read(columns=[target]) for file in opened]
            values = pa.concat_tables(tables, promote_options="permissive")[target]
        except (pa.ArrowException, OSError) as problem:
            raise DataError(f"column {target!r} is not of one type in all files ({problem}); give one") from problem
        column = encode(target, values, class_names(schema.metadata).get(target))
        if why := column.why_not():
            raise DataError(f"column {target!r} cannot be the label: it {why}")
        digest = hashlib.sha256()
        for file in files:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return cls(files, images[0], column, shape, digest.hexdigest(), short(files[0]))

    def batches(self, rows: Array) -> Iterator[tuple[Array, Array]]:
        """(numbers, pictures) of those rows, which ascend, that can be decoded, a batch at a time."""
        start = 0
        for file in self.files:
            opened = _open(file)
            for group in range(opened.metadata.num_row_groups):
                size = opened.metadata.row_group(group).num_rows
                if len(_within(rows, start, start + size)):
                    at = start
                    for batch in opened.iter_batches(BATCH, row_groups=[group], columns=[self.image]):
                        mine = _within(rows, at, at + len(batch))
                        if len(mine):
                            yield self._decoded(batch, mine, at)
                        at += len(batch)
                start += size

    def _decoded(self, batch: Any, rows: Array, first: int) -> tuple[Array, Array]:
        encoded = batch.column(0).field("bytes")
        looked = {
            int(n): picture
            for n in rows
            if (picture := pixels(encoded[int(n) - first].as_py() or b"", self.shape)) is not None
        }
        x = np.stack(list(looked.values())) if looked else np.zeros((0, *self.shape), np.uint8)
        return np.array(list(looked), np.int64), x


Private = Loaded | Pictures


def opened(data: str, target: str, local: Local) -> Private:
    """Pictures in Parquet are read as they are needed, the rest whole."""
    files = [file for split in parquet.find(Path(data)).values() for file in split]
    if len(local.shape) == 3 and files and any(map(parquet.is_picture, _open(files[0]).schema_arrow.types)):
        return Pictures.open(Path(data), target, local.shape)
    return Loaded.open(data, target, local)


def _within(rows: Array, first: int, last: int) -> Array:
    """Those of ascending rows from first to last."""
    low, high = np.searchsorted(rows, (first, last))
    return rows[low:high]


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as problem:
        raise DataError(f"{short(file)} is not a readable Parquet file ({problem}); write it again") from problem
