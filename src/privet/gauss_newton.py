"""Gauss-Newton: the most likely input, given payloads, where inputs are Gaussian around a center (Bjorck 1996,
"Numerical Methods for Least Squares Problems", section 9.2; Tarantola 2005, "Inverse Problem Theory", section 3.2).

    minimize over w   ||m(x) - m||^2 / s^2 + ||w||^2     where x = center + P w and C = P P^T

The edge is linearized where the search has come to, and the equations are solved by conjugate gradients for many
people at once: two passes backward through the edge for each step, and no matrix is written down.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.fft import dct
from sklearn.decomposition import PCA
from torch import Tensor

from privet.attack import View

COMPONENTS = 256
BELIEF = 10  # people whom the old spectrum counts for where it is fitted again
LOWEST = 1e-4  # a coefficient's variance, of the mean variance, at least
HALVED = 6  # times at most


@dataclass(frozen=True)
class Prior:
    """Inputs as a Gaussian: a mean [*input], directions [r, D] with deviations [r], and a deviation [*input] of every
    coefficient of what these leave. `draw` takes w [B, r + D] to offsets [B, *input], `back` is its adjoint."""

    mean: Tensor
    directions: Tensor
    spread: Tensor
    rest: Tensor

    @classmethod
    def of(cls, x: Tensor, seed: int) -> Prior:
        """Fit on inputs x [N, *input]."""
        rows = x.flatten(1)
        many = max(1, min(COMPONENTS, len(x) // 2, rows.shape[1]))
        pca = PCA(many, svd_solver="randomized", random_state=seed).fit(rows.numpy())
        directions = torch.from_numpy(pca.components_).float()
        zero = cls(x.mean(0), directions, torch.zeros(len(directions)), torch.zeros(x.shape[1:]))
        return zero.again(x - zero.mean, belief=0)

    def again(self, errors: Tensor, belief: int = BELIEF) -> Prior:
        """The same directions with variances fitted on errors [N, *input] around zero; the old ones, brought to the
        errors' size, count for `belief` people."""
        along = errors.flatten(1) @ self.directions.T
        left = cosine(errors - (along @ self.directions).reshape(errors.shape))
        squares = torch.cat([along.square().sum(0), left.square().sum(0).flatten()])
        old = torch.cat([self.spread, self.rest.flatten()]).square()
        scaled = old * (squares.sum() / len(errors) / old.sum()) if belief else old
        variances = (squares + belief * scaled) / (len(errors) + belief)
        lowest = LOWEST * variances.sum() / left[0].numel()
        root, many = variances.clamp_min(float(lowest)).sqrt(), len(self.spread)
        return replace(self, spread=root[:many], rest=root[many:].reshape(self.rest.shape))

    def draw(self, w: Tensor) -> Tensor:
        along, left = w[:, : len(self.spread)], w[:, len(self.spread) :]
        flat = (along * self.spread) @ self.directions
        left = left.reshape(-1, *self.rest.shape) * self.rest
        return flat.reshape(left.shape) + cosine(left, inverse=True)

    def back(self, x: Tensor) -> Tensor:
        along = (x.flatten(1) @ self.directions.T) * self.spread
        return torch.cat([along, (cosine(x) * self.rest).flatten(1)], 1)


def cosine(x: Tensor, *, inverse: bool = False) -> Tensor:
    """The orthonormal cosine transform of pictures [B, C, H, W] along all three axes, or its inverse; rows of tables
    [B, D], whose neighbors mean nothing, stay as they are."""
    if x.dim() != 4:
        return x
    c, h, w = (torch.from_numpy(dct(np.eye(n), norm="ortho", axis=0)).to(x) for n in x.shape[1:])
    c, h, w = (c.T, h.T, w.T) if inverse else (c, h, w)
    return torch.einsum("dc,bchw->bdhw", c, h @ x @ w.T)


