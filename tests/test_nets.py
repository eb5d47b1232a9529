"""Networks of attacks: shapes, logits, and the server's architecture with another head."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from privet import models
from privet.nets import Decoder, Scale, mlp, reheaded
from privet.split import split


def test_mlp() -> None:
    network = mlp(5, (8, 4), 3, dropout=0.5)
    assert network(torch.rand(6, 5)).shape == (6, 3)
    assert [m.out_features for m in network if isinstance(m, nn.Linear)] == [8, 4, 3]
    assert isinstance(network[-1], nn.Linear)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 50, 50), (1, 9, 13), (3, 4, 4)], ids=str)
def test_decoder(shape: tuple[int, ...]) -> None:
    drawn = Decoder(10, shape)(torch.randn(2, 10)).detach()
    assert drawn.shape == (2, *shape)
    assert 0 < float(drawn.min()) <= float(drawn.max()) < 1


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("cnn3", "flatten"),
        ("cnn3", "block1"),
        ("cnn3", "fc2"),
        ("vgg", "stage2"),
        ("resnet18", "layer1"),
        ("vit", "block1"),
    ],
)
def test_every_server_takes_another_head(name: str, cut: str) -> None:
    shape = (1, 16, 16)
    model = models.load(name, shape=shape, classes=2).eval()
    x = torch.rand(3, *shape)
    halves = split(model, x, cut)
    z = halves.edge(x)
    torch.manual_seed(0)
    fresh = reheaded(halves.server, z, 5).train()
    assert fresh(z).shape == (3, 5)
    kept = [m for m in fresh.modules() if isinstance(m, nn.Linear)]
    assert kept[-1].out_features == 5


def test_fresh_weights_and_the_original_untouched() -> None:
    server = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    for parameter in server.parameters():
        parameter.requires_grad_(False)
    before = [p.clone() for p in server.parameters()]
    fresh = reheaded(server, torch.rand(3, 4), 3)
    assert not torch.equal(fresh[0].weight, server[0].weight)
    assert all(p.requires_grad for p in fresh.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, server.parameters(), strict=True))
    assert server[2].out_features == 2


@pytest.mark.parametrize("server", [nn.Identity(), nn.Sequential(nn.ReLU()), nn.Linear(4, 4)], ids=str)
def test_a_server_without_a_head_of_its_own(server: nn.Module) -> None:
    z = torch.rand(3, 4)
    assert reheaded(server.eval(), z, 3)(z).shape == (3, 3)


def test_a_hidden_layer_as_wide_as_the_answer_is_not_taken_for_the_head() -> None:
    server = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
    fresh = reheaded(server, torch.rand(3, 4), 5)
    assert [m.out_features for m in fresh.modules() if isinstance(m, nn.Linear)] == [2, 5]


def test_columns_are_standardized_in_any_unit() -> None:
    """A payload in small units says what it says; a column that never moves is nothing, however large."""
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    for unit in (1.0, 5e-7, 1e6):
        rows = torch.cat([x * unit, torch.full((200, 1), 7.0 * unit)], 1)
        standard = Scale.of(rows)(rows)
        torch.testing.assert_close(standard[:, :3].std(0), torch.ones(3), rtol=1e-3, atol=1e-3)
        assert not standard[:, 3].any()
