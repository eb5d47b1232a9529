"""Adversaries trained beside a defense: what their failure is worth, who gets which gradient, and fresh beginnings."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.adversaries import Adversaries, Hide, cross_entropy
from tiny import conv_split, vector_split

S = torch.tensor([[0, 1], [0, -1], [1, 2], [-1, 0], [2, 1], [2, 2], [1, 0], [0, 0]])


def opponents(count: int = 1, hide: Hide = "error", renewed: int | None = None) -> Adversaries:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Adversaries(vector_split(), S, [3, 3], count=count, hide=hide, renewed=renewed)


def sent() -> Tensor:
    return torch.randn(8, 12, generator=torch.Generator().manual_seed(0)).requires_grad_()


def test_cross_entropy_passes_over_the_unlabelled() -> None:
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0], [5.0, -5.0]])
    value = cross_entropy(logits, torch.tensor([0, 0, -1]))
    torch.testing.assert_close(value, torch.tensor((math.log(2) + math.log(4 / 3)) / 2))
    nobody = cross_entropy(logits.requires_grad_(), torch.full((3,), -1))
    assert float(nobody.detach()) == 0
    nobody.backward()
    assert float(logits.grad.abs().max()) == 0


def test_prior_is_that_of_the_labelled() -> None:
    known = torch.tensor([[0], [0], [1], [-1], [-1]])
    one = Adversaries(vector_split(), known, [3]).all[0]
    assert one.prior == pytest.approx(-(2 / 3) * math.log(2 / 3) - (1 / 3) * math.log(1 / 3))
    torch.testing.assert_close(one.share, torch.tensor([2 / 3, 1 / 3, 0]))
    assert one.network(torch.zeros(4, 12)).shape == (4, 3)


def test_every_attribute_has_every_architecture() -> None:
    for split, shape in ((vector_split(), (12,)), (conv_split(), (4, 6, 6))):
        found = Adversaries(split, S, [3, 5], count=3)
        assert [one.column for one in found.all] == [0, 0, 0, 1, 1, 1]
        assert [one.network.eval()(torch.zeros(2, *shape)).shape[1] for one in found.all] == [3, 3, 3, 5, 5, 5]
        sizes = [sum(p.numel() for p in network.parameters()) for network in found.networks[:3]]
        assert len(set(sizes)) == 3


@pytest.mark.parametrize("hide", ["error", "prior", "entropy"])
def test_credit_is_the_equation(hide: Hide) -> None:
    found, z = opponents(hide=hide), sent().detach()
    values = []
    for one in found.all:
        one.network.eval()
        known = S[:, one.column] >= 0
        log = one.network(z).log_softmax(1).detach()
        share = torch.bincount(S[known, one.column], minlength=3) / known.sum()
        nats = F.nll_loss(log[known], S[known, one.column])
        values.append(
            {
                "error": min(float(nats), float(-(share * share.log()).sum())),
                "prior": -float(F.kl_div(log, share.expand_as(log), reduction="batchmean")),
                "entropy": float(torch.distributions.Categorical(logits=log).entropy().mean()),
            }[hide]
        )
    assert float(found.credit(z, S)[0]) == pytest.approx(sum(values) / 2, abs=1e-5)


@pytest.mark.parametrize(("hide", "at_best"), [("prior", 0.0), ("entropy", math.log(3))])
def test_credit_is_largest_where_the_answer_says_nothing(hide: Hide, at_best: float) -> None:
    found = opponents(hide=hide)
    for one in found.all:  # logits that are log(pi), or all equal, whatever z
        for parameter in one.network.parameters():
            nn.init.zeros_(parameter)
        if hide == "prior":
            one.network[-1].bias.data = one.share.log()  # type: ignore[index]
    z = sent()
    credit = found.credit(z, S)[0]
    assert float(credit.detach()) == pytest.approx(at_best, abs=1e-6)
    assert float(opponents(hide=hide).credit(z, S)[0].detach()) < at_best


def test_error_earns_nothing_beyond_the_prior() -> None:
    """Below the entropy of s the gradient reaches z' and no weight of the adversary; beyond it nobody."""
    found, z = opponents(), sent()
    for one in found.all:
        one.prior = 50.0
    found.credit(z, S)[0].backward()
    assert float(z.grad.abs().max()) > 0
    assert all(p.grad is None and p.requires_grad for network in found.networks for p in network.parameters())
    z.grad = None
    for one in found.all:
        one.prior = 0.1
    credit, seen = found.credit(z, S)
    credit.backward()
    assert float(credit.detach()) == pytest.approx(0.1) != float(seen)
    assert float(z.grad.abs().max()) == 0


def test_adversaries_learn_and_leave_z_alone() -> None:
    found, z = opponents(count=2), sent()
    before = [float(one.credit(z, S)[1]) for one in found.all]
    for _ in range(20):
        found.learn(z, S)
    assert all(float(one.credit(z, S)[1]) < b for one, b in zip(found.all, before, strict=True))
    assert z.grad is None


def test_they_start_afresh_every_so_many_epochs() -> None:
    found = opponents(renewed=2)
    networks = []
    for epoch in range(5):
        found.begin(epoch)
        networks.append(found.networks[0])
    assert networks[0] is networks[1] is not networks[2]
    assert networks[2] is networks[3] is not networks[4]
    never = opponents()
    first = never.networks[0]
    never.begin(10)
    assert never.networks[0] is first
