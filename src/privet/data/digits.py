"""scikit-learn's embedded handwritten digits: the data set that is always there (1,797 pictures of 8x8, UCI ML)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from PIL import Image

from privet.data.images import content_id
from privet.data.source import Decoded, Frame, Source
from privet.errors import MissingExtra

NAMES = {
    "parity": ("even", "odd"),
    "digit": tuple("0123456789"),
    "high": ("0-4", "5-9"),
}


def source() -> Source:
    """The digits with attributes parity (default target), digit (default hidden) and high (5 and above);
    x uint8 [1797, 1, 8, 8], the file's 0..16 scaled to 0..255."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("scikit-learn", "lab") from error
    raw, digit = load_digits(return_X_y=True)
    x = np.round(raw * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    digit = digit.astype(np.int64)
    ids = np.array([content_id(Image.fromarray(image[0])) for image in x])
    thumbs = np.pad(x[:, 0], ((0, 0), (0, 0), (0, 1)))
    table = pa.table({"parity": digit % 2, "digit": digit, "high": (digit >= 5).astype(np.int64)})
    decoded = Decoded(np.arange(len(x)), x, ids, thumbs)
    return Source("digits", Frame(table, decoded, dict(NAMES)), defaults=("parity", "digit"))
