"""Random channel pruning: exactly K channels, the same values, and the three readings of when the mask is drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from people import crowd
from privet.channels import FixedChannels
from privet.data.corpus import Corpus
from privet.defense import Defended, check, parse
from privet.defenses.random_channels import RandomChannels, RandomScores
from privet.errors import SpecError
from privet.payload import Array
from tiny import EFFORT, SPLITS, corpus, pictures


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(data: Corpus, cut: str = "conv", ratio: float = 0.5, draw: Any = "sample", seed: int = 0) -> Defended:
    return RandomChannels(ratio, draw).fit(SPLITS[cut](), data, effort=EFFORT, seed=seed)


def masks(defended: Defended, batch: int, seed: int) -> Array:
    payload = defended.encode(pictures(batch), defended.draw(batch, np.random.default_rng(seed)))
    return payload.tensors["mask"]


@pytest.mark.parametrize(
    ("cut", "ratio", "kept"),
    [("conv", 0.5, 2), ("conv", 0.3, 3), ("conv", 0.99, 1), ("conv", 0.0, 4), ("vector", 0.5, 6), ("vector", 0.9, 2)],
)
@pytest.mark.parametrize("draw", ["sample", "batch"])
def test_every_mask_keeps_exactly_k(data: Corpus, cut: str, ratio: float, kept: int, draw: Any) -> None:
    defended = fit(data, cut, ratio, draw)
    assert (masks(defended, 32, 1).sum(1) == kept).all()
    assert defended.log["kept"] == kept


def test_share_is_rounded_as_written() -> None:
    """0.29 of 100 channels is 29, although 0.29 * 100 is 28.999... in floating point."""
    from torch import nn

    from privet.split import Split
    from tiny import vector_split

    wide = Split(
        nn.Sequential(vector_split().edge, nn.Linear(12, 100)),
        nn.Linear(100, 2),
        "cut",
        (100,),
        frozen=frozenset({"server"}),
    )
    assert RandomChannels(0.29, "fixed").fit(wide, corpus(), effort=EFFORT, seed=0).log["kept"] == 71


def test_equal_scores_still_keep_k() -> None:
    obfuscator = RandomScores((6, 2, 2), 0, 3, "sample")
    mask, kept = obfuscator.encode(torch.rand(5, 6, 2, 2), torch.full((5, 6), 0.5))
    assert (mask.sum(1) == 3).all()
    assert kept.shape == (5, 3, 2, 2)


@pytest.mark.parametrize("cut", ["conv", "vector"])
def test_kept_channels_are_bit_exact(cut: str) -> None:
    shape = SPLITS[cut]().shape
    z = torch.randn(8, *shape, generator=torch.Generator().manual_seed(0))
    scores = torch.rand(8, shape[0], generator=torch.Generator().manual_seed(1))
    obfuscator = RandomScores(shape, 0, 2, "sample")
    mask, kept = obfuscator.encode(z, scores)
    whole = mask.reshape(8, shape[0], *([1] * (len(shape) - 1)))
    assert torch.equal(obfuscator.decode(mask, kept), z * whole)
    first = [int(i) for i in mask[0].nonzero().flatten()]
    assert torch.equal(kept[0], z[0, first]), "ascending channel order, never by score"
    fixed = FixedChannels(shape, 0, [1, 3])
    view = fixed.decode(*fixed.encode(z))
    assert torch.equal(view[:, [1, 3]], z[:, [1, 3]])
    assert view[:, [0, 2]].count_nonzero() == 0


def test_alone_or_in_a_batch(data: Corpus) -> None:
    defended = fit(data)
    x, drawn = pictures(9), defended.draw(9, np.random.default_rng(4))
    together = defended.encode(x, drawn)
    for i in range(9):
        alone = defended.encode(x[i : i + 1], tuple(d[i : i + 1] for d in drawn))
        assert np.array_equal(alone.tensors["mask"][0], together.tensors["mask"][i])
        np.testing.assert_allclose(alone.tensors["kept"][0], together.tensors["kept"][i], rtol=2e-3, atol=1e-3)


def test_when_the_mask_is_drawn(data: Corpus) -> None:
    sample, batch = masks(fit(data), 16, 1), masks(fit(data, draw="batch"), 16, 1)
    assert len(np.unique(sample, axis=0)) > 1
    assert len(np.unique(batch, axis=0)) == 1
    others = np.unique([masks(fit(data, draw="batch"), 4, seed)[0] for seed in range(8)], axis=0)
    assert len(others) > 1
    fixed = fit(data, draw="fixed")
    assert fixed.obfuscator.noise == ()
    assert [f.name for f in fixed.obfuscator.signature] == ["kept"]
    chosen = {tuple(fit(data, draw="fixed", seed=seed).obfuscator.index.tolist()) for seed in range(8)}
    assert len(chosen) > 1
    assert all(list(index) == sorted(set(index)) for index in chosen)


def test_channels_are_kept_equally_often() -> None:
    obfuscator = RandomScores((8, 1, 1), 0, 4, "sample")
    scores = torch.rand(4000, 8, generator=torch.Generator().manual_seed(0))
    mask, _ = obfuscator.encode(torch.ones(4000, 8, 1, 1), scores)
    assert (mask.mean(0) - 0.5).abs().max() < 0.04


def test_both_halves_may_be_trained() -> None:
    """With train=both the edge learns behind the masks as well; the split given stays; the target is served better than
    where the edge stays."""
    given, effort = SPLITS["conv"](), replace(EFFORT, task_epochs=20, tune_epochs=20, batch=32)
    before = [p.detach().clone() for p in given.edge.parameters()]
    right = {}
    for train in ("server", "both"):
        defended = parse(f"random_channels:ratio=0.75,train={train}").fit(given, crowd(), effort=effort, seed=0)
        moved = any(not torch.equal(a, b) for a, b in zip(before, defended.split.edge.parameters(), strict=True))
        assert moved is (train == "both")
        assert (masks(defended, 16, 1).sum(1) == 1).all()
        right[train] = defended.log["task_val_accuracy"][-1]
    assert all(torch.equal(a, b) for a, b in zip(before, given.edge.parameters(), strict=True))
    assert right["both"] > right["server"] - 0.02


def test_what_cannot_be_trained_is_refused() -> None:
    for half in ("edge", "server"):
        with pytest.raises(SpecError, match=f"trains the {half} half, which is frozen"):
            check(parse("random_channels:train=both"), replace(SPLITS["conv"](), frozen=frozenset({half})))
        check(parse("random_channels"), replace(SPLITS["conv"](), frozen=frozenset({half})))
    with pytest.raises(SpecError, match="make it the chain's first"):
        parse("gaussian:sigma=1+random_channels:train=both")
