"""The wire: everybody's payload is sent as bytes, and read back as an adversary of a threat may read it.

The edge runs once for each person; what is random is drawn again and again behind it. Whatever an attack sees has been
through here, so that what is measured is what travels.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from privet.attack import View
from privet.auditing import floors, messages
from privet.auditing.chunks import Chunks, too_large
from privet.auditing.threat import Threat
from privet.data.corpus import Corpus, Part
from privet.defense import Defended
from privet.payload import Array, Payload
from privet.train import predict

DRAWS = 12
FRAME = 256
COMBINED = 3
KEPT = 4 << 30  # bytes of drawn payloads that are held
READ = 1 << 28  # numbers of views that are held, so as not to be made again in each epoch
NARROW = 1024  # values in front of a linear layer


@dataclass(frozen=True)
class Observed:
    """What an adversary holds: aux_train in several draws, aux_val, and the victims."""

    train: Sequence[View]
    val: View
    victims: View
    answers: dict[str, Array]  # role -> predicted target class [N], by the half that ships; empty where not recorded
    saturated: int
    message_bits: int  # of all that one person sends
    messages: Array | None  # the number of each victim's message [N]; None where there are too many to count
    chunked: bool = False  # whether payloads were too large for plain networks to be read whole


@dataclass(frozen=True)
class Wire:
    """A defended split as an adversary of this threat meets it: sends frames, and reads them back."""

    defended: Defended
    corpus: Corpus
    threat: Threat
    device: torch.device | str = "cpu"
    chunks: Chunks | None = None

    def send(self, z: Tensor, generator: np.random.Generator) -> tuple[list[bytes], int]:
        """The frames of everybody's payload, 256 people a frame, and how many values saturated."""
        frames, saturated = [], 0
        for rows in torch.split(z, FRAME):
            payload = self.defended.pack(rows.to(self.device), self.defended.draw(len(rows), generator))
            frames.append(payload.to_bytes())
            saturated += payload.saturated
        return frames, saturated

    def read(self, frames: list[bytes], part: Part) -> tuple[View, Array]:
        """What the adversary makes of them, and the answers of the server."""
        knows, kept = self.threat.grants, torch.float16 if self.chunks else torch.float32
        rows, zs, logits, seen, came = [], [], [], [], []
        with listening(self.defended.server_half if "architecture" in knows else nn.Identity()) as heard:
            for frame in frames:
                payload, bits, values, z = self.values(frame)
                came.append(self.came(payload, z))
                logits.append(self.defended.server(payload, self.device).float().cpu())
                columns = [*bits, self.chunks(values) if self.chunks else values]
                rows.append(torch.cat([*columns, logits[-1]] if "architecture" in knows else columns, 1))
                zs += [] if z is None else [z.to(kept)]
                seen.append([torch.from_numpy(v).to(kept) for v in payload.floats().values()])
        flat = torch.cat([torch.cat(rows), self.side(part)] if self.threat.side else rows, 1 if self.threat.side else 0)
        server = (self.defended.template or self.defended.split.server) if "architecture" in knows else None
        hidden = torch.cat([torch.cat(parts) for parts in heard.values()], 1) if heard else None
        whole = [part for part in came if part is not None]
        view = View(flat, torch.cat(zs) if zs else None, server, self.masks, hidden=hidden)
        view = replace(view, came=torch.cat(whole) if whole else None)
        if "edge" in knows:
            fields = tuple(torch.cat(parts) for parts in zip(*seen, strict=True))
            view = replace(view, match=self.match, seen=(fields,))
        return view, torch.cat(logits).argmax(1).numpy()

    def values(self, frame: bytes) -> tuple[Payload, list[Tensor], Tensor, Tensor | None]:
        """One frame as numbers: the payload, its bits [B, .], its other values [B, P], and z' where the obfuscator is
        known. Where a mask says which values came, a column of the raw payload means another value for everybody, so
        that z' stands for them."""
        signature = self.defended.obfuscator.signature
        payload = Payload.from_bytes(frame, signature)
        fields = [torch.from_numpy(values).flatten(1) for values in payload.floats().values()]
        masks = [f.dtype == "bits" for f in signature]
        z = None
        if "obfuscator" in self.threat.grants:
            z = self.defended.decode(payload, self.device).float().cpu()
        bits = [field for field, mask in zip(fields, masks, strict=True) if mask]
        plain = [field for field, mask in zip(fields, masks, strict=True) if not mask]
        if z is not None and bits:
            plain = [z.flatten(1)]
        return payload, bits, torch.cat(plain, 1) if plain else bits[0][:, :0], z

    def came(self, payload: Payload, z: Tensor | None) -> Tensor | None:
        """Which values of z' came, for whoever sees several payloads of one input."""
        if z is None or self.threat.queries == 1:
            return None
        found = self.defended.obfuscator.came(*self.defended.tensors(payload, self.device))
        return None if found is None else found.expand(z.shape).cpu()

    @property
    def masks(self) -> int:
        """How many of the first columns say which values came."""
        sizes = [f.size for f in self.defended.obfuscator.signature if f.dtype == "bits"]
        return sum(sizes) if 0 < len(sizes) < len(self.defended.obfuscator.signature) else 0

    def in_chunks(self, frames: list[bytes], corpus: Corpus, seed: int) -> Wire:
        """This wire, or where the payloads of a part are larger than allowed one that reads them in chunks, which are
        learned from these frames of aux_train."""
        if not too_large(max(map(len, corpus.parts.values())), self.values(frames[0])[2].shape[1]):
            return self
        values = (self.values(frame)[2].half() for frame in frames)
        return replace(self, chunks=Chunks.of(values, len(corpus.aux_train), seed))

    @cached_property
    def searched(self) -> nn.Module:
        """The edge half for searches through it: a copy with the channels last, on a CPU a quarter faster."""
        return copy.deepcopy(self.defended.split.edge).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def match(self, x: Tensor, payload: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """`View.match`, computed where the halves are."""
        return self.defended.obfuscator.match(
            self.searched(x.to(self.device)), *(field.to(self.device).float() for field in payload)
        )

    def messages(self, sent: Sequence[list[bytes]], part: Part) -> Array:
        """The number of the message of each person of the part, over all queries, with what the adversary knows."""
        signature = self.defended.obfuscator.signature
        payloads = [[Payload.from_bytes(frame, signature) for frame in frames] for frames in sent]
        return messages.index(payloads, [part.s[name] for name in self.threat.side])

    def side(self, part: Part) -> Tensor:
        """The attributes that the adversary knows already, as one-hot columns."""
        sizes = [self.corpus.n_classes(name) for name in self.threat.side]
        return torch.from_numpy(floors.one_hot([part.s[name] for name in self.threat.side], sizes))


class Reads(Protocol):
    """Whatever makes a view of frames."""

    def read(self, frames: list[bytes], part: Part) -> tuple[View, Array]:
        """What the adversary makes of the frames of a part, and the answers of the server."""


@dataclass(frozen=True)
class Draws(Sequence[View]):
    """aux_train as an adversary sees it in draw after draw. Frames are kept; views are, too, where they are small, and
    else made anew."""

    wire: Reads
    part: Part
    frames: list[list[bytes]]
    together: int
    people: Tensor | None = None
    read: dict[int, View] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.frames) // self.together

    def __getitem__(self, index: Any) -> Any:
        frames = self.frames[index * self.together : (index + 1) * self.together]
        if not frames:
            raise IndexError(index)
        whole = self.read.get(index)
        if whole is None:
            whole = combined([self.wire.read(f, self.part)[0] for f in frames])
            if 2 * whole.flat.numel() * len(self) <= READ:
                self.read[index] = whole
        return whole if self.people is None else whole.rows(self.people)

    def of(self, people: Tensor) -> Draws:
        """The draws of some of the people."""
        return replace(self, people=people)


