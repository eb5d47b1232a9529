"""Signal content per layer, against projections computed by hand."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from privet.content import contents
from tiny import pictures, seeded


def test_a_linear_layer_by_hand() -> None:
    layer = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 2.0, 0]]))
    x = torch.tensor([[1.0, 2, 2], [3, 0, 4], [1, 1, 0]])
    found = contents(layer, x, centered=False)
    shares = [5 / 9, 9 / 25, 1.0]
    assert (found[0].rank, found[0].null_dimension) == (2, 1)
    assert math.isclose(found[0].content, sum(map(math.log, shares)) / 3, rel_tol=1e-9)
    assert found[0].content == found[0].cumulative
    moved = contents(layer, x + torch.tensor([0, 0, 100.0]))
    assert math.isclose(moved[0].content, contents(layer, x)[0].content, rel_tol=1e-4), "the mean has no say"


def test_a_convolution_is_projected_patch_by_patch() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 3, 3, stride=2, padding=1).eval()
    z = torch.randn(5, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    patches = F.unfold((z - z.mean(0)).double(), 3, padding=1, stride=2).transpose(1, 2)
    right = torch.linalg.svd(layer.weight.detach().double().flatten(1), full_matrices=False)[2].T
    share = (patches @ right).square().sum((1, 2)) / patches.square().sum((1, 2))
    found = contents(layer, z)[0]
    assert math.isclose(found.content, float(share.log().mean()), rel_tol=1e-6)
    assert (found.kind, found.rank, found.null_dimension) == ("conv", 3, 33)


def test_the_sum_falls_by_construction() -> None:
    """Each term is at most zero, trained or not: the curve alone proves nothing."""
    model = seeded(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 2)
        )
    )
    found = contents(model, pictures(30))
    assert [c.layer for c in found] == ["0", "3", "5"]
    assert all(c.content <= 1e-9 for c in found)
    sums = [c.cumulative for c in found]
    assert sums == sorted(sums, reverse=True)
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_full_rank_layers_pass_everything() -> None:
    found = contents(seeded(nn.Sequential(nn.Flatten(), nn.Linear(36, 50))), pictures(10))
    assert abs(found[0].content) < 1e-6
    assert found[0].null_dimension == 0
