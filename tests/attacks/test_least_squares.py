"""Least squares: numpy's answer in both forms, the penalty chosen on aux_val, the seed."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor

from privet.attack import View
from privet.attacks.least_squares import LeastSquares, ridge
from privet.auditing import battery
from privet.auditing.battery import Material
from studies import SMALL


def people(n: int, outputs: int, noise: float = 0.0, seed: int = 0) -> tuple[View, Tensor]:
    """Inputs of 12 numbers behind a known matrix, and noise."""
    matrix = torch.randn(12, outputs, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 12, generator=generator)
    return View(x @ matrix + 1 + noise * torch.randn(n, outputs, generator=generator)), x


@pytest.mark.parametrize("width", [7, 40], ids=["more people", "more values"])
@pytest.mark.parametrize("penalty", [1e-3, 0.3])
def test_it_is_ridge_regression(width: int, penalty: float) -> None:
    """numpy's least squares with sqrt(penalty) I appended to the rows, in the primal and in the dual."""
    generator = np.random.default_rng(0)
    rows, known, asked = (generator.normal(size=(n, m)) for n, m in ((20, width), (20, 3), (5, width)))
    rows -= rows.mean(0)
    smaller = rows.T @ rows if width < 20 else rows @ rows.T
    damp = np.sqrt(penalty * np.diag(smaller).mean()) * np.eye(width)
    weights = np.linalg.lstsq(
        np.vstack([rows, damp]), np.vstack([known - known.mean(0), np.zeros((width, 3))]), rcond=None
    )[0]
    wanted = asked @ weights + known.mean(0)
    found = ridge(*(torch.from_numpy(v) for v in (rows, known)))(penalty)(torch.from_numpy(asked))
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-5)


def test_what_is_linear_comes_back() -> None:
    (train, x), (val, x_val), (victims, x_victims) = (people(n, 20, seed=n) for n in (100, 30, 20))
    posterior = LeastSquares().fit(train, x, val, x_val, classes=0, effort=SMALL, seed=0)
    assert float((posterior(victims) - x_victims).abs().max()) < 1e-3


def test_the_penalty_is_chosen_on_aux_val() -> None:
    """With as many values as people and much noise the smallest penalty is the worst; it is not taken."""
    (train, x), (val, x_val), (victims, x_victims) = (people(n, 60, noise=3.0, seed=n) for n in (60, 200, 200))
    posterior = LeastSquares().fit(train, x, val, x_val, classes=0, effort=SMALL, seed=0)
    mean = float((x.mean(0) - x_victims).square().mean())
    assert float((posterior(victims) - x_victims).square().mean()) < mean


def test_the_seed_alone_decides() -> None:
    (train, x), (val, x_val), (victims, _) = (people(n, 20, 0.1, seed=n) for n in (50, 20, 10))
    found = []
    for poison in (1, 2):
        random.seed(poison)
        np.random.seed(poison)
        torch.manual_seed(poison)
        material = Material([train], x, val, x_val, (12,))
        found.append(battery.run(LeastSquares(), material, victims, effort=SMALL, seed=poison).victims)
    assert torch.equal(found[0], found[1])
