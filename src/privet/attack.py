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

from privet import registry
from privet.errors import ThreatError
from privet.train import Effort

FOLDER = "privet.attacks"
Goal = Literal["attribute", "reconstruct"]
Need = Literal["labels", "pairs", "obfuscator", "architecture", "edge"]
Posterior = Callable[["View"], Tensor]
Fields = tuple[Tensor, ...]  # one payload of N people, a tensor [N, *shape] for each field
Match = Callable[[Tensor, Fields], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class View:
    """What an adversary holds about N people: their payloads as numbers, and what its threat grants beside them.

    `flat` [N, P] is what a plain network reads: the payload's fields as numbers (where a mask says which values came,
    and the obfuscator is known, z' and the mask instead, so that a column always means the same thing), then the
    logits of the server where its weights are known, then side information as one-hot columns. `z` [N, *shape] is the
    public representation z' (None where the obfuscator is unknown). `server` is the server half, a template of its
    architecture. Of somebody who was seen several times it is the mean over the payloads. `masks` counts the first
    columns of `flat` that only say which values came (0 where all travel, or where bits are all that travels).
    `hidden` [N, A] is what stands in front of the server's linear layers, side by side, where its weights are known.
    `came` [N, *shape] says which values of z' came, until several payloads of one input have become one view.

    `match` runs candidates [N, *input] through the edge half and the obfuscator, for whoever knows both: what they say
    and what a payload said, [N, ...] each, equal where the candidate was the input (`Obfuscator.match`), differentiable
    in the candidates. `seen` are the payloads to match, one for each time that somebody was seen. `drawn` [N, *input]
    is what the adversary's own decoder has made of these people before, and
    `mistakes` [M, *input] what it missed (input minus drawing) of other people of aux_val.
    """

    flat: Tensor
    z: Tensor | None = None
    server: nn.Module | None = None
    masks: int = 0
    match: Match | None = None
    seen: tuple[Fields, ...] = ()
    drawn: Tensor | None = None
    hidden: Tensor | None = None
    came: Tensor | None = None
    mistakes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.flat)

    def rows(self, index: Tensor) -> View:
        """The same view of some of the people."""
        z, drawn, hidden = (None if t is None else t[index] for t in (self.z, self.drawn, self.hidden))
        seen = tuple(tuple(field[index] for field in payload) for payload in self.seen)
        return replace(self, flat=self.flat[index], z=z, seen=seen, drawn=drawn, hidden=hidden)

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
    """An attack that owns its fit. Where it is `costly` for each person, it is asked about some people only."""

    summary: ClassVar[str]
    goal: ClassVar[Goal]
    needs: ClassVar[frozenset[Need]]

    def fit(
        self, train: View, s: Tensor, val: View, s_val: Tensor, *, classes: int, effort: Effort, seed: int,
        device: torch.device | str = "cpu",
    ) -> Posterior:  # fmt: skip
        """Learn from aux what is known there: labels s [N] (attribute goals, K `classes`) or inputs s [N, *input]
        (reconstruction, where `classes` says nothing). Returns a function from a view to posteriors [N, K] or inputs
        [N, *input]. Views and results are on the CPU; networks of its own may run on `device`."""


def public(attack: Probe | Solver, view: View) -> Tensor:
    """z' [N, *shape]; ThreatError where the threat does not grant it."""
    if view.z is None:
        raise ThreatError(f"{registry.method_name(attack)} needs the public representation, which is not granted")
    return view.z


def template(attack: Probe | Solver, view: View) -> nn.Module:
    """The server half; ThreatError where the threat does not grant it."""
    if view.server is None:
        raise ThreatError(f"{registry.method_name(attack)} needs the server's architecture, which is not granted")
    return view.server


def costly(attack: Probe | Solver) -> bool:
    """Whether an attack works on each person for itself, so that it is asked about some only."""
    return bool(getattr(attack, "costly", False))


def slow(attack: Probe | Solver) -> bool:
    """Whether an attack costs more than it usually finds: it runs at effort `full`, or where it is asked for."""
    return bool(getattr(attack, "slow", False))


def _plant(z: Tensor, extra: Tensor) -> Tensor:
    flat = z.flatten(1).clone()
    width = min(extra.shape[1], flat.shape[1])
    flat[:, :width] = extra[:, :width] * 4
    return flat.reshape(z.shape)
