"""Down-sampling of the input: the edge sends a smaller picture, and the server runs the whole network on it, enlarged
(low resolution as privacy: Ryoo et al. 2017, arXiv:1604.03196).

    payload = mean of x over f x f pixels,   z' = its bilinear enlargement;   the network minimizes CE(h(z'), y)

A reference of every comparison: no network on the edge at all, and f^2 times fewer values than the input has.

Deviations: plain averages in place of learned transformations. A pixel travels as one byte with 255 levels. Sides that
f does not divide are padded by their last row. The network is fine-tuned on such pictures as servers are elsewhere, in
both halves; where either half is frozen it is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from privet.data.corpus import Corpus
from privet.defense import Defended, Obfuscator, Progress
from privet.errors import SpecError
from privet.payload import Field
from privet.split import Split
from privet.train import Effort, fine_tune_server

LEVELS = 127  # a pixel in [0, 1] is sent as an integer in [-127, 127]


class SmallPicture(Obfuscator):
    """x [B, C, H, W] in [0, 1] -> [B, C, ceil(H / f), ceil(W / f)] -> x' [B, C, H, W]."""

    def __init__(self, shape: tuple[int, ...], factor: int) -> None:
        super().__init__()
        self.size, self.factor = shape[1:], factor
        self.missing = tuple(-side % factor for side in self.size)
        small = tuple(-(-side // factor) for side in self.size)
        self.signature = (Field("pixels", "int8", (shape[0], *small)),)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        if any(self.missing):
            z = F.pad(z, (0, self.missing[1], 0, self.missing[0]), mode="replicate")
        return (2 * LEVELS * F.avg_pool2d(z, self.factor).clamp(0, 1) - LEVELS,)

    def decode(self, *tensors: Tensor) -> Tensor:
        small = (tensors[0] + LEVELS) / (2 * LEVELS)
        large = F.interpolate(small, scale_factor=float(self.factor), mode="bilinear", align_corners=False)
        return large[:, :, : self.size[0], : self.size[1]]


@dataclass(frozen=True)
class Downsampling:
    """Average the picture over blocks of `factor` x `factor` pixels; the server does everything else."""

    summary: ClassVar[str] = "the edge sends the picture itself, down-sampled; the server runs the whole network"
    moves_cut: ClassVar[bool] = True
    adaptive: ClassVar[str] = (
        "the payload is a picture: server_probe is a recognizer of small pictures, decoder enlarges"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("server_probe", "decoder")
    factor: int = 2
    tune: bool = True

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise SpecError(
                f"factor is a whole number of at least 2, got {self.factor}; factor 1 is the picture itself"
            )

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Fine-tune the whole network on small pictures, unless a half is frozen.

        Raises SpecError for tables, and where a block is larger than the picture.
        """
        shape = picture_shape(corpus, "downsampling")
        if self.factor > min(shape[1:]):
            raise SpecError(f"factor={self.factor} exceeds a side of the pictures, which are {shape[1]}x{shape[2]}")
        whole = at_input(split, shape)
        obfuscator = SmallPicture(shape, self.factor)
        log: dict[str, Any] = {"server_tuned": False, "why": "tune=false"}
        if self.tune:
            log = fine_tune_server(whole, obfuscator, corpus, effort=effort, seed=seed, progress=progress)
        why = "a small picture is still a picture; what it shows is measured by attack"
        return Defended.of(whole, obfuscator, why, small=list(obfuscator.signature[0].shape), **log)


def picture_shape(corpus: Corpus, name: str) -> tuple[int, ...]:
    """(C, H, W) of the corpus. Raises SpecError for tables."""
    if len(corpus.shape) != 3:
        raise SpecError(
            f"{name} takes pictures, and {corpus.name!r} is a table with {corpus.shape[0]} columns; compare "
            f"tables with coin_flip, gaussian or label_only"
        )
    return corpus.shape


def at_input(split: Split, shape: tuple[int, ...]) -> Split:
    """A copy of the split with the whole network on the server. A frozen half freezes it all, for both train as one."""
    split = split.copy()
    network = nn.Sequential(split.edge, split.server).eval()
    frozen = frozenset({"edge", "server"}) if split.frozen else frozenset()
    return Split(nn.Identity(), network, "(input)", shape, split.tracer, frozen)
