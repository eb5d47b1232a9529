"""Image reconstruction network: the adversary of Li, Lai, Suda and Chandra 2017 ("PrivyNet", arXiv:1709.06161,
section 3), a generator of residual units and up-sampling after Ledig et al. 2017 (SRGAN, arXiv:1609.04802).

    minimize  mean (r(z') - x)^2
    r: 1x1 conv - cluster of units - [up-sampling - ReLU] - cluster - [up-sampling - ReLU] ... - 3x3 conv
    unit: v + BN(3x3 conv(ReLU(BN(3x3 conv(v)))))

Deviations: two clusters of 2 units of width 32, and sub-pixel steps of two (Shi et al. 2016, arXiv:1609.05158), where
theirs have 8 units, SRGAN's width is 64, and steps are strided transposed convolutions, one of stride 1 where nothing
has to grow (`units=8,width=64,transposed=true`); then bilinear to the input's size; a sigmoid at the end; Adam. A
payload that is no map is first brought onto a grid of a quarter of the picture by a dense layer. Where masks say which
channels came, they are channels, too. Rows of tables get a residual perceptron.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.attack import Goal, Need, Setting, View
from privet.errors import SpecError

COARSE = 8  # channels of the grid that a dense layer makes of a flat payload


@dataclass(frozen=True)
class Irn:
    """Reconstruct the input by residual units: `clusters` of `units`, `width` channels wide, with an up-sampling behind
    each as far as it takes any, the last by whatever is missing; by `transposed` convolutions as in the paper."""

    summary: ClassVar[str] = "PrivyNet's deep residual network, which reconstructs the input from the payload"
    goal: ClassVar[Goal] = "reconstruct"
    needs: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    grid: ClassVar[tuple[Setting, ...]] = (Setting(1e-3),)
    standardize: ClassVar[bool] = True
    slow: ClassVar[bool] = True
    width: int = 32
    units: int = 2
    clusters: int = 2
    transposed: bool = False

    def __post_init__(self) -> None:
        if min(self.width, self.units, self.clusters) < 1:
            told = f"{self.width}, {self.units} and {self.clusters}"
            raise SpecError(f"width, units and clusters must be at least 1, got {told}")

    def features(self, view: View) -> Tensor:
        """The public map z' [N, C, H, W] with what the masks say as channels behind it, or else the payload [N, P]."""
        if view.z is None or view.z.dim() != 4:
            return view.flat
        mask = _map(view.flat[:, : view.masks], view.z) if view.masks else None
        return view.z if mask is None else torch.cat([view.z, mask], 1)

    def network(self, view: View, output: tuple[int, ...]) -> nn.Module:
        """Features to pictures, or to table rows."""
        features = self.features(view)
        if len(output) == 3:
            return Residual(tuple(features.shape[1:]), output, self)
        layers = [_Unit(nn.Linear, nn.BatchNorm1d, 256) for _ in range(self.units)]
        inputs = features[0].numel()
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 256), *layers, nn.Linear(256, output[0]), nn.Sigmoid())


class Residual(nn.Module):
    """Features [B, C, H, W] or [B, P] -> pictures in [0, 1]."""

    def __init__(self, features: tuple[int, ...], output: tuple[int, ...], irn: Irn) -> None:
        super().__init__()
        self.size = output[1:]
        first: list[nn.Module] = []
        if len(features) != 3:
            grid = (math.ceil(output[1] / 4), math.ceil(output[2] / 4))
            inputs, features = math.prod(features), (COARSE, *grid)
            first = [nn.Flatten(), nn.Linear(inputs, math.prod(features)), nn.Unflatten(1, features)]
        steps = max(0, round(math.log2(min(self.size[0] / features[1], self.size[1] / features[2]))))
        layers = [*first, nn.Conv2d(features[0], irn.width, 1)]
        for left in range(irn.clusters)[::-1]:  # clusters that follow
            here = min(1, steps) if left else steps
            same = irn.transposed and self.size == features[1:] and left == irn.clusters - 1
            layers += [*_cluster(irn.width, irn.units), *(_transposed(irn.width, 1) if same else _grown(irn, here))]
            steps -= here
        self.body = nn.Sequential(*layers)
        self.last = nn.Conv2d(irn.width, output[0], 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        found = self.body(features)
        if found.shape[2:] != self.size:
            found = F.interpolate(found, self.size, mode="bilinear", align_corners=False)
        return torch.sigmoid(cast(Tensor, self.last(found)))


class _Unit(nn.Module):
    """v plus what two layers make of it; the layers are convolutions of 3x3, or dense."""

    def __init__(self, layer: type[nn.Module], norm: type[nn.Module], width: int) -> None:
        super().__init__()
        sizes = {"kernel_size": 3, "padding": 1} if layer is nn.Conv2d else {}
        inner = layer(width, width, **sizes), norm(width), nn.ReLU(), layer(width, width, **sizes), norm(width)
        self.inner = nn.Sequential(*inner)

    def forward(self, v: Tensor) -> Tensor:
        return v + cast(Tensor, self.inner(v))


def _cluster(width: int, units: int) -> list[nn.Module]:
    return [_Unit(nn.Conv2d, nn.BatchNorm2d, width) for _ in range(units)]


def _grown(irn: Irn, times: int) -> list[nn.Module]:
    """Twice the height and width, so many times: four maps are dealt out to four pixels, or a convolution of stride 2
    is transposed."""
    layers: list[nn.Module] = []
    for _ in range(times):
        dealt = [nn.Conv2d(irn.width, 4 * irn.width, 3, padding=1), nn.PixelShuffle(2), nn.ReLU()]
        layers += _transposed(irn.width, 2) if irn.transposed else dealt
    return layers


def _transposed(width: int, stride: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(width, width, 3, stride, padding=1, output_padding=stride - 1), nn.ReLU()]


def _map(mask: Tensor, z: Tensor) -> Tensor | None:
    """Bits [N, M] as channels beside z [N, C, H, W]: bits of channels everywhere, bits of values or of places where
    they belong; None where they belong to something else."""
    _, c, h, w = z.shape
    if mask.shape[1] == c:
        return mask[:, :, None, None].expand(-1, -1, h, w)
    return mask.reshape(-1, mask.shape[1] // (h * w), h, w) if mask.shape[1] % (h * w) == 0 else None
