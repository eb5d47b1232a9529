"""Feature extractors that can be cut short and made narrow: the first m layers of a network, some filters of each.

A layer is one bank of filters (a convolution or a linear map) with what works on each channel by itself around it, a
pool, or a residual block; pools count as layers (Li et al. 2017, "PrivyNet", appendix C). To leave filters out is to
leave them out: weights are sliced, so that the network is smaller and faster, and those who keep its channels get
exactly what the whole network gives, as long as no inner filter is missing."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.errors import ModelError, SpecError

Index = Tensor | None  # numbers of channels [n], ascending; None: all
BY_CHANNEL = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Identity, nn.Dropout, nn.Dropout2d,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.ZeroPad2d, nn.ReflectionPad2d,
)  # fmt: skip
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class Step(nn.Sequential):
    """One bank of filters at most, and modules before and behind it that treat every channel by itself."""

    def __init__(self, *modules: nn.Module, bank: int | None = None) -> None:
        """bank: where it stands, of modules that are known to be a layer: with one channel left, filters of each
        channel by itself look like a bank, too."""
        super().__init__(*modules)
        banks = [number for number, module in enumerate(modules) if is_bank(module)] if bank is None else [bank]
        if len(banks) > 1:
            raise ModelError(f"a layer has one bank of filters, this one has {len(banks)}; make two layers of it")
        self.bank = banks[0] if banks else None

    @property
    def filters(self) -> int:
        """How many filters may be kept or left out; 0 where there is no bank."""
        return 0 if self.bank is None else outputs_of(self[self.bank])

    @property
    def channels(self) -> int:
        """Channels that come out; 0 where those that came in do."""
        return self.filters

    def narrowed(self, incoming: Index, kept: Index, released: Index) -> tuple[nn.Module, Index]:
        """This layer for some of the channels that come in, with some of its filters; and the channels that come out.
        What is released are filters, too."""
        kept = kept if released is None else released
        made, coming = _narrowed(self, incoming, {} if self.bank is None else {self.bank: kept})
        return Step(*made, bank=self.bank), coming


class Shortcut(nn.Module):
    """Every pixel, or every second one, and channels padded with zeros (He et al. 2015, arXiv:1512.03385, section 3.3,
    option A)."""

    def __init__(self, inputs: int, filters: int, stride: int) -> None:
        super().__init__()
        self.stride, self.pad = stride, (filters - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))


class Residual(nn.Module):
    """last(inner(x) + around(x)): two or three convolutions and a way around them (He et al. 2015). The filters of the
    last but one may be left out; what comes out is whole, unless it is released."""

    def __init__(self, inner: Sequence[nn.Module], around: Step, last: nn.Module) -> None:
        super().__init__()
        self.banks = [number for number, module in enumerate(inner) if is_bank(module)]
        if len(self.banks) < 2:
            raise ModelError(f"a residual block has two banks of filters at least, this one has {len(self.banks)}")
        self.inner, self.around, self.last = nn.Sequential(*inner), around, last
        self.released: Tensor | None
        self.register_buffer("released", None)

    @property
    def filters(self) -> int:
        """Inner filters."""
        return outputs_of(self.inner[self.banks[-2]])

    @property
    def channels(self) -> int:
        """Channels that come out."""
        return outputs_of(self.inner[self.banks[-1]])

    def forward(self, x: Tensor) -> Tensor:
        around = self.around(x)
        if self.released is not None:
            around = around.index_select(1, self.released)
        return self.last(self.inner(x) + around)  # type: ignore[no-any-return]

    def narrowed(self, incoming: Index, kept: Index, released: Index) -> tuple[nn.Module, Index]:
        """This block with some of its inner filters, releasing some of its channels. What comes in is whole."""
        if incoming is not None:
            raise SpecError(
                "a residual block needs every channel that comes in; leave inner filters of blocks out only"
            )
        inner, _ = _narrowed(self.inner, None, {self.banks[-2]: kept, self.banks[-1]: released})
        around, sliced = self.around.narrowed(None, None, released)
        made = Residual(inner, cast(Step, around), copy.deepcopy(self.last))
        if released is not None and sliced is None:  # a way around without filters gives every channel
            made.released = released.clone()
        return made, released


Layer = Step | Residual


class Chain(nn.Module):
    """Layers one after the other behind `first`, which makes of pixels in [0, 1] what the network was trained on.

    Takes [B, C, H, W] in [0, 1], or rows [B, D]; one gray channel is taken for three alike where three are wanted."""

    def __init__(self, layers: Mapping[str, Layer], first: nn.Module | None = None, colors: int | None = None) -> None:
        super().__init__()
        self.first = first or nn.Identity()
        self.layers = nn.Sequential()
        for name, layer in layers.items():
            self.layers.add_module(name, layer)
        self.colors = colors

    @property
    def names(self) -> list[str]:
        """The layers in their order."""
        return [name for name, _ in self.layers.named_children()]

    def layer(self, m: int) -> Layer:
        """The m-th layer, counted from 1."""
        return cast(Layer, self.layers[m - 1])

    def releasing(self, m: int) -> int:
        """The layer at or before m whose channels those behind layer m are: pools give back what they get."""
        found = next((number for number in range(m, 0, -1) if self.layer(number).channels), 0)
        if not found:
            raise SpecError(f"no filters stand before layer {m}; choose a deeper one")
        return found

    def channels(self, m: int) -> int:
        """Channels behind layer m."""
        return self.layer(self.releasing(m)).channels

    def inner(self, m: int) -> dict[int, int]:
        """Layers up to m whose filters may be left out and layer m still release any channel: layer -> filters."""
        last = self.releasing(m)
        return {
            number: layer.filters
            for number in range(1, m + 1)
            if (layer := self.layer(number)).filters
            and (number != last or isinstance(layer, Residual))
            and not (isinstance(layer, Step) and isinstance(self._next(number), Residual))
        }

    def head(self, m: int, released: Index = None, kept: Mapping[int, Tensor] | None = None) -> nn.Sequential:
        """The first m layers with the channels `released` and, of the layers in `kept`, those filters only.

        Raises SpecError for layers and filters that there are not."""
        self._check(m, released, kept or {})
        last, coming = self.releasing(m), cast(Index, None)
        made: list[nn.Module] = [
            Colors(copy.deepcopy(self.first), self.colors) if self.colors else copy.deepcopy(self.first)
        ]
        for number in range(1, m + 1):
            own = (kept or {}).get(number)
            layer, coming = self.layer(number).narrowed(coming, own, released if number == last else None)
            made.append(layer)
        return nn.Sequential(*made).eval()

    def entered(self, x: Tensor) -> Tensor:
        """What the first layer reads of pixels or rows."""
        return (Colors(self.first, self.colors) if self.colors else self.first)(x)  # type: ignore[no-any-return]

    def _next(self, number: int) -> Layer | None:
        """The next layer with filters."""
        following = (self.layer(n) for n in range(number + 1, len(self.layers) + 1))
        return next((layer for layer in following if layer.filters), None)

    def _check(self, m: int, released: Index, kept: Mapping[int, Tensor]) -> None:
        if not 1 <= m <= len(self.layers):
            raise SpecError(f"this network has {len(self.layers)} layers; there is no layer {m}")
        legal = self.inner(m)
        asked = [(f"layer {n}", index, legal.get(n, 0)) for n, index in kept.items()]
        for what, index, there in [("released", released, self.channels(m)), *asked]:
            if index is None:
                continue
            if not there:
                raise SpecError(f"the filters of {what} cannot be left out; those of {', '.join(map(str, legal))} can")
            numbers = index.tolist()
            if not numbers or sorted(set(numbers)) != numbers or numbers[0] < 0 or numbers[-1] >= there:
                raise SpecError(f"{what}: give different channels below {there} in ascending order, got {numbers[:8]}")

    def forward(self, x: Tensor) -> Tensor:
        return self.head_of_all()(x)  # type: ignore[no-any-return]

    def head_of_all(self) -> nn.Sequential:
        """All layers, whole."""
        return self.head(len(self.layers))


class Colors(nn.Module):
    """Gray pictures as pictures of `colors` equal channels, then what the network was trained on."""

    def __init__(self, then: nn.Module, colors: int) -> None:
        super().__init__()
        self.then, self.colors = then, colors

    def forward(self, x: Tensor) -> Tensor:
        return self.then(colored(x, self.colors))  # type: ignore[no-any-return]


class Normalize(nn.Module):
    """(x - mean) / deviation of each channel."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.deviation


