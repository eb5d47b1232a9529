"""Gaussian noise matched in usefulness: the sigma at which the target accuracy has fallen by so many points, so that
other defenses can be compared with plain noise at equal cost (the noise comparison in the code released with
Singh et al. 2021, "DISCO").

    z' = z + sigma * xi,  xi ~ N(0, I) fresh for every payload;    sigma such that  A(0) - A(sigma) = drop / 100

A(0) is the accuracy of the network as it was given on task_val, A(sigma) that of the server behind the noise, which for
every sigma tried is fine-tuned from the server given, by CE(h(z'), y) on task_train (`tune=false`: left as it is).
Sigma is bisected on a logarithmic scale from 2^-6 to 2^10 deviations of z, until the fall is met within `tolerance`.

Deviations: the released code adds N(-1, 2^2), whatever the network. A(sigma) is the mean over at least 4096 noisy
payloads, the same noise for every sigma, so the search depends on nothing but its seed. Whether the fall was met is in
the log (`matched`, `drop_reached`): on few people a tuned server's accuracy jumps, and the nearest sigma is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from privet.data.corpus import Corpus
from privet.defense import Defended, Progress
from privet.defenses.gaussian import GaussianObfuscator
from privet.errors import DataError, SpecError
from privet.joint import device_of
from privet.split import Split
from privet.train import Effort, fine_tune_server, labelled, predict

LOWEST, HIGHEST = 2.0**-6, 2.0**10
STEPS = 12
PAYLOADS = 4096


@dataclass(frozen=True)
class Trial:
    """One sigma: the percentage points lost behind it, and the halves with the server that lost them."""

    sigma: float
    lost: float
    split: Split
    log: dict[str, Any]


@dataclass(frozen=True)
class MatchedNoise:
    """Add the Gaussian noise that costs `drop` percentage points of target accuracy, within `tolerance` of them."""

    summary: ClassVar[str] = "Gaussian noise whose sigma costs a given number of points of target accuracy"
    adaptive: ClassVar[str] = (
        "averages out over repeated queries (threat 'repeated'); sigma is public, attackers train on noisy payloads"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("repeated", "server_probe")
    drop: float = 5.0
    tolerance: float = 0.5
    tune: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.drop < 100:
            raise SpecError(
                f"drop is how many percentage points of target accuracy the noise may cost and lies between 0 and 100, "
                f"got {self.drop}; for no cost use the defense 'none'"
            )
        if not 0 < self.tolerance <= self.drop:
            raise SpecError(
                f"tolerance is how far from drop={self.drop} is near enough, in percentage points, positive and at "
                f"most drop, got {self.tolerance}"
            )

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Search sigma; `progress` counts the sigmas tried.

        Raises SpecError where noise cannot cost that much, or where the least noise costs more; DataError where
        task_val carries no labels."""
        val = corpus.task_val
        rows = labelled(val, val.y)
        if not len(rows):
            raise DataError(
                f"the part task_val has no example labelled with {corpus.target!r}, and matched_noise measures its "
                f"cost there"
            )
        split, device = split.copy(), device_of(split)
        z, y = predict(split.edge, val.x[rows], device), torch.from_numpy(val.y[rows])
        before = share_right(split, None, z, y, seed)
        size = float(z.std(correction=0)) or 1.0
        nearest: list[Trial] = []

        def attempt(sigma: float) -> float:
            halves, noise = split.copy(), GaussianObfuscator(split.shape, sigma)
            log: dict[str, Any] = {"server_tuned": False, "why": "tune=false"}
            if self.tune:
                log = fine_tune_server(halves, noise, corpus, effort=effort, seed=seed)
            lost = 100 * (before - share_right(halves, noise, z, y, seed))
            if not nearest or abs(lost - self.drop) <= max(self.tolerance, abs(nearest[0].lost - self.drop)):
                nearest[:] = [Trial(sigma, lost, halves, log)]
            return lost

        tried = search(attempt, self.drop, self.tolerance, size, progress)
        best = nearest[0]
        matched = abs(best.lost - self.drop) <= self.tolerance
        found = Defended.of(
            best.split,
            GaussianObfuscator(split.shape, best.sigma),
            "float noise on unclipped features is obfuscation measured by attack, not differential privacy",
            sigma=best.sigma,
            sigma_in_deviations=best.sigma / size,
            accuracy_undefended=before,
            drop_wanted=self.drop,
            drop_reached=best.lost,
            matched=matched,
            tried=[{"sigma": sigma, "drop": lost} for sigma, lost in tried],
            **best.log,
        )
        return replace(found, flags=() if matched else ("drop_missed",))


def search(
    attempt: Callable[[float], float], drop: float, tolerance: float, size: float = 1.0, progress: Progress = None
) -> list[tuple[float, float]]:
    """Try sigmas until one loses `drop` points within the tolerance, 14 of them at most: both ends, then halves.

    The halving starts from the same ends for every drop, so that of two drops that are met, and further apart than the
    tolerance, the larger never has the smaller sigma. `size` is the deviation of z, `attempt` gives the points lost.
    Returns sigmas and losses in the order in which they were tried. Raises SpecError where the ends do not enclose the
    drop.
    """
    low, high = LOWEST * size, HIGHEST * size
    tried: list[tuple[float, float]] = []

    def lost(sigma: float) -> float:
        tried.append((sigma, attempt(sigma)))
        if progress:
            progress(len(tried), STEPS + 2)
        return tried[-1][1]

    if (most := lost(high)) < drop - tolerance:
        raise SpecError(
            f"drop={drop:g} cannot be reached: even noise of sigma={high:.3g}, {HIGHEST:g} deviations of z, costs only "
            f"{most:.1f} points of accuracy on task_val; ask for fewer, or train the network better"
        )
    if (least := lost(low)) > drop + tolerance:
        raise SpecError(
            f"drop={drop:g} cannot be met: noise of sigma={low:.3g}, {LOWEST:g} deviations of z, costs {least:.1f} "
            f"points of accuracy on task_val already; ask for more"
        )
    for _ in range(STEPS):
        if abs(tried[-1][1] - drop) <= tolerance:
            break
        middle = math.sqrt(low * high)
        low, high = (low, middle) if lost(middle) > drop else (middle, high)
    if progress:
        progress(STEPS + 2, STEPS + 2)
    return tried


@torch.no_grad()
def share_right(split: Split, noise: GaussianObfuscator | None, z: Tensor, y: Tensor, seed: int) -> float:
    """Accuracy of the server on z [N, *shape] with labels y [N]; behind noise, over N times as many draws of it as make
    at least 4096 payloads, the same for every sigma."""
    server, device = split.server.eval(), device_of(split)
    generator, right = np.random.default_rng([seed, 12]), 0
    draws = 1 if noise is None else max(1, math.ceil(PAYLOADS / len(z)))
    for _ in range(draws):
        for start in range(0, len(z), 256):
            part = z[start : start + 256].to(device)
            if noise is not None:
                part = noise(part, torch.from_numpy(noise.noise[0].draw(len(part), generator)).to(device))
            right += int((server(part).argmax(1).cpu() == y[start : start + 256]).sum())
    return right / (draws * len(z))
