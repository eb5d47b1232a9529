"""Choosing a layer and a depth from the tables: the strategy of PrivyNet (Li et al. 2017, section 3.3), and what to say
where no choice keeps the limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from privet.errors import Infeasible, SpecError
from privet.payload import Array
from privet.planner import device as devices
from privet.planner.device import Device
from privet.planner.pruning import narrowed
from privet.planner.table import Cell, Table
from privet.pretrained.pool import Source

SWITCH = 22.0  # dB, for pictures of 32 px
SHRINK = 0.75  # of the channels, where verification fails
UNITS = {"psnr": "dB", "ms": "ms", "bytes": "bytes"}


@dataclass(frozen=True)
class Limits:
    """At most so many dB of a reconstruction, milliseconds a picture, bytes of weights; None: no limit."""

    psnr: float | None = None
    ms: float | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if not given:
            raise SpecError("a plan needs a limit: give --max-psnr, --max-ms or --max-bytes")
        for name, value in given.items():
            if not math.isfinite(value) or value <= 0:
                raise SpecError(f"--max-{name} is a number of {UNITS[name]} above 0, got {value}")

    def kept(self, told: Mapping[str, float], but: str = "") -> bool:
        """Whether figures by name are within all limits, `but` one of them."""
        return all(value is None or name == but or told[name] <= value for name, value in asdict(self).items())


@dataclass(frozen=True)
class Candidate:
    """A layer and a depth with what the tables say of them, and what they cost."""

    source: str
    layer: int
    depth: int
    psnr: float
    std: float
    accuracy: float
    ms: float
    bytes: int
    macs: int

    def told(self, margin: float) -> dict[str, float]:
        """What is held against limits, the PSNR with so many deviations."""
        return {"psnr": self.psnr + margin * self.std, "ms": self.ms, "bytes": self.bytes}


def candidates(
    sources: dict[str, Source], table: Table, where: Device, shape: tuple[int, ...], inner: float, seed: int
) -> list[Candidate]:
    """Every depth between the smallest and the largest of the tables, at every layer of theirs, with what it costs."""
    found = []
    cells = table.smoothed()
    for name, m in dict.fromkeys((cell.source, cell.layer) for cell in cells):
        own = sorted((c for c in cells if (c.source, c.layer) == (name, m)), key=lambda c: c.depth)
        chain = sources[name].chain
        kept = {k: torch.tensor(v) for k, v in narrowed(sources[name], m, inner, seed).items()}
        costs = {c.depth: devices.weighed(chain.head(m, torch.arange(c.depth), kept), shape) for c in own}
        for depth in range(own[0].depth, own[-1].depth + 1):
            read = _reader(own, depth)
            macs, size = (round(_between(own, depth, [costs[c.depth][i] for c in own], flat=True)) for i in (0, 1))
            found.append(
                Candidate(
                    name, m, depth, read("psnr"), read("std"), read("accuracy"), where.ms(name, m, macs), size, macs
                )
            )
    return found


def places(choices: Sequence[Candidate], limits: Limits, margin: float, switch: float) -> list[tuple[str, int]]:
    """(source, layer) with a depth within the limits on time and bytes, in the order of preference: what they leak is
    known for certain only when their channels are."""
    within = [c for c in choices if limits.kept(c.told(margin), but="psnr")]
    best = {c.source: max(_known(one) for one in within if one.source == c.source) for c in within}
    turn = -1 if _little(limits, switch) else 1
    return sorted({(c.source, c.layer) for c in within}, key=lambda at: (-best[at[0]], at[0], turn * at[1]))


def preferred(choices: Sequence[Candidate], limits: Limits, margin: float, switch: float) -> list[Candidate]:
    """Feasible choices, best first: of each source the deepest layer where little may leak, else the shallowest, and
    of a layer the widest depth, then ever smaller ones; sources by the accuracy that the tables give their first."""
    feasible = [c for c in choices if limits.kept(c.told(margin))]
    deep = _little(limits, switch)
    by_source: dict[str, list[Candidate]] = {}
    for c in feasible:
        by_source.setdefault(c.source, []).append(c)
    ranked = [_down(found, deep) for found in by_source.values()]
    ranked.sort(key=lambda found: -_known(found[0]))
    return [c for found in ranked for c in found]


def _little(limits: Limits, switch: float) -> bool:
    """Whether so little may leak that deep layers are worth more."""
    return limits.psnr is not None and limits.psnr <= switch


def _known(choice: Candidate) -> float:
    return choice.accuracy if math.isfinite(choice.accuracy) else 0.0


def _down(found: list[Candidate], deep: bool) -> list[Candidate]:
    """Of each layer the widest depth, then three quarters of it, and so on; layers in the order of preference."""
    made = []
    for m in sorted({c.layer for c in found}, reverse=deep):
        own = {c.depth: c for c in found if c.layer == m}
        left = sorted(own)
        while left:
            made.append(own[left[-1]])
            most = min(left[-1] - 1, max(math.floor(left[-1] * SHRINK), left[0]))
            left = [depth for depth in left if depth <= most]
    return made


def switch_of(table: Table) -> float:
    """The PSNR below which layers differ in utility: where, at equal privacy loss, accuracies of layers lie further
    apart than draws of channels do (the paper's figure 3c). 22 dB where the table cannot say."""
    spreads, levels = [], []
    for source in table.sources:
        rows = [r for r in table.of(source).rows if r.utility is not None]
        stds = [
            np.std([r.utility or 0.0 for r in rows if (r.layer, r.depth) == key], ddof=1)
            for key in {(r.layer, r.depth) for r in rows}
            if sum((r.layer, r.depth) == key for r in rows) > 2
        ]
        if not stds:
            continue
        lines = _lines(table.of(source))
        for level in np.arange(12.0, 40.0, 0.5):
            at = [np.interp(level, x, y) for x, y in lines if x[0] <= level <= x[-1]]
            if len(at) > 1:
                levels.append(float(level))
                spreads.append((max(at) - min(at)) / max(float(np.mean(stds)), 1e-6))
    apart = [level for level, spread in zip(levels, spreads, strict=True) if spread > 1]
    return max(apart) if apart else SWITCH


def _lines(table: Table) -> list[tuple[Array, Array]]:
    """Of each layer its accuracy against its privacy loss."""
    cells = table.smoothed()
    made = []
    for m in sorted({c.layer for c in cells}):
        own = sorted((c.psnr, c.accuracy) for c in cells if c.layer == m)
        if len(own) > 1:
            made.append((np.array([p for p, _ in own]), np.array([u for _, u in own])))
    return made


def infeasible(choices: Sequence[Candidate], limits: Limits, margin: float) -> Infeasible:
    """Which limit binds: the one without which something would do, and what of it would be enough."""
    nearest: dict[str, float] = {}
    told = []
    for name, value in asdict(limits).items():
        free = [c for c in choices if value is not None and limits.kept(c.told(margin), but=name)]
        if not free:
            continue
        best = min(free, key=lambda c: c.told(margin)[name])
        nearest[name] = float(best.told(margin)[name])
        told.append(
            f"{said(name, nearest[name])} instead of {said(name, float(value))} is predicted to do "
            f"(layer {best.layer} of {best.source}, {best.depth} channels)"
        )
    if nearest:
        joined = "; or ".join(told)
        return Infeasible(
            f"no extractor is predicted to keep all limits; the limit on {' or on '.join(nearest)} binds: {joined}",
            nearest,
            nearest,
        )
    given = {n: float(v) for n, v in asdict(limits).items() if v is not None}
    best = min(choices, key=lambda c: max(c.told(margin)[n] / v for n, v in given.items()))
    nearest = {n: found for n, found in best.told(margin).items() if n in given and found > given[n]}
    told_as = " and ".join(said(n, v) for n, v in nearest.items())
    return Infeasible(
        f"no extractor is predicted to keep all limits, nor all but one of them; {told_as} is predicted to do (layer "
        f"{best.layer} of {best.source}, {best.depth} channels)", nearest, nearest,
    )  # fmt: skip


def _reader(own: list[Cell], depth: int) -> Callable[[str], float]:
    return lambda name: _between(own, depth, [getattr(c, name) for c in own])


def _between(own: list[Cell], depth: int, values: Sequence[float], flat: bool = False) -> float:
    """A value at a depth between those of the cells: on a line in log2 D', or in D' itself."""
    x = [float(c.depth) if flat else math.log2(c.depth) for c in own]
    return float(np.interp(depth if flat else math.log2(depth), x, values))


def said(name: str, value: float) -> str:
    """A value that would be enough, rounded up."""
    if name == "bytes":
        return f"{math.ceil(value):,} bytes"
    step = 10.0 ** (math.floor(math.log10(value)) - 2) if value < 10 else 0.1
    digits = max(1, -math.floor(math.log10(step) + 1e-9))
    return f"{math.ceil(value / step - 1e-9) * step:.{digits}f} {UNITS[name]}"
