"""The edge runs everything and sends only the predicted class: the least a service can learn and still answer.

    payload = argmax_k f(x)_k, in ceil(log2 K) bits;   z' = its one-hot vector

What an adversary infers from it is the label-only floor of every audit.
Deviations: none; a reference, not a published method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from privet.data.corpus import Corpus
from privet.defense import Defended, Obfuscator, Progress
from privet.payload import Field
from privet.split import Split
from privet.train import Effort


class LabelObfuscator(Obfuscator):
    """Logits -> the bits of the predicted class, lowest first -> its one-hot vector."""

    powers: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        bits = max(1, (classes - 1).bit_length())
        self.register_buffer("powers", 2 ** torch.arange(bits, dtype=torch.int64))
        self.signature = (Field("label", "bits", (bits,)),)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        label = z.argmax(dim=1, keepdim=True)
        return (torch.remainder(torch.div(label, self.powers, rounding_mode="floor"), 2).to(z.dtype),)

    def decode(self, *tensors: Tensor) -> Tensor:
        label = (tensors[0].round().to(torch.int64) * self.powers).sum(1, keepdim=True)
        steps = torch.arange(self.classes, device=label.device).unsqueeze(0)
        return (label == steps).to(tensors[0].dtype)

    def match(self, z: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """The probabilities of the classes stand for the largest of them."""
        return z.softmax(1), self.decode(*tensors)


@dataclass(frozen=True)
class LabelOnly:
    """Run the whole network on the edge and send the prediction."""

    summary: ClassVar[str] = "the edge runs the whole network and sends only the predicted class"
    moves_cut: ClassVar[bool] = True
    adaptive: ClassVar[str] = "the label-only floor is its attack: whatever the label tells, it tells"
    answered_by: ClassVar[tuple[str, ...]] = ("linear_probe",)

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Nothing to learn; the cut moves behind the network's last layer."""
        split = split.copy()
        classes = corpus.n_classes(corpus.target)
        whole = Split(
            nn.Sequential(split.edge, split.server), nn.Identity(), "(output)", (classes,), split.tracer, split.frozen
        )
        return Defended.of(
            whole, LabelObfuscator(classes), "the server learns the answer, and whatever follows from it"
        )
