"""CSV files: a table, or the labels of a folder of pictures (a column named file, path, image, filename or
file_name)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc

from privet.data.source import Pictures, Source, frame_of, short
from privet.errors import DataError

PATH_COLUMNS = ("file", "path", "image", "filename", "file_name")
MOST_BYTES = 256 << 20
LABEL_FILES = ("labels.csv", "metadata.csv")


def find(path: Path) -> Path | None:
    """The CSV behind a path: itself, or a directory's labels.csv or metadata.csv."""
    if path.is_file():
        return path
    return next((path / name for name in LABEL_FILES if (path / name).is_file()), None)


def source(file: Path) -> Source:
    """A table, or pictures with labels; all of it is one split. Raises DataError for a file that is not a CSV in
    UTF-8 with a header and rows, and for pictures outside the CSV's folder."""
    table = read_csv(file)
    column = next((name for name in table.column_names if name.strip().lower() in PATH_COLUMNS), None)
    name = file.parent.name if file.name in LABEL_FILES else file.stem
    if column is None or not pa.types.is_string(table.schema.field(column).type):
        if file.name in LABEL_FILES:
            raise DataError(f"{short(file)} has no column of picture paths; name one of: {', '.join(PATH_COLUMNS)}")
        return Source(name, frame_of(table))
    pictures = _pictures(file, [str(p) if p is not None else "" for p in table[column].to_pylist()])
    return Source(name, frame_of(table.drop_columns([column]), pictures))


def read_csv(file: Path) -> pa.Table:
    """The table of a CSV (comma, semicolon or tab); empty cells and the usual NA spellings are missing."""
    data = file.read_bytes()
    header = data.split(b"\n", 1)[0]
    delimiter = max(",;\t", key=lambda mark: header.count(mark.encode()))
    convert = pc.ConvertOptions(strings_can_be_null=True)
    try:
        data.decode("utf-8")
        table = pc.read_csv(pa.BufferReader(data), pc.ReadOptions(), pc.ParseOptions(delimiter=delimiter), convert)
    except UnicodeDecodeError as error:
        raise DataError(f"{short(file)} is not UTF-8 (byte {error.start}); save it in UTF-8") from error
    except (pa.ArrowException, ValueError) as error:
        raise DataError(
            f"{short(file)} is not a readable CSV ({str(error)[:160]}); give a header line and rows"
        ) from error
    if not table.num_rows:
        raise DataError(f"{short(file)} has no rows below its header; give a file with examples")
    if len(set(table.column_names)) < table.num_columns:
        raise DataError(f"{short(file)} has two columns of one name; rename one of them")
    return table


def _pictures(file: Path, paths: list[str]) -> Pictures:
    base = file.parent.resolve()
    places = [(base / path).resolve() for path in paths]
    outside = next((path for path, place in zip(paths, places, strict=True) if not place.is_relative_to(base)), None)
    if outside is not None:
        raise DataError(
            f"{short(file)} names the picture {outside!r} outside its own folder; paths are relative to the CSV"
        )

    def read(i: int) -> bytes | None:
        try:
            usable = paths[i] and places[i].is_file() and places[i].stat().st_size <= MOST_BYTES
            return places[i].read_bytes() if usable else None
        except OSError:
            return None

    key = hashlib.sha256()
    for i in range(len(paths)):
        key.update(hashlib.sha256(read(i) or b"").digest())
    return Pictures(len(paths), read, key.hexdigest(), short(file))
