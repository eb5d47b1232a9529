"""Auto-encoder: the general obfuscator of Samragh et al. 2021 (arXiv:2104.11413, sections 4.1-4.2), trained on the true
objective, to see what the relaxation to the server's first linear layer costs.

    z' = D(E(z)),   payload = E(z), m' numbers;   minimize  E ||M_s(z) - M_s(z')||^2,   M_s the server, frozen

The server's logits are matched rather than its first pre-activation, without any label. E and D are a linear map plus
one hidden layer of ReLU each, so that the edge may ask which of the directions matter for this z.

Deviations: the paper names this network and does not build it. It starts as the SVD with the same m' (directions by
s_k^2 Var(alpha_k) around the mean, the hidden layers silent) and the epoch with the least distortion on task_val is
kept, the start among them: what is gained over the SVD is then gained by the objective. From a random start it first
has to find what the SVD knows, and a comparison would judge the optimizer. Learning rate 1e-3, Adam.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.data.corpus import Corpus
from privet.defense import Defended, Obfuscator, Progress
from privet.errors import CutError, SpecError
from privet.operators import LinearOperator, factorize, find
from privet.payload import Field
from privet.split import Split
from privet.train import Effort, batches, fine_tune_server, predict

HIDDEN = 128
LARGEST = 10_000  # values of z: each takes HIDDEN weights on the edge


class Bypassed(nn.Module):
    """v [B, p] -> linear(v) + out(ReLU(hidden(v))) [B, q]; the second term starts at zero."""

    def __init__(self, weight: Tensor, bias: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.weight, self.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
        drawn = torch.randn(HIDDEN, inputs, generator=generator) * math.sqrt(2 / inputs)
        self.hidden, self.shift = nn.Parameter(drawn), nn.Parameter(torch.zeros(HIDDEN))
        self.out = nn.Parameter(torch.zeros(outputs, HIDDEN))

    def forward(self, v: Tensor) -> Tensor:
        correction = F.linear(F.relu(F.linear(v, self.hidden, self.shift)), self.out)
        return F.linear(v, self.weight, self.bias) + correction


class CodeObfuscator(Obfuscator):
    """z -> code [B, m'] -> z'. basis [n, m'] and mean [n] are what it starts from."""

    def __init__(self, basis: Tensor, mean: Tensor, shape: tuple[int, ...], seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.shape = shape
        self.encoder = Bypassed(basis.T, -(mean @ basis), generator)
        self.decoder = Bypassed(basis, mean, generator)
        self.signature = (Field("code", "float16", (basis.shape[1],)),)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return (cast(Tensor, self.encoder(z.flatten(1))),)

    def decode(self, *tensors: Tensor) -> Tensor:
        return cast(Tensor, self.decoder(tensors[0])).reshape(-1, *self.shape)


@dataclass(frozen=True)
class Autoencoder:
    """Send `keep` numbers from which a decoder makes a z' that the server answers alike."""

    summary: ClassVar[str] = "a small auto-encoder trained so that the server's logits stay as they are"
    adaptive: ClassVar[str] = (
        "a nonlinear code hides from linear probes only: mlp_probe and decoder learn it anew, server_probe sees z'"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("mlp_probe", "server_probe", "decoder")
    keep: int = 8
    tune: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.keep, bool) or self.keep < 1:
            raise SpecError(f"keep is a number of values (1, 2, ...), got {self.keep}")

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Train encoder and decoder on the representations of task_train, with or without labels.

        Raises CutError where the server does not begin with a linear operator or z has more than 10,000 values,
        SpecError where m' exceeds the rank of that operator.
        """
        split = split.copy()
        operator = self._operator(split)
        device = operator.weight.device
        z, z_val = (predict(split.edge, corpus.parts[role].x, device) for role in ("task_train", "task_val"))
        basis, mean = self._start(operator, z)
        obfuscator = CodeObfuscator(basis.float().cpu(), mean.float().cpu(), split.shape, seed).to(device)
        log = _train(obfuscator, split, z, z_val, effort, seed, progress)
        if self.tune:
            log |= fine_tune_server(split, obfuscator, corpus, effort=effort, seed=seed, progress=progress)
        why = "few numbers are no promise: what a code of real numbers tells is measured by attack"
        return Defended.of(split, obfuscator, why, kept=self.keep, **log)

    def check(self, split: Split) -> None:
        """Refuse a server that does not begin with a linear operator, and a z that is too large."""
        operator = self._operator(split)
        self._within(min(operator.inputs, operator.outputs))

    def _operator(self, split: Split) -> LinearOperator:
        if math.prod(split.shape) > LARGEST:
            raise CutError(
                f"an auto-encoder reads all {math.prod(split.shape)} values of this cut with every hidden unit, and at "
                f"most {LARGEST} are taken: cut deeper with --at, or use signal_content"
            )
        return find(split.server, split.shape)

    def _within(self, rank: int) -> None:
        if self.keep > rank:
            raise SpecError(
                f"keep={self.keep} exceeds the rank {rank} of the server's first layer; with keep={rank} already "
                f"nothing changes for the server"
            )

    def _start(self, operator: LinearOperator, z: Tensor) -> tuple[Tensor, Tensor]:
        """The m' directions [n, m'] that carry most of the server's signal on the owner's data, and the mean [n]."""
        factors = factorize(operator.matrix())
        self._within(factors.rank)
        rows = z.flatten(1).to(factors.right)
        mean = rows.mean(0)
        energy = factors.singular**2 * ((rows - mean) @ factors.right).var(0)
        return factors.right[:, energy.argsort(descending=True, stable=True)[: self.keep]], mean


def _train(
    obfuscator: CodeObfuscator, split: Split, z: Tensor, z_val: Tensor, effort: Effort, seed: int, progress: Progress
) -> dict[str, Any]:
    """Minimize the distortion of the logits in place; distortions are means of squares per logit."""
    server = copy.deepcopy(split.server).eval().requires_grad_(False)
    device = obfuscator.encoder.weight.device
    logits = predict(server, z, device)
    logits_val = predict(server, z_val, device)

    def distortion() -> float:
        answer = predict(lambda rows: cast(Tensor, server(obfuscator(rows))), z_val, device)
        return float((answer - logits_val).double().pow(2).mean())

    optimizer = torch.optim.Adam(obfuscator.parameters(), lr=1e-3)
    generator = np.random.default_rng([seed, 8])
    history = [distortion()]
    best, best_state = history[0], copy.deepcopy(obfuscator.state_dict())
    for epoch in range(effort.task_epochs):
        for rows in batches(len(z), effort.batch, generator):
            loss = F.mse_loss(server(obfuscator(z[rows].to(device))), logits[rows].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        history.append(distortion())
        if history[-1] < best:
            best, best_state = history[-1], copy.deepcopy(obfuscator.state_dict())
        if progress:
            progress(epoch + 1, effort.task_epochs)
    obfuscator.load_state_dict(best_state)
    obfuscator.eval().requires_grad_(False)
    spread = float(logits_val.double().var(0, unbiased=False).mean())
    return {"svd_distortion": history[0], "distortion": best, "logit_variance": spread, "task_val_distortion": history}
