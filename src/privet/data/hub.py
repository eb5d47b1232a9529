"""hub:NAME or hub:NAME:CONFIG, a data set of the Hugging Face hub in any of the layouts that `datasets` reads."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from privet.data.parquet import TEST_NAMES, framed
from privet.data.source import Frame, Source
from privet.errors import DataError, MissingExtra


def source(name: str) -> Source:
    """Fetch (or find in the hub's cache) and read. Raises MissingExtra without `datasets`, DataError where the name
    cannot be resolved or the set has no split to train on."""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra("datasets", "hub") from error
    path, _, config = name.partition(":")
    try:
        splits = datasets.load_dataset(path, config or None)
    except Exception as error:  # the hub's client raises its own, its HTTP library's and the file system's errors
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(
            f"the hub data set {name!r} could not be loaded ({reason}); check the name and the network, "
            "or save it as train.parquet and test.parquet and give that directory"
        ) from error
    if "train" not in splits:
        raise DataError(f"the hub data set {name!r} has no split 'train'; it has: {', '.join(splits)}")
    test = next((split for split in TEST_NAMES if split in splits), None)
    frames = [_frame(splits[split], f"{name} {split}") for split in ("train", test) if split is not None]
    return Source(path, frames[0], frames[1] if len(frames) > 1 else None)


def _frame(split: Any, where: str) -> Frame:
    table: pa.Table = split.with_format("arrow")[:]
    table = table.replace_schema_metadata(split.features.arrow_schema.metadata)
    key = hashlib.sha256(where.encode())
    for column in table.columns:
        if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
            for data in pc.struct_field(column, "bytes").to_pylist():
                key.update(hashlib.sha256(data or b"").digest())
    return framed(table, key.hexdigest(), where)
