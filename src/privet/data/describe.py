"""What a corpus is, in figures: for the report, and for the reader who must know how easy the case is."""

from __future__ import annotations

from typing import Any

import numpy as np

from privet.data.corpus import Corpus, Ints

KNOWN_TO_ANALYST = ("task_train", "task_val", "aux_train", "aux_val")


def dependence(corpus: Corpus) -> dict[str, float]:
    """I(y; s) in nats for every hidden attribute, on labelled examples of the task and aux parts; empty where nobody is
    labelled with the target.

    Plug-in estimate with the correction of Miller (1955) and Madow for the number of occupied cells, floored at 0; 0
    where no example has both labels."""
    parts = [corpus.parts[role] for role in KNOWN_TO_ANALYST if role in corpus.parts]
    y = np.concatenate([part.y for part in parts])
    if not np.any(y >= 0):
        return {}
    return {name: mutual_information(y, np.concatenate([part.s[name] for part in parts])) for name in corpus.hidden}


def mutual_information(a: Ints, b: Ints) -> float:
    """I(a; b) in nats of two label vectors [N], -1 missing; Miller-Madow corrected, never negative."""
    known = (a >= 0) & (b >= 0)
    n = int(known.sum())
    if not n:
        return 0.0
    _, pair = np.unique(a[known] * (int(b.max()) + 1) + b[known], return_counts=True)
    entropies = [_entropy(np.unique(values[known], return_counts=True)[1], n) for values in (a, b)]
    return max(0.0, sum(entropies) - _entropy(pair, n))


def _entropy(counts: Ints, n: int) -> float:
    p = counts / n
    return float(-(p * np.log(p)).sum() + (len(counts) - 1) / (2 * n))


def describe(corpus: Corpus) -> dict[str, Any]:
    """JSON-serializable facts: name, kind, shape, counts per part, attributes with class names and victim
    frequencies (of labelled examples), missing labels, I(y; s), notes, flags, digest."""
    victim = corpus.victim
    labels = {corpus.target: victim.y, **victim.s}
    return {
        "name": corpus.name,
        "kind": corpus.kind,
        "shape": list(corpus.shape),
        "examples": {role: len(part) for role, part in corpus.parts.items()},
        "groups": {role: len(np.unique(part.groups)) for role, part in corpus.parts.items()},
        "target": _attribute(corpus, corpus.target, labels[corpus.target]) if corpus.target else None,
        "hidden": [_attribute(corpus, name, labels[name]) for name in corpus.hidden],
        "side": [_attribute(corpus, name, labels[name]) for name in corpus.side],
        "person": corpus.person,
        "dependence": dependence(corpus),
        "notes": list(corpus.notes),
        "flags": list(corpus.flags),
        "digest": corpus.digest,
    }


def _attribute(corpus: Corpus, name: str, labels: Ints) -> dict[str, Any]:
    known = labels[labels >= 0]
    counts = np.bincount(known, minlength=corpus.n_classes(name))
    share = counts / max(1, len(known))
    return {
        "name": name,
        "classes": list(corpus.classes[name]),
        "victim_frequencies": [float(value) for value in share],
        "victim_missing": len(labels) - len(known),
    }
