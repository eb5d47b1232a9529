"""What a module costs: multiply-accumulates, bytes, milliseconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def macs(module: nn.Module, *inputs: torch.Tensor) -> int:
    """Multiply-accumulates of one forward pass for one sample, from inputs [B, ...] of which the first row is run.

    Counts what torch.utils.flop_counter counts (matrix products, convolutions, recurrences), two operations each;
    attention as the matrix products that it is, because the counter does not know its fused forms."""
    modes = [(m, m.training) for m in module.modules()]
    counter = FlopCounterMode(display=False)
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        module.eval()
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            module(*(x[:1].detach() for x in inputs))  # the counter hooks into any gradient it finds
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for m, mode in modes:
            m.training = mode
    return int(counter.get_total_flops()) // 2


def parameter_bytes(module: nn.Module) -> int:
    """Bytes of parameters and buffers; a tensor under two names counts once."""
    tensors = {id(t): t for t in (*module.parameters(), *module.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def latency_ms(fn: Callable[[], Any], repeat: int = 30, warmup: int = 5) -> float:
    """Median wall-clock milliseconds of `fn()` on one torch thread, after `warmup` calls that are not timed."""
    threads = torch.get_num_threads()
    times = []
    torch.set_num_threads(1)
    try:
        for i in range(warmup + repeat):
            start = time.perf_counter()
            fn()
            if i >= warmup:
                times.append((time.perf_counter() - start) * 1e3)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(times)
