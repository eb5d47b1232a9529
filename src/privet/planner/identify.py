"""Which network was it? The attack that PrivyNet's promise of anonymity lacks (Li et al. 2017, section 4).

An adversary who may have pictures of its own released (the paper grants pairs) asks every network of the pool for every
channel of every layer, and looks which of them each released channel follows:

    argmax over (source, layer, channel) of |corr(z'_j(x), c(x))|      over the pairs' places

With inner filters whole the right channel is an exact copy. Leaving inner filters out spoils the copy, and this says by
how much. Whoever is identified is attacked with the network known (`privet.attacks`, what needs the edge)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from privet.pretrained.pool import Source

AT_ONCE = 64
ROWS = 200_000  # places that a correlation is taken over
STILL = 1e-12


@dataclass(frozen=True)
class Guess:
    """What an adversary says of a released representation: the network and layer that most channels follow, the channel
    for each, and the mean correlation."""

    source: str
    layer: int
    channels: tuple[int, ...]
    correlation: float


@dataclass(frozen=True)
class Anonymity:
    """What so many pairs tell: whether network and layer were named, and the share of channels that was."""

    pairs: int
    named: bool
    rate: float
    correlation: float


@dataclass(frozen=True)
class Lookup:
    """Every map of one size that the networks of a pool make of an adversary's own pictures, as (source, layer, maps):
    made once, asked of many extractors."""

    maps: Sequence[tuple[Source, int, Tensor]]

    @classmethod
    @torch.no_grad()
    def of(cls, pool: Sequence[Source], x: Tensor, size: tuple[int, ...]) -> Lookup:
        """The maps of pictures x [N, C, H, W] that have this size."""
        found: list[tuple[Source, int, Tensor]] = []
        for source in pool:
            made: dict[int, list[Tensor]] = {}
            for rows in torch.split(x, AT_ONCE):
                value = source.chain.entered(rows)
                for m, layer in enumerate(source.chain.layers, start=1):
                    try:
                        value = layer(value)
                    except RuntimeError:  # pictures too small for what is behind
                        break
                    if tuple(value.shape[2:]) == size:
                        made.setdefault(m, []).append(value)
            found += [(source, m, torch.cat(parts)) for m, parts in made.items()]
        return cls(found)

    def guess(self, z: Tensor) -> Guess | None:
        """The best guess from what was released of the first pictures, z [N, D', H', W']; None where no layer has maps
        of this size."""
        flat = _columns(z)
        best: Guess | None = None
        for source, m, maps in self.maps:
            agreement = (flat.T @ _columns(maps[: len(z)])).abs()  # [D', C]
            strength, channels = agreement.max(1)
            score = float(strength.detach().mean())
            if best is None or score > best.correlation + 1e-6:
                best = Guess(source.name, m, tuple(channels.tolist()), score)
        return best


def identify(x: Tensor, z: Tensor, pool: Sequence[Source]) -> Guess | None:
    """The best guess from pictures x [N, C, H, W] and what was released of them, z [N, D', H', W']; None where no layer
    of the pool has maps of this size."""
    return Lookup.of(pool, x, tuple(z.shape[2:])).guess(z)


def anonymity(
    head: torch.nn.Module, source: str, layer: int, channels: Sequence[int], x: Tensor, pool: Sequence[Source],
    counts: Sequence[int] = (1, 10, 100, 1000), lookup: Lookup | None = None,
) -> list[Anonymity]:  # fmt: skip
    """How many of an adversary's own pictures x it takes to know the extractor `head`, which releases these channels of
    this layer. Pools give back what they get, so the layer in front of one counts as the same. `lookup`: the maps of
    those pictures, where they were made before."""
    right = next(one for one in pool if one.name == source)
    counts = [n for n in counts if n <= len(x)]
    if not counts:
        return []
    with torch.no_grad():
        z = torch.cat([head(rows) for rows in torch.split(x[: max(counts)], AT_ONCE)]).half().float()
    lookup = lookup or Lookup.of(pool, x[: max(counts)], tuple(z.shape[2:]))
    found = []
    for count in counts:
        guess = lookup.guess(z[:count])
        named = (
            guess is not None
            and guess.source == source
            and right.chain.releasing(guess.layer) == right.chain.releasing(layer)
        )
        same = np.mean([a == b for a, b in zip(guess.channels, channels, strict=True)]) if guess and named else 0.0
        found.append(Anonymity(count, named, float(same), guess.correlation if guess else 0.0))
    return found


def _columns(maps: Tensor) -> Tensor:
    """Channels as columns of unit length around their mean, over at most so many places [places, C]."""
    flat = maps.transpose(0, 1).flatten(1).T
    if len(flat) > ROWS:
        flat = flat[:: -(-len(flat) // ROWS)]
    centred = flat.double() - flat.double().mean(0)
    length = centred.norm(dim=0)
    return centred / torch.where(length > STILL, length, torch.full_like(length, torch.inf))
