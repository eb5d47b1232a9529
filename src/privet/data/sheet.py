"""A sheet: the usable rows of one source, pictures decoded, rows hashed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privet.data.columns import Column
from privet.data.corpus import Pixels, Strings
from privet.data.images import Resize, decode, refit
from privet.data.source import Decoded, Progress, Source
from privet.data.tables import row_ids
from privet.errors import DataError, SpecError, unknown

ON_BAD = ("skip", "stop")


@dataclass(frozen=True)
class Reader:
    """How pictures are read: resize, cache folder, what a bad one does ("skip" or "stop"), progress over all of
    them."""

    resize: Resize
    cache: Path | None
    on_bad: str
    progress: Progress | None

    def __post_init__(self) -> None:
        if self.on_bad not in ON_BAD:
            raise SpecError(unknown("way to treat bad pictures", self.on_bad, ON_BAD))


@dataclass(frozen=True)
class Sheet:
    """N usable rows of one source: origin [N] ("main", "test", "aux" or "victims"), ids [N], columns; x and thumbs
    of pictures."""

    name: str
    origin: Strings
    ids: Strings
    columns: dict[str, Column]
    x: Pixels | None = None
    thumbs: Pixels | None = None
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def read_sheet(
    source: Source, columns: dict[str, Column], reader: Reader, origins: Sequence[str], hashed: Iterable[str]
) -> Sheet:
    """Decode a source's pictures, or hash its rows (of those columns in `hashed`). Raises DataError for a bad
    picture under "stop"."""
    sizes = [frame.table.num_rows for frame in source.frames]
    origin = np.repeat(np.array(origins[: len(sizes)]), sizes)
    if source.kind == "table":
        return Sheet(source.name, origin, row_ids(source.table().select([n for n in hashed if n in columns])), columns)
    decoded: list[Decoded] = []
    notes: list[str] = []
    resize = reader.resize
    for done, frame in zip(np.cumsum([0, *sizes]).tolist(), source.frames, strict=False):
        read = frame.pictures
        if not isinstance(read, Decoded):
            assert read is not None
            where = read.where
            read = decode(read, resize, reader.cache, _shifted(reader.progress, done, sum(sizes)))
            notes += _notes_on(read, where, reader.on_bad)
        decoded.append(refit(read, resize))
        read = decoded[-1]
        resize = Resize("fixed", (read.x.shape[2], read.x.shape[3]))
    rows = np.concatenate([d.rows + start for d, start in zip(decoded, np.cumsum([0, *sizes]), strict=False)])
    return Sheet(
        source.name,
        origin[rows],
        np.concatenate([d.ids for d in decoded]),
        {name: column.take(rows) for name, column in columns.items()},
        stack([d.x for d in decoded]),
        np.concatenate([d.thumbs for d in decoded]),
        tuple(notes),
        ("rows_skipped",) if any(len(d.bad) for d in decoded) else (),
    )


def stack(xs: Sequence[Pixels]) -> Pixels:
    """Pictures [N, C, H, W] end to end; gray ones become RGB where others are."""
    channels = max(x.shape[1] for x in xs)
    return np.concatenate([x if x.shape[1] == channels else np.repeat(x, channels, axis=1) for x in xs])


def _shifted(progress: Progress | None, done: int, total: int) -> Progress | None:
    return None if progress is None else lambda here, _: progress(done + here, total)


def _notes_on(decoded: Decoded, where: str, on_bad: str) -> list[str]:
    notes = []
    if len(decoded.bad):
        first = f"row {decoded.bad[0]}: {decoded.why[0]}"
        if on_bad == "stop":
            raise DataError(
                f"a picture in {where} cannot be decoded ({first}); mend it, or skip such rows with on_bad='skip'"
            )
        notes.append(
            f"{len(decoded.bad)} pictures in {where} could not be decoded and were skipped; the first is {first}"
        )
    if decoded.odd:
        notes.append(f"{decoded.odd} pictures in {where} had another size than most and were resized to it")
    return notes
