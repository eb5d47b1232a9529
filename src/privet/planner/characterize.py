"""Characterize: what the first m layers of a pretrained network give and leak, on public people, before anybody's
private data is touched (Li et al. 2017, "PrivyNet", sections 2 and 3.2).

For every layer m, depth D' and draw of D' random channels F: a classification network is trained on (z_F, y) and a
reconstruction network on (z_F, x), both on aux_train, each stopped early on half of aux_val and judged on the other
half. Neither knows the extractor. Every row is kept as soon as it is measured, and found again.

Deviations: the networks of the battery's presets (`attacks/irn.py`, `planner/icn.py`); representations travel as
float16; `quick` trains networks for one draw of each layer and depth and lets the linear surrogate speak for the
others, where it was measured to rank as networks do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from privet import metrics, run, workers
from privet.attack import View
from privet.attacks.irn import Irn
from privet.auditing import battery
from privet.auditing.battery import Material
from privet.data.corpus import Corpus, Part
from privet.errors import DataError, SpecError, unknown
from privet.planner import icn, surrogate, table
from privet.planner.icn import Icn
from privet.planner.surrogate import Pairs
from privet.planner.table import Row, Table
from privet.pretrained.pool import Source
from privet.setting import Report, file_of
from privet.train import Effort, inputs, one_thread, some

FEWEST_HELD = 400  # public people of aux_val, of whom half choose the epoch and half are judged on
LARGEST = 65504.0  # of a float16
LEAST_SIDE = 4  # places by side below which a map is not characterized
AT_ONCE = 32  # pictures that stay in the caches
ROOM = 1 << 30  # bytes of maps that are held for one layer
FILE = "tables.parquet"
BOTH, NEITHER = frozenset({"irn", "icn"}), frozenset[str]()
WORTH = 2e7  # pixels that networks are to see before other processes are started: they take seconds


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


@dataclass(frozen=True)
class Asked:
    """An extractor to measure: some channels of a layer, with all inner filters or those of `kept` (layer -> filters);
    which networks are trained for it: the surrogate alone speaks of the rest."""

    source: Source
    layer: int
    channels: tuple[int, ...]
    draw: int = 0
    networks: frozenset[str] = BOTH
    kept: Mapping[int, Sequence[int]] = field(default_factory=dict)

    def head(self) -> nn.Sequential:
        """The extractor itself, with sliced weights."""
        kept = {layer: torch.tensor(filters) for layer, filters in self.kept.items()}
        return self.source.chain.head(self.layer, torch.tensor(self.channels), kept)

    def row(self, identity: str, pictures: int) -> Row:
        """What the table says of it before anything was measured."""
        name, inner = self.source.layers[self.layer - 1], tuple(len(f) for f in self.kept.values())
        return Row(
            identity, self.source.name, self.layer, name, len(self.channels), self.draw, self.channels, 0.0, 0.0,
            inner=inner, pictures=pictures,
        )  # fmt: skip

    def __str__(self) -> str:
        return f"{self.source.name}, layer {self.layer}, {len(self.channels)} channels, draw {self.draw + 1}"


def characterize(
    sources: Sequence[Source],
    corpus: Corpus,
    grid: Grid,
    out: Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    jobs: int = 1,
    report: Report = None,
) -> Table:
    """Measure every cell of the grid that is not in `out` yet; returns all that was asked for.

    Raises SpecError where a source has no layer that the grid names, DataError where the public people do not serve,
    RunError for the folder."""
    asked = [
        Asked(source, m, tuple(drawn(source, m, depth, draw, seed)), draw, BOTH if draw < grid.networks else NEITHER)
        for source in sources
        for m in layers(source, grid, corpus.shape)
        for depth in grid.depths
        if depth <= source.chain.channels(m)
        for draw in range(grid.draws)
    ]
    public = Public.of(corpus, grid.pictures)
    return measured(asked, public, grid, out, seed=seed, device=device, jobs=jobs, report=report)


def measured(
    asked: Sequence[Asked], public: Public, grid: Grid, out: Path, *, seed: int = 0, device: str = "cpu", jobs: int = 1,
    report: Report = None,
) -> Table:  # fmt: skip
    """A row for everything that is asked for: found in `out`, or measured and kept there, each as soon as it is known.

    jobs: so many processes (0: one a core), where there is enough to do for them; rows are the same."""
    path = out / FILE
    known = {row.identity: row for row in table.read(path).rows} if path.is_file() else {}
    names = [_identity(one, public, grid, seed, device) for one in asked]
    missing = {name: one for name, one in zip(names, asked, strict=True) if name not in known}
    done = len(asked) - len(missing)
    if report:
        report("characterizing", done, len(asked))
    with contextlib.closing(_rows(missing, public, grid, seed, device, jobs)) as rows:
        for row in rows:
            known[row.identity] = row
            table.write(Table(tuple(known.values())), path)
            done += 1
            if report:
                report(f"characterizing: {missing[row.identity]}", done, len(asked))
    if report:
        report("characterized", len(asked), len(asked))
    return Table(tuple(known[name] for name in names))


def _rows(
    missing: Mapping[str, Asked], public: Public, grid: Grid, seed: int, device: str, jobs: int
) -> Generator[Row]:
    """The rows, in whatever order they are ready."""
    pixels = sum(bool(one.networks) for one in missing.values()) * grid.epochs * public.train.x.size
    count = min(workers.wanted(jobs), len(missing)) if pixels >= WORTH and device == "cpu" else 1
    if count <= 1:
        worker = _Worker(public, grid, seed, device)
        for name, one in missing.items():
            yield worker(name, one)
        return
    with workers.pool(count, _begin, missing, public, grid, seed, device) as pool:
        with workers.deaf():
            waiting = [pool.submit(_in_worker, name) for name in missing]
        for future in as_completed(waiting):
            yield future.result()


class _Worker:
    """Measures one extractor after the other. Maps of a layer with all of its channels are kept for those that take
    some of them: most of a row's time goes into the layers in front."""

    def __init__(self, public: Public, grid: Grid, seed: int, device: str) -> None:
        self.public, self.grid, self.seed, self.device = public, grid, seed, device
        self.layer: tuple[str, int] = ("", 0)
        self.whole: tuple[Pairs, ...] = ()

    def __call__(self, name: str, one: Asked) -> Row:
        public, grid = self.public, self.grid
        with one_thread():
            row = one.row(name, len(public.train))
            return measure(row, self.seen(one), public.classes, grid, self.seed, self.device, one.networks)

    def seen(self, one: Asked) -> tuple[Pairs, ...]:
        """What the public people become behind an extractor."""
        if one.kept or self._bytes(one) > ROOM:
            return tuple(pairs(one.head().to(self.device), part, self.device) for part in self.public.parts)
        if self.layer != (one.source.name, one.layer):
            head = one.source.chain.head(one.layer).to(self.device)
            made = (pairs(head, part, self.device) for part in self.public.parts)
            self.whole = tuple(replace(part, z=part.z.half()) for part in made)
            self.layer = one.source.name, one.layer
        return tuple(replace(part, z=part.z[:, list(one.channels)].float()) for part in self.whole)

    def _bytes(self, one: Asked) -> int:
        """Of the maps of everybody, as float16."""
        with torch.no_grad():
            values = int(one.source.chain.head(one.layer)(inputs(self.public.train.x[:1])).numel())
        return 2 * values * sum(len(part) for part in self.public.parts)


