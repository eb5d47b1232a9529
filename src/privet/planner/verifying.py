"""Verification: what decoders that had no part in the choice draw of an extractor's features, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from privet.attack import Probe
from privet.attacks.decoder import Decoder
from privet.auditing import battery, floors
from privet.auditing.battery import Material
from privet.auditing.estimate import Estimate, estimate, weights
from privet.data.corpus import Corpus, Part
from privet.metrics import psnr
from privet.payload import Array
from privet.planner import device as devices
from privet.planner import surrogate
from privet.planner.choosing import Candidate
from privet.planner.device import Device
from privet.planner.grid import Grid
from privet.planner.measuring import Public, pairs, view
from privet.planner.surrogate import Pairs
from privet.train import Effort, Progress, some

SHOWN = 8
HELD, ASKED = 200, 16  # people whom attacks that know the extractor choose on, and whom they are asked about
VERIFYING = 7919  # seed of the decoders that verify; the client's own seed is for what has to be secret
LARGE = 64  # places of a map beyond which PrivyNet's network takes long


@dataclass(frozen=True)
class Begun:
    """Where attacks begin that know the extractor: what the best decoder (`by`) that does not know it drew of public
    people who had no part in it, `val` [N, ...] of `held`, and of some of the owner's, `drawn` [M, ...] of `asked`."""

    by: str
    held: Part
    asked: Part
    val: torch.Tensor
    drawn: torch.Tensor


@dataclass(frozen=True)
class Verified:
    """What was measured of the extractor that was chosen: `owner` and `victims` are PSNR in dB of the best of three
    fresh decoders (`by`); `floor` is that of the mean picture. `accuracy` is what a linear classifier that learned from
    public people says of the owner's held-out ones, None where these carry no label, `majority` the share of their
    most frequent class: a first look at what the cloud may learn. Decoders learned from `public` people, for so many
    `epochs` at most; from more of both they may draw more."""

    owner: Estimate
    victims: Estimate
    floor: Estimate
    accuracy: Estimate | None
    majority: float
    by: str
    ms: float
    ms_here: bool
    bytes: int
    macs: int
    payload_bytes: int
    public: int
    epochs: int
    pictures: tuple[Array, Array] | None = field(default=None, repr=False)  # of the owner, and what was drawn of them
    begun: Begun | None = field(default=None, repr=False, compare=False)

    def told(self) -> dict[str, float]:
        """What is held against limits: never the victims' figure."""
        return {"psnr": self.owner.mean, "ms": self.ms, "bytes": self.bytes}


def verify(
    head: torch.nn.Module,
    corpus: Corpus,
    where: Device,
    choice: Candidate,
    grid: Grid,
    device: str = "cpu",
    progress: Progress = None,
) -> Verified:
    """Three fresh decoders learn to reconstruct public people, and the best one on aux_val draws the owner's held-out
    people and the victims. Milliseconds are measured where the device is this one."""
    macs, size = devices.weighed(head, corpus.shape)
    ms = devices.milliseconds(head, corpus.shape) if where.here else where.ms(choice.source, choice.layer, macs)
    public = Public.of(corpus, None if grid.pictures is None else 2 * grid.pictures)
    judged = [_some(corpus.parts[role], grid) for role in ("task_val", "victim")]
    train, val, others, redrawn, begun = _drawn(head.to(device), corpus, public, judged, grid, device, progress)
    owner, victims = (
        _estimate(psnr(o.x.numpy(), d.numpy(), data_range=1.0), part)
        for o, d, part in zip(others, redrawn, judged, strict=True)
    )
    mean = floors.mean_image(train.x, len(others[1].x))
    floor = _estimate(psnr(others[1].x.numpy(), mean.numpy(), data_range=1.0), judged[1])
    sent = devices.shipped(head.cpu(), corpus.shape).payload_bytes
    shown = _bytes(others[0].x[:SHOWN]), _bytes(redrawn[0][:SHOWN])
    pictures = shown if len(corpus.shape) == 3 else None
    told, most = _useful(train, val, others[0], judged[0])
    return Verified(
        owner, victims, floor, told, most, begun.by, ms, where.here, size, macs, sent, len(train.x),
        _effort(grid).decoder_epochs, pictures, begun,
    )  # fmt: skip


