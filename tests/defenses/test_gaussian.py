"""Gaussian noise: z' - z is sigma times the noise handed in, and nothing else."""

from __future__ import annotations

import numpy as np
import torch

from privet.defenses.gaussian import Gaussian, GaussianObfuscator
from tiny import EFFORT, conv_split, corpus, pictures


def test_equation() -> None:
    z, xi = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    assert torch.equal(GaussianObfuscator((3, 2, 2), 0.3)(z, xi), z + 0.3 * xi)


def test_standard_deviation_on_the_wire() -> None:
    defended = Gaussian(0.5).fit(conv_split(), corpus(), effort=EFFORT, seed=0)
    x = pictures(64)
    sent = defended.decode(defended.encode(x, defended.draw(64, np.random.default_rng(0))))
    with torch.no_grad():
        spread = float((sent - defended.split.edge(x)).std())
    assert abs(spread - 0.5) < 0.02


def test_only_the_server_learns() -> None:
    given = conv_split()
    defended = Gaussian(0.5).fit(given, corpus(), effort=EFFORT, seed=0)
    before, after = given.edge.state_dict(), defended.split.edge.state_dict()
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert defended.log["server_tuned"] is True
    frozen = Gaussian(0.5).fit(conv_split(frozenset({"server"})), corpus(), effort=EFFORT, seed=0)
    assert frozen.log["server_tuned"] is False
    assert defended.guarantee.statement is None