@contextmanager
def listening(server: nn.Module) -> Iterator[dict[nn.Module, list[Tensor]]]:
    """What stands in front of each linear layer while the server answers, [B, width] a batch; of tokens their mean.
    Layers wider than `NARROW` are left out: they read z' itself, or nearly."""
    heard: dict[nn.Module, list[Tensor]] = {}

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        values = given[0].detach().float()
        values = values.flatten(1, -2).mean(1) if values.dim() > 2 else values
        if values.shape[1] <= NARROW:
            heard.setdefault(layer, []).append(values.cpu())

    hooks = [m.register_forward_pre_hook(note) for m in server.modules() if isinstance(m, nn.Linear)]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def combined(views: Sequence[View]) -> View:
    """Several payloads of each person as one view: the mean of what came, in which fresh noise averages out and choices
    add up."""
    first = views[0]
    if len(views) == 1:
        return replace(first, came=None)
    z = None if first.z is None else torch.stack([v.z for v in views if v.z is not None]).mean(0)
    hidden = None if first.hidden is None else torch.stack([v.hidden for v in views if v.hidden is not None]).mean(0)
    seen = tuple(payload for view in views for payload in view.seen)
    flat = torch.stack([v.flat for v in views]).mean(0)
    if z is not None and first.came is not None:
        times = torch.stack([v.came for v in views if v.came is not None]).sum(0)
        total = torch.stack([v.z * v.came for v in views if v.z is not None and v.came is not None]).sum(0)
        z = torch.where(times > 0, total / times.clamp_min(1), z)
        start, end = first.masks, first.masks + z[0].numel()
        if first.masks and first.flat.shape[1] >= end:  # z' as columns stands behind the bits, but for chunks
            flat[:, start:end] = z.flatten(1)
    return replace(first, flat=flat, z=z, seen=seen, hidden=hidden, came=None)


