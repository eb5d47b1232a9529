"""Signal-content obfuscation: keep only what the server's next layer uses (Samragh et al. 2021, "Unsupervised
information obfuscation for split inference of neural networks", arXiv:2104.11413; sections 3-4, Theorem 1).

    W = U S V^T the server's first linear operator,   alpha = V^T (z - z_bar),   payload = alpha_1 .. alpha_m'
    ||W (z - z')||^2 = sum_k s_k^2 (alpha_k - alpha'_k)^2 over the rank r,   z' = z_bar + V alpha'

How much is kept: `keep=8` (a number m'), `keep=0.5` (a share of the rank), `keep=free` (all r: nothing changes for
the server), `tail=0.01` (as many as leave that share of the signal's energy behind), `eps=1.0` (Theorem 1: per sample
as few as this distortion of the server's first pre-activation allows). In which order: `singular` (the paper's, by
s_k, around z_bar = 0), `energy` (by s_k^2 Var(alpha_k) over the owner's data), `sample` (per sample by s_k |alpha_k|;
a mask travels). `bits=2` sends each coefficient as one of four cells, fitted on the owner's data so that the server's
answer changes least: a payload of a few bits, for which `privet.bounds.certificate` bounds every attacker.

Sending all r coefficients is sending W z: it moves the cut past one linear map and hides no more than that. For a
convolution, `conv=location` takes the coefficients of the patch under each output place, a convolution with m'
filters; `conv=full` factorizes the full operator (C_out H' W') x (C H W), which at stride 1 with C_out >= C_in has no
null space.

Deviations: Theorem 1 as corrected: sums run to the rank, m' is the least k with e_k <= eps (the printed argmin is
always m), m' = 0 sends zeros, gamma is at most |alpha_m'|; the payload is padded to the rank and m' travels, because
its length would tell. The default order is `energy` around the training mean. The singular order is optimal for a
fixed mask and isotropic z only. The paper's training (its section 4.3) is a method of its own:
`content_training+signal_content`. Like the paper, the server is not fine-tuned (`tune=true` does, on the payloads as
they travel; nothing changes on the edge). The paper does not say how it treats convolutions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from privet.coefficients import (
    Budgeted,
    Codec,
    CoefficientObfuscator,
    Flat,
    LiftedServer,
    Local,
    Plain,
    Projection,
    Quantized,
    Strongest,
    fraction_of,
    lloyd,
    moments,
    sensitivity,
)
from privet.data.corpus import Corpus
from privet.defense import Defended, Guarantee, Progress
from privet.errors import ModelError, SpecError
from privet.operators import Factors, LinearOperator, factorize, find
from privet.split import Split
from privet.train import Effort, fine_tune_server, labelled, predict

QUANTIZED_ON = 50_000  # values of a coefficient that its quantizer is fitted on
SPREAD = 0.05
WHY = "a deterministic projection bounds no attacker by itself; what it hides is measured by attack"


@dataclass(frozen=True)
class SignalContent:
    """Keep `keep` coefficients of the server's next layer (filters, for a convolution taken by location)."""

    summary: ClassVar[str] = "keeps the coefficients that the server's next layer uses most"
    adaptive: ClassVar[str] = (
        "attackers see the coefficients, masks and m' and, in white-box threats, z' rebuilt with the public basis "
        "and the server's architecture"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("mlp_probe", "boosted_trees", "server_probe", "inversion")
    keep: int | float | Literal["free"] = 8
    order: Literal["energy", "singular", "sample"] = "energy"
    tail: float | None = None
    eps: float | None = None
    bits: int | None = None
    conv: Literal["location", "full"] = "location"
    dtype: Literal["float16", "float32"] = "float16"
    tune: bool = False

    def __post_init__(self) -> None:
        if self.keep != "free" and (
            isinstance(self.keep, bool)
            or not math.isfinite(self.keep)
            or self.keep <= 0
            or (isinstance(self.keep, float) and self.keep > 1)
        ):
            raise SpecError(
                f"keep is a number of coefficients (1, 2, ...), a share of the rank in (0, 1] or free, got {self.keep}"
            )
        if self.eps is not None and not 1e-9 <= self.eps <= 1e9:
            raise SpecError(
                f"eps is a distortion of the server's first layer, positive and finite (1e-9 to 1e9), got {self.eps}"
            )
        if self.tail is not None and not 0 < self.tail < 1:
            raise SpecError(f"tail is the share of the signal's energy left behind and lies in (0, 1), got {self.tail}")
        if self.bits is not None and not 1 <= self.bits <= 8:
            raise SpecError(f"bits is a number of bits a coefficient, from 1 to 8, got {self.bits}")
        given = [name for name, is_given in self._amounts().items() if is_given]
        if len(given) > 1:
            raise SpecError(f"{' and '.join(given)} both say how much is kept; give one of them")
        if self.eps is not None and (self.order == "sample" or self.bits is not None):
            raise SpecError("eps cannot go with order=sample or bits: give keep or tail instead")
        if self.bits is not None and self.dtype != "float16":
            raise SpecError("bits and dtype both say how a coefficient travels; give one of them")
        if self.order == "sample" and (self.bits is not None or self.tail is not None):
            raise SpecError("order=sample cannot go with bits or tail: give keep")

    def _amounts(self) -> dict[str, bool]:
        return {"keep": self.keep != 8, "tail": self.tail is not None, "eps": self.eps is not None}

    def check(self, split: Split) -> None:
        """Refuse a server that does not begin with a linear layer, and more coefficients than it can have."""
        operator = find(split.server, split.shape)
        self._count(min(self._matrix_shape(operator)))

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Factorize the server's first operator and order its directions on the owner's data.

        Raises CutError where the server does not begin with a linear operator or its full operator is too large,
        ModelError where it is in train mode or the edge gives values that are not finite, SpecError where m' exceeds
        the rank.
        """
        split = split.copy()
        operator = find(split.server, split.shape)
        z = representations(split, corpus)
        local = self._local(operator)
        factors = factorize(operator.weight.flatten(1) if local else operator.matrix())
        kind: type[Projection] = Local if local else Flat
        mean = torch.zeros(operator.shape) if self.order == "singular" else z.mean(0)
        whole = kind(operator, factors.right, factors.singular, mean.to(operator.weight))
        center, variance = moments(whole, z.to(operator.weight.device))
        energy = factors.singular**2 * (variance + (center**2).mean(1)).to(factors.singular)
        importance = factors.singular if self.order == "singular" else factors.singular**2 * variance
        order = importance.argsort(descending=True, stable=True)
        kept = self._kept(factors.rank, energy[order])
        chosen = order if self.eps is not None or self.order == "sample" else order[:kept]
        projection = kind(operator, factors.right[:, chosen], factors.singular[chosen], mean.to(operator.weight))
        where = replace(split, server=operator.rest, shape=projection.view) if local else split
        levels = quantizer(projection, operator.rest, z, 2**self.bits) if self.bits else None
        obfuscator = CoefficientObfuscator(projection, self._codec(projection, kept, levels))
        log: dict[str, Any] = {}
        if self.tune:  # on what travels: the server learns which answer goes with each cell
            log = fine_tune_server(where, obfuscator, corpus, effort=effort, seed=seed, progress=progress)
            if not local:  # the tuned layer on the old directions
                operator = find(split.server, split.shape)
                tuned = kind(operator, factors.right[:, chosen], factors.singular[chosen], mean.to(operator.weight))
                obfuscator = CoefficientObfuscator(tuned, obfuscator.codec)
        log = describe(factors, operator, obfuscator, kept) | log
        log["share_of_signal"] = float(energy[order[:kept]].sum() / energy.sum())
        flags = ("nothing_removed",) if log["values"] >= operator.inputs else ()
        half = LiftedServer(obfuscator, operator.rest)
        template = with_first_layer(operator) if local else None
        return Defended(where, obfuscator, Guarantee.none(WHY), half, log, flags, template)

    def _local(self, operator: LinearOperator) -> bool:
        return operator.conv is not None and self.conv == "location"

    def _matrix_shape(self, operator: LinearOperator) -> tuple[int, int]:
        if self._local(operator):
            return operator.weight.shape[0], operator.weight[0].numel()
        return operator.outputs, operator.inputs

    def _count(self, rank: int) -> int:
        kept = rank if self.keep == "free" else fraction_of(rank, self.keep)
        if kept > rank:
            raise SpecError(
                f"keep={kept} exceeds the rank {rank} of the server's first layer; the most that means "
                f"anything is keep=free"
            )
        return kept

    def _kept(self, rank: int, energy: Tensor) -> int:
        """m' for everybody; the whole rank where every sample has its own."""
        if self.eps is not None:
            return rank
        if self.tail is None:
            return self._count(rank)
        left = 1 - energy.cumsum(0) / energy.sum()
        return int((left > self.tail).sum()) + 1

    def _codec(self, projection: Projection, kept: int, levels: Tensor | None) -> Codec:
        places = projection.places
        if self.eps is not None:
            return Budgeted(projection.singular, places, self.eps, self.dtype)
        if self.order == "sample":
            return Strongest(projection.singular, places, kept * places, self.dtype)
        if levels is not None:
            return Quantized(levels, places)
        return Plain(kept, places, self.dtype)


def with_first_layer(operator: LinearOperator) -> nn.Module:
    """The server's architecture for an adversary who reads u' instead of z: a convolution of the server's own size
    stands in front of the rest, so that what was moved to the edge costs the adversary no layer."""
    outputs, _, height, width = operator.weight.shape
    device = next(operator.rest.parameters(), operator.weight).device
    first: nn.Module = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, outputs, outputs, (height, width), padding="same", device=device
    )
    with torch.no_grad():  # whoever trains it draws its own weights
        for parameter in first.parameters():
            parameter.zero_()
    return nn.Sequential(first, operator.rest)


