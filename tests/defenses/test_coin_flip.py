"""The coin flip: z itself or the training mean, at the rate p, at one length."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from privet.defenses.coin_flip import CoinFlip
from privet.train import predict
from tiny import EFFORT, SPLITS, corpus, pictures


@pytest.mark.parametrize("cut", ["conv", "vector"])
def test_z_or_the_mean(cut: str) -> None:
    data = corpus()
    defended = CoinFlip(0.5).fit(SPLITS[cut](), data, effort=EFFORT, seed=0)
    x, coins = pictures(40), defended.draw(40, np.random.default_rng(0))
    payload = defended.encode(x, coins)
    view, z = defended.decode(payload), predict(defended.split.edge, x)
    mean = predict(defended.split.edge, data.task_train.x).mean(0)
    sent = payload.tensors["sent"][:, 0]
    assert np.array_equal(sent, coins[0][:, 0] < 0.5)
    torch.testing.assert_close(view[sent], z[sent], atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(view[~sent], mean.expand_as(view[~sent]), atol=1e-6, rtol=0)
    assert not payload.tensors["z"][~sent].any(), "nothing of z may travel when the coin falls wrong"


@pytest.mark.parametrize(("p", "low", "high"), [(0.0, 0, 0), (1.0, 1, 1), (0.2, 0.15, 0.25)])
def test_rate(p: float, low: float, high: float) -> None:
    defended = CoinFlip(p).fit(SPLITS["vector"](), corpus(), effort=EFFORT, seed=0)
    payload = defended.encode(pictures(1000), defended.draw(1000, np.random.default_rng(0)))
    assert low <= payload.tensors["sent"].mean() <= high
