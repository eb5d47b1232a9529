"""Tables of a characterization: what each choice of layers, depth and channels was measured to give and to leak.

`utility` is the accuracy of a classification network on representations, `privacy loss` the PSNR in dB of pictures that
a reconstruction network draws from them (higher is worse); Li et al. 2017, "PrivyNet", section 2, equations 2 and 5."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

from privet.errors import RunError
from privet.payload import Array
from privet.run import writing

AGREES = 0.8  # rank correlation from which the linear surrogate may stand in for networks
FEWEST = 6  # cells that a rank correlation must rest on
LINEAR = {"loss": "linear_psnr", "utility": "linear_accuracy"}  # what the surrogate says of it
ROUNDS = 200  # of alternating projections; the tables are small


@dataclass(frozen=True)
class Row:
    """One set of channels of one layer. `psnr` (dB) and `accuracy` are those of networks, None where none was trained;
    `linear_psnr` and `linear_accuracy` those of the closed-form surrogate, a decoder and a classifier of its own.
    `spread` is the deviation of the network's PSNR over pictures, `inner` how many filters of each inner layer were
    kept (empty: all). `identity` names everything the row depends on."""

    identity: str
    source: str
    layer: int
    name: str
    depth: int
    draw: int
    channels: tuple[int, ...]
    linear_psnr: float
    linear_accuracy: float
    psnr: float | None = None
    accuracy: float | None = None
    spread: float | None = None
    pictures: int = 0
    seconds: float = 0.0
    inner: tuple[int, ...] = ()

    @property
    def loss(self) -> float | None:
        """The privacy loss in dB: what the better of the reconstruction network and the linear decoder draws (a network
        of few epochs loses to a line where little is lost); None where no network was trained."""
        return None if self.psnr is None else max(self.psnr, self.linear_psnr)

    @property
    def utility(self) -> float | None:
        """The accuracy of the better of both classifiers; None where no network was trained."""
        return None if self.accuracy is None else max(self.accuracy, self.linear_accuracy)


@dataclass(frozen=True)
class Cell:
    """What a layer and a depth give over draws of channels: means, and the deviation of the PSNR over draws. `linear`
    is the mean PSNR of the surrogate; `measured` counts the draws that networks were trained for."""

    source: str
    layer: int
    depth: int
    psnr: float
    std: float
    accuracy: float
    linear: float
    draws: int
    measured: int


@dataclass(frozen=True)
class Table:
    """All rows of a characterization."""

    rows: tuple[Row, ...]

    def of(self, source: str) -> Table:
        """The rows of one source."""
        return Table(tuple(row for row in self.rows if row.source == source))

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(row.source for row in self.rows))

    def rank_correlation(self, what: str = "psnr") -> float:
        """Spearman's correlation of the surrogate with networks, over the rows that have both; NaN where they are
        few."""
        both = [(getattr(r, f"linear_{what}"), getattr(r, what)) for r in self.rows if getattr(r, what) is not None]
        if len(both) < FEWEST or len({b for _, b in both}) < 2 or len({a for a, _ in both}) < 2:
            return float("nan")
        return float(spearmanr(*zip(*both, strict=True)).statistic)

    def cells(self) -> list[Cell]:
        """One a layer and depth. Draws without networks count where networks were trained for another draw of the same
        cell and the surrogate ranks as they do: what it says of the difference is added, and what it misses from cell
        to cell is part of the deviation. Where it may not speak, the deviation is that of its own figures."""
        slopes = {what: self.slope(what) for what in LINEAR}
        found = []
        for key in dict.fromkeys((r.source, r.layer, r.depth) for r in self.rows):
            rows = [r for r in self.rows if (r.source, r.layer, r.depth) == key]
            draws, worth = (np.array(_draws(rows, what, slopes[what])) for what in LINEAR)
            if not len(draws):
                continue
            linear = np.array([r.linear_psnr for r in rows])
            std = float((draws if len(draws) > 1 else linear).std(ddof=1)) if len(linear) > 1 else math.nan
            accuracy = float(worth.mean()) if len(worth) else math.nan
            measured = sum(r.psnr is not None for r in rows)
            std = math.hypot(std, self.missed()) if measured < len(draws) else std
            found.append(Cell(*key, float(draws.mean()), std, accuracy, float(linear.mean()), len(draws), measured))
        return found

    def smoothed(self) -> list[Cell]:
        """The cells with a privacy loss that never rises with the layer and never falls with the depth: the nearest
        such table, by least squares. A cell of one draw gets the mean deviation of the others."""
        made: list[Cell] = []
        for source in self.sources:
            cells = self.of(source).cells()
            usual = [c.std for c in cells if np.isfinite(c.std)]
            std = float(np.mean(usual)) if usual else 0.0
            layers, depths = (sorted({getattr(c, k) for c in cells}) for k in ("layer", "depth"))
            grid = np.full((len(layers), len(depths)), np.nan)
            weight = np.zeros_like(grid)
            for c in cells:
                place = layers.index(c.layer), depths.index(c.depth)
                grid[place], weight[place] = c.psnr, c.draws
            flat = monotone(grid, weight)
            made += [
                replace(
                    c, psnr=float(flat[layers.index(c.layer), depths.index(c.depth)]),
                    std=c.std if np.isfinite(c.std) else std,
                )
                for c in cells
            ]  # fmt: skip
        return made

    def slope(self, what: str = "loss") -> float | None:
        """By how much networks rise where the surrogate rises by one; None where it may not speak."""
        name = LINEAR[what]
        if not self.rank_correlation(name.removeprefix("linear_")) >= AGREES:
            return None
        x, y = np.array([(getattr(r, name), getattr(r, what)) for r in self.rows if r.psnr is not None]).T
        return float(np.polyfit(x, y, 1)[0])

    def missed(self) -> float:
        """The deviation in dB of what a line of that slope misses of the privacy loss: about the mean of each layer and
        depth where networks were trained for several draws of them, else over all rows; 0 where it may not speak."""
        slope = self.slope()
        rows = [r for r in self.rows if r.psnr is not None]
        if slope is None or len(rows) < 3:
            return 0.0
        linear, network, loss = np.array([(r.linear_psnr, r.psnr, r.loss) for r in rows]).T
        if (network > linear).any():
            rest = loss - slope * linear
        else:  # of itself the line, the better decoder of all rows, misses nothing: others may miss what networks do
            rest = network - np.polyfit(linear, network, 1)[0] * linear
        places = np.unique([f"{r.source}/{r.layer}/{r.depth}" for r in rows], return_inverse=True)[1]
        means = np.bincount(places, rest) / np.bincount(places)
        free = len(rows) - len(means)
        if free >= FEWEST:
            return math.sqrt(float(((rest - means[places]) ** 2).sum()) / free)
        return float(np.std(rest, ddof=2))


def monotone(grid: Array, weight: Array) -> Array:
    """The nearest table (weighted least squares) that does not rise downwards and does not fall to the right; NaN where
    nothing was measured counts nothing. Dykstra's projections onto rows and columns in turn."""
    table = np.where(np.isfinite(grid), grid, np.nanmean(grid))
    weight = np.where(np.isfinite(grid), weight, 1e-9)
    rest = [np.zeros_like(table), np.zeros_like(table)]
    for _ in range(ROUNDS):
        for axis in (0, 1):
            given = table + rest[axis]
            lines = (given, weight) if axis == 1 else (given.T, weight.T)
            flat = np.stack(
                [isotonic_regression(v, weights=w, increasing=axis == 1).x for v, w in zip(*lines, strict=True)]
            )
            table = flat if axis == 1 else flat.T
            rest[axis] = given - table
    return table


