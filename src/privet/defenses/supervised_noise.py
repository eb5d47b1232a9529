"""Supervised noise: learn for every unit how much noise it bears, with the target and a named attribute in view
(Mireshghallah et al. 2020, "Shredder", arXiv:1905.11814, in the form of Equation 1 of Samragh et al. 2021,
arXiv:2104.11413).

    min_theta   CE(h(z'), y) - gamma * CE(a(z'), s) - alpha * mean|z' - z|,   z' = z + exp(theta) * xi,   xi ~ N(0, I)

One scale exp(theta) a unit, learned on task_train; xi is fresh for every payload. The adversary a is trained along.

Deviations: Shredder samples from a collection of trained noise tensors; here the scale itself is learned, as Equation 1
has it. The server half learns along (`tune=false` for the equation alone), the edge half stays. CE(a, s) counts up to
the entropy of s. theta begins at -1 and stays within [-6, 3], counted from the logarithm of the standard deviation of
z; it learns a hundred times as fast as the networks, or it would hardly move in an effort's steps. The epoch kept is
the one with the lowest objective on task_val among those at the lowest rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from privet import joint
from privet.adversaries import Adversaries
from privet.data.corpus import Corpus
from privet.defense import Defended, Obfuscator, Progress
from privet.payload import Field, Noise
from privet.split import Split
from privet.train import Effort, predict

LOWEST, START, HIGHEST = -6.0, -1.0, 3.0


class ScaledNoise(Obfuscator):
    """z -> z + exp(theta) * noise, theta one number a unit; `size` is the standard deviation of z."""

    def __init__(self, shape: tuple[int, ...], size: float = 1.0) -> None:
        super().__init__()
        self.center = math.log(size)
        self.theta = nn.Parameter(torch.full(shape, self.center + START))
        self.signature = (Field("z", "float16", shape),)
        self.noise = (Noise("xi", shape, "normal"),)

    @torch.no_grad()
    def bound(self) -> None:
        """Put theta back into its range."""
        self.theta.clamp_(self.center + LOWEST, self.center + HIGHEST)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return (z + self.theta.exp() * noise[0],)

    def decode(self, *tensors: Tensor) -> Tensor:
        return tensors[0]


@dataclass(frozen=True)
class SupervisedNoise:
    """Learn noise scales that hide `attribute` (the first hidden one where empty) and spare the target."""

    summary: ClassVar[str] = "noise with a scale learned for every unit, against an adversary for one named attribute"
    adaptive: ClassVar[str] = (
        "averages out over repeated queries (threat 'repeated'); the scales are public, so units with little noise "
        "give the rest away: attackers train on noisy payloads, standardized unit by unit, for every hidden attribute"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("repeated", "mlp_probe", "informed_probe")
    gamma: float = 0.1
    alpha: float = 1e-3
    attribute: str = ""
    tune: bool = True

    def __post_init__(self) -> None:
        joint.check_weight("gamma", self.gamma, "the adversary's failure")
        joint.check_weight("alpha", self.alpha, "the size of the noise")

    def check(self, split: Split) -> None:
        """Refuse a server half that cannot learn along; with `tune=false` any split will do."""
        joint.check_trainable(split, "supervised_noise with tune=true", ("server",) if self.tune else ())

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Train the scales, the adversary and the server half on task_train.

        Raises SpecError for an unknown attribute or a frozen server half, CutError for one that cannot be trained,
        DataError where the labels are missing."""
        self.check(split)
        hidden = joint.hidden_attributes(corpus, self.attribute)
        split, device = split.copy(), joint.device_of(split)
        owner = joint.Owner.of(corpus, hidden, device)
        spread = float(predict(split.edge, owner.train.x, device).std())
        obfuscator = ScaledNoise(split.shape, spread if spread > 0 else 1.0).to(device)
        split.edge.eval()
        split.server.eval()

        with joint.seeded(seed, device) as generator:

            def encode(x: Tensor) -> tuple[Tensor, Tensor]:
                obfuscator.bound()
                with torch.no_grad():
                    z = split.edge(x)
                noise = torch.from_numpy(obfuscator.noise[0].draw(len(x), generator)).to(device)
                noisy = obfuscator(z, noise)
                return noisy, -self.alpha * (noisy - z).abs().mean()

            adversaries = Adversaries(split, owner.train.s, [corpus.n_classes(name) for name in hidden])
            players = (obfuscator, split.server) if self.tune else (obfuscator,)
            game = joint.Game(encode, split.server, players, adversaries, self.gamma)
            plan = joint.Plan(joint.adam(*([split.server] if self.tune else []), noise=obfuscator))
            log = joint.play(game, plan, owner, effort=effort, generator=generator, progress=progress)
        obfuscator.bound()
        obfuscator.requires_grad_(False)
        return Defended.of(
            split,
            obfuscator,
            "learned float noise on unclipped features is obfuscation measured by attack, not differential privacy",
            attribute="/".join(hidden),
            prior_nats=adversaries.prior,
            **_scales(obfuscator),
            **log,
        )


def _scales(obfuscator: ScaledNoise) -> dict[str, float]:
    scale, theta = obfuscator.theta.exp(), obfuscator.theta - obfuscator.center
    at_bound = ((theta <= LOWEST + 1e-4) | (theta >= HIGHEST - 1e-4)).float().mean()
    return {
        "scale_mean": float(scale.mean()),
        "scale_least": float(scale.min()),
        "scale_most": float(scale.max()),
        "share_at_bound": float(at_bound),
    }
