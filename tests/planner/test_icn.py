"""PrivyNet's classification network: its normalization against torch's, and its shape."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from privet.planner.icn import ALPHA, AROUND, ResponseNorm, network


@pytest.mark.parametrize("channels", [1, 4, 9, 64])
@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_the_normalization_is_torch_s(channels: int, scale: float) -> None:
    """Values and gradients, at the edges of the channels, too."""
    v = scale * torch.randn(3, channels, 5, 4, generator=torch.Generator().manual_seed(channels))
    theirs = nn.LocalResponseNorm(AROUND, ALPHA, 0.75, 1.0)
    found = []
    for norm in (ResponseNorm(), theirs):
        x = v.clone().requires_grad_()
        y = norm(x)
        (gradient,) = torch.autograd.grad((y * torch.arange(y.numel()).reshape(y.shape).cos()).sum(), x)
        found.append((y.detach(), gradient))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5 * scale)


def test_the_network_of_the_tutorial() -> None:
    """Two banks of 64 filters of 5x5, 384 and 192 units; maps of 8x8 come to 2x2."""
    made = network((8, 8, 8), 10)
    assert [tuple(m.weight.shape) for m in made if isinstance(m, nn.Conv2d | nn.Linear)] == [
        (64, 8, 5, 5), (64, 64, 5, 5), (384, 64 * 4), (192, 384), (10, 192)
    ]  # fmt: skip
    assert made(torch.zeros(2, 8, 8, 8)).shape == (2, 10)
    assert [m.out_features for m in network((12,), 3) if isinstance(m, nn.Linear)] == [384, 192, 3]
