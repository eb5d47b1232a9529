"""Information bottleneck: the price of Equation 2 by hand, the channel that is sent, and the signs of both weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from people import crowd, strangers
from privet.data.corpus import Corpus
from privet.defense import Defended, check
from privet.defenses.information_bottleneck import Bottleneck, InformationBottleneck, Spread, divergence
from privet.errors import CutError, SpecError
from privet.split import Split, split
from tiny import EFFORT, conv_split, corpus, pictures, seeded, vector_split

LONGER = replace(EFFORT, task_epochs=8)


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(data: Corpus, given: Split | None = None, **options: Any) -> Defended:
    return InformationBottleneck(**options).fit(given or vector_split(), data, effort=LONGER, seed=0)


def test_divergence_by_hand() -> None:
    """0 for the prior itself, n/2 for a shift of one, (sigma^2 - 1 - ln sigma^2) / 2 a unit for another width."""
    none, one = torch.zeros(1, 3), torch.ones(1, 3)
    assert float(divergence(none, none)) == 0
    assert float(divergence(one, none)) == pytest.approx(1.5)
    assert float(divergence(none, math.log(4) * one)) == pytest.approx(1.5 * (4 - 1 - math.log(4)))
    generator = torch.Generator().manual_seed(0)
    mu, log_variance = torch.randn(2, 5, 4, 3, 3, generator=generator).unbind(0)
    wanted = kl_divergence(Normal(mu, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(divergence(mu, log_variance), wanted)


def test_channel() -> None:
    """z' = z + sigma(z) xi, sigma^2 = exp(slope z + offset), within its bounds."""
    obfuscator = Bottleneck((2,))
    with torch.no_grad():
        obfuscator.spread.slope.copy_(torch.tensor([1.0, 0.0]))
        obfuscator.spread.offset.copy_(torch.tensor([0.0, math.log(9)]))
        z, xi = torch.tensor([[math.log(4), 5.0], [100.0, 0.0]]), torch.tensor([[1.0, -1.0], [1.0, 2.0]])
        torch.testing.assert_close(obfuscator(z, xi), torch.tensor([[math.log(4) + 2, 2.0], [100 + math.e**2, 6.0]]))


def test_spread_has_a_pair_a_unit_or_a_channel() -> None:
    assert Spread((5,)).slope.shape == (5,)
    assert Spread((5, 3, 2)).offset.shape == (5, 1, 1)
    assert Spread((4, 6)).slope.shape == (4, 6)
    assert Spread((5, 3, 2))(torch.zeros(7, 5, 3, 2)).shape == (7, 5, 3, 2)


def test_information_falls_with_its_price(data: Corpus) -> None:
    cheap, dear = (fit(data, gamma=0, beta=beta).log["task_val_kl_nats"] for beta in (0.0, 1.0))
    assert dear < 0.8 * cheap


def test_the_adversary_errs_more_where_gamma_is_large() -> None:
    effort, nats = replace(EFFORT, task_epochs=16), {}
    for gamma in (0.0, 5.0):
        log = InformationBottleneck(gamma, beta=0.0).fit(vector_split(), crowd(), effort=effort, seed=0).log
        nats[gamma] = log["task_val_adversary_nats"][-1]
    assert nats[5.0] > nats[0.0] + 0.1


def test_price_is_that_of_task_val(data: Corpus) -> None:
    defended = fit(data, conv_split())
    assert isinstance(defended.obfuscator, Bottleneck)
    with torch.no_grad():
        mu = defended.split.edge(torch.from_numpy(data.task_val.x).float() / 255)
        wanted = divergence(mu, defended.obfuscator.spread(mu)).mean()
    assert defended.log["task_val_kl_nats"] == pytest.approx(float(wanted), rel=1e-5)
    assert not any(p.requires_grad for p in defended.obfuscator.parameters())
    assert defended.guarantee.statement is None


def test_only_the_task_parts_are_read(data: Corpus) -> None:
    one, two = fit(data, conv_split()), fit(strangers(data), conv_split())
    assert one.log == two.log
    x = pictures(4)
    with torch.no_grad():
        assert torch.equal(one.split.edge(x), two.split.edge(x))


def test_refusals(data: Corpus) -> None:
    for wrong in ({"gamma": math.inf}, {"beta": -1e-3}):
        with pytest.raises(SpecError, match="weighs"):
            InformationBottleneck(**wrong)
    with pytest.raises(SpecError, match="known: s"):
        fit(data, attribute="age")
    for half in ("edge", "server"):
        with pytest.raises(SpecError, match="frozen"):
            check(InformationBottleneck(), vector_split(frozenset({half})))
    model = seeded(nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.Tanh(), nn.Linear(12, 2)))
    with pytest.raises(CutError, match=r"torch\.export"):
        check(InformationBottleneck(), split(model, pictures(2), "2", tracer="export"))
