"""Small pools and grids: a network of a few filters on tiny people, and tables whose every number is made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

import tiny
from privet import models
from privet.attacks.irn import Irn
from privet.data.corpus import Corpus, Part
from privet.planner.grid import Grid
from privet.planner.table import Row, Table
from privet.pretrained import zoo
from privet.pretrained.pool import Source

GRID = Grid("tiny", (1, 2, 3), (1, 3), 2, 2, 60, 2, Irn(width=4, units=1))


def network(seed: int = 8) -> nn.Sequential:
    """Two convolutions of six filters with a pool between them, for tiny people; none of its channels is constant."""
    made = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(1), nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()
    )
    tiny.seeded(made, seed)
    with torch.no_grad():
        for bank in (made[0], made[3]):
            bank.weight.sub_(bank.weight.mean((1, 2, 3), keepdim=True))
            bank.bias.mul_(0.1)
    return made


def source(folder: Path, name: str = "small", **more: object) -> Source:
    """The network as a pool holds it, its weights in a file."""
    file = folder / f"{name}.safetensors"
    if not file.is_file():
        models.save_weights(network(), file)
    chain = zoo.chain_of(network()).eval().requires_grad_(False)
    return Source(name, chain, str(file), **more)  # type: ignore[arg-type]


def corpus(public: int = 60) -> Corpus:
    """Tiny people, with more of them who are public."""
    generator = np.random.default_rng(2)
    sizes = {"task_train": 60, "task_val": 30, "aux_train": public, "aux_val": 40, "victim": 30}
    parts: dict[str, Part] = {role: tiny.part(1000 * i, n, generator) for i, (role, n) in enumerate(sizes.items(), 1)}
    return replace(tiny.corpus(), parts=parts, digest="")


def row(layer: int, depth: int, psnr: float | None, accuracy: float | None = 0.5, draw: int = 0, **more: object) -> Row:
    """One row of a made-up table; the surrogate says two dB less than networks."""
    linear = more.pop("linear", (psnr or 20.0) - 2.0)
    return Row(
        f"{layer}-{depth}-{draw}", str(more.pop("source", "small")), layer, f"l{layer}", depth, draw,
        tuple(range(depth)),
        float(linear), 0.4, psnr, accuracy, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def table(psnr: dict[tuple[int, int], float]) -> Table:
    """A table of two draws half a dB around each figure."""
    return Table(
        tuple(row(m, d, value + side, draw=i) for (m, d), value in psnr.items() for i, side in enumerate((-0.25, 0.25)))
    )
