"""Defense, Obfuscator, Defended: the nouns of protection. The methods themselves are the files of `privet/defenses`.

A `Defense` is a paper's hyperparameters; `fit` turns a `Split` and the owner's part of a corpus into a `Defended`
split. An `Obfuscator` is the deterministic graph between the halves: z and declared noise in, payload tensors out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from privet import registry
from privet.data.corpus import Corpus
from privet.errors import SpecError
from privet.payload import Array, Noise, Payload, Signature, frame_bytes
from privet.split import Split
from privet.train import Effort

Progress = Callable[[int, int], None] | None
FOLDER = "privet.defenses"
EXPECTED = 4  # pairs of draws of a first link, for what it does on average


@dataclass(frozen=True)
class Guarantee:
    """A promise with its scope, or the reason why there is none. The word *private* needs the first."""

    statement: str | None
    scope: str

    @classmethod
    def none(cls, why: str) -> Guarantee:
        """An explicit absence."""
        return cls(None, why)


class Obfuscator(nn.Module):
    """g of the papers: `encode` prunes a representation into payload tensors, `decode` is the public view of them.

    Both are deterministic graphs that export to ONNX; whatever is random is an input, declared in `noise`.
    """

    signature: Signature
    noise: tuple[Noise, ...] = ()
    takes: tuple[int, ...] | None = None  # the shape of z, where the public view has another

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        """z [B, *shape] and one tensor per declared noise -> one tensor [B, *field.shape] per field of the
        signature."""
        raise TypeError(f"{type(self).__name__} does not say how it encodes")

    def decode(self, *tensors: Tensor) -> Tensor:
        """Payload tensors -> z' [B, *shape], a representation as the server's half expects it."""
        raise TypeError(f"{type(self).__name__} does not say how it decodes")

    def match(self, z: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """What a candidate z [B, *shape] says and what the payload seen says: two tensors [B, ...] that agree where z
        was the sender's, up to rounding and noise, the first of them differentiable in z. What an adversary who knows
        this obfuscator minimizes; choices that travel are held as they were seen, noise stands at its median.
        """
        silent = [torch.full((len(z), *noise.shape), noise.middle, device=z.device) for noise in self.noise]
        return self.decode(*self.encode(z, *silent)), self.decode(*tensors)

    def came(self, *tensors: Tensor) -> Tensor | None:
        """Which values of z' came, [B, *shape] of 0 and 1 or what broadcasts to it; None where all do. Who sees several
        payloads of one input takes the mean over those in which a value came."""
        return None

    def forward(self, z: Tensor, *noise: Tensor) -> Tensor:
        """z' without the cast to the wire's dtype: what training goes through."""
        return self.decode(*self.encode(z, *noise))


class EdgeHalf(nn.Module):
    """The graph that ships to the edge: x [B, *input] and noise -> payload tensors."""

    def __init__(self, edge: nn.Module, obfuscator: Obfuscator) -> None:
        super().__init__()
        self.edge, self.obfuscator = edge, obfuscator

    def forward(self, x: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return self.obfuscator.encode(self.edge(x), *noise)


class ServerHalf(nn.Module):
    """The graph that ships to the server: payload tensors -> logits [B, K]."""

    def __init__(self, obfuscator: Obfuscator, server: nn.Module) -> None:
        super().__init__()
        self.obfuscator, self.server = obfuscator, server

    def forward(self, *tensors: Tensor) -> Tensor:
        return cast(Tensor, self.server(self.obfuscator.decode(*tensors)))


@dataclass(frozen=True)
class Defended:
    """A split with its fitted obfuscator: its edge gives z, its server takes the public view. `server_half` may fold
    `decode` into the server's first operator; `flags` name what a reader of its numbers must know
    (`privet.auditing.flags`)."""

    split: Split
    obfuscator: Obfuscator
    guarantee: Guarantee
    server_half: nn.Module
    log: dict[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    template: nn.Module | None = None  # the architecture that adversaries train afresh, where it is not the server's
    # the adversary that the defense was trained beside, by attribute: a baseline beside fresh ones, never among them
    cotrained: Mapping[str, nn.Module] = field(default_factory=dict)

    @classmethod
    def of(cls, split: Split, obfuscator: Obfuscator, why_no_guarantee: str, **log: Any) -> Defended:
        """The usual case: no promise, and the server decodes before it goes on."""
        return cls(split, obfuscator, Guarantee.none(why_no_guarantee), ServerHalf(obfuscator, split.server), log)

    @property
    def edge_half(self) -> EdgeHalf:
        """What ships to the edge."""
        return EdgeHalf(self.split.edge, self.obfuscator)

    @property
    def payload_bytes(self) -> int:
        """Bytes that travel for one example sent alone."""
        return frame_bytes(self.obfuscator.signature)

    @property
    def stochastic(self) -> bool:
        """Whether two payloads of one example may differ."""
        return bool(self.obfuscator.noise)

    def to(self, device: torch.device | str) -> Defended:
        """The same halves, moved in place."""
        halves = (self.split.edge, self.split.server, self.obfuscator, self.server_half, self.template)
        for module in (*halves, *self.cotrained.values()):
            if module is not None:
                module.to(device)
        return self

    def draw(self, batch: int, generator: np.random.Generator) -> tuple[Array, ...]:
        """Noise for a batch, in the order in which the obfuscator declares it."""
        return tuple(noise.draw(batch, generator) for noise in self.obfuscator.noise)

    def encode(self, x: Tensor, noise: Sequence[Array] = ()) -> Payload:
        """x [B, *input] in [0, 1] -> the payload that travels."""
        with torch.no_grad():
            return self.pack(cast(Tensor, self.split.edge.eval()(x)), noise)

    @torch.no_grad()
    def pack(self, z: Tensor, noise: Sequence[Array] = ()) -> Payload:
        """z [B, *shape], the edge's output -> the payload that travels."""
        drawn = (torch.as_tensor(n, device=z.device) for n in noise)
        tensors = self.obfuscator.eval().encode(z, *drawn)
        named = {f.name: t.float().cpu().numpy() for f, t in zip(self.obfuscator.signature, tensors, strict=True)}
        return Payload.pack(self.obfuscator.signature, named)

    def tensors(self, payload: Payload, device: torch.device | str = "cpu") -> tuple[Tensor, ...]:
        """The payload's fields as float tensors, in the signature's order."""
        return tuple(torch.from_numpy(v).to(device) for v in payload.floats().values())

    @torch.no_grad()
    def decode(self, payload: Payload, device: torch.device | str = "cpu") -> Tensor:
        """The public view z' [B, *shape]."""
        return self.obfuscator.eval().decode(*self.tensors(payload, device))

    @torch.no_grad()
    def server(self, payload: Payload, device: torch.device | str = "cpu") -> Tensor:
        """Logits [B, K] of the server half that ships."""
        return cast(Tensor, self.server_half.eval()(*self.tensors(payload, device)))