_here: list[tuple[_Worker, Mapping[str, Asked]]] = []  # of this process, where it is one of several


def _begin(missing: Mapping[str, Asked], public: Public, grid: Grid, seed: int, device: str) -> None:
    _here[:] = [(_Worker(public, grid, seed, device), missing)]


def _in_worker(name: str) -> Row:
    worker, missing = _here[0]
    return worker(name, missing[name])


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


def _places(source: Source, m: int, shape: tuple[int, ...]) -> int:
    """Places by side of a map; of a flat representation as many as are needed."""
    try:
        with torch.no_grad():
            z = source.chain.head(m, torch.tensor([0]))(torch.zeros(1, *shape))
    except RuntimeError:  # pictures too small for this layer
        return 0
    return min(z.shape[2:]) if z.dim() == 4 else LEAST_SIDE


def _asked(part: Part, target: str) -> Part:
    rows = np.flatnonzero(part.y >= 0)
    if len(np.unique(part.y[rows])) < 2:
        raise DataError(
            f"{len(rows)} of {len(part)} public people carry the target {target!r}, of {len(np.unique(part.y[rows]))} "
            "classes; label more of them"
        )
    return part.take(rows)


def _identity(one: Asked, public: Public, grid: Grid, seed: int, device: str) -> str:
    code: list[Callable[..., object]] = [Grid, Irn, Icn, icn.network, surrogate.psnr, battery.run]
    kept = {"kept": {str(k): list(v) for k, v in one.kept.items()}} if one.kept else {}
    return run.name_of(
        {
            "source": one.source.identity,
            "layer": one.layer,
            "channels": list(one.channels),
            "public": [public.digest, len(public.train), len(public.val), len(public.test)],
            "epochs": grid.epochs if one.networks else 0,
            "networks": sorted(one.networks),
            "irn": repr(grid.irn) if one.networks else "",
            "seed": seed,
            "device": device,
            "code": [file_of(c) for c in code],
        }
        | kept,
        {},
    )
