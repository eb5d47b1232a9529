"""Who belongs together: persons by a column, near-duplicate pictures by a perceptual hash, equal rows by content.

The hash is the difference hash of N. Krawetz (2013): 64 signs of horizontal differences of the 9x8 gray thumbnail.
Two pictures are near-duplicates when at most 2 signs differ and the thumbnails agree; pairs are found by banding: of
5 bands, 2 differing bits leave at least 3 untouched, so equal triples of bands find every such pair."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from privet.data.corpus import Ints, Pixels

MOST_BITS = 2
MOST_LEVELS = 6.0
LOOK_AHEAD = 32
SMALLEST_SIDE = 32
BANDS = ((0, 13), (13, 26), (26, 39), (39, 52), (52, 64))
GROUP_WORDS = ("identity", "person", "writer", "speaker", "subject", "patient", "user", "group")


def group_column(names: Sequence[str]) -> str | None:
    """The first column that is named like a person: identity, writer, subject_id, ..."""
    for word in GROUP_WORDS:
        for name in names:
            if name.lower().replace("-", "_") in (word, f"{word}_id", f"{word}id"):
                return name
    return None


def join(*labelings: Ints | npt.NDArray[np.str_]) -> Ints:
    """The finest labeling [N] in which rows equal under any of the given labelings are equal."""
    n = len(labelings[0])
    edges: list[npt.NDArray[np.intp]] = []
    for labels in labelings:
        order = np.argsort(labels, kind="stable")
        same = labels[order][1:] == labels[order][:-1]
        edges.append(np.stack([order[:-1][same], order[1:][same]]))
    return _components(n, np.concatenate(edges, axis=1))


def near_duplicates(thumbs: Pixels) -> Ints:
    """Cluster labels [N] of pictures whose thumbnails [N, 8, 9] are nearly equal."""
    n = len(thumbs)
    signs = (thumbs[:, :, 1:] > thumbs[:, :, :-1]).reshape(n, 64)
    levels = thumbs.reshape(n, 72).astype(np.float32)
    levels -= levels.mean(1, keepdims=True)
    edges = [np.zeros((2, 0), np.intp)]
    for triple in combinations(BANDS, 3):
        bits = np.concatenate([signs[:, first:last] for first, last in triple], axis=1)
        key = bits @ (1 << np.arange(bits.shape[1], dtype=np.int64))
        order = np.argsort(key, kind="stable")
        key = key[order]
        for step in range(1, min(LOOK_AHEAD, n - 1) + 1):
            at = np.flatnonzero(key[step:] == key[:-step])
            if not len(at):
                break
            a, b = order[at], order[at + step]
            alike = (signs[a] != signs[b]).sum(1) <= MOST_BITS
            a, b = a[alike], b[alike]
            alike = np.abs(levels[a] - levels[b]).mean(1) <= MOST_LEVELS
            edges.append(np.stack([a[alike], b[alike]]))
    return _components(n, np.concatenate(edges, axis=1))


def persons(codes: Ints) -> Ints:
    """Group labels from a column's codes: rows without a person stand alone."""
    alone = codes < 0
    groups = codes.copy()
    groups[alone] = codes.max(initial=0) + 1 + np.arange(int(alone.sum()))
    return groups


def _components(n: int, edges: npt.NDArray[np.intp]) -> Ints:
    graph = coo_array((np.ones(edges.shape[1], np.int8), (edges[0], edges[1])), shape=(n, n))
    labels: Ints = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels
