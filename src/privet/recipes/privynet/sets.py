"""What is measured, on which people, how thoroughly."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from privet import run
from privet.auditing import audit
from privet.data.corpus import Corpus, Part
from privet.planner import find, fisher, own
from privet.planner.characterize import Asked, measured
from privet.planner.choosing import Limits
from privet.planner.grid import Grid, drawn, layers
from privet.planner.identify import Lookup, anonymity
from privet.planner.known import known as white_box
from privet.planner.measuring import BOTH, Public
from privet.planner.pruning import BATCH, met, survivors
from privet.planner.table import Table
from privet.planner.verifying import begin
from privet.pretrained import pool
from privet.pretrained.layers import Chain
from privet.pretrained.pool import Source
from privet.recipes import claims
from privet.recipes.claims import Where
from privet.recipes.commitment import MEASURED
from privet.recipes.measurement import Finding, Measurement, remembered
from privet.recipes.privynet import costs, panels
from privet.recipes.privynet.estimates import leaking
from privet.recipes.privynet.sizes import GUESSED, GUESSES, HALF, OTHER_SIDE, OTHER_TARGET, SHARES, SIZES, Size
from privet.schedule import Source as People
from privet.setting import Report, file_of
from privet.train import inputs, one_thread

IRN, ICN = frozenset({"irn"}), frozenset({"icn"})
SEED = 1


@dataclass(frozen=True)
class Width:
    """Extractors with these shares of the filters of each inner layer: what networks make of them, what one of them
    costs (milliseconds several times), and the rate of channels that ten pictures name, for each draw."""

    shares: tuple[float, ...]
    table: Table
    macs: int
    ms: list[float]
    rates: list[float]


class Single(NamedTuple):
    """Channels alone of a layer that has so many: what reconstruction networks drew of some, what classification
    networks told of some, on how many people."""

    redrawn: Table
    named: Table
    channels: int
    judged: int


class Bench:
    """A data set with its pretrained network, both opened when they are first asked for."""

    def __init__(self, size: Size, data: str, target: str, where: Where, resize: str | None = None) -> None:
        self.size, self.where = size, where
        self.people = People(where.place(data), target, resize=resize)
        self.out = Path(where.out) / MEASURED

    @cached_property
    def corpus(self) -> Corpus:
        return find.people(self.people)

    @cached_property
    def source(self) -> Source:
        run.ensure(self.out)
        question = find.Question(self.people, Limits(psnr=1.0), device=self.where.device)
        return find.networks(question, self.corpus, self.out)[0][0]

    @cached_property
    def pool(self) -> list[Source]:
        """All networks that an adversary has who takes part in the game: the source and its neighbours."""
        folder = Path(self.source.file).parent
        if own.is_own(self.source.name):
            return [self.source]
        others = [name for name in pool.names(folder) if name != self.source.name]
        return [self.source, *(pool.load(folder, name, self.corpus.shape) for name in others)]

    @property
    def layers(self) -> list[int]:
        """The layers of the grid."""
        return layers(self.source, self.size.grid(""), self.corpus.shape)

    @property
    def deep(self) -> int:
        """The deepest layer: the paper's pool2."""
        return self.layers[-1]

    @property
    def middle(self) -> int:
        """The layer of the grid before it: the paper's conv2_1."""
        return self.layers[-2]

    @property
    def depth(self) -> int:
        """The number of channels of experiments that keep it fixed."""
        return min(self.size.depth, self.source.chain.channels(self.deep) // 4)

    def public(self, pictures: int | None) -> Public:
        """So many public pictures (None: all)."""
        return Public.of(self.corpus, pictures)

    def table(self, asked: Sequence[Asked], public: Public, grid: Grid, report: Report) -> Table:
        """Rows of the recipe, kept in its folder."""
        where = self.where
        return measured(asked, public, grid, self.out, seed=SEED, device=where.device, jobs=where.jobs, report=report)

    def random(self, draws: int, networks: frozenset[str] = BOTH, depth: int = 0, layer: int = 0) -> list[Asked]:
        """So many random sets of channels of one layer."""
        m, count = layer or self.deep, depth or self.depth
        return [
            Asked(self.source, m, tuple(drawn(self.source, m, count, draw, SEED)), draw, networks)
            for draw in range(draws)
        ]

    def found(self, value: object, tables: Sequence[Table], facts: str, seeds: int = 1) -> Finding:
        """What was measured on this set."""
        seconds = sum(row.seconds for table in tables for row in table.rows)
        return Finding(self.corpus.name, value, tuple(range(1, seeds + 1)), seconds, facts)

    def grid(self, report: Report) -> Finding:
        """Figures 3 and 5: layers, depths and draws."""
        size = self.size
        asked = [
            one
            for m in self.layers
            for depth in size.depths
            if depth <= self.source.chain.channels(m)
            for one in self.random(size.draws, depth=depth, layer=m)
        ]
        public = self.public(size.pictures)
        table = self.table(asked, public, size.grid("grid"), report)
        return self.found(table, [table], f"{len(table.rows)} extractors; {_counted(public)}", size.draws)

    def apart(self) -> tuple[Public, Public]:
        """Public people for what decides about channels, and for judging what was decided: whom one judges on, the
        other has at most to stop networks by."""
        named, pictures = self.public(self.size.named[0]), self.public(self.size.pictures)
        first = replace(pictures, val=named.val, test=named.test, digest=f"{named.digest}/decides")
        return first, replace(first, val=named.test, test=named.val, digest=f"{named.digest}/judges")

    def single(self, report: Report) -> Finding:
        """Figure 4: every channel alone, of the middle and the deepest layer: {layer: Single}."""
        size, made = self.size, dict[int, Single]()
        public, fewer = self.public(size.named[0]), self.apart()[0]
        for m, redrawn in zip((self.middle, self.deep), size.redrawn, strict=True):
            channels = np.arange(self.source.chain.channels(m))
            some = np.random.default_rng([SEED, m]).permutation(channels)[:redrawn]
            named = channels if m == self.deep else some
            alone = [Asked(self.source, m, (int(c),), int(c), IRN) for c in np.sort(some)]
            drawn_of = self.table(alone, fewer, size.grid("single"), report)
            alone = [Asked(self.source, m, (int(c),), int(c), ICN) for c in np.sort(named)]
            grid = size.grid("single", size.named[0], size.named[1])
            made[m] = Single(drawn_of, self.table(alone, public, grid, report), len(channels), len(public.test))
        tables = [table for one in made.values() for table in (one.redrawn, one.named)]
        told = " and ".join(
            f"{len(one.named.rows)} channels of layer {m} ({len(one.redrawn.rows)} redrawn)" for m, one in made.items()
        )
        return self.found(made, tables, f"{told}; {_counted(public)} for the accuracy")

    def samples(self, report: Report) -> Finding:
        """Figure 7a: the same extractors against ever more public pictures: {pictures: table}. Networks may take as
        many steps on few as on many, so that what differs is what they have seen."""
        counts = [n for n in self.size.samples if n <= len(self.corpus.aux_train)]
        most = self.public(max(counts))
        made = {}
        for n in counts:
            public = replace(most, train=most.train.take(np.arange(n)))
            grid = self.size.grid("samples", n, round(self.size.epochs * max(counts) / n))
            made[n] = self.table(self.random(self.size.draws, IRN), public, grid, report)
        told = (
            f"{self.size.draws} extractors, {min(counts):,} to {max(counts):,} pictures to learn from, "
            f"{len(most.val):,} others to stop by"
        )
        return self.found(made, list(made.values()), told, self.size.draws)

    def halves(self, report: Report) -> Finding:
        """Figure 7b: the same extractors on pictures of either half of the classes."""
        size = self.size
        public = self.public(None if size.pictures is None else 2 * size.pictures)
        asked = [
            one
            for m in dict.fromkeys((self.layers[0], self.middle, self.deep))
            for depth in size.depths
            if depth <= self.source.chain.channels(m)
            for one in self.random(size.again, IRN, depth, m)
        ]
        tables = [self.table(asked, half, size.grid("halves"), report) for half in _halves(public)]
        told = f"{len(asked)} extractors on either half of {public.classes} classes"
        return self.found(tables, tables, told, size.again)

    def fisher(self, report: Report) -> Finding:
        """Figures 11 and 12: Fisher's criterion on ever more private people: {mini-batches: J [C]}."""
        head = self.source.chain.head(self.deep).to(self.where.device)
        most = max(b for b in self.size.batches if b * BATCH <= max(BATCH, len(self.corpus.task_train)))
        rows = np.random.default_rng(SEED).permutation(len(self.corpus.task_train))[: most * BATCH]
        made = {}
        for number, moments in enumerate(met(head, self.corpus.task_train.take(rows), self.where.device), start=1):
            if number in self.size.batches:
                made[number] = moments.criterion()[0].cpu().numpy()
            if report:
                report("Fisher's criterion", number, most)
        return self.found(made, [], f"layer {self.deep}, mini-batches of {BATCH} of the owner's people")

    def settings(self, report: Report) -> Finding:
        """Figure 13: channels at random; pruned by characterization; pruned by Fisher's criterion and by what single
        channels leak, judged on other people than single channels: [table, table, table]."""
        alone: Single = self.single(report).value[self.deep]
        leaks = torch.tensor(leaking(alone.redrawn, alone.named, "fresh"))
        worth = torch.tensor([row.accuracy or 0.0 for row in alone.named.rows], dtype=torch.float64)
        private = torch.tensor(list(self.fisher(None).value.values())[-1])
        everything = np.arange(len(worth))
        kept = [everything, *(survivors(score, leaks, self.depth)[0] for score in (worth, private))]
        public, made = self.apart()[1], []
        for number, channels in enumerate(kept):
            generator = np.random.default_rng([SEED, number, 13])
            sets = [generator.choice(channels, self.depth, replace=False) for _ in range(self.size.settings)]
            asked = [
                Asked(self.source, self.deep, tuple(sorted(int(c) for c in one)), draw) for draw, one in enumerate(sets)
            ]
            made.append(self.table(asked, public, self.size.grid("settings"), report))
        told = f"{self.size.settings} draws each of {self.depth} of {', '.join(str(len(k)) for k in kept)} channels"
        return self.found(made, made, f"{told}, layer {self.deep}; {_counted(public)}", self.size.settings)

    def widths(self, report: Report) -> Finding:
        """Figures 14 and 15: inner filters left out."""
        public, made = self.public(self.size.pictures), []
        inner = self.source.chain.inner(self.deep)
        for shares in dict.fromkeys(one[: len(inner)] for one in SHARES):
            asked = [self.narrow(one, shares) for one in self.random(self.size.widths)]
            table = self.table(asked, public, self.size.grid("widths"), report)
            macs, ms = self.cost(asked[0])
            rates = [self.guessed(one, (10,))[0]["rate"] for one in asked]
            made.append(Width(shares, table, macs, ms, rates))
        told = f"{len(made)} widths of {len(inner)} inner layers, {self.size.widths} draws each"
        return self.found(made, [one.table for one in made], f"{told}; {_counted(public)}", self.size.widths)

    def cost(self, one: Asked) -> tuple[int, list[float]]:
        """(multiply-accumulates, milliseconds several times) of an extractor."""
        identity = self.identity(one) | {"machine": platform.node()}
        found = remembered(self.out, "cost", identity, lambda: costs.of(one.head(), self.corpus.shape))
        return int(found[0]), [float(ms) for ms in found[1]]

    @cached_property
    def lookup(self) -> Lookup:
        """The maps that the pool makes of an adversary's own pictures."""
        with torch.no_grad():
            size = self.random(1)[0].head()(inputs(self.corpus.aux_train.x[:1])).shape[2:]
        return Lookup.of(self.pool, self.own_pictures, tuple(size))

    @property
    def own_pictures(self) -> torch.Tensor:
        """Pictures that an adversary may have released."""
        return inputs(self.corpus.aux_train.x[: max(GUESSES)])

    def narrow(self, one: Asked, shares: Sequence[float]) -> Asked:
        """The same extractor with a random share of the filters of each inner layer."""
        generator = np.random.default_rng([SEED, one.draw, 14])
        kept = {
            layer: sorted(int(f) for f in generator.choice(count, max(1, round(share * count)), replace=False))
            for (layer, count), share in zip(self.source.chain.inner(one.layer).items(), shares, strict=False)
            if share < 1
        }
        return replace(one, kept=kept)

    def guessed(self, one: Asked, counts: Sequence[int] = GUESSES) -> list[dict[str, Any]]:
        """What so many pictures of an adversary's own tell of an extractor of the deepest layer."""
        settings = self.identity(one) | {"counts": list(counts), "pool": sorted(s.name for s in self.pool)}

        def measure() -> list[dict[str, Any]]:
            found = anonymity(
                one.head(), one.source.name, one.layer, one.channels, self.own_pictures, self.pool, counts, self.lookup
            )
            return [asdict(each) for each in found]

        return cast(list[dict[str, Any]], remembered(self.out, "guess", settings, measure))

    def identity(self, one: Asked) -> dict[str, Any]:
        """What an extractor depends on."""
        return {
            "source": one.source.identity, "layer": one.layer,
            "channels": list(one.channels), "kept": {str(k): list(v) for k, v in one.kept.items()},
            "data": self.corpus.digest, "device": self.where.device, "seed": SEED,
            "code": [file_of(c) for c in (anonymity, white_box, begin, audit.attack, Chain, costs.blocks)],
        }  # fmt: skip

    def guesses(self, report: Report) -> Finding:
        """The attack that the paper lacks: {share of inner filters: guesses by number of pictures, for each draw}."""
        draws, made = max(GUESSED, self.size.widths), dict[float, list[list[dict[str, Any]]]]()
        for share in (1.0, 0.75, HALF, 0.25):
            made[share] = []
            for one in self.random(draws):
                if report:
                    report(f"guessing, {share:.0%} of the inner filters", len(made[share]), draws)
                made[share].append(self.guessed(self.narrow(one, [share] * len(self.source.layers))))
        told = (
            f"{len(self.pool)} networks, layer {self.deep}, {self.depth} channels, {len(self.own_pictures):,} pictures"
        )
        return self.found(made, [], told, draws)

    def known(self, report: Report) -> Finding:
        """What attacks draw that know the network, beside those that do not, on the same people: {layer: figures}."""
        made = {}
        for m in dict.fromkeys((self.layers[0], self.deep)):
            one = self.random(1, layer=m)[0]

            def measure(one: Asked = one) -> dict[str, Any]:
                with one_thread():
                    begun = begin(one.head(), self.corpus, self.size.grid("known"))
                    return asdict(white_box(one.head(), self.corpus, begun, seed=SEED, report=report))

            identity = self.identity(one) | {"grid": repr(self.size.grid("known"))}
            made[m] = remembered(self.out, "known", identity, measure)
        return self.found(made, [], f"layers {' and '.join(map(str, made))}, {self.depth} channels, sixteen people")

    def clusters(self, report: Report) -> Finding:
        """Figure 19: reconstruction networks of one, two and three clusters: {clusters: table}."""
        public = self.public(self.size.pictures)
        made = {
            n: self.table(
                self.random(self.size.widths, IRN), public,
                self.size.grid("clusters", irn=replace(self.size.irn, units=self.size.units, clusters=n)), report,
            )
            for n in (1, 2, 3)
        }  # fmt: skip
        told = f"{self.size.widths} extractors, clusters of {self.size.units} units; {_counted(public)}"
        return self.found(made, list(made.values()), told, self.size.widths)

    def panels(self, report: Report) -> Finding:
        """Figures 21 to 24: pictures, and what is drawn of them, for layers and depths."""
        asked = [
            self.random(1, IRN, depth, m)[0]
            for m in dict.fromkeys((self.layers[0], self.deep))
            for depth in self.size.depths
            if depth <= self.source.chain.channels(m)
        ]
        public = self.public(self.size.pictures)
        made = panels.drawn(asked, public, self.size.grid("panels"), self.out, SEED, self.where.device, report)
        return self.found(made, [], f"{len(asked)} extractors; {_counted(public)}")


def studies(grid: claims.Grid, where: Where) -> dict[str, Measurement]:
    """All that is measured, by data set and name."""
    size = SIZES[grid.name]
    scale = grid.seeds / claims.GRIDS[grid.name]
    counts = ("draws", "again", "settings", "widths")
    size = replace(size, **{k: max(2, round(scale * getattr(size, k))) for k in counts})
    bench = Bench(size, size.data, size.target, where)
    cost = {"quick": 0.01, "standard": 1.0, "full": 5000.0}[grid.name]
    asked: dict[str, tuple[str, Callable[[Report], Finding], float]] = {
        "grid": ("layers, depths and draws of channels", bench.grid, 1700.0),
        "single": ("every channel alone", bench.single, 2000.0),
        "samples": ("more and more public pictures", bench.samples, 600.0),
        "halves": ("either half of the classes", bench.halves, 1300.0),
        "fisher": ("Fisher's criterion of every channel", bench.fisher, 30.0),
        "settings": ("three ways to choose channels", bench.settings, 700.0),
        "widths": ("inner filters left out", bench.widths, 600.0),
        "clusters": ("reconstruction networks of one to three clusters", bench.clusters, 800.0),
        "guesses": ("guessing the network", bench.guesses, 60.0),
        "known": ("attacks that know the network", bench.known, 300.0),
        "panels": ("pictures and what is drawn of them", bench.panels, 200.0),
    }
    place = bench.people.data
    made = {
        f"{size.data}/{key}": Measurement(place, about, perform, cost * seconds)
        for key, (about, perform, seconds) in asked.items()
    }
    if size.other:
        other = Bench(replace(size, draws=size.again), size.other, OTHER_TARGET, where, OTHER_SIDE)
        made[f"{size.other}/grid"] = Measurement(other.people.data, asked["grid"][0], other.grid, cost * 1300)
    return made | {
        key: Measurement("", about, _cost(bench.out, key, measure), 30.0)
        for key, about, measure in (
            ("vgg16/cost", "a whole VGG-16 by block", costs.blocks),
            ("fisher/cost", "Fisher's criterion by people, channels and values", costs.exponents),
        )
    }


def _cost(out: Path, key: str, measure: Callable[[], Any]) -> Callable[[Report], Finding]:
    """A cost on this machine, measured once."""

    def perform(report: Report) -> Finding:
        if report:
            report("timing", 0, 1)
        code = [file_of(c) for c in (measure, fisher.criterion)]
        value = remembered(out, key.replace("/", "-"), {"machine": platform.node(), "code": code}, measure)
        return Finding("", value, (1,), 0.0, f"milliseconds on one thread of {platform.machine()}")

    return perform


def _halves(public: Public) -> list[Public]:
    """The pictures of either half of the classes, as many of each in training."""
    low = np.arange(public.classes) < public.classes // 2
    parts = [[_of(part, np.flatnonzero(half)) for part in public.parts] for half in (low, ~low)]
    fewest = min(len(train) for train, _, _ in parts)
    return [
        Public(train.take(np.arange(fewest)), val, test, f"{public.digest}/half {n}", public.classes)
        for n, (train, val, test) in enumerate(parts)
    ]


def _of(part: Part, classes: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Part:
    return part.take(np.flatnonzero(np.isin(part.y, classes)))


def _counted(public: Public) -> str:
    return f"{len(public.train):,} public pictures to learn from, {len(public.test):,} to judge on"
