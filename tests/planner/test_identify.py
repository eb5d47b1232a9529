"""Identification: whole inner layers give an extractor away with one picture, others have to be guessed."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import extractors
import pytest
import torch

import tiny
from privet.planner.identify import Anonymity, anonymity, identify
from privet.planner.pruning import narrowed
from privet.pretrained import pool as pools
from privet.pretrained import zoo
from privet.pretrained.layers import Step
from privet.pretrained.pool import Source
from privet.train import inputs

CHANNELS = [1, 4, 5]


@pytest.fixture
def pool(tmp_path: Path) -> list[Source]:
    """Two networks of other weights, and a third with other layers."""
    right = extractors.source(tmp_path, "right")
    other = Source("other", zoo.chain_of(extractors.network(99)), right.file)
    wide = torch.nn.Sequential(torch.nn.Conv2d(1, 9, 5, padding=2))
    shallow = Source("shallow", zoo.chain_of(tiny.seeded(wide, 3)), "")
    return [other, shallow, right]


def pictures(n: int) -> torch.Tensor:
    return inputs(extractors.corpus(200).aux_train.x[:n])


@pytest.mark.parametrize("n", [4, 20])
def test_whole_inner_layers_give_the_extractor_away(n: int, pool: list[Source]) -> None:
    x = pictures(n)
    with torch.no_grad():
        z = pool[2].chain.head(3, torch.tensor(CHANNELS))(x)
    guess = identify(x, z, pool)
    assert guess is not None
    assert (guess.source, guess.layer, list(guess.channels)) == ("right", 3, CHANNELS)
    assert guess.correlation == pytest.approx(1, abs=1e-5)


def test_pools_in_front_of_a_layer_do_not_matter_and_order_does_not_hide(pool: list[Source]) -> None:
    x, mixed = pictures(10), torch.tensor([2, 0, 1])
    with torch.no_grad():
        z = pool[2].chain.head(2, torch.tensor(CHANNELS))(x)[:, mixed] * -3 + 1
    guess = identify(x, z, pool)
    assert guess is not None
    assert guess.source == "right"
    assert guess.layer in (1, 2), "a pool of one place gives back what it gets"
    assert list(guess.channels) == [CHANNELS[i] for i in mixed]


def test_inner_filters_left_out_spoil_the_copy(pool: list[Source]) -> None:
    right, x = pool[2], pictures(60)
    whole = anonymity(right.chain.head(3, torch.tensor(CHANNELS)), "right", 3, CHANNELS, x, pool, (4, 60))
    assert [a.named for a in whole] == [True, True]
    assert [a.rate for a in whole] == [1.0, 1.0]
    kept = {k: torch.tensor(v) for k, v in narrowed(right, 3, 1 / 3, 2).items()}
    spoiled = anonymity(right.chain.head(3, torch.tensor(CHANNELS), kept), "right", 3, CHANNELS, x, pool, (60,))
    assert spoiled[0].correlation < 0.999 < whole[1].correlation


def test_maps_of_no_layers_size_are_not_guessed(pool: list[Source]) -> None:
    assert identify(pictures(2), torch.rand(2, 3, 5, 5), pool) is None


def test_networks_that_pictures_are_too_small_for_are_asked_as_far_as_they_go(pool: list[Source]) -> None:
    deep = replace(pool[0], name="deep", chain=deepcopy(pool[0].chain))
    deep.chain.layers.add_module("last", Step(torch.nn.Conv2d(6, 6, 9).requires_grad_(False)))
    x = pictures(3)
    guess = identify(x, pool[2].chain.head(3, torch.tensor(CHANNELS))(x), [deep, pool[2]])
    assert guess is not None
    assert guess.source == "right"


def test_constant_channels_say_nothing(pool: list[Source]) -> None:
    x = pictures(5)
    guess = identify(x, torch.zeros(5, 2, 6, 6), pool)
    assert guess is None or guess.correlation == 0


def test_counts_beyond_the_pictures_are_left_out(pool: list[Source]) -> None:
    head = pool[2].chain.head(3, torch.tensor(CHANNELS))
    found = anonymity(head, "right", 3, CHANNELS, pictures(12), pool, (1, 10, 100))
    assert [a.pairs for a in found] == [1, 10]
    assert isinstance(found[0], Anonymity)


def test_one_picture_names_a_layer_of_vgg19(shared_data: Path) -> None:
    """METHODS 3.6 and 2o: what the paper holds to be hard takes one picture."""
    names = ("vgg19", "mobilenet", "cifar10_resnet20")
    real = [pools.load(shared_data / "weights", name, (3, 32, 32)) for name in names]
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    channels = [3, 40, 77, 126]
    found = anonymity(real[0].chain.head(6, torch.tensor(channels)), real[0].name, 6, channels, x, real, (1,))
    assert found[0].named
    assert found[0].rate == 1.0