def most_likely(
    view: View, center: Tensor, prior: Prior, noise: float, *, linearized: int, steps: int
) -> tuple[Tensor, Tensor]:
    """The most likely inputs [B, *input] around centers [B, *input], not clipped, and the objective there [B]: so many
    linearizations at most, each with so many steps of conjugate gradients, and a step halved until the objective
    falls. `noise` is the deviation s of each value of the payload."""
    w = torch.zeros(len(view), len(prior.spread) + prior.rest.numel())

    @torch.no_grad()
    def objective(w: Tensor) -> Tensor:
        expected, seen = said(view, center + prior.draw(w))
        return ((expected - seen) / noise).square().sum(1) + w.square().sum(1)

    value = objective(w)
    for _ in range(linearized):
        step = newton(view, center, prior, w, noise, steps)
        if step is None:  # nothing in the payload depends on the input
            break
        before, waiting = value, torch.ones(len(w), dtype=torch.bool)
        for halved in range(HALVED):
            trial = w + step * 0.5**halved
            reached = objective(trial)
            better = waiting & (reached < value)
            w, value = torch.where(better[:, None], trial, w), torch.where(better, reached, value)
            waiting &= ~better
            if not waiting.any():
                break
        if bool((value > before * (1 - 1e-3)).all()):
            break
    return center + prior.draw(w), value


def newton(view: View, center: Tensor, prior: Prior, w: Tensor, noise: float, steps: int) -> Tensor | None:
    """The Gauss-Newton step at w [B, r + D]: (I + P^T A^T A P / s^2)^-1 (P^T A^T (m - m(x)) / s^2 - w), where A is the
    edge linearized at x and P is `prior.draw`, by conjugate gradients."""
    x = (center + prior.draw(w)).requires_grad_()
    expected, seen = said(view, x)
    if not expected.requires_grad:
        return None
    probe = torch.zeros_like(expected, requires_grad=True)
    (pulled,) = torch.autograd.grad(expected, x, probe, create_graph=True)

    def normal(p: Tensor) -> Tensor:
        (moved,) = torch.autograd.grad(pulled, probe, prior.draw(p), retain_graph=True, materialize_grads=True)
        (back,) = torch.autograd.grad(expected, x, moved / noise**2, retain_graph=True)
        return p + prior.back(back)

    (back,) = torch.autograd.grad(expected, x, (seen - expected.detach()) / noise**2, retain_graph=True)
    return conjugate_gradients(normal, prior.back(back) - w, steps)


def conjugate_gradients(normal: Callable[[Tensor], Tensor], right: Tensor, steps: int) -> Tensor:
    """Solve normal(d) = right for every person at once, [B, n] (Hestenes and Stiefel 1952)."""
    solution, residual, direction = torch.zeros_like(right), right, right
    square = first = residual.square().sum(1, keepdim=True)
    for _ in range(steps):
        moved = normal(direction)
        length = square / (direction * moved).sum(1, keepdim=True).clamp_min(1e-30)
        solution, residual = solution + length * direction, residual - length * moved
        last, square = square, residual.square().sum(1, keepdim=True)
        if bool((square <= 1e-12 * first).all()):
            break
        direction = residual + square / last.clamp_min(1e-30) * direction
    return solution


def said(view: View, x: Tensor) -> tuple[Tensor, Tensor]:
    """What candidates x [B, *input] say and what the payloads seen say, side by side: [B, M] each."""
    assert view.match is not None, "the threat grants the edge half"
    pairs = [view.match(x, payload) for payload in view.seen]
    expected, seen = (
        torch.cat([part.flatten(1).to(x.device) for part in parts], 1) for parts in zip(*pairs, strict=True)
    )
    return expected.float(), seen.detach().float()


def deviation(view: View, x: Tensor) -> float:
    """How much a value of the payload differs between people, the unit of its noise; `x` are any inputs."""
    with torch.no_grad():
        variance = float(said(view, x)[1].var(0, correction=0).mean())
    return math.sqrt(max(variance, 1e-12))
