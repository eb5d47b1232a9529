"""What the claims about single channels and their pruning measure (figures 4 and 9 to 13, table 4c): margins that are
positive exactly where the paper is right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from privet.auditing.estimate import Estimate
from privet.errors import RunError
from privet.planner.table import Row, Table
from privet.recipes.claims import Both
from privet.recipes.evidence import Attacker, Evidence, above, below
from privet.recipes.privynet.estimates import (
    Floats,
    expected_range,
    leaking,
    loss,
    over_channels,
    rank,
    size,
    utility,
    welch,
    worst,
)
from privet.recipes.privynet.tables import Single

Figure = Callable[[Row, Attacker], float]
RANGE, TIMES, APART = 2.0, 1.5, 0.3  # of single channels: dB, best over worst, largest correlation
ALIKE = 0.9  # rank correlation
TWICE = 0.5  # of the quarter that leaks most among the quarter that is worth least: twice what chance puts there
MORE = 0.10  # of the worst quarter that Fisher's criterion finds beyond chance


def _alone(evidence: Evidence, data: str, which: int) -> tuple[int, Single]:
    """Of the middle layer (0) or the deepest one (1): its number, and its channels alone."""
    made: dict[int, Single] = evidence.found(f"{data}/single")
    layer = sorted(made)[which]
    return layer, made[layer]


def spread(data: str, which: int, figure: str) -> Both:
    """Figure 4 and table 4c: single channels of one layer differ: the best accuracy over the worst, or the range of the
    PSNR, as their deviation puts them for all channels of the layer. The extremes themselves would not do: of a part of
    the channels they lie too near, and of accuracies that were counted on few people too far apart. What counting adds
    to the deviation of accuracies is taken off."""

    def values(evidence: Evidence, attacker: Attacker) -> tuple[Floats, Single]:
        _, alone = _alone(evidence, data, which)
        if figure == "psnr":
            return np.array([loss(row, attacker) for row in alone.redrawn.rows]), alone
        return np.array([utility(row, attacker) for row in alone.named.rows]), alone

    def reach(found: Floats, alone: Single) -> float:
        variance = float(found.var(ddof=1))
        if figure != "psnr":
            variance -= float((found * (1 - found)).mean()) / alone.judged
        return expected_range(float(np.sqrt(max(0.0, variance))), alone.channels)

    def ratio(found: Floats, alone: Single) -> float:
        half = reach(found, alone) / 2
        return float((found.mean() + half) / max(found.mean() - half, 1 / alone.judged))

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        found, alone = values(evidence, attacker)
        if figure == "psnr":
            return above(over_channels(found, lambda v: reach(v, alone)), RANGE)
        return above(over_channels(found, lambda v: ratio(v, alone)), TIMES)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        layer, (found, alone) = _alone(evidence, data, which)[0], values(evidence, attacker)
        unit, scale = ("dB", 1.0) if figure == "psnr" else ("%", 100.0)
        low, high, mean, std = (scale * float(v) for v in (found.min(), found.max(), found.mean(), found.std(ddof=1)))
        apart = f"{reach(found, alone):.1f} dB apart" if figure == "psnr" else f"{ratio(found, alone):.2f} times"
        return (
            f"layer {layer}, {len(found)} of {alone.channels} channels: {low:.2f} to {high:.2f} {unit}, mean "
            f"{mean:.2f}, std {std:.2f}, so that the extremes of all are {apart}"
        )

    return measure, tell


def unrelated(data: str, which: int) -> Both:
    """Table 4c: what a channel leaks says little of what it is worth: |r| below .3."""

    def pairs(evidence: Evidence, attacker: Attacker) -> Floats:
        _, alone = _alone(evidence, data, which)
        worth = {row.channels: utility(row, attacker) for row in alone.named.rows}
        return np.array([(loss(row, attacker), worth[row.channels]) for row in alone.redrawn.rows])

    def correlation(found: Floats) -> float:
        x, y = found.T
        return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > 0 and np.ptp(y) > 0 else float("nan")

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return below(size(over_channels(pairs(evidence, attacker), correlation)), APART)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        found = pairs(evidence, attacker)
        return f"r {correlation(found):+.2f} over {len(found)} channels of layer {_alone(evidence, data, which)[0]}"

    return measure, tell


def worst_and_leaking(evidence: Evidence, data: str, attacker: Attacker) -> tuple[Floats, Floats]:
    """Of every channel of the deepest layer: what it is worth, and what it leaks, alone."""
    _, alone = _alone(evidence, data, 1)
    worth = np.array([utility(row, attacker) for row in alone.named.rows])
    return worth, np.array(leaking(alone.redrawn, alone.named, attacker))


def independent(data: str) -> Both:
    """Figure 10: the quarter that leaks most is not the quarter that is worth least: less than half of one is among the
    other, twice what chance puts there."""

    def overlap(found: Floats) -> tuple[int, int]:
        useless, leaky = worst(found[:, 0], 0.25), worst(-found[:, 1], 0.25)
        return int((useless & leaky).sum()), int(useless.sum())

    def share(found: Floats) -> float:
        shared, quarter = overlap(found)
        return shared / quarter

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        return below(over_channels(np.stack(worst_and_leaking(evidence, data, attacker), 1), share), TWICE)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        found = np.stack(worst_and_leaking(evidence, data, attacker), 1)
        shared, quarter = overlap(found)
        return (
            f"{shared} of the {quarter} that leak most are among the {quarter} that are worth least; chance puts "
            f"{quarter * quarter / len(found):.1f} there"
        )

    return measure, tell


def _worth(evidence: Evidence, data: str, attacker: Attacker) -> Floats:
    return np.array([utility(row, attacker) for row in _alone(evidence, data, 1)[1].named.rows])


def found_by_fisher(evidence: Evidence, data: str, batches: int, pruned: float, attacker: Attacker) -> float:
    """The share of the worst quarter of channels that is pruned by Fisher's criterion on so many mini-batches."""
    worth = _worth(evidence, data, attacker)
    criterion: dict[int, Floats] = evidence.found(f"{data}/fisher")
    return _share(np.stack([worth, criterion[batches]], 1), pruned)


