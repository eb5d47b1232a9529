"""Linear split: sending W z changes nothing for the server and is sending the whole signal content."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from privet import cost
from privet.data.corpus import Corpus
from privet.defense import Defended, check, parse
from privet.defenses.linear_split import Applied, LinearSplit, Shifted
from privet.errors import CutError, ModelError, SpecError
from privet.nets import reheaded
from privet.operators import factorize, find
from privet.payload import frame_bytes
from privet.split import Split
from tiny import EFFORT, SPLITS, conv_split, corpus, pictures, seeded, vector_split

both_cuts = pytest.mark.parametrize("cut", list(SPLITS))


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(given: Split, data: Corpus) -> Defended:
    return LinearSplit().fit(given, data, effort=EFFORT, seed=0)


@torch.no_grad()
def answers(split: Split, n: int = 40) -> Tensor:
    return split.server.eval()(split.edge.eval()(pictures(n)))


@both_cuts
def test_logits_stay(cut: str, data: Corpus) -> None:
    given = SPLITS[cut]()
    defended, wanted = fit(given, data), answers(given)
    torch.testing.assert_close(answers(defended.split), wanted, atol=1e-6, rtol=0)
    sent = defended.server(defended.encode(pictures(40)))
    assert (sent - wanted).abs().max() <= 1e-3 * wanted.abs().max(), "float16 on the wire"
    assert not torch.equal(sent, wanted)


@both_cuts
def test_payload_is_the_operator_without_its_bias(cut: str, data: Corpus) -> None:
    given = SPLITS[cut]()
    layer, x = given.server[0], pictures(7)
    bias = layer.bias.reshape(-1, *([1] * (len(given.shape) - 1)))
    assert bias.abs().min() > 1e-3
    defended = fit(given, data)
    with torch.no_grad():
        torch.testing.assert_close(defended.edge_half(x)[0], layer(given.edge(x)) - bias, atol=1e-6, rtol=0)


@torch.no_grad()
def test_signal_content_is_a_bijection_of_what_is_sent(data: Corpus) -> None:
    """alpha_k = u_k^T W z / s_k and W z = U S alpha (Samragh et al. 2021, Definition 2): to send one is to send the
    other."""
    given = vector_split()
    w, z = given.server[0].weight.double(), given.edge(pictures(30)).double()
    u = fit(given, data).edge_half(pictures(30))[0].double()
    factors = factorize(w)
    left = w @ factors.right / factors.singular
    alpha = z @ factors.right
    torch.testing.assert_close(u @ left / factors.singular, alpha, atol=1e-6, rtol=0)
    torch.testing.assert_close(alpha * factors.singular @ left.T, u, atol=1e-6, rtol=0)
    null = z - alpha @ factors.right.T
    assert factors.null_dimension == 2
    assert null.norm(dim=1).min() > 1e-3, "the rest of z stays on the edge"


@both_cuts
def test_the_edge_pays_for_the_layer(cut: str, data: Corpus) -> None:
    given = SPLITS[cut]()
    defended, x = fit(given, data), pictures(1)
    operator = find(given.server, given.shape)
    assert cost.macs(defended.edge_half, x) - cost.macs(given.edge, x) == operator.macs > 0
    assert cost.macs(given.server, given.edge(x)) - cost.macs(defended.split.server, operator(given.edge(x))) == (
        operator.macs
    )


def test_log_says_which_is_larger(data: Corpus) -> None:
    assert fit(vector_split(), data).log == {"values_sent": 10, "values_at_cut": 12, "larger": "z"}
    wide = Split(vector_split().edge, seeded(nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 2))), "c", (12,))
    assert fit(wide, data).log["larger"] == "u"
    assert (fit(wide, data).flags, fit(vector_split(), data).flags) == (("nothing_removed",), ())
    square = Split(vector_split().edge, seeded(nn.Linear(12, 12)), "c", (12,))
    assert fit(square, data).log["larger"] == "neither"


def test_shape_and_bytes(data: Corpus) -> None:
    defended = fit(conv_split(), data)
    assert defended.split.shape == (3, 2, 2)
    assert defended.payload_bytes == frame_bytes(defended.obfuscator.signature)
    assert [(f.dtype, f.shape) for f in defended.obfuscator.signature] == [("float16", (3, 2, 2))]


def test_normalization_in_front_is_folded(data: Corpus) -> None:
    server = seeded(nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(), nn.Flatten()))
    with torch.no_grad():
        server[0].running_mean.add_(0.5)
        server[0].running_var.mul_(3)
    given = Split(conv_split().edge, server, "c", (4, 6, 6))
    torch.testing.assert_close(answers(fit(given, data).split), answers(given), atol=1e-5, rtol=0)


def test_server_half_is_a_template_for_attackers(data: Corpus) -> None:
    defended = fit(vector_split(), data)
    with torch.random.fork_rng():
        assert reheaded(defended.split.server, torch.zeros(4, 10), 7)(torch.zeros(4, 10)).shape == (4, 7)


def test_edge_carries_no_server_weights(data: Corpus) -> None:
    defended = fit(vector_split(), data)
    assert cost.parameter_bytes(defended.edge_half) == cost.parameter_bytes(vector_split().edge) + 4 * 12 * 10
    moved = defended.split.edge[1]
    assert isinstance(moved, Applied)
    assert not list(moved.operator.rest.parameters())


def test_a_lost_bias_shows(data: Corpus) -> None:
    """The identities above can fail."""
    given = vector_split()
    defended = fit(given, data)
    assert isinstance(defended.split.server, Shifted)
    defended.split.server.constant.zero_()
    assert (answers(defended.split) - answers(given)).abs().max() > 1e-2


def test_refusals(data: Corpus) -> None:
    pooled = Split(conv_split().edge, nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)), "c", (4, 6, 6))
    pooled.server.eval()
    with pytest.raises(CutError, match="maxpool2d"):
        check(LinearSplit(), pooled)
    with pytest.raises(CutError, match="maxpool2d"):
        fit(pooled, data)
    with pytest.raises(ModelError, match="train mode"):
        check(LinearSplit(), replace(conv_split(), server=nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3)).train()))
    with pytest.raises(SpecError, match="put it last"):
        parse("linear_split+gaussian")
