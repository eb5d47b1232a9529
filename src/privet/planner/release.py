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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from privet import run
from privet.errors import DataError, RunError
from privet.payload import Array
from privet.planner import shards
from privet.planner.local import Local
from privet.planner.private import opened
from privet.planner.shards import Report

SHARD = 4096
LARGEST = 2**26  # bytes of features in one shard, which is held whole
MIXED = 16  # shards, among which rows are dealt
FORMAT = 3


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


def release(
    plan: Path, data: str, out: Path, *, target: str | None = None, shard: int | None = None, report: Report = None
) -> Released:
    """Write the features of every example of a data set that carries the target; shards that are there are kept.
    `shard`: rows of one file (None: 4,096, or what 64 MiB hold).

    Raises RunError for the plan or the folder, DataError for data that the plan does not fit."""
    local = Local.open(plan)
    source = opened(data, target or local.target, local)
    shard = shard or max(1, min(SHARD, LARGEST // (2 * math.prod(local.released))))
    if (out / "plan.json").exists():
        raise RunError(f"{out} holds a plan, which stays with you, and a release is uploaded; choose another --out")
    run.ensure(out)
    with run.locked(out):
        asked = {"salt": local.salt, "edge": local.digest, "data": source.digest, "target": source.column.name}
        made_from = run.name_of(asked | {"shard": shard, "format": FORMAT}, {})
        shards.refuse_strangers(out, made_from)
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
            known = shards.read(path, made_from)
            if known is None:
                known = shards.write(path, made_from, local, source, rows, (report, start, len(wanted)))
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
