"""Linkage: does a payload say that somebody was here before? One payload of a person is held beside one payload of
everybody, that person's other one among them; no hidden attribute is asked for.

    rank_i = 1 + #{ j != i : d(w_i, w'_j) < d(w_i, w'_i) }

for the payloads w, w' of two sessions of each person (top-1 and AUC over ranks, as in person re-identification: Zheng
et al. 2016, arXiv:1610.02984). The distance is the best on aux_val of three: standardized payloads, their cosine, and
the cosine after the variance within a person is whitened away (Hatch, Kajarekar and Stolcke 2006, "Within-class
covariance normalization"), which is learned from the people of aux_train. The floor looks at the server's answers
alone: who got the same one is nearer than who got another.

A person stands on both sides, as the one who is looked for and in the galleries of the others. In the bootstrap a
person who was drawn twice is therefore looked for twice, and stands twice in every gallery but the own one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA

from privet.attack import View
from privet.auditing.estimate import weights
from privet.auditing.panel import GALLERY, gallery_odds
from privet.auditing.wire import Observed
from privet.data.corpus import Corpus, Ints
from privet.nets import STILL
from privet.payload import Array

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Embed = Callable[[Floats], Floats]
FEWEST = 10  # people with two payloads or more
MEETINGS = 5  # pairs of payloads that are drawn of each person
COMPONENTS = 128
REPLICATES = 400
ANSWERS = "floor:answer"
DISTANCES = ("standardized", "cosine", "whitened")


def link(observed: Observed, corpus: Corpus, seed: int, side: int = 0, answers: Ints | None = None) -> dict[str, Array]:
    """Ranks [MEETINGS, P] of the right one among P people, by `linkage/DISTANCE/ranks`, who they are [P],
    `linkage/DISTANCE/people`, and under the bootstrap's weights [1 + REPLICATES] how often the right one is the first
    of a gallery, `linkage/DISTANCE/first`, and the AUC of its rank, `linkage/DISTANCE/auc`. The last `side` columns of
    a view, which are known anyway, are not looked at. The same by the victims' `answers` [N] alone stands under
    `linkage/floor:answer`. Empty where the data know no persons, or too few with two payloads."""
    parts = {role: corpus.parts[role].groups for role in ("aux_train", "aux_val", "victim")}
    if not corpus.person or min(len(_several(groups)) for groups in (parts["aux_val"], parts["victim"])) < 2:
        return {}
    if len(_several(parts["victim"])) < FEWEST:
        return {}
    train = observed.train[0]
    found = {name: _embedding(name, _flat(train, side), parts["aux_train"], seed) for name in DISTANCES}
    val, victims = _flat(observed.val, side), _flat(observed.victims, side)
    met = {name: _meetings(embed(val), parts["aux_val"], seed) for name, embed in found.items()}
    best = max(met, key=lambda name: auc(np.stack([ranks(one) for one in met[name]])))
    kept = _told(best, found[best](victims), parts["victim"], seed)
    if answers is not None:
        same = (answers[:, None] == np.unique(answers)).astype(np.float64)
        kept |= _told(ANSWERS, same, parts["victim"], seed)
    return kept


def auc(ranks: Ints) -> float:
    """The share of other people who are farther away than the right one, mean over everybody and all meetings."""
    return float(1 - (ranks - 1).mean() / max(1, ranks.shape[1] - 1))


def nearer(distances: Floats, generator: np.random.Generator) -> Bools:
    """Who is nearer than the right one, the diagonal of distances [P, P]; those that are equally near stand in a drawn
    order."""
    right = np.diag(distances)[:, None]
    places = generator.random(distances.shape, dtype=np.float32)
    found: Bools = (distances < right) | ((distances == right) & (places < np.diag(places)[:, None]))
    return found


def ranks(found: Bools) -> Ints:
    """Rank of the right one among all [P], from who is nearer [P, P]."""
    placed: Ints = 1 + found.sum(1)
    return placed


def resampled(found: Bools, drawn: Floats) -> tuple[Floats, Floats]:
    """How often the right one is the first of a gallery, and the AUC of its rank, [1 + R] each, of who is nearer than
    the right one [P, P] under the multiplicities of people [1 + R, P], who count on both sides. Nobody but the right
    one stands in the own gallery under the own name, so the others of somebody drawn w times are P - w."""
    people = len(found)
    before = drawn.astype(np.float32) @ found.T.astype(np.float32)  # weighted others who are nearer, whole numbers
    first = np.zeros_like(drawn)
    for times in np.unique(drawn):
        own = drawn == times
        odds = gallery_odds(people - int(times), min(GALLERY, people))
        first[own] = odds[before[own].astype(np.int64)]
    share = before / np.maximum(people - drawn, 1)
    return (drawn * first).sum(1) / people, (drawn * (1 - share)).sum(1) / people


def _several(groups: Ints) -> Ints:
    """People with two payloads or more."""
    names, counts = np.unique(groups, return_counts=True)
    several: Ints = names[counts > 1]
    return several


def _told(name: str, points: Floats, groups: Ints, seed: int) -> dict[str, Array]:
    people = _several(groups)
    drawn = weights(np.arange(len(people)), REPLICATES, seed=0)
    met = list(_meetings(points, groups, seed))
    first, area = np.mean([resampled(found, drawn) for found in met], axis=0)
    arrays = {"ranks": np.stack([ranks(found) for found in met]), "people": people, "first": first, "auc": area}
    return {f"linkage/{name}/{kind}": array for kind, array in arrays.items()}


def _meetings(points: Floats, groups: Ints, seed: int) -> Iterator[Bools]:
    """For each meeting who is nearer to everybody's payload than the own other one, [P, P]."""
    generator = np.random.default_rng([seed, 9])
    rows = [np.flatnonzero(groups == person) for person in _several(groups)]
    for _ in range(MEETINGS):
        pairs = np.stack([generator.choice(own, 2, replace=False) for own in rows])
        first, second = points[pairs[:, 0]], points[pairs[:, 1]]
        squares = np.square(first).sum(1)[:, None] + np.square(second).sum(1) - 2 * first @ second.T
        yield nearer(squares, generator)


def _embedding(name: str, flat: Floats, groups: Ints, seed: int) -> Embed:
    """A map after which the Euclidean distance is the named one."""
    mean, deviation = flat.mean(0), flat.std(0)
    scale = np.where(deviation > STILL * np.abs(flat).max(0), deviation, np.inf)
    if name == "standardized":
        return lambda x: (x - mean) / scale
    if name == "cosine" or len(_several(groups)) < 2 or not np.isfinite(scale).any():
        return lambda x: _unit((x - mean) / scale)
    width = min(COMPONENTS, *flat.shape)
    pca = PCA(width, svd_solver="randomized", random_state=seed).fit((flat - mean) / scale)
    points = pca.transform((flat - mean) / scale)
    within = np.concatenate([points[groups == p] - points[groups == p].mean(0) for p in _several(groups)])
    values, vectors = np.linalg.eigh(ledoit_wolf(within, assume_centered=True)[0])
    whiten = vectors / np.sqrt(np.maximum(values, 1e-9 * max(float(values.max()), 1e-12)))
    return lambda x: _unit(pca.transform((x - mean) / scale) @ whiten)


def _unit(x: Floats) -> Floats:
    unit: Floats = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return unit


def _flat(view: View, side: int) -> Floats:
    return view.flat[:, : view.flat.shape[1] - side].to(torch.float64).numpy()
