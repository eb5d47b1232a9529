"""The nouns: people with what each system sent of them, and a system as its adversaries meet it.

A recording has no undefended reference: the first system of several is the scale, and of one there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

from privet.attack import Need, View
from privet.auditing import floors
from privet.auditing.threat import Threat
from privet.auditing.wire import Observed
from privet.data.corpus import ADVERSARY, Corpus, Part
from privet.payload import Array

UNPROMISED = "a recording says what was sent, and not by which rule"


class System(Protocol):
    """Something that has sent, or sends, one payload of each person."""

    @property
    def digest(self) -> str:
        """What its payloads depend on, as text: part of a trial's identity."""

    @property
    def held(self) -> frozenset[Need]:
        """What an adversary may learn from, beside the bytes."""

    @property
    def width(self) -> int:
        """Numbers in one payload."""

    def observe(self, corpus: Corpus, threat: Threat, seed: int) -> Observed:
        """What an adversary of this threat holds."""

    def sent(self, corpus: Corpus, role: str, seed: int) -> tuple[Array, Array | None]:
        """One payload [N, P] of everybody in a part, and the server's answers [N], as indices of the target's classes
        (None where they were not recorded)."""

    def facts(self) -> dict[str, Any]:
        """What a run keeps of the system itself, as `experiment.trial` does."""


@dataclass(frozen=True)
class Recordings(Corpus):
    """A corpus of people in the adversary's parts and among the victims, with the systems that sent their payloads.

    kind is `payload` where no inputs were recorded; the target is empty where nobody recorded what was asked for."""

    needs: ClassVar[tuple[str, ...]] = ADVERSARY
    systems: Mapping[str, System] = field(default_factory=dict, kw_only=True)

    @property
    def held(self) -> frozenset[Need]:
        """What every system's recording holds."""
        return frozenset.intersection(*(system.held for system in self.systems.values()))


@dataclass(frozen=True)
class Recorded:
    """One payload of each person as a file holds it: by part [N, P] in the file's own type, and where they were
    recorded the server's answers [N] as indices of the target's classes."""

    payloads: Mapping[str, Array]
    answers: Mapping[str, Array]
    digest: str
    inputs: bool

    @property
    def held(self) -> frozenset[Need]:
        return frozenset({"labels", "pairs"} if self.inputs else {"labels"})

    @property
    def width(self) -> int:
        return int(self.payloads["victim"].shape[1])

    def observe(self, corpus: Corpus, threat: Threat, seed: int) -> Observed:
        """The same for every seed: what was recorded is not drawn again."""
        base = self.payloads["aux_train"][:1]
        views = {role: view(fine(self.payloads[role], base), corpus, role, threat) for role in ADVERSARY}
        bits = 8 * self.width * self.payloads["victim"].dtype.itemsize
        return Observed([views["aux_train"]], views["aux_val"], views["victim"], dict(self.answers), 0, bits, None)

    def sent(self, corpus: Corpus, role: str, seed: int) -> tuple[Array, Array | None]:
        """What the file holds."""
        payload = self.payloads[role]
        return payload.astype(np.uint8) if payload.dtype == bool else payload, self.answers.get(role)

    def facts(self) -> dict[str, Any]:
        """As the file holds a payload, so many bytes; who made it, and at what cost, nobody wrote down."""
        payload = self.payloads["victim"]
        return {
            "fit": {},
            "guarantee": None,
            "no_guarantee": UNPROMISED,
            "payload_bytes": self.width * payload.dtype.itemsize,
            "edge_macs": None,
            "stochastic": False,
            "shared_noise": False,
            "cut_shape": [self.width],
        }


def fine(payload: Array, base: Array) -> Array:
    """A payload [N, P] whose values may differ by less than float32 resolves: counted from those of one person of the
    adversary's [1, P], in the longest float there is. Floats of 4 bytes and integers of 2 stay as they are."""
    if payload.dtype.kind not in "iuf" or payload.dtype.itemsize <= (4 if payload.dtype.kind == "f" else 2):
        return payload
    counted: Array = payload.astype(np.longdouble) - base.astype(np.longdouble)
    return counted.astype(np.float32)


def view(payload: Array, corpus: Corpus, role: str, threat: Threat, *more: Array) -> View:
    """A payload [N, P] as an adversary reads it: float32, then what else it knows, then side information."""
    columns = [np.asarray(payload, np.float32), *(np.asarray(extra, np.float32) for extra in more)]
    if threat.side:
        columns.append(known_side(corpus, corpus.parts[role], threat))
    return View(torch.from_numpy(np.concatenate(columns, axis=1)))


def known_side(corpus: Corpus, part: Part, threat: Threat) -> Array:
    """The attributes that the adversary knows already, as one-hot columns."""
    return floors.one_hot([part.s[name] for name in threat.side], [corpus.n_classes(name) for name in threat.side])
