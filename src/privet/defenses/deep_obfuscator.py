"""DeepObfuscator: the network answers its question while two co-trained opponents fail, one that guesses a named
attribute and one that draws the picture (Li et al. 2021, "DeepObfuscator: Obfuscating intermediate representations with
privacy-preserving adversarial learning on smartphones", arXiv:1909.04126).

    a minimizes  CE(a(z), s),   r minimizes  1 - SSIM(r(z), x),   z = f(x);   payload = z
    (f, h) minimize  CE(h(z), y) - gamma * min(CE(a(z), s), H(s)) - beta * min(1 - SSIM(r(z), x), 1 - SSIM(x_bar, x))

Both credits end where the opponent knows no more than everybody does: at the entropy of s, and at the mean picture
x_bar of task_train. Beyond it the network would teach one decoder to draw negatives, which the next one does not; so
the objective has a minimum. The opponents learn alone for 5 epochs; then, on every batch, they take five steps and the
network one.

Deviations: SSIM (Wang et al. 2004) at one scale, where the paper measures at several (MS-SSIM), which small pictures do
not hold; its Gaussian window is of 11 px, 7 where the shorter side has at most 16, and the largest odd one that fits
below 7. The credits' ends are ours. The decoder is a light sub-pixel one that standardizes z, so that shrinking z hides
nothing. The network given is trained already and goes on from there. The epoch kept is the one with the lowest
objective on task_val among those at the lowest rate, where adversaries with fresh weights stand for the trained one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from privet import joint
from privet.adversaries import RATE, STEPS, Adversaries, descend
from privet.data.corpus import Corpus
from privet.defense import Defended, Progress
from privet.defenses.none import RawObfuscator
from privet.errors import SpecError
from privet.nets import Decoder
from privet.split import Split
from privet.train import Effort, batches, inputs

SMALLEST = 3  # px of the shorter side
C1, C2 = 0.01**2, 0.03**2  # K1 and K2 of SSIM, for pixels in [0, 1]


@dataclass(frozen=True)
class DeepObfuscator:
    """Train against an adversary for `attribute` (the first hidden one where empty; `race/age` for several) with weight
    `gamma`, and against a decoder with weight `beta`."""

    trains_edge: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    summary: ClassVar[str] = "both halves are trained against an adversary for an attribute and one that draws pictures"
    adaptive: ClassVar[str] = (
        "the network fooled one adversary and one decoder, whose score was SSIM: structure at another scale, colors "
        "and every other attribute stay. Fresh attackers of every family train on the final representation, and "
        "decoders are scored by PSNR as well"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("server_probe", "informed_probe", "decoder", "inversion")
    gamma: float = 0.5
    beta: float = 2.0
    attribute: str = ""

    def __post_init__(self) -> None:
        joint.check_weight("gamma", self.gamma, "the adversary's failure")
        joint.check_weight("beta", self.beta, "the decoder's failure")

    def check(self, split: Split) -> None:
        """Refuse halves that cannot be trained, and an edge that has nothing to train."""
        joint.check_both_learn(split, "deep_obfuscator")

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Train both halves, the adversary and the decoder on task_train.

        Raises SpecError for what is no picture, an unknown attribute or a frozen half, CutError for halves that cannot
        be trained, DataError where the labels are missing."""
        self.check(split)
        if corpus.kind != "image" or min(corpus.shape[1:]) < SMALLEST:
            raise SpecError(
                f"deep_obfuscator hides pictures of {SMALLEST} px and more by their structure, and an example here is "
                f"{list(corpus.shape)} ({corpus.kind}); for other data take adversarial or nopeek"
            )
        hidden = joint.hidden_attributes(corpus, self.attribute)
        split, device = split.copy(), joint.device_of(split)
        owner = joint.Owner.of(corpus, hidden, device)
        chance = chance_of(owner.train)

        def encode(x: Tensor) -> tuple[Tensor, Tensor]:
            return split.edge(x), torch.zeros((), device=device)

        with joint.seeded(seed, device) as generator:
            adversaries = Adversaries(split, owner.train.s, [corpus.n_classes(name) for name in hidden])
            painter = Painter(split.shape, corpus.shape, chance, device)
            game = Obfuscating(
                encode, split.server, (split.edge, split.server), adversaries, self.gamma, painter=painter,
                beta=self.beta,
            )  # fmt: skip
            game.warm_up(owner, effort, generator)
            plan = joint.Plan(joint.adam(split.edge, split.server))
            log = joint.play(game, plan, owner, effort=effort, generator=generator, progress=progress)
        why = "two opponents were fooled during training; what fresh ones learn is measured by attack"
        log |= {"attribute": "/".join(hidden), "prior_nats": adversaries.prior}
        log |= {"chance_ssim": chance, "task_val_ssim": game.drawn(owner.val)}
        found = Defended.of(split, RawObfuscator(split.shape), why, **log)
        return replace(found, cotrained=adversaries.first(hidden))


