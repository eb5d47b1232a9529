"""Feature extractors whose weights we know how to read, in layers that can be cut short and made narrow.

`vgg19` is VGG-19 (Simonyan and Zisserman 2014, arXiv:1409.1556) up to conv3_1, trained on ImageNet and scaled to unit
mean activations (Gatys et al. 2016, CVPR), with borders reflected where the network that was published pads with zeros.
Its first six layers are those from which PrivyNet's extractor is derived, with the same sizes as VGG-16's.
`resnet20` to `resnet56` are the networks for CIFAR-10 of He et al. 2015 (arXiv:1512.03385, section 4.2).
`mobilenet` is MobileNet (Howard et al. 2017, arXiv:1704.04861) up to its twelfth block, trained on ImageNet.

`chain_of` makes layers of anybody's network, as far as it is a sequence of them, and of the ResNets of torchvision and
timm.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from privet.errors import ModelError
from privet.models import Translate
from privet.pretrained.layers import Chain, Layer, Normalize, Residual, Shortcut, Step, by_channel, is_bank

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MOBILENET_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2)
MOBILENET_NAMES = {
    "kernel": "weight", "depthwise_kernel": "weight", "beta": "bias", "gamma": "weight",
    "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip
CIFAR_RESNET_NAMES = {"conv1": 0, "bn1": 1, "conv2": 3, "bn2": 4}
MOBILENET_FILTERS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024)
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Known:
    """An architecture: how to build it, what its weights are called there, what they were trained on and to tell
    apart."""

    build: Callable[[], Chain]
    translate: Translate
    trained_on: tuple[str, ...]
    classes: tuple[str, ...] = ()


def vgg19() -> Chain:
    """conv1_1, conv1_2, pool1, conv2_1, conv2_2, pool2, conv3_1: pictures [B, 3, H, W], from 8 px."""
    layers: OrderedDict[str, Layer] = OrderedDict()
    inputs = 3
    for stage, (filters, convolutions) in enumerate(((64, 2), (128, 2), (256, 1)), start=1):
        for number in range(1, convolutions + 1):
            bank = nn.Conv2d(inputs, filters, 3, padding=1, padding_mode="reflect")
            layers[f"conv{stage}_{number}"], inputs = Step(bank, nn.ReLU()), filters
        if stage < 3:
            layers[f"pool{stage}"] = Step(nn.MaxPool2d(2))
    return Chain(layers, nn.Conv2d(3, 3, 1), colors=3)


def cifar_resnet(blocks: int) -> Chain:
    """A stem and three stages of `blocks` residual blocks of 16, 32 and 64 filters: pictures [B, 3, H, W]."""
    stem = Step(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    layers: OrderedDict[str, Layer] = OrderedDict(stem=stem)
    inputs = 16
    for stage, filters in enumerate((16, 32, 64), start=1):
        for number in range(blocks):
            stride = 2 if stage > 1 and number == 0 else 1
            inner = (
                nn.Conv2d(inputs, filters, 3, stride, padding=1, bias=False), nn.BatchNorm2d(filters), nn.ReLU(),
                nn.Conv2d(filters, filters, 3, padding=1, bias=False), nn.BatchNorm2d(filters),
            )  # fmt: skip
            block = Residual(inner, Step(Shortcut(inputs, filters, stride)), nn.ReLU())
            layers[f"layer{stage}_{number}"], inputs = block, filters
    return Chain(layers, Normalize(IMAGENET_MEAN, IMAGENET_DEVIATION), colors=3)


def mobilenet() -> Chain:
    """A convolution of stride two and twelve blocks, each a filter for every channel and then a mixture: pictures
    [B, 3, H, W]. TensorFlow pads behind, not before, where the stride is two."""
    layers: OrderedDict[str, Layer] = OrderedDict()
    stem = nn.Conv2d(3, 32, 3, 2, bias=False)
    layers["conv1"] = Step(nn.ZeroPad2d((0, 1, 0, 1)), stem, nn.BatchNorm2d(32, eps=1e-3), nn.ReLU6())
    inputs = 32
    for number, (filters, stride) in enumerate(zip(MOBILENET_FILTERS, MOBILENET_STRIDES, strict=True), start=1):
        layers[f"block{number}"] = Step(
            nn.ZeroPad2d((1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)),
            nn.Conv2d(inputs, inputs, 3, stride, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs, eps=1e-3),
            nn.ReLU6(),
            nn.Conv2d(inputs, filters, 1, bias=False),
            nn.BatchNorm2d(filters, eps=1e-3),
            nn.ReLU6(),
        )
        inputs = filters
    return Chain(layers, Normalize((0.5,) * 3, (0.5,) * 3), colors=3)


def chain_of(model: nn.Module, colors: int | None = None) -> Chain:
    """The beginning of a network as layers: a bank of filters with what follows it, each pool and each residual block a
    layer of its own, up to the first module that is none of these, and without the linear map that gives the answer.
    ModelError where there is no bank before that.

    Modules must be called one after the other, as in an nn.Sequential, also a nested one (`features` of torchvision and
    timm), or as in a ResNet of either."""
    layers: OrderedDict[str, Layer] = OrderedDict()
    before: list[nn.Module] = []
    name, parts = "", list[nn.Module]()

    def close() -> None:
        if parts:
            layers[name.replace(".", "_")] = parts[0] if isinstance(parts[0], Residual) else Step(*parts)

    stopped = ""
    for path, module in _leaves(model):
        pool = isinstance(module, (nn.MaxPool2d, nn.AvgPool2d))
        block = _residual(module)
        if not name and not is_bank(module) and not block:
            before.append(module)
        elif block or is_bank(module) or (pool and parts):
            close()
            name, parts = path, [block or module]
        elif by_channel(module) and not isinstance(parts[0], Residual):
            parts.append(module)
        else:
            stopped = f"{path} is a {type(module).__name__}"
            break
    close()
    if not stopped and isinstance(parts[0] if parts else None, nn.Linear) and len(layers) > 1:
        layers.popitem()  # the answer
    if not layers:
        raise ModelError(
            f"no layers can be made of a {type(model).__name__}{': ' + stopped if stopped else ''}; give a network "
            "that is a sequence of convolutions or linear layers, or a ResNet"
        )
    return Chain(layers, nn.Sequential(*before) if before else None, colors)


def _leaves(model: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Modules in the order in which a sequence or a ResNet calls them; of other networks the features, or else
    themselves."""
    features = getattr(model, "features", None)
    if isinstance(model, nn.Sequential) or _is_of(model, "ResNet"):
        for name, child in model.named_children():
            yield from _leaves(child, f"{path}.{name}" if path else name)
    elif isinstance(features, nn.Sequential):
        yield from _leaves(features, "features")
    else:
        yield path or type(model).__name__, model


