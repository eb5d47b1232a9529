"""Sides: one defended split seen group by group, as tables under common bootstrap weights.

A table is [V groups, 1 + R]: the statistic itself, then its replicates, each a ratio's first-order expansion

    r + sum_i (w_i - 1) (a_i - r b_i) / sum_i b_i,    r = sum_i a_i / sum_i b_i

which has the variance of the resampled ratio and no hole where nobody of a small group was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from privet.auditing.estimate import FEW, Estimate, estimate
from privet.metrics import collapsed, spoken_of, tpr_at_fpr, wilson
from privet.report.chances import Chance
from privet.report.crowds import Crowd, Floats, Guesses, Ints, Mask

RATES = {"tpr_at_1_fpr": 0.01, "tpr_at_tenth_fpr": 0.001}
SURE = ("covered", *RATES)  # what needs to know how sure an attack was


@dataclass(frozen=True)
class Side:
    """A crowd under one defense: statistics per seed under the weights [1 + R, N]."""

    crowd: Crowd
    guesses: Guesses
    weights: Floats
    chance: Chance

    @cached_property
    def tables(self) -> list[dict[str, Floats]]:
        """Per seed: quantity -> [V, 1 + R]; a row of NaN where nobody counts."""
        found = [self._table(a, n) for a, n in zip(self.guesses.answers, self.guesses.named, strict=True)]
        for table, posterior in zip(found, self.guesses.sure, strict=False):
            table |= self._sure(posterior)
        return found

    def _sure(self, posterior: Floats) -> dict[str, Floats]:
        s, present = self.crowd.s, self.crowd.present
        right = spoken_of(posterior, s) & (posterior.argmax(1) == s)
        rates = {name: tpr_at_fpr(posterior, s, self.weights, fpr).T[present] for name, fpr in RATES.items()}
        rates = {name: np.where(np.isnan(found), found[:, :1], found) for name, found in rates.items()}  # nobody drawn
        return {"covered": self._ratio(self.crowd.member & right[:, None], self.crowd.member)} | rates

    def _table(self, answers: Ints, named: Ints) -> dict[str, Floats]:
        member, known = self.crowd.member, (self.crowd.y >= 0)[:, None]
        hit, right = named[:, None] == self.crowd.present, (answers == self.crowd.y)[:, None]
        recall, rate = self._ratio(member & hit, member), self._ratio(hit, np.ones_like(hit))
        found = {
            "accuracy": self._ratio(member & known & right, member & known),
            "recall": recall,
            "precision": self._ratio(member & hit, hit),
            "rate": rate,
            "exposure": recall - rate,
            "false": self._ratio(~member & hit, ~member),
        }
        found["balanced"] = (recall + 1 - found["false"]) / 2
        if self.crowd.positive:
            for name, truth in (("fpr", 0), ("tpr", 1)):
                asked = member & (self.crowd.y == truth)[:, None]
                found[name] = self._ratio(asked & (answers == 1)[:, None], asked)
        return found

    def _ratio(self, part: Mask, whole: Mask) -> Floats:
        a, b = (np.asarray(self.weights @ mask.astype(np.float64)).T for mask in (part, whole))
        first = np.divide(a[:, :1], b[:, :1], out=np.full_like(a[:, :1], np.nan), where=b[:, :1] > 0)
        expanded: Floats = first + (a - first * b) / np.where(b[:, :1] > 0, b[:, :1], 1.0)
        return expanded

    def mean(self, quantity: str) -> Floats:
        """The statistic of each group, mean over the seeds [V]."""
        means: Floats = np.mean([t[quantity][:, 0] for t in self.tables], axis=0)
        return means

    def of(self, quantity: str, group: int) -> list[Floats]:
        """Per seed the statistic of one group [1 + R], over the seeds that have one."""
        tables = [t[quantity][group] for t in self.tables if quantity in t]
        return [table for table in tables if np.isfinite(table[0])]

    def people(self, quantity: str, group: int) -> tuple[int, int]:
        """Examples and independent persons that a statistic of a group stands on; of precision, the mean over seeds."""
        crowd = self.crowd
        if quantity == "precision":
            found = [crowd.size(n == crowd.present[group]) for n in self.guesses.named]
            some = [pair for pair in found if pair[0]] or [(0, 0)]
            return round(sum(n for n, _ in some) / len(some)), round(sum(p for _, p in some) / len(some))
        everybody = np.ones(len(crowd.s), bool)
        return crowd.size(everybody if quantity == "rate" else crowd.member[:, group] & self._counted(quantity))

    def _counted(self, quantity: str) -> Mask:
        """Who counts for a quantity [N]."""
        y = self.crowd.y
        mask: Mask = {"accuracy": y >= 0, "fpr": y == 0, "tpr": y == 1}.get(quantity, np.ones(len(y), bool))
        return mask

    def rate(self, quantity: str, group: int) -> Estimate | None:
        """A proportion with its interval; None where it is not defined."""
        tables = self.of(quantity, group)
        return proportion(tables, *self.people(quantity, group)) if tables else None

    def exposure(self, group: int) -> Estimate:
        """E_v; where hits or misses are few, the interval holds that of recall minus the prediction rate."""
        n, persons = self.people("exposure", group)
        found = estimate(self.of("exposure", group), n, None, None if persons < 2 else persons)
        low, high = found.low, found.high
        recall, named = proportion(self.of("recall", group), n, persons), float(self.mean("rate")[group])
        if min(recall.mean, 1 - recall.mean) * persons < FEW:
            low, high = min(low, recall.low - named), max(high, recall.high - named)
        return Estimate(found.mean, max(low, -1.0), min(high, 1.0), n)

    def balanced(self, group: int) -> Estimate | None:
        """Mean of recall and of the share of the others who are not taken for this group."""
        n, persons = self.people("balanced", group)
        tables = self.of("balanced", group)
        return estimate(tables, n, (0.0, 1.0), persons if persons > 1 else None) if tables else None

    def sum(self, parts: dict[tuple[str, int], int]) -> list[Floats]:
        """Per seed a signed sum of the tables of (quantity, group) [1 + R]."""
        return [np.sum([sign * t[q][v] for (q, v), sign in parts.items()], axis=0) for t in self.tables]

    def moved(self, other: Side, quantity: str, group: int) -> float:
        """The share of a group for whom what a quantity counts comes out differently on the other side."""
        among = self.crowd.member[:, group] & self._counted(quantity)
        here, there = (side._events(quantity, group) for side in (self, other))
        return float(np.mean([(a != b)[among].mean() for a, b in zip(here, there, strict=True)]))

    def _events(self, quantity: str, group: int) -> list[Mask]:
        """What a quantity counts, per seed [N]."""
        if quantity == "exposure":
            return [named == self.crowd.present[group] for named in self.guesses.named]
        return [answers == (self.crowd.y if quantity == "accuracy" else 1) for answers in self.guesses.answers]

    def extremes(self, quantity: str) -> tuple[int, int] | None:
        """The groups with the lowest and the highest value, mean over seeds; None below two groups that have one."""
        means = self.mean(quantity) if quantity in self.tables[0] else np.zeros(0)
        known = int(np.isfinite(means).sum())
        if known < 2:
            return None
        order = np.argsort(means, kind="stable")  # NaN last
        return int(order[0]), int(order[known - 1])

    def name(self, group: int) -> str:
        """What a group is called."""
        return self.crowd.names[int(self.crowd.present[group])]

    @cached_property
    def collapsed(self) -> tuple[str, int]:
        """The value that the attack names for nearly everybody, and in how many seeds; empty and 0 where it does
        not."""
        tops = [collapsed(named, self.crowd.s) for named in self.guesses.named]
        found = [top for top in tops if top is not None]
        return (self.crowd.names[max(found, key=found.count)], len(found)) if found else ("", 0)

    @cached_property
    def confusion(self) -> tuple[tuple[float, ...], ...]:
        """Counts [V][V], rows what people hold and columns what is named, mean over seeds."""
        member = self.crowd.member.astype(np.float64)
        counts = np.mean([member.T @ (n[:, None] == self.crowd.present) for n in self.guesses.named], axis=0)
        return tuple(tuple(float(v) for v in row) for row in counts)


def proportion(tables: list[Floats], n: int, persons: int) -> Estimate:
    """A rate from its tables: the bootstrap over persons where there are several seeds or examples of one person, else
    Wilson's interval, which for one person alone is that of a single trial."""
    if persons > 1 and (len(tables) > 1 or persons < n):
        return estimate(tables, n, (0.0, 1.0), persons)
    mean = min(max(float(np.mean([t[0] for t in tables])), 0.0), 1.0)
    return Estimate(mean, *wilson(mean * persons, persons), n)
