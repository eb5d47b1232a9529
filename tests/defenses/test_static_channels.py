"""Static learned channels: one set for everybody, without a mask, chosen by what the filter of DISCO is chosen by."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from people import crowd, strangers
from privet.channels import FixedTokens
from privet.defense import parse
from privet.defenses.none import RawObfuscator
from privet.defenses.static_channels import FreeScores, StaticChannels
from privet.split import Split
from privet.train import fine_tune_server
from tiny import EFFORT, conv_split, corpus, pictures, seeded


def test_one_set_for_everybody_and_no_mask() -> None:
    defended = StaticChannels(0.5).fit(conv_split(), corpus(), effort=EFFORT, seed=0)
    assert [f.name for f in defended.obfuscator.signature] == ["kept"]
    assert defended.log["masks"] == 1
    kept = [i for i, share in enumerate(defended.log["kept_share"]) if share == 1]
    assert kept == defended.obfuscator.index.tolist()
    assert len(kept) == defended.log["kept"] == 2
    x = pictures(6)
    with torch.no_grad():
        z = defended.split.edge.eval()(x)
    view = defended.decode(defended.encode(x))
    torch.testing.assert_close(view[:, kept], z[:, kept], atol=1e-2, rtol=1e-2)
    assert view[:, [i for i in range(4) if i not in kept]].count_nonzero() == 0


def test_the_target_chooses() -> None:
    """Of units of which two tell the target and ten are constant, one of those two at least is among the three kept,
    whatever the draw: a blind choice passes in one of fifty runs of this test. (Two are rarely both among them: one
    alone tells nearly all.)"""
    layer = nn.Linear(36, 12)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.fill_(0.5)
        layer.weight[3, :6], layer.weight[8, 6:12] = 1.0, 1.0
    server = seeded(nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 2)), 4)
    split = Split(nn.Sequential(nn.Flatten(), layer).eval(), server, "cut", (12,), frozen=frozenset({"edge"}))
    effort = replace(EFFORT, task_epochs=30, tune_epochs=60, batch=32)
    log = fine_tune_server(split, RawObfuscator((12,)), crowd(), effort=effort, seed=0)
    assert log["task_val_accuracy"][-1] > 0.95
    for seed in range(5):
        defended = StaticChannels(0.75, alpha=0.0, rate=0.01).fit(split, crowd(), effort=effort, seed=seed)
        assert len(defended.obfuscator.index) == 3
        assert {3, 8} & set(defended.obfuscator.index.tolist()), seed


def test_scores_move_and_do_not_look() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        scores = FreeScores(5)
    z = torch.randn(3, 5, 2, 2)
    found = scores(z)
    assert torch.equal(found[0], found[2])
    found[:, 0].sum().backward()
    assert float(scores.scores.grad.abs().max()) > 0


def test_only_the_task_parts_are_read() -> None:
    data = corpus()
    one = StaticChannels(0.5).fit(conv_split(), data, effort=EFFORT, seed=3)
    two = StaticChannels(0.5).fit(conv_split(), strangers(data), effort=EFFORT, seed=3)
    assert one.encode(pictures(8)).to_bytes() == two.encode(pictures(8)).to_bytes()
    assert one.log == two.log


def test_tokens() -> None:
    class Mean(nn.Module):
        """Tokens to two logits."""

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 2)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return self.head(z.mean(1))

    split = Split(
        seeded(nn.Sequential(nn.Flatten(1, 2)), 1), seeded(Mean(), 2), "cut", (6, 6), frozen=frozenset({"edge"})
    )
    defended = parse("static_channels:ratio=0.5,prune=tokens").fit(split, corpus(), effort=EFFORT, seed=0)
    assert isinstance(defended.obfuscator, FixedTokens)
    assert defended.split.shape == (3, 6)
    assert defended.server(defended.encode(pictures(5))).shape == (5, 2)
