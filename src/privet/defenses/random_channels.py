"""Random channel pruning: the baseline of DISCO (Singh et al. 2021, section 4), with its three readings.

    z' = M * z,   M keeps K = C - floor(ratio * C) channels at random

`draw=sample` draws M afresh for every example, `draw=batch` once for a batch (as the released code does),
`draw=fixed` once for good. Deviations: the server is fine-tuned behind the mask, the edge is not; only the kept
channels and a packed mask travel; kept values are not rescaled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from privet.data.corpus import Corpus
from privet.defense import Defended, Obfuscator, Progress
from privet.errors import SpecError
from privet.payload import Field, Noise
from privet.split import Split
from privet.train import Effort, fine_tune_server


class RandomMask(Obfuscator):
    """Keep the K channels with the largest noise; send the mask's bits and the kept channels in ascending order."""

    def __init__(self, shape: tuple[int, ...], keep: int, per: Literal["sample", "batch"]) -> None:
        super().__init__()
        self.shape, self.keep = shape, keep
        self.signature = (Field("mask", "bits", shape[:1]), Field("kept", "float16", (keep, *shape[1:])))
        self.noise = (Noise("scores", shape[:1], "uniform", per),)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        scores = noise[0] + torch.zeros_like(z.flatten(2).mean(2) if z.dim() > 2 else z)
        index = scores.topk(self.keep, dim=1).indices.sort(dim=1).values
        mask = torch.zeros_like(scores).scatter(1, index, 1.0)
        return mask, z.gather(1, self._spread(index))

    def decode(self, *tensors: Tensor) -> Tensor:
        mask, kept = tensors
        index = (mask > 0.5).to(kept.dtype).topk(self.keep, dim=1).indices.sort(dim=1).values
        whole = (
            torch.zeros_like(mask).reshape(-1, self.shape[0], *([1] * (len(self.shape) - 1))).expand(-1, *self.shape)
        )
        return whole.scatter(1, self._spread(index), kept)

    def _spread(self, index: Tensor) -> Tensor:
        tail = self.shape[1:]
        return index.reshape(-1, self.keep, *([1] * len(tail))).expand(-1, self.keep, *tail)


class FixedChannels(Obfuscator):
    """Keep one static set of channels; both sides know it, so no mask travels."""

    index: Tensor

    def __init__(self, shape: tuple[int, ...], index: list[int]) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("index", torch.tensor(index, dtype=torch.int64))
        self.signature = (Field("kept", "float16", (len(index), *shape[1:])),)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return (z.index_select(1, self.index),)

    def decode(self, *tensors: Tensor) -> Tensor:
        kept = tensors[0]
        order = torch.full((self.shape[0],), len(self.index), device=kept.device)
        order[self.index] = torch.arange(len(self.index), device=kept.device)
        return torch.cat([kept, torch.zeros_like(kept[:, :1])], 1).index_select(1, order)


@dataclass(frozen=True)
class RandomChannels:
    """Prune a random share `ratio` of the channels (of the units, where z is a vector)."""

    summary: ClassVar[str] = "a random share of the channels is pruned, per sample, per batch or once for good"
    adaptive: ClassVar[str] = (
        "with draw=sample repeated queries see different channels (threat 'repeated'); the mask is in the payload"
    )
    ratio: float = 0.5
    draw: Literal["sample", "fixed", "batch"] = "sample"

    def __post_init__(self) -> None:
        if not 0 <= self.ratio < 1:
            raise SpecError(f"ratio is the share of channels removed and lies in [0, 1), got {self.ratio}")

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Fine-tune the server half behind random masks, unless it is frozen."""
        split = split.copy()
        channels = split.shape[0]
        keep = channels - math.floor(self.ratio * channels + 1e-9)  # 0.29 * 100 is 28.999...
        obfuscator: Obfuscator
        if self.draw == "fixed":
            chosen = np.random.default_rng([seed, 3]).choice(channels, keep, replace=False)
            obfuscator = FixedChannels(split.shape, sorted(int(c) for c in chosen))
        else:
            obfuscator = RandomMask(split.shape, keep, self.draw)
        log = fine_tune_server(split, obfuscator, corpus, effort=effort, seed=seed, progress=progress)
        return Defended.of(
            split, obfuscator, "pruning alone promises nothing; what it hides is measured by attack", kept=keep, **log
        )
