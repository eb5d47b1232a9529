"""Gaussian MAP: the closed form on a linear edge, the prior it says it has, and steps that never climb."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from privet.attack import View
from privet.attacks.gaussian_map import GaussianMap
from privet.auditing import battery
from privet.auditing.battery import Material
from privet.auditing.pictures import scores
from privet.gauss_newton import Prior, conjugate_gradients, cosine, most_likely, newton
from studies import SMALL
from tiny import conv_split, pictures

EFFORT = replace(SMALL, inversion_steps=300, asked=8)
WIDTH = 12


def linear(n: int, outputs: int, noise: float = 0.0, times: int = 1, seed: int = 0) -> tuple[View, Tensor, Tensor]:
    """People of 12 numbers behind a known matrix, seen `times` times with noise of its own; the matrix."""
    matrix = torch.randn(WIDTH, outputs, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(seed)
    x = 0.5 + 0.05 * torch.randn(n, WIDTH, generator=generator)
    x[:, 1] = 0.5 * x[:, 0]
    seen = tuple((x @ matrix + 1 + noise * torch.randn(n, outputs, generator=generator),) for _ in range(times))
    flat = torch.stack([p for (p,) in seen]).mean(0)
    return View(flat, match=lambda c, p: (c @ matrix + 1, p[0]), seen=seen), x, matrix


def covariance(prior: Prior) -> Tensor:
    """C, from the images of unit vectors."""
    root = prior.draw(torch.eye(len(prior.spread) + prior.rest.numel())).flatten(1)
    return root.T @ root


@pytest.mark.parametrize("times", [1, 3])
def test_the_closed_form(times: int) -> None:
    """mu + C A^T (A C A^T + s^2 I)^-1 (m - A mu - b), with all payloads seen side by side."""
    view, _, matrix = linear(6, 7, noise=0.2, times=times)
    prior = Prior.of(linear(300, 7, seed=1)[1], 0)
    noise, mean, c = 0.3, prior.mean.double(), covariance(prior).double()
    a = torch.cat([matrix.T] * times).double()
    left = torch.cat([p for (p,) in view.seen], 1).double() - (a @ mean + 1)
    gain = c @ a.T @ torch.linalg.inv(a @ c @ a.T + noise**2 * torch.eye(len(a), dtype=torch.float64))
    found, _ = most_likely(view, prior.mean.expand(6, WIDTH), prior, noise, linearized=10, steps=30)
    torch.testing.assert_close(found, (mean + left @ gain.T).float(), atol=2e-5, rtol=0)


def test_from_anywhere_one_step_reaches_it() -> None:
    """Behind a linear edge the Gauss-Newton step ends at the same place wherever it begins."""
    view, x, _ = linear(6, 7, noise=0.2)
    prior = Prior.of(x, 0)
    center = prior.mean.expand(6, WIDTH)
    ends = []
    for size in (0.0, 1.0):
        w = size * torch.randn(6, len(prior.spread) + WIDTH, generator=torch.Generator().manual_seed(0))
        step = newton(view, center, prior, w, 0.3, 60)
        assert step is not None
        ends.append(w + step)
    torch.testing.assert_close(ends[0], ends[1], atol=1e-4, rtol=0)


def test_the_prior_is_the_covariance() -> None:
    x = linear(500, 7)[1]
    exact = torch.from_numpy(np.cov(x.numpy().T, bias=True)).float()
    found = covariance(Prior.of(x, 0))
    assert float((found - exact).abs().max()) < 1e-3 * float(exact.diagonal().max())


def test_back_is_the_adjoint_of_draw() -> None:
    prior = Prior.of(pictures(40), 0)
    w, x = torch.randn(5, len(prior.spread) + 36, generator=torch.Generator().manual_seed(0)), pictures(5, 1)
    left, right = (prior.draw(w) * x).sum(), (w * prior.back(x)).sum()
    torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-5)


def test_the_cosine_transform_keeps_lengths_and_comes_back() -> None:
    x = torch.rand(3, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    there = cosine(x)
    torch.testing.assert_close(there.square().flatten(1).sum(1), x.square().flatten(1).sum(1))
    torch.testing.assert_close(cosine(there, inverse=True), x)
    flat = cosine(torch.ones(1, 3, 5, 7)).flatten()
    assert float(flat[1:].abs().max()) < 1e-5, "an even picture is one coefficient"


def test_conjugate_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    root, right = torch.randn(4, 9, 9, generator=generator), torch.randn(4, 9, generator=generator)
    matrix = root @ root.mT + 3 * torch.eye(9)
    found = conjugate_gradients(lambda p: torch.einsum("bij,bj->bi", matrix, p), right, 30)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, right), atol=1e-4, rtol=1e-4)


def test_a_spectrum_fitted_again_has_the_size_of_the_errors() -> None:
    """Errors a tenth as large, in one direction: the variances fall together, and by far the most in the others."""
    prior = Prior.of(linear(300, 7)[1], 0)
    errors = 0.01 * torch.randn(200, 1, generator=torch.Generator().manual_seed(0)) * prior.directions[:1]
    near = prior.again(errors)
    assert abs(float(covariance(near).trace()) / 1e-4 - 1) < 0.3
    assert float(near.spread[0]) == pytest.approx(0.01, rel=0.2)
    assert float(near.spread[5]) < 0.3 * float(near.spread[0])


def test_behind_a_convolution_the_picture_comes_back() -> None:
    """Sixteen channels of a linear layer on 36 pixels: at least 60 dB."""
    edge = nn.Conv2d(1, 16, 3, padding=1)
    with torch.no_grad():
        edge.weight.copy_(torch.randn(edge.weight.shape, generator=torch.Generator().manual_seed(1)))
        x = {k: pictures(n, n) for k, n in (("train", 60), ("val", 16), ("victims", 10))}
        sent = {k: edge(v) for k, v in x.items()}
    views = {k: View(v.flatten(1), match=lambda c, p: (edge(c), p[0]), seen=((v,),)) for k, v in sent.items()}
    posterior = GaussianMap().fit(views["train"], x["train"], views["val"], x["val"], classes=0, effort=EFFORT, seed=0)
    assert float(scores(posterior(views["victims"]), x["victims"])["psnr"].mean()) > 60


def test_steps_never_climb() -> None:
    """Behind a curved edge more linearizations explain the payload better, and for nobody worse."""
    matrix = torch.randn(WIDTH, 20, generator=torch.Generator().manual_seed(3))
    view, x, _ = linear(10, 20)
    seen = torch.sin(4 * x @ matrix)
    curved = replace(view, match=lambda c, p: (torch.sin(4 * c @ matrix), p[0]), seen=((seen,),))
    prior = Prior.of(linear(300, 7, seed=1)[1], 0)
    center = prior.mean.expand(10, WIDTH)
    values = [most_likely(curved, center, prior, 0.05, linearized=n, steps=30)[1] for n in (0, 1, 3, 10)]
    assert all(bool((after <= before).all()) for before, after in pairwise(values))
    assert float(values[-1].mean()) < 0.5 * float(values[1].mean())


def test_where_the_decoder_drew_is_the_center() -> None:
    """Two numbers for twelve are seen: what the decoder knew of the others stays."""
    (train, x, _), (val, x_val, _), (victims, x_victims, _) = (linear(n, 2, seed=n) for n in (200, 16, 20))
    generator = torch.Generator().manual_seed(0)
    val, victims = (
        replace(v, drawn=t + 0.02 * torch.randn(t.shape, generator=generator))
        for v, t in ((val, x_val), (victims, x_victims))
    )
    posterior = GaussianMap().fit(train, x, val, x_val, classes=0, effort=EFFORT, seed=0)
    assert victims.drawn is not None
    error = (posterior(victims) - x_victims).square().mean()
    assert float(error) < 0.95 * float((victims.drawn - x_victims).square().mean())


def test_an_edge_without_a_way_back_gives_the_center() -> None:
    view, x, _ = linear(6, 20)
    dead = replace(view, match=lambda c, p: ((c.detach() > 0.5).float().sum(1, keepdim=True), p[0][:, :1]))
    prior = Prior.of(x, 0)
    center = prior.mean.expand(6, WIDTH)
    torch.testing.assert_close(most_likely(dead, center, prior, 0.1, linearized=3, steps=9)[0], center)


def test_the_seed_alone_decides_and_the_edge_is_left_alone() -> None:
    edge = conv_split().edge
    before = {k: v.clone() for k, v in edge.state_dict().items()}
    with torch.no_grad():
        x = {k: pictures(n, n) for k, n in (("train", 40), ("val", 8), ("victims", 6))}
        views = {
            k: View(edge(v).flatten(1), match=lambda c, p: (edge(c), p[0]), seen=((edge(v),),)) for k, v in x.items()
        }
    material = Material([views["train"]], x["train"], views["val"], x["val"], (1, 6, 6))
    found = []
    for poison in (1, 2):
        random.seed(poison)
        np.random.seed(poison)
        torch.manual_seed(poison)
        found.append(battery.run(GaussianMap(), material, views["victims"], effort=EFFORT, seed=7).victims)
        assert torch.initial_seed() == poison
    assert torch.equal(found[0], found[1])
    assert all(torch.equal(v, before[k]) for k, v in edge.state_dict().items())
    assert all(p.grad is None for p in edge.parameters())
