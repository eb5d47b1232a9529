"""PrivyNet's reconstruction network: its units, its sizes, and what it reads."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from privet.attack import View
from privet.attacks.irn import Irn, Residual, _Unit
from privet.auditing import battery
from privet.auditing.battery import Material
from privet.auditing.threat import Threat, portfolio
from privet.errors import SpecError
from studies import SMALL
from tiny import pictures, seeded


def test_a_unit_adds_to_what_it_is_given() -> None:
    """v + BN(conv(ReLU(BN(conv(v))))): without its last scale nothing is added."""
    unit = seeded(_Unit(nn.Conv2d, nn.BatchNorm2d, 4))
    v = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    first, norm, relu, second, last = unit.inner
    torch.testing.assert_close(unit(v), v + last(second(relu(norm(first(v))))))
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
    assert torch.equal(unit(v), v)


@pytest.mark.parametrize(("side", "steps"), [(50, 0), (25, 1), (12, 2), (6, 3), (1, 6)])
def test_every_map_comes_to_the_size_of_the_picture(side: int, steps: int) -> None:
    """As many steps of two as bring it nearest, one of them between the clusters."""
    network = Residual((5, side, side), (3, 50, 50), Irn(8, 1)).eval()
    kinds = [type(m) for m in network.body if isinstance(m, nn.PixelShuffle | _Unit)]
    between = [nn.PixelShuffle] * min(1, steps)
    assert kinds == [_Unit, *between, _Unit, *[nn.PixelShuffle] * (steps - len(between))]
    with torch.no_grad():
        drawn = network(torch.zeros(2, 5, side, side))
    assert drawn.shape == (2, 3, 50, 50)
    assert float(drawn.min()) >= 0
    assert float(drawn.max()) <= 1


def test_the_paper_s_size() -> None:
    """Two clusters of eight units of two convolutions each, a strided deconvolution behind each of them."""
    network = Residual((16, 8, 8), (3, 32, 32), Irn(64, 8, transposed=True))
    units = [m for m in network.modules() if isinstance(m, _Unit)]
    assert len(units) == 16
    assert sum(isinstance(m, nn.Conv2d) for unit in units for m in unit.modules()) == 32
    kinds = [type(m) for m in network.body]
    places = [i for i, kind in enumerate(kinds) if kind is nn.ConvTranspose2d]
    assert [kinds[:place].count(_Unit) for place in places] == [8, 16]
    assert [network.body[place].stride for place in places] == [(2, 2), (2, 2)]
    assert [tuple(network.body[: place + 1](torch.zeros(1, 16, 8, 8)).shape) for place in places] == [
        (1, 64, 16, 16),
        (1, 64, 32, 32),
    ]


@pytest.mark.parametrize("clusters", [1, 2, 3])
@pytest.mark.parametrize("side", [32, 16, 8])
def test_clusters_are_one_or_more_with_a_deconvolution_between(clusters: int, side: int) -> None:
    """Where nothing has to grow, one of stride 1 stands behind the first cluster (appendix C)."""
    irn = Irn(8, 2, clusters, transposed=True)
    network = Residual((4, side, side), (3, 32, 32), irn).eval()
    strides = [m.stride[0] for m in network.body if isinstance(m, nn.ConvTranspose2d)]
    assert strides == ([1] if side == 32 else [2] * {16: 1, 8: 2}[side])
    assert sum(isinstance(m, _Unit) for m in network.body) == 2 * clusters
    assert network(torch.zeros(2, 4, side, side)).shape == (2, 3, 32, 32)


@pytest.mark.parametrize("given", [{"clusters": 0}, {"units": 0}, {"width": 0}])
def test_a_network_of_nothing_is_refused(given: dict[str, int]) -> None:
    with pytest.raises(SpecError, match="must be at least 1"):
        Irn(**given)


@pytest.mark.parametrize(("masks", "channels"), [(0, 4), (4, 8), (36, 5), (144, 8), (10, 4)])
def test_masks_are_channels(masks: int, channels: int) -> None:
    """Of channels, of places, of values; bits of something else stay out."""
    z = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    bits = (torch.rand(3, masks, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    features = Irn().features(View(torch.cat([bits, z.flatten(1)], 1), z, masks=masks))
    assert features.shape == (3, channels, 6, 6)
    assert torch.equal(features[:, :4], z)
    if masks == 4:
        assert torch.equal(features[:, 4:].amax((2, 3)), bits)
        assert torch.equal(features[:, 4:].amin((2, 3)), bits)
    if masks in (36, 144):
        assert torch.equal(features[:, 4:].flatten(1), bits)


def test_a_flat_payload_is_read_whole() -> None:
    view = View(torch.randn(3, 9, generator=torch.Generator().manual_seed(0)), torch.zeros(3, 7))
    assert torch.equal(Irn().features(view), view.flat)
    assert Irn().network(view, (1, 9, 10))(view.flat).shape == (3, 1, 9, 10)
    assert Irn().network(view, (12,))(view.flat).shape == (3, 12)


def test_it_is_slow() -> None:
    threat = Threat.named("server")
    assert "irn" in portfolio(threat, (), "standard")[1]
    assert "irn" in portfolio(threat, (), "full")[0]
    assert "irn:width=64,units=8" in portfolio(threat, ("irn:units=8,width=64",), "quick")[0]


@pytest.mark.parametrize("option", ["width", "units"])
def test_sizes_are_positive(option: str) -> None:
    with pytest.raises(SpecError, match="at least 1"):
        Irn(**{option: 0})


def test_the_seed_alone_decides() -> None:
    x = {k: pictures(n, n) for k, n in (("train", 32), ("val", 8), ("victims", 6))}
    views = {k: View(v.flatten(1), v) for k, v in x.items()}
    material = Material([views["train"]], x["train"], views["val"], x["val"], (1, 6, 6))
    effort, found = replace(SMALL, decoder_epochs=2, attack_steps=1), []
    for poison in (1, 2):
        random.seed(poison)
        np.random.seed(poison)
        torch.manual_seed(poison)
        found.append(battery.run(Irn(width=8), material, views["victims"], effort=effort, seed=7).victims)
        assert torch.initial_seed() == poison
    assert torch.equal(found[0], found[1])
