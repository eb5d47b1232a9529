"""Inputs rebuilt from payloads: their scores, and which victims are shown or asked about."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from privet import metrics
from privet.payload import Array
from privet.train import inputs

PICTURES = 8


def scores(x_hat: Tensor, x: Tensor) -> dict[str, Array]:
    """PSNR and, for pictures of at least 7 pixels, SSIM of every reconstruction; inputs lie in [0, 1].

    Some hundred people at a time: the metrics compute in float64, and a part of pictures is large.
    """
    measures = {"psnr": metrics.psnr}
    if x.dim() == 4 and min(x.shape[2:]) >= 7:
        measures["ssim"] = metrics.ssim
    pairs = list(zip(torch.split(x, 512), torch.split(x_hat, 512), strict=True))
    return {
        name: np.concatenate([measure(truth.numpy(), drawn.numpy(), data_range=1.0) for truth, drawn in pairs])
        for name, measure in measures.items()
    }


def record(name: str, drawn: Tensor, x: Array, people: Array) -> dict[str, Array]:
    """What is kept of an attack's reconstructions of these people among the victims x [N, ...]: scores [N], NaN for
    those whom a costly attack was not asked about, and the pictures that a report shows."""
    kept: dict[str, Array] = {}
    for metric, values in scores(drawn, inputs(x[people])).items():
        kept[f"score/input/{name}/{metric}"] = np.full(len(x), np.nan)
        kept[f"score/input/{name}/{metric}"][people] = values
    if drawn.dim() == 4:
        rows = np.searchsorted(people, shown(len(x)))
        kept[f"picture/{name}"] = (drawn[rows] * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    return kept


def shown(n: int) -> list[int]:
    """Which victims' pictures a report shows: evenly spaced, never chosen by score."""
    return [int(i) for i in np.linspace(0, n - 1, min(PICTURES, n))]


def asked(n: int, most: int) -> Array:
    """Whom a costly attack is asked about: evenly spaced, those shown among them."""
    spaced = np.linspace(0, n - 1, min(most, n)).astype(np.int64)
    return np.union1d(spaced, shown(n)) if n else spaced
