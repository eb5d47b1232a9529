"""A model by reference: a built-in name, `package.module:factory`, `file.py:factory`, `torchvision:NAME`, `timm:NAME`.

Built-in names are the public functions of this file that take `shape` (of one sample) and `classes`. Weights are
safetensors, never pickles. Initialization depends on the seed alone, not on the global generator."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from privet._torchvision import prepare_torchvision
from privet.errors import MissingExtra, ModelError, unknown

# Built-in networks --------------------------------------------------------------------------------------------------


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
    """Patches as tokens with learned positions: [B, C, H, W] -> [B, T, D]. Pixels beyond whole patches are not read."""

    def __init__(self, shape: tuple[int, int, int], patch: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(shape[0], width, patch, stride=patch)
        count = (shape[1] // patch) * (shape[2] // patch)
        self.positions = nn.Parameter(torch.randn(1, count, width) * 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).flatten(2).transpose(1, 2) + self.positions  # type: ignore[no-any-return]


class VitBlock(nn.Module):
    """Attention, then a perceptron, pre-normalized and added (Dosovitskiy et al. 2020). [B, T, D] -> [B, T, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class MeanTokens(nn.Module):
    """The mean over tokens: [B, T, D] -> [B, D]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1)


def vit(shape: tuple[int, ...], classes: int) -> nn.Module:
    """A tiny vision transformer: about 8x8 patches a picture, width 64, four blocks of four heads, mean over tokens.

    Takes [B, C, H, W] with H, W >= 4; z inside is [B, T, 64]."""
    c, h, w = _image(shape, least=4)
    patch = max(2, min(h, w) // 8)
    layers: OrderedDict[str, nn.Module] = OrderedDict(tokens=Tokens((c, h, w), patch, 64))
    for i in range(1, 5):
        layers[f"block{i}"] = VitBlock(64, heads=4)
    layers |= OrderedDict(norm=nn.LayerNorm(64), mean=MeanTokens(), head=nn.Linear(64, classes))
    return nn.Sequential(layers)


BUILT_IN: dict[str, Callable[..., nn.Module]] = {f.__name__: f for f in (cnn3, mlp, vgg, resnet18, vit)}


def _image(shape: tuple[int, ...], least: int) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape[1:]) < least:
        raise ModelError(f"this network takes pictures [C, H, W] of {least} px or more; given the shape {tuple(shape)}")
    return shape[0], shape[1], shape[2]


def default_model(kind: str, shape: tuple[int, ...]) -> tuple[str, str]:
    """The built-in network and the cut that suit a corpus of kind "image" or "table" with samples of this shape.

    Both cuts are the input of a linear layer. Pictures below 8 px take the perceptron."""
    if kind == "image" and len(shape) == 3 and min(shape[1:]) >= 8:
        return "cnn3", "flatten"
    if kind in ("image", "table"):
        return "mlp", "fc1"
    raise ModelError(
        f"no default model for data of kind {kind!r}; wanted 'image' or 'table', or give a model reference"
    )


# Loading ------------------------------------------------------------------------------------------------------------


def load(
    reference: str, *, shape: tuple[int, ...], classes: int, weights: Path | None = None, seed: int = 0
) -> nn.Module:
    """Build the model that a reference names for samples of `shape` and K `classes`, [B, *shape] -> [B, K].

    The same seed gives the same initial weights. Raises ModelError for an unknown reference, a factory that gives no
    such model, or weights that do not fit, and MissingExtra where torchvision or timm is absent."""
    factory = resolve(reference)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _build(reference, factory, shape, classes)
    _check_output(reference, model, shape, classes)
    if weights is not None:
        load_weights(model, weights)
    return model


def resolve(reference: str) -> Callable[..., Any]:
    """The factory that a reference names; raises ModelError or MissingExtra."""
    source, colon, name = reference.rpartition(":")
    if not colon:
        if reference not in BUILT_IN:
            raise ModelError(
                unknown("model", reference, BUILT_IN) + ", package.module:factory, torchvision:NAME, timm:NAME"
            )
        return BUILT_IN[reference]
    if source in ("torchvision", "timm"):
        return _zoo(source, name)
    module = _from_file(Path(source)) if source.endswith(".py") else _from_package(source)
    factory = getattr(module, name, None)
    if not callable(factory):
        names = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise ModelError(unknown(f"factory in {source}", name, names))
    return factory  # type: ignore[no-any-return]


def _zoo(package: str, name: str) -> Callable[..., nn.Module]:
    prepare_torchvision()
    try:
        zoo = importlib.import_module("torchvision.models" if package == "torchvision" else "timm")
    except ImportError as problem:
        raise MissingExtra(package, "zoo") from problem
    names = zoo.list_models()
    if name not in names:
        raise ModelError(_nearest(package, name, names))
    if package == "torchvision":
        return lambda classes: zoo.get_model(name, weights=None, num_classes=classes)

    def timm(shape: tuple[int, ...], classes: int) -> nn.Module:
        c, *size = shape
        options = {"pretrained": False, "num_classes": classes, "in_chans": c}
        try:
            return zoo.create_model(name, img_size=tuple(size), **options)  # type: ignore[no-any-return]
        except TypeError:  # networks that take any size do not know img_size
            return zoo.create_model(name, **options)  # type: ignore[no-any-return]

    return timm


def _nearest(package: str, name: str, names: list[str]) -> str:
    return unknown(f"{package} model", name, names).partition(" known:")[0] + f" {package} has {len(names)} models"


def _from_package(path: str) -> Any:
    try:
        return importlib.import_module(path)
    except ImportError as problem:
        raise ModelError(
            f"the package {path!r} cannot be imported ({problem}); install it or give path/to/file.py:factory"
        ) from problem


def _from_file(path: Path) -> Any:
    found = importlib.util.spec_from_file_location(path.stem, path) if path.is_file() else None
    if found is None or found.loader is None:
        raise ModelError(f"there is no Python file {str(path)!r}; give path/to/file.py:factory")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def _build(reference: str, factory: Callable[..., Any], shape: tuple[int, ...], classes: int) -> nn.Module:
    """Call a factory with those of `shape` and `classes` that it takes."""
    parameters = inspect.signature(factory).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = {k: v for k, v in {"shape": tuple(shape), "classes": classes}.items() if takes_any or k in parameters}
    needed = [
        p.name for p in parameters.values() if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if missing := [name for name in needed if name not in given]:
        raise ModelError(f"{reference!r} asks for {', '.join(missing)}; a factory may ask for shape and classes only")
    model = factory(**given)
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{reference!r} gave a {type(model).__name__}; wanted a factory that returns a torch.nn.Module"
        )
    return model


def _check_output(reference: str, model: nn.Module, shape: tuple[int, ...], classes: int) -> None:
    """Run one example: the model must take [B, *shape] and give [B, K]."""
    modes = [(m, m.training) for m in model.modules()]
    try:
        with torch.no_grad():
            y = model.eval()(torch.zeros(2, *shape))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as problem:
        reason = (str(problem).strip().splitlines() or ["no reason given"])[0]
        raise ModelError(
            f"{reference!r} does not accept inputs of shape {list(shape)} ({reason}); resize the data or choose another"
        ) from problem
    finally:
        for module, mode in modes:
            module.training = mode
    if not isinstance(y, torch.Tensor) or tuple(y.shape) != (2, classes):
        gave = list(y.shape) if isinstance(y, torch.Tensor) else type(y).__name__
        raise ModelError(
            f"{reference!r} gave {gave} for 2 samples of shape {list(shape)}; wanted logits [2, {classes}]"
        )
    if classes > 1 and bool((y >= 0).all()) and bool(((y.sum(1) - 1).abs() < 1e-4).all()):
        raise ModelError(f"{reference!r} returns probabilities; return logits: leave out the softmax at its end")


# Weights ------------------------------------------------------------------------------------------------------------


def load_weights(model: nn.Module, path: Path) -> None:
    """Read safetensors into the model, all of them or none; raises ModelError naming what does not fit."""
    try:
        given = load_file(path)
    except (OSError, SafetensorError) as problem:
        raise ModelError(
            f"{str(path)!r} cannot be read as safetensors ({problem}); other formats are not accepted"
        ) from problem
    own = model.state_dict()
    shared = _duplicates(own)
    missing = [key for key in own if key not in given and shared.get(key) not in given]
    unexpected = [key for key in given if key not in own]
    shapes = [
        f"{k} is {list(given[k].shape)}, wanted {list(own[k].shape)}"
        for k in given
        if k in own and given[k].shape != own[k].shape
    ]
    faults = [
        f"{len(found)} {what} ({'; '.join(found[:3])}{'; ...' if len(found) > 3 else ''})"
        for what, found in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if found
    ]
    if faults:
        raise ModelError(
            f"the weights in {str(path)!r} do not fit the model: {', '.join(faults)}; "
            "give the model they were saved from"
        )
    model.load_state_dict(given, strict=False)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the model's parameters and buffers as safetensors; the file appears whole or not at all."""
    own = model.state_dict()
    shared = _duplicates(own)
    tensors = {k: v.detach().cpu().contiguous() for k, v in own.items() if k not in shared}
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file(tensors, name)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _duplicates(state: dict[str, torch.Tensor]) -> dict[str, str]:
    """Keys whose tensor was already named: key -> its first name. safetensors holds no tensor twice."""
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    twice: dict[str, str] = {}
    for key, value in state.items():
        place = (value.data_ptr(), tuple(value.shape))
        if value.numel() and place in first:
            twice[key] = first[place]
        first.setdefault(place, key)
    return twice
