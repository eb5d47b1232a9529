"""Floors: what an adversary reaches without the payload. A leakage figure means only what stands above them.

`majority` knows the frequencies among its own people; `label_only` knows the server's answer yhat, which any working
service reveals (the undefended model's, one floor for all defenses of a comparison); `imputation` adds the side
information that the threat grants; `mean_image` draws the average of its own
people, `image_of_answer` the average of those who got the same answer.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from torch import Tensor

from privet.payload import Array


def majority(s_aux: Array, classes: int, n: int) -> Tensor:
    """The aux frequencies for everybody, [n, K]."""
    counts = np.bincount(s_aux, minlength=classes) + 1e-3
    return torch.from_numpy(np.tile(counts / counts.sum(), (n, 1))).float()


def label_only(s_aux: Array, answer_aux: Array, answer_victims: Array, classes: int, answers: int) -> Tensor:
    """P(s | yhat) from counts on aux, with one person of the aux frequencies added to every answer, [n, K]."""
    prior = np.bincount(s_aux, minlength=classes) + 1e-3
    table = np.tile(prior / prior.sum(), (answers, 1))
    np.add.at(table, (answer_aux, s_aux), 1)
    return torch.from_numpy((table / table.sum(1, keepdims=True))[answer_victims]).float()


def imputation(s_aux: Array, known_aux: Array, known_victims: Array, classes: int) -> Tensor:
    """Logistic regression from one-hot columns of yhat and the side information and their products, [n, K]."""
    present = np.unique(s_aux)
    if len(present) < 2:
        return majority(s_aux, classes, len(known_victims))
    pairs = PolynomialFeatures(interaction_only=True, include_bias=False)
    regression = make_pipeline(pairs, LogisticRegression(max_iter=500)).fit(known_aux, s_aux)
    whole = np.full((len(known_victims), classes), 1e-6)
    whole[:, present] = regression.predict_proba(known_victims)
    return torch.from_numpy(whole / whole.sum(1, keepdims=True)).float()


def mean_image(aux: Tensor, n: int) -> Tensor:
    """The average input of aux, n times, [n, ...]."""
    return aux.mean(0, keepdim=True).expand(n, *aux.shape[1:])


def image_of_answer(aux: Tensor, answer_aux: Array, answer_victims: Array) -> Tensor:
    """The average input of the aux people who got the same answer (of everybody, where nobody did), [n, ...]."""
    pictures = mean_image(aux, int(answer_victims.max()) + 1).clone()
    for answer in np.unique(answer_aux[answer_aux < len(pictures)]):
        pictures[answer] = aux[torch.from_numpy(answer_aux == answer)].mean(0)
    return pictures[torch.from_numpy(answer_victims)]


def one_hot(columns: list[Array], classes: list[int]) -> Array:
    """Columns of labels as one-hot blocks side by side; a missing label (-1) is a row of zeros in its block, [n, sum
    K]."""
    blocks = []
    for labels, size in zip(columns, classes, strict=True):
        block = np.zeros((len(labels), size), dtype=np.float32)
        known = labels >= 0
        block[np.flatnonzero(known), labels[known]] = 1
        blocks.append(block)
    return np.concatenate(blocks, axis=1) if blocks else np.zeros((0, 0), dtype=np.float32)