def _is_of(module: nn.Module, *names: str) -> bool:
    """Whether a module is one of these of torchvision's or timm's ResNets."""
    kind = type(module)
    return kind.__name__ in names and kind.__module__ in ("torchvision.models.resnet", "timm.models.resnet")


def _residual(module: nn.Module) -> Residual | None:
    """A block of a ResNet as a layer; None for other modules, and for blocks that do more than that."""
    if not _is_of(module, "BasicBlock", "Bottleneck"):
        return None
    parts = dict(module.named_children())
    if any(not isinstance(parts.get(name, nn.Identity()), nn.Identity) for name in ("drop_block", "aa", "se")):
        return None
    inner: list[nn.Module] = []
    for number in range(1, 4):
        if f"conv{number}" in parts:
            inner += [parts[f"conv{number}"], parts[f"bn{number}"], parts.get(f"act{number}") or parts["relu"]]
    last = inner.pop()
    around = list(parts["downsample"].children()) if "downsample" in parts else []
    if not all(is_bank(one) or by_channel(one) for one in (*inner, *around, last)):
        return None
    return Residual(inner, Step(*around), last)


# Names of weights ---------------------------------------------------------------------------------------------------


def _vgg19(key: str, value: Tensor) -> tuple[str, Tensor]:
    module, _, kind = key.rpartition(".")
    return (f"first.{kind}" if module == "preprocess" else f"layers.{module}.0.{kind}"), value


def _cifar_resnet(key: str, value: Tensor) -> tuple[str, Tensor] | None:
    stage, _, rest = key.partition(".")
    if stage == "linear":
        return None  # the answer to another question
    if stage in ("conv1", "bn1"):
        return f"layers.stem.{'0' if stage == 'conv1' else '1'}.{rest}", value
    found = re.fullmatch(r"(\d+)\.(conv1|bn1|conv2|bn2)\.(\w+)", rest)
    if not found:
        return key, value
    number, module, kind = found.groups()
    return f"layers.{stage}_{number}.inner.{CIFAR_RESNET_NAMES[module]}.{kind}", value


def _mobilenet(key: str, value: Tensor) -> tuple[str, Tensor]:
    found = re.fullmatch(r"conv(?:1|_(dw|pw)_(\d+))(_bn)?/(\w+)", key)
    if not found:
        return key, value
    mixing, number, norm, kind = found.groups()
    place = (f"block{number}" if number else "conv1") + f".{(2 if norm else 1) + (3 if mixing == 'pw' else 0)}"
    if value.dim() == 4:
        value = value.permute(2, 3, 0, 1) if kind == "depthwise_kernel" else value.permute(3, 2, 0, 1)
    return f"layers.{place}.{MOBILENET_NAMES.get(kind, kind)}", value.contiguous()


def _resnet(blocks: int) -> Known:
    return Known(lambda: cifar_resnet(blocks), _cifar_resnet, ("cifar10",), CIFAR10)


KNOWN: dict[str, Known] = {
    "vgg19_normalised_to_conv3_1": Known(vgg19, _vgg19, ("imagenet",)),
    "mobilenet_v1_1.0_224_to_conv_pw_12": Known(mobilenet, _mobilenet, ("imagenet",)),
    "cifar10_resnet20": _resnet(3),
    "cifar10_resnet32": _resnet(5),
    "cifar10_resnet44": _resnet(7),
    "cifar10_resnet56": _resnet(9),
}
