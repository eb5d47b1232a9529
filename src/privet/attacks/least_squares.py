"""Least squares: the best linear reconstruction of the input from the payload (ridge regression: Hoerl and Kennard
1970; as an attack on split networks the linear case of He, Zhang and Lee 2019, ACSAC).

    minimize over W, b   sum ||x - W payload - b||^2 + penalty ||W||^2

In closed form, in the values of the payload or in the people, whichever are fewer. It needs neither halves nor
training, so a defense that cannot stop this stops nobody.

Deviations: columns of the payload are standardized; the penalty is chosen on aux_val by squared error; answers are
clipped to [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from privet.attack import Goal, Need, Posterior, View
from privet.nets import Scale
from privet.train import Effort

PENALTIES = (1e-2, 1e-1, 1.0, 1e-3, 10.0, 1e-4, 1e-6)  # of the mean variance in a direction that moves
COLUMNS = 4096  # of a payload that are widened to float64 at once
Fitted = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class LeastSquares:
    """A ridge regression from payload to input, solved to its end."""

    summary: ClassVar[str] = "the best linear reconstruction of the input from the payload"
    goal: ClassVar[Goal] = "reconstruct"
    needs: ClassVar[frozenset[Need]] = frozenset({"pairs"})

    def fit(
        self, train: View, s: Tensor, val: View, s_val: Tensor, *, classes: int, effort: Effort, seed: int,
        device: torch.device | str = "cpu",
    ) -> Posterior:  # fmt: skip
        """Fit on aux_train for every penalty, keep the one that is best on aux_val."""
        scale = Scale.of(train.flat)
        rows, held = scale(train.flat), scale(val.flat)
        solve = ridge(rows, s.flatten(1), device)
        best, least = PENALTIES[0], float("inf")
        for penalty in PENALTIES:
            error = float((solve(penalty)(held).clamp(0, 1) - s_val.flatten(1)).square().mean())
            best, least = (penalty, error) if error < least else (best, least)
        fitted = solve(best)
        return lambda view: fitted(scale(view.flat)).clamp(0, 1).reshape(-1, *s.shape[1:])


def ridge(rows: Tensor, known: Tensor, device: torch.device | str = "cpu") -> Callable[[float], Fitted]:
    """Rows [N, P] with mean 0 and what is known of them [N, D] -> penalty -> the regression, from rows to [., D].

    The penalty is in units of the mean eigenvalue of the smaller of rows^T rows and rows rows^T.
    """
    mean = known.mean(0)
    centered = (known - mean).to(device, torch.float64)
    wide = rows.shape[1] > len(rows)
    gram = _product(rows, rows, device) if wide else _product(rows.T, rows.T, device)
    unit = gram.diagonal().mean().clamp_min(1e-12)
    target = centered if wide else rows.T.to(device, torch.float64) @ centered

    def solve(penalty: float) -> Fitted:
        damped = gram.clone()
        damped.diagonal().add_(penalty * unit)
        weights = torch.cholesky_solve(target, torch.linalg.cholesky(damped))

        def answer(asked: Tensor) -> Tensor:
            seen = _product(asked, rows, device) if wide else asked.to(device, torch.float64)
            return (seen @ weights).float().cpu() + mean

        return answer

    return solve


def _product(a: Tensor, b: Tensor, device: torch.device | str) -> Tensor:
    """a b^T in float64, of [N, P] and [M, P]: some columns at a time, because payloads are wide."""
    total = torch.zeros(len(a), len(b), dtype=torch.float64, device=device)
    for left, right in zip(torch.split(a, COLUMNS, 1), torch.split(b, COLUMNS, 1), strict=True):
        total.addmm_(left.to(device, torch.float64), right.to(device, torch.float64).T)
    return total
