"""Boosted trees: histogram gradient boosting on the payload (Ke et al. 2017, "LightGBM"), by scikit-learn.

    payload -> its first `components` principal components and the `columns` values that say most about s -> trees

The single values are there because a projection hides what stands in one of thousands of columns. Deviations: a payload
that is narrow enough is taken whole; the number of trees is chosen on aux_val by log-likelihood.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_selection import f_classif
from torch import Tensor

from privet.attack import Goal, Need, Posterior, View
from privet.nets import STILL
from privet.train import Effort

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class BoostedTrees:
    """Trees on at most `components` directions and `columns` single values."""

    summary: ClassVar[str] = "gradient-boosted trees on principal components and the most telling single values"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    components: int = 48
    columns: int = 16

    def fit(
        self, train: View, s: Tensor, val: View, s_val: Tensor, *, classes: int, effort: Effort, seed: int,
        device: torch.device | str = "cpu",
    ) -> Posterior:  # fmt: skip
        """Fit on aux_train, keep the number of trees that is best on aux_val."""
        labels, held = s.numpy(), s_val.numpy()
        present = np.unique(labels)
        if len(present) < 2:
            return lambda view: torch.nn.functional.one_hot(torch.full((len(view),), int(present[0])), classes).float()
        chosen = self._chooser(train.flat.numpy(), labels, seed)
        trees = HistGradientBoostingClassifier(
            max_iter=min(150, 2 * effort.attack_epochs),
            learning_rate=0.1,
            max_leaf_nodes=15,
            random_state=seed,
            early_stopping=False,
        )
        trees.fit(chosen(train.flat.numpy()), labels)
        known = np.isin(held, present)
        truth = np.searchsorted(present, held[known])
        losses = [_loss(p[known], truth) for p in trees.staged_predict_proba(chosen(val.flat.numpy()))]
        best = int(np.argmin(losses)) if known.any() else len(losses) - 1

        def posterior(view: View) -> Tensor:
            staged = trees.staged_predict_proba(chosen(view.flat.numpy()))
            whole = np.full((len(view), classes), 1e-6)
            whole[:, present] = next(p for i, p in enumerate(staged) if i == best)
            return torch.from_numpy(whole / whole.sum(1, keepdims=True)).float()

        return posterior

    def _chooser(self, raw: Floats, labels: Ints, seed: int) -> Callable[[Floats], Floats]:
        """Standardize, and where there are too many columns keep the principal components and the best single ones."""
        deviation = raw.std(0)
        moves = deviation > STILL * np.abs(raw).max(0)
        mean, scale = raw.mean(0), np.where(moves, deviation, np.float32(np.inf))
        if raw.shape[1] <= self.components + self.columns:
            return lambda flat: (flat - mean) / scale
        standard = (raw - mean) / scale
        pca = PCA(min(self.components, len(raw)), svd_solver="randomized", random_state=seed).fit(standard)
        moving = np.flatnonzero(moves)
        # A column that is constant within every value has no variance left to divide by: its score is infinite, or
        # hugely negative by rounding, and either way the best there is.
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = np.abs(f_classif(standard[:, moving].astype(np.float64), labels)[0])
        telling = moving[np.argsort(-np.nan_to_num(scores), kind="stable")[: self.columns]]

        def columns(flat: Floats) -> Floats:
            rows = (flat - mean) / scale
            return np.concatenate([pca.transform(rows), rows[:, telling]], axis=1).astype(np.float32)

        return columns


def _loss(probabilities: npt.NDArray[np.float64], labels: Ints) -> float:
    """Mean negative log-likelihood."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(chosen, 1e-6, 1)).mean()) if len(labels) else 0.0
