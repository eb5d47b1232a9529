"""Shredder: learn noise that the network bears, collect it, and send each payload behind a draw of its own
(Mireshghallah et al. 2020, "Shredder: learning noise distributions to protect inference privacy", ASPLOS,
arXiv:1905.11814).

    for each of M members:  n ~ Laplace(mu, b),  then minimize over n   CE(h(z + n), y) - lambda * mean|n|,   |n| <= cap
    for each element j:     mu_j = median of the M values n_j,  b_j = mean of |n_j - mu_j|
    z' = z + n,   n_j = mu_j - b_j * sign(u_j - 1/2) * log(1 - 2 |u_j - 1/2|),   u ~ U[0, 1) fresh for every payload

The members are learned on task_train one after another, with both halves frozen: they are told apart by where they
begin, since lambda drives every value away from zero. mu_j and b_j are the likeliest Laplace distribution of element j
given the collection. None of the members is sent: a fixed tensor is a constant offset, which attackers learn.

Deviations: n, mu, b and cap are counted in standard deviations of z, so that one lambda fits every cut. Without the cap
the objective falls for ever; values beyond it are put back after every step. Lambda stays, where the paper lowers it
once a wanted noise-to-signal ratio is met; the ratio is in the log. Elements are drawn independently, so what those of
one member had to do with each other is lost, and with it some accuracy: the log has it for the members and for fresh
draws. (A public reimplementation fits one distribution to a whole member and sorts the draws as the member was sorted,
which brings that member back nearly value for value.) Adam takes the steps, a tenth of a deviation at first and a
hundredth in the last fifth of the epochs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from privet import joint
from privet.adversaries import cross_entropy
from privet.data.corpus import Corpus
from privet.defense import Defended, Obfuscator, Progress
from privet.errors import SpecError
from privet.payload import Field, Noise
from privet.split import Split
from privet.train import Effort, batches, predict

RATE = 0.1
MOST = 100
SMALLEST = 2.0**-24


class LaplaceNoise(Obfuscator):
    """z -> z + Laplace(location, scale) element by element, from uniform noise by the inverse distribution function."""

    location: Tensor
    scale: Tensor

    def __init__(self, location: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("location", location)
        self.register_buffer("scale", scale)
        shape = tuple(location.shape)
        self.signature = (Field("z", "float16", shape),)
        self.noise = (Noise("u", shape, "uniform"),)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        centered = noise[0] - 0.5
        outside = (1 - 2 * centered.abs()).clamp_min(SMALLEST)  # u = 0 would be infinitely far out
        return (z + self.location - self.scale * centered.sign() * outside.log(),)

    def decode(self, *tensors: Tensor) -> Tensor:
        return tensors[0]


@dataclass(frozen=True)
class Shredder:
    """Learn `members` noise tensors that begin as Laplace(`mu`, `b`), each value worth `lam`, none beyond `cap`."""

    summary: ClassVar[str] = "fresh Laplace noise, an element's own, fitted to noise tensors that the network bears"
    adaptive: ClassVar[str] = (
        "averages out over repeated queries (threat 'repeated'); location and scale of every element are public, and "
        "elements with little noise give the rest away: attackers train on noisy payloads, standardized unit by unit"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("repeated", "mlp_probe")
    lam: float = 0.1
    members: int = 8
    mu: float = 0.0
    b: float = 0.5
    cap: float = 3.0

    def __post_init__(self) -> None:
        joint.check_weight("lam", self.lam, "the size of the noise")
        if isinstance(self.members, bool) or not 2 <= self.members <= MOST:
            raise SpecError(
                f"members is how many noise tensors are learned: a distribution takes 2 at least, {MOST} at most, "
                f"got {self.members}"
            )
        if not (math.isfinite(self.cap) and 0 < self.b <= self.cap and abs(self.mu) <= self.cap):
            raise SpecError(
                f"cap bounds the noise, in deviations of z: a finite number, at least b (above 0) and at least |mu|; "
                f"got mu={self.mu}, b={self.b}, cap={self.cap}"
            )

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Learn the collection on task_train and fit the distributions; both halves stay as they are.

        Raises DataError where task_train has fewer than 2 labelled examples."""
        split, device = split.copy(), joint.device_of(split)
        split.server.eval()
        owner = joint.Owner.of(corpus, (), device)
        z = predict(split.edge, owner.train.x, device)
        size = float(z.std(correction=0)) or 1.0
        start = self._begin(split.shape, seed)
        collection = learn(split, owner, start * size, self.lam, self.cap, size, effort, seed, progress)
        location, scale = laplace(collection)
        obfuscator = LaplaceNoise(location, scale).to(device)
        return Defended.of(
            split,
            obfuscator,
            "learned float noise on unclipped features is obfuscation measured by attack, not differential privacy",
            deviation=size,
            size_at_first=float(start.abs().mean()),
            size_learned=float(collection.abs().mean()) / size,
            share_at_cap=float((collection.abs() >= self.cap * size * 0.999).float().mean()),
            location_mean=float(location.abs().mean()) / size,
            scale_mean=float(scale.mean()) / size,
            noise_to_signal=float(2 * scale.square().mean() / z.square().mean().clamp_min(1e-30)),
            **heard(split, obfuscator, collection, owner, seed),
        )

    def _begin(self, shape: tuple[int, ...], seed: int) -> Tensor:
        """Members as they begin, in deviations of z: [M, *shape]."""
        drawn = np.random.default_rng([seed, 13]).laplace(self.mu, self.b, (self.members, *shape))
        return torch.from_numpy(drawn.astype(np.float32)).clamp_(-self.cap, self.cap)


