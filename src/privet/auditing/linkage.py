"""Linkage: does a payload say that somebody was here before? One payload of a person is held beside one payload of
everybody, that person's other one among them; no hidden attribute is asked for.

    rank_i = 1 + #{ j != i : d(w_i, w'_j) < d(w_i, w'_i) }

for the payloads w, w' of two sessions of each person (top-1 and AUC over ranks, as in person re-identification: Zheng
et al. 2016, arXiv:1610.02984). The distance is the best on aux_val of three: standardized payloads, their cosine, and
the cosine after the variance within a person is whitened away (Hatch, Kajarekar and Stolcke 2006, "Within-class
covariance normalization"), which is learned from the people of aux_train.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA

from privet.attack import View
from privet.auditing.wire import Observed
from privet.data.corpus import Corpus, Ints
from privet.nets import STILL

Floats = npt.NDArray[np.float64]
Embed = Callable[[Floats], Floats]
FEWEST = 10  # people with two payloads or more
MEETINGS = 5  # pairs of payloads that are drawn of each person
COMPONENTS = 128
DISTANCES = ("standardized", "cosine", "whitened")


def link(observed: Observed, corpus: Corpus, seed: int, side: int = 0) -> dict[str, npt.NDArray[np.generic]]:
    """Ranks [MEETINGS, P] of the right one among P people, by `linkage/DISTANCE/ranks`, and who they are [P],
    `linkage/DISTANCE/people`; the last `side` columns of a view, which are known anyway, are not looked at. Empty where
    the data know no persons, or too few with two payloads."""
    parts = {role: corpus.parts[role].groups for role in ("aux_train", "aux_val", "victim")}
    if not corpus.person or min(len(_several(groups)) for groups in (parts["aux_val"], parts["victim"])) < 2:
        return {}
    if len(_several(parts["victim"])) < FEWEST:
        return {}
    train = observed.train[0]
    found = {name: _embedding(name, _flat(train, side), parts["aux_train"], seed) for name in DISTANCES}
    best = max(found, key=lambda name: auc(_ranks(found[name], observed.val, parts["aux_val"], seed, side)[0]))
    ranks, people = _ranks(found[best], observed.victims, parts["victim"], seed, side)
    return {f"linkage/{best}/ranks": ranks, f"linkage/{best}/people": people}


def auc(ranks: Ints) -> float:
    """The share of other people who are farther away than the right one, mean over everybody and all meetings."""
    return float(1 - (ranks - 1).mean() / max(1, ranks.shape[1] - 1))


def ranks(distances: Floats, generator: np.random.Generator) -> Ints:
    """Rank of the right one, the diagonal of distances [P, P]; among those that are equally near, a drawn place."""
    right = np.diag(distances)[:, None]
    nearer, equal = (distances < right).sum(1), (distances == right).sum(1)
    placed: Ints = 1 + nearer + generator.integers(0, equal)
    return placed


def _several(groups: Ints) -> Ints:
    """People with two payloads or more."""
    names, counts = np.unique(groups, return_counts=True)
    several: Ints = names[counts > 1]
    return several


def _ranks(embed: Embed, view: View, groups: Ints, seed: int, side: int) -> tuple[Ints, Ints]:
    people, generator = _several(groups), np.random.default_rng([seed, 9])
    points = embed(_flat(view, side))
    rows = [np.flatnonzero(groups == person) for person in people]
    found = []
    for _ in range(MEETINGS):
        pairs = np.stack([generator.choice(own, 2, replace=False) for own in rows])
        first, second = points[pairs[:, 0]], points[pairs[:, 1]]
        squares = np.square(first).sum(1)[:, None] + np.square(second).sum(1) - 2 * first @ second.T
        found.append(ranks(squares, generator))
    return np.stack(found), people


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
