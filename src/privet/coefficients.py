"""Coefficients of a representation on directions of the server's first operator: how they are taken, sent and used.

    alpha = V^T (z - z_bar),   the server computes U S alpha' + W z_bar + constant and never rebuilds z'

`Flat` takes them over the whole of z (a fully connected layer, or the full operator of a convolution), `Local` at every
place of the output map of a convolution, where they are a smaller convolution themselves. A codec says what travels."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.defense import Obfuscator
from privet.operators import LinearOperator
from privet.payload import Field, Noise

Floats = npt.NDArray[np.float64]
Dtype = Literal["float16", "float32"]
LLOYD_ROUNDS = 100
TINY = 1e-30  # below which a root has no slope to speak of
CHUNK = 512


class Projection(nn.Module):
    """z [B, *shape] -> alpha [B, k P], the P places of a direction side by side; `expand` is the public view, `lift`
    what the server computes with. singular: s_k of the directions taken, [k]."""

    view: tuple[int, ...]
    takes: tuple[int, ...] | None = None
    places: int
    singular: Tensor
    base: Tensor

    def expand(self, alpha: Tensor) -> Tensor:
        """alpha' [B, k P] -> the public view [B, *view]."""
        raise TypeError(f"{type(self).__name__} has no public view")

    def lift(self, alpha: Tensor) -> Tensor:
        """alpha' [B, k P] -> u' = U S alpha' + W z_bar + constant, [B, *u]."""
        raise TypeError(f"{type(self).__name__} has no server side")


class Flat(Projection):
    """Coefficients over all of z: P = 1, and the public view is z' = z_bar + V alpha'."""

    basis: Tensor
    offset: Tensor
    mean: Tensor
    weight: Tensor

    def __init__(self, operator: LinearOperator, basis: Tensor, singular: Tensor, mean: Tensor) -> None:
        super().__init__()
        self.view, self.places = operator.shape, 1
        images = [operator.linear(v.reshape(-1, *operator.shape)).flatten(1) for v in torch.split(basis.T, CHUNK)]
        self.register_buffer("basis", basis.float())
        self.register_buffer("singular", singular.float())
        self.register_buffer("mean", mean.flatten().float())
        self.register_buffer("offset", (mean.flatten() @ basis).float())
        self.register_buffer("weight", torch.cat(images).float())  # [k, m], row k is s_k u_k
        self.register_buffer("base", operator(mean.reshape(1, *operator.shape))[0].float())

    def forward(self, z: Tensor) -> Tensor:
        return F.linear(z.flatten(1), self.basis.T, -self.offset)

    def expand(self, alpha: Tensor) -> Tensor:
        return (self.mean + alpha @ self.basis.T).reshape(-1, *self.view)

    def lift(self, alpha: Tensor) -> Tensor:
        return (alpha @ self.weight).reshape(-1, *self.base.shape) + self.base


class Local(Projection):
    """Coefficients of the patch under each output place: k filters of the convolution's own size.

    There is in general no z' whose convolution gives these maps, because patches overlap: the public view is u'."""

    kernel: Tensor
    offset: Tensor
    weight: Tensor

    def __init__(self, operator: LinearOperator, basis: Tensor, singular: Tensor, mean: Tensor) -> None:
        super().__init__()
        assert operator.conv is not None, "a local projection needs a convolution"
        self.conv = operator.conv
        kernel = basis.T.reshape(-1, *operator.weight.shape[1:])
        center = mean.reshape(1, *operator.shape)
        offset = operator.linear(center, kernel)[0]
        self.view, self.takes, self.places = tuple(operator.constant.shape), operator.shape, offset[0].numel()
        self.register_buffer("kernel", kernel.float())
        self.register_buffer("singular", singular.float())
        self.register_buffer("offset", offset.float())
        self.register_buffer("weight", (operator.weight.flatten(1) @ basis).float())  # [C_out, k], column k is s_k u_k
        self.register_buffer("base", operator(center)[0].float())

    def forward(self, z: Tensor) -> Tensor:
        maps = F.conv2d(z, self.kernel, None, self.conv.stride, self.conv.padding, self.conv.dilation)
        return (maps - self.offset).flatten(1)

    def expand(self, alpha: Tensor) -> Tensor:
        return self.lift(alpha)

    def lift(self, alpha: Tensor) -> Tensor:
        maps = alpha.reshape(-1, self.weight.shape[1], self.places)
        return (self.weight @ maps).reshape(-1, *self.base.shape) + self.base


