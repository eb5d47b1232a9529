"""No defense: the raw representation travels, as float16. The undefended end of every scale.

    payload = z,  z' = z

Deviations: none; a reference, not a published method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from privet.data.corpus import Corpus
from privet.defense import Defended, Obfuscator, Progress
from privet.payload import Field
from privet.split import Split
from privet.train import Effort


class RawObfuscator(Obfuscator):
    """z -> z."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.signature = (Field("z", "float16", shape),)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return (z,)

    def decode(self, *tensors: Tensor) -> Tensor:
        return tensors[0]


@dataclass(frozen=True)
class Nothing:
    """Send the representation as it is."""

    summary: ClassVar[str] = "the raw representation travels: the undefended reference"
    adaptive: ClassVar[str] = "nothing in it can fool an attacker; every attack applies as it stands"
    answered_by: ClassVar[tuple[str, ...]] = ("server_probe", "finetuned_probe", "decoder", "inversion")

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Nothing to learn."""
        return Defended.of(split.copy(), RawObfuscator(split.shape), "nothing is hidden")
