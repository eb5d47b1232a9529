"""Random channel pruning: the baseline of DISCO (Singh et al. 2021, section 4), with its three readings.

    z' = M * z,   M keeps K = C - floor(ratio * C) channels at random

`draw=sample` draws M afresh for every example, `draw=batch` once for a batch (as the released code does),
`draw=fixed` once for good. Deviations: the server is fine-tuned behind the mask; with `train=both` the edge learns as
well, for as many epochs as a defense that trains the network, by CE(h(z'), y) alone, which is the fair comparison with
`disco`. Only the kept channels and a packed mask travel; kept values are not rescaled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from privet import joint
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
    answered_by: ClassVar[tuple[str, ...]] = ("repeated", "mask", "server_probe")
    ratio: float = 0.5
    draw: Literal["sample", "fixed", "batch"] = "sample"
    train: Literal["server", "both"] = "server"

    @property
    def trains_edge(self) -> bool:
        """Whether the edge half changes."""
        return self.train == "both"

    def check(self, split: Split) -> None:
        """Refuse halves that are to be trained and cannot."""
        if self.train == "both":
            joint.check_trainable(split, "random_channels with train=both")

    def __post_init__(self) -> None:
        check_ratio(self.ratio)

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Train both halves behind random masks, or fine-tune the server half, unless it is frozen.

        Raises SpecError for a frozen half, CutError for halves that cannot be trained, with train=both."""
        self.check(split)
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
        if self.train == "both":
            log = _train_both(split, obfuscator, corpus, effort, seed, progress)
        else:
            log = fine_tune_server(split, obfuscator, corpus, effort=effort, seed=seed, progress=progress)
        return Defended.of(
            split, obfuscator, "pruning alone promises nothing; what it hides is measured by attack", kept=keep, **log
        )


def _train_both(
    split: Split, obfuscator: Obfuscator, corpus: Corpus, effort: Effort, seed: int, progress: Progress
) -> dict[str, Any]:
    """Both halves in place, by CE(h(M * f(x)), y), with a fresh M for every batch."""
    device = joint.device_of(split)
    obfuscator.to(device)
    owner = joint.Owner.of(corpus, (), device)
    with joint.seeded(seed, device) as generator:

        def encode(x: Tensor) -> tuple[Tensor, Tensor]:
            z = split.edge(x)
            noise = (torch.from_numpy(n.draw(len(z), generator)).to(device) for n in obfuscator.noise)
            return obfuscator(z, *noise), z.new_zeros(())

        game = joint.Game(encode, split.server, (split.edge, split.server))
        plan = joint.Plan(joint.adam(split.edge, split.server))
        return joint.play(game, plan, owner, effort=effort, generator=generator, progress=progress)
