"""Information bottleneck: a noisy representation that is priced by what it tells of the input, and trained against an
adversary for a named attribute (Osia et al. 2018, "Deep private-feature extraction", arXiv:1802.03151, and Moyer et al.
2018, "Invariant representations without adversarial training", arXiv:1805.09458; as Equation 2 of Samragh et al. 2021,
arXiv:2104.11413, writes it).

    max_f  I(z'; y) - gamma * I(z'; s) - beta * I(z'; x)
    by     min  CE(h(z'), y) - gamma * CE(a(z'), s) + beta * KL(N(mu, sigma^2) || N(0, I)),   z' = mu + sigma * xi

mu = f(x); log sigma^2 is an affine function of mu, unit by unit (channel by channel for a map [C, H, W]). KL is a sum
over units in nats, and its mean over inputs is at least I(x; z') (Alemi et al. 2017, arXiv:1612.00410). The payload is
z', and xi is fresh for every payload.

Deviations: I(z'; s) is bounded by a co-trained adversary, where Osia et al. estimate it from pairs of examples and
Moyer et al. with a conditional decoder; CE(a, s) counts up to the entropy of s. log sigma^2 stays within [-10, 4]. The
network given is trained already and goes on from there. The epoch kept is the one with the lowest objective on task_val
among those at the lowest rate.
"""

from __future__ import annotations

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
from privet.train import Effort

LOWEST, START, HIGHEST = -10.0, -2.0, 4.0


class Spread(nn.Module):
    """mu [B, *shape] -> log sigma^2 [B, *shape]: slope * mu + offset, one pair a unit, or a channel of a map [C, H,
    W]."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        units = (shape[0], 1, 1) if len(shape) == 3 else shape
        self.slope = nn.Parameter(torch.zeros(units))
        self.offset = nn.Parameter(torch.full(units, START))

    def forward(self, mu: Tensor) -> Tensor:
        return (self.slope * mu + self.offset).clamp(LOWEST, HIGHEST)


def divergence(mu: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, I)) of every example [B], in nats, from [B, *shape] (Kingma & Welling 2013, appendix
    B)."""
    return 0.5 * (mu**2 + log_variance.exp() - 1 - log_variance).flatten(1).sum(1)


class Bottleneck(Obfuscator):
    """z -> z + sigma(z) * noise."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.spread = Spread(shape)
        self.signature = (Field("z", "float16", shape),)
        self.noise = (Noise("xi", shape, "normal"),)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return (z + (0.5 * self.spread(z)).exp() * noise[0],)

    def decode(self, *tensors: Tensor) -> Tensor:
        return tensors[0]


@dataclass(frozen=True)
class InformationBottleneck:
    """Price the representation's information with `beta`, and that about `attribute` (the first hidden one where empty)
    with `gamma`."""

    trains_edge: ClassVar[bool] = True
    summary: ClassVar[str] = "a noisy representation, priced by its information and trained against an adversary"
    adaptive: ClassVar[str] = (
        "averages out over repeated queries (threat 'repeated'), and the size of the noise tells of z as well; the "
        "network fooled one adversary for one attribute: fresh attackers train on noisy payloads, on every hidden one"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("repeated", "informed_probe", "server_probe")
    gamma: float = 0.5
    beta: float = 1e-3
    attribute: str = ""

    def __post_init__(self) -> None:
        joint.check_weight("gamma", self.gamma, "the adversary's failure")
        joint.check_weight("beta", self.beta, "the information about the input")

    def check(self, split: Split) -> None:
        """Refuse halves that cannot be trained."""
        joint.check_trainable(split, "information_bottleneck")

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Train both halves, the spread of the noise and the adversary on task_train.

        Raises SpecError for an unknown attribute or a frozen half, CutError for halves that cannot be trained,
        DataError where the labels are missing."""
        self.check(split)
        hidden = joint.hidden_attributes(corpus, self.attribute)
        split, device = split.copy(), joint.device_of(split)
        owner = joint.Owner.of(corpus, hidden, device)
        obfuscator = Bottleneck(split.shape).to(device)

        with joint.seeded(seed, device) as generator:

            def encode(x: Tensor) -> tuple[Tensor, Tensor]:
                mu = split.edge(x)
                noise = torch.from_numpy(obfuscator.noise[0].draw(len(x), generator)).to(device)
                return obfuscator(mu, noise), self.beta * divergence(mu, obfuscator.spread(mu)).mean()

            adversaries = Adversaries(split, owner.train.s, [corpus.n_classes(name) for name in hidden])
            players = (split.edge, split.server, obfuscator)
            game = joint.Game(encode, split.server, players, adversaries, self.gamma)
            plan = joint.Plan(joint.adam(split.edge, split.server, noise=obfuscator))
            log = joint.play(game, plan, owner, effort=effort, generator=generator, progress=progress)
        obfuscator.requires_grad_(False)
        return Defended.of(
            split,
            obfuscator,
            "the price of information bounds it on average over the owner's data, for no person and no attribute; what "
            "leaks is measured by attack",
            attribute="/".join(hidden),
            prior_nats=adversaries.prior,
            **_price(split.edge, obfuscator, owner.val),
            **log,
        )


@torch.no_grad()
def _price(edge: nn.Module, obfuscator: Bottleneck, val: joint.Examples) -> dict[str, float]:
    """Mean KL on task_val, an estimate of an upper bound on I(x; z') in nats, and the mean sigma."""
    if not len(val):
        return {}
    nats, sigma = 0.0, 0.0
    for start in range(0, len(val), joint.VAL_BATCH):
        mu = edge(val.batch(slice(start, start + joint.VAL_BATCH)).x)
        log_variance = obfuscator.spread(mu)
        nats += float(divergence(mu, log_variance).sum()) / len(val)
        sigma += float((0.5 * log_variance).exp().flatten(1).mean(1).sum()) / len(val)
    return {"task_val_kl_nats": nats, "sigma_mean": sigma}
