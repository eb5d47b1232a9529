"""Linear probe: multinomial logistic regression on the payload (Alain and Bengio 2016, arXiv:1610.01644;
scikit-learn's solver).

    minimize  CE(W payload + b, s) + |W|^2 / (2 C N)

Deviations: columns are scaled by how much they say about s; C is chosen on aux_val.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from privet.attack import Goal, Need, Posterior, View
from privet.nets import Scale
from privet.train import Effort

PENALTIES = (1e-1, 1e-3, 1e-2, 1.0)


@dataclass(frozen=True)
class LinearProbe:
    """Logistic regression, solved to its end."""

    summary: ClassVar[str] = "logistic regression on the payload"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    def fit(
        self, train: View, s: Tensor, val: View, s_val: Tensor, *, classes: int, effort: Effort, seed: int,
        device: torch.device | str = "cpu",
    ) -> Posterior:  # fmt: skip
        """Fit on aux_train for several penalties, keep the one that is best on aux_val."""
        present = np.unique(s.numpy())
        if len(present) < 2:
            return lambda view: F.one_hot(torch.full((len(view),), int(present[0])), classes).float()
        scale = Scale.of(train.flat, s)
        rows = scale(train.flat).numpy()

        def posterior(model: LogisticRegression, view: View) -> Tensor:
            whole = torch.full((len(view), classes), 1e-6)
            whole[:, torch.from_numpy(present)] = torch.from_numpy(
                model.predict_proba(scale(view.flat).numpy())
            ).float()
            return whole / whole.sum(1, keepdim=True)

        fitted = []
        for penalty in PENALTIES[: 1 + effort.grid]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model = LogisticRegression(C=penalty, max_iter=200, tol=1e-3).fit(rows, s.numpy())
            fitted.append((float(F.nll_loss(posterior(model, val).log(), s_val)), model))
        best = min(fitted, key=lambda pair: pair[0])[1]
        return lambda view: posterior(best, view)
