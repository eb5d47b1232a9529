"""A bound on every attacker, for payloads of a finite alphabet: no noise, no density, no class of attackers is assumed.

The mechanism is fixed, and N people who took no part in making it give (w_i, s_i): the message that each of them sends
and what it should hide. They come in groups (a person's pictures, near-duplicates): groups are independent, members of
one group need not be. An attacker, whatever he computes, is in the end a rule from messages to guesses; so

    S = max over all rules of sum_i a_i 1[rule(w_i) = s_i] = sum_w max_s sum_{i: w_i = w, s_i = s} a_i,    sum_i a_i = 1

is what no rule exceeds on these very people, even one made for them. A maximum is convex, so E[S] is at least the best
rule's true value (Jensen). Replacing one group, its messages and its labels at once, moves the value of every rule by
at most c_g = sum_{i in g} a_i, hence S too, and McDiarmid's inequality gives, with probability 1 - delta,

    true value of the best rule <= E[S] <= S + sqrt(ln(1 / delta) sum_g c_g^2 / 2)

McDiarmid 1989 (On the method of bounded differences); Issa et al. 2020 (An operational approach to information leakage,
arXiv:1807.07878); Boucheron et al. 2009 (On concentration of self-bounding functions). Side information of the attacker
is counted by joining it into the message: `cells` index the distinct pairs.

The number of people need not be fixed ahead: all holds given the sizes of the groups, for people met in groups of such
sizes. It fails where the scored people had a say in the mechanism, if only in which of several mechanisms to take.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from privet.errors import DataError, SpecError

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CHUNK = 1 << 21  # numbers of the pictures held as float64 at a time
TOP = 100.0  # dB, where `privet.metrics.psnr` ends too


@dataclass(frozen=True)
class Certificate:
    """What no attacker exceeds (accuracy-like) or falls below (squared error), and on whom it stands.

    bound: holds for every attacker with probability `confidence`, in [0, 1]. in_sample: the optimal guess made for
    these very people, optimistic for the attacker. slack: what separates the two before the bound is cut to [0, 1].
    confidence: of this one bound, after the union. messages: distinct ones seen. informative: False where too few
    people sent too many messages for the bound to say anything. scope: to be printed with it, always.
    """

    bound: float
    in_sample: float
    slack: float
    confidence: float
    people: int
    groups: int
    messages: int
    informative: bool
    scope: str


def accuracy(cells: Array, s: Array, groups: Array, *, delta: float = 0.05, bounds: int = 1) -> Certificate:
    """No attacker's accuracy on new people exceeds the bound; a_i = 1/N, so that c_g = |g| / N.

    cells [N] message of each person, s [N] what is hidden (-1 = missing, left out: the bound is then about people whose
    label is known), groups [N]. `bounds` is how many bounds shall hold together with probability 1 - delta. People are
    weighted as they occur: where sizes of groups vary, a large group counts for as many as it has members.
    `DataError` for unequal lengths, no labels or fewer than two groups, `SpecError` for delta or bounds out of range.
    """
    level = _Level(delta, bounds)
    sample = _sample(cells, s, groups)
    return _plain(sample, level)


def balanced_accuracy(
    cells: Array, s: Array, groups: Array, classes: int, *, delta: float = 0.05, bounds: int = 1
) -> Certificate:
    """No attacker's mean recall over the K' values of s that occur here exceeds the bound; a_i = 1 / (K' n_{s_i}).

    All is conditional on the labels: sums over people with label s are then means over a fixed number n_s, the groups'
    messages remain independent, and E[S] is at least (1/K') sum_w max_s p(w | s), where p(w | s) is the mean law of the
    messages of those with label s. A group whose members carry several labels counts in each, c_g = sum of its a_i,
    and there p(w | s) is that of people in the company of such labels. A value with few people makes c_g large.
    `classes` is the number K of values that s may have; arguments and errors otherwise as in `accuracy`.
    """
    level = _Level(delta, bounds)
    sample = _sample(cells, s, groups)
    if int(sample.s.max()) >= classes:
        raise DataError(f"labels reach {int(sample.s.max())} with {classes} classes; give labels in 0..classes-1")
    counts = np.bincount(sample.s, minlength=classes)
    present = int((counts > 0).sum())
    share = 1.0 / (present * np.maximum(counts, 1))
    missing = f" (of {classes}: nothing is said of the others)" if present < classes else ""
    about = f"it is the mean recall over {present} values{missing}, given these labels"
    return _upper(sample, share[sample.s], level, about)


def of_groups(
    cells: Array, s: Array, by: Array, groups: Array, *, delta: float = 0.05, bounds: int = 1
) -> dict[int, Certificate]:
    """`accuracy` among the people of each value of another attribute `by` [N] (-1 = missing), which the attacker may
    know. Given `by`, the groups remain independent.

    The bounds of all values hold together, and with the `bounds` of this kind: each takes delta / (bounds * values).
    A value without labelled people is absent; one whose people are few is there, and not informative.
    """
    level = _Level(delta, bounds)
    sample = _sample(cells, s, groups)
    values = _integers("by", by)
    if len(values) != len(np.asarray(s)):
        raise DataError(f"by has {len(values)} values for {len(np.asarray(s))} people; give one each, -1 = missing")
    known = values[sample.rows]
    present = [int(v) for v in np.unique(known) if v >= 0]
    each = _Level(level.delta, level.bounds * max(1, len(present)))
    return {v: _plain(sample.where(known == v), each) for v in present}


def several(
    cells: Array, attributes: Mapping[str, Array], groups: Array, *, delta: float = 0.05
) -> dict[str, Certificate]:
    """`accuracy` for several hidden attributes (name -> s [N]): all bounds hold together with probability 1 - delta."""
    if not attributes:
        raise DataError("no attribute to certify; give at least one name with its labels")
    return {
        name: accuracy(cells, s, groups, delta=delta, bounds=len(attributes)) for name, s in sorted(attributes.items())
    }


def maximal_leakage(bits: float) -> float:
    """The factor by which a payload of so many bits improves any guess of anything, at most (Issa et al. 2020,
    Theorem 1): 2**bits, for attributes that nobody named.

    A deterministic map onto M messages leaks ln M; k payloads of one person have k * bits. `SpecError` below 0.
    """
    if not (math.isfinite(bits) and bits >= 0):
        raise SpecError(f"a payload has a finite number of bits from 0 on, got {bits}")
    return float(2.0**bits) if bits < 1024 else math.inf


# ------------------------------------------------------------------------------------------------------ squared error


def cell_errors(cells: Array, x: Array) -> Floats:
    """Squared distance of each x to the mean of its cell, mean over its values: x [N, ...] -> [N] in [0, 1].

    x is uint8 (taken as x / 255) or float in [0, 1]. The mean of a cell is the best guess for those in it; one who is
    alone in his cell has error 0. Works through some values of everybody at a time: x is never held in float64.
    `DataError` for other types, values outside [0, 1] or unequal lengths.
    """
    index = np.unique(_integers("cells", cells), return_inverse=True)[1].ravel()
    flat, scale = _pixels(x, len(index))
    order = np.argsort(index, kind="stable")
    counts = np.bincount(index)
    starts = np.cumsum(counts) - counts
    total = np.zeros(len(index))
    step = max(1, CHUNK // len(index))
    for first in range(0, flat.shape[1], step):
        values = flat[:, first : first + step][order].astype(np.float64)
        means = np.add.reduceat(values, starts, axis=0) / counts[:, None]
        values -= np.repeat(means, counts, axis=0)
        total += np.einsum("nd,nd->n", values, values)
    errors = np.empty_like(total)
    errors[order] = np.minimum(total / (flat.shape[1] * scale**2), 1.0)
    return errors


def squared_error(cells: Array, errors: Array, groups: Array, *, delta: float = 0.05, bounds: int = 1) -> Certificate:
    """No attacker's mean squared error on new people falls below the bound, in squared units of x in [0, 1].

    errors [N] are the `cell_errors` of these people in these cells. Their mean M is the least mean error of any guess
    that depends on the message alone; a minimum is concave, so E[M] is at most the least true error (Jensen). Of two
    lower bounds on E[M], McDiarmid's and that of `_self_bounding`, each at half of delta, the better one is taken.

    It bounds the mean of the squared error, not the mean of the PSNR of each picture, which can be larger (Jensen, the
    wrong way): `psnr_of` only changes the unit of the mean. Errors as in `accuracy`; `DataError` also for errors
    outside [0, 1], or above 0 for someone who is alone in his cell.
    """
    level = _Level(delta, bounds)
    sample = _sample(cells, np.zeros(len(cells), np.int64), groups)
    loss = np.asarray(errors, np.float64)
    if loss.shape != sample.cells.shape or not (np.isfinite(loss).all() and loss.min() >= 0 and loss.max() <= 1):
        raise DataError(f"errors of shape {loss.shape} must be one number in [0, 1] each; give `cell_errors(cells, x)`")
    alone = np.bincount(sample.cells)[sample.cells] == 1
    if loss[alone].any():
        raise DataError("someone alone in his cell has an error above 0; give the `cell_errors` of these very cells")
    sizes = np.bincount(sample.member).astype(np.float64)
    half, people, total = level.log + math.log(2), len(loss), float(loss.sum())
    bounded = total - people * _mcdiarmid(sizes / people, half)
    lower = max(bounded, _self_bounding(total, float(sizes.max()), half)) / people
    mean = total / people
    about = "it bounds the mean squared error over people, not the PSNR of each picture"
    return _certificate(sample, level, (min(1.0, max(0.0, lower)), mean, mean - lower), lower > 0, about)


def psnr_of(error: float) -> float:
    """A mean squared error of x in [0, 1] in dB, 100 at most: the unit changed, not the PSNR of any one picture."""
    if not (math.isfinite(error) and error >= 0):
        raise SpecError(f"a squared error is a finite number from 0 on, got {error}")
    return min(TOP, -10 * math.log10(error)) if error > 0 else TOP


def _mcdiarmid(shares: Floats, level: float) -> float:
    """t with P(f >= E f + t) <= exp(-level) for differences bounded by shares [G]; the same for the other side."""
    return math.sqrt(level * float(np.square(shares).sum()) / 2)


def _self_bounding(total: float, largest: float, level: float) -> float:
    """A lower bound on E[Z] that holds with probability 1 - exp(-level); total: Z = N M, largest: m = max |g|.

    Let Z_g be Z without group g. In a cell of n people Z is the sum over pairs of |x_i - x_j|^2 / n, and without g the
    other pairs count no less, so Z - Z_g is at most what the pairs with somebody in g contribute; a pair meets at most
    two groups, so sum_g (Z - Z_g) <= 2 Z. And 0 <= Z - Z_g <= |g| <= m: guessing the others' mean for the members of g
    costs each at most 1. Hence sum_g (Z - Z_g)^2 <= 2 m Z: Z / m is weakly (2, 0)-self-bounding (Boucheron et al.
    2009). With the modified logarithmic Sobolev inequality, Ent(e^{lZ}) <= l^2/2 E[e^{lZ} sum_g (Z - Z_g)^2], l > 0,
    Herbst's argument gives ln E e^{l (Z - EZ)} <= m EZ l^2 / (1 - m l), and Chernoff's bound with the best l

        P( Z >= EZ + 2 sqrt(m level EZ) + m level ) <= exp(-level),    so sqrt(EZ) >= sqrt(Z) - sqrt(m level)
    """
    return max(0.0, math.sqrt(total) - math.sqrt(largest * level)) ** 2


# ------------------------------------------------------------------------------------------------------------ details


@dataclass(frozen=True)
class _Level:
    """The chance delta that any of several bounds fails, shared equally among them."""

    delta: float
    bounds: int

    def __post_init__(self) -> None:
        if not 0 < self.delta < 1:
            raise SpecError(f"delta is the chance that a bound fails and lies between 0 and 1, got {self.delta}")
        if isinstance(self.bounds, bool) or not isinstance(self.bounds, int | np.integer) or self.bounds < 1:
            raise SpecError(f"bounds is how many bounds hold together, 1 or more, got {self.bounds}")

    @property
    def log(self) -> float:
        """ln(1 / delta of one bound)."""
        return math.log(self.bounds / self.delta)


@dataclass(frozen=True)
class _Sample:
    """Labelled people: message 0..M-1, label, group 0..G-1, and the row in which each was given."""

    cells: Ints
    s: Ints
    member: Ints
    rows: Ints

    def where(self, chosen: npt.NDArray[np.bool_]) -> _Sample:
        cells, member = (np.unique(v[chosen], return_inverse=True)[1].ravel() for v in (self.cells, self.member))
        return _Sample(cells, self.s[chosen], member, self.rows[chosen])


def _sample(cells: Array, s: Array, groups: Array) -> _Sample:
    """The labelled people, or a refusal."""
    c, labels, g = _integers("cells", cells), _integers("s", s), np.asarray(groups)
    if not (g.ndim == 1 and len(c) == len(labels) == len(g)):
        raise DataError(f"{len(c)} cells, {len(labels)} labels, groups of shape {g.shape}; give one of each per person")
    if int(labels.min()) < -1:
        raise DataError(f"a label is {int(labels.min())}; labels are 0, 1, ... and -1 where missing")
    if not (labels >= 0).any():
        raise DataError(f"none of {len(labels)} people has a label; a certificate needs people whose value is known")
    member = np.unique(g, return_inverse=True)[1].ravel()
    sample = _Sample(c, labels, member, np.arange(len(c))).where(labels >= 0)
    if not sample.member.any():
        raise DataError(f"all {len(sample.s)} labelled people are one group; give two independent groups or more")
    return sample


def _integers(name: str, values: Array) -> Ints:
    array = np.asarray(values)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer) or not len(array):
        raise DataError(f"{name} is {array.dtype} of shape {array.shape}; give one integer per person, [N] with N >= 1")
    return array.astype(np.int64, copy=False)


def _pixels(x: Array, people: int) -> tuple[Array, float]:
    """x as [N, D] of its own type, and the number that is 1."""
    if x.ndim < 2 or len(x) != people or x[0].size == 0:
        raise DataError(f"x has shape {x.shape} for {people} cells; give [N, ...], one x per person")
    if x.dtype == np.uint8:
        return x.reshape(people, -1), 255.0
    if not np.issubdtype(x.dtype, np.floating) or not (float(x.min()) >= 0 and float(x.max()) <= 1):
        raise DataError(f"x is {x.dtype} and not all in [0, 1]; give uint8 pictures or floats in [0, 1]")
    return x.reshape(people, -1), 1.0


def _plain(sample: _Sample, level: _Level) -> Certificate:
    return _upper(sample, np.ones(len(sample.s)), level, "")


def _upper(sample: _Sample, weights: Floats, level: _Level, about: str) -> Certificate:
    """S and its slack, for weights [N] that are a_i but for a factor."""
    values, s = np.unique(sample.s, return_inverse=True)
    pairs, index = np.unique(sample.cells * len(values) + s.ravel(), return_inverse=True)
    best = np.zeros(int(sample.cells.max()) + 1)
    np.maximum.at(best, pairs // len(values), np.bincount(index.ravel(), weights))
    value = min(1.0, float(best.sum() / weights.sum()))
    slack = _mcdiarmid(np.bincount(sample.member, weights) / weights.sum(), level.log)
    bound = min(1.0, value + slack)
    return _certificate(sample, level, (bound, value, slack), bound < 1, about)


def _certificate(
    sample: _Sample, level: _Level, found: tuple[float, float, float], informative: bool, about: str
) -> Certificate:
    """found: bound, in-sample value, slack."""
    people, groups, messages = len(sample.s), int(sample.member.max()) + 1, int(sample.cells.max()) + 1
    confidence = 1 - level.delta / level.bounds
    parts = [
        f"holds with probability {confidence:.6g} for a population of which these are {people} people in {groups} "
        f"groups, independent as far as is known, none of whom had a part in making or choosing what is sent",
        "one payload a person, of exactly this alphabet",
        "the attacker knows nothing else about the person than what is counted into the message",
    ]
    if level.bounds > 1:
        parts.append(f"one of {level.bounds} bounds that hold together with probability {1 - level.delta:.6g}")
    if about:
        parts.append(about)
    if not informative:
        parts.insert(
            0, f"says nothing: too little is known from {people} people in {groups} groups with {messages} messages"
        )
    return Certificate(*found, confidence, people, groups, messages, informative, "; ".join(parts))
