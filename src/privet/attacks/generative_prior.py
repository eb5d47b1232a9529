"""Generative prior: inputs that a generator can draw and whose payload comes out like the one that was seen (Bora,
Jalal, Price and Dimakis 2017, ICML, arXiv:1703.03208; Dhar, Grover and Ermon 2018, ICML, for the released offset;
against split inference Li et al. 2023, NeurIPS, "GAN You See Me?").

    minimize over w, d   ||m(x) - m||^2 / ||m||^2 + latent ||w||^2 / dim + pull ||d||^2 / pixels + weight TV(x)
    where                x = clamp(G(w) + d)

m is what the payload says and m(x) what x would say, each value around its mean and over its noise. G is the
generator of a linear variational autoencoder (Kingma and Welling 2014, arXiv:1312.6114), made of the adversary's own
inputs only; its optimum is known in closed form, the probabilistic principal components (Lucas, Tucker, Grosse and
Norouzi 2019, arXiv:1911.02469). Where a payload says little, the latent w keeps the search among inputs that there
are; where it says much, the offset d adds what G cannot draw. Three ways to begin: at the latent of what the decoder
of the same audit has drawn, at that of the input in aux whose payload is nearest (retrieval, then refinement), and at
zero; the whole search begins where a short one comes to the lowest objective, never where it looks better. Some plans
center the prior of w at the decoder's drawing, and not at zero.

Deviations: the offset is squared and not L1; Adam with a cosine rate. The generator is linear, since with some thousand
people of one's own nothing drew held-out faces better: 32 dB with 512 latents, a convolutional one with 128 latents
25 dB, and a network trained to refine the linear one .02 dB more. The plan is chosen on aux_val, whose inputs the
adversary knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from privet.attack import Goal, Need, Posterior, View
from privet.searching import choose, in_groups, lowest, nearest, objective, search
from privet.train import Effort

SHORTER = 4  # times, a search that only decides where to begin


@dataclass(frozen=True)
class Plan:
    """Weights of the latent, of the offset and of total variation (of pictures), Adam's first rates for w and d, and
    whether the prior of the latent is centered at what the decoder drew, and not at zero."""

    latent: float
    pull: float
    weight: float
    rates: tuple[float, float]
    drawn: bool = False


@dataclass(frozen=True)
class GenerativePrior:
    """Look for inputs among those that a generator with at most `dim` latents draws, by the plan that is best on
    aux_val."""

    summary: ClassVar[str] = "gradient descent on the latent of a generator made of aux, until its payload fits"
    goal: ClassVar[Goal] = "reconstruct"
    needs: ClassVar[frozenset[Need]] = frozenset({"pairs", "obfuscator", "edge"})
    costly: ClassVar[bool] = True
    plans: ClassVar[tuple[Plan, ...]] = (
        Plan(0.001, 0.1, 0.1, (0.05, 0.05)),
        Plan(0.003, 300.0, 0.0, (0.1, 0.01)),
        Plan(10.0, 1000.0, 0.0, (0.1, 0.01), drawn=True),
        Plan(0.1, 1000.0, 0.0, (0.05, 0.01), drawn=True),
        Plan(1.0, 1000.0, 0.0, (0.1, 0.01)),
    )
    dim: int = 512

    def fit(
        self, train: View, s: Tensor, val: View, s_val: Tensor, *, classes: int, effort: Effort, seed: int,
        device: torch.device | str = "cpu",
    ) -> Posterior:  # fmt: skip
        """Make the generator of aux_train, choose the plan on aux_val."""
        generator = Generator(s, self.dim, seed).to(device)

        def look(view: View, plan: Plan) -> Tensor:
            def of(some: View, _: int) -> Tensor:
                if plan.drawn and some.drawn is not None:
                    w = generator.encode(some.drawn.to(device))
                    return descend(some, generator, w, plan, effort.inversion_steps, w)[0]
                known = [nearest(some, train, s)] + ([] if some.drawn is None else [some.drawn])
                starts = [generator.encode(x.to(device)) for x in known]
                starts.append(torch.zeros_like(starts[0]))
                brief = [descend(some, generator, w, plan, effort.inversion_steps // SHORTER)[1] for w in starts]
                start = lowest([(w.cpu(), least) for w, least in zip(starts, brief, strict=True)])
                return descend(some, generator, start.to(device), plan, effort.inversion_steps)[0]

            return in_groups(view, of)

        plans = [plan for plan in self.plans[: effort.grid + 2] if val.drawn is not None or not plan.drawn]
        best = choose(plans, look, val, s_val)
        return lambda view: look(view, best)


def descend(
    view: View, generator: nn.Module, start: Tensor, plan: Plan, steps: int, center: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """The best x [N, *input] on the way from the latent `start` [N, dim], and its objective [N]."""
    w = start.detach().clone().requires_grad_()
    with torch.no_grad():
        d = torch.zeros_like(generator(w)).requires_grad_()

    def draw(step: int) -> tuple[Tensor, Tensor]:
        x = (generator(w) + d).clamp(0, 1)
        value = objective(view, x, d, plan)
        return x, value + plan.latent * (w - center).square().mean(1).to(value.device)

    return search(draw, [{"params": [w], "lr": plan.rates[0]}, {"params": [d], "lr": plan.rates[1]}], steps)


class Generator(nn.Module):
    """Inputs [B, *shape] in [0, 1] to the mean of their latents [B, dim] (`encode`), and back (`forward`): the
    probabilistic principal components of `x` [N, *shape]."""

    mean: Tensor
    inward: Tensor
    outward: Tensor

    def __init__(self, x: Tensor, dim: int, seed: int) -> None:
        super().__init__()
        self.shape = tuple(x.shape[1:])
        flat = x.flatten(1)
        pca = PCA(max(1, min(dim, *flat.shape, len(flat) - 1)), random_state=seed).fit(flat.numpy())
        axes = torch.from_numpy(pca.components_).float()
        noise = max(float(pca.noise_variance_), 1e-5)
        total = torch.from_numpy(pca.explained_variance_).float().clamp_min(2 * noise)
        own = (total - noise).sqrt()
        self.register_buffer("mean", torch.from_numpy(pca.mean_).float())
        self.register_buffer("inward", axes.T * own / total)
        self.register_buffer("outward", axes * own[:, None])

    def encode(self, x: Tensor) -> Tensor:
        """The mean of the latents of x: [B, dim]."""
        return (x.flatten(1) - self.mean) @ self.inward

    def forward(self, w: Tensor) -> Tensor:
        """What the generator draws, near [0, 1]: [B, *shape]."""
        return (w @ self.outward + self.mean).reshape(-1, *self.shape)
