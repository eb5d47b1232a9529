"""Small data sets made on the spot, and the cache kept out of the home folder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "shared_data" not in request.fixturenames:
        monkeypatch.setenv("PRIVET_CACHE", str(tmp_path / "cache"))


def png(array: np.ndarray, fmt: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, fmt)
    return stream.getvalue()


def noise(n: int, seed: int = 0, size: tuple[int, int] = (12, 10), channels: int = 3) -> list[bytes]:
    """n encoded pictures, no two alike."""
    rng = np.random.default_rng(seed)
    shape = size if channels == 1 else (*size, channels)
    return [png(rng.integers(0, 256, shape, dtype=np.uint8)) for _ in range(n)]


def write_images(
    file: Path, pictures: list[bytes | None], features: dict[str, Any] | None = None, **columns: Any
) -> Path:
    """A Parquet file in the hub's layout; features: ClassLabel names by column."""
    struct = pa.array(
        [None if data is None else {"bytes": data, "path": None} for data in pictures],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    table = pa.table({"image": struct, **columns})
    if features:
        info = {name: {"names": list(names), "_type": "ClassLabel"} for name, names in features.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": info}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)
    return file


def write_table(file: Path, n: int = 200, seed: int = 0, **columns: Any) -> Path:
    """A table with a number, a category, the target `y` and the hidden `s`; further columns as given."""
    rng = np.random.default_rng(seed)
    own = {
        "height": rng.normal(170, 10, n),
        "job": rng.choice(["baker", "smith", "tailor"], n),
        "y": rng.integers(0, 2, n),
        "s": rng.choice(["f", "m"], n),
    }
    pq.write_table(pa.table({**own, **columns}), file)
    return file


@pytest.fixture(scope="session")
def make() -> Any:
    """The makers above, under one name."""

    class Make:
        png = staticmethod(png)
        noise = staticmethod(noise)
        images: Callable[..., Path] = staticmethod(write_images)
        table: Callable[..., Path] = staticmethod(write_table)

    return Make
