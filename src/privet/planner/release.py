"""Release: what a plan lets out of private data, features and labels as Parquet shards for training in the cloud
(Li et al. 2017, "PrivyNet", figure 1).

    z'_i = t(x_i; m, F)      one row: the released channels as float16, and the label in clear

Runs the edge under ONNX Runtime, without torch, a few hundred examples at a time: memory does not grow with the data.
Each shard is written whole or not at all, and says by a salted hash what it was made from, so that a release that was
stopped goes on. Rows are dealt to shards and ordered in them by the plan's salt and what is released, among as many as
sixteen shards hold.
What says how the features were made (source, layer, channels, seed) stays in the plan."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from privet import run
from privet.data import parquet
from privet.data.columns import Column, class_names, encode
from privet.data.images import pixels
from privet.data.source import short
from privet.errors import DataError, MissingExtra, RunError, unknown
from privet.payload import Array
from privet.runtime.edge import session_options

SHARD, BATCH = 4096, 256
LARGEST = 2**26  # bytes of features in one shard, which is held whole
MIXED = 16  # shards, among which rows are dealt
FORMAT = 3
MADE_FROM, SHAPE = b"privet_made_from", b"privet_shape"
Report = Callable[[str, int, int], None] | None


@dataclass(frozen=True)
class Released:
    """A folder of shards: rows written, labels by their number, the shape of the features, and rows left out."""

    folder: Path
    rows: int
    shards: int
    found: int
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    skipped: dict[str, int]
    bytes: int
    promised: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Local:
    """The client's side of a plan: its edge graph, and what it takes and asks for."""

    session: Any
    shape: tuple[int, ...]
    target: str
    digest: str
    read_as: dict[str, Any]
    data: str
    salt: str
    promised: str

    @classmethod
    def open(cls, folder: Path) -> Local:
        """RunError where the folder holds no plan, or not the edge that belongs to it."""
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("onnxruntime", "edge") from error
        try:
            told = run.unsealed(json.loads((folder / "plan.json").read_text(encoding="utf-8")))
            graph = (folder / "edge.onnx").read_bytes()
            shape, target, read_as = tuple(map(int, told["input_shape"])), str(told["target"]), dict(told["read_as"])
            given, found = told["limits"]["psnr"], told["verified"]["owner"]["mean"]
            learned = int(told["verified"]["public"])
            limit = "no limit on it" if given is None else f"the limit was {given:g}"
            promised = (
                f"{found:.1f} dB were drawn by decoders that do not know the network and learned from {learned:,} "
                f"public examples, {limit}"
            )
            data, salt = str(told["data"]), str(told["salt"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            why = "plan.json is no JSON" if isinstance(problem, json.JSONDecodeError) else problem
            raise RunError(
                f"{folder} holds no plan ({why}); put plan.json and edge.onnx back as they were written, or make "
                f"another with privet plan --out {folder}"
            ) from problem
        digest = hashlib.sha256(graph).hexdigest()
        if digest != told.get("edge"):
            raise RunError(f"edge.onnx in {folder} is not the one of plan.json; make the plan again")
        options = session_options()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return cls(session, shape, target, digest, read_as, data, salt, promised)

    @property
    def released(self) -> tuple[int, ...]:
        """The shape of one person's features."""
        return tuple(self.session.get_outputs()[0].shape[1:])

    def features(self, x: Array) -> Array:
        """Released channels [B, ...] as float16 of pictures uint8 [B, C, H, W] or rows float32 [B, D]."""
        given = x.astype(np.float32) / 255 if x.dtype == np.uint8 else x
        z = self.session.run(None, {"x": given})[0]
        with np.errstate(over="ignore"):
            sent: Array = np.clip(z, -65504, 65504).astype(np.float16)
        return sent


def release(
    plan: Path, data: str, out: Path, *, target: str | None = None, shard: int | None = None, report: Report = None
) -> Released:
    """Write the features of every example of a data set that carries the target; shards that are there are kept.
    `shard`: rows of one file (None: 4,096, or what 64 MiB hold).

    Raises RunError for the plan or the folder, DataError for data that the plan does not fit."""
    local = Local.open(plan)
    source = _source(data, target or local.target, local)
    shard = shard or max(1, min(SHARD, LARGEST // (2 * math.prod(local.released))))
    if (out / "plan.json").exists():
        raise RunError(f"{out} holds a plan, which stays with you, and a release is uploaded; choose another --out")
    run.ensure(out)
    with run.locked(out):
        asked = {"salt": local.salt, "edge": local.digest, "data": source.digest, "target": source.column.name}
        made_from = run.name_of(asked | {"shard": shard, "format": FORMAT}, {})
        _refuse_strangers(out, made_from)
        for draft in out.glob(".part-*"):  # of a process that was killed
            draft.unlink()
        codes = source.column.codes
        secret = hashlib.sha256(f"{local.salt} {made_from}".encode()).hexdigest()  # another for every release
        wanted = dealt(np.flatnonzero(codes >= 0), shard, secret)
        starts = range(0, len(wanted), shard)
        found = skipped = size = 0
        shape: tuple[int, ...] = ()
        for number, start in enumerate(starts):
            if report:
                report(f"shard {number + 1} of {len(starts)}", start, len(wanted))
            rows = wanted[start : start + shard]
            path = out / f"part-{number:05d}.parquet"
            known = _read_shard(path, made_from)
            if known is None:
                known = _write_shard(path, made_from, local, source, rows, (report, start, len(wanted)))
            else:
                found += 1
            shape, count = known
            skipped += len(rows) - count
            size += path.stat().st_size
        if not len(wanted):
            raise DataError(f"nobody in {source.where} carries the label {source.column.name!r}; label some")
        if len(wanted) == skipped:
            raise DataError(f"none of the {len(wanted)} pictures in {source.where} can be decoded; mend them")
        told = {
            "format": FORMAT, "made_from": made_from, "classes": list(source.column.levels), "shape": list(shape),
            "dtype": "float16", "rows": len(wanted) - skipped, "shards": len(starts),
        }  # fmt: skip
        run.write_text(out / "release.json", json.dumps(run.sealed(told), indent=1))
    left_out = {"without a label": int((codes < 0).sum()), "that cannot be decoded": skipped}
    return Released(
        out, len(wanted) - skipped, len(starts), found, source.column.levels, shape,
        {why: n for why, n in left_out.items() if n}, size, local.promised, source.notes,
    )  # fmt: skip


def dealt(rows: Array, shard: int, secret: str) -> Array:
    """Rows in the order in which they are released, by a secret: nobody else knows whose is in which shard. They are
    mixed among as many as sixteen shards hold, since to find pictures anywhere in a large file takes long."""
    generator = np.random.default_rng(int(secret, 16))
    parts = [generator.permutation(rows[i : i + MIXED * shard]) for i in range(0, len(rows), MIXED * shard)]
    return np.concatenate(parts) if parts else rows


@dataclass(frozen=True)
class _Loaded:
    """What is small, and read whole: tables, digits, folders of pictures. The people of the plan, by their ids;
    `batches` gives the numbers and examples of rows, which ascend."""

    x: Array
    column: Column
    digest: str
    where: str
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, data: str, target: str, local: Local) -> _Loaded:
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
        for start in range(0, len(rows), BATCH):
            numbers = rows[start : start + BATCH]
            yield numbers, self.x[numbers]


@dataclass(frozen=True)
class _Pictures:
    """Parquet files of pictures, read a batch at a time; labels of all rows are known beforehand."""

    files: tuple[Path, ...]
    image: str
    column: Column
    shape: tuple[int, ...]
    digest: str
    where: str
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path, target: str, shape: tuple[int, ...]) -> _Pictures:
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


_Private = _Loaded | _Pictures


def _source(data: str, target: str, local: Local) -> _Private:
    """Pictures in Parquet are read as they are needed, the rest whole."""
    files = [file for split in parquet.find(Path(data)).values() for file in split]
    if len(local.shape) == 3 and files and any(map(parquet.is_picture, _open(files[0]).schema_arrow.types)):
        return _Pictures.open(Path(data), target, local.shape)
    return _Loaded.open(data, target, local)


def _write_shard(
    path: Path, made_from: str, local: Local, source: _Private, rows: Array, progress: tuple[Report, int, int]
) -> tuple[tuple[int, ...], int]:
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


def _read_shard(path: Path, made_from: str) -> tuple[tuple[int, ...], int] | None:
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


def _within(rows: Array, first: int, last: int) -> Array:
    """Those of ascending rows from first to last."""
    low, high = np.searchsorted(rows, (first, last))
    return rows[low:high]


def _refuse_strangers(out: Path, made_from: str) -> None:
    """RunError where the folder holds another release: shards of two would be mixed."""
    for path in sorted(out.glob("part-*.parquet")):
        try:
            other = (pq.read_schema(path).metadata or {}).get(MADE_FROM, b"").decode()
        except (OSError, pa.ArrowException):
            continue
        if other != made_from:
            raise RunError(f"{out} holds the release of another plan or other data; choose another --out")


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as problem:
        raise DataError(f"{short(file)} is not a readable Parquet file ({problem}); write it again") from problem
