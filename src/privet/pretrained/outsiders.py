"""Networks that other people trained, as judges of rebuilt pictures: read from a folder of safetensors, never fetched.

`vgg19_normalised_to_conv3_1` is the beginning of VGG-19 (Simonyan and Zisserman 2014, arXiv:1409.1556), trained on
ImageNet, its weights scaled to unit mean activations as style transfer uses it (Gatys et al. 2016, CVPR), as in `zoo`.

`faceapi_age_gender` is the small Xception (Chollet 2017, CVPR) for age and gender of face-api.js (MIT licence), with
its tensors as TensorFlow lays them out.

Deviations: pictures of one channel are given to both as gray.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet import models
from privet.errors import ModelError
from privet.pretrained import zoo
from privet.pretrained.layers import colored

SIDE, LEAST = 112, 8  # pixels: of faces, and of what can be reflected three times
MEAN = (122.782, 117.001, 104.298)  # of face-api.js, RGB in 0..255
MALE = 0  # its first gender
LOOKED_AT = ("conv1_2", "conv2_2", "conv3_1")


class VggHead(nn.Module):
    """VGG-19 up to conv3_1: pictures [B, C, H, W] in [0, 1] -> the maps behind conv1_2, conv2_2 and conv3_1."""

    def __init__(self) -> None:
        super().__init__()
        self.chain = zoo.vgg19()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = colored(x)
        if min(x.shape[2:]) < LEAST:
            x = F.interpolate(x, scale_factor=LEAST / min(x.shape[2:]), mode="bilinear")
        x, maps = self.chain.first(x), []
        for name, layer in self.chain.layers.named_children():
            x = layer(x)
            if name in LOOKED_AT:
                maps.append(x)
        return tuple(maps)


class Filters(nn.Module):
    """A convolution as TensorFlow keeps it, filters [h, w, in, out], padded as `same` does: behind rather than before
    where the sum is odd."""

    def __init__(self, size: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.filters = nn.Parameter(torch.zeros(size, size, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = same(x, self.filters.shape[0], self.stride)
        return F.conv2d(x, self.filters.permute(3, 2, 0, 1), self.bias, self.stride)


class Separable(nn.Module):
    """A 3x3 convolution of each channel by itself, then one of 1x1 over channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise_filter = nn.Parameter(torch.zeros(3, 3, inputs, 1))
        self.pointwise_filter = nn.Parameter(torch.zeros(1, 1, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.depthwise_filter.permute(2, 3, 0, 1), padding=1, groups=x.shape[1])
        return F.conv2d(x, self.pointwise_filter.permute(3, 2, 0, 1), self.bias)


class Reduction(nn.Module):
    """Two separable convolutions and a pool of stride two, beside a 1x1 convolution of stride two."""

    def __init__(self, inputs: int, outputs: int, *, first: bool = False) -> None:
        super().__init__()
        self.first = first
        self.separable_conv0, self.separable_conv1 = Separable(inputs, outputs), Separable(outputs, outputs)
        self.expansion_conv = Filters(1, inputs, outputs, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.separable_conv0(x if self.first else F.relu(x))
        y = self.separable_conv1(F.relu(y))
        pooled = F.max_pool2d(same(y, 3, 2, -torch.inf), 3, 2)
        return pooled + self.expansion_conv(x)  # type: ignore[no-any-return]


class Middle(nn.Module):
    """Three separable convolutions and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.separable_conv0, self.separable_conv1 = Separable(width, width), Separable(width, width)
        self.separable_conv2 = Separable(width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.separable_conv1(F.relu(self.separable_conv0(F.relu(x))))
        return x + self.separable_conv2(F.relu(y))  # type: ignore[no-any-return]


class Linear(nn.Module):
    """weights [in, out]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weights, self.bias = nn.Parameter(torch.zeros(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weights + self.bias


class AgeGender(nn.Module):
    """Faces [B, C, H, W] in [0, 1] -> (years [B], logits of male and female [B, 2])."""

    def __init__(self) -> None:
        super().__init__()
        self.entry_flow = nn.ModuleDict({
            "conv_in": Filters(3, 3, 32, 2),
            "reduction_block_0": Reduction(32, 64, first=True),
            "reduction_block_1": Reduction(64, 128),
        })  # fmt: skip
        self.middle_flow = nn.ModuleDict({f"main_block_{i}": Middle(128) for i in range(2)})
        self.exit_flow = nn.ModuleDict({"reduction_block": Reduction(128, 256), "separable_conv": Separable(256, 512)})
        self.fc = nn.ModuleDict({"age": Linear(512, 1), "gender": Linear(512, 2)})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.interpolate(colored(x) * 255, (SIDE, SIDE), mode="bilinear", align_corners=False)
        x = (x - x.new_tensor(MEAN)[:, None, None]) / 255
        x = F.relu(self.entry_flow["conv_in"](x))
        for block in (*list(self.entry_flow.values())[1:], *self.middle_flow.values()):
            x = block(x)
        x = F.relu(self.exit_flow["separable_conv"](self.exit_flow["reduction_block"](x))).mean((2, 3))
        return self.fc["age"](x).flatten(), self.fc["gender"](x)


def same(x: Tensor, size: int, stride: int, value: float = 0.0) -> Tensor:
    """TensorFlow's `same`: padded so that ceil(side / stride) values come out."""
    pads: list[int] = []
    for side in (x.shape[3], x.shape[2]):
        missing = max(0, (-(-side // stride) - 1) * stride + size - side)
        pads += [missing // 2, missing - missing // 2]
    return F.pad(x, pads, value=value) if any(pads) else x


def _vgg(key: str, value: Tensor) -> tuple[str, Tensor] | None:
    found = zoo.KNOWN["vgg19_normalised_to_conv3_1"].translate(key, value)
    return found and (f"chain.{found[0]}", found[1])


def _faces(key: str, value: Tensor) -> tuple[str, Tensor]:
    return key.replace("/", "."), value


KNOWN: dict[str, tuple[Callable[[], nn.Module], models.Translate]] = {
    "vgg19_normalised_to_conv3_1": (VggHead, _vgg),
    "faceapi_age_gender": (AgeGender, _faces),
}


def files(folder: str | Path) -> dict[str, Path]:
    """The judges in a folder, by name, whatever else is there; `ModelError` where there is none."""
    found = {name: path for name in sorted(KNOWN) if (path := Path(folder) / f"{name}.safetensors").is_file()}
    if not Path(folder).is_dir():
        raise ModelError(f"there is no folder of judges at {str(folder)!r}; give one to --judges, or leave it out")
    if not found:
        known = " and ".join(f"{name}.safetensors" for name in KNOWN)
        raise ModelError(f"the folder of judges {str(folder)!r} holds none; put {known} there, or one of them")
    return found


def load(folder: str | Path) -> dict[str, nn.Module]:
    """The networks in a folder, by name, to ask and not to train; `ModelError` also where weights do not fit, by name
    and shape."""
    networks = {}
    for name, path in files(folder).items():
        build, translate = KNOWN[name]
        networks[name] = build()
        models.load_weights(networks[name], path, translate)
        networks[name].eval().requires_grad_(False)
    return networks
