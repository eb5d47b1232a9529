"""The coin flip: send the raw representation with probability p, else nothing. The line every defense must beat.

    z' = z with probability p, else the training mean;   normalized hypervolume over p reaches one half

A constant length: "nothing" is a zero flag and zeros. Deviations: none; a reference, not a published method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from privet.data.corpus import Corpus
from privet.defense import Defended, Obfuscator, Progress
from privet.errors import SpecError
from privet.payload import Field, Noise
from privet.split import Split
from privet.train import Effort, labelled, predict


class CoinObfuscator(Obfuscator):
    """z or nothing, as the coin says."""

    mean: Tensor

    def __init__(self, mean: Tensor, probability: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.probability = probability
        self.signature = (Field("sent", "bits", (1,)), Field("z", "float16", tuple(mean.shape)))
        self.noise = (Noise("coin", (1,), "uniform"),)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        sent = (noise[0] < self.probability).to(z.dtype)
        return sent, z * self._flag(sent)

    def decode(self, *tensors: Tensor) -> Tensor:
        sent, z = tensors
        return z + (1 - self._flag(sent)) * self.mean

    def match(self, z: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """Where nothing came, nothing is asked of z."""
        sent, seen = tensors
        return z * self._flag(sent), seen

    def came(self, *tensors: Tensor) -> Tensor | None:
        """All of it, or nothing."""
        return self._flag(tensors[0])

    def _flag(self, sent: Tensor) -> Tensor:
        return sent.reshape(-1, *([1] * self.mean.dim()))


@dataclass(frozen=True)
class CoinFlip:
    """Send z with probability `p`; else the server works with the training mean."""

    summary: ClassVar[str] = "sends the raw representation with probability p, else nothing"
    adaptive: ClassVar[str] = "ask again until the coin falls right (threat 'repeated')"
    answered_by: ClassVar[tuple[str, ...]] = ("repeated", "mask")
    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise SpecError(f"p is a probability in [0, 1], got {self.p}")

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Compute the mean representation of task_train."""
        split = split.copy()
        part = corpus.task_train
        device = next(split.edge.parameters(), torch.zeros(0)).device
        mean = predict(split.edge, part.x[labelled(part, part.y)], device).mean(0).to(device)
        return Defended.of(
            split, CoinObfuscator(mean, self.p), "a person whose coin falls right is not protected at all"
        )
