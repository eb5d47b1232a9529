"""Does the linear decoder speak for networks within a layer and depth, and of channels that were left after pruning?

    python benchmarks/surrogate.py [DATA [LAYERS [DEPTHS [DRAWS [OUT]]]]]     # alone: the embedded digits, all layers

A reconstruction network is trained for every draw of channels of the quick tables' networks, and for channels that
three seeds would release. One JSON line for each layer and depth: Spearman's correlation over its draws; one for all of
them, around the mean of each; one for each release: what the tables say of random channels, what a plan predicts for
these (`privet.planner.offers`) and what the better of network and linear decoder draws, in dB. Rows are kept in OUT."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from privet.data.corpus import Corpus
from privet.planner import find
from privet.planner.characterize import Asked, measured
from privet.planner.choosing import Candidate, Limits
from privet.planner.grid import GRIDS, drawn, layers
from privet.planner.measuring import Public
from privet.planner.offers import Offers
from privet.planner.table import Row, Table
from privet.pretrained.pool import Source
from privet.schedule import Source as Where
from privet.train import one_thread

GRID, IRN, SEEDS = GRIDS["quick"], frozenset({"irn"}), (1, 2, 3)


def around(rows: list[Row]) -> list[tuple[float, float]]:
    """What the linear decoder and networks draw, less their means over the rows."""
    both = np.array([(r.linear_psnr, r.psnr) for r in rows])
    return [tuple(pair) for pair in both - both.mean(0)]


def main(data: str = "digits", numbers: str = "", depths: str = "2,8", draws: str = "12", out: str = "") -> None:
    """JSON lines on standard output."""
    folder = Path(out or tempfile.mkdtemp())
    corpus = find.people(Where(data))
    question = find.Question(Where(data), Limits(psnr=99.0))
    (source, *_), _ = find.networks(question, corpus, folder)
    public = Public.of(corpus, GRID.pictures)
    usable = [int(m) for m in numbers.split(",")] if numbers else layers(source, GRID, corpus.shape)
    cells = [(m, d) for m in usable for d in map(int, depths.split(",")) if d <= source.chain.channels(m)]
    asked = [Asked(source, m, tuple(drawn(source, m, d, i, 0)), i, IRN) for m, d in cells for i in range(int(draws))]
    table = measured(asked, public, GRID, folder, jobs=0)
    moved = []
    for m, d in cells:
        own = around([r for r in table.rows if (r.layer, r.depth) == (m, d)])
        moved += own
        say(layer=m, depth=d, draws=len(own), within=float(spearmanr(*zip(*own, strict=True)).statistic))
    say(pooled_within=float(spearmanr(*zip(*moved, strict=True)).statistic), across=table.rank_correlation())
    releases(source, corpus, table, cells, public, folder)


def releases(
    source: Source, corpus: Corpus, table: Table, cells: list[tuple[int, int]], public: Public, folder: Path
) -> None:
    """Channels that would be released: predicted, and measured."""
    tabled = [Candidate(c.source, c.layer, c.depth, c.psnr, c.std, 0.0, 0.0, 0, 0) for c in table.smoothed()]
    asked, said = [], []
    for seed in SEEDS:
        offers = Offers({source.name: source}, table, tabled, corpus, corpus, GRID, seed)
        for m, d in cells:
            with one_thread():
                selection, choices = offers.of((source.name, m))
            asked.append(Asked(source, m, selection.channels(d), 1000 + seed, IRN))
            said.append(next(c for c in choices if c.depth == d))
    found = measured(asked, public, GRID, folder, jobs=0)
    random = {(c.layer, c.depth): c.psnr for c in tabled}
    for row, choice in zip(found.rows, said, strict=True):
        say(
            layer=row.layer, depth=row.depth, random=random[row.layer, row.depth], predicted=choice.psnr,
            deviation=choice.std, drawn=row.loss,
        )  # fmt: skip


def say(**told: object) -> None:
    print(json.dumps({k: round(v, 3) if isinstance(v, float) else v for k, v in told.items()}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
