"""Gaussian MAP: the most likely input, given the payload, where inputs are taken to be Gaussian (Tarantola 2005,
"Inverse Problem Theory", section 3.2; Gauss-Newton after Bjorck 1996).

    maximize over x   -||m(x) - m||^2 / (2 s^2) - (x - mu)^T C^-1 (x - mu) / 2

m is what the payload says and m(x) what x would say, each value around its mean and over its noise. Where m(x) = A x
+ b the answer is mu + C A^T (A C A^T + s^2 I)^-1 (m - A mu - b), reached in one step; elsewhere the edge is
linearized where the search has come to, again and again (`privet.gauss_newton`).

C is fitted on aux: principal components, and behind them a diagonal, of pictures in the basis of the cosine transform,
where neighbors that look alike are few coefficients. Two priors: mu is the mean input of aux, or mu is what the decoder
of the same audit has drawn and C is fitted on its errors on people of aux_val on whom nothing is chosen.

Deviations: the noise s, in units of the payload's deviation, and the prior are chosen on aux_val; inputs are clipped to
[0, 1] behind the last step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from privet.attack import Goal, Need, Posterior, View
from privet.gauss_newton import Prior, deviation, most_likely
from privet.searching import choose
from privet.train import Effort

TOGETHER = 64  # people whose inputs are looked for at once
FEWEST = 16  # people whose errors make a prior
STEPS = 10  # of conjugate gradients for each linearization
LINEARIZED = 50  # steps of effort for each of them


@dataclass(frozen=True)
class Plan:
    """The noise of the payload, in its deviation over people, and whether the prior stands where the decoder drew."""

    noise: float
    drawn: bool


@dataclass(frozen=True)
class GaussianMap:
    """The most likely input under a Gaussian prior, by the plan that is best on aux_val."""

    summary: ClassVar[str] = "the most likely input under a Gaussian prior, by Gauss-Newton through the edge half"
    goal: ClassVar[Goal] = "reconstruct"
    needs: ClassVar[frozenset[Need]] = frozenset({"pairs", "obfuscator", "edge"})
    costly: ClassVar[bool] = True
    plans: ClassVar[tuple[Plan, ...]] = (
        Plan(0.3, True), Plan(1e-3, False), Plan(1.0, True), Plan(0.1, False), Plan(0.1, True), Plan(0.01, False),
        Plan(0.3, False), Plan(0.03, True),
    )  # fmt: skip

    def fit(
        self, train: View, s: Tensor, val: View, s_val: Tensor, *, classes: int, effort: Effort, seed: int,
        device: torch.device | str = "cpu",
    ) -> Posterior:  # fmt: skip
        """Fit the priors, and choose the plan on aux_val."""
        prior = Prior.of(s, seed)
        near = prior if val.mistakes is None or len(val.mistakes) < FEWEST else prior.again(val.mistakes)
        unit = deviation(val, s_val)

        def found(view: View, plan: Plan) -> Tensor:
            return _look(view, near if plan.drawn else prior, plan, plan.noise * unit, effort)

        plans = [p for p in self.plans[: effort.grid + 2] if val.drawn is not None or not p.drawn]
        best = choose(plans, found, val, s_val)
        return lambda view: found(view, best)


def _look(view: View, prior: Prior, plan: Plan, noise: float, effort: Effort) -> Tensor:
    """The most likely inputs of everybody, [N, *input]."""
    found = []
    for rows in torch.split(torch.arange(len(view)), TOGETHER):
        some = view.rows(rows)
        mean = prior.mean.expand(len(some), *prior.mean.shape)
        center = some.drawn if plan.drawn and some.drawn is not None else mean
        times = max(1, effort.inversion_steps // LINEARIZED)
        found.append(most_likely(some, center, prior, noise, linearized=times, steps=STEPS)[0].clamp(0, 1))
    return torch.cat(found)
