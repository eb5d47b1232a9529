"""The built-in networks: each a function of the input's shape and the number of classes.

Their submodules carry readable names, because a cut is named by the path of a module."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

from privet.errors import ModelError


def _dense(inputs: int, units: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(linear=nn.Linear(inputs, units), relu=nn.ReLU(), bn=nn.BatchNorm1d(units)),
    )


def _head(inputs: int, classes: int) -> OrderedDict[str, nn.Module]:
    return OrderedDict(fc1=_dense(inputs, 128), fc2=_dense(128, 64), fc3=nn.Linear(64, classes))


def cnn3(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Three convolutions of 16, 32, 64 filters and three linear layers (Table 1 of the singular-vector pruning paper).

    `[conv3x3 - ReLU - maxpool2 - BN] x 3, FC 128 - ReLU - BN, FC 64 - ReLU - BN, FC K`; padding 1 is our reading of the
    table. Takes [B, C, H, W] with H, W >= 8; z at `flatten` is [B, 64 * (H // 8) * (W // 8)]."""
    c, h, w = _image(shape, least=8)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (inputs, filters) in enumerate(((c, 16), (16, 32), (32, 64)), start=1):
        layers[f"block{i}"] = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(inputs, filters, 3, padding=1),
                relu=nn.ReLU(),
                pool=nn.MaxPool2d(2),
                bn=nn.BatchNorm2d(filters),
            )
        )
    layers["flatten"] = nn.Flatten()
    return nn.Sequential(layers | _head(64 * (h // 8) * (w // 8), classes))


def mlp(shape: tuple[int, ...], classes: int) -> nn.Module:
    """FC 128 - ReLU - BN, FC 64 - ReLU - BN, FC K, for table rows [B, D]; other shapes are flattened first."""
    flatten = OrderedDict[str, nn.Module]() if len(shape) == 1 else OrderedDict[str, nn.Module](flatten=nn.Flatten())
    return nn.Sequential(flatten | _head(math.prod(shape), classes))


def vgg(shape: tuple[int, ...], classes: int) -> nn.Module:
    """A small VGG: two 3x3 convolutions with BN and ReLU per stage, 32, 64 and 128 filters, then FC 256 and FC K.

    Takes [B, C, H, W] with H, W >= 8; pooled to 2x2 before the linear layers, so its size does not depend on H, W."""
    inputs, _, _ = _image(shape, least=8)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, filters in enumerate((32, 64, 128), start=1):
        stage: OrderedDict[str, nn.Module] = OrderedDict()
        for j in (1, 2):
            stage[f"conv{j}"] = nn.Conv2d(inputs, filters, 3, padding=1)
            stage[f"bn{j}"] = nn.BatchNorm2d(filters)
            stage[f"relu{j}"] = nn.ReLU()
            inputs = filters
        layers[f"stage{i}"] = nn.Sequential(stage | OrderedDict[str, nn.Module](pool=nn.MaxPool2d(2)))
    layers["pool"] = nn.AdaptiveAvgPool2d(2)
    layers["flatten"] = nn.Flatten()
    layers["fc1"] = nn.Sequential(OrderedDict(linear=nn.Linear(512, 256), relu=nn.ReLU(), dropout=nn.Dropout(0.5)))
    layers["fc2"] = nn.Linear(256, classes)
    return nn.Sequential(layers)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a way around them (He et al. 2015, figure 2). [B, C, H, W] -> [B, C', H', W']."""

    def __init__(self, inputs: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, filters, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.relu2 = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != filters:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(residual + self.shortcut(x))  # type: ignore[no-any-return]


def resnet18(shape: tuple[int, ...], classes: int) -> nn.Module:
    """ResNet-18 for small images: a 3x3 stem without pooling, four stages of two blocks. Takes any [B, C, H, W]."""
    channels, _, _ = _image(shape, least=1)
    stem = OrderedDict(conv=nn.Conv2d(channels, 64, 3, padding=1, bias=False), bn=nn.BatchNorm2d(64), relu=nn.ReLU())
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Sequential(stem))
    inputs = 64
    for i, filters in enumerate((64, 128, 256, 512), start=1):
        blocks = BasicBlock(inputs, filters, 1 if i == 1 else 2), BasicBlock(filters, filters, 1)
        layers[f"layer{i}"], inputs = nn.Sequential(*blocks), filters
    layers |= OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), fc=nn.Linear(512, classes))
    return nn.Sequential(layers)


class Tokens(nn.Module):
    """Places of a picture as tokens with learned positions: [B, C, H, W] -> [B, T, D].

    Convolutions of stride 2 stand in for large patches: with few pictures and few epochs a transformer learns more
    behind them (Xiao et al. 2021, arXiv:2106.14881)."""

    def __init__(self, shape: tuple[int, int, int], halvings: int, width: int) -> None:
        super().__init__()
        (inputs, h, w), layers = shape, OrderedDict[str, nn.Module]()
        for i in range(1, halvings + 1):
            filters = min(128, 16 << i)
            layers[f"conv{i}"] = nn.Conv2d(inputs, filters, 3, stride=2, padding=1, bias=False)
            layers[f"bn{i}"], layers[f"relu{i}"] = nn.BatchNorm2d(filters), nn.ReLU()
            inputs, h, w = filters, -(-h // 2), -(-w // 2)
        self.stem = nn.Sequential(layers)
        self.conv = nn.Conv2d(inputs, width, 1)
        self.positions = nn.Parameter(torch.randn(1, h * w, width) * 0.5)  # large at once: training is short

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.stem(x)).flatten(2).transpose(1, 2) + self.positions  # type: ignore[no-any-return]


class VitBlock(nn.Module):
    """Attention, then a perceptron, pre-normalized and added (Dosovitskiy et al. 2020). [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm1(x)
        x = x + self.dropout(self.attention(normed, normed, normed, need_weights=False)[0])
        return x + self.dropout(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]


class MeanTokens(nn.Module):
    """The mean over tokens: [B, T, D] -> [B, D]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1)


def vit(shape: tuple[int, ...], classes: int) -> nn.Module:
    """A tiny vision transformer: pictures halved to about 8x8 places, width 64, four blocks of four heads, mean over
    tokens.

    Takes [B, C, H, W] with H, W >= 4; z inside is [B, T, 64]."""
    c, h, w = _image(shape, least=4)
    halvings = max(1, round(math.log2(min(h, w) / 8)))
    layers: OrderedDict[str, nn.Module] = OrderedDict(tokens=Tokens((c, h, w), halvings, 64))
    for i in range(1, 5):
        layers[f"block{i}"] = VitBlock(64, heads=4)
    layers |= OrderedDict(norm=nn.LayerNorm(64), mean=MeanTokens(), head=nn.Linear(64, classes))
    return nn.Sequential(layers)


class Frames(nn.Module):
    """Time steps that know their neighbors: normalized, then convolved over time, every second one kept.

    [B, C, H, W] is read as W steps of C * H features, [B, T, D] as it is; out comes [B, T', width], T' half of them."""

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.picture = len(shape) == 3
        features = shape[0] * shape[1] if self.picture else shape[1]
        self.norm = nn.BatchNorm1d(features)
        self.conv = nn.Conv1d(features, width, 5, stride=2, padding=2)
        self.bn = nn.BatchNorm1d(width)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = x.flatten(1, 2) if self.picture else x.transpose(1, 2)
        return self.relu(self.bn(self.conv(self.norm(steps)))).transpose(1, 2)  # type: ignore[no-any-return]


class GruLayer(nn.Module):
    """Gated recurrent units (Cho et al. 2014) that hand on the state of every step, normalized: [B, T, D] -> [B, T, H].

    Normalized here and not in the next layer: there, behind a cut, it would rescale what pruning has left."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, width, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.gru(x)[0])  # type: ignore[no-any-return]


class MaxSteps(nn.Module):
    """The largest value over time: [B, T, D] -> [B, D]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.amax(1)


def gru(shape: tuple[int, ...], classes: int) -> nn.Module:
    """A small recurrent network: a convolution over time, two layers of 128 gated units, the maximum over time.

    Takes sequences [B, T, D], or pictures of sound [B, C, H, W] with time from left to right. z inside is
    [B, ceil(T / 2), 128]; nobody hears the future, so the edge can run `frames` and `layer1` while it listens."""
    if len(shape) not in (2, 3):
        raise ModelError(
            f"this network takes sequences [T, D] or pictures of sound [C, H, W]; given the shape {tuple(shape)}"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict(frames=Frames(shape, 128))
    layers |= OrderedDict(layer1=GruLayer(128, 128), layer2=GruLayer(128, 128))
    return nn.Sequential(layers | OrderedDict[str, nn.Module](pool=MaxSteps(), head=nn.Linear(128, classes)))


BUILT_IN: dict[str, Callable[..., nn.Module]] = {f.__name__: f for f in (cnn3, mlp, vgg, resnet18, vit, gru)}


def _image(shape: tuple[int, ...], least: int) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape[1:]) < least:
        raise ModelError(f"this network takes pictures [C, H, W] of {least} px or more; given the shape {tuple(shape)}")
    return shape[0], shape[1], shape[2]
