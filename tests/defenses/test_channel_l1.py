"""Channel pruning by magnitude: the channels that are largest on the owner's data, worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from people import strangers
from privet.data.corpus import Corpus
from privet.defense import Defended, parse
from privet.defenses.channel_l1 import ChannelL1, magnitudes
from privet.errors import SpecError
from privet.payload import HEADER
from privet.split import Split
from privet.train import inputs
from tiny import EFFORT, conv_split, corpus, pictures, vector_split

SCALES = torch.tensor([1.0, -5, 0.5, 3, 2, -0.1])


class Planted(nn.Module):
    """z of which channel c is scales[c] times a mean of the picture, somewhere else for every example: [C], [C, 1, 2]
    or [T = 3, C]."""

    def __init__(self, shape: tuple[int, ...], scales: torch.Tensor = SCALES) -> None:
        super().__init__()
        self.shape, self.scales = shape, scales

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = 1 + x.flatten(1).mean(1)
        if len(self.shape) == 2:
            return bright[:, None, None] * torch.ones(3, 1) * self.scales
        z = bright[:, None] * self.scales
        return torch.stack([z, -2 * z], 2)[:, :, None] if len(self.shape) == 3 else z


SHAPES = {"vector": (6,), "map": (6, 1, 2), "sequence": (3, 6)}


def planted(shape: tuple[int, ...], scales: torch.Tensor = SCALES) -> Split:
    server = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 2))
    return Split(Planted(shape, scales).eval(), server.eval(), "cut", shape)


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(given: Split, data: Corpus, ratio: float = 0.5) -> Defended:
    return ChannelL1(ratio).fit(given, data, effort=EFFORT, seed=0)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("ratio", "kept"), [(0.9, [1]), (0.7, [1, 3]), (0.5, [1, 3, 4]), (0.2, [0, 1, 2, 3, 4])])
def test_the_strongest_channels_are_kept(data: Corpus, shape: tuple[int, ...], ratio: float, kept: list[int]) -> None:
    defended = fit(planted(shape), data, ratio)
    assert defended.log["kept"] == kept
    assert defended.log["share_of_magnitude"] == pytest.approx(
        float(SCALES[kept].abs().sum() / SCALES.abs().sum()), rel=1e-5
    )
    axis = 1 if len(shape) == 2 else 0
    x = pictures(5)
    z, view = defended.split.edge(x), defended.decode(defended.encode(x))
    mask = torch.zeros(6).index_fill(0, torch.tensor(kept), 1.0)
    mask = mask.reshape([6 if i == axis else 1 for i in range(len(shape))])
    torch.testing.assert_close(view, (z * mask).half().float(), atol=0, rtol=0)
    assert defended.payload_bytes == HEADER.size + 2 * len(kept) * int(np.prod(shape)) // 6


def test_equation() -> None:
    """The mean over places of the absolute value, channel by channel, for every kind of z."""
    for shape, axis in (((4, 3, 2), 0), ((4,), 0), ((5, 4), 1)):
        z = torch.randn(7, *shape, generator=torch.Generator().manual_seed(0))
        wanted = torch.zeros(7, 4)
        for i in range(7):
            for c in range(4):
                values = z[i].select(axis, c).flatten().tolist()
                wanted[i, c] = sum(abs(v) for v in values) / len(values)
        torch.testing.assert_close(magnitudes(z, axis), wanted)


def test_mean_over_people_not_the_largest_among_them(data: Corpus) -> None:
    """A channel that one person drives high is weaker than one that is middling for everybody."""

    class Spiky(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            spike = (x.flatten(1).mean(1) > brightest - 1e-6).float() * 10
            return torch.stack([spike, torch.ones_like(spike)], 1)

    brightest = float(inputs(data.task_train.x).flatten(1).mean(1).max())
    assert fit(Split(Spiky().eval(), nn.Linear(2, 2), "cut", (2,)), data).log["kept"] == [1]


def test_data_rank_where_feature_l1_asks_the_server(data: Corpus) -> None:
    """With the server's weights turned round, `feature_l1` keeps other channels and this one the same."""
    kept: dict[str, list[list[int]]] = {"feature_l1:keep=2,tune=false": [], "channel_l1:ratio=0.7": []}
    for weights in (SCALES.abs(), 1 / SCALES.abs()):
        given = planted((6,))
        server = nn.Linear(6, 2)
        with torch.no_grad():
            server.weight.copy_(weights.expand(2, 6))
        for text, found in kept.items():
            defended = parse(text).fit(replace(given, server=server.eval()), data, effort=EFFORT, seed=0)
            found.append(defended.log["kept"])
    assert kept == {"feature_l1:keep=2,tune=false": [[1, 3], [2, 5]], "channel_l1:ratio=0.7": [[1, 3], [1, 3]]}


