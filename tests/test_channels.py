"""Channel pruning, whatever decides: exactly K, alone or in a batch, bit by bit, along every axis that is pruned."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from privet.channels import (
    Filter,
    FixedChannels,
    FixedTokens,
    Masked,
    MaskedTokens,
    axis_of,
    count_kept,
    hard_mask,
    soft_mask,
    standardized,
    straight_through,
    strongest,
)
from privet.errors import CutError
from privet.payload import Payload

CUTS = [((6, 3, 3), 0), ((6,), 0), ((5, 6), 1), ((6, 5), 0)]


def normal(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


class Given(nn.Module):
    """Scores that were written down."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.written = scores

    def forward(self, z: Tensor) -> Tensor:
        return self.written


def test_axes() -> None:
    assert [axis_of(shape) for shape in ((6, 3, 3), (6,), (5, 6))] == [0, 0, 1]
    assert axis_of((5, 6), "tokens") == 0
    for shape in ((6,), (6, 3, 3)):
        with pytest.raises(CutError, match="prune=tokens wants"):
            axis_of(shape, "tokens")


@pytest.mark.parametrize(("channels", "ratio", "kept"), [(64, 0.75, 16), (100, 0.29, 71), (20, 0.65, 7), (4, 0.99, 1)])
def test_kept(channels: int, ratio: float, kept: int) -> None:
    assert count_kept(channels, ratio) == kept


def test_masks_keep_k_and_the_first_of_equals() -> None:
    scores = torch.tensor([[3.0, 1, 2, 0], [1, 1, 1, 1], [0, 5, 0, 5], [-1, -2, -3, -1]])
    wanted = torch.tensor([[1.0, 0, 1, 0], [1, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 1]])
    assert torch.equal(hard_mask(scores, 2), wanted)
    assert strongest(scores, 2).tolist() == [[0, 2], [0, 1], [1, 3], [0, 3]]
    assert torch.equal(hard_mask(normal(500, 40), 7).sum(1), torch.full((500,), 7.0))


def test_soft_mask_is_the_equation_and_agrees_with_the_hard_one() -> None:
    scores = normal(50, 9)
    soft = soft_mask(scores, 4, 0.1)
    for row, values in zip(soft, scores, strict=True):
        ordered = sorted(values.tolist(), reverse=True)
        middle = (ordered[3] + ordered[4]) / 2
        torch.testing.assert_close(row, torch.sigmoid((values - middle) / 0.1))
    assert torch.equal((soft > 0.5).float(), hard_mask(scores, 4))


def test_straight_through_is_hard_with_the_soft_gradient() -> None:
    scores, told = normal(8, 9).requires_grad_(), normal(8, 9, seed=1)
    mask = straight_through(scores, 4, 0.3)
    torch.testing.assert_close(mask.detach(), hard_mask(scores.detach(), 4))
    mask.backward(told)
    soft = torch.sigmoid((scores.detach() - _middle(scores.detach(), 4)) / 0.3)
    torch.testing.assert_close(scores.grad, told * soft * (1 - soft) / 0.3)
    assert float(scores.grad.abs().max()) > 0


def _middle(scores: Tensor, keep: int) -> Tensor:
    ordered = scores.sort(dim=1, descending=True).values
    return (ordered[:, keep - 1 : keep] + ordered[:, keep : keep + 1]) / 2


@pytest.mark.parametrize(("shape", "axis"), CUTS)
def test_decoded_is_the_pruned_representation_to_the_bit(shape: tuple[int, ...], axis: int) -> None:
    """T2: decode(encode(z)) equals M * z through a float32 payload's bytes, and every payload is as long."""
    z, scores = normal(16, *shape), normal(16, shape[axis], seed=2)
    obfuscator = Masked(shape, axis, 2, Given(scores), "float32")
    named = dict(zip((f.name for f in obfuscator.signature), obfuscator.encode(z), strict=True))
    frame = Payload.pack(obfuscator.signature, {k: v.numpy() for k, v in named.items()}).to_bytes()
    read = Payload.from_bytes(frame, obfuscator.signature)
    view = obfuscator.decode(*(torch.from_numpy(v) for v in read.floats().values()))
    assert torch.equal(view, obfuscator.prune(z, hard_mask(scores, 2)))
    assert torch.equal(torch.from_numpy(read.floats()["mask"]), hard_mask(scores, 2))
    moved = view.movedim(axis + 1, 1).flatten(2) if len(shape) > 1 else view.unsqueeze(2)
    assert torch.equal(moved.abs().sum(2).count_nonzero(1), torch.full((16,), 2))


def test_tokens_travel_without_a_mask() -> None:
    z, scores = normal(7, 6, 5), normal(7, 6, seed=2)
    obfuscator = MaskedTokens((6, 5), 0, 3, Given(scores))
    (kept,) = obfuscator.encode(z)
    assert obfuscator.takes == (6, 5)
    assert [f.shape for f in obfuscator.signature] == [(3, 5)]
    for row, values, written in zip(kept, z, scores, strict=True):
        chosen = sorted(written.argsort(descending=True)[:3].tolist())
        assert torch.equal(row, values[chosen])
    assert torch.equal(obfuscator.decode(kept), obfuscator.prune(z, hard_mask(scores, 3)))


@pytest.mark.parametrize(("shape", "axis"), CUTS)
def test_fixed_channels(shape: tuple[int, ...], axis: int) -> None:
    z, mask = normal(4, *shape), torch.zeros(4, shape[axis])
    mask[:, [1, 3]] = 1
    obfuscator = FixedChannels(shape, axis, [1, 3])
    assert torch.equal(obfuscator.decode(*obfuscator.encode(z)), Masked(shape, axis, 2, None).prune(z, mask))
    assert [f.name for f in obfuscator.signature] == ["kept"]


def test_fixed_tokens() -> None:
    z = normal(4, 6, 5)
    obfuscator = FixedTokens((6, 5), 0, [1, 3])
    assert torch.equal(obfuscator.decode(*obfuscator.encode(z)), z[:, [1, 3]])
    assert obfuscator.takes == (6, 5)


@pytest.mark.parametrize(("shape", "axis"), CUTS)
def test_filter_scores_every_example_alone(shape: tuple[int, ...], axis: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        chooser = Filter(shape, axis)
    z = normal(9, *shape)
    chooser(z)  # statistics that are not those of a fresh network
    chooser.eval()
    with torch.no_grad():
        together, alone = chooser(z), torch.cat([chooser(row) for row in z.split(1)])
    assert together.shape == (9, shape[axis])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together.mean(1), torch.zeros(9), atol=1e-5, rtol=0)
    torch.testing.assert_close(together.std(1, correction=0), torch.ones(9), atol=1e-2, rtol=0)
    assert (together - together[:1]).abs().max() > 1e-3


def test_equal_scores_are_standardized_to_zero() -> None:
    assert torch.equal(standardized(torch.full((2, 5), 3.0)), torch.zeros(2, 5))
