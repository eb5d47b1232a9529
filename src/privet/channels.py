"""Channel pruning, whatever decides: which axis of z is pruned, the masks, and the obfuscators that pack what is kept.

A channel is a feature map of z [C, H, W], a unit of z [C], a feature of a sequence z [T, D] (the same for all tokens or
time steps), or one of its tokens. K = C - floor(ratio * C) of them are kept, in ascending order and never by score."""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
from torch import Tensor, nn

from privet.defense import Obfuscator
from privet.errors import CutError, SpecError
from privet.payload import Dtype, Field

Prune = Literal["channels", "tokens"]


def axis_of(shape: tuple[int, ...], prune: Prune = "channels") -> int:
    """The axis of z (the batch not counted) whose places are channels. CutError for tokens of what is no sequence."""
    if prune == "tokens":
        if len(shape) != 2:
            raise CutError(
                f"prune=tokens wants a cut inside a transformer or a recurrent network, where z is [T, D]; here z is "
                f"{list(shape)}: leave prune out, or cut elsewhere"
            )
        return 0
    return 1 if len(shape) == 2 else 0


def check_ratio(ratio: float) -> None:
    """SpecError outside [0, 1)."""
    if not 0 <= ratio < 1:
        raise SpecError(f"ratio is the share of channels removed and lies in [0, 1), got {ratio}")


def count_kept(channels: int, ratio: float) -> int:
    """K = C - floor(ratio * C), at least 1."""
    return channels - math.floor(ratio * channels + 1e-9)  # 0.29 * 100 is 28.999...


def strongest(scores: Tensor, keep: int) -> Tensor:
    """Indices [B, K] of the K largest scores [B, C] of each example, ascending; of equal ones the first."""
    # ONNX sorts stably, but its exporter knows no way to say so
    ordered = (
        scores.sort(dim=1, descending=True)
        if torch.compiler.is_compiling()
        else scores.sort(dim=1, descending=True, stable=True)
    )
    return ordered.indices[:, :keep].sort(dim=1).values


def hard_mask(scores: Tensor, keep: int) -> Tensor:
    """1 for the K largest scores of each example, else 0: [B, C]."""
    return torch.zeros_like(scores).scatter(1, strongest(scores, keep), 1.0)


def soft_mask(scores: Tensor, keep: int, temperature: float) -> Tensor:
    """sigmoid((s - mid) / T), mid the mean of the K-th and the next score, so that none stands at one half: [B, C]."""
    ordered = scores.detach().sort(dim=1, descending=True).values
    middle = (ordered[:, keep - 1 : keep] + ordered[:, keep : keep + 1]) / 2
    return torch.sigmoid((scores - middle) / temperature)


def straight_through(scores: Tensor, keep: int, temperature: float) -> Tensor:
    """The hard mask with the soft one's gradient: [B, C]."""
    soft = soft_mask(scores, keep, temperature)
    return hard_mask(scores, keep) + soft - soft.detach()


def along(values: Tensor, axis: int, dims: int) -> Tensor:
    """[B, C] as [B, 1.., C, ..1], to meet z [B, *shape] of `dims` dimensions without the batch."""
    return values.reshape(values.shape[0], *(values.shape[1] if i == axis else 1 for i in range(dims)))


