"""What is measured of layers, depths and channels: tables of extractors."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from privet.data.corpus import Part
from privet.planner.characterize import Asked
from privet.planner.measuring import Public
from privet.planner.pruning import BATCH, met, survivors
from privet.planner.table import Table
from privet.recipes.measurement import Finding
from privet.recipes.privynet import panels
from privet.recipes.privynet.bench import ICN, IRN, SEED, Bench, counted
from privet.recipes.privynet.estimates import leaking
from privet.setting import Report, among


class Single(NamedTuple):
    """Channels alone of a layer that has so many: what reconstruction networks drew of some, what classification
    networks told of some, on how many people."""

    redrawn: Table
    named: Table
    channels: int
    judged: int


def grid(bench: Bench, report: Report) -> Finding:
    """Figures 3 and 5: layers, depths and draws."""
    size = bench.size
    asked = [
        one
        for m in bench.layers
        for depth in size.depths
        if depth <= bench.source.chain.channels(m)
        for one in bench.random(size.draws, depth=depth, layer=m)
    ]
    public = bench.public(size.pictures)
    table = bench.table(asked, public, size.grid("grid"), report)
    return bench.found(table, [table], f"{len(table.rows)} extractors; {counted(public)}", size.draws)


def apart(bench: Bench) -> tuple[Public, Public]:
    """Public people for what decides about channels, and for judging what was decided: whom one judges on, the
    other has at most to stop networks by."""
    named, pictures = bench.public(bench.size.named[0]), bench.public(bench.size.pictures)
    first = replace(pictures, val=named.val, test=named.test, digest=f"{named.digest}/decides")
    return first, replace(first, val=named.test, test=named.val, digest=f"{named.digest}/judges")


def single(bench: Bench, report: Report) -> Finding:
    """Figure 4: every channel alone, of the middle and the deepest layer: {layer: Single}."""
    size, made = bench.size, dict[int, Single]()
    public, fewer = bench.public(size.named[0]), apart(bench)[0]
    for number, (m, redrawn) in enumerate(zip((bench.middle, bench.deep), size.redrawn, strict=True)):
        draws, names = (among(report, 2 * number + i, 4) for i in (0, 1))
        channels = np.arange(bench.source.chain.channels(m))
        some = np.random.default_rng([SEED, m]).permutation(channels)[:redrawn]
        named = channels if m == bench.deep else some
        alone = [Asked(bench.source, m, (int(c),), int(c), IRN) for c in np.sort(some)]
        drawn_of = bench.table(alone, fewer, size.grid("single"), draws)
        alone = [Asked(bench.source, m, (int(c),), int(c), ICN) for c in np.sort(named)]
        grid = size.grid("single", size.named[0], size.named[1])
        made[m] = Single(drawn_of, bench.table(alone, public, grid, names), len(channels), len(public.test))
    tables = [table for one in made.values() for table in (one.redrawn, one.named)]
    told = " and ".join(
        f"{len(one.named.rows)} channels of layer {m} ({len(one.redrawn.rows)} redrawn)" for m, one in made.items()
    )
    return bench.found(made, tables, f"{told}; {counted(public)} for the accuracy")


def samples(bench: Bench, report: Report) -> Finding:
    """Figure 7a: the same extractors against ever more public pictures: {pictures: table}. Networks may take as
    many steps on few as on many, so that what differs is what they have seen."""
    counts = [n for n in bench.size.samples if n <= len(bench.corpus.aux_train)]
    most = bench.public(max(counts))
    made = {}
    for number, n in enumerate(counts):
        public = replace(most, train=most.train.take(np.arange(n)))
        grid = bench.size.grid("samples", n, round(bench.size.epochs * max(counts) / n))
        made[n] = bench.table(bench.random(bench.size.draws, IRN), public, grid, among(report, number, len(counts)))
    told = (
        f"{bench.size.draws} extractors, {min(counts):,} to {max(counts):,} pictures to learn from, "
        f"{len(most.val):,} others to stop by"
    )
    return bench.found(made, list(made.values()), told, bench.size.draws)


def halves(bench: Bench, report: Report) -> Finding:
    """Figure 7b: the same extractors on pictures of either half of the classes."""
    size = bench.size
    public = bench.public(None if size.pictures is None else 2 * size.pictures)
    asked = [
        one
        for m in dict.fromkeys((bench.layers[0], bench.middle, bench.deep))
        for depth in size.depths
        if depth <= bench.source.chain.channels(m)
        for one in bench.random(size.again, IRN, depth, m)
    ]
    tables = [
        bench.table(asked, half, size.grid("halves"), among(report, number, 2))
        for number, half in enumerate(_halves(public))
    ]
    told = f"{len(asked)} extractors on either half of {public.classes} classes"
    return bench.found(tables, tables, told, size.again)


def criterion(bench: Bench, report: Report) -> Finding:
    """Figures 11 and 12: Fisher's criterion on ever more private people: {mini-batches: J [C]}."""
    head = bench.source.chain.head(bench.deep).to(bench.where.device)
    most = max(b for b in bench.size.batches if b * BATCH <= max(BATCH, len(bench.corpus.task_train)))
    rows = np.random.default_rng(SEED).permutation(len(bench.corpus.task_train))[: most * BATCH]
    made = {}
    for number, moments in enumerate(met(head, bench.corpus.task_train.take(rows), bench.where.device), start=1):
        if number in bench.size.batches:
            made[number] = moments.criterion()[0].cpu().numpy()
        if report:
            report("Fisher's criterion", number, most)
    return bench.found(made, [], f"layer {bench.deep}, mini-batches of {BATCH} of the owner's people")