def colored(x: Tensor, colors: int = 3) -> Tensor:
    """[B, C, H, W] with so many channels: others are averaged to gray."""
    return x if x.shape[1] == colors else x.mean(1, keepdim=True).expand(-1, colors, -1, -1)


def is_bank(module: nn.Module) -> bool:
    """Whether a module mixes channels."""
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)


def outputs_of(bank: nn.Module) -> int:
    return bank.out_features if isinstance(bank, nn.Linear) else cast(nn.Conv2d, bank).out_channels


def by_channel(module: nn.Module) -> bool:
    """Whether a module works on each channel by itself, in a way that can be sliced."""
    return isinstance(module, (*BY_CHANNEL, *NORMS)) or _is_depthwise(module)


def _is_depthwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels > 1


def _narrowed(
    modules: Iterable[nn.Module], incoming: Index, kept: Mapping[int, Index]
) -> tuple[list[nn.Module], Index]:
    """Modules for some of the channels that come in, with some filters of the banks at these places; and the channels
    that come out."""
    made: list[nn.Module] = []
    for number, module in enumerate(modules):
        if is_bank(module):
            made.append(_bank(module, incoming, kept.get(number)))
            incoming = kept.get(number)
        else:
            made.append(_by_channel(module, incoming))
    return made, incoming


