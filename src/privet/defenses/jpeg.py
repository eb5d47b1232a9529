"""JPEG: the edge sends the picture itself, compressed hard, and the server runs the whole network on it (Wallace 1992,
"The JPEG still picture compression standard", with the standard's example tables and libjpeg's scale of quality).

    payload = round(DCT(8x8 block) / Q),   z' = clamp(DCT^-1(Q * payload));   the network minimizes CE(h(z'), y)

Colors are coded as Y, Cb, Cr at full resolution. The rounding is the payload's own cast to a byte.

Deviations: a reference, not a published method. In place of the entropy coder, whose lengths tell about the picture, a
constant length: the coefficients that are not zero in at least one of 1,000 blocks of the owner's pictures travel as a
byte each, the rest never. It is therefore larger than a JPEG file; `ideal_bytes` in the log is what an entropy coder of
each coefficient by itself would come to. Qualities above 60 are refused, because their coefficients do not fit a byte.
The whole network is fine-tuned on such pictures; where either half is frozen it is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from privet.data.corpus import Corpus
from privet.defense import Defended, Obfuscator, Progress
from privet.defenses.downsampling import at_input, picture_shape
from privet.errors import SpecError
from privet.payload import Array, Field
from privet.split import Split
from privet.train import Effort, fine_tune_server, inputs, some

HIGHEST = 60  # |coefficient| / Q stays below 127.5 for every picture
PICTURES = 2000
RARE = 1e-3
LUMINANCE = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
    18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
CHROMINANCE = (
    """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
    """
    + "99 " * 32
)
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


class BlockTransform(Obfuscator):
    """x [B, C, H, W] in [0, 1] -> kept coefficients in units of Q [B, blocks, k] -> x' [B, C, H, W] in [0, 1]."""

    waves: Tensor
    table: Tensor
    colors: Tensor
    back: Tensor
    level: Tensor
    kept: Tensor
    place: Tensor

    def __init__(self, shape: tuple[int, ...], quality: int, kept: list[int] | None = None) -> None:
        super().__init__()
        channels, *self.size = shape
        self.channels, self.grid = channels, tuple(-(-side // 8) for side in self.size)
        colors = torch.tensor(YCBCR).double() if channels == 3 else torch.eye(channels).double()
        kept = list(range(64 * channels)) if kept is None else kept
        place = torch.full((64 * channels,), len(kept))  # where a dropped coefficient reads: a zero behind the kept
        place[kept] = torch.arange(len(kept))
        self.register_buffer("waves", cosines().float())
        self.register_buffer("table", tables(quality, channels).float())
        self.register_buffer("colors", colors.float())
        self.register_buffer("back", colors.inverse().float())
        self.register_buffer("level", torch.tensor([128.0] + [0.0 if channels == 3 else 128.0] * (channels - 1)))
        self.register_buffer("kept", torch.tensor(kept))
        self.register_buffer("place", place)
        self.signature = (Field("coefficients", "int8", (math.prod(self.grid), len(kept))),)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        (height, width), (rows, columns) = self.size, self.grid
        picture = F.pad(255 * z, (0, 8 * columns - width, 0, 8 * rows - height), mode="replicate")
        picture = (self.colors @ picture.flatten(2)) - self.level[:, None]
        blocks = picture.reshape(-1, self.channels, rows, 8, columns, 8).permute(0, 2, 4, 1, 3, 5)
        coefficients = self.waves @ blocks @ self.waves.T / self.table
        return (coefficients.reshape(-1, rows * columns, 64 * self.channels).index_select(2, self.kept),)

    def decode(self, *tensors: Tensor) -> Tensor:
        sent, (rows, columns) = tensors[0], self.grid
        every = torch.cat([sent, torch.zeros_like(sent[:, :, :1])], 2).index_select(2, self.place)
        coefficients = every.reshape(-1, rows, columns, self.channels, 8, 8) * self.table
        blocks = self.waves.T @ coefficients @ self.waves
        picture = blocks.permute(0, 3, 1, 4, 2, 5).reshape(-1, self.channels, 64 * rows * columns)
        picture = self.back @ (picture + self.level[:, None])
        whole = picture.reshape(-1, self.channels, 8 * rows, 8 * columns) / 255
        return whole[:, :, : self.size[0], : self.size[1]].clamp(0, 1)

    def forward(self, z: Tensor, *noise: Tensor) -> Tensor:
        """x' with the rounding that the cast to a byte does: that is the compression."""
        return self.decode(self.encode(z)[0].round())


@dataclass(frozen=True)
class Jpeg:
    """Compress the picture at this `quality`, from 1 to 60; the server does everything else."""

    summary: ClassVar[str] = "the edge sends the picture itself, JPEG-compressed; the server runs the whole network"
    moves_cut: ClassVar[bool] = True
    adaptive: ClassVar[str] = (
        "the payload is a picture in another basis: server_probe recognizes on the decompressed one, decoder removes "
        "the blocks"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("server_probe", "decoder")
    quality: int = 10
    tune: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= HIGHEST:
            raise SpecError(f"quality lies in 1..{HIGHEST} (above, a coefficient takes two bytes), got {self.quality}")

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Choose the coefficients that travel and fine-tune the whole network, unless a half is frozen.

        Raises SpecError for tables.
        """
        shape = picture_shape(corpus, "jpeg")
        whole = at_input(split, shape)
        values = quantized(BlockTransform(shape, self.quality), corpus, seed)
        kept = [int(k) for k in np.flatnonzero((values != 0).mean(0) >= RARE)] or [0]
        obfuscator = BlockTransform(shape, self.quality, kept)
        ideal = math.prod(obfuscator.grid) * sum(entropy(values[:, k]) for k in kept) / 8
        log: dict[str, Any] = {"server_tuned": False, "why": "tune=false"}
        if self.tune:
            log = fine_tune_server(whole, obfuscator, corpus, effort=effort, seed=seed, progress=progress)
        why = "a compressed picture is still a picture; what it shows is measured by attack"
        return Defended.of(whole, obfuscator, why, kept_in_a_block=len(kept), ideal_bytes=ideal, **log)


def cosines() -> Tensor:
    """The orthonormal DCT-II of eight samples [8, 8], float64: row u is the u-th wave."""
    u, i = torch.arange(8).double()[:, None], torch.arange(8).double()[None]
    waves = torch.cos((2 * i + 1) * u * math.pi / 16) / 2
    waves[0] /= math.sqrt(2)
    return waves


def tables(quality: int, channels: int) -> Tensor:
    """Quantization steps [C, 8, 8] at a quality, in gray levels; chrominance steps where there are three channels."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    names = [LUMINANCE] + [CHROMINANCE if channels == 3 else LUMINANCE] * (channels - 1)
    base = torch.tensor([[int(step) for step in name.split()] for name in names])
    return ((base * scale + 50) // 100).clamp(1, 255).reshape(channels, 8, 8)


@torch.no_grad()
def quantized(transform: BlockTransform, corpus: Corpus, seed: int) -> Array:
    """The quantized coefficients of blocks of up to 2,000 pictures of task_train, int8 [blocks, 64 C]."""
    x = corpus.task_train.x
    chosen = x[some(np.arange(len(x)), PICTURES, seed)]
    found = [transform.encode(inputs(chosen[i : i + 256]))[0].round() for i in range(0, len(chosen), 256)]
    return torch.cat(found).flatten(0, 1).to(torch.int8).numpy()


def entropy(values: Array) -> float:
    """Bits that an ideal coder needs for one of these values."""
    share = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(share * np.log2(share)).sum())
