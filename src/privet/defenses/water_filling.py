"""Water-filling: the coefficients of the signal content behind Gaussian noise, as little information as a distortion of
the server's first pre-activation allows (Samragh et al. 2021, arXiv:2104.11413, whose signal content it sends; the
channel is reverse water-filling: Shannon 1959, "Coding theorems for a discrete source with a fidelity criterion").

    alpha_k = v_k^T (z - z_bar),   sigma_k^2 = Var(alpha_k),   E||W (z - z')||^2 = D = distortion * E||W (z - z_bar)||^2
    D_k = min(sigma_k^2, theta / s_k^2),  sum_k s_k^2 D_k = D,   c_k = 1 - D_k / sigma_k^2
    payload = c_k alpha_k + sqrt(c_k D_k) xi_k  for the k with c_k > 0,   xi ~ N(0, I) fresh for every payload

Then I(x; payload) <= sum_k ln(sigma_k^2 / D_k) / 2 nats, whatever the law of z (`privet.bounds.water_filling`); what
follows for guesses is Fano's inequality. The paper's own, deterministic map has no such bound: for continuous z its
information is unlimited.

Deviations: the paper has no noise; this replaces its hard truncation. The information bounded is an average over a
population, and says nothing about any one person. Convolutions by location: variances are means over the places of the
output map, the bound adds up all places (a logarithm is concave, so the mean variance only raises it), and how places
depend on each other is not used. The rounding to float16 comes after the noise and tells nothing more. The server is
not fine-tuned (`tune=true` tunes what is behind W).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from privet.bounds.water_filling import Filling, fano, fill, information
from privet.coefficients import Codec, CoefficientObfuscator, Flat, LiftedServer, Local, Projection, moments
from privet.data.corpus import Corpus
from privet.defense import Defended, Guarantee, Progress
from privet.defenses.signal_content import describe, representations
from privet.errors import CutError, SpecError
from privet.operators import factorize, find
from privet.payload import Field, Noise
from privet.split import Split
from privet.train import Effort, fine_tune_server, predict


class Noisy(Codec):
    """alpha -> c alpha + noise xi -> alpha' as it came; gains c [k] and noise [k] are those of a filling."""

    gains: Tensor
    deviation: Tensor

    def __init__(self, gains: Tensor, deviation: Tensor, places: int) -> None:
        super().__init__()
        self.register_buffer("gains", gains.float().repeat_interleave(places))
        self.register_buffer("deviation", deviation.float().repeat_interleave(places))
        self.signature = (Field("alpha", "float16", (len(gains) * places,)),)
        self.noise = (Noise("xi", (len(gains) * places,)),)

    def encode(self, alpha: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return (self.gains * alpha + self.deviation * noise[0],)

    def decode(self, *tensors: Tensor) -> Tensor:
        return tensors[0]


class Received(nn.Module):
    """z and noise -> u', what the server's first operator gives on what travels."""

    def __init__(self, obfuscator: CoefficientObfuscator) -> None:
        super().__init__()
        self.obfuscator, self.noise = obfuscator, obfuscator.noise

    def forward(self, z: Tensor, *noise: Tensor) -> Tensor:
        alpha = self.obfuscator.codec.decode(*self.obfuscator.encode(z, *noise))
        return self.obfuscator.projection.lift(alpha)


@dataclass(frozen=True)
class WaterFilling:
    """Send as little information as a `distortion` of the server's first layer allows, as a share of its signal's
    energy."""

    summary: ClassVar[str] = "signal content behind Gaussian noise: a bound in nats on what a payload tells"
    adaptive: ClassVar[str] = (
        "the noise is fresh, so it averages out over repeated queries (threat 'repeated'), and the bound grows with "
        "their number; attackers train on noisy payloads and know the public basis, gains and noise"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("repeated", "mlp_probe", "server_probe")
    distortion: float = 0.1
    tune: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.distortion < 1:
            raise SpecError(
                f"distortion is a share of the signal's energy and lies in (0, 1), got {self.distortion}; for none use "
                f"signal_content:keep=free"
            )

    def check(self, split: Split) -> None:
        """Refuse a server that does not begin with a linear layer."""
        find(split.server, split.shape)

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Factorize the server's first operator and fill it with the variances of the owner's data.

        Raises CutError where the server does not begin with a linear operator, or that sees no difference between the
        owner's people; ModelError where it is in train mode or the edge gives values that are not finite.
        """
        split = split.copy()
        operator = find(split.server, split.shape)
        local, device = operator.conv is not None, operator.weight.device
        kind: type[Projection] = Local if local else Flat
        factors = factorize(operator.weight.flatten(1))
        z = representations(split, corpus).to(device)
        mean = z.mean(0).to(operator.weight)
        whole = kind(operator, factors.right, factors.singular, mean)
        variance = moments(whole, z)[1].double().cpu().numpy()
        singular = factors.singular.cpu().numpy()
        energy = float((singular**2 * variance).sum())
        if not energy > 0:
            raise CutError(
                f"the layer behind the cut {split.cut!r} gives the same for all of the owner's people, so there is no "
                f"signal to send; choose another cut with --at"
            )
        filling = fill(variance, singular, self.distortion * energy)
        kept = torch.from_numpy(filling.gains > 0).to(device)
        projection = kind(operator, factors.right[:, kept], factors.singular[kept], mean)
        gains, deviation = (torch.from_numpy(v).to(device)[kept] for v in (filling.gains, filling.noise))
        obfuscator = CoefficientObfuscator(projection, Noisy(gains, deviation, projection.places))
        held_out = moments(whole, predict(split.edge, corpus.task_val.x).to(device))[1].double().cpu().numpy()
        nats = projection.places * information(filling, np.maximum(variance, held_out))
        log: dict[str, Any] = describe(factors, operator, obfuscator, int(kept.sum())) | levels(filling, nats, energy)
        if self.tune:
            behind = replace(split, server=operator.rest)
            log |= fine_tune_server(behind, Received(obfuscator), corpus, effort=effort, seed=seed, progress=progress)
        where = replace(split, server=operator.rest, shape=projection.view) if local else split
        return Defended(where, obfuscator, promise(nats), LiftedServer(obfuscator, operator.rest), log)


def levels(filling: Filling, nats: float, energy: float) -> dict[str, Any]:
    """What the log says of a filling."""
    error = fano(nats, math.log(2), 2)
    return {"nats": nats, "theta": filling.theta, "energy": energy, "least_error_on_a_balanced_binary": error}


def promise(nats: float) -> Guarantee:
    """The bound in nats in a sentence, with what Fano's inequality makes of it."""
    error = fano(nats, math.log(2), 2)
    most = math.ceil(1000 * (1 - error)) / 10
    guess = (
        f"no attacker is right about a balanced binary attribute for more than {most:.1f} % of them"
        if error > 0
        else "too much to bound the guesses of a binary attribute"
    )
    statement = (
        f"I(x; payload) <= {nats:.4g} nats on average over people like the owner's, for one payload a person: {guess}; "
        f"nothing is promised to any one person"
    )
    scope = (
        "an average over a population whose coefficients vary no more, one by one, than was estimated on the owner's "
        "data (task_train and task_val), not a bound for an individual; one payload a person, k payloads tell at most "
        "k times as much; ideal Gaussian noise, fresh for every payload"
    )
    return Guarantee(statement, scope)