def _bank(module: nn.Module, incoming: Index, kept: Index) -> nn.Module:
    """Some filters (rows) of a bank, on some of the channels that come in (columns)."""
    made = copy.deepcopy(module)
    weight = cast(Tensor, module.weight).detach()
    if kept is not None:
        weight = weight[kept]
        made.bias = None if module.bias is None else nn.Parameter(cast(Tensor, module.bias).detach()[kept].clone())
    if incoming is not None:
        weight = weight[:, incoming]
    made.weight = nn.Parameter(weight.clone())
    if isinstance(made, nn.Linear):
        made.out_features, made.in_features = weight.shape
    else:
        cast(nn.Conv2d, made).out_channels, cast(nn.Conv2d, made).in_channels = weight.shape[:2]
    return made


def _by_channel(module: nn.Module, kept: Index) -> nn.Module:
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return _norm(module, kept)
    made = copy.deepcopy(module)
    if kept is not None and _is_depthwise(module):
        depthwise = cast(nn.Conv2d, made)
        depthwise.weight = nn.Parameter(depthwise.weight.detach()[kept].clone())
        if depthwise.bias is not None:
            depthwise.bias = nn.Parameter(depthwise.bias.detach()[kept].clone())
        depthwise.in_channels = depthwise.out_channels = depthwise.groups = len(kept)
    return made


def _norm(norm: nn.BatchNorm1d | nn.BatchNorm2d, kept: Index) -> nn.BatchNorm1d | nn.BatchNorm2d:
    made = copy.deepcopy(norm)
    if kept is None:
        return made
    made.num_features = len(kept)
    for name in ("weight", "bias"):
        if getattr(norm, name) is not None:
            setattr(made, name, nn.Parameter(getattr(norm, name).detach()[kept].clone()))
    for name in ("running_mean", "running_var"):
        if getattr(norm, name) is not None:
            setattr(made, name, getattr(norm, name)[kept].clone())
    return made
