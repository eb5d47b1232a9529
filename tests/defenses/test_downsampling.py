"""Down-sampling: block means travel as bytes, and the whole network runs on the enlarged picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from privet import cost
from privet.data.corpus import Corpus
from privet.defense import Defended, parse
from privet.defenses.downsampling import Downsampling, SmallPicture
from privet.errors import SpecError
from privet.payload import HEADER
from privet.split import Split
from privet.train import accuracy, inputs
from tiny import EFFORT, conv_split, corpus, pictures, vector_split


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(given: Split, data: Corpus, factor: int = 2, tune: bool = False) -> Defended:
    return Downsampling(factor, tune).fit(given, data, effort=EFFORT, seed=0)


def sent(x: Tensor, factor: int) -> Tensor:
    """What is sent of pictures [B, C, H, W], as gray values in [0, 1]."""
    return (SmallPicture(tuple(x.shape[1:]), factor).encode(x)[0] + 127) / 254


def as_table(data: Corpus) -> Corpus:
    parts = {role: replace(p, x=(p.x.reshape(len(p), 36) / 255).astype(np.float32)) for role, p in data.parts.items()}
    return replace(data, name="sheet", kind="table", parts=parts, digest="")


def test_block_means_by_hand() -> None:
    x = torch.tensor([[0.0, 0.4, 1, 1], [0.2, 0.2, 1, 1], [0.1, 0.1, 0, 0], [0.1, 0.1, 0, 0.4]]).reshape(1, 1, 4, 4)
    torch.testing.assert_close(sent(x, 2), torch.tensor([[0.2, 1], [0.1, 0.1]]).reshape(1, 1, 2, 2))
    torch.testing.assert_close(sent(x, 4), x.mean((2, 3), keepdim=True))


def test_sides_that_the_factor_does_not_divide() -> None:
    """5 x 7 by 3: the last row and column are repeated, so that a small picture covers the whole."""
    x = pictures(1)[:, :, :5].repeat(1, 1, 1, 2)[:, :, :, :7]
    small = sent(x, 3)
    assert small.shape == (1, 1, 2, 3)
    corner = torch.cat([x[0, 0, 3:5, 6], x[0, 0, 4:5, 6]]).mean()  # rows 3, 4, 4 of the column 6, three times
    torch.testing.assert_close(small[0, 0, 1, 2], corner)
    assert SmallPicture((1, 5, 7), 3)(x).shape == (1, 1, 5, 7)


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 50, 37), (1, 5, 9)])
@pytest.mark.parametrize("factor", [2, 3, 5])
def test_a_plain_picture_stays(shape: tuple[int, ...], factor: int) -> None:
    for value in (0.0, 0.37, 1.0):
        x = torch.full((2, *shape), value)
        torch.testing.assert_close(SmallPicture(shape, factor)(x), x, atol=1e-6, rtol=0)


def test_bytes_are_pixels(data: Corpus) -> None:
    defended = fit(conv_split(), data, 3)
    assert defended.payload_bytes == HEADER.size + 4
    assert defended.log["small"] == [1, 2, 2]
    for x in (torch.ones(2, 1, 6, 6), torch.zeros(2, 1, 6, 6)):
        payload = defended.encode(x)
        assert payload.saturated == 0
        torch.testing.assert_close(defended.decode(payload), x)
    bright = defended.encode(torch.full((1, 1, 6, 6), 1.2))
    assert bright.saturated == 0, "beyond white is white"
    x = pictures(8)
    rounded = defended.decode(defended.encode(x))
    assert (rounded - defended.obfuscator(x)).abs().max() <= 0.5 / 254 + 1e-6


def test_the_server_runs_everything(data: Corpus) -> None:
    given = conv_split()
    defended, x = fit(given, data), pictures(6)
    assert isinstance(defended.split.edge, nn.Identity)
    assert cost.macs(defended.edge_half, x) == 0
    assert defended.split.shape == (1, 6, 6)
    payload = defended.encode(x)
    with torch.no_grad():
        wanted = given.server(given.edge(defended.decode(payload)))
    torch.testing.assert_close(defended.server(payload), wanted, atol=1e-6, rtol=0)


def test_tuning_teaches_both_halves(data: Corpus) -> None:
    given = conv_split()
    plain, tuned = fit(given, data), fit(given, data, tune=True)
    assert plain.log["server_tuned"] is False
    assert tuned.log["server_tuned"] is True
    whole = nn.Sequential(given.edge, given.server)
    before = {k: v.clone() for k, v in whole.state_dict().items()}
    assert all(torch.equal(plain.split.server.state_dict()[k], v) for k, v in before.items())

    def right(defended: Defended) -> float:
        payload = defended.encode(inputs(data.task_val.x))
        return float((defended.server(payload).argmax(1).numpy() == data.task_val.y).mean())

    longer = Downsampling().fit(given, data, effort=replace(EFFORT, tune_epochs=12), seed=0)
    assert right(longer) > right(plain)
    assert not torch.equal(longer.split.server.state_dict()["0.0.weight"], before["0.0.weight"])


@pytest.mark.parametrize("half", ["edge", "server"])
def test_a_frozen_half_freezes_all(half: str, data: Corpus) -> None:
    given = conv_split(frozenset({half}))
    defended = fit(given, data, tune=True)
    assert defended.log["server_tuned"] is False
    whole = nn.Sequential(given.edge, given.server)
    assert accuracy(defended.split.server, data.task_val) == accuracy(whole, data.task_val)
    assert all(torch.equal(v, whole.state_dict()[k]) for k, v in defended.split.server.state_dict().items())


def test_refusals(data: Corpus) -> None:
    for factor in (1, 0, -2):
        with pytest.raises(SpecError, match="at least 2"):
            Downsampling(factor)
    with pytest.raises(SpecError, match="factor=7 exceeds a side of the pictures, which are 6x6"):
        fit(vector_split(), data, 7)
    with pytest.raises(SpecError, match="'sheet' is a table with 36 columns"):
        fit(vector_split(), as_table(data))
    with pytest.raises(SpecError, match="put it last"):
        parse("downsampling+gaussian")
    with pytest.raises(SpecError, match="replaces the edge half"):
        parse("gaussian+downsampling").fit(vector_split(), data, effort=EFFORT, seed=0)
