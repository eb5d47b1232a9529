"""Signal content: how long its factorizations take and how much memory, and what it costs the edge.

One JSON line each: what, ours (seconds), baseline (seconds, or the limit), ratio. Edge times are medians of paired,
interleaved runs of ONNX Runtime in one thread, a payload at a time."""

from __future__ import annotations

import json
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from privet import models
from privet.coefficients import CoefficientObfuscator, Flat, LiftedServer, Plain
from privet.defense import Defended, Guarantee
from privet.defenses.none import RawObfuscator
from privet.operators import factorize, find
from privet.runtime.edge import session_options
from privet.runtime.export import export_edge
from privet.split import Split, split

ROUNDS, WARM = 2000, 100


def halves(at: str) -> Split:
    """The network of Samragh et al. 2021, Table 1, on 50x50 pictures, cut at a module path."""
    model = models.load("cnn3", shape=(3, 50, 50), classes=2, seed=0).eval()
    return split(model, torch.rand(2, 3, 50, 50), at)


def line(what: str, ours: float, baseline: float, **more: object) -> None:
    """One result."""
    print(json.dumps({"what": what, "ours": round(ours, 6), "baseline": round(baseline, 6)} | more
                     | {"ratio": round(ours / baseline, 4)}))  # fmt: skip


def factorization(at: str, limit: float) -> None:
    """Seconds from the server half to V, against the limit."""
    cut = halves(at)
    started = time.perf_counter()
    found = factorize(find(cut.server, cut.shape).matrix())
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    line(f"factorize the operator behind {at}", seconds, limit, rank=found.rank, null=found.null_dimension,
         peak_gib=round(peak, 2))  # fmt: skip


def edge(kept: int) -> None:
    """The edge with its obfuscator against the edge that sends z, as both ship."""
    cut = halves("flatten")
    operator = find(cut.server, cut.shape)
    factors = factorize(operator.matrix())
    z_bar = torch.zeros(cut.shape, dtype=torch.float64)
    obfuscator = CoefficientObfuscator(
        Flat(operator, factors.right[:, :kept], factors.singular[:kept], z_bar), Plain(kept, 1)
    ).eval()
    picture = np.random.default_rng(0).random((1, 3, 50, 50), dtype=np.float32)
    options = session_options()
    options.intra_op_num_threads = 1
    sessions = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, defended in (
            ("plain", Defended.of(cut, RawObfuscator(cut.shape), "a benchmark")),
            (
                "whole",
                Defended(cut, obfuscator, Guarantee.none("a benchmark"), LiftedServer(obfuscator, operator.rest)),
            ),
        ):
            file = Path(folder) / f"{name}.onnx"
            export_edge(defended, file, (3, 50, 50))
            sessions[name] = onnxruntime.InferenceSession(file, options)
    times: dict[str, list[float]] = {"plain": [], "whole": []}
    for round_number in range(ROUNDS + WARM):
        for name in ("plain", "whole")[:: 1 if round_number % 2 else -1]:
            started = time.perf_counter()
            sessions[name].run(None, {"x": picture})
            if round_number >= WARM:
                times[name].append(time.perf_counter() - started)
    ours, base = (statistics.median(times[name]) for name in ("whole", "plain"))
    line(f"edge with {kept} coefficients at flatten", ours, base, extra=f"{100 * (ours / base - 1):.2f} %")


if __name__ == "__main__":
    torch.set_num_threads(1)
    edge(8)
    torch.set_num_threads(2)
    factorization("flatten", 1.0)
    factorization("block2", 60.0)