def observe(
    defended: Defended, corpus: Corpus, threat: Threat, seed: int, device: torch.device | str = "cpu"
) -> Observed:
    """Send everybody's payload and read it back, with fresh noise for every payload.

    The edge runs once for each person; what is random is drawn again and again behind it.
    """
    generator = np.random.default_rng([seed, 5])
    wire = Wire(defended, corpus, threat, device)
    queries = threat.queries if defended.stochastic else 1
    draws = 1 if not defended.stochastic else DRAWS if queries == 1 else COMBINED * queries
    held = len(corpus.aux_train) * defended.payload_bytes * queries
    draws = max(queries, min(draws, queries * (KEPT // max(1, held))))
    saturated = 0
    sent: dict[str, list[list[bytes]]] = {}
    for role, count in {"aux_train": draws, "aux_val": queries, "victim": queries}.items():
        z = predict(defended.split.edge, corpus.parts[role].x, device)
        sent[role] = []
        for _ in range(count):
            frames, clipped = wire.send(z, generator)
            sent[role].append(frames)
            saturated += clipped
    wire = wire.in_chunks(sent["aux_train"][0], corpus, seed)
    answers, views = {}, {}
    for role in ("aux_val", "victim"):
        seen = [wire.read(frames, corpus.parts[role]) for frames in sent[role]]
        views[role], answers[role] = combined([view for view, _ in seen]), seen[0][1]
    answers["aux_train"] = wire.read(sent["aux_train"][0], corpus.aux_train)[1]
    train: Sequence[View] = Draws(wire, corpus.aux_train, sent["aux_train"], queries)
    bits = queries * messages.bits(defended.obfuscator.signature)
    # People who share a draw of the noise are no independent people, so nothing can be certified of them.
    own_noise = all(noise.per == "sample" for noise in defended.obfuscator.noise)
    return Observed(
        train if len(train) > 1 else [train[0]],
        views["aux_val"],
        views["victim"],
        answers,
        saturated,
        bits,
        wire.messages(sent["victim"], corpus.victim) if bits <= messages.LIMIT and own_noise else None,
        wire.chunks is not None,
    )


def owner_accuracy(defended: Defended, corpus: Corpus, seed: int, device: torch.device | str = "cpu") -> float:
    """Accuracy of the target on the owner's own task_val, by the halves that ship: what an operating point may be
    chosen by."""
    part, generator = corpus.task_val, np.random.default_rng([seed, 8])
    z, right = predict(defended.split.edge, part.x, device), []
    for rows, y in zip(torch.split(z, FRAME), torch.split(torch.from_numpy(part.y), FRAME), strict=True):
        payload = defended.pack(rows.to(device), defended.draw(len(rows), generator))
        right.append((defended.server(payload, device).argmax(1).cpu() == y)[y >= 0])
    return float(torch.cat(right).float().mean())


def of_people(views: Sequence[View], people: Array) -> Sequence[View]:
    """The same draws, of some of the people."""
    rows = torch.from_numpy(people)
    return views.of(rows) if isinstance(views, Draws) else [view.rows(rows) for view in views]
