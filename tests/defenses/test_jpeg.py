"""JPEG: Pillow's codec is the independent truth."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn
from torch import nn

from privet import cost
from privet.data.corpus import Corpus
from privet.defense import Defended, parse
from privet.defenses.jpeg import HIGHEST, BlockTransform, Jpeg, cosines, entropy, quantized, tables
from privet.errors import SpecError
from privet.payload import HEADER
from privet.split import Split
from privet.train import inputs
from tiny import EFFORT, conv_split, corpus, pictures, vector_split

SIZE = (50, 37)  # no multiple of eight


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(given: Split, data: Corpus, quality: int = 10, tune: bool = False) -> Defended:
    return Jpeg(quality, tune).fit(given, data, effort=EFFORT, seed=0)


def smooth(channels: int) -> np.ndarray:
    """A picture uint8 [C, 50, 37] of slow waves with a little noise, as photographs are."""
    generator = np.random.default_rng(channels)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] / 10
    waves = [np.sin(rows * a + columns * b + c) for a, b, c in generator.uniform(-1, 1, (channels, 3))]
    return (128 + 90 * np.stack(waves) + generator.normal(0, 5, (channels, *SIZE))).clip(0, 255).astype(np.uint8)


def pillow(picture: np.ndarray, quality: int) -> tuple[np.ndarray, Any]:
    """What Pillow makes of it [C, H, W], and its quantization tables."""
    file = io.BytesIO()
    Image.fromarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)).save(
        file, "JPEG", quality=quality, subsampling=0
    )
    image = Image.open(file)
    return np.asarray(image).reshape(*SIZE, -1).transpose(2, 0, 1), image.quantization


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [1, 10, 45, 50, 60])
def test_agrees_with_pillow(channels: int, quality: int) -> None:
    """Up to what rounding inside a codec does, which is far less than what compression does."""
    picture = smooth(channels)
    theirs, steps = pillow(picture, quality)
    mine = (BlockTransform((channels, *SIZE), quality)(torch.from_numpy(picture)[None] / 255)[0] * 255).numpy()
    lost = np.abs(theirs - picture.astype(float)).mean()
    apart = np.abs(mine - theirs).mean()
    assert apart < 0.6 if channels == 1 else apart < 1.3
    assert apart < lost / 3
    for channel, table_of in zip(tables(quality, channels).flatten(1), (0, 1, 1), strict=False):
        assert channel.tolist() == list(steps[table_of])


def test_transform_is_the_orthonormal_dct() -> None:
    torch.testing.assert_close(cosines() @ cosines().T, torch.eye(8).double())
    block = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)).double()
    wanted = dctn(255 * block.numpy() - 128, norm="ortho") / tables(30, 1)[0].numpy()
    got = BlockTransform((1, 8, 8), 30).encode(block.float()[None, None])[0].reshape(8, 8)
    np.testing.assert_allclose(got.numpy(), wanted, atol=1e-4)


def test_every_coefficient_fits_a_byte() -> None:
    """The pictures that drive each coefficient to its extreme: black and white by the sign of its wave."""
    signs = (cosines()[:, None, :, None] * cosines()[None, :, None, :]).reshape(64, 1, 8, 8).sign()
    extreme = torch.cat([(signs + 1) / 2, (1 - signs) / 2]).float()

    def largest(quality: int, channels: int) -> float:
        x = extreme.repeat(1, channels, 1, 1)
        return float(BlockTransform((channels, 8, 8), quality).encode(x)[0].abs().max())

    assert largest(HIGHEST, 1) < 127.5 < largest(HIGHEST + 5, 1)
    assert largest(HIGHEST, 3) < 127.5


def test_undoing_it_without_rounding_gives_the_picture_back() -> None:
    for shape in ((1, *SIZE), (3, *SIZE), (2, 6, 6)):
        transform = BlockTransform(shape, 10)
        x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(transform.decode(*transform.encode(x)), x, atol=1e-4, rtol=0)


def test_the_cast_is_the_rounding(data: Corpus) -> None:
    """What training goes through is what the server decodes."""
    defended, x = fit(conv_split(), data, 30), pictures(8)
    torch.testing.assert_close(defended.decode(defended.encode(x)), defended.obfuscator(x), atol=1e-5, rtol=0)
    loose = defended.obfuscator.decode(*defended.obfuscator.encode(x))
    assert (loose - defended.obfuscator(x)).abs().max() > 0.01


def test_only_what_survives_travels(data: Corpus) -> None:
    defended = fit(conv_split(), data, 10)
    values = quantized(BlockTransform((1, 6, 6), 10), data, 0)
    assert values.shape == (40, 64)
    kept = defended.obfuscator.kept
    assert isinstance(kept, torch.Tensor)
    assert kept.tolist() == np.flatnonzero(values.any(0)).tolist()
    assert 0 < len(kept) < 64
    assert defended.payload_bytes == HEADER.size + len(kept) == HEADER.size + defended.log["kept_in_a_block"]
    assert 0 < defended.log["ideal_bytes"] < len(kept)
    whole = BlockTransform((1, 6, 6), 10)
    x = inputs(data.task_train.x)
    torch.testing.assert_close(defended.obfuscator(x), whole(x), atol=1e-6, rtol=0)
    assert len(fit(conv_split(), data, 1).obfuscator.kept) < len(kept)


def test_entropy() -> None:
    assert entropy(np.zeros(8, np.int8)) == 0
    assert entropy(np.repeat(np.arange(4), 5)) == pytest.approx(2)


def test_the_server_runs_everything(data: Corpus) -> None:
    given = vector_split()
    defended, x = fit(given, data), pictures(6)
    assert isinstance(defended.split.edge, nn.Identity)
    assert cost.macs(defended.edge_half, x) < 64 * 8 * 4
    payload = defended.encode(x)
    with torch.no_grad():
        wanted = given.server(given.edge(defended.decode(payload)))
    torch.testing.assert_close(defended.server(payload), wanted, atol=1e-6, rtol=0)
    assert fit(given, data, tune=True).log["server_tuned"] is True
    assert fit(vector_split(frozenset({"edge"})), data, tune=True).log["server_tuned"] is False


def test_refusals(data: Corpus) -> None:
    for quality in (0, HIGHEST + 1, -5):
        with pytest.raises(SpecError, match=r"quality lies in 1\.\.60"):
            Jpeg(quality)
    rows = {r: replace(p, x=(p.x.reshape(len(p), 36) / 255).astype(np.float32)) for r, p in data.parts.items()}
    with pytest.raises(SpecError, match="jpeg takes pictures, and 'tiny' is a table"):
        fit(vector_split(), replace(data, kind="table", parts=rows, digest=""))
    with pytest.raises(SpecError, match="put it last"):
        parse("jpeg+gaussian")
