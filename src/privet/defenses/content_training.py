"""Content training: the network learns to work with part of each layer's signal content, and to send decorrelated
Gaussian representations (Samragh et al. 2021, "Unsupervised information obfuscation for split inference of neural
networks", arXiv:2104.11413; "Training" of section 4.3). Sends raw z: the paper's own ground for `signal_content`, as in
`content_training+signal_content:keep=8`.

    minimize  CE(h(z), y) + decorrelate * L_decov(z) + variational * KL(N(mu(x), sigma(x)^2) || N(0, I)) / units
    with the input v of one layer a epoch replaced by   v_bar + V_m' V_m'^T (v - v_bar),   m' = ceil(rho r)

W = U S V^T is that layer's matrix of rank r, drawn among all convolutions and linear layers, and rho is drawn from {1,
.8, .5, .3, .2, .1, .05}. A convolution's matrix is its kernels [C_out, C_in kh kw], and each place of the map is
projected for itself. V and the mean v_bar are constants, W learns. L_decov is half the mean squared covariance over
pairs of units (Cogswell et al. 2016, arXiv:1511.06068); the sigma of the variational part (Kingma & Welling 2013,
arXiv:1312.6114) is dropped after training, and mu is sent.

Deviations: the paper names neither shares nor weights. With these weights squared correlations fall to half of the
control's and less, at its accuracy (digits, UTKFace at 24 px); at decorrelate = .001 they do not move. V is that of the
epoch's beginning, v_bar the mean of the batch. Units are standardized for L_decov, which otherwise falls by shrinking z
alone; on maps [C, H, W] they are the channels, positions being samples. The network given is trained already and goes
on from there. The epoch kept is the one with the lowest objective on task_val among those at the lowest rate, averaged
over the whole network and the network with a fifth of the content of the server's first layer. With all three parts off
this is the same number of epochs of plain training.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from privet import joint
from privet.data.corpus import Corpus
from privet.defense import Defended, Progress
from privet.defenses.information_bottleneck import Spread, divergence
from privet.defenses.none import RawObfuscator
from privet.errors import CutError, ModelError
from privet.split import Split
from privet.train import Effort, inputs, predict

SHARES = (1.0, 0.8, 0.5, 0.3, 0.2, 0.1, 0.05)
JUDGED_SHARE = 0.2
STEADY = 1e-6
Layer = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class ContentTraining:
    """Train on with content removed (`removal`), units decorrelated (`decorrelate`) and Gaussian (`variational`)."""

    trains_edge: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    summary: ClassVar[str] = "trains both halves to bear the loss of signal content; sends the raw representation"
    adaptive: ClassVar[str] = (
        "nothing is hidden by it alone: attackers train on the representation of the network as it then is, and behind "
        "signal_content on its coefficients"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("mlp_probe", "finetuned_probe", "decoder")
    removal: bool = True
    decorrelate: float = 10.0
    variational: float = 0.1

    def __post_init__(self) -> None:
        joint.check_weight("decorrelate", self.decorrelate, "correlations between units")
        joint.check_weight("variational", self.variational, "the distance from a Gaussian")

    def check(self, split: Split) -> None:
        """Refuse halves that cannot be trained, and, with removal, a network without a layer to remove content from."""
        joint.check_trainable(split, "content_training")
        modules = (*split.edge.modules(), *split.server.modules())
        if self.removal and not any(isinstance(module, Layer) for module in modules):
            raise CutError(
                "content_training removes content from the input of nn.Conv2d and nn.Linear modules, and this network "
                "has none; write content_training:removal=false"
            )

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Train both halves on task_train.

        Raises SpecError for a frozen half, CutError for halves that cannot be trained, DataError where labels are
        missing."""
        self.check(split)
        split, device = split.copy(), joint.device_of(split)
        owner = joint.Owner.of(corpus, (), device)
        spread = Spread(split.shape).to(device)
        before = shape_of(predict(split.edge, owner.val.x, device))
        layers = met(split, inputs(owner.train.x[:2], device)) if self.removal else {}
        drawn: list[dict[str, Any]] = []

        with joint.seeded(seed, device) as generator:

            def encode(x: Tensor) -> tuple[Tensor, Tensor]:
                mu = split.edge(x)
                penalty = self.decorrelate * decorrelation(mu)
                if not self.variational:
                    return mu, penalty
                log_variance = spread(mu)
                penalty = penalty + self.variational * divergence(mu, log_variance).mean() / mu[0].numel()
                if not split.edge.training:
                    return mu, penalty
                noise = torch.from_numpy(generator.standard_normal(mu.shape, dtype=np.float32)).to(device)
                return mu + (0.5 * log_variance).exp() * noise, penalty

            def epoch() -> AbstractContextManager[Any]:
                if not layers:
                    return nullcontext()
                name = list(layers)[int(generator.integers(len(layers)))]
                share = float(generator.choice(SHARES))
                basis, kept, rank = leading(layers[name], share)
                drawn.append({"layer": name, "share": share, "kept": kept, "rank": rank})
                return without_content(layers[name], basis)

            players = (split.edge, split.server, spread)
            game = joint.Game(encode, split.server, players)
            plan = joint.Plan(joint.adam(split.edge, split.server, noise=spread), epoch, _views(layers))
            log = joint.play(game, plan, owner, effort=effort, generator=generator, progress=progress)
        after = shape_of(predict(split.edge, owner.val.x, device))
        why = "training promises nothing, and raw representations travel; what they tell is measured by attack"
        return Defended.of(split, RawObfuscator(split.shape), why, drawn=drawn, before=before, after=after, **log)


