"""Extractors made narrow: what is kept computes what it computed, what is left out is gone, and what cannot be is
refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from privet import cost, models
from privet.errors import ModelError, SpecError
from privet.pretrained import zoo
from privet.pretrained.layers import Chain, Residual, Step

NAMES = ("vgg19_normalised_to_conv3_1", "mobilenet_v1_1.0_224_to_conv_pw_12", "cifar10_resnet20")
BLOCKS = ("torchvision:resnet18", "timm:resnet50d")  # two banks a block and three; a way around with and without a pool


def chain(name: str) -> Chain:
    """Of weights and statistics that are not the trivial ones."""
    generator = torch.Generator().manual_seed(3)
    made = (
        zoo.KNOWN[name].build() if name in zoo.KNOWN else zoo.chain_of(models.load(name, shape=(3, 32, 32), classes=9))
    ).eval()
    with torch.no_grad():
        for key, value in made.state_dict().items():
            if value.is_floating_point():
                drawn = torch.randn(value.shape, generator=generator)
                value.copy_(
                    drawn.abs() + 0.5 if key.endswith("running_var") else drawn / max(1, value[0].numel()) ** 0.5
                )
    return made


def some(count: int, of: int, seed: int) -> torch.Tensor:
    return torch.randperm(of, generator=torch.Generator().manual_seed(seed))[:count].sort().values


@pytest.mark.parametrize("name", [*NAMES, *BLOCKS])
def test_released_channels_are_those_of_the_whole(name: str) -> None:
    made, x = chain(name), torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for m in (1, 2, 4, 5, 6):
        whole, index = made.head(m)(x), some(3, made.channels(m), m)
        narrow = made.head(m, index)
        torch.testing.assert_close(narrow(x), whole[:, index], rtol=0, atol=1e-5)
        one = dict.fromkeys(made.inner(m), torch.tensor([0]))  # as narrow as a device is timed with
        assert made.head(m, index[:1], one)(x).shape == whole[:, :1].shape
        assert cost.parameter_bytes(narrow) < cost.parameter_bytes(made.head(m))
        assert cost.macs(narrow, x) < cost.macs(made.head(m), x)


@pytest.mark.parametrize("name", [*NAMES, *BLOCKS])
def test_inner_filters_left_out_are_filters_that_say_nothing(name: str) -> None:
    """A network without some filters gives what the whole gives where nobody reads those filters."""
    made, x = chain(name), torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    m = 6
    kept = {number: some(max(1, filters // 2), filters, number) for number, filters in made.inner(m).items()}
    deaf = copy.deepcopy(made)
    with torch.no_grad():
        for number, index in kept.items():
            layer = deaf.layer(number)
            gone = torch.ones(layer.filters, dtype=torch.bool)
            gone[index] = False
            if isinstance(layer, Residual):
                layer.inner[layer.banks[-1]].weight[:, gone] = 0
                continue
            following = next(
                b for n in range(number + 1, m + 1) for b in deaf.layer(n) if isinstance(b, nn.Conv2d) and b.groups == 1
            )
            following.weight[:, gone] = 0
    index = some(4, made.channels(m), 9)
    narrow = made.head(m, index, kept)
    torch.testing.assert_close(narrow(x), deaf.head(m, index)(x), rtol=0, atol=1e-5)
    assert cost.macs(narrow, x) < 0.75 * cost.macs(made.head(m, index), x)


def test_pools_count_as_layers_and_give_back_what_they_got() -> None:
    made = chain(NAMES[0])
    assert made.names == ["conv1_1", "conv1_2", "pool1", "conv2_1", "conv2_2", "pool2", "conv3_1"]
    assert [made.channels(m) for m in range(1, 8)] == [64, 64, 64, 128, 128, 128, 256]
    assert made.inner(6) == {1: 64, 2: 64, 4: 128}, "conv2_2 is what is released behind pool2"
    assert [tuple(made.head(m)(torch.rand(1, 3, 32, 32)).shape[2:]) for m in (2, 3, 6)] == [(32, 32), (16, 16), (8, 8)]


def test_residual_streams_are_whole_and_their_blocks_narrow() -> None:
    made = chain(NAMES[2])
    assert 1 not in made.inner(4), "the stem feeds the stream"
    assert made.inner(3) == {2: 16, 3: 16}
    with pytest.raises(SpecError, match="cannot be left out"):
        made.head(3, None, {1: torch.tensor([0])})


def test_what_is_asked_of_a_chain_must_be_there() -> None:
    made = chain(NAMES[0])
    with pytest.raises(SpecError, match="has 7 layers; there is no layer 9"):
        made.head(9)
    for index in ([64], [1, 1], [2, 1], [], [-1]):
        with pytest.raises(SpecError, match="released: give different channels below 64"):
            made.head(1, torch.tensor(index, dtype=torch.int64))
    with pytest.raises(SpecError, match="layer 3 cannot be left out"):
        made.head(4, None, {3: torch.tensor([0])})
    with pytest.raises(ModelError, match="one bank of filters"):
        Step(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))


def test_gray_pictures_are_taken_for_colored_ones() -> None:
    made, x = chain(NAMES[0]), torch.rand(2, 1, 16, 16)
    assert made.head(2)(x).equal(made.head(2)(x.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(
    ("reference", "shape", "names"),
    [
        (
            "vgg",
            (1, 8, 8),
            ["stage1_conv1", "stage1_conv2", "stage1_pool", "stage2_conv1", "stage2_conv2", "stage2_pool"],
        ),
        (
            "cnn3",
            (3, 16, 16),
            ["block1_conv", "block1_pool", "block2_conv", "block2_pool", "block3_conv", "block3_pool"],
        ),
        ("mlp", (20,), ["fc1_linear", "fc2_linear"]),
        ("torchvision:squeezenet1_1", (3, 64, 64), ["features_0", "features_2"]),
    ],
)
def test_layers_are_made_of_anybodys_sequence(reference: str, shape: tuple[int, ...], names: list[str]) -> None:
    model = models.load(reference, shape=shape, classes=3, seed=1).eval()
    made = zoo.chain_of(model)
    assert made.names[: len(names)] == names
    x = torch.rand(2, *shape)
    if reference == "cnn3":  # the flattened maps are what its linear layers read
        assert made.head(6)(x).flatten(1).equal(model[:3](x).flatten(1))
    if reference == "mlp":
        assert made.head(2)(x).equal(model[:2](x))
        index = torch.tensor([0, 5])
        assert made.head(2, index)(x).shape == (2, 2)


@pytest.mark.parametrize(("reference", "layers"), [("torchvision:resnet18", 10), ("timm:resnet50d", 20)])
def test_layers_of_a_resnet_give_what_it_gives(reference: str, layers: int) -> None:
    model = models.load(reference, shape=(3, 64, 64), classes=9, seed=1).eval()
    made, x = zoo.chain_of(model), torch.rand(2, 3, 64, 64)
    assert made.names[-1] == ("layer4_2" if "50" in reference else "layer4_1")
    assert len(made.names) == layers
    seen: list[torch.Tensor] = []
    model.layer4.register_forward_hook(lambda module, given, gave: seen.append(gave))
    with torch.no_grad():
        model(x)
        torch.testing.assert_close(made(x), seen[0], rtol=0, atol=0)


def test_layers_are_not_made_of_everything() -> None:
    with pytest.raises(ModelError, match="no layers can be made of a TransformerEncoderLayer"):
        zoo.chain_of(nn.TransformerEncoderLayer(4, 2))
    blocks_with_more = models.load("torchvision:resnext50_32x4d", shape=(3, 32, 32), classes=2)
    assert zoo.chain_of(blocks_with_more).names == ["conv1", "maxpool"]
    with pytest.raises(ModelError, match="two banks of filters at least, this one has 1"):
        Residual([nn.Conv2d(1, 1, 1)], Step(), nn.ReLU())
