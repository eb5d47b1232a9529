"""What a layer would release, and what those very channels are predicted to let through.

Tables speak of random channels. A plan releases channels that are left after pruning, which leak less, often by some
dB. The linear decoder says how much less, at the depths of the tables:

    P(m, D') + slope (linear decoder of the D' channels to be released - its mean over the draws of the tables)

with the slope by which networks follow it, on the people of the tables. Where it does not rank as they do, the tables'
figures stand; its ranks are known over layers and depths, and within one of them only where the tables have several
networks for it (`benchmarks/surrogate.py`), so that a plan rests on its verification and not on this."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from privet import run
from privet.data.corpus import Corpus
from privet.planner import fisher, pareto, surrogate
from privet.planner.choosing import Candidate, Limits, places, preferred
from privet.planner.grid import Grid
from privet.planner.measuring import Public, code, pairs
from privet.planner.pruning import Selection, judged, narrowed
from privet.planner.table import Table
from privet.pretrained.pool import Source
from privet.setting import Report, file_of

Place = tuple[str, int]  # source, layer
FILE = "channels.json"


@dataclass
class Offers:
    """The layers of a pool with the channels that each would release, looked at as they are asked for. `public`: whose
    people the tables were made of."""

    sources: dict[str, Source]
    table: Table
    tabled: Sequence[Candidate]
    corpus: Corpus
    public: Corpus
    grid: Grid
    seed: int
    inner: float = 1.0
    out: Path | None = None
    device: str = "cpu"
    report: Report = None
    seen: dict[Place, tuple[Selection, list[Candidate]]] = field(default_factory=dict)

    def turns(self, strategy: str, limits: Limits, margin: float, switch: float) -> Iterator[Candidate]:
        """Choices that are predicted to keep the limits, best first, by the paper's strategy or by `pareto`."""
        order = places(self.tabled, limits, margin, switch)
        if strategy == "paper":
            for place in order:
                yield from preferred(self.of(place)[1], limits, margin, switch)
        else:
            yield from pareto.ordered([c for place in order for c in self.of(place)[1]], limits, margin)

    def of(self, place: Place) -> tuple[Selection, list[Candidate]]:
        """The channels of a layer, and its choices as predicted for them."""
        if place not in self.seen:
            chosen = Selection.of(*self._scores(place), self.seed)
            self.seen[place] = chosen, self._predicted(place, chosen)
        return self.seen[place]

    def _scores(self, place: Place) -> tuple[torch.Tensor, torch.Tensor]:
        """The worth of a layer's channels and what they leak: found in `channels.json`, or measured and kept there."""
        known = self._kept_scores()
        name = self._identity(place)
        if name not in known:
            made = judged(self.head(place), self.corpus, self.grid, self.device, self.report)
            known[name] = [scores.tolist() for scores in made]
            if self.out:
                run.write_text(self.out / FILE, json.dumps(run.sealed(known), allow_nan=False), mode=0o600)
        worth, leaks = (torch.tensor(scores, dtype=torch.float64) for scores in known[name])
        return worth, leaks

    def _kept_scores(self) -> dict[str, list[list[float]]]:
        """Everything that was kept; nothing of a file that is damaged."""
        if self.out and (self.out / FILE).is_file():
            with contextlib.suppress(OSError, ValueError, AttributeError):
                return run.unsealed(json.loads((self.out / FILE).read_text(encoding="utf-8")))
        return {}

    def _identity(self, place: Place) -> str:
        """Everything that scores depend on."""
        source = self.sources[place[0]]
        return run.name_of(
            {
                "source": source.identity,
                "layer": place[1],
                "kept": {str(k): v for k, v in self.kept(place).items()},
                "people": self.corpus.digest,
                "pictures": self.grid.pictures,
                "device": self.device,
                "code": [*code(), *(file_of(c) for c in (judged, fisher.Moments))],
            },
            {},
        )

    def kept(self, place: Place) -> dict[int, list[int]]:
        """The inner filters that are kept, by layer; empty for all."""
        return narrowed(self.sources[place[0]], place[1], self.inner, self.seed)

    def head(self, place: Place, channels: Sequence[int] | None = None) -> torch.nn.Sequential:
        """The extractor of a layer, with the inner filters that are kept and these channels (None: all)."""
        kept = {k: torch.tensor(v) for k, v in self.kept(place).items()}
        released = None if channels is None else torch.tensor(channels)
        return self.sources[place[0]].chain.head(place[1], released, kept)

    def predicted(self) -> list[Candidate]:
        """All choices, those of layers that were looked at as predicted for their channels."""
        return [c for place in self.seen for c in self.seen[place][1]] + [
            c for c in self.tabled if (c.source, c.layer) not in self.seen
        ]

    def _predicted(self, place: Place, chosen: Selection) -> list[Candidate]:
        """The choices of a layer with no more channels than there are that say anything."""
        own = [c for c in self.tabled if (c.source, c.layer) == place and c.depth <= chosen.alive]
        slope = self.table.slope()
        if slope is None or not own:
            return own
        own.sort(key=lambda c: c.depth)
        cells = sorted((c for c in self.table.cells() if (c.source, c.layer) == place), key=lambda c: c.depth)
        head = self.head(place).to(self.device)
        parts = [pairs(head, part, self.device) for part in Public.of(self.public, self.grid.pictures).parts]
        less = []
        for cell in cells:
            z = list(chosen.channels(min(cell.depth, chosen.alive)))
            less.append(slope * (surrogate.psnr(*(replace(part, z=part.z[:, z]) for part in parts)) - cell.linear))
        at = [math.log2(cell.depth) for cell in cells]
        levels = np.maximum.accumulate([c.psnr + np.interp(math.log2(c.depth), at, less) for c in own])
        return [replace(c, psnr=float(p), std=self.table.missed()) for c, p in zip(own, levels, strict=True)]