def settings(bench: Bench, report: Report) -> Finding:
    """Figure 13: channels at random; pruned by characterization; pruned by Fisher's criterion and by what single
    channels leak, judged on other people than single channels: [table, table, table]."""
    alone: Single = single(bench, among(report, 0, 4)).value[bench.deep]
    leaks = torch.tensor(leaking(alone.redrawn, alone.named, "fresh"))
    worth = torch.tensor([row.accuracy or 0.0 for row in alone.named.rows], dtype=torch.float64)
    private = torch.tensor(list(criterion(bench, None).value.values())[-1])
    everything = np.arange(len(worth))
    kept = [everything, *(survivors(score, leaks, bench.depth)[0] for score in (worth, private))]
    public, made = apart(bench)[1], []
    for number, channels in enumerate(kept):
        generator = np.random.default_rng([SEED, number, 13])
        sets = [generator.choice(channels, bench.depth, replace=False) for _ in range(bench.size.settings)]
        asked = [
            Asked(bench.source, bench.deep, tuple(sorted(int(c) for c in one)), draw) for draw, one in enumerate(sets)
        ]
        made.append(bench.table(asked, public, bench.size.grid("settings"), among(report, number + 1, 4)))
    told = f"{bench.size.settings} draws each of {bench.depth} of {', '.join(str(len(k)) for k in kept)} channels"
    return bench.found(made, made, f"{told}, layer {bench.deep}; {counted(public)}", bench.size.settings)


def clusters(bench: Bench, report: Report) -> Finding:
    """Figure 19: reconstruction networks of one, two and three clusters: {clusters: table}."""
    public = bench.public(bench.size.pictures)
    made = {
        n: bench.table(
            bench.random(bench.size.widths, IRN), public,
            bench.size.grid("clusters", irn=replace(bench.size.irn, units=bench.size.units, clusters=n)),
            among(report, n - 1, 3),
        )
        for n in (1, 2, 3)
    }  # fmt: skip
    told = f"{bench.size.widths} extractors, clusters of {bench.size.units} units; {counted(public)}"
    return bench.found(made, list(made.values()), told, bench.size.widths)


def pictures(bench: Bench, report: Report) -> Finding:
    """Figures 21 to 24: pictures, and what is drawn of them, for layers and depths."""
    asked = [
        bench.random(1, IRN, depth, m)[0]
        for m in dict.fromkeys((bench.layers[0], bench.deep))
        for depth in bench.size.depths
        if depth <= bench.source.chain.channels(m)
    ]
    public = bench.public(bench.size.pictures)
    made = panels.drawn(asked, public, bench.size.grid("panels"), bench.out, SEED, bench.where.device, report)
    return bench.found(made, [], f"{len(asked)} extractors; {counted(public)}")


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