def representations(split: Split, corpus: Corpus) -> Tensor:
    """z [N, *shape] of the owner's labelled people, on the CPU; ModelError where the edge gives NaN or infinity."""
    part = corpus.task_train
    z = predict(split.edge, part.x[labelled(part, part.y)])
    broken = int((~torch.isfinite(z.flatten(1)).all(1)).sum())
    if broken:
        raise ModelError(
            f"the edge half gives values that are not finite for {broken} of {len(z)} people at the cut {split.cut!r}; "
            f"train the network again, or cut where it is healthy"
        )
    return z


def quantizer(projection: Projection, rest: nn.Module, z: Tensor, levels: int) -> Tensor:
    """The levels [k, levels] that change the server's answer least, on the owner's coefficients.

    Squared errors are weighted by `sensitivity`: a cell across the border between two answers costs most. A twentieth
    of the weight is spread over everybody, so that levels stand where people are."""
    device = projection.singular.device
    values, weights = [], []
    for rows in torch.split(z, 512):
        alpha = projection(rows.to(device))
        turns = sensitivity(projection, rest, alpha)
        by_filter = -1, len(projection.singular), projection.places
        values.append(alpha.reshape(by_filter).transpose(0, 1).flatten(1).cpu())
        weights.append(turns.reshape(by_filter).transpose(0, 1).flatten(1).cpu())
    own, turning = (torch.cat(parts, 1).double().numpy() for parts in (values, weights))
    step = max(1, own.shape[1] // QUANTIZED_ON)
    found = []
    for value, weight in zip(own[:, ::step], turning[:, ::step], strict=True):
        mean = weight.mean()
        even = np.full(len(weight), 1.0) if not mean > 0 else weight / mean + SPREAD
        found.append(lloyd(value, levels, even))
    return torch.from_numpy(np.stack(found)).to(device)


def describe(
    factors: Factors, operator: LinearOperator, obfuscator: CoefficientObfuscator, kept: int
) -> dict[str, Any]:
    """What is always reported: rank, null dimension, what is kept, and how much travels for each value of z."""
    values = sum(f.size for f in obfuscator.signature if f.name in ("alpha", "code"))
    bits = getattr(obfuscator.codec, "bits", None)
    found: dict[str, Any] = {
        "rank": factors.rank,
        "null_dimension": factors.null_dimension,
        "kept": kept,
        "values": values // (bits or 1),
        "raw_values": operator.inputs,
        "outputs": operator.constant.shape[0] if isinstance(obfuscator.projection, Local) else operator.outputs,
        "first_layer_macs": operator.macs,
        "values_per_raw_value": values / (bits or 1) / operator.inputs,
    }
    return found | ({"bits_in_all": values} if bits else {})
