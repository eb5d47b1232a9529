"""Boosted trees: histogram gradient boosting on the payload (Ke et al. 2017; scikit-learn's implementation).

    payload -> its first `components` principal components, where it is wider -> gradient-boosted trees

Deviations: the number of trees is chosen on aux_val by log-likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor

from privet.attack import Goal, Need, Posterior, View
from privet.train import Effort


@dataclass(frozen=True)
class BoostedTrees:
    """Trees on at most `components` columns."""

    summary: ClassVar[str] = "gradient-boosted trees on the payload's principal components"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    components: int = 48

    def fit(
        self, train: View, s: Tensor, val: View, s_val: Tensor, *, classes: int, effort: Effort, seed: int
    ) -> Posterior:
        """Fit on aux_train, keep the number of trees that is best on aux_val."""
        raw = train.flat.numpy()
        deviation = raw.std(0)
        mean, scale = raw.mean(0), np.where(deviation > 1e-6, deviation, np.inf)
        pca = (
            PCA(self.components, svd_solver="randomized", random_state=seed)
            if raw.shape[1] > 2 * self.components
            else None
        )

        def columns(view: View) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
            standard = (view.flat.numpy() - mean) / scale
            return standard if pca is None else np.asarray(pca.transform(standard), dtype=np.float32)

        if pca is not None:
            pca.fit((raw - mean) / scale)
        labels, present = s.numpy(), np.unique(s.numpy())
        trees = HistGradientBoostingClassifier(
            max_iter=min(150, 2 * effort.attack_epochs), learning_rate=0.1, max_leaf_nodes=15, random_state=seed
        )
        trees.fit(columns(train), labels)
        known = np.isin(s_val.numpy(), present)
        losses = [
            _loss(p[known], np.searchsorted(present, s_val.numpy()[known]))
            for p in trees.staged_predict_proba(columns(val))
        ]
        best = int(np.argmin(losses)) if known.any() else len(losses) - 1

        def posterior(view: View) -> Tensor:
            staged = list(trees.staged_predict_proba(columns(view)))
            whole = np.full((len(view), classes), 1e-6)
            whole[:, present] = staged[best]
            return torch.from_numpy(whole / whole.sum(1, keepdims=True)).float()

        return posterior


def _loss(
    probabilities: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
) -> float:
    return (
        float(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-6, 1)).mean()) if len(labels) else 0.0
    )
