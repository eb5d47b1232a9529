"""Fewer examples with a chosen dependence between the target and an attribute: what a leak owes to the question itself.

    p(y, s) proportional to p(y) p(s) exp(lambda [y goes with s]),   lambda such that I(y; s) is what was asked for

Each value of s goes with one target class, so that every class has about the same share of s behind it. At 0 target and
attribute are independent; at the other end the attribute gives the answer. Cells are thinned and never repeated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from privet.data.corpus import Ints
from privet.data.pool import Pool
from privet.data.question import Question
from privet.errors import DataError, SpecError, unknown

Floats = npt.NDArray[np.float64]
STEEPEST = 30.0


def dependent(pool: Pool, question: Question, text: str, seed: int) -> Pool:
    """The pool thinned until I(target; attribute) is a number of nats; `text` is written `race=0.2`.

    Raises SpecError where it is written otherwise or names no hidden attribute, DataError where the examples cannot
    give that much, or too few would be left."""
    name, _, amount = text.partition("=")
    try:
        nats = float(amount)
    except ValueError:
        nats = -1.0
    if not 0 <= nats < np.inf:
        raise SpecError(
            f"dependence is written ATTRIBUTE=NATS with a number of at least 0, such as race=0.2; got {text!r}"
        )
    others = tuple(a for a in question.attributes if a != question.target)
    if name not in others:
        raise SpecError(unknown("attribute for dependence", name, others))
    y, s = (pool.columns[column].codes for column in (question.target, name))
    shape = len(pool.columns[question.target].levels), len(pool.columns[name].levels)
    known = (y >= 0) & (s >= 0)
    counts = np.bincount(y[known] * shape[1] + s[known], minlength=shape[0] * shape[1]).reshape(shape).astype(float)
    wanted = joint(counts, nats, name)
    size = np.min(counts[wanted > 0] / wanted[wanted > 0]) if wanted.any() else 0.0
    take = np.floor(size * wanted + 1e-9).astype(np.int64)
    if take.sum() < 50:
        levels, found = pool.columns[name].levels, counts.sum(0)
        rare = ", ".join(f"{str(levels[v])!r} ({int(found[v])})" for v in np.argsort(found)[:3])
        raise DataError(
            f"only {take.sum()} examples would be left at {nats:g} nats between {question.target!r} and {name!r}, "
            f"because some of their combinations are rare; merge or drop the rarest values of {name!r}: {rare}"
        )
    rows = _thinned(y, s, take, seed)
    kept = pool.take(rows)
    note = (
        f"thinned to I({question.target}; {name}) = {information(take / take.sum()):.3f} nats: {len(rows)} of {len(y)}"
    )
    return replace(kept, notes=(*kept.notes, f"{note} examples"))


def joint(counts: Floats, nats: float, name: str = "the attribute") -> Floats:
    """p(y, s) [Y, S] with the marginals' product tilted until the mutual information is `nats`. DataError where no
    tilt gives as much."""
    product = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum() ** 2
    goes = partners(counts.sum(0), counts.shape[0])[None] == np.arange(counts.shape[0])[:, None]

    def tilted(steep: float) -> Floats:
        whole = product * np.exp(steep * goes - steep)
        return np.asarray(whole / whole.sum())

    if (most := information(tilted(STEEPEST))) < nats:
        raise DataError(
            f"{name!r} can tell at most {most:.2f} nats of the target in these data, not {nats:g}; ask for less"
        )
    low, high = 0.0, STEEPEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if information(tilted(middle)) < nats else (low, middle)
    return tilted(high if nats else 0.0)


def partners(share: Floats, classes: int) -> Ints:
    """The class that each value goes with [S]: from the most frequent value on, the class with the least so far."""
    found, filled = np.zeros(len(share), np.int64), np.zeros(classes)
    for value in np.argsort(-share, kind="stable"):
        found[value] = int(filled.argmin())
        filled[found[value]] += share[value]
    return found


def information(p: Floats) -> float:
    """I(y; s) of a joint distribution [Y, S], in nats."""
    product = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    there = p > 0
    return float((p[there] * np.log(p[there] / product[there])).sum())


def _thinned(y: Ints, s: Ints, take: Ints, seed: int) -> Ints:
    """Rows with `take` [Y, S] examples of each combination, at random and in their old order."""
    generator = np.random.default_rng([seed, 9])
    rows = [
        generator.choice(np.flatnonzero((y == a) & (s == b)), count, replace=False)
        for (a, b), count in np.ndenumerate(take)
        if count
    ]
    return np.sort(np.concatenate(rows))
