"""Attack: the nouns of adversaries. The attacks themselves are the files of `privet/attacks`.

Two kinds. A *probe* declares features, a network and a small grid; the battery owns its training. A *solver* owns its
`fit`. Both state in `needs` what a threat must grant them. Adversaries are trained after the defense is frozen, from
scratch, on the bytes that really travel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from privet.train import Effort

FOLDER = "privet.attacks"
Goal = Literal["attribute", "reconstruct"]
Need = Literal["labels", "pairs", "obfuscator", "architecture"]
Posterior = Callable[["View"], Tensor]


@dataclass(frozen=True)
class View:
    """What an adversary holds about N people: their payloads as numbers, and what its threat grants beside them.

    `flat` [N, P] is what a plain network reads: the payload's fields as numbers (where a mask says which values came,
    and the obfuscator is known, z' and the mask instead, so that a column always means the same thing), then the
    logits of the server where its weights are known, then side information as one-hot columns. `z` [N, *shape] is the
    public representation z' (None where the obfuscator is unknown). `server` is the server half, a template of its
    architecture. Of somebody who was seen several times it is the mean over the payloads. `masks` counts the first
    columns of `flat` that only say which values came (0 where all travel, or where bits are all that travels).
    """

    flat: Tensor
    z: Tensor | None = None
    server: nn.Module | None = None
    masks: int = 0

    def __len__(self) -> int:
        return len(self.flat)

    def rows(self, index: Tensor) -> View:
        """The same view of some of the people."""
        return replace(self, flat=self.flat[index], z=None if self.z is None else self.z[index])

    def planted(self, extra: Tensor) -> View:
        """This view with columns appended [N, k] to the payload and, in its first values, to z': for calibration."""
        return replace(self, flat=torch.cat([self.flat, extra], 1), z=None if self.z is None else _plant(self.z, extra))


@dataclass(frozen=True)
class Setting:
    """One point of a probe's grid."""

    learning_rate: float
    weight_decay: float = 0.0


@runtime_checkable
class Probe(Protocol):
    """Features, a network and a grid; `privet.auditing.battery` trains it with early stopping on aux_val."""

    summary: ClassVar[str]
    goal: ClassVar[Goal]
    needs: ClassVar[frozenset[Need]]
    grid: ClassVar[tuple[Setting, ...]]
    standardize: ClassVar[bool]

    def features(self, view: View) -> Tensor:
        """What the network sees, [N, ...]."""

    def network(self, view: View, output: tuple[int, ...]) -> nn.Module:
        """A fresh network from features to logits [B, K] (output = (K,)) or pictures [B, C, H, W] (output = (C, H,
        W))."""


@runtime_checkable
class Solver(Protocol):
    """An attack that owns its fit."""

    summary: ClassVar[str]
    goal: ClassVar[Goal]
    needs: ClassVar[frozenset[Need]]

    def fit(
        self, train: View, s: Tensor, val: View, s_val: Tensor, *, classes: int, effort: Effort, seed: int
    ) -> Posterior:
        """Learn from aux; returns a function from a view to posteriors [N, K]."""


def _plant(z: Tensor, extra: Tensor) -> Tensor:
    flat = z.flatten(1).clone()
    width = min(extra.shape[1], flat.shape[1])
    flat[:, :width] = extra[:, :width] * 4
    return flat.reshape(z.shape)