class Codec(nn.Module):
    """alpha [B, k P] -> what travels -> alpha' [B, k P]."""

    signature: tuple[Field, ...]
    noise: tuple[Noise, ...] = ()

    def encode(self, alpha: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        """alpha and declared noise -> one tensor per field."""
        raise TypeError(f"{type(self).__name__} does not encode")

    def decode(self, *tensors: Tensor) -> Tensor:
        """Fields -> alpha'."""
        raise TypeError(f"{type(self).__name__} does not decode")

    def match(self, alpha: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """As `Obfuscator.match`, in coefficients [B, k P]."""
        silent = [torch.full((len(alpha), *noise.shape), noise.middle, device=alpha.device) for noise in self.noise]
        return self.decode(*self.encode(alpha, *silent)), self.decode(*tensors)


class Plain(Codec):
    """All coefficients as they are, rounded to the dtype."""

    def __init__(self, kept: int, places: int, dtype: Dtype = "float16") -> None:
        super().__init__()
        self.signature = (Field("alpha", dtype, (kept * places,)),)

    def encode(self, alpha: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return (alpha,)

    def decode(self, *tensors: Tensor) -> Tensor:
        return tensors[0]


class Quantized(Codec):
    """Each coefficient as the number of its cell, in b bits; decoded as the cell's mean over the owner's data.

    levels [k, 2^b], rising; a value belongs to the nearest level."""

    thresholds: Tensor
    levels: Tensor
    powers: Tensor

    def __init__(self, levels: Tensor, places: int) -> None:
        super().__init__()
        kept, count = levels.shape
        self.bits, self.size = count.bit_length() - 1, (kept, places)
        self.register_buffer("levels", levels.float())
        self.register_buffer("thresholds", ((levels[:, 1:] + levels[:, :-1]) / 2).float())
        self.register_buffer("powers", 2 ** torch.arange(self.bits, dtype=torch.int64))
        self.signature = (Field("code", "bits", (kept * places * self.bits,)),)

    def encode(self, alpha: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        cells = alpha.reshape(-1, *self.size, 1) > self.thresholds[:, None]
        code = cells.to(torch.int64).sum(3, keepdim=True)
        digits = torch.remainder(torch.div(code, self.powers, rounding_mode="floor"), 2)
        return (digits.flatten(1).to(alpha.dtype),)

    def decode(self, *tensors: Tensor) -> Tensor:
        return self._look_up(self.levels, self._cells(tensors[0]))

    def match(self, alpha: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """A coefficient stands against its cell: inside of it nothing is wrong."""
        cells = self._cells(tensors[0])
        edges = F.pad(F.pad(self.thresholds, (1, 0), value=-math.inf), (0, 1), value=math.inf)
        low, high = self._look_up(edges, cells), self._look_up(edges, cells + 1)
        return alpha, alpha.detach().clamp(low, high)

    def _cells(self, code: Tensor) -> Tensor:
        digits = code.round().to(torch.int64).reshape(-1, *self.size, self.bits)
        return (digits * self.powers).sum(3)

    @staticmethod
    def _look_up(table: Tensor, cells: Tensor) -> Tensor:
        return table.unsqueeze(0).expand(cells.shape[0], -1, -1).gather(2, cells).flatten(1)


class Budgeted(Codec):
    """Theorem 1: for every sample as few leading coefficients as the distortion `eps` in u allows, the last one shrunk
    until it is used up. The number m' travels, and zeros fill the payload up to one length for all."""

    singular: Tensor

    def __init__(self, singular: Tensor, places: int, eps: float, dtype: Dtype = "float16") -> None:
        super().__init__()
        self.eps = eps
        total = len(singular) * places
        self.register_buffer("singular", singular.repeat_interleave(places).float())
        self.signature = (Field("kept", "float32", (1,)), Field("alpha", dtype, (total,)))

    def encode(self, alpha: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        kept = (self._tail(alpha) > self.eps**2).to(alpha.dtype).sum(1, keepdim=True)
        return kept, self._sent(alpha, kept)

    def decode(self, *tensors: Tensor) -> Tensor:
        return tensors[1]

    def match(self, alpha: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """What these coefficients would send if m' were the one seen."""
        return self._sent(alpha, tensors[0]), tensors[1]

    def _tail(self, alpha: Tensor) -> Tensor:
        """e_k^2 for k = 0 .. r-1, that is the energy of k+1 .. r."""
        return ((alpha * self.singular) ** 2).flip(1).cumsum(1).flip(1)

    def _sent(self, alpha: Tensor, kept: Tensor) -> Tensor:
        tail = self._tail(alpha)
        place = torch.arange(1, alpha.shape[1] + 1, device=alpha.device, dtype=alpha.dtype).unsqueeze(0)
        behind = torch.cat([tail[:, 1:], torch.zeros_like(tail[:, :1])], 1)  # not tail - energy, which would cancel
        left = self.eps**2 - behind  # at k = m': eps^2 - e_m'^2
        gamma = torch.minimum(left.clamp_min(TINY).sqrt() / self.singular, alpha.abs())
        last = alpha - gamma * alpha.sign()
        return torch.where(place < kept, alpha, torch.where(place == kept, last, torch.zeros_like(alpha)))


class Strongest(Codec):
    """For every sample the coefficients with the largest s_k |alpha_k|, with a mask of which they are."""

    singular: Tensor

    def __init__(self, singular: Tensor, places: int, keep: int, dtype: Dtype = "float16") -> None:
        super().__init__()
        self.keep = keep
        total = len(singular) * places
        self.register_buffer("singular", singular.repeat_interleave(places).float())
        self.signature = (Field("mask", "bits", (total,)), Field("alpha", dtype, (keep,)))

    def encode(self, alpha: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        index = (alpha * self.singular).abs().topk(self.keep, dim=1).indices.sort(dim=1).values
        return torch.zeros_like(alpha).scatter(1, index, 1.0), alpha.gather(1, index)

    def decode(self, *tensors: Tensor) -> Tensor:
        mask, values = tensors
        index = (mask > 0.5).to(values.dtype).topk(self.keep, dim=1).indices.sort(dim=1).values
        return torch.zeros_like(mask).scatter(1, index, values)

    def match(self, alpha: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """The coefficients that travelled, whatever these would have sent."""
        return alpha * (tensors[0] > 0.5), self.decode(*tensors)


class CoefficientObfuscator(Obfuscator):
    """A projection and its codec."""

    def __init__(self, projection: Projection, codec: Codec) -> None:
        super().__init__()
        self.projection, self.codec = projection, codec
        self.signature, self.noise = codec.signature, codec.noise
        self.takes = projection.takes

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return self.codec.encode(self.projection(z), *noise)

    def decode(self, *tensors: Tensor) -> Tensor:
        return self.projection.expand(self.codec.decode(*tensors))

    def match(self, z: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients, each in the server's units (times s_k)."""
        scale = self.projection.singular.repeat_interleave(self.projection.places)
        expected, seen = self.codec.match(self.projection(z), *tensors)
        return expected * scale, seen * scale


class LiftedServer(nn.Module):
    """The server half on coefficients: decode, U S alpha' + base, and the rest of the network."""

    def __init__(self, obfuscator: CoefficientObfuscator, rest: nn.Module) -> None:
        super().__init__()
        self.projection, self.codec, self.rest = obfuscator.projection, obfuscator.codec, rest

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.rest(self.projection.lift(self.codec.decode(*tensors)))  # type: ignore[no-any-return]


def lloyd(values: Floats, levels: int, weights: Floats | None = None) -> Floats:
    """The levels [levels] of a scalar quantizer with the least (weighted) squared error on values [N] (Lloyd 1982),
    rising. Starts at quantiles; where there are fewer distinct values than levels, the last level repeats."""
    weight = np.ones(len(values)) if weights is None else weights
    distinct = np.unique(values)
    if len(distinct) <= levels:
        return np.concatenate([distinct, np.full(levels - len(distinct), distinct[-1])])
    order = np.argsort(values, kind="stable")
    share = (weight[order].cumsum() - 0.5 * weight[order]) / weight.sum()
    found = np.unique(np.interp((np.arange(levels) + 0.5) / levels, share, values[order]))
    if len(found) < levels:
        found = distinct[np.linspace(0, len(distinct) - 1, levels, dtype=int)]
    for _ in range(LLOYD_ROUNDS):
        cell = np.searchsorted((found[1:] + found[:-1]) / 2, values, side="left")
        mass = np.bincount(cell, weights=weight, minlength=levels)
        total = np.bincount(cell, weights=weight * values, minlength=levels)
        fresh = np.where(mass > 0, total / np.where(mass > 0, mass, 1), found)
        if np.allclose(fresh, found, rtol=0, atol=1e-9 * float(np.ptp(distinct))):
            break
        found = np.sort(fresh)
    return found


def sensitivity(projection: Projection, rest: nn.Module, alpha: Tensor) -> Tensor:
    """How much the server's answer turns on each coefficient, [B, k P]: the diagonal of its Fisher information,

    F_j = sum_c p_c (d log p_c / d alpha_j)^2,   so that   KL(p || p') ~ 1/2 sum_j F_j (alpha_j - alpha'_j)^2"""
    own = alpha.detach().requires_grad_(True)
    log_p = rest(projection.lift(own)).log_softmax(1)
    total = torch.zeros_like(own)
    for c in range(log_p.shape[1]):
        (slope,) = torch.autograd.grad(log_p[:, c].sum(), own, retain_graph=c + 1 < log_p.shape[1])
        total += log_p[:, c : c + 1].detach().exp() * slope.square()
    return total


def moments(projection: Projection, z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over samples [k, P] and variance [k] (around that mean, averaged over places) of the coefficients,
    float64."""
    total, square = torch.zeros(()), torch.zeros(())
    for rows in torch.split(z, CHUNK):
        total = total + projection(rows).double().sum(0)
    mean = total / len(z)
    for rows in torch.split(z, CHUNK):
        square = square + ((projection(rows).double() - mean) ** 2).sum(0)
    by_place = -1, projection.places
    return mean.reshape(by_place), (square / max(1, len(z) - 1)).reshape(by_place).mean(1)


def fraction_of(rank: int, keep: int | float) -> int:
    """m': an integer as it is, a share of the rank rounded up."""
    return keep if isinstance(keep, int) else max(1, math.ceil(keep * rank - 1e-9))