class Painter:
    """r: a decoder with fresh weights, from z [B, *shape] to pictures [B, C, H, W]. `chance` is the SSIM of the mean
    picture, below which it earns the defender nothing more."""

    def __init__(self, shape: tuple[int, ...], picture: tuple[int, ...], chance: float, device: torch.device) -> None:
        width = math.prod(shape)
        self.chance = chance
        self.network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(width, affine=False), Decoder(width, picture))
        self.network.to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=RATE, fused=True)

    def learn(self, z: Tensor, x: Tensor) -> None:
        """A few steps on 1 - SSIM(r(z), x) in training mode; z gets no gradient."""
        self.network.train()
        for _ in range(STEPS):
            descend(self.optimizer, 1 - ssim(self.network(z.detach()), x).mean())

    def credit(self, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """1 - SSIM up to what chance leaves, with a gradient for z alone, and SSIM itself."""
        self.network.requires_grad_(False)
        drawn = cast(Tensor, self.network(z))
        self.network.requires_grad_(True)
        score = ssim(drawn, x).mean()
        return 1 - score.clamp_min(self.chance), score.detach()


@dataclass(frozen=True, kw_only=True)
class Obfuscating(joint.Game):
    """The game with a second opponent, who draws."""

    painter: Painter
    beta: float

    def learn(self, batch: joint.Batch, optimizer: torch.optim.Optimizer) -> None:
        """The opponents' steps, then the players', on the same z."""
        z, penalty = self.encode(batch.x)
        if self.adversaries is not None:
            self.adversaries.learn(z, batch.s)
        self.painter.learn(z, batch.x)
        descend(optimizer, self.objective(batch, z, penalty)[0])

    def objective(self, batch: joint.Batch, z: Tensor, penalty: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The game's own, less beta times what the decoder's failure earns."""
        loss, seen = super().objective(batch, z, penalty)
        credit, seen["ssim"] = self.painter.credit(z, batch.x)
        return loss - self.beta * credit, seen

    def warm_up(self, owner: joint.Owner, effort: Effort, generator: np.random.Generator) -> None:
        """Let the decoder learn alone, for as many epochs as adversaries do."""
        for player in self.players:
            player.eval()
        for _ in range(min(joint.WARM_UP, effort.task_epochs)):
            for index in batches(len(owner.train), effort.batch, generator):
                x = owner.train.batch(index).x
                with torch.no_grad():
                    z = self.encode(x)[0]
                self.painter.learn(z, x)

    @torch.no_grad()
    def drawn(self, rows: joint.Examples) -> float | None:
        """Mean SSIM of the decoder's pictures of some examples; None where there are none."""
        self.painter.network.eval()
        scores = []
        for i in range(0, len(rows), joint.VAL_BATCH):
            x = rows.batch(slice(i, i + joint.VAL_BATCH)).x
            scores.append(ssim(self.painter.network(self.encode(x)[0]), x))
        return float(torch.cat(scores).mean()) if scores else None


def ssim(drawn: Tensor, x: Tensor) -> Tensor:
    """Structural similarity of pictures [B, C, H, W] in [0, 1] to others: [B] in [-1, 1], with a gradient. It is
    `privet.metrics.ssim` at a data range of 1, which is numpy's, and goes on below 7 px."""
    shorter = min(x.shape[2:])
    size = 11 if shorter > 16 else 7 if shorter >= 7 else shorter - 1 + shorter % 2
    rows, columns = _window(x.shape[2], size).to(x), _window(x.shape[3], size).to(x).T

    def blur(a: Tensor) -> Tensor:
        return rows @ (a @ columns)

    mean_a, mean_b = blur(drawn), blur(x)
    product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    covariance, variances = blur(drawn * x) - product, blur(drawn**2 + x**2) - squares
    value = (2 * product + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))
    return value.flatten(1).mean(1)


def _window(length: int, size: int) -> Tensor:
    """The valid Gaussian filter as a banded matrix [length - size + 1, length], sigma 1.5."""
    offset = torch.arange(length)[None] - torch.arange(length - size + 1)[:, None]
    taps = torch.exp(-0.5 * (offset - size // 2).double() ** 2 / 1.5**2) * ((offset >= 0) & (offset < size))
    return taps / taps.sum(1, keepdim=True)


@torch.no_grad()
def chance_of(rows: joint.Examples) -> float:
    """Mean SSIM of the mean picture of some examples to each of them: what a decoder reaches that reads nothing."""
    scale = 255 if rows.x.dtype == np.uint8 else 1
    mean = torch.from_numpy(rows.x.mean(0, dtype=np.float64) / scale).float()
    scores = []
    for i in range(0, len(rows), joint.VAL_BATCH):
        x = inputs(rows.x[i : i + joint.VAL_BATCH])
        scores.append(ssim(mean.expand_as(x), x))
    return float(torch.cat(scores).mean())
