"""Payload files of people whose hidden attribute is known to leak or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

RACES, GENDERS = np.array(["a", "b", "c"]), np.array(["no", "yes"])


def people(leak: float = 3.0, *, n: int = 240, width: int = 6, seed: int = 0) -> dict[str, Any]:
    """Columns of n people: payloads say the gender, and the race as loudly as `leak`; answers are mostly right."""
    generator = np.random.default_rng(seed)
    race, gender = generator.integers(0, 3, n), generator.integers(0, 2, n)
    payload = generator.normal(size=(n, width))
    payload[:, 0] += 3 * gender
    payload[:, 1:4] += leak * np.eye(3)[race]
    return {
        "payload": payload.astype(np.float32),
        "race": RACES[race],
        "gender": GENDERS[gender],
        "answer": GENDERS[(payload[:, 0] > 1.5).astype(int)],
    }


def write(path: Path, columns: dict[str, Any], *leave_out: str) -> Path:
    """The columns as Parquet; two-dimensional arrays as lists."""
    made = {
        name: pa.array(list(values)) if isinstance(values, np.ndarray) and values.ndim == 2 else values
        for name, values in columns.items()
        if name not in leave_out
    }
    pq.write_table(pa.table(made), path)
    return path
