"""Inversion: inputs whose payload comes out like the one that was seen, by gradient descent through the edge half and
the obfuscator ("regularized maximum likelihood" of He, Zhang and Lee 2019, ACSAC, section 4; total variation after
Mahendran and Vedaldi 2015, arXiv:1412.0035).

    minimize over x   ||m(x) - m||^2 / ||m||^2 + weight TV(x) + pull ||x - x_0||^2 / pixels

m is what the payload says and m(x) what x would say, each value around its mean and over its noise; choices that
travel, as masks, are held as they were seen, and payloads of the same input are matched together. Two ways to begin.
Without a pull: at the mean input of aux and at the input of the person in aux whose payload is nearest (retrieval,
then refinement); of the two the one with the lower objective is kept, never the one that looks better. With a pull:
at what the decoder of the same audit has drawn, as the center x_0 of a Gaussian prior.

Deviations: Adam with a cosine rate and x clipped to [0, 1] after each step; the residual is relative, so that one grid
of plans serves all cuts. The plan is chosen on aux_val, whose inputs the adversary knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from privet.attack import Goal, Need, Posterior, View
from privet.searching import choose, in_groups, lowest, nearest, objective, search
from privet.train import Effort


@dataclass(frozen=True)
class Plan:
    """Weight of total variation (of pictures), pull towards what the decoder drew, and Adam's first rate."""

    weight: float
    pull: float
    rate: float


@dataclass(frozen=True)
class Inversion:
    """Look for inputs that explain the payload, by the plan that is best on aux_val."""

    summary: ClassVar[str] = "gradient descent on the input, through the edge half, until its payload fits"
    goal: ClassVar[Goal] = "reconstruct"
    needs: ClassVar[frozenset[Need]] = frozenset({"pairs", "obfuscator", "edge"})
    costly: ClassVar[bool] = True
    plans: ClassVar[tuple[Plan, ...]] = (
        Plan(0.3, 0.0, 0.1),
        Plan(0.3, 100.0, 0.01),
        Plan(0.03, 0.0, 0.1),
        Plan(3.0, 0.0, 0.02),
        Plan(0.3, 10.0, 0.01),
    )

    def fit(
        self, train: View, s: Tensor, val: View, s_val: Tensor, *, classes: int, effort: Effort, seed: int,
        device: torch.device | str = "cpu",
    ) -> Posterior:  # fmt: skip
        """Choose the plan on aux_val."""
        plans = [plan for plan in self.plans[: effort.grid + 2] if val.drawn is not None or not plan.pull]
        best = choose(plans, lambda view, plan: _look(view, train, s, plan, effort), val, s_val)
        return lambda view: _look(view, train, s, best, effort)


def _look(view: View, train: View, x: Tensor, plan: Plan, effort: Effort) -> Tensor:
    """What is found for everybody, [N, *input]."""

    def of(some: View, _: int) -> Tensor:
        if plan.pull and some.drawn is not None:
            starts = [some.drawn]
        else:
            starts = [x.mean(0, keepdim=True).expand(len(some), *x.shape[1:]), nearest(some, train, x)]
        return lowest([descend(some, start, plan, effort.inversion_steps) for start in starts])

    return in_groups(view, of)


def descend(view: View, start: Tensor, plan: Plan, steps: int) -> tuple[Tensor, Tensor]:
    """The best x [N, *input] on the way and its objective [N]."""
    x = start.clone().requires_grad_()
    return search(
        lambda step: (x, objective(view, x, x - start, plan)),
        [{"params": [x], "lr": plan.rate}],
        steps,
        lambda: x.clamp_(0, 1),
    )
