"""L1 feature pruning: the kept columns, worked out by hand, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from privet.data.corpus import Corpus
from privet.defense import Defended, check, parse
from privet.defenses.feature_l1 import FeatureL1, KeptFeatures, scores
from privet.errors import CutError, SpecError
from privet.operators import find
from privet.payload import HEADER
from privet.runtime.export import export_edge
from privet.split import Split
from privet.train import predict
from tiny import EFFORT, SHAPE, conv_split, corpus, pictures, seeded, vector_split

WEIGHT = torch.tensor([[1.0, -5, 0, 2], [0, 1, 3, -2]])  # columns of L1 norm 1, 6, 3, 4


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(given: Split, data: Corpus, keep: float = 2, tune: bool = False) -> Defended:
    return FeatureL1(keep, tune).fit(given, data, effort=EFFORT, seed=0)


def four(front: nn.Module | None = None, weight: torch.Tensor = WEIGHT) -> Split:
    """z [B, 4] in front of a layer with the weights above."""
    linear = nn.Linear(4, 2)
    with torch.no_grad():
        linear.weight.copy_(weight)
    edge = seeded(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)))
    return Split(edge, nn.Sequential(*([front] if front else []), linear).eval(), "c", (4,))


@pytest.mark.parametrize(("keep", "kept"), [(1, [1]), (2, [1, 3]), (3, [1, 2, 3]), (4, [0, 1, 2, 3]), (0.26, [1, 3])])
def test_columns_by_hand(keep: float, kept: list[int], data: Corpus) -> None:
    defended = fit(four(), data, keep)
    assert defended.log["kept"] == kept
    with torch.no_grad():
        z = defended.split.edge(pictures(6))
    view = defended.decode(defended.encode(pictures(6)))
    mask = torch.zeros(4).index_fill(0, torch.tensor(kept), 1.0)
    torch.testing.assert_close(view, (z * mask).half().float(), atol=0, rtol=0)
    assert defended.log["share_of_norm"] == pytest.approx(sum([1, 6, 3, 4][j] for j in kept) / 14)
    assert defended.payload_bytes == HEADER.size + 2 * len(kept)


def test_l1_not_l2(data: Corpus) -> None:
    weight = torch.tensor([[2.0, 3, 0, 0], [2, 0, 0, 0]])  # L1 puts the first column first, L2 the second
    assert fit(four(weight=weight), data, 1).log["kept"] == [0]


def test_equal_columns_go_in_order(data: Corpus) -> None:
    assert fit(four(weight=torch.ones(2, 4)), data, 2).log["kept"] == [0, 1]


def test_normalization_in_front_counts(data: Corpus) -> None:
    """A feature that batch normalization shrinks weighs less for the server."""
    front = nn.BatchNorm1d(4)
    with torch.no_grad():
        front.weight.copy_(torch.tensor([10.0, 0.1, 1, 1]))
    assert fit(four(front), data, 2).log["kept"] == [0, 3]


def test_channels_of_a_convolution(data: Corpus) -> None:
    """Whole channels travel, ranked by the L1 norm of the kernels that read them."""
    given = conv_split()
    with torch.no_grad():
        given.server[0].weight.copy_(torch.randn(3, 4, 3, 3) * torch.tensor([1.0, 9, 0.1, 5])[None, :, None, None])
        z = given.edge(pictures(5))
    norms = [float(given.server[0].weight[:, c].detach().abs().sum()) for c in range(4)]
    torch.testing.assert_close(scores(find(given.server, given.shape)).float(), torch.tensor(norms))
    defended = fit(given, data, 2)
    assert defended.log["kept"] == [1, 3]
    assert [f.shape for f in defended.obfuscator.signature] == [(2, 6, 6)]
    view = defended.decode(defended.encode(pictures(5)))
    torch.testing.assert_close(view[:, [1, 3]], z[:, [1, 3]], atol=2e-3, rtol=1e-3)
    assert not view[:, [0, 2]].any()


def test_values_of_a_map_in_front_of_a_full_layer(data: Corpus) -> None:
    """Behind a flattening every value of the map is a feature of its own."""
    server = nn.Sequential(nn.Flatten(), nn.Linear(144, 2))
    with torch.no_grad():
        server[1].weight.zero_()
        server[1].weight[0, [7, 100]] = torch.tensor([3.0, -2])
    defended = fit(Split(conv_split().edge, server.eval(), "c", (4, 6, 6)), data, 2)
    assert defended.log["kept"] == [7, 100]
    with torch.no_grad():
        z = defended.split.edge(pictures(3)).flatten(1)
    view = defended.decode(defended.encode(pictures(3)))
    assert view.shape == (3, 4, 6, 6)
    torch.testing.assert_close(view.flatten(1)[:, [7, 100]], z[:, [7, 100]], atol=2e-3, rtol=1e-3)
    assert int((view.flatten(1) != 0).any(0).sum()) <= 2


def test_order_of_the_kept(data: Corpus) -> None:
    z = torch.arange(12.0).reshape(2, 6)
    obfuscator = KeptFeatures((6,), [0, 2, 5])
    assert obfuscator.encode(z)[0].tolist() == [[0, 2, 5], [6, 8, 11]]
    assert obfuscator(z).tolist() == [[0, 0, 2, 0, 0, 5], [6, 0, 8, 0, 0, 11]]


def test_tuning(data: Corpus) -> None:
    given = vector_split()
    before = {k: v.clone() for k, v in given.server.state_dict().items()}
    plain = fit(given, data, 3, tune=False)
    assert all(torch.equal(plain.split.server.state_dict()[k], v) for k, v in before.items())
    assert plain.log["server_tuned"] is False
    tuned = fit(given, data, 3, tune=True)
    assert tuned.log["server_tuned"] is True

    def right(defended: Defended) -> float:
        payload = defended.encode(torch.from_numpy(data.task_val.x).float() / 255)
        return float((defended.server(payload).argmax(1).numpy() == data.task_val.y).mean())

    assert right(tuned) >= right(plain)
    frozen = fit(vector_split(frozenset({"server"})), data, 3, tune=True)
    assert frozen.log["server_tuned"] is False
    assert "frozen" in frozen.log["why"]


def test_refusals(data: Corpus) -> None:
    for given, features in ((vector_split(), 12), (conv_split(), 4)):
        assert fit(given, data, features).log["features"] == features
        assert (fit(given, data, features).flags, fit(given, data, 1).flags) == (("nothing_removed",), ())
        with pytest.raises(SpecError, match=f"keep={features + 1} exceeds the {features} features"):
            check(FeatureL1(features + 1), given)
        with pytest.raises(SpecError, match=f"exceeds the {features} features"):
            fit(given, data, features + 1)
    for keep in (0, -1, 0.0, 1.5, float("nan"), True):
        with pytest.raises(SpecError, match="share of them"):
            FeatureL1(keep)
    pooled = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 2)).eval()
    with pytest.raises(CutError, match="avgpool2d"):
        check(FeatureL1(), Split(conv_split().edge, pooled, "c", (4, 6, 6)))


def test_exports_in_front_of_a_convolution(data: Corpus, tmp_path: Any) -> None:
    defended = fit(conv_split(), data, 3)
    export_edge(defended, tmp_path / "edge.onnx", SHAPE)
    got = onnxruntime.InferenceSession(tmp_path / "edge.onnx").run(None, {"x": pictures(5).numpy()})[0]
    with torch.no_grad():
        np.testing.assert_allclose(got, defended.edge_half(pictures(5))[0].numpy(), atol=1e-5)


def test_follows_another_defense(data: Corpus) -> None:
    defended = parse("gaussian:sigma=0.1+feature_l1:keep=5").fit(vector_split(), data, effort=EFFORT, seed=0)
    assert [f.shape for f in defended.obfuscator.signature] == [(5,)]
    assert predict(defended.split.edge, data.victim.x).shape == (8, 12)