def read(path: Path) -> Table:
    """RunError where the file is no table of a characterization."""
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        made = Table(tuple(Row(**{k: _given(v) for k, v in row.items()}) for row in rows))
        numbers = ("linear_psnr", "linear_accuracy", "psnr", "accuracy")
        if not all(math.isfinite(getattr(r, n)) for r in made.rows for n in numbers if getattr(r, n) is not None):
            raise ValueError("some of its figures are no numbers")
        return made
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as problem:
        raise RunError(f"{path} is no table of a characterization ({problem}); delete it, or give another") from problem


def write(table: Table, path: Path) -> None:
    """Write the table, whole or not at all."""
    columns: dict[str, list[Any]] = {f.name: [getattr(r, f.name) for r in table.rows] for f in fields(Row)}
    made = pa.table({name: pa.array(map(_plain, values), TYPES[name]) for name, values in columns.items()})
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                pq.write_table(made, stream)
            os.chmod(draft, 0o644)
            os.replace(draft, path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise


TYPES = {
    "identity": pa.string(), "source": pa.string(), "layer": pa.int64(), "name": pa.string(), "depth": pa.int64(),
    "draw": pa.int64(), "channels": pa.list_(pa.int64()), "linear_psnr": pa.float64(), "linear_accuracy": pa.float64(),
    "psnr": pa.float64(), "accuracy": pa.float64(), "spread": pa.float64(), "pictures": pa.int64(),
    "seconds": pa.float64(), "inner": pa.list_(pa.int64()),
}  # fmt: skip


def _given(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _draws(rows: Sequence[Row], what: str, slope: float | None) -> list[float]:
    """The figure of every draw of a cell that has one."""
    known = [(getattr(r, what), getattr(r, LINEAR[what])) for r in rows if getattr(r, what) is not None]
    if not known or slope is None:
        return [value for value, _ in known]
    level = float(np.mean([value - slope * linear for value, linear in known]))
    return [v if (v := getattr(r, what)) is not None else level + slope * getattr(r, LINEAR[what]) for r in rows]
