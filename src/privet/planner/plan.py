"""Plan: which layers, how many channels and which of them, under limits on leakage, time and bytes (Li et al. 2017,
"PrivyNet", sections 3.3 and 3.4).

    M        layers of the pool whose extractor keeps the limits on milliseconds and bytes
    feasible (m, D') with P(m, D') + z std <= psnr_max
    psnr_max <= switch   the deepest m of them (deeper layers are worth more where little may leak)
    else                 the shallowest (all are worth the same, and it computes least);  D' as wide as m allows
    keep     channels of m without the half that Fisher's criterion finds worst on the private data and the quarter
             that leaks most on public data;  F = D' of them at random, by a seed that only the client has
    P        of the tables, moved to the very channels F by the linear decoder (`privet.planner.offers`)

With the strategy `pareto` the most accurate choice by the tables is taken first (`privet.planner.pareto`); what both
strategies would take at each limit stands in every plan.

The choice is then verified by decoders that had no part in it, on private pictures: where they draw
more than the limit allows, D' is lowered, then the next layer is taken. No choice looks at the victims' figures.

Deviations: a margin of one deviation (z = 1; the paper has none); P of the channels that are left after pruning, where
the paper takes that of random ones; verification; depths between those of the tables are read off a line in log2 D';
constant channels are pruned first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from privet.auditing import floors
from privet.data.corpus import Corpus
from privet.errors import DataError, Infeasible, SpecError, unknown
from privet.metrics import psnr
from privet.planner import pareto
from privet.planner.choosing import Candidate, Limits, candidates, infeasible, said, switch_of
from privet.planner.device import Device
from privet.planner.grid import Grid
from privet.planner.identify import Anonymity
from privet.planner.known import Known
from privet.planner.measuring import Public
from privet.planner.offers import Offers
from privet.planner.pareto import STRATEGIES, Compared
from privet.planner.table import Table
from privet.planner.verifying import Verified, verify
from privet.pretrained.pool import Source
from privet.setting import Report, stage
from privet.train import inputs


@dataclass(frozen=True)
class Plan:
    """An extractor: its source, layers, the channels it releases and the inner filters it keeps, with everything that
    the choice stands on. Whoever knows it can do more than was measured: it stays with the client."""

    source: str
    layer: int
    name: str
    channels: tuple[int, ...]
    kept: dict[int, tuple[int, ...]]
    limits: Limits
    predicted: Candidate
    verified: Verified
    pruned: dict[str, int]
    tried: tuple[dict[str, Any], ...]
    switch: float
    rank_correlation: float
    seed: int
    device: str
    known: Known | None = None  # what is drawn by attacks that know the extractor, where that was asked
    anonymity: tuple[Anonymity, ...] = ()  # what pictures of an adversary's own tell of it; empty for a secret network
    strategy: str = "paper"
    compared: tuple[Compared, ...] = ()  # what each strategy would take at each limit, by the tables alone
    accuracy_deviation: float | None = None  # of the tables' accuracies from draw to draw; None where it is not known
    scores: dict[str, list[float]] = field(default_factory=dict, repr=False)  # of every channel, for the page

    def json(self) -> dict[str, Any]:
        """One object as `--json` prints it."""
        told = asdict(replace(self, verified=replace(self.verified, pictures=None, begun=None)))
        for name in ("pictures", "begun"):
            told["verified"].pop(name)
        told.pop("scores")
        return {k: _told(v) for k, v in told.items()}


def plan(
    sources: Sequence[Source],
    corpus: Corpus,
    table: Table,
    limits: Limits,
    where: Device,
    grid: Grid,
    *,
    margin: float = 1.0,
    switch: float | None = None,
    inner: float = 1.0,
    strategy: str = "paper",
    public: Corpus | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: str = "cpu",
    report: Report = None,
) -> Plan:
    """Choose by a strategy (paper or pareto), prune, draw and verify. `switch`: PSNR up to which little may leak (None:
    read from the table); `inner`: share of the inner filters that is kept; `public`: whose people the table was made of
    (None: the corpus' own); `out`: where scores of channels are kept.

    Raises Infeasible where no layer and depth keeps the limits, SpecError for a margin below 0, a share outside of
    (0, 1] or an unknown strategy, DataError where the private people do not carry the target or no channel tells them
    apart."""
    check(margin, switch, inner, strategy)
    named = {source.name: source for source in sources}
    level = switch_of(table) if switch is None else switch
    tabled = candidates(named, table, where, corpus.shape, inner, seed)
    offers = Offers(named, table, tabled, corpus, public or corpus, grid, seed, inner, out, device, report)
    tried: list[dict[str, Any]] = []
    for choice in offers.turns(strategy, limits, margin, level):
        place = choice.source, choice.layer
        selection, _ = offers.of(place)
        channels, kept = selection.channels(choice.depth), offers.kept(place)
        head = offers.head(place, channels)
        told = stage(report, f"verifying layer {choice.layer}, {choice.depth} channels")
        if told:
            told(0, 1)
        found = verify(head, corpus, where, choice, grid, device, told)
        keeps = limits.kept(found.told())
        tried.append(
            {"source": choice.source, "layer": choice.layer, "depth": choice.depth, "psnr": found.owner.mean,
             "ms": found.ms, "bytes": found.bytes, "kept": keeps}
        )  # fmt: skip
        if keeps:
            return Plan(
                choice.source, choice.layer, named[choice.source].layers[choice.layer - 1], channels,
                {k: tuple(v) for k, v in kept.items()}, limits, choice, found, selection.pruned(choice.depth),
                tuple(tried), level, table.rank_correlation(), seed, where.name, strategy=strategy,
                compared=pareto.compared(tabled, limits, margin, level),
                accuracy_deviation=pareto.deviation(table), scores=selection.scores,
            )  # fmt: skip
    if tried:
        raise failed(tried, limits)
    if not (predicted := offers.predicted()):
        raise DataError(
            "every channel is the same for all private people, of each layer that may be taken; keep more of the inner "
            "filters (--inner), or give another network (--source)"
        )
    raise infeasible(predicted, limits, margin)


def check(margin: float, switch: float | None, inner: float, strategy: str = "paper") -> None:
    """SpecError where one of them is out of its range."""
    if strategy not in STRATEGIES:
        raise SpecError(unknown("strategy", strategy, STRATEGIES))
    if not 0 < inner <= 1:
        raise SpecError(f"--inner is a share of the filters above 0 and at most 1; got {inner:g}")
    if not 0 <= margin < math.inf:
        raise SpecError(f"--margin is a number of deviations from 0 on; got {margin:g}")
    if switch is not None and not math.isfinite(switch):
        raise SpecError(f"--switch is a number of dB; got {switch:g}")


def possible(limits: Limits, public: Public) -> None:
    """Infeasible where a limit asks for less than the mean picture draws, for which nobody needs a payload."""
    if limits.psnr is None:
        return
    x = inputs(public.test.x)
    mean = floors.mean_image(inputs(public.train.x), len(x))
    floor = float(psnr(x.numpy(), mean.numpy(), data_range=1.0).mean())
    if limits.psnr < floor:
        raise Infeasible(
            f"no extractor can keep {limits.psnr:g} dB: the mean of public people draws {said('psnr', floor)} without "
            "any payload; give a limit above that",
            ("psnr",), {"psnr": floor},
        )  # fmt: skip


def failed(tried: Sequence[dict[str, Any]], limits: Limits) -> Infeasible:
    """Everything that was predicted to keep the limits was measured to be beyond one."""
    over = {
        name: min(float(one[name]) for one in tried)
        for name, value in asdict(limits).items()
        if value is not None and all(one[name] > value for one in tried)
    }
    best = min(tried, key=lambda one: one["psnr"])
    nearest = over or {"psnr": float(best["psnr"])}
    enough = " and ".join(said(name, value) for name, value in nearest.items())
    return Infeasible(
        f"{_choices(len(tried))} predicted to keep all limits, and measured none does; the limit on "
        f"{' and on '.join(nearest)} binds: {enough} was measured at best (layer {best['layer']} of {best['source']} "
        f"with {best['depth']} of its channels: {best['psnr']:.1f} dB, {best['ms']:.3g} ms, {best['bytes']:,} bytes); "
        "raise it to that, or give another network (--source)",
        tuple(nearest), nearest,
    )  # fmt: skip


def _choices(count: int) -> str:
    return "one choice was" if count == 1 else f"{count} choices were"


def _told(value: Any) -> Any:
    """A value as JSON takes it: what is not known is null."""
    if isinstance(value, dict):
        return {k: _told(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_told(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
