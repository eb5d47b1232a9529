"""Random channel pruning: the baseline of DISCO (Singh et al. 2021, section 4), with its three readings.

    z' = M * z,   M keeps K = C - floor(ratio * C) channels at random

`draw=sample` draws M afresh for every example, `draw=batch` once for a batch (as the released code does),
`draw=fixed` once for good. Deviations: the server is fine-tuned behind the mask, the edge is not; only the kept
channels and a packed mask travel; kept values are not rescaled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from privet.channels import FixedChannels, Masked, axis_of, check_ratio, count_kept
from privet.data.corpus import Corpus
from privet.defense import Defended, Obfuscator, Progress
from privet.payload import Noise
from privet.split import Split
from privet.train import Effort, fine_tune_server


class RandomScores(Masked):
    """Whichever channels the noise likes best."""

    def __init__(self, shape: tuple[int, ...], axis: int, keep: int, per: Literal["sample", "batch"]) -> None:
        super().__init__(shape, axis, keep, None)
        self.noise = (Noise("scores", shape[axis : axis + 1], "uniform", per),)

    def scores(self, z: Tensor, *noise: Tensor) -> Tensor:
        return noise[0] + torch.zeros_like(z.movedim(self.axis + 1, 1).flatten(2).mean(2) if z.dim() > 2 else z)


@dataclass(frozen=True)
class RandomChannels:
    """Prune a random share `ratio` of the channels (of the units of a vector, of the features of a sequence)."""

    summary: ClassVar[str] = "a random share of the channels is pruned, per sample, per batch or once for good"
    adaptive: ClassVar[str] = (
        "with draw=sample repeated queries see different channels (threat 'repeated'); the mask is in the payload"
    )
    ratio: float = 0.5
    draw: Literal["sample", "fixed", "batch"] = "sample"

    def __post_init__(self) -> None:
        check_ratio(self.ratio)

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Fine-tune the server half behind random masks, unless it is frozen."""
        split = split.copy()
        axis = axis_of(split.shape)
        channels = split.shape[axis]
        keep = count_kept(channels, self.ratio)
        obfuscator: Obfuscator
        if self.draw == "fixed":
            chosen = np.random.default_rng([seed, 3]).choice(channels, keep, replace=False)
            obfuscator = FixedChannels(split.shape, axis, sorted(int(c) for c in chosen))
        else:
            obfuscator = RandomScores(split.shape, axis, keep, self.draw)
        log = fine_tune_server(split, obfuscator, corpus, effort=effort, seed=seed, progress=progress)
        return Defended.of(
            split, obfuscator, "pruning alone promises nothing; what it hides is measured by attack", kept=keep, **log
        )
