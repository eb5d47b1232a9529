"""Kernel probe: a support vector machine with a Gaussian kernel on the payload's principal components (Cortes and
Vapnik 1995; scikit-learn's solver), the strongest simple adversary where labelled people are few.

    payload -> standardized -> its first `components` principal components -> SVC(C, gamma), one value against one

Its votes become a posterior by softmax(votes / T). Deviations: at most `people` of aux_train are learned from, since
the solver's time grows with their square; C, gamma and T are chosen on aux_val by log-likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from sklearn.svm import SVC
from torch import Tensor
from torch.nn import functional as F

from privet.attack import Goal, Need, Posterior, View
from privet.nets import Scale
from privet.train import Effort, some

GRID = ((10.0, 1.0), (1.0, 1.0), (10.0, 0.25), (1.0, 4.0))  # C, and gamma in units of 1 / (variance of all columns)
TEMPERATURES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


@dataclass(frozen=True)
class KernelProbe:
    """A support vector machine on at most `people` people and `components` directions."""

    summary: ClassVar[str] = "a support vector machine with a Gaussian kernel on principal components"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    components: int = 128
    people: int = 3000

    def fit(
        self, train: View, s: Tensor, val: View, s_val: Tensor, *, classes: int, effort: Effort, seed: int,
        device: torch.device | str = "cpu",
    ) -> Posterior:  # fmt: skip
        """Fit on aux_train for several settings, keep the one that is best on aux_val."""
        present = np.unique(s.numpy())
        if len(present) < 2:
            return lambda view: F.one_hot(torch.full((len(view),), int(present[0])), classes).float()
        learned = torch.isin(s_val, s)  # a value that nobody in aux_train has decides nothing
        few = torch.from_numpy(some(np.arange(len(s)), self.people, seed))
        scale = Scale.of(train.flat, s)
        rows = scale(train.flat[few]).numpy()
        width = min(self.components, *rows.shape)
        pca = PCA(width, svd_solver="randomized", random_state=seed).fit(rows) if width < rows.shape[1] else None

        def project(view: View) -> npt.NDArray[np.float32]:
            flat = scale(view.flat).numpy()
            return flat if pca is None else pca.transform(flat)

        def votes(machine: SVC, view: View) -> Tensor:
            """One-against-one votes with their margins, [N, K]; values that nobody holds get none."""
            found = torch.from_numpy(machine.decision_function(project(view))).float()
            found = torch.stack([-found, found], 1) if found.dim() == 1 else found
            whole = torch.full((len(view), classes), -20.0)
            whole[:, torch.from_numpy(machine.classes_)] = found
            return whole

        points = project(train.rows(few))
        unit = 1 / (points.shape[1] * max(float(points.var()), 1e-12))
        best: tuple[float, SVC, float] | None = None
        for c, gamma in GRID[: 1 + effort.grid]:
            machine = SVC(C=c, gamma=gamma * unit, decision_function_shape="ovr").fit(points, s[few].numpy())
            held = votes(machine, val)[learned]
            for temperature in TEMPERATURES:
                loss = float(F.cross_entropy(held / temperature, s_val[learned])) if learned.any() else 0.0
                if best is None or loss < best[0]:
                    best = loss, machine, temperature
        assert best is not None
        _, machine, temperature = best
        return lambda view: (votes(machine, view) / temperature).softmax(1)
