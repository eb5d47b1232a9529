"""Searching for the input that explains a payload: what every such attack minimizes, and how it keeps the best.

    residual(x) = ||m(x) - m||^2 / ||m||^2        averaged over the payloads of the input

m is what the payload says and m(x) what x would say (`View.match`), each value around its mean and over its noise
(`Weighing`). The residual is relative, so that one grid of plans serves all cuts. Plans are chosen on aux_val, whose
inputs the adversary knows; among ends and iterates the objective decides, never the one that looks better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from privet.attack import Fields, View
from privet.nets import Scale

WEIGHED = 1000  # people from whom noise and variance are learned
SETTLED = 1e-4  # share of its variance that every value is given as noise
TOGETHER = 32  # people whose inputs are looked for at once
TRIED = 8  # people of aux_val on whom plans are compared
End = tuple[Tensor, Tensor]  # inputs [N, *input] and their objectives [N]


class Prior(Protocol):
    """What a plan says of inputs before any payload: the weight of total variation (of pictures), and the pull on
    offsets."""

    @property
    def weight(self) -> float: ...

    @property
    def pull(self) -> float: ...


P = TypeVar("P")


@dataclass(frozen=True)
class Weighing:
    """What payloads say, each value around its mean and over the deviation of its noise: no public, invertible change
    of a payload may decide what a search finds.

        (m - mean m) / sqrt(noise + SETTLED variance)

    noise is the mean square of m(x) - m where x is the input; both are learned on aux_train. Where a value is always
    the same, the mean variance stands for its own: what a candidate says there otherwise still counts."""

    mean: Tensor
    weight: Tensor

    @classmethod
    def of(cls, train: View, x: Tensor) -> Weighing:
        """Learn from views of people in aux_train and their inputs x [N, *input]."""
        assert train.match is not None, "the threat grants the edge half"
        rows = torch.arange(0, len(train), -(-len(train) // WEIGHED))
        said = []
        with torch.no_grad():
            for some in torch.split(rows, 256):
                pair = train.match(x[some], tuple(field[some] for field in train.seen[0]))
                said.append([part.flatten(1).double().cpu() for part in pair])
        expected, seen = (torch.cat(side) for side in zip(*said, strict=True))
        variance = seen.var(0, correction=0)
        still = variance <= 1e-12 * variance.max()
        variance = torch.where(
            still, variance[~still].mean() if not still.all() else torch.ones_like(variance), variance
        )
        noise = (expected - seen).square().mean(0)
        return cls(seen.mean(0).float(), (noise + SETTLED * variance).rsqrt().float())

    def __call__(self, view: View) -> View:
        """The view whose `match` answers so."""
        match = view.match
        assert match is not None, "the threat grants the edge half"

        def weighed(x: Tensor, payload: Fields) -> tuple[Tensor, Tensor]:
            first, second = (self._weighed(part) for part in match(x, payload))
            return first, second

        return replace(view, match=weighed)

    def _weighed(self, part: Tensor) -> Tensor:
        return (part.flatten(1).float() - self.mean.to(part.device)) * self.weight.to(part.device)


def objective(view: View, x: Tensor, offset: Tensor, prior: Prior) -> Tensor:
    """residual(x) + weight TV(x) + pull ||offset||^2 / pixels of x [N, *input] and of its offset [N, *input] from where
    it is expected: [N]."""
    assert view.match is not None, "the threat grants the edge half"
    total = torch.zeros(len(x))
    for payload in view.seen:
        expected, seen = (part.flatten(1) for part in view.match(x, payload))
        size = seen.square().sum(1).clamp_min(1e-12)
        total = total + ((expected - seen).square().sum(1) / size).to(total.device) / len(view.seen)
    if prior.weight and x.dim() == 4:
        total = total + prior.weight * total_variation(x).to(total.device)
    if prior.pull:
        total = total + prior.pull * offset.square().flatten(1).mean(1).to(total.device)
    return total


def total_variation(x: Tensor) -> Tensor:
    """Mean length of the gradient of pictures x [N, C, H, W]: [N]."""
    down = F.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 1))
    right = F.pad(x[:, :, :, 1:] - x[:, :, :, :-1], (0, 1))
    return (down.square() + right.square() + 1e-8).sqrt().flatten(1).mean(1)


def search(
    draw: Callable[[int], tuple[Tensor, Tensor]], groups: Iterable[dict[str, Any]], steps: int,
    confine: Callable[[], object] = lambda: None,
) -> End:  # fmt: skip
    """The best x [N, *input] on the way and its objective [N], on the CPU, by Adam with a cosine rate.

    `draw(step)` gives x [N, *input] and the objective [N], in which people do not meet; `groups` are the parameters
    with their first rates as `torch.optim.Adam` takes them; `confine` runs after each step.
    """
    optimizer = torch.optim.Adam(groups)
    moving = [p for group in optimizer.param_groups for p in group["params"]]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    best, least = torch.empty(0), torch.empty(0)
    for step in range(steps + 1):
        x, values = draw(step)
        now, reached = x.detach().cpu(), values.detach().cpu()
        if step == 0:
            best, least = now.clone(), torch.full_like(reached, math.inf)
        better = reached < least
        least = torch.where(better, reached, least)
        best[better] = now[better]
        if not values.requires_grad:  # nothing that is asked for depends on what moves
            break
        if step < steps:
            gradients = torch.autograd.grad(values.sum(), moving, allow_unused=True)
            for parameter, gradient in zip(moving, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                confine()
    return best, least


def lowest(ends: Sequence[End]) -> Tensor:
    """Of several ends for each person the one with the lowest objective: [N, *input]."""
    best = torch.stack([values for _, values in ends]).argmin(0)
    return torch.stack([x for x, _ in ends])[best, torch.arange(len(best))]


def nearest(view: View, train: View, x: Tensor) -> Tensor:
    """The input x [M, *input] of the person in aux whose payload is nearest: [N, *input]."""
    scale = Scale.of(train.flat)
    exact = "donot_use_mm_for_euclid_dist"  # by differences: by products equal rows are lost among large values
    return x[torch.cdist(scale(view.flat), scale(train.flat), compute_mode=exact).argmin(1)]


def in_groups(view: View, look: Callable[[View, int], Tensor]) -> Tensor:
    """`look` over some people at a time, told the first one's place: [N, *input]."""
    rows = torch.split(torch.arange(len(view)), TOGETHER)
    return torch.cat([look(view.rows(part), int(part[0])) for part in rows])


def choose(plans: Sequence[P], look: Callable[[View, P], Tensor], val: View, s_val: Tensor) -> P:
    """The plan with the least squared error on some people of aux_val, evenly spaced."""
    spaced = torch.linspace(0, len(val) - 1, min(len(val), TRIED)).long()
    few, known = val.rows(spaced), s_val[spaced]
    errors = [float((look(few, plan) - known).square().mean()) for plan in plans]
    return plans[errors.index(min(errors))]
