"""Chances: how large a gap between groups grows by luck alone, and whether errors depend on the group.

The groups are dealt out anew among whole persons (`privet.report.shuffles`), for the equalized odds among persons of
one true answer; what happened to each example, mean over the seeds, stays where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from privet.report.crowds import Crowd, Floats, Guesses, Ints
from privet.report.shuffles import Exchange, exchange

SHUFFLES = 999
TIE = 1e-9  # sums in another order


@dataclass(frozen=True)
class Chance:
    """p value of the target's errors being independent of the group, and what 95 of 100 shuffles stay below; None
    where too few people can be moved, or there is nothing to compare."""

    p_value: float | None = None
    gap: float | None = None
    odds: float | None = None
    exposure: float | None = None


def chances(crowd: Crowd, guesses: Sequence[Guesses]) -> list[Chance]:
    """The chance of each of several defended splits, in the same 999 shuffles, seeded."""
    free = exchange(crowd.group, crowd.units)
    if len(crowd.present) < 2 or not free.enough:
        return [Chance() for _ in guesses]
    drawn = _shuffled(free, _free, crowd, guesses, 0)
    observed = [_free(_Labels(crowd, crowd.group[None]), one) for one in guesses]
    odds: list[Floats | None] = [None for _ in guesses]
    bound = exchange(crowd.group, crowd.units, crowd.y)
    if crowd.positive and bound.enough:
        odds = [rows[0] for rows in _shuffled(bound, _odds, crowd, guesses, 1)]
    return [
        Chance(_p(chi, truth[0][0]), _high(gap), _high(odd), _high(exposure))
        for (chi, gap, exposure), truth, odd in zip(drawn, observed, odds, strict=True)
    ]


class _Labels:
    """Groups dealt out in B ways [B, N], and sums over who then belongs together."""

    def __init__(self, crowd: Crowd, labels: Ints) -> None:
        self.crowd, self.labels, self.groups = crowd, labels, len(crowd.present)
        self._bins = (labels + self.groups * np.arange(len(labels))[:, None]).ravel()
        self.people = self.total(np.ones(len(crowd.s)))

    def total(self, column: Floats) -> Floats:
        """Sums of a column [N] or [B, N] over the groups [B, V]."""
        spread = np.broadcast_to(column, self.labels.shape).ravel()
        counted = np.bincount(self._bins, spread, self.groups * len(self.labels))
        return np.asarray(counted, np.float64).reshape(len(self.labels), self.groups)


_Statistics = Callable[[_Labels, Guesses], tuple[Floats, ...]]


def _shuffled(
    deal: Exchange, statistics: _Statistics, crowd: Crowd, guesses: Sequence[Guesses], seed: int
) -> list[tuple[Floats, ...]]:
    """For each of the guesses the statistics over all shuffles."""
    found: list[list[tuple[Floats, ...]]] = [[] for _ in guesses]
    for labels in deal.draws(SHUFFLES, seed):
        dealt = _Labels(crowd, labels)
        for rows, one in zip(found, guesses, strict=True):
            rows.append(statistics(dealt, one))
    return [tuple(np.concatenate(parts) for parts in zip(*rows, strict=True)) for rows in found]


def _free(dealt: _Labels, guesses: Guesses) -> tuple[Floats, ...]:
    """Chi-squared of the target's errors and groups, largest gap of accuracy, largest exposure, each [B]."""
    crowd = dealt.crowd
    known = (crowd.y >= 0).astype(np.float64)
    wrong = known * np.mean([answers != crowd.y for answers in guesses.answers], axis=0)
    asked, errors = dealt.total(known), dealt.total(wrong)
    share = float(wrong.sum() / max(1.0, known.sum()))
    rates = _over(errors, asked)
    chi = np.nansum(asked * (rates - share) ** 2, axis=1) / (share * (1 - share) or 1.0)
    named = [crowd.index(n) for n in guesses.named]
    hits = dealt.total(np.mean([dealt.labels == n for n in named], axis=0))
    said = np.mean([np.bincount(n[n >= 0], minlength=dealt.groups) / len(n) for n in named], axis=0)
    return chi, _range(rates), np.nanmax(_over(hits, dealt.people) - said, axis=1)


def _odds(dealt: _Labels, guesses: Guesses) -> tuple[Floats, ...]:
    """The larger of the largest gaps of TPR and FPR [B]."""
    positive = np.mean([answers == 1 for answers in guesses.answers], axis=0)
    asked = [(dealt.crowd.y == truth).astype(np.float64) for truth in (0, 1)]
    gaps = [_range(_over(dealt.total(who * positive), dealt.total(who))) for who in asked]
    return (np.maximum(*gaps),)


def _over(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _range(rates: Floats) -> Floats:
    """Largest minus smallest of each row, 0 where nobody counts."""
    some = np.isfinite(rates)
    high = np.where(some, rates, -np.inf).max(axis=1) - np.where(some, rates, np.inf).min(axis=1)
    return np.where(some.any(axis=1), high, 0.0)


def _p(shuffled: Floats, observed: float) -> float:
    return float((1 + (shuffled >= observed - TIE).sum()) / (1 + len(shuffled)))


def _high(values: Floats | None) -> float | None:
    return None if values is None else float(np.quantile(values, 0.95))
