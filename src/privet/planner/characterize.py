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
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from privet import run, workers
from privet.data.corpus import Corpus
from privet.planner import table
from privet.planner.grid import Grid, drawn, layers
from privet.planner.measuring import BOTH, Public, code, measure, pairs
from privet.planner.surrogate import Pairs
from privet.planner.table import Row, Table
from privet.pretrained.pool import Source
from privet.setting import Report, file_of
from privet.train import inputs, one_thread

ROOM = 1 << 30  # bytes of maps that are held for one layer
FILE = "tables.parquet"
NEITHER = frozenset[str]()
WORTH = 2e7  # pixels that networks are to see before other processes are started: they take seconds


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


def _identity(one: Asked, public: Public, grid: Grid, seed: int, device: str) -> str:
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
            "code": [file_of(Asked), *code()],
        }
        | kept,
        {},
    )
