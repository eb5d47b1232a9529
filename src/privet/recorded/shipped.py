"""A bundle as a recorded system: its own ONNX edge makes the payloads, its own ONNX server the answers.

Noise follows the law, the generator and the batch of `privet.runtime.edge`, from a seed that is the audit's: an audit
must be repeatable. Where a mask says which values came, they are put back to their places, so that a column means the
same for everybody; no other step of the obfuscator is undone, and nothing is run backwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from privet.attack import Need, View
from privet.auditing import messages, wire
from privet.auditing.threat import Threat
from privet.auditing.wire import COMBINED, DRAWS, FRAME, Observed
from privet.data.corpus import ADVERSARY, Corpus, Part
from privet.errors import DataError, MissingExtra, RunError
from privet.payload import Array, Payload
from privet.recorded.system import Recordings, known_side
from privet.runtime import bundle as bundles
from privet.runtime.edge import Edge, session_options
from privet.schedule import Source

UNCHECKED = "fitted_on_unknown"


@dataclass(frozen=True)
class Shipped:
    """The system of a bundle's folder."""

    folder: str

    @cached_property
    def edge(self) -> Edge:
        """The edge that ships."""
        return Edge(self.folder)

    @cached_property
    def server(self) -> Any:
        """An ONNX Runtime session of the server half."""
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("onnxruntime", "edge") from error
        graph = self.edge.bundle.read("server.onnx")
        try:
            return onnxruntime.InferenceSession(graph, session_options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base of their own
            raise RunError(f"server.onnx cannot be loaded by ONNX Runtime; {bundles.ANEW}") from error

    @property
    def digest(self) -> str:
        return self.edge.bundle.split_hash

    @property
    def held(self) -> frozenset[Need]:
        return frozenset({"labels", "pairs"})

    @property
    def width(self) -> int:
        return sum(field.size for field in self.edge.signature)

    def send(self, part: Part, seed: Sequence[int]) -> tuple[list[bytes], int]:
        """The frames of everybody's payload, 256 people a frame, and how many values saturated."""
        frames, saturated = [], 0
        for frame, start in enumerate(range(0, len(part), FRAME)):
            drawn = int.from_bytes(hashlib.sha256(repr((*seed, frame)).encode()).digest()[:16], "big")
            payload = self.edge.payload(part.x[start : start + FRAME], noise_seed=drawn)
            frames.append(payload.to_bytes())
            saturated += payload.saturated
        return frames, saturated

    def fields(self, frames: Sequence[bytes]) -> list[Array]:
        """The fields [N, ...] that travel, as float32."""
        found = [Payload.from_bytes(frame, self.edge.signature).floats() for frame in frames]
        return [np.concatenate([one[field.name] for one in found]) for field in self.edge.signature]

    @property
    def bits(self) -> list[bool]:
        """Which fields are bits."""
        return [field.dtype == "bits" for field in self.edge.signature]

    def logits(self, frames: Sequence[bytes]) -> Array:
        """What the server computes from them, [N, K]."""
        payloads = [Payload.from_bytes(frame, self.edge.signature).floats() for frame in frames]
        return np.concatenate([self.server.run(None, one)[0] for one in payloads]).astype(np.float32)

    def observe(self, corpus: Corpus, threat: Threat, seed: int) -> Observed:
        """As `wire.observe`: several draws of aux where the bundle draws noise, one payload of each victim (or as many
        as the threat sees)."""
        noisy = bool(self.edge.noise)
        queries = threat.queries if noisy else 1
        draws = 1 if not noisy else DRAWS if queries == 1 else COMBINED * queries
        line, saturated = Line(self, corpus, threat), 0
        sent: dict[str, list[list[bytes]]] = {}
        for role in ADVERSARY:
            sent[role] = []
            for draw in range(draws if role == "aux_train" else queries):
                frames, clipped = self.send(corpus.parts[role], (seed, ADVERSARY.index(role), draw))
                sent[role].append(frames)
                saturated += clipped
        views = {role: wire.Draws(line, corpus.parts[role], frames, queries) for role, frames in sent.items()}
        train = views["aux_train"]
        answers = {role: line.answers(frames[0]) for role, frames in sent.items()}
        bits = queries * messages.bits(self.edge.signature)
        counted = bits <= messages.LIMIT and all(noise.per == "sample" for noise in self.edge.noise)
        known = [corpus.victim.s[name] for name in threat.side]
        seen = [[Payload.from_bytes(f, self.edge.signature) for f in frames] for frames in sent["victim"]]
        return Observed(
            train if len(train) > 1 else [train[0]], views["aux_val"][0], views["victim"][0], answers, saturated, bits,
            messages.index(seen, known) if counted else None,
        )  # fmt: skip

    def sent(self, corpus: Corpus, role: str, seed: int) -> tuple[Array, Array | None]:
        """What the edge makes now, with kept values at their places."""
        frames, _ = self.send(corpus.parts[role], (seed, ADVERSARY.index(role)))
        columns, _ = spread(self.fields(frames), self.bits)
        return np.concatenate(columns, axis=1), _as_named(self.logits(frames), self.edge.bundle.classes, corpus)

    def facts(self) -> dict[str, Any]:
        manifest, signature = self.edge.bundle.manifest, self.edge.signature
        promise = manifest["guarantee"]
        frame = self.edge.payload(np.zeros((1, *self.edge.bundle.input_shape), np.float32), noise_seed=0).to_bytes()
        return {
            "fit": manifest["log"],
            "guarantee": promise["statement"],
            "no_guarantee": None if promise["statement"] else promise["scope"],
            "payload_bytes": len(frame),
            "edge_macs": None,
            "stochastic": bool(self.edge.noise),
            "shared_noise": any(noise.per == "batch" for noise in self.edge.noise),
            "cut_shape": list(signature[-1].shape),
        }


@dataclass(frozen=True)
class Line:
    """A bundle's frames as an adversary of this threat reads them."""

    system: Shipped
    corpus: Corpus
    threat: Threat

    def read(self, frames: list[bytes], part: Part) -> tuple[View, Array]:
        """What it makes of the frames of a part, and the server's answers.

        Who knows the obfuscator puts kept values back to their places, others read place by place what travels; who
        knows the server's weights has its logits."""
        fields, threat = self.system.fields(frames), self.threat
        columns, masks = spread(fields, self.system.bits)
        if "obfuscator" not in threat.withheld:
            columns = [field.reshape(len(field), -1) for field in fields]
        logits = self.system.logits(frames)
        columns += [logits] if "architecture" in threat.withheld else []
        columns += [known_side(self.corpus, part, threat)] if threat.side else []
        view = View(torch.from_numpy(np.concatenate(columns, axis=1)), masks=masks)
        return view, _as_named(logits, self.system.edge.bundle.classes, self.corpus)

    def answers(self, frames: list[bytes]) -> Array:
        """The server's answers alone."""
        return _as_named(self.system.logits(frames), self.system.edge.bundle.classes, self.corpus)


def load(folder: str, source: Source, progress: Callable[[int, int], None] | None = None) -> Recordings:
    """The people whose payloads the bundle makes. Raises RunError for what is no bundle, DataError where the people's
    inputs or classes are not those that it takes, or where its owner's people are not apart from the adversary's."""
    system = Shipped(folder)
    manifest = system.edge.bundle.manifest
    target = source.target or manifest["meta"].get("target")
    corpus = replace(source, target=target).load(progress)
    shape, wanted = tuple(corpus.shape), system.edge.bundle.input_shape
    if shape != wanted or corpus.kind != manifest["input"]["kind"]:
        size = f"; add --resize {wanted[1]}x{wanted[2]}" if len(wanted) == 3 == len(shape) else ""
        raise DataError(
            f"the bundle takes {_times(wanted)} ({manifest['input']['kind']}), and {corpus.name} has {_times(shape)} "
            f"({corpus.kind}): name the people it was made for with --data{size}"
        )
    classes = corpus.classes[corpus.target]
    if set(classes) != set(system.edge.bundle.classes):
        raise DataError(
            f"the bundle answers {', '.join(system.edge.bundle.classes[:5])}, and {corpus.target!r} of {corpus.name} "
            f"is {', '.join(classes[:5])}: name with --target what the bundle was fitted for"
        )
    fitted = manifest["meta"].get("fitted_on")
    known = fitted is not None and fitted == owners(corpus)
    note = (
        "the owner's people are those that the bundle was fitted on; none of them is the adversary's or a victim"
        if known
        else "the bundle does not name these people as those it was fitted on, so some of them may be among the victims"
    )
    parts = {role: corpus.parts[role] for role in ADVERSARY}
    return Recordings(
        name=corpus.name, kind=corpus.kind, target=corpus.target, hidden=corpus.hidden, side=corpus.side,
        classes=corpus.classes, parts=parts, notes=(*corpus.notes, note),
        flags=(*corpus.flags, *(() if known else (UNCHECKED,))), person=corpus.person, systems={label(folder): system},
    )  # fmt: skip


def label(folder: str) -> str:
    """What a bundle is called: the defense that it was fitted with."""
    return str(bundles.open(folder).manifest["defense"])


def owners(corpus: Corpus) -> str:
    """sha256 over the content hashes of the owner's people: equal where they are the same, and tells nobody who."""
    own = sorted(str(name) for role in ("task_train", "task_val") for name in corpus.parts[role].ids)
    return hashlib.sha256("".join(own).encode()).hexdigest()


def spread(fields: Sequence[Array], bits: Sequence[bool]) -> tuple[list[Array], int]:
    """Fields [N, ...] as columns [N, P], and how many of the first say which values came.

    A field of bits with the same number of ones for everybody, and one more field with an axis of just so many places,
    are a mask and what it kept: the kept values go to their places, zero elsewhere."""
    flat = [np.ascontiguousarray(field).reshape(len(field), -1) for field in fields]
    if len(fields) != 2 or bits[1] or not bits[0]:
        return flat, 0
    mask, kept = flat[0] > 0.5, fields[1]
    count = int(mask[0].sum())
    axes = [axis for axis in range(1, kept.ndim) if kept.shape[axis] == count]
    if not axes or not count or np.any(mask.sum(1) != count):
        return flat, 0
    axis = axes[-1] if kept.ndim == 3 else axes[0]
    moved = np.moveaxis(kept, axis, 1)
    whole = np.zeros((len(kept), mask.shape[1], *moved.shape[2:]), np.float32)
    whole[mask] = moved.reshape(-1, *moved.shape[2:])
    return [flat[0], whole.reshape(len(kept), -1)], mask.shape[1]


def _as_named(logits: Array, named: Sequence[str], corpus: Corpus) -> Array:
    """The answers [N] of logits [N, K] over the bundle's classes, in the corpus' order."""
    order = np.array([corpus.classes[corpus.target].index(name) for name in named])
    return np.asarray(order[logits.argmax(1)])


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