def test_equal_channels_go_in_order(data: Corpus) -> None:
    assert fit(planted((6,), torch.ones(6)), data).log["kept"] == [0, 1, 2]
    assert fit(planted((6,), torch.zeros(6)), data).log["kept"] == [0, 1, 2]


def test_the_unlabelled_count_too(data: Corpus) -> None:
    """Half of the people are bright and unlabelled; the channel that only they drive is the strongest."""
    x = np.zeros_like(data.task_train.x)
    x[20:] = 255
    y = np.where(np.arange(len(x)) < 20, data.task_train.y, -1)
    parts = {**data.parts, "task_train": replace(data.task_train, x=x, y=y)}
    edge = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    with torch.no_grad():
        edge[1].weight.copy_(torch.stack([torch.ones(36), torch.zeros(36)]) / 9)
        edge[1].bias.copy_(torch.tensor([0.0, 1.0]))
    given = Split(edge.eval(), nn.Linear(2, 2).eval(), "cut", (2,))
    assert fit(given, replace(data, parts=parts, digest="")).log["kept"] == [0]


def test_one_set_for_everybody_and_no_noise(data: Corpus) -> None:
    defended = fit(conv_split(), data)
    assert defended.obfuscator.noise == ()
    assert [(f.name, f.shape) for f in defended.obfuscator.signature] == [("kept", (2, 6, 6))]
    view = defended.decode(defended.encode(pictures(9)))
    left = {tuple(row.nonzero().flatten().tolist()) for row in view.flatten(2).abs().sum(2) > 0}
    assert left == {tuple(defended.log["kept"])}


@pytest.mark.parametrize("given", [conv_split, vector_split])
def test_only_the_task_parts_are_read(data: Corpus, given: Any) -> None:
    one, two = fit(given(), data), fit(given(), strangers(data))
    assert one.log == two.log
    assert one.encode(pictures(6)).to_bytes() == two.encode(pictures(6)).to_bytes()
    state = zip(one.split.server.state_dict().values(), two.split.server.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in state)


def test_only_the_server_learns(data: Corpus) -> None:
    given = conv_split()
    defended = fit(given, data)
    assert defended.log["server_tuned"] is True
    assert defended.guarantee.statement is None
    after = defended.split.edge.state_dict()
    assert all(torch.equal(after[k], v) for k, v in given.edge.state_dict().items())
    frozen = fit(conv_split(frozenset({"server"})), data)
    assert frozen.log["server_tuned"] is False
    assert frozen.log["kept"] == defended.log["kept"]


def test_refusals_and_flags(data: Corpus) -> None:
    for ratio in (-0.1, 1.0, float("nan")):
        with pytest.raises(SpecError, match="share of channels removed"):
            ChannelL1(ratio)
    assert fit(planted((6,)), data, 0.0).flags == ("nothing_removed",)
    assert fit(planted((6,)), data, 0.1).flags == ("nothing_removed",)  # a tenth of six channels is none
    assert fit(planted((6,)), data, 0.2).flags == ()
