"""Deep image prior: for each payload a convolutional network with random weights is fitted until the payload of what it
draws comes out like the one that was seen (Ulyanov, Vedaldi and Lempitsky 2018, CVPR, arXiv:1711.10925; against split
inference in Li et al. 2023, NeurIPS, "GAN You See Me?").

    minimize over theta   ||m(x) - m||^2 / ||m||^2 + weight TV(x),   x = sigmoid(logit(x_0) + f_theta(noise))

m is what the payload says and m(x) what x would say, each value around its mean and over its noise. The input `noise`
is fixed and, at first, disturbed anew in every step; nothing is learned of other people. f is an hourglass with skip
connections; the weights of some people are fitted at once, as groups of its convolutions. x_0 is the mean input of
aux, or what is known of a person before: the input in aux whose payload is nearest, or what the decoder of the same
audit has drawn. The iterate with the lowest objective is kept, never the one that looks better.

Deviations: the center x_0, where the paper begins at gray; Adam with a cosine rate; fewer channels and steps; tables
get a perceptron. The plan is chosen on aux_val, whose inputs the adversary knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from privet.attack import Goal, Need, Posterior, View
from privet.searching import choose, in_groups, nearest, objective, search
from privet.train import Effort

FIRST = 3e-3  # the first weights of the last layer, so that the search begins near its center
DISTURBED = 0.6  # of the steps
NOISE, SKIP = 8, 4  # channels of the fixed input, and of the skip connections


@dataclass(frozen=True)
class Plan:
    """Where it begins, weight of total variation (of pictures), Adam's first rate, and the first size of the
    disturbance."""

    center: Literal["mean", "nearest", "drawn"]
    weight: float
    rate: float
    disturbance: float
    pull: ClassVar[float] = 0.0


@dataclass(frozen=True)
class DeepImagePrior:
    """Fit a network of `width` channels to each payload, by the plan that is best on aux_val."""

    summary: ClassVar[str] = "an untrained network for each person, fitted until the payload of what it draws fits"
    goal: ClassVar[Goal] = "reconstruct"
    needs: ClassVar[frozenset[Need]] = frozenset({"pairs", "obfuscator", "edge"})
    costly: ClassVar[bool] = True
    slow: ClassVar[bool] = True
    plans: ClassVar[tuple[Plan, ...]] = (
        Plan("mean", 0.03, 0.01, 0.05),
        Plan("nearest", 0.03, 0.003, 0.02),
        Plan("drawn", 0.03, 0.003, 0.02),
        Plan("drawn", 0.3, 0.001, 0.02),
        Plan("mean", 0.3, 0.01, 0.1),
    )
    width: int = 16

    def fit(
        self, train: View, s: Tensor, val: View, s_val: Tensor, *, classes: int, effort: Effort, seed: int,
        device: torch.device | str = "cpu",
    ) -> Posterior:  # fmt: skip
        """Choose the plan on aux_val."""

        def look(view: View, plan: Plan) -> Tensor:
            def of(some: View, first: int) -> Tensor:
                centers = {"mean": s.mean(0, keepdim=True).expand(len(some), *s.shape[1:]), "drawn": some.drawn}
                center = nearest(some, train, s) if plan.center == "nearest" else centers[plan.center]
                assert center is not None
                networks = Networks(len(some), tuple(s.shape[1:]), self.width, seed + first, device)
                return descend(some, networks, center.to(device), plan, effort.inversion_steps)

            return in_groups(view, of)

        plans = [plan for plan in self.plans[: effort.grid + 2] if val.drawn is not None or plan.center != "drawn"]
        best = choose(plans, look, val, s_val)
        return lambda view: look(view, best)


def descend(view: View, networks: Networks, center: Tensor, plan: Plan, steps: int) -> Tensor:
    """The best x [N, *input] on the way."""
    middle = center.clamp(0.01, 0.99).logit()

    def draw(step: int) -> tuple[Tensor, Tensor]:
        size = plan.disturbance * max(0.0, 1 - step / max(1, DISTURBED * steps))
        x = (middle + networks(size)).sigmoid()
        return x, objective(view, x, x - center, plan)

    return search(draw, [{"params": networks.weights, "lr": plan.rate}], steps)[0]


class Networks:
    """As many networks with random weights as there are people, each with noise of its own; called with the size of the
    disturbance they draw [N, *shape].

    Pictures: an hourglass of 3x3 convolutions at full size, a half and a quarter (small pictures have fewer levels),
    with instance normalization and narrow skip connections. Tables: a perceptron.
    """

    def __init__(self, n: int, shape: tuple[int, ...], width: int, seed: int, device: torch.device | str) -> None:
        self.n, self.shape, self.device = n, shape, device
        self.generator = torch.Generator().manual_seed(seed)
        self.levels = sum(min(shape[1:]) >= side for side in (8, 16)) if len(shape) == 3 else 0
        sizes = (shape[1], shape[2]) if len(shape) == 3 else (1, 1)
        self.noise = self._draw(n, NOISE, *sizes)
        if len(shape) == 3:
            ways = [(NOISE, width, 3)] + [(width, width, 3)] * self.levels  # down
            ways += [(width, SKIP, 1), (width + SKIP, width, 3)] * self.levels  # across, and up
            ways += [(width, shape[0], 1)]
        else:
            ways = [(NOISE, 4 * width, 1), (4 * width, 4 * width, 1), (4 * width, shape[0], 1)]
        self.weights = [self._draw(n * o, i, k, k) * (2 / (i * k * k)) ** 0.5 for i, o, k in ways]
        self.weights[-1] *= FIRST
        self.weights.append(torch.zeros(n * shape[0], device=device))
        for weight in self.weights:
            weight.requires_grad_()

    def __call__(self, disturbance: float) -> Tensor:
        x = self.noise + disturbance * self._draw(*self.noise.shape) if disturbance else self.noise
        weights = iter(self.weights[:-2])
        if len(self.shape) == 1:
            for weight in weights:
                x = F.leaky_relu(self._convolve(x, weight), 0.2)
        else:
            downs = [self._layer(x, next(weights))]
            for _ in range(self.levels):
                downs.append(self._layer(F.avg_pool2d(downs[-1], 2, ceil_mode=True), next(weights)))
            x = downs.pop()
            while downs:
                beside = downs.pop()
                wide = F.interpolate(x, size=beside.shape[2:], mode="bilinear", align_corners=False)
                x = self._layer(torch.cat([wide, self._layer(beside, next(weights))], 1), next(weights))
        return self._convolve(x, self.weights[-2], self.weights[-1]).reshape(self.n, *self.shape)

    def _layer(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.leaky_relu(F.instance_norm(self._convolve(x, weight)), 0.2)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """[N, I, H, W] -> [N, O, H, W] by the weights [N * O, I, k, k] of each person."""
        joined = x.reshape(1, -1, *x.shape[2:])
        out = F.conv2d(joined, weight, bias, padding=weight.shape[2] // 2, groups=self.n)
        return out.reshape(self.n, -1, *x.shape[2:])

    def _draw(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator).to(self.device)
