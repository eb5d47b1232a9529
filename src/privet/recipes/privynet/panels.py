"""Pictures beside what a reconstruction network draws of them (figures 21 to 24)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privet import metrics, run
from privet.planner.characterize import Asked
from privet.planner.grid import Grid
from privet.planner.measuring import Public, code, pairs, redrawn
from privet.setting import Report, file_of
from privet.train import inputs, one_thread

SHOWN = 6

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Panel:
    """What was drawn of the first pictures through one extractor, and how near it comes on all."""

    layer: int
    depth: int
    psnr: float
    drawn: Bytes


def drawn(
    asked: Sequence[Asked], public: Public, grid: Grid, out: Path, seed: int, device: str, report: Report
) -> tuple[Bytes, list[Panel]]:
    """The pictures [n, C, H, W], and a panel for each extractor."""
    made = []
    for done, one in enumerate(asked):
        if report:
            report(f"drawing {one}", done, len(asked))
        settings = {
            "source": one.source.identity, "layer": one.layer,
            "channels": list(one.channels), "public": [public.digest, len(public.train)], "epochs": grid.epochs,
            "irn": repr(grid.irn), "seed": seed, "device": device, "code": [file_of(drawn), *code()],
        }  # fmt: skip
        path = out / f"panel-{run.name_of(settings, {})}.npy"
        if not path.is_file():
            with one_thread(), run.writing(path):
                train, val, test = (pairs(one.head().to(device), part, device) for part in public.parts)
                found = redrawn(grid.irn, train, val, test, grid.effort, seed, device).clamp(0, 1)
                np.save(path, (found.numpy() * 255).round().astype(np.uint8))
        pictures = np.load(path)
        db = metrics.psnr(inputs(public.test.x).numpy(), pictures / np.float32(255), data_range=1.0)
        made.append(Panel(one.layer, len(one.channels), float(db.mean()), pictures[:SHOWN]))
    return (inputs(public.test.x[:SHOWN]).numpy() * 255).round().astype(np.uint8), made
