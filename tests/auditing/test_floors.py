"""Floors: what is reached without the payload, against answers known by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from privet.auditing import floors


def test_majority_is_the_frequencies_of_aux() -> None:
    p = floors.majority(np.array([2, 2, 2, 0]), 3, 5)
    assert p.shape == (5, 3)
    assert torch.allclose(p[0], torch.tensor([0.25, 0.0, 0.75]), atol=1e-3)
    assert bool((p > 0).all())


def test_label_only_is_the_table_of_answers() -> None:
    s, answer = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 0])
    p = floors.label_only(s, answer, np.array([0, 1, 2]), 2, 3)
    assert torch.allclose(p, torch.tensor([[3.6 / 5, 1.4 / 5], [0.6 / 2, 1.4 / 2], [0.6, 0.4]]), atol=1e-3)


def test_imputation_learns_from_what_is_known() -> None:
    generator = np.random.default_rng(0)
    s, s_victims = generator.integers(0, 3, 200), generator.integers(0, 3, 100)
    p = floors.imputation(s, floors.one_hot([s], [3]), floors.one_hot([s_victims], [3]), 3)
    assert (p.argmax(1).numpy() == s_victims).all()
    assert torch.allclose(p.sum(1), torch.ones(100))
    blind = floors.imputation(s, floors.one_hot([s * 0], [3]), floors.one_hot([s_victims * 0], [3]), 3)
    assert (blind.argmax(1).numpy() == np.bincount(s).argmax()).all()


def test_imputation_where_aux_misses_values() -> None:
    some, one = np.array([0, 2] * 20), np.zeros(40, dtype=np.int64)
    p = floors.imputation(some, floors.one_hot([some], [3]), floors.one_hot([np.array([2, 0])], [3]), 3)
    assert p.argmax(1).tolist() == [2, 0]
    assert float(p[:, 1].max()) < 1e-5
    alone = floors.imputation(one, floors.one_hot([some], [3]), floors.one_hot([np.array([2, 0])], [3]), 3)
    assert alone.argmax(1).tolist() == [0, 0]


def test_mean_image() -> None:
    aux = torch.rand(7, 1, 4, 4)
    drawn = floors.mean_image(aux, 3)
    assert drawn.shape == (3, 1, 4, 4)
    assert torch.equal(drawn[0], drawn[2])
    assert torch.allclose(drawn[0], aux.mean(0))


def test_one_hot_leaves_missing_labels_empty() -> None:
    blocks = floors.one_hot([np.array([1, -1]), np.array([0, 2])], [2, 3])
    assert blocks.tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 0, 1]]
    assert floors.one_hot([], []).size == 0
    with pytest.raises(ValueError):
        floors.one_hot([np.array([1])], [2, 3])
