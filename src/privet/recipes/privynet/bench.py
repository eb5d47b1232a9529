"""A data set on which the recipe measures: its people, its network, those that a network is confused with, and draws of
channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from privet import run
from privet.attacks.decoder import Decoder
from privet.auditing import audit
from privet.data.corpus import Corpus
from privet.planner import find, own
from privet.planner.characterize import Asked, measured
from privet.planner.choosing import Limits
from privet.planner.grid import Grid, drawn, layers
from privet.planner.identify import Lookup, anonymity
from privet.planner.known import known as white_box
from privet.planner.measuring import BOTH, Public, code
from privet.planner.table import Table
from privet.planner.verifying import begin
from privet.pretrained import pool
from privet.pretrained.pool import Source
from privet.recipes.claims import Where
from privet.recipes.commitment import MEASURED
from privet.recipes.measurement import Finding
from privet.recipes.privynet import costs
from privet.recipes.privynet.sizes import GUESSES, Size
from privet.schedule import Source as People
from privet.setting import Report, file_of
from privet.train import inputs

IRN, ICN = frozenset({"irn"}), frozenset({"icn"})
SEED = 1


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

    def narrow(self, one: Asked, shares: Sequence[float]) -> Asked:
        """The same extractor with a random share of the filters of each inner layer."""
        generator = np.random.default_rng([SEED, one.draw, 14])
        kept = {
            layer: sorted(int(f) for f in generator.choice(count, max(1, round(share * count)), replace=False))
            for (layer, count), share in zip(self.source.chain.inner(one.layer).items(), shares, strict=False)
            if share < 1
        }
        return replace(one, kept=kept)

    def identity(self, one: Asked) -> dict[str, Any]:
        """What guesses, costs and attacks that know an extractor depend on."""
        own = (anonymity, white_box, begin, audit.attack, Decoder, costs.blocks)
        return {
            "source": one.source.identity, "layer": one.layer,
            "channels": list(one.channels), "kept": {str(k): list(v) for k, v in one.kept.items()},
            "data": self.corpus.digest, "device": self.where.device, "seed": SEED,
            "code": [*code(), *map(file_of, own)],
        }  # fmt: skip

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

    def found(self, value: object, tables: Sequence[Table], facts: str, seeds: int = 1) -> Finding:
        """What was measured on this set."""
        seconds = sum(row.seconds for table in tables for row in table.rows)
        return Finding(self.corpus.name, value, tuple(range(1, seeds + 1)), seconds, facts)


def counted(public: Public) -> str:
    """How many public people serve for what."""
    return f"{len(public.train):,} public pictures to learn from, {len(public.test):,} to judge on"
