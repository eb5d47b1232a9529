"""Deep image prior: what the networks are, that people in one group do not meet, and what comes of much and of
nothing."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from privet.attack import View, costly, slow
from privet.attacks.deep_image_prior import DeepImagePrior, Networks, Plan, descend
from privet.auditing.threat import Threat, portfolio
from privet.searching import objective
from studies import SMALL

PLAN = Plan("mean", 0.0, 0.01, 0.0)


def smooth(n: int, seed: int = 0, shape: tuple[int, ...] = (1, 8, 8)) -> Tensor:
    """Smooth inputs [n, *shape] in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    if len(shape) == 1:
        return torch.rand(n, *shape, generator=generator)
    coarse = torch.rand(n, shape[0], 3, 3, generator=generator)
    return F.interpolate(coarse, size=shape[1:], mode="bilinear", align_corners=True)


def linear(x: Tensor, outputs: int) -> View:
    """People behind a known matrix."""
    matrix = torch.randn(x[0].numel(), outputs, generator=torch.Generator().manual_seed(3))
    seen = x.flatten(1) @ matrix
    return View(seen, match=lambda c, p: (c.flatten(1) @ matrix, p[0]), seen=((seen,),))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 10, 9), (3, 17, 16), (1, 3, 2), (12,)], ids=str)
def test_networks_of_one_group_do_not_meet(shape: tuple[int, ...]) -> None:
    """Each person's drawing hangs on its own weights alone: the gradient is one block for each."""
    networks = Networks(3, shape, 4, 0, "cpu")
    drawn = networks(0.0)
    assert drawn.shape == (3, *shape)
    for gradient in torch.autograd.grad(drawn[1].square().sum(), networks.weights):
        blocks = gradient.reshape(3, -1).abs().sum(1)
        assert float(blocks[1]) > 0
        assert blocks[[0, 2]].tolist() == [0, 0]


def test_an_hourglass_by_hand() -> None:
    """One level, one person, one layer at a time."""
    networks = Networks(1, (1, 8, 8), 4, 0, "cpu")
    into, down, skip, up, out, bias = networks.weights

    def layer(x: Tensor, weight: Tensor) -> Tensor:
        x = F.conv2d(x, weight, padding=weight.shape[2] // 2)
        x = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
        return F.leaky_relu(x, 0.2)

    full = layer(networks.noise, into)
    half = layer(F.avg_pool2d(full, 2), down)
    wide = F.interpolate(half, scale_factor=2, mode="bilinear")
    wanted = F.conv2d(layer(torch.cat([wide, layer(full, skip)], 1), up), out, bias)
    torch.testing.assert_close(networks(0.0), wanted)


def test_it_begins_near_its_center() -> None:
    """Without a step what is drawn is the center, and its objective that of the center."""
    x = smooth(5)
    center = x.roll(1, 0).clamp(0.05, 0.95)
    found = descend(linear(x, 20), Networks(5, (1, 8, 8), 8, 0, "cpu"), center, PLAN, 0)
    torch.testing.assert_close(found, center, atol=0.01, rtol=0)


@pytest.mark.parametrize("shape", [(1, 8, 8), (12,)], ids=str)
def test_what_determines_the_input_gives_it_back(shape: tuple[int, ...]) -> None:
    x = smooth(6, 1, shape)
    center = torch.full_like(x, 0.5)
    found = descend(linear(x, 80), Networks(6, shape, 16, 0, "cpu"), center, replace(PLAN, disturbance=0.05), 400)
    assert float((found - x).square().mean()) < 0.03 * float((center - x).square().mean())


def test_the_network_fills_in_what_was_not_measured() -> None:
    """Pixels left out (half of them) come out like their neighbors, because a convolution draws them: the prior."""
    x = smooth(8, 2)
    kept = torch.arange(64) % 2 == 0
    view = View(x.flatten(1), match=lambda c, p: (c.flatten(1)[:, kept], p[0]), seen=((x.flatten(1)[:, kept],),))
    center = torch.full_like(x, 0.5)
    found = descend(view, Networks(8, (1, 8, 8), 16, 0, "cpu"), center, PLAN, 200).flatten(1)[:, ~kept]
    truth = x.flatten(1)[:, ~kept]
    assert float((found - truth).square().mean()) < 0.3 * float((truth - 0.5).square().mean())


def test_where_the_payload_says_nothing_the_center_is_drawn() -> None:
    x, flat = smooth(6), torch.ones(6, 4)
    view = View(flat, match=lambda c, p: (p[0], p[0]), seen=((flat,),))
    center = x.mean(0, keepdim=True).expand_as(x)
    found = descend(view, Networks(6, (1, 8, 8), 8, 0, "cpu"), center, PLAN, 50)
    torch.testing.assert_close(found, center, atol=0.02, rtol=0)


def test_the_objective_decides_about_the_step() -> None:
    """More steps never end at a higher objective than the first."""
    x = smooth(6, 3)
    view, center = linear(x, 20), torch.full_like(x, 0.5)
    plan = Plan("mean", 0.1, 0.5, 0.0)  # a rate at which training jumps
    values = []
    for steps in (0, 30):
        found = descend(view, Networks(6, (1, 8, 8), 8, 0, "cpu"), center, plan, steps)
        values.append(objective(view, found, found - center, plan))
    assert bool((values[1] <= values[0] + 1e-6).all())


def attacked(poison: int, victims: Tensor, drawn: bool = False) -> Tensor:
    random.seed(poison)
    np.random.seed(poison)
    torch.manual_seed(poison)
    (x, train), (x_val, val) = ((x, linear(x, 6)) for x in (smooth(60), smooth(8, 1)))
    view = linear(victims, 6)
    if drawn:
        val, view = replace(val, drawn=x_val), replace(view, drawn=victims)
    effort = replace(SMALL, inversion_steps=10)
    found = DeepImagePrior(width=4).fit(train, x, val, x_val, classes=0, effort=effort, seed=7)(view)
    assert torch.initial_seed() == poison
    return found


def test_the_seed_alone_decides_and_nobody_hears_of_others() -> None:
    victims = smooth(8, 2)
    found = attacked(1, victims)
    assert torch.equal(found, attacked(2, victims))
    others = torch.cat([victims[:4], torch.rand(4, 1, 8, 8)])
    torch.testing.assert_close(found[:4], attacked(1, others)[:4], atol=1e-4, rtol=0)


def test_a_perfect_decoder_is_kept() -> None:
    """The plan that begins at what the decoder drew wins on aux_val."""
    victims = smooth(8, 2)
    assert float((attacked(1, victims, drawn=True) - victims).abs().max()) < 0.05


def test_it_runs_at_full_effort_or_when_asked() -> None:
    attack = DeepImagePrior()
    assert costly(attack)
    assert slow(attack)
    threat = Threat.named("server")
    assert "slow" in portfolio(threat, effort="standard")[1]["deep_image_prior"]
    assert "deep_image_prior" in portfolio(threat, effort="full")[0]
    assert "deep_image_prior" in portfolio(threat, ("deep_image_prior",), "quick")[0]
