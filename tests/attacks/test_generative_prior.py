"""Generative prior: what it minimizes, what the generator starts from, and what the prior does with much and with
nothing."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from privet.attack import View
from privet.attacks.generative_prior import GenerativePrior, Generator, Plan, descend
from studies import SMALL

EFFORT = replace(SMALL, inversion_steps=200)
LOOSE = Plan(1e-4, 1e-3, 0.0, (0.05, 0.02))


def faces(n: int, seed: int = 0, shape: tuple[int, ...] = (1, 8, 8)) -> Tensor:
    """Inputs [n, *shape] in [0, 1] of three degrees of freedom."""
    axes = torch.randn(3, *shape, generator=torch.Generator().manual_seed(9))
    w = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return (0.5 + 0.1 * torch.tensordot(w, axes, 1)).clamp(0, 1)


def linear(x: Tensor, outputs: int) -> View:
    """People behind a known matrix."""
    matrix = torch.randn(x[0].numel(), outputs, generator=torch.Generator().manual_seed(3))
    seen = x.flatten(1) @ matrix
    return View(seen, match=lambda c, p: (c.flatten(1) @ matrix, p[0]), seen=((seen,),))


def test_the_objective() -> None:
    """||m(x) - m||^2 / ||m||^2 + latent ||w||^2 / dim + pull ||d||^2 / pixels; without a step d is zero."""
    x = faces(5)
    generator, view = Generator(faces(60), 3, 0), linear(faces(5, 1), 20)
    w = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    found, least = descend(view, generator, w, Plan(2.0, 7.0, 0.0, (0.05, 0.05)), 0)
    drawn = generator(w).clamp(0, 1)
    torch.testing.assert_close(found, drawn)
    assert view.match is not None
    (seen,) = view.seen[0]
    residual = (view.match(drawn, (seen,))[0] - seen).square().sum(1) / seen.square().sum(1)
    torch.testing.assert_close(least, residual + 2 * w.square().mean(1))
    assert found.shape == x.shape


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 10, 9), (12,)], ids=str)
def test_the_generator_is_the_principal_components(shape: tuple[int, ...]) -> None:
    """Inputs of three degrees of freedom are drawn from three latents of unit variance; noise is what is left."""
    x, held = faces(200, shape=shape), faces(50, 1, shape)
    generator = Generator(x, 3, 0)
    with torch.no_grad():
        w = generator.encode(held)
        assert float((generator(w) - held).square().mean()) < 0.02 * float((held - x.mean(0)).square().mean())
    assert 0.6 < float(w.var(0).mean()) < 1.5
    assert float(w.mean(0).abs().max()) < 0.5


def test_the_latent_needs_fewer_measurements_than_pixels() -> None:
    """Eight numbers of sixty-four, where there are three degrees of freedom: the prior gives the rest (Bora et al.)."""
    x = faces(20, 2)
    generator = Generator(faces(200), 3, 0)
    found, _ = descend(linear(x, 8), generator, torch.zeros(20, 3), Plan(1e-4, 1e4, 0.0, (0.05, 0.001)), 300)
    assert float((found - x).square().mean()) < 0.05 * float((x - faces(200).mean(0)).square().mean())


def test_the_offset_draws_what_the_generator_cannot() -> None:
    """Inputs of another kind, fully measured: without the offset they cannot be drawn (Dhar et al.)."""
    x = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    generator, view = Generator(faces(200), 3, 0), linear(x, 100)
    errors = []
    for pull in (1e-3, 1e6):
        found, _ = descend(view, generator, torch.zeros(10, 3), replace(LOOSE, pull=pull), 500)
        errors.append(float((found - x).square().mean()))
    assert errors[0] < 1e-3 < 0.03 < errors[1]


def test_where_the_payload_says_nothing_the_mean_is_drawn() -> None:
    """A constant payload: the latent goes to zero, wherever the search began."""
    generator = Generator(faces(200), 3, 0)
    flat = torch.ones(6, 4)
    view = View(flat, match=lambda c, p: (p[0] + 0 * c.flatten(1)[:, :4], p[0]), seen=((flat,),))
    start = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    found, least = descend(view, generator, start, Plan(0.1, 10.0, 0.0, (0.05, 0.01)), 300)
    assert float((found - generator(torch.zeros(1, 3))).abs().max()) < 0.02
    assert float(least.max()) < 1e-3


def attacked(poison: int, victims: Tensor, drawn: bool = False) -> Tensor:
    random.seed(poison)
    np.random.seed(poison)
    torch.manual_seed(poison)
    (x, train), (x_val, val) = ((x, linear(x, 6)) for x in (faces(60), faces(16, 1)))
    view = linear(victims, 6)
    if drawn:
        val, view = replace(val, drawn=x_val), replace(view, drawn=victims)
    effort = replace(EFFORT, inversion_steps=20, attack_steps=20)
    found = GenerativePrior(dim=3).fit(train, x, val, x_val, classes=0, effort=effort, seed=7)(view)
    assert torch.initial_seed() == poison
    return found


def test_the_seed_alone_decides_and_nobody_hears_of_others() -> None:
    victims = faces(8, 2)
    found = attacked(1, victims)
    assert torch.equal(found, attacked(2, victims))
    others = torch.cat([victims[:4], torch.rand(4, 1, 8, 8)])
    torch.testing.assert_close(found[:4], attacked(1, others)[:4])


def test_a_good_decoder_is_where_it_begins() -> None:
    victims = faces(8, 2)
    errors = [float((attacked(1, victims, drawn) - victims).square().mean()) for drawn in (False, True)]
    assert errors[1] < errors[0]
