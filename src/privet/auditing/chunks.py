"""Chunks: payloads too large for a plain network, cut into pieces of `COLUMNS` values, each as its principal
components.

    flat [N, P] -> [N, ceil(P / COLUMNS) COMPONENTS]

What a plain network reads of 5,000 payloads of 64 maps of 112 x 112 would take 16 GB, and several attacks copy it. The
components are learned on the adversary's own people, piece by piece, so that never more than a piece is held as
float32. Attacks that read z' as maps read it whole; `payload_chunked` says on the page that the others did not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor

ALLOWED = 1 << 30  # bytes of what a plain network reads of one part, as float32
COLUMNS, COMPONENTS = 4096, 64
PEOPLE = 2000  # learned from


@dataclass(frozen=True)
class Chunks:
    """A mean and principal components for each piece of the columns."""

    pieces: tuple[tuple[Tensor, Tensor], ...]  # mean [C], components [C, K]

    @classmethod
    def of(cls, parts: Iterable[Tensor], people: int, seed: int) -> Chunks:
        """Learn from rows [B, P] in several parts, of so many people in all: from 2,000 at most, evenly spaced, since
        files are often sorted."""
        step, met, taken = -(-people // PEOPLE), 0, []
        for part in parts:
            taken.append(part[-met % step :: step])
            met += len(part)
        pieces = []
        for start in range(0, taken[0].shape[1], COLUMNS):
            rows = torch.cat([part[:, start : start + COLUMNS].float() for part in taken]).numpy()
            pca = PCA(min(COMPONENTS, *rows.shape), svd_solver="randomized", random_state=seed)
            with np.errstate(invalid="ignore", divide="ignore"):  # a piece may be constant
                pca.fit(rows)
            pieces.append((torch.from_numpy(pca.mean_).float(), torch.from_numpy(pca.components_.T).float()))
        return cls(tuple(pieces))

    def __call__(self, rows: Tensor) -> Tensor:
        """[B, P] -> [B, pieces * COMPONENTS]."""
        sizes = [len(mean) for mean, _ in self.pieces]
        columns = zip(torch.split(rows, sizes, 1), self.pieces, strict=True)
        return torch.cat([(part.float() - mean) @ components for part, (mean, components) in columns], 1)


def too_large(people: int, columns: int) -> bool:
    """Whether so many payloads are more than is allowed."""
    return people * columns * 4 > ALLOWED
