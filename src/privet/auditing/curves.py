"""Learning curves: would an adversary with ten times as many people learn more?

    value(n) = a - b n^-c,   b >= 0

fitted to the strongest attack on half of the people, a quarter, and so on (the power law that learning curves follow
in practice: Hestness et al. 2017, arXiv:1712.00409, section 2), and believed only where the law of the smaller sizes
foretells the largest. The law is fitted to every bootstrap replicate, so that the forecast has an interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from privet.attack import Probe, Solver, costly
from privet.auditing import audit, battery, pictures, wire
from privet.auditing.threat import Threat
from privet.data.corpus import Corpus
from privet.train import Effort, inputs

Floats = npt.NDArray[np.float64]
LEAST, MOST = 50, 6  # people, and sizes
FEWEST = 4  # sizes from which a law is read: three parameters, and one to check them by
EXPONENTS = np.linspace(0.05, 2.0, 79)
BEYOND = 10


def sizes(n: int) -> list[int]:
    """All of n people, half of them, a quarter, down to fifty; smallest first."""
    found = [n >> i for i in range(MOST) if n >> i >= LEAST]
    return found[::-1] if len(found) >= FEWEST else []


def learn(
    observed: wire.Observed, evidence: audit.Evidence, corpus: Corpus, threat: Threat,
    attacks: Mapping[str, Probe | Solver], *, effort: Effort, seed: int, device: torch.device | str = "cpu",
    report: audit.Report = None,
) -> audit.Evidence:  # fmt: skip
    """The attack that was best on aux_val, again with fewer people, for every goal: what it says of the victims, by
    `curve/GOAL/ATTACK@PEOPLE` (of reconstructions the scores, with `/METRIC` behind). Each chooses on a quarter as many
    people."""
    found = audit.Evidence()
    for goal in (*corpus.hidden, "input"):
        able = [n for n in evidence.selection.get(goal, {}) if n in attacks and not costly(attacks[n])]
        if not able:
            continue
        metric = "psnr" if goal == "input" else "accuracy"
        name = max(able, key=lambda n: evidence.selection[goal][n].get(metric, 0.0))
        owned = threat.pairs if goal == "input" else threat.labels
        known = len(corpus.aux_train) if goal == "input" else int((corpus.aux_train.s[goal] >= 0).sum())
        whole = known if owned is None else min(known, owned)
        *halves, everybody = sizes(whole) or [0]
        kept = f"score/{goal}/{name}/{metric}" if goal == "input" else f"posterior/{goal}/{name}"
        if everybody:  # the attack as it was
            found.arrays[_key(goal, name, everybody, metric)] = evidence.arrays[kept]
        for index, size in enumerate(halves):
            if report:
                report(f"learning curve of {name} on {goal}", index, len(halves))
            fewer = replace(threat, labels=size, pairs=size)
            material = audit.material(observed, corpus, fewer, goal, seed)
            outcome = battery.run(attacks[name], material, observed.victims, effort=effort, seed=seed, device=device)
            said = outcome.victims
            scored = pictures.scores(said, inputs(corpus.victim.x))[metric] if goal == "input" else said.numpy()
            found.arrays[_key(goal, name, size, metric)] = scored
    return found


def _key(goal: str, name: str, size: int, metric: str) -> str:
    return f"curve/{goal}/{name}@{size}" + (f"/{metric}" if goal == "input" else "")


def law(people: Sequence[int], values: Floats) -> tuple[Floats, Floats, Floats]:
    """a, b, c [R] of value(n) = a - b n^-c by least squares, for values [M, R] at M sizes."""
    n = np.asarray(people, np.float64)
    best = np.full(values.shape[1], np.inf)
    a, b, c = (np.zeros(values.shape[1]) for _ in range(3))
    for exponent in EXPONENTS:
        falling = n**-exponent
        centered = falling - falling.mean()
        slope = -(centered @ values) / (centered @ centered)
        slope = np.maximum(slope, 0)
        top = values.mean(0) + slope * falling.mean()
        missed = np.square(values - top + np.outer(falling, slope)).sum(0)
        better = missed < best
        best, a, b, c = (
            np.where(better, new, old) for new, old in ((missed, best), (top, a), (slope, b), (exponent, c))
        )
    return a, b, c


def foretell(people: Sequence[int], values: Floats, at: float) -> Floats:
    """What the law of these values [M, R] says at `at` people, [R]."""
    a, b, c = law(people, values)
    foretold: Floats = a - b * at**-c
    return foretold
