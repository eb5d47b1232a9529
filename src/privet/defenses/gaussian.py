"""Gaussian noise on the representation, the server trained behind it: the additive-noise baseline of split inference
(the noise baseline in the code released with Singh et al. 2021, "DISCO").

    z' = z + sigma * xi,   xi ~ N(0, I) fresh for every payload;   the server minimizes CE(h(z'), y)

Deviations: the edge half is not retrained, so that one edge serves every sigma. Sigma is in the units of z. No epsilon
is claimed: z is not clipped, and floating-point noise can be told apart from real Gaussian noise (Mironov 2012).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from privet.data.corpus import Corpus
from privet.defense import Defended, Obfuscator, Progress
from privet.errors import SpecError
from privet.payload import Field, Noise
from privet.split import Split
from privet.train import Effort, fine_tune_server


class GaussianObfuscator(Obfuscator):
    """z -> z + sigma * noise."""

    def __init__(self, shape: tuple[int, ...], sigma: float) -> None:
        super().__init__()
        self.sigma = sigma
        self.signature = (Field("z", "float16", shape),)
        self.noise = (Noise("xi", shape, "normal"),)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return (z + self.sigma * noise[0],)

    def decode(self, *tensors: Tensor) -> Tensor:
        return tensors[0]


@dataclass(frozen=True)
class Gaussian:
    """Add fresh Gaussian noise of standard deviation `sigma` to every value of z."""

    summary: ClassVar[str] = "fresh Gaussian noise of standard deviation sigma on every value"
    adaptive: ClassVar[str] = (
        "averages out over repeated queries (threat 'repeated'); attackers train on noisy payloads"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("repeated", "server_probe")
    sigma: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise SpecError(
                f"sigma must be a positive finite number, got {self.sigma}; for no noise use the defense 'none'"
            )

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Fine-tune the server half on noisy representations, unless it is frozen."""
        split = split.copy()
        obfuscator = GaussianObfuscator(split.shape, self.sigma)
        log = fine_tune_server(split, obfuscator, corpus, effort=effort, seed=seed, progress=progress)
        why = "float noise on unclipped features is obfuscation measured by attack, not differential privacy"
        return Defended.of(split, obfuscator, why, **log)
