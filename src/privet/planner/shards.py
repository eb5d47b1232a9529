"""Shards of a release: Parquet files of features and labels that say what they were made from."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from privet import run
from privet.errors import RunError
from privet.payload import Array
from privet.planner.local import Local
from privet.planner.private import Private

MADE_FROM, SHAPE = b"privet_made_from", b"privet_shape"
Report = Callable[[str, int, int], None] | None


def write(
    path: Path, made_from: str, local: Local, source: Private, rows: Array, progress: tuple[Report, int, int]
) -> tuple[tuple[int, ...], int]:
    """Write features and labels of these rows, in their order, whole or not at all; returns the shape of the features
    and how many rows could be decoded. progress: whom to tell, how many rows were written before, and of how many."""
    report, before, total = progress
    written, shape = 0, local.released
    width = int(np.prod(shape))
    schema = pa.schema({"z": pa.list_(pa.float16(), width), "label": pa.int64()}).with_metadata(
        {MADE_FROM: made_from, SHAPE: json.dumps(shape)}
    )
    with run.writing(path):
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        try:
            features, labels = [np.zeros((0, width), np.float16)], [np.zeros(0, np.int64)]
            came = [np.zeros(0, np.int64)]
            for numbers, x in source.batches(np.sort(rows)):
                if len(numbers):
                    features.append(local.features(x).reshape(-1, width))
                    labels.append(source.column.codes[numbers])
                    came.append(numbers)
                    written += len(numbers)
                    if report:
                        report("releasing", before + written, total)
            place = {int(n): i for i, n in enumerate(np.concatenate(came))}
            order = np.array([place[n] for n in rows.tolist() if n in place], np.int64)  # as they were dealt
            flat = pa.array(np.concatenate(features)[order].reshape(-1))
            columns = [pa.FixedSizeListArray.from_arrays(flat, width), pa.array(np.concatenate(labels)[order])]
            table = pa.Table.from_arrays(columns, schema=schema)
            pq.write_table(table, draft, row_group_size=max(1, written), write_page_checksum=True)
            os.chmod(draft, 0o644)
            os.replace(draft, path)
        finally:
            Path(draft).unlink(missing_ok=True)
    return shape, written


def read(path: Path, made_from: str) -> tuple[tuple[int, ...], int] | None:
    """Shape and rows of a shard that was made from the same, None where there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        opened = pq.ParquetFile(path, page_checksum_verification=True)
        told = opened.schema_arrow.metadata or {}
        if told.get(MADE_FROM, b"").decode() != made_from:
            return None
        return tuple(json.loads(told[SHAPE])), len(opened.read())
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return None


def refuse_strangers(out: Path, made_from: str) -> None:
    """RunError where the folder holds another release: shards of two would be mixed."""
    for path in sorted(out.glob("part-*.parquet")):
        try:
            other = (pq.read_schema(path).metadata or {}).get(MADE_FROM, b"").decode()
        except (OSError, pa.ArrowException):
            continue
        if other != made_from:
            raise RunError(f"{out} holds the release of another plan or other data; choose another --out")