def _share(pairs: Floats, pruned: float = 0.5) -> float:
    useless = worst(pairs[:, 0], 0.25)
    return float((useless & worst(pairs[:, 1], pruned)).sum() / useless.sum())


def fisher_finds(data: str) -> Both:
    """Figure 11: half of the channels pruned by Fisher's criterion hold more of the worst quarter than chance puts
    there, by ten points."""

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        worth = _worth(evidence, data, attacker)
        criterion: dict[int, Floats] = evidence.found(f"{data}/fisher")
        pairs = np.stack([worth, criterion[max(criterion)]], 1)
        return above(over_channels(pairs, _share), 0.5 + MORE)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        criterion: dict[int, Floats] = evidence.found(f"{data}/fisher")
        worth = _worth(evidence, data, attacker)
        share = found_by_fisher(evidence, data, max(criterion), 0.5, attacker)
        return (
            f"{100 * share:.1f} % of the worst quarter are pruned, 50 % at random; rank correlation of the criterion "
            f"with the accuracy {rank(criterion[max(criterion)], worth):+.2f}"
        )

    return measure, tell


def fisher_settles(data: str) -> Both:
    """Figure 12: ten mini-batches (or the most below) rank the channels as the most do."""

    def both(evidence: Evidence) -> tuple[int, int, float]:
        criterion: dict[int, Floats] = evidence.found(f"{data}/fisher")
        some = [n for n in criterion if n <= 10 and n < max(criterion)]
        if not some:
            raise RunError(f"{data}: one number of mini-batches compares with nothing")
        return max(some), max(criterion), rank(criterion[max(some)], criterion[max(criterion)])

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        some, most, _ = both(evidence)
        criterion: dict[int, Floats] = evidence.found(f"{data}/fisher")
        pairs = np.stack([criterion[some], criterion[most]], 1)
        return above(over_channels(pairs, lambda s: rank(*s.T)), ALIKE)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        some, most, found = both(evidence)
        return f"rank correlation {found:.3f} of {some} with {most} mini-batches"

    return measure, tell


def better(data: str, which: int, figure: str) -> Both:
    """Figure 13: channels that were pruned first (1: by characterization, 2: by Fisher's criterion) leak less, or are
    worth no less (within a point), than channels at random."""

    def values(evidence: Evidence, attacker: Attacker) -> tuple[Floats, Floats]:
        tables: list[Table] = evidence.found(f"{data}/settings")
        of = loss if figure == "psnr" else utility
        a, b = (np.array([of(row, attacker) for row in tables[i].rows]) for i in (0, which))
        return a, b

    def measure(evidence: Evidence, attacker: Attacker) -> Estimate:
        a, b = values(evidence, attacker)
        return welch(a, b) if figure == "psnr" else above(welch(b, a), -0.01)

    def tell(evidence: Evidence, attacker: Attacker) -> str:
        a, b = values(evidence, attacker)
        scale, unit = (1.0, "dB") if figure == "psnr" else (100.0, "%")
        return (
            f"{scale * b.mean():.2f} {unit} (std {scale * b.std(ddof=1):.2f}) instead of {scale * a.mean():.2f} {unit} "
            f"(std {scale * a.std(ddof=1):.2f}), {len(a)} draws each"
        )

    return measure, tell
