"""Crowds: victims by the groups of a hidden attribute, and what was answered and named for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Crowd:
    """Victims whose hidden label is known: `s` and `y` (-1 missing) [N], independent `units` [N], the names of the
    values of s, and the target's second class where it has two, which TPR and FPR are about."""

    names: tuple[str, ...]
    s: Ints
    y: Ints
    units: Ints
    positive: str = ""
    missing: int = 0  # victims whose hidden label is not known, who are not here

    @cached_property
    def present(self) -> Ints:
        """The values that anybody holds [V]."""
        return np.unique(self.s)

    @cached_property
    def group(self) -> Ints:
        """Which of the present values each example holds [N]."""
        return self.index(self.s)

    def index(self, values: Ints) -> Ints:
        """Positions of values [N] among the present ones, -1 for a value that nobody holds."""
        place: Ints = np.searchsorted(self.present, values).clip(max=len(self.present) - 1)
        return np.where(self.present[place] == values, place, -1)

    @cached_property
    def member(self) -> Mask:
        """Who belongs to which group [N, V]."""
        mask: Mask = self.s[:, None] == self.present
        return mask

    def size(self, mask: Mask) -> tuple[int, int]:
        """Examples and independent persons of a mask [N]."""
        return int(mask.sum()), len(np.unique(self.units[mask]))


@dataclass(frozen=True)
class Guesses:
    """What a defended split answered and what an attack named, per seed [N], and how sure it was, [N, K] (empty where
    only names are known)."""

    attack: str
    answers: list[Ints]
    named: list[Ints]
    sure: list[Floats] = field(default_factory=list)