class Defense(Protocol):
    """A frozen dataclass of a paper's hyperparameters. `summary` is its line in lists. `adaptive` is its card for
    adaptive attacks: what in it could fool ours. `answered_by` names what of the portfolio is not fooled: attacks,
    threats (`repeated`), or `mask`, the attack on which values came."""

    summary: ClassVar[str]
    adaptive: ClassVar[str]
    answered_by: ClassVar[tuple[str, ...]]

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Learn on the task parts of the corpus alone; the split given is not changed."""


class EmittingEdge(nn.Module):
    """An edge that already obfuscates, drawing its own noise: what the second defense of a chain is fitted on."""

    def __init__(self, edge: nn.Module, obfuscator: Obfuscator, seed: int) -> None:
        super().__init__()
        self.emits_noise = bool(obfuscator.noise)
        self.edge, self.obfuscator = edge, obfuscator
        self.generator = np.random.default_rng(seed)

    def forward(self, x: Tensor) -> Tensor:
        z = self.edge(x)
        drawn = (torch.as_tensor(n.draw(len(x), self.generator), device=x.device) for n in self.obfuscator.noise)
        return cast(Tensor, self.obfuscator(z, *drawn))


class ChainedObfuscator(Obfuscator):
    """z -> z' through the first, packed by the second."""

    def __init__(self, first: Obfuscator, last: Obfuscator) -> None:
        super().__init__()
        self.first, self.last = first, last
        self.signature, self.takes = last.signature, first.takes or last.takes
        self.noise = tuple(
            Noise(f"{n.name}_{i}", n.shape, n.law, n.per) for i, o in enumerate((first, last)) for n in o.noise
        )

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        drawn = len(self.first.noise)
        return self.last.encode(self.first(z, *noise[:drawn]), *noise[drawn:])

    def decode(self, *tensors: Tensor) -> Tensor:
        return self.last.decode(*tensors)

    def came(self, *tensors: Tensor) -> Tensor | None:
        return self.last.came(*tensors)

    def match(self, z: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """What the first link makes of z on average stands before the last one."""
        generator, emitted = np.random.default_rng(0), []
        for _ in range(EXPECTED if self.first.noise else 1):
            drawn = [n.draw(len(z), generator) for n in self.first.noise]
            mirrored = [2 * n.middle - values for n, values in zip(self.first.noise, drawn, strict=True)]
            for noise in (drawn, mirrored) if drawn else ((),):  # whatever enters linearly cancels
                emitted.append(self.first(z, *(torch.as_tensor(values, device=z.device) for values in noise)))
        return self.last.match(torch.stack(emitted).mean(0), *tensors)


@dataclass(frozen=True)
class Chain:
    """Several defenses in order: each is fitted on what the previous one emits, and only the last one packs."""

    summary: ClassVar[str] = "several defenses in order; only the last one packs"
    adaptive: ClassVar[str] = "the attack that answers each link; the portfolio sees only what the last link sends"
    answered_by: ClassVar[tuple[str, ...]] = ("informed_probe", "server_probe", "decoder")
    defenses: tuple[Defense, ...]

    def __post_init__(self) -> None:
        if len(self.defenses) < 2:
            raise SpecError(f"a chain has at least two defenses, got {len(self.defenses)}")
        for link in self.defenses[:-1]:
            if getattr(link, "moves_cut", False):
                raise SpecError(f"{registry.method_name(link)!r} moves the cut, so nothing can follow it; put it last")
        for link in self.defenses[1:]:
            if getattr(link, "moves_cut", False):
                raise SpecError(f"{registry.method_name(link)!r} replaces the edge half, so it cannot follow another")
            if getattr(link, "trains_edge", False):
                raise SpecError(f"{registry.method_name(link)!r} trains the edge half; make it the chain's first")

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Fit the links in order. A chain promises nothing: a link's promise may rest on what stood before it."""
        done = self.defenses[0].fit(split, corpus, effort=effort, seed=seed, progress=progress)
        logs = [done.log]
        for index, defense in enumerate(self.defenses[1:], start=1):
            emitting = EmittingEdge(done.split.edge, done.obfuscator, seed + index)
            inner = replace(done.split, edge=emitting)
            last = defense.fit(inner, corpus, effort=effort, seed=seed + index, progress=progress)
            done = _flatten(last)
            logs.append(done.log)
        why = "a chain promises nothing; what it hides is measured by attack"
        return replace(done, guarantee=Guarantee.none(why), log={"links": logs}, cotrained={})


def parse(text: str) -> Defense:
    """Build the defense that `name:option=value,...` describes; `+` chains several."""
    links = [registry.parse(FOLDER, part) for part in re.split(r"\+(?=\s*[A-Za-z_])", text)]
    return cast(Defense, links[0] if len(links) == 1 else Chain(tuple(links)))


def check(defense: Defense, split: Split) -> None:
    """Let a defense refuse a split before any time is spent, where it can tell: its optional method `check(split)`."""
    for link in defense.defenses if isinstance(defense, Chain) else (defense,):
        refuse = getattr(link, "check", None)
        if refuse is not None:
            refuse(split)


def spell(defense: Defense) -> str:
    """The shortest text that `parse` turns into this defense."""
    links = defense.defenses if isinstance(defense, Chain) else (defense,)
    return "+".join(registry.spell(link) for link in links)


def _flatten(last: Defended) -> Defended:
    """Take the emitting edge apart again: the plain edge in front, both obfuscators behind it."""
    emitting = last.split.edge
    if not isinstance(emitting, EmittingEdge):
        raise SpecError("the last link of this chain replaces the whole edge, so it cannot follow another defense")
    obfuscator = ChainedObfuscator(emitting.obfuscator, last.obfuscator)
    return replace(last, split=replace(last.split, edge=emitting.edge), obfuscator=obfuscator)
