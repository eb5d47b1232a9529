"""Costs counted by hand."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from privet.cost import latency_ms, macs, parameter_bytes
from privet.models import load
from privet.split import split


def test_macs_of_a_linear_layer_and_a_convolution() -> None:
    assert macs(nn.Linear(7, 5), torch.rand(9, 7)) == 7 * 5
    assert macs(nn.Conv2d(3, 16, 3, padding=1), torch.rand(4, 3, 10, 12)) == 3 * 9 * 16 * 120


def test_macs_of_several_inputs() -> None:
    class Product(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a @ b

    assert macs(Product(), torch.rand(2, 3, 4), torch.rand(2, 4, 5)) == 3 * 4 * 5


def test_macs_of_attention_and_recurrence() -> None:
    """Five tokens of width 16: four projections, scores and values, a perceptron; seven steps of twenty gated units."""
    attention = 5 * 16 * 64 + 2 * 5 * 5 * 16
    block = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    fused = torch.backends.mha.get_fastpath_enabled()
    assert macs(block, torch.rand(2, 5, 16)) == attention + 2 * 5 * 16 * 32
    assert torch.backends.mha.get_fastpath_enabled() is fused
    assert macs(nn.GRU(10, 20, batch_first=True), torch.rand(2, 7, 10)) == 7 * (10 + 20) * 60


def test_macs_of_both_halves_add_up_and_the_mode_stays() -> None:
    model = load("cnn3", shape=(1, 16, 16), classes=3, weights=None, seed=0)
    x = torch.rand(2, 1, 16, 16)
    made = split(model, x, "block2")
    z = made.edge.eval()(x)
    assert macs(made.edge, x) + macs(made.server, z) == macs(model, x)
    assert model.training
    statistics = model.block1.bn.num_batches_tracked
    assert statistics == 0, "counting trained the batch norm"


def test_bytes_count_each_tensor_once() -> None:
    tied = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4))
    tied[1].weight = tied[0].weight
    assert parameter_bytes(tied) == 4 * 16 + 4 * 4 * 4 + 8
    assert parameter_bytes(nn.Linear(2, 2).half()) == 12


def test_latency_is_the_median_of_timed_calls_on_one_thread() -> None:
    threads, calls = [], []
    before = torch.get_num_threads()

    def work() -> None:
        threads.append(torch.get_num_threads())
        calls.append(time.sleep(0.05 if len(calls) in (0, 1, 3) else 0.002))

    assert 2 <= latency_ms(work, repeat=7, warmup=2) < 40
    assert len(calls) == 9
    assert set(threads) == {1}
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="boom"):
        latency_ms(lambda: (_ for _ in ()).throw(ValueError("boom")))
    assert torch.get_num_threads() == before