class Masked(Obfuscator):
    """Keep K channels that are each example's own: the bits of its mask travel, and the kept channels. `chooser` maps
    z to scores [B, C]."""

    def __init__(
        self, shape: tuple[int, ...], axis: int, keep: int, chooser: nn.Module | None, dtype: Dtype = "float16"
    ) -> None:
        super().__init__()
        self.shape, self.axis, self.keep, self.chooser = shape, axis, keep, chooser
        kept = tuple(keep if i == axis else size for i, size in enumerate(shape))
        self.signature = (Field("mask", "bits", shape[axis : axis + 1]), Field("kept", dtype, kept))

    def scores(self, z: Tensor, *noise: Tensor) -> Tensor:
        """What decides: [B, C]."""
        if self.chooser is None:
            raise TypeError(f"{type(self).__name__} does not say how it scores")
        return cast(Tensor, self.chooser(z))

    def prune(self, z: Tensor, mask: Tensor) -> Tensor:
        """z' = M * z."""
        return z * along(mask, self.axis, len(self.shape))

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        scores = self.scores(z, *noise)
        index = strongest(scores, self.keep)
        return torch.zeros_like(scores).scatter(1, index, 1.0), z.gather(self.axis + 1, self._spread(index))

    def decode(self, *tensors: Tensor) -> Tensor:
        mask, kept = tensors
        index = strongest((mask > 0.5).to(kept.dtype), self.keep)
        whole = torch.zeros_like(along(mask, self.axis, len(self.shape))).expand(-1, *self.shape)
        return whole.scatter(self.axis + 1, self._spread(index), kept)

    def match(self, z: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """The channels that travelled, whatever this z would have kept."""
        return self.prune(z, (tensors[0] > 0.5).to(z.dtype)), self.decode(*tensors)

    def came(self, *tensors: Tensor) -> Tensor | None:
        """The channels of the mask."""
        ones = torch.ones(len(tensors[0]), *self.shape, device=tensors[0].device)
        return self.prune(ones, (tensors[0] > 0.5).to(ones.dtype))

    def _spread(self, index: Tensor) -> Tensor:
        size = (self.keep if i == self.axis else n for i, n in enumerate(self.shape))
        return along(index, self.axis, len(self.shape)).expand(-1, *size)


class MaskedTokens(Masked):
    """Keep K tokens that are each example's own. The server goes on with these alone, as behind a padding mask, and
    where it needs their places they are in their values; so no mask travels."""

    def __init__(
        self, shape: tuple[int, ...], axis: int, keep: int, chooser: nn.Module | None, dtype: Dtype = "float16"
    ) -> None:
        super().__init__(shape, axis, keep, chooser, dtype)
        self.signature, self.takes = self.signature[1:], shape

    def prune(self, z: Tensor, mask: Tensor) -> Tensor:
        """The kept tokens [B, K, D]."""
        index = self._spread(strongest(mask.detach(), self.keep))
        return super().prune(z, mask).gather(self.axis + 1, index)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return super().encode(z, *noise)[1:]

    def decode(self, *tensors: Tensor) -> Tensor:
        return tensors[0]

    def match(self, z: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """No mask travels: the tokens that this z would have kept stand against those seen."""
        return Obfuscator.match(self, z, *tensors)

    def came(self, *tensors: Tensor) -> Tensor | None:
        """Nothing says which."""
        return None


class FixedChannels(Obfuscator):
    """Keep one set of channels for everybody; both sides know it, so no mask travels."""

    index: Tensor
    place: Tensor

    def __init__(self, shape: tuple[int, ...], axis: int, index: list[int], dtype: Dtype = "float16") -> None:
        super().__init__()
        self.axis = axis
        place = torch.full(shape[axis : axis + 1], len(index))  # where a pruned channel reads: a zero behind the kept
        place[index] = torch.arange(len(index))
        self.register_buffer("index", torch.tensor(index, dtype=torch.int64))
        self.register_buffer("place", place)
        kept = tuple(len(index) if i == axis else size for i, size in enumerate(shape))
        self.signature = (Field("kept", dtype, kept),)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return (z.index_select(self.axis + 1, self.index),)

    def decode(self, *tensors: Tensor) -> Tensor:
        kept = tensors[0]
        nothing = torch.zeros_like(kept.narrow(self.axis + 1, 0, 1))
        return torch.cat([kept, nothing], self.axis + 1).index_select(self.axis + 1, self.place)


class FixedTokens(FixedChannels):
    """Keep the tokens at one set of places; the server goes on with these alone."""

    def __init__(self, shape: tuple[int, ...], axis: int, index: list[int], dtype: Dtype = "float16") -> None:
        super().__init__(shape, axis, index, dtype)
        self.takes = shape

    def decode(self, *tensors: Tensor) -> Tensor:
        return tensors[0]


class Filter(nn.Module):
    """q: a small network from z to a score for every channel, standardized for each example, so that a temperature has
    a fixed meaning. Singh et al. 2021 take a ResNet; this one fits a weak device (width min(64, 2 C)).

    [C, H, W]: conv 3x3 - BN - ReLU - conv 3x3 / 2 - BN - ReLU - mean over places - FC - ReLU - FC. [C]: FC - ReLU - FC.
    [T, D]: the same on the tokens' mean and maximum for features, on each token and the mean for tokens."""

    def __init__(self, shape: tuple[int, ...], axis: int) -> None:
        super().__init__()
        self.tokens = len(shape) == 2 and axis == 0
        channels = shape[axis]
        width = min(64, 2 * (shape[1] if self.tokens else channels))
        self.look: nn.Module | None = None
        read, written = (2 * shape[1], 1 if self.tokens else channels) if len(shape) == 2 else (channels, channels)
        if len(shape) == 3:
            self.look = nn.Sequential(
                nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            )  # fmt: skip
            read = width
        self.decide = nn.Sequential(nn.Linear(read, width), nn.ReLU(), nn.Linear(width, written))

    def forward(self, z: Tensor) -> Tensor:
        if self.look is not None:
            seen = self.look(z)
        elif z.dim() == 2:
            seen = z
        elif self.tokens:
            seen = torch.cat([z, z.mean(1, keepdim=True).expand_as(z)], 2)
        else:
            seen = torch.cat([z.mean(1), z.amax(1)], 1)
        scores = self.decide(seen)
        return standardized(scores.squeeze(2) if self.tokens else scores)


def standardized(scores: Tensor) -> Tensor:
    """Mean 0 and deviation 1 for each example: [B, C]."""
    centered = scores - scores.mean(1, keepdim=True)
    return centered / (centered.square().mean(1, keepdim=True) + 1e-6).sqrt()
