"""Refined decoder: a decoder draws, a short search fits the drawing to the payload, and a second network corrects what
comes out, given what is still unexplained (learned iterative refinement: Putzky and Welling 2017, arXiv:1706.04008;
Adler and Oktem 2017, arXiv:1704.04058).

    x_0 = r(payload);   x_1 = Gauss-Newton from x_0;   x_2 = x_1 + c(x_1, x_0, J(x_1)^T (m - m(x_1)))

m is what the payload says and m(x) what x would say, each value around its mean and over its noise. The correction c
learns from drawings of people whom the decoder has not met: of two decoders each learns on one half of aux_train and
draws the other half, and the victims are drawn by the mean of both. The errors of these drawings are the prior of the
search (`privet.gauss_newton`), which is short: everybody is asked about. The gradient of what the payload leaves
unexplained goes in as a picture of its own scale.

Deviations: one step of correction, and a search before it, so that it has more than a gradient to start from; the noise
of the search is chosen on aux_val, and so is whether a correction is made at all. Tables are not corrected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.attack import Goal, Need, Posterior, View
from privet.attacks.decoder import Decoder
from privet.fitting import Course, Lesson, learn, outputs
from privet.gauss_newton import Prior, deviation, most_likely, said
from privet.nets import Scale
from privet.train import Effort

TOGETHER = 256  # people whose inputs are looked for at once
TRIED = 64  # people of aux_val on whom the noise is chosen
NOISES = (0.3, 0.03, 1.0, 0.01, 3.0)
LEARNED = 2048  # people from whom the correction learns, at most
LINEARIZED, STEPS = 3, 8
Draw = Callable[[View], Tensor]


@dataclass(frozen=True)
class RefinedDecoder:
    """Draw, search from there, correct."""

    summary: ClassVar[str] = "a decoder's picture, fitted to the payload through the edge half, then corrected (slow)"
    goal: ClassVar[Goal] = "reconstruct"
    needs: ClassVar[frozenset[Need]] = frozenset({"pairs", "obfuscator", "edge"})
    slow: ClassVar[bool] = True

    def fit(
        self, train: View, s: Tensor, val: View, s_val: Tensor, *, classes: int, effort: Effort, seed: int,
        device: torch.device | str = "cpu",
    ) -> Posterior:  # fmt: skip
        """Two decoders, the search, the correction; each is judged on aux_val."""
        drawn, draw = folded(train, s, val, s_val, effort=effort, seed=seed, device=device)
        prior = Prior.of(s, seed).again(s - drawn)
        unit, guess = deviation(val, s_val), draw(val)
        few = torch.linspace(0, len(val) - 1, min(len(val), TRIED)).long()

        def search(view: View, x: Tensor, noise: float) -> Tensor:
            rows = torch.split(torch.arange(len(view)), TOGETHER)
            found = [
                most_likely(view.rows(r), x[r], prior, noise * unit, linearized=LINEARIZED, steps=STEPS)[0]
                for r in rows
            ]
            return torch.cat(found).clamp(0, 1)

        tried = [(_error(search(val.rows(few), guess[few], n), s_val[few]), n) for n in NOISES[: effort.grid + 1]]
        noise = min(tried)[1]

        def describe(view: View, x: Tensor) -> Tensor:
            found = search(view, x, noise)
            return torch.cat([found, x, residual(view, found)], 1)

        def plain(view: View) -> Tensor:
            return search(view, draw(view), noise)

        if s.dim() != 4:
            return plain
        generator = np.random.default_rng([seed, 12])
        rows = torch.from_numpy(np.sort(generator.permutation(len(s))[:LEARNED]))
        held = describe(val, guess)
        features = describe(train.rows(rows), drawn[rows])
        lesson = Lesson(lambda epoch: features, s[rows], held, s_val, F.mse_loss)
        course = Course(1e-3, 0.0, *effort.attack_schedule("reconstruct", len(rows)), effort.batch)
        network, error, _ = learn(
            lambda: Correction(s.shape[1]), lesson, course, start=seed * 1009 + 2, order=seed + 2, device=device
        )
        if error >= _error(held[:, : s.shape[1]], s_val):
            return plain
        return lambda view: outputs(network, describe(view, draw(view)), device)


def folded(
    train: View, s: Tensor, val: View, s_val: Tensor, *, effort: Effort, seed: int, device: torch.device | str
) -> tuple[Tensor, Draw]:
    """Drawings of everybody in aux_train [N, *input] by a decoder that has not met them, and the mean of both decoders.

    Somebody whose payload is there twice stands twice in the same half.
    """
    scale = Scale.of(train.flat)
    features, held = scale(train.flat), scale(val.flat)
    people = torch.unique(s.flatten(1), dim=0, return_inverse=True)[1]
    side = torch.from_numpy(np.random.default_rng([seed, 11]).permutation(int(people.max()) + 1) % 2)[people]
    drawn, networks = torch.zeros_like(s), []
    for half in (0, 1):
        own = torch.nonzero(side == half).flatten()
        course = Course(2e-3, 0.0, *effort.attack_schedule("reconstruct", len(own)), effort.batch)
        known = features[own]
        lesson = Lesson(lambda epoch, known=known: known, s[own], held, s_val, F.mse_loss)  # type: ignore[misc]
        network, _, _ = learn(
            lambda: Decoder().network(train, tuple(s.shape[1:])), lesson, course,
            start=seed * 1009 + half, order=seed + half, device=device,
        )  # fmt: skip
        drawn[side != half] = outputs(network, features[side != half], device)
        networks.append(network)

    def draw(view: View) -> Tensor:
        rows = scale(view.flat)
        return torch.stack([outputs(network, rows, device) for network in networks]).mean(0)

    return drawn, draw


def residual(view: View, x: Tensor) -> Tensor:
    """The gradient in x [N, *input] of what the payload leaves unexplained, of root mean square 1 for everybody."""
    gradients = []
    for rows in torch.split(torch.arange(len(x)), TOGETHER):
        candidates = x[rows].clone().requires_grad_()
        expected, seen = said(view.rows(rows), candidates)
        left = (seen - expected).square().sum() / -2
        gradient = torch.autograd.grad(left, candidates)[0] if left.requires_grad else torch.zeros_like(candidates)
        gradients.append(gradient)
    whole = torch.cat(gradients)
    return whole / whole.square().flatten(1).mean(1).sqrt().clamp_min(1e-12).reshape(-1, *[1] * (x.dim() - 1))


class Correction(nn.Module):
    """Pictures [B, k C, H, W], the first C channels to be corrected -> pictures [B, C, H, W] in [0, 1]. Begins with no
    correction."""

    def __init__(self, channels: int, inputs: int = 3, width: int = 32) -> None:
        super().__init__()
        self.channels = channels
        last = nn.Conv2d(width, 4 * channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(cast(Tensor, last.bias))
        self.inner = nn.Sequential(
            nn.Conv2d(4 * inputs * channels, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), last,
        )  # fmt: skip

    def forward(self, pictures: Tensor) -> Tensor:
        height, wide = pictures.shape[2:]
        even = F.pixel_unshuffle(F.pad(pictures, (0, wide % 2, 0, height % 2)), 2)
        added = F.pixel_shuffle(self.inner(even), 2)[:, :, :height, :wide]
        return (pictures[:, : self.channels] + added).clamp(0, 1)


def _error(x: Tensor, known: Tensor) -> float:
    return float((x - known).square().mean())
