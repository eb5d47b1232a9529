"""Reading a set of pictures: decoded in parallel, and from the cache, against decoding them one after another."""

from __future__ import annotations

import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from privet import data


def pictures(folder: Path, count: int = 3000, side: int = 64) -> Path:
    """A Parquet file of JPEG pictures in the hub's layout."""
    generator = np.random.default_rng(0)
    encoded = []
    for _ in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        stream = io.BytesIO()
        coarse.resize((side, side)).save(stream, "JPEG", quality=90)
        encoded.append({"bytes": stream.getvalue(), "path": None})
    labels = generator.integers(0, 2, (2, count))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    file = folder / "pictures.parquet"
    pq.write_table(pa.table({"image": pa.array(encoded, kind), "target": labels[0], "hidden": labels[1]}), file)
    return file


def one_after_another(file: Path) -> int:
    """What a plain loop does: decode, scale to 50 px, stack."""
    rows = pq.read_table(file).to_pylist()
    decoded = [np.asarray(Image.open(io.BytesIO(r["image"]["bytes"])).convert("RGB").resize((50, 50))) for r in rows]
    return len(np.stack(decoded))


def main() -> None:
    with tempfile.TemporaryDirectory() as room:
        file, times = pictures(Path(room)), {}
        for name in ("plain", "first", "again"):
            started = time.perf_counter()
            if name == "plain":
                one_after_another(file)
            else:
                data.load(str(file), target="target", hidden=["hidden"], cache=Path(room) / "cache")
            times[name] = time.perf_counter() - started
    for name in ("first", "again"):
        what = f"read 3,000 pictures of 64 px, roles and near-duplicates included, {name}"
        print(
            json.dumps(
                {"what": what, "ours": times[name], "baseline": times["plain"], "ratio": times["plain"] / times[name]}
            )
        )


if __name__ == "__main__":
    main()
