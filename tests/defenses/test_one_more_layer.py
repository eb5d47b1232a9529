"""One more layer: the activation's result travels, and the server's answer stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from privet import cost
from privet.data.corpus import Corpus
from privet.defense import Defended, check, parse
from privet.defenses.linear_split import LinearSplit
from privet.defenses.one_more_layer import OneMoreLayer
from privet.errors import CutError, SpecError
from privet.split import Split
from tiny import EFFORT, SPLITS, conv_split, corpus, pictures, seeded, vector_split

both_cuts = pytest.mark.parametrize("cut", list(SPLITS))


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(given: Split, data: Corpus) -> Defended:
    return OneMoreLayer().fit(given, data, effort=EFFORT, seed=0)


@torch.no_grad()
def answers(split: Split, n: int = 40) -> Tensor:
    return split.server.eval()(split.edge.eval()(pictures(n)))


def ends_with(*tail: nn.Module) -> Split:
    return Split(vector_split().edge, seeded(nn.Sequential(nn.Linear(12, 10), *tail)), "c", (12,))


@both_cuts
def test_logits_stay(cut: str, data: Corpus) -> None:
    given = SPLITS[cut]()
    defended, wanted = fit(given, data), answers(given)
    torch.testing.assert_close(answers(defended.split), wanted, atol=1e-6, rtol=0)
    sent = defended.server(defended.encode(pictures(40)))
    assert (sent - wanted).abs().max() <= 1e-3 * wanted.abs().max()


@both_cuts
def test_payload_is_the_activation(cut: str, data: Corpus) -> None:
    """relu(W z + b), which whoever holds W z (the linear split) computes without the edge."""
    given, x = SPLITS[cut](), pictures(9)
    defended = fit(given, data)
    linear = LinearSplit().fit(given, data, effort=EFFORT, seed=0)
    bias = given.server[0].bias.reshape(-1, *([1] * (len(given.shape) - 1)))
    with torch.no_grad():
        a = defended.edge_half(x)[0]
        torch.testing.assert_close(a, given.server[0](given.edge(x)).relu(), atol=1e-6, rtol=0)
        torch.testing.assert_close(a, (linear.edge_half(x)[0] + bias).relu(), atol=1e-6, rtol=0)
    assert a.shape[1:] == defended.split.shape == linear.split.shape
    assert (a == 0).any(), "what the activation cuts off never travels"


def test_the_edge_pays_for_the_layer(data: Corpus) -> None:
    given, x = conv_split(), pictures(1)
    more = cost.macs(fit(given, data).edge_half, x) - cost.macs(given.edge, x)
    assert more == 3 * 2 * 2 * 4 * 3 * 3


def test_what_stands_between_goes_along(data: Corpus) -> None:
    """Batch normalization before the activation moves with it, dropout behind it stays."""
    given = ends_with(nn.BatchNorm1d(10), nn.Tanh(), nn.Dropout(0.5), nn.Linear(10, 2))
    defended = fit(given, data)
    with torch.no_grad():
        wanted = given.server[:3].eval()(given.edge(pictures(5)))
        torch.testing.assert_close(defended.edge_half(pictures(5))[0], wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(answers(defended.split), answers(given), atol=1e-6, rtol=0)
    assert sum(p.numel() for p in defended.split.server.parameters()) == 22


def test_pooling_counts_as_the_first_nonlinearity(data: Corpus) -> None:
    server = seeded(nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 2)))
    given = Split(conv_split().edge, server, "c", (4, 6, 6))
    defended = fit(given, data)
    assert defended.split.shape == (8, 3, 3)
    assert defended.log == {"values_sent": 72, "values_at_cut": 144}
    torch.testing.assert_close(answers(defended.split), answers(given), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("tail", "says"),
    [
        ((), "no activation follows"),
        ((nn.BatchNorm1d(10),), "no activation follows"),
        ((nn.Sigmoid(),), "nothing is left to compute"),
    ],
)
def test_refused_where_nothing_more_can_move(tail: tuple[nn.Module, ...], says: str, data: Corpus) -> None:
    with pytest.raises(CutError, match=says):
        check(OneMoreLayer(), ends_with(*tail))
    with pytest.raises(CutError, match=says):
        fit(ends_with(*tail), data)


def test_nothing_follows_it() -> None:
    with pytest.raises(SpecError, match="put it last"):
        parse("one_more_layer+gaussian")
