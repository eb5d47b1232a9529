"""Parquet in the layouts of the Hugging Face hub: one file, or shards of train and test, with or without pictures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from privet.data.source import Frame, Pictures, Source, frame_of, short
from privet.errors import DataError

SHARD = re.compile(r"^(train|test|validation|valid|val|dev)(-\d+-of-\d+|-\d+)?\.parquet$")
MOST_BYTES = 16 << 30
TEST_NAMES = ("test", "validation", "valid", "val", "dev")


def find(path: Path) -> dict[str, list[Path]]:
    """The Parquet files behind a path, by split ("train", "test"); empty where there are none.

    A file is all "train"; `DIR/adult` means DIR/adult_train.parquet and DIR/adult_test.parquet; a directory holds
    train*.parquet and test*.parquet, or has them in `data/` or in its only folder that does. Without a test split the
    validation split stands for it; with both, validation joins train."""
    if path.is_file():
        return {"train": [path]}
    if not path.is_dir():
        pair = {split: path.with_name(f"{path.name}_{split}.parquet") for split in ("train", "test")}
        found = {split: [file] for split, file in pair.items() if file.is_file()}
        return found if "train" in found else {}
    folders = [path, path / "data", *sorted(p for p in path.iterdir() if p.is_dir())]
    splits = [found for folder in folders if folder.is_dir() and "train" in (found := _splits(folder))]
    if splits:
        return splits[0]
    alone = sorted(path.glob("*.parquet"))
    return {"train": alone} if len(alone) == 1 else {}


def pairs(path: Path) -> list[str]:
    """Names X of which a directory holds X_train.parquet."""
    return sorted(p.name.removesuffix("_train.parquet") for p in path.glob("*_train.parquet")) if path.is_dir() else []


def _splits(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*.parquet")):
        if match := SHARD.match(file.name):
            found.setdefault(match[1], []).append(file)
    test = next((name for name in TEST_NAMES if name in found), None)
    if "train" not in found:
        return {}
    rest = [file for name in TEST_NAMES if name in found and name != test for file in found[name]]
    splits = {"train": found["train"] + rest}
    return splits if test is None else {**splits, "test": found[test]}


def source(path: Path) -> Source:
    """Read the files that `find` finds; DataError where one is not a Parquet file or holds no rows."""
    frames = {split: _frame(files) for split, files in find(path).items()}
    train, test = frames["train"], frames.get("test")
    if test is not None and (train.pictures is None) != (test.pictures is None):
        raise DataError(f"of train and test in {short(path)} only one has pictures; both need the same columns")
    return Source(path.name.removesuffix(".parquet"), train, test)


def _frame(files: Sequence[Path]) -> Frame:
    contents = [file.read_bytes() for file in files]
    tables = [_table(data, file) for data, file in zip(contents, files, strict=True)]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"the shards of {short(files[0])} do not have the same columns: {error}") from error
    table = table.replace_schema_metadata(tables[0].schema.metadata)
    key = hashlib.sha256("".join(hashlib.sha256(data).hexdigest() for data in contents).encode()).hexdigest()
    return framed(table, key, short(files[0]))


def _table(data: bytes, file: Path) -> pa.Table:
    try:
        opened = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        groups = range(opened.metadata.num_row_groups)
        if sum(opened.metadata.row_group(i).total_byte_size for i in groups) > MOST_BYTES:
            raise DataError(f"{short(file)} unpacks to more than {MOST_BYTES >> 30} GiB; give a part of it")
        table = opened.read()
        table.validate(full=True)
        return table
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise DataError(f"{short(file)} is not a readable Parquet file ({reason}); write it again") from error


def framed(table: pa.Table, key: str, where: str) -> Frame:
    """A table as a frame: its first column of struct<bytes, path> becomes the pictures, other such columns are left
    out."""
    if not table.num_rows:
        raise DataError(f"{where} has no rows; give a file with examples")
    if len(set(table.column_names)) < table.num_columns:
        raise DataError(f"{where} has two columns of one name; rename one of them")
    image = [name for name in table.column_names if is_picture(table.schema.field(name).type)]
    if not image:
        return frame_of(table)
    encoded = pc.struct_field(table[image[0]], "bytes").to_pylist()
    return frame_of(table.drop_columns(image), Pictures(len(encoded), encoded.__getitem__, f"{key} {image[0]}", where))


def is_picture(kind: pa.DataType) -> bool:
    """Whether a column is what the hub calls an image: a struct with the encoded bytes."""
    if not pa.types.is_struct(kind):
        return False
    fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
    held = fields.get("bytes")
    return held is not None and (pa.types.is_binary(held) or pa.types.is_large_binary(held) or pa.types.is_null(held))