def objective(split: Split, noise: Tensor, z: Tensor, y: Tensor, lam: float, size: float) -> Tensor:
    """CE(h(z + n), y) - lambda * mean|n|, n [*shape] in the units of z and counted in deviations `size` of it."""
    return cross_entropy(split.server(z + noise), y) - lam * noise.abs().mean() / size


def learn(
    split: Split,
    owner: joint.Owner,
    start: Tensor,
    lam: float,
    cap: float,
    size: float,
    effort: Effort,
    seed: int,
    progress: Progress = None,
) -> Tensor:
    """Every member of the collection [M, *shape] taken down its objective, on representations of task_train.

    They are computed once, and for every member where the edge itself draws noise, as in a chain."""
    device, generator, epochs = owner.train.device, np.random.default_rng([seed, 14]), effort.tune_epochs
    learned = []
    z = predict(split.edge, owner.train.x, device)
    for member, first in enumerate(start):
        if member and getattr(split.edge, "emits_noise", False):
            z = predict(split.edge, owner.train.x, device)
        noise = first.clone().to(device).requires_grad_(True)
        optimizer = torch.optim.Adam([noise], lr=RATE * size)
        for epoch in range(epochs):
            optimizer.param_groups[0]["lr"] = RATE * size * (0.1 if epoch >= 0.8 * epochs else 1)
            for rows in batches(len(z), effort.batch, generator):
                loss = objective(split, noise, z[rows].to(device), owner.train.y[rows].to(device), lam, size)
                (noise.grad,) = torch.autograd.grad(loss, [noise])  # no gradient for the frozen halves
                optimizer.step()
                with torch.no_grad():
                    noise.clamp_(-cap * size, cap * size)
            if progress:
                progress(member * epochs + epoch + 1, len(start) * epochs)
        learned.append(noise.detach().cpu())
    return torch.stack(learned)


def laplace(collection: Tensor) -> tuple[Tensor, Tensor]:
    """Location and scale [*shape] of the likeliest Laplace distribution of each element of [M, *shape]."""
    ordered, last = collection.double().sort(dim=0).values, len(collection) - 1
    location = (ordered[last // 2] + ordered[(last + 1) // 2]) / 2
    scale = (ordered - location).abs().mean(0)
    return location.float(), scale.float()


@torch.no_grad()
def heard(
    split: Split, obfuscator: LaplaceNoise, collection: Tensor, owner: joint.Owner, seed: int
) -> dict[str, float]:
    """Accuracy on task_val without noise, behind the members as learned, and behind as many fresh draws."""
    val, generator = owner.val, np.random.default_rng([seed, 15])
    known = torch.nonzero(val.y >= 0).flatten().numpy()
    if not len(known):
        return {}
    z, y = predict(split.edge, val.x[known], val.device), val.y[known]

    def right(noisy: Tensor) -> float:
        return float((predict(split.server, noisy, val.device).argmax(1) == y).float().mean())

    drawn = (torch.from_numpy(obfuscator.noise[0].draw(len(z), generator)).to(val.device) for _ in collection)
    fresh = [right(obfuscator(z.to(val.device), u).cpu()) for u in drawn]
    return {
        "accuracy_undefended": right(z),
        "accuracy_members": float(np.mean([right(z + noise) for noise in collection])),
        "accuracy_fresh": float(np.mean(fresh)),
    }
