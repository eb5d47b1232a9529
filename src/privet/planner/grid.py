"""What a characterization tries: layers, depths, draws of channels, and how long networks learn."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from privet.attacks.irn import Irn
from privet.errors import SpecError, unknown
from privet.pretrained.pool import Source
from privet.train import Effort

LEAST_SIDE = 4  # places by side below which a map is not characterized


@dataclass(frozen=True)
class Grid:
    """What is tried: so many layers of each source, these depths, so many draws of channels, of which networks are
    trained for `networks`; on so many public pictures (None: all), for so many epochs at most. `irn` is the
    reconstruction network."""

    name: str
    layers: tuple[int, ...] | None
    depths: tuple[int, ...]
    draws: int
    networks: int
    pictures: int | None
    epochs: int
    irn: Irn = field(default_factory=Irn)

    @classmethod
    def named(cls, name: str) -> Grid:
        """quick, standard or full (the paper's); SpecError for others."""
        if name not in GRIDS:
            raise SpecError(unknown("effort", name, GRIDS))
        return GRIDS[name]

    @property
    def effort(self) -> Effort:
        """How long the battery trains."""
        patience = max(3, self.epochs // 3)
        return replace(
            Effort.named("quick"), name=self.name, attack_epochs=self.epochs, decoder_epochs=self.epochs,
            attack_steps=0, patience=patience,
        )  # fmt: skip


PAPER_DEPTHS = (2, 4, 8, 16, 32, 64, 128)
GRIDS = {
    grid.name: grid
    for grid in (
        Grid("quick", (1, 3, 4, 6), (2, 8, 32), 4, 1, 600, 6),
        Grid("standard", (1, 3, 4, 6), (2, 8, 32), 5, 5, 2000, 10),
        Grid("full", None, PAPER_DEPTHS, 20, 20, None, 100, Irn(width=64, units=8, transposed=True)),
    )
}


def layers(source: Source, grid: Grid, shape: tuple[int, ...]) -> list[int]:
    """The layers of a source that are tried: those that the grid names, or of a longer network as many at equal
    distances; never a map of less than 4 places by side."""
    usable = [m for m in range(1, len(source.layers) + 1) if _places(source, m, shape) >= LEAST_SIDE]
    if not usable:
        raise SpecError(f"{source.name} leaves less than {LEAST_SIDE} places by side of {shape}; give larger pictures")
    if grid.layers is None:
        return usable
    if len(usable) > 2 * len(grid.layers):
        chosen = np.linspace(0, len(usable) - 1, len(grid.layers)).round().astype(int)
        return [usable[i] for i in dict.fromkeys(chosen.tolist())]
    return [m for m in grid.layers if m in usable] or usable


def drawn(source: Source, m: int, depth: int, draw: int, seed: int) -> list[int]:
    """`depth` different channels of layer m, ascending, uniformly drawn."""
    generator = np.random.default_rng([seed, m, depth, draw])
    return sorted(int(c) for c in generator.choice(source.chain.channels(m), depth, replace=False))


def _places(source: Source, m: int, shape: tuple[int, ...]) -> int:
    """Places by side of a map; of a flat representation as many as are needed."""
    try:
        with torch.no_grad():
            z = source.chain.head(m, torch.tensor([0]))(torch.zeros(1, *shape))
    except RuntimeError:  # pictures too small for this layer
        return 0
    return min(z.shape[2:]) if z.dim() == 4 else LEAST_SIDE