def begin(head: torch.nn.Module, corpus: Corpus, grid: Grid, device: str = "cpu", progress: Progress = None) -> Begun:
    """What a verification hands on to attacks that know the extractor, of an extractor that nobody verifies."""
    public = Public.of(corpus, None if grid.pictures is None else 2 * grid.pictures)
    return _drawn(head.to(device), corpus, public, [], grid, device, progress)[-1]


def _drawn(
    head: torch.nn.Module,
    corpus: Corpus,
    public: Public,
    judged: list[Part],
    grid: Grid,
    device: str,
    progress: Progress = None,
) -> tuple[Pairs, Pairs, list[Pairs], list[torch.Tensor], Begun]:
    """What decoders learned from and stopped by, what they were asked, and what the best of them drew: of those who are
    judged, and of those with whom other attacks begin."""
    held, asked = _at_most(public.test, HELD), _at_most(corpus.parts["task_val"], ASKED)
    train, val = pairs(head, public.train, device), pairs(head, public.val, device)
    others = [pairs(head, part, device) for part in (*judged, held, asked)]
    by, everything = _redrawn(train, val, torch.cat([one.z for one in others]), grid, device, progress)
    *redrawn, at_held, at_asked = torch.split(everything, [len(one.z) for one in others])
    return train, val, others[: len(judged)], redrawn, Begun(by, held, asked, at_held.clamp(0, 1), at_asked.clamp(0, 1))


def _useful(train: Pairs, val: Pairs, seen: Pairs, part: Part) -> tuple[Estimate | None, float]:
    rows = np.flatnonzero(part.y >= 0)
    if not len(rows):
        return None, 0.0
    right = surrogate.correct(train, val, Pairs(seen.z[rows], seen.x[rows], seen.y[rows])).numpy()
    most = float(np.bincount(part.y[rows]).max() / len(rows))
    return _estimate(right.astype(np.float64), part.take(rows), (0, 1)), most


def _redrawn(
    train: Pairs, val: Pairs, seen: torch.Tensor, grid: Grid, device: str, progress: Progress = None
) -> tuple[str, torch.Tensor]:
    """What is drawn of `seen` by the one of three that is best on val, each fresh: PrivyNet's network, the decoder of
    the audits, and the linear decoder. Of large maps the network sees half of the people: it takes long there."""
    places = train.z[0, 0].numel() if train.z.dim() == 4 else 1
    fewer = len(train.z) if places <= LARGE or grid.pictures is None else grid.pictures
    known = Material([view(train.z)], train.x, view(val.z), val.x, tuple(train.x.shape[1:]))
    less = replace(known, train=[view(train.z[:fewer])], known=train.x[:fewer])
    effort = _effort(grid)
    found: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    learning: list[tuple[str, Probe, Material]] = [("irn", grid.irn, less), ("decoder", Decoder(), known)]
    for number, (name, attack, material) in enumerate(learning):
        made = battery.run(
            attack, material, view(seen), effort=effort, seed=VERIFYING, device=device,
            progress=_among(progress, number, len(learning)),
        )  # fmt: skip
        found[name] = made.val, made.victims
    line = surrogate.decoder(train, val)
    found["linear_decoder"] = line(val.z), line(seen)
    best = max(found, key=lambda name: float(psnr(val.x.numpy(), found[name][0].numpy(), data_range=1.0).mean()))
    return best, found[best][1]


def _among(progress: Progress, number: int, count: int) -> Progress:
    """The progress of one of several in that of all."""
    return (lambda done, total: progress(number * total + done, count * total)) if progress else None


def _effort(grid: Grid) -> Effort:
    return replace(grid.effort, decoder_epochs=2 * grid.epochs)


def _bytes(pictures: torch.Tensor) -> Array:
    made: Array = pictures.clamp(0, 1).mul(255).round().byte().numpy()
    return made


def _some(part: Part, grid: Grid) -> Part:
    return _at_most(part, max(400, (grid.pictures or len(part)) // 2))


def _at_most(part: Part, most: int) -> Part:
    return part.take(some(np.arange(len(part)), most, 0))


def _estimate(values: Array, part: Part, bounds: tuple[float, float] | None = None) -> Estimate:
    drawn = weights(part.groups, 400, seed=0)
    return estimate([drawn @ values / drawn.sum(1)], len(part), bounds, len(np.unique(part.groups)))