# Content --------------------------------------------------------------------------------------------------------------


def met(split: Split, x: Tensor) -> dict[str, Layer]:
    """The convolutions and linear layers that x [B, *input] meets on its way, by path, in order of execution."""
    found: dict[str, Layer] = {}
    halves = {"edge": split.edge, "server": split.server}
    paths = {module: f"{half}.{path}" for half, whole in halves.items() for path, module in whole.named_modules()}

    def note(module: nn.Module, *_: Any) -> None:
        found[paths[module]] = cast(Layer, module)

    handles = [
        module.register_forward_hook(note)
        for module in paths
        if isinstance(module, Layer) and isinstance(module.weight, nn.Parameter)
    ]
    try:
        with torch.no_grad():
            split.server.eval()(split.edge.eval()(x))
    finally:
        for handle in handles:
            handle.remove()
    return found


def matrices(layer: Layer) -> Tensor:
    """A layer's weight as matrices [G, outputs, inputs], one a group of a convolution (G = 1 for a linear layer)."""
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return layer.weight.reshape(groups, layer.weight.shape[0] // groups, -1)


@torch.no_grad()
def leading(layer: Layer, share: float) -> tuple[Tensor, int, int]:
    """V_m' [G, inputs, m'] of the m' = ceil(share * r) largest singular values, m', and the rank r."""
    if not bool(torch.isfinite(layer.weight).all()):
        raise ModelError("training came apart: a weight is not a number; lower decorrelate or variational")
    _, singular, vt = torch.linalg.svd(matrices(layer).double(), full_matrices=False)
    smallest = singular.max() * max(vt.shape[1:]) * torch.finfo(layer.weight.dtype).eps
    rank = int((singular > smallest).sum(1).max())
    kept = max(1, math.ceil(share * rank - 1e-9))
    return vt[:, :kept].mT.to(layer.weight.dtype), kept, rank


@contextmanager
def without_content(layer: Layer, basis: Tensor) -> Iterator[None]:
    """Within this block the layer sees v_bar + V V^T (v - v_bar) of its input v, for V = basis [G, inputs, m'].

    It then gives W V V^T v + b + (W - W V V^T) v_bar, so that a convolution is projected place by place without its
    patches being taken apart; v_bar is the mean of the batch.
    """
    bare = copy.deepcopy(layer)

    def forward(v: Tensor) -> Tensor:
        whole = matrices(layer)
        kept = ((whole @ basis) @ basis.mT).reshape(layer.weight.shape)
        seen, rest = {"weight": kept}, {"weight": layer.weight - kept}
        if layer.bias is not None:
            seen["bias"], rest["bias"] = layer.bias, torch.zeros_like(layer.bias)
        mean = v.detach().mean(0, keepdim=True)
        return cast(Tensor, functional_call(bare, seen, (v,)) + functional_call(bare, rest, (mean,)))

    layer.forward = forward  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        del layer.forward


def _views(layers: dict[str, Layer]) -> tuple[Callable[[], AbstractContextManager[Any]], ...]:
    """The whole network and, where content is removed, the network with a fifth of that of the server's first layer."""
    first = next((layer for name, layer in layers.items() if name.startswith("server")), None)
    return (nullcontext,) if first is None else (nullcontext, partial(_judged, first))


def _judged(layer: Layer) -> AbstractContextManager[None]:
    return without_content(layer, leading(layer, JUDGED_SHARE)[0])


# The representation's shape -------------------------------------------------------------------------------------------


def columns(z: Tensor) -> Tensor:
    """z [B, *shape] as samples by units: channels of maps [B, C, H, W] with positions as samples, else all values."""
    return z.movedim(1, -1).flatten(0, -2) if z.dim() == 4 else z.flatten(1)


def covariance_energy(samples: Tensor) -> Tensor:
    """||C||_F^2 - ||diag C||_2^2 of samples [N, U], C = their covariance (by N), through the smaller Gram matrix."""
    centered = samples - samples.mean(0)
    small = centered @ centered.T if len(centered) < centered.shape[1] else centered.T @ centered
    return (small / len(centered)).pow(2).sum() - centered.pow(2).mean(0).pow(2).sum()


def correlation_energy(z: Tensor) -> Tensor:
    """Mean squared correlation over pairs of units of z [B, *shape]; units that do not move are left out, and fewer
    than two units or samples have none."""
    samples = columns(z)
    deviation = samples.std(0, correction=0)
    moving = deviation.detach() > STEADY
    units = int(moving.sum())
    if units < 2 or len(samples) < 2:
        return z.new_zeros(())
    return covariance_energy((samples / deviation.clamp_min(STEADY))[:, moving]) / (units * (units - 1))


def decorrelation(z: Tensor) -> Tensor:
    """L_decov of standardized units of z [B, *shape], over n (n - 1): half the mean squared correlation of a pair."""
    return 0.5 * correlation_energy(z)


@torch.no_grad()
def shape_of(z: Tensor) -> dict[str, float]:
    """How far z [N, *shape] is from independent Gaussian units: correlations (and what independent samples would show),
    mean absolute skewness and excess kurtosis, the share of units with both below a half and one, that of exact zeros.

    After a ReLU or a pooling of one, zeros have a probability of their own, and no training makes z Gaussian."""
    samples = columns(z).double()
    deviation = samples.std(0, correction=0)
    moving = deviation > STEADY
    if not int(moving.sum()) or len(samples) < 2:
        return {"share_of_zeros": float((z == 0).float().mean())}
    standard = ((samples - samples.mean(0)) / deviation)[:, moving]
    skew, kurtosis = standard.pow(3).mean(0).abs(), (standard.pow(4).mean(0) - 3).abs()
    return {
        "correlation_energy": float(correlation_energy(z)),
        "correlation_energy_by_chance": 1 / (len(samples) - 1),
        "skewness": float(skew.mean()),
        "excess_kurtosis": float(kurtosis.mean()),
        "share_near_gaussian": float(((skew < 0.5) & (kurtosis < 1)).double().mean()),
        "share_of_zeros": float((z == 0).float().mean()),
    }
