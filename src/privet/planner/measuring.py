"""What an extractor gives and leaks, on public people: a classification and a reconstruction network are trained on the
representations of some, stopped early by others and judged on a third part, beside the closed-form surrogates (Li et
al. 2017, "PrivyNet", section 2, equations 2 and 5)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from privet import metrics
from privet.attack import View
from privet.attacks.irn import Irn
from privet.auditing import battery
from privet.auditing.battery import Material
from privet.data.corpus import Corpus, Part
from privet.errors import DataError
from privet.planner import surrogate
from privet.planner.grid import Grid
from privet.planner.icn import Icn
from privet.planner.surrogate import Pairs
from privet.planner.table import Row
from privet.pretrained.layers import Chain
from privet.setting import file_of
from privet.train import Effort, inputs, some

FEWEST_HELD = 400  # public people of aux_val, of whom half choose the epoch and half are judged on
LARGEST = 65504.0  # of a float16
AT_ONCE = 32  # pictures that stay in the caches
BOTH = frozenset({"irn", "icn"})


def code() -> list[str | None]:
    """The hashes of the files that decide what is measured: what other code measured is measured again."""
    return [file_of(c) for c in (Grid, Public, Irn, Icn, surrogate.psnr, battery.run, Chain)]


@dataclass(frozen=True)
class Public:
    """Public people in three roles, as tensors."""

    train: Part
    val: Part
    test: Part
    digest: str
    classes: int

    @classmethod
    def of(cls, corpus: Corpus, pictures: int | None = None) -> Public:
        """aux_train (at most so many pictures), and aux_val in halves that share no group. DataError where they do not
        carry the target."""
        train, held = (_asked(corpus.parts[role], corpus.target) for role in ("aux_train", "aux_val"))
        train = train.take(np.random.default_rng(5).permutation(len(train)))  # files are often sorted by class
        if pictures is not None:
            train, held = (
                train.take(np.arange(min(pictures, len(train)))),
                held.take(some(np.arange(len(held)), max(FEWEST_HELD, pictures // 2), 0)),
            )
        first = np.isin(held.groups, np.unique(held.groups)[::2])
        if min(first.sum(), (~first).sum()) < 2:
            raise DataError(f"{len(held)} public people of the part aux_val are too few to stop by and to judge on")
        return cls(train, held.take(first), held.take(~first), corpus.digest, corpus.n_classes(corpus.target))

    @property
    def parts(self) -> tuple[Part, Part, Part]:
        return self.train, self.val, self.test


def measure(
    row: Row, seen: Sequence[Pairs], classes: int, grid: Grid, seed: int, device: str, networks: frozenset[str] = BOTH
) -> Row:
    """Fill a row in: the surrogates, and what an IRN, an ICN or both reach that were trained for it, on what people of
    train, val and test became behind the extractor."""
    started = time.monotonic()
    train, val, test = seen
    row = replace(
        row, linear_psnr=surrogate.psnr(train, val, test), linear_accuracy=surrogate.accuracy(train, val, test)
    )
    if "irn" in networks:
        db = reconstruct(grid.irn, train, val, test, grid.effort, seed, device)
        row = replace(row, psnr=float(db.mean()), spread=float(db.std()))
    if "icn" in networks:
        correct = classify(train, val, test, classes, grid.effort, seed, device)
        row = replace(row, accuracy=float(correct.mean()))
    return replace(row, seconds=time.monotonic() - started)


@torch.no_grad()
def pairs(head: nn.Module, part: Part, device: str = "cpu") -> Pairs:
    """What people's pictures become behind an extractor, as float16 carries it. Channels stand last on the way, which
    takes half the time."""
    x = inputs(part.x)
    if x.dim() == 4:
        head = head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    z = []
    for rows in torch.split(x, AT_ONCE):
        last = rows.to(device)
        last = last.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else last
        z.append(head(last).clamp(-LARGEST, LARGEST).half().float().cpu().contiguous())
    return Pairs(torch.cat(z), x, torch.from_numpy(part.y))


def reconstruct(
    irn: Irn, train: Pairs, val: Pairs, test: Pairs, effort: Effort, seed: int, device: str
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """PSNR in dB of each picture of test, redrawn by a reconstruction network that saw train."""
    drawn_of = redrawn(irn, train, val, test, effort, seed, device)
    return metrics.psnr(test.x.numpy(), drawn_of.numpy(), data_range=1.0)


def redrawn(irn: Irn, train: Pairs, val: Pairs, test: Pairs, effort: Effort, seed: int, device: str) -> Tensor:
    """The pictures of test as a reconstruction network draws them that saw train."""
    known = Material([view(train.z)], train.x, view(val.z), val.x, tuple(train.x.shape[1:]))
    return battery.run(irn, known, view(test.z), effort=effort, seed=seed, device=device).victims


def classify(
    train: Pairs, val: Pairs, test: Pairs, classes: int, effort: Effort, seed: int, device: str
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Who of test is told right by a classification network that saw train."""
    known = Material([view(train.z)], train.y, view(val.z), val.y, (classes,))
    made = battery.run(Icn(), known, view(test.z), effort=effort, seed=seed, device=device)
    return np.asarray((made.victims.argmax(1) == test.y).numpy())


def view(z: Tensor) -> View:
    """What an adversary sees who knows neither the extractor nor the server."""
    return View(z.flatten(1), z)


def _asked(part: Part, target: str) -> Part:
    rows = np.flatnonzero(part.y >= 0)
    if len(np.unique(part.y[rows])) < 2:
        raise DataError(
            f"{len(rows)} of {len(part)} public people carry the target {target!r}, of {len(np.unique(part.y[rows]))} "
            "classes; label more of them"
        )
    return part.take(rows)
