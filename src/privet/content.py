"""How much of what each layer is given it passes on: the signal content of Samragh et al. 2021 (arXiv:2104.11413,
Def. 2 and section 5.2).

    C_S(l) = mean_x log(||z_S||^2 / ||z||^2),   z_S the part of the layer's input z that its own operator sees

The cumulative sum falls by construction, because no term is positive: compare it with an untrained network of the same
shape. For a convolution the patches under its output places are projected on what the kernel sees (per-location), since
the full operator of an expanding convolution sees everything and its content is 0. z is centered on its mean over x,
unless `centered` is false: otherwise the mean, which tells nothing about anybody, dominates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.operators import factorize

CHUNK = 128


@dataclass(frozen=True)
class LayerContent:
    """One layer: its module path, the mean log share of its input that it sees, and the sum up to and with it.

    rank and null_dimension are those of its weight (of the kernel matrix, for a convolution)."""

    layer: str
    kind: str  # "conv" | "linear"
    rank: int
    null_dimension: int
    content: float
    cumulative: float


def contents(model: nn.Module, x: Tensor, *, centered: bool = True) -> tuple[LayerContent, ...]:
    """The content of every convolution and fully connected layer of a model in eval mode on inputs x [B, *input], in
    the order in which they run."""
    seen = _inputs(model, x)
    found: list[LayerContent] = []
    total = 0.0
    for path, layer, z in seen:
        factors = factorize(layer.weight.detach().flatten(1))
        share = _shares(layer, z - z.mean(0) if centered else z, factors.right)
        content = float(share.clamp_min(1e-12).log().mean())
        total += content
        kind = "conv" if isinstance(layer, nn.Conv2d) else "linear"
        found.append(LayerContent(path, kind, factors.rank, factors.null_dimension, content, total))
    return tuple(found)


def _inputs(model: nn.Module, x: Tensor) -> list[tuple[str, nn.Conv2d | nn.Linear, Tensor]]:
    caught: dict[str, list[Tensor]] = {}
    layers = {n: m for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    hooks = []
    for name, layer in layers.items():

        def catch(_: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
            caught.setdefault(name, []).append(given[0].detach())

        hooks.append(layer.register_forward_pre_hook(catch))
    try:
        with torch.no_grad():
            for rows in torch.split(x, CHUNK):
                model.eval()(rows)
    finally:
        for hook in hooks:
            hook.remove()
    return [(name, layers[name], torch.cat(parts)) for name, parts in caught.items()]


def _shares(layer: nn.Conv2d | nn.Linear, z: Tensor, right: Tensor) -> Tensor:
    """||z_S||^2 / ||z||^2 of every sample [B], in float64."""
    shares = []
    for rows in torch.split(z, CHUNK):
        part = rows.double()
        if isinstance(layer, nn.Linear):
            inside, whole = (part @ right).flatten(1), part.flatten(1)
        else:
            kernel = right.T.reshape(-1, *layer.weight.shape[1:])
            groups = part.chunk(layer.groups, 1)  # every group sees its own channels through the same directions
            inside = torch.cat([_slide(layer, g, kernel).flatten(1) for g in groups], 1)
            ones = torch.ones(1, part.shape[1], *layer.weight.shape[2:], dtype=part.dtype, device=part.device)
            whole = _slide(layer, part**2, ones).flatten(1).sqrt()
        shares.append(inside.square().sum(1) / whole.square().sum(1).clamp_min(1e-30))
    return torch.cat(shares)


def _slide(layer: nn.Conv2d, z: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(z, kernel, None, layer.stride, layer.padding, layer.dilation)
