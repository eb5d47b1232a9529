"""Fisher's criterion of 128 channels on 6,400 people and 64 values: seconds and memory against scikit-learn's linear
discriminant analysis and against scipy's generalized eigenvalues, one channel after the other; and how the time grows.

    python benchmarks/fisher.py

One JSON line each: what, ours (seconds, or MiB), baseline, ratio. The three are run in turn, five rounds; medians. The
exponents are those of a line through logarithms of the time (Li et al. 2017, appendix E: 1 in N, up to 3 in d)."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from privet.planner import fisher

PEOPLE, CHANNELS, SIZE, CLASSES, ROUNDS = 6400, 128, 64, 10, 5


def people(n: int, channels: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values with a little of the class in them."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, CLASSES, (n,), generator=generator)
    return torch.randn(n, channels, size, generator=generator) + 0.02 * y[:, None, None], y


def ours(z: torch.Tensor, y: torch.Tensor) -> None:
    fisher.criterion(z, y)


def sklearn(z: torch.Tensor, y: torch.Tensor) -> None:
    for channel in range(z.shape[1]):
        LinearDiscriminantAnalysis(solver="eigen", shrinkage=1e-3).fit(z[:, channel].numpy(), y.numpy())


def scipy_eigh(z: torch.Tensor, y: torch.Tensor) -> None:
    labels = y.numpy()
    counts = np.bincount(labels, minlength=CLASSES)
    for channel in range(z.shape[1]):
        v = z[:, channel].numpy().astype(np.float64)
        means = np.stack([v[labels == k].mean(0) for k in range(CLASSES)])
        apart = (means - v.mean(0)) * np.sqrt(counts)[:, None]
        inner = v - means[labels]
        within = inner.T @ inner
        within += 1e-3 * np.trace(within) / len(within) * np.eye(len(within))
        size = len(within) - 1
        scipy.linalg.eigh(apart.T @ apart, within, eigvals_only=True, subset_by_index=[size, size])


def seconds(method: Callable[[torch.Tensor, torch.Tensor], None], *given: Any) -> float:
    started = time.perf_counter()
    method(*given)
    return time.perf_counter() - started


def peak(*, forget: bool = False) -> float:
    """The most memory so far in MiB (Linux); `forget` starts anew from what is held now."""
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    told = Path("/proc/self/status").read_text()
    return int(told.split("VmHWM:")[1].split()[0]) / 2**10


def exponent(sizes: list[int], at: Callable[[int], tuple[int, int, int]]) -> float:
    """The slope of log seconds over log size; the least of some rounds at each."""
    times = []
    for size in sizes:
        given = people(*at(size))
        times.append(min(seconds(ours, *given) for _ in range(ROUNDS)))
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def main() -> None:
    given = people(PEOPLE, CHANNELS, SIZE)
    ours(*people(200, 4, 8))
    before = peak(forget=True)
    ours(*given)
    grown = peak() - before
    told: dict[str, Any] = {"people": PEOPLE, "channels": CHANNELS, "values": SIZE, "threads": torch.get_num_threads()}
    line = {"what": "fisher, MiB beyond its input", "ours": round(grown, 1), "baseline": 128}
    print(json.dumps(line | {"ratio": round(grown / 128, 3)} | told))
    times: dict[str, list[float]] = {"ours": [], "sklearn": [], "scipy_eigh": []}
    for _ in range(ROUNDS):
        for name, method in (("ours", ours), ("sklearn", sklearn), ("scipy_eigh", scipy_eigh)):
            times[name].append(seconds(method, *given))
    found = {name: statistics.median(values) for name, values in times.items()}
    for name in ("sklearn", "scipy_eigh"):
        line = {"what": f"fisher against {name}", "ours": round(found["ours"], 3), "baseline": round(found[name], 3)}
        print(json.dumps(line | {"ratio": round(found["ours"] / found[name], 3)} | told))
    for what, sizes, at in (
        ("N", [1600, 3200, 6400, 12800], lambda n: (n, 32, SIZE)),
        ("channels", [16, 32, 64, 128], lambda c: (3200, c, SIZE)),
        ("d", [32, 64, 128, 256], lambda d: (1600, 16, d)),
    ):
        print(
            json.dumps({"what": f"fisher, exponent in {what}", "ours": round(exponent(sizes, at), 2), "sizes": sizes})
        )


if __name__ == "__main__":
    main()
