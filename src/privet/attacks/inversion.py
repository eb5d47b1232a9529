"""Inversion: inputs whose payload comes out like the one that was seen, by gradient descent through the edge half and
the obfuscator ("regularized maximum likelihood" of He, Zhang and Lee 2019, ACSAC, section 4; total variation after
Mahendran and Vedaldi 2015, arXiv:1412.0035).

    minimize over x   ||m(x) - m||^2 / ||m||^2 + weight TV(x) + pull ||x - x_0||^2 / pixels

m is what the payload says and m(x) what x would say; choices that travel, as masks, are held as they were seen, and
payloads of the same input are matched together. Two ways to begin. Without a pull: at the mean input of aux and at the
input of the person in aux whose payload is nearest (retrieval, then refinement); of the two the one with the lower
objective is kept, never the one that looks better. With a pull: at what the decoder of the same audit has drawn, as the
center x_0 of a Gaussian prior.

Deviations: Adam with a cosine rate and x clipped to [0, 1] after each step; the residual is relative, so that one grid
of plans serves all cuts. The plan is chosen on aux_val, whose inputs the adversary knows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from privet.attack import Goal, Need, Posterior, View
from privet.train import Effort

TOGETHER = 32  # people whose inputs are looked for at once
TRIED = 16  # people of aux_val on whom plans are compared


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
        few = val.rows(torch.arange(min(len(val), TRIED)))
        plans = [plan for plan in self.plans[: effort.grid + 2] if val.drawn is not None or not plan.pull]
        errors = [float((_look(few, train, s, p, effort) - s_val[: len(few)]).square().mean()) for p in plans]
        best = plans[errors.index(min(errors))]
        return lambda view: _look(view, train, s, best, effort)


def _look(view: View, train: View, x: Tensor, plan: Plan, effort: Effort) -> Tensor:
    """What is found for everybody, [N, *input]."""
    if plan.pull and view.drawn is not None:
        starts = [view.drawn]
    else:
        scale = train.flat.std(0).clamp_min(1e-6)
        nearest = torch.cdist(view.flat / scale, train.flat / scale).argmin(1)
        starts = [x.mean(0, keepdim=True).expand(len(view), *x.shape[1:]), x[nearest]]
    found = []
    for rows in torch.split(torch.arange(len(view)), TOGETHER):
        ends = [descend(view.rows(rows), start[rows], plan, effort.inversion_steps) for start in starts]
        best = torch.stack([value for _, value in ends]).argmin(0)
        found.append(torch.stack([end for end, _ in ends])[best, torch.arange(len(rows))])
    return torch.cat(found)


def descend(view: View, start: Tensor, plan: Plan, steps: int) -> tuple[Tensor, Tensor]:
    """The best x [N, *input] on the way and its objective [N]."""
    x = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=plan.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    best, least = start.clone(), torch.full((len(start),), math.inf)
    for step in range(steps + 1):
        values = objective(view, x, start, plan)
        better = values.detach() < least
        least = torch.where(better, values.detach(), least)
        best[better] = x.detach()[better]
        if not values.requires_grad:  # nothing in the payload depends on the input
            break
        if step < steps:
            (x.grad,) = torch.autograd.grad(values.sum(), x)
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                x.clamp_(0, 1)
    return best, least


def objective(view: View, x: Tensor, start: Tensor, plan: Plan) -> Tensor:
    """The residual, averaged over the payloads seen, and the priors: [N]."""
    assert view.match is not None, "the threat grants the edge half"
    total = torch.zeros(len(x))
    for payload in view.seen:
        expected, seen = (part.flatten(1) for part in view.match(x, payload))
        size = seen.square().sum(1).clamp_min(1e-12)
        total = total + ((expected - seen).square().sum(1) / size).to(total.device) / len(view.seen)
    if plan.weight and x.dim() == 4:
        total = total + plan.weight * total_variation(x)
    return total + plan.pull * (x - start).square().flatten(1).mean(1) if plan.pull else total


def total_variation(x: Tensor) -> Tensor:
    """Mean length of the gradient of pictures x [N, C, H, W]: [N]."""
    down = F.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 1))
    right = F.pad(x[:, :, :, 1:] - x[:, :, :, :-1], (0, 1))
    return (down.square() + right.square() + 1e-8).sqrt().flatten(1).mean(1)
