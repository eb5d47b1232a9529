"""Signal-content obfuscation: keep only what the server's next layer uses most (Samragh et al. 2021, "Unsupervised
information obfuscation for split inference of neural networks", arXiv:2104.11413; sections 3-4, Theorem 1).

    W = U S V^T the server's first linear operator,   alpha = V^T (z - z_bar),   payload = alpha_1 .. alpha_m'
    z' = z_bar + V_m' alpha',   and the server computes U_m' (s * alpha') + W z_bar + b without rebuilding z'

Orders: `singular` (the paper's, by s_k) and `energy` (by s_k^2 Var(alpha_k) over the owner's data, which is the
optimal fixed order when z is not isotropic). Sending all r coefficients is sending W z: it moves the cut past one
linear map, and hides no more than that.

Deviations: the default is `energy` around the training mean z_bar, where the paper has the singular order and
z_bar = 0 (`order=singular`). The paper also trains the network with content removed, decorrelated and regularized (its
section 4.3); here the network is taken as it is, and the server is not fine-tuned either, while `gaussian` and
`random_channels` fine-tune theirs. Fully connected cuts, a fixed number of coefficients. Promises nothing: for
continuous z the mutual information of a deterministic map is unbounded, so what it hides is measured by attack.
"""

from __future__ import annotations

import copy
import math
import operator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from privet.data.corpus import Corpus
from privet.defense import Defended, Guarantee, Obfuscator, Progress, ServerHalf
from privet.errors import CutError, SpecError
from privet.payload import Field
from privet.split import Split
from privet.train import Effort, labelled, predict


class SignalObfuscator(Obfuscator):
    """z -> the chosen coefficients alpha' [B, m'] -> z_bar + V alpha'."""

    basis: Tensor
    mean: Tensor
    offset: Tensor

    def __init__(self, basis: Tensor, mean: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("basis", basis)
        self.register_buffer("mean", mean)
        self.register_buffer("offset", mean @ basis)
        self.shape = shape
        self.signature = (Field("alpha", "float16", (basis.shape[1],)),)

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return (z.flatten(1) @ self.basis - self.offset,)

    def decode(self, *tensors: Tensor) -> Tensor:
        return (self.mean + tensors[0] @ self.basis.T).reshape(-1, *self.shape)


@dataclass(frozen=True)
class SignalContent:
    """Keep `keep` coefficients of the server's next layer: an integer is their number m', a fraction a share of the
    rank."""

    summary: ClassVar[str] = "keeps the coefficients that the server's next layer uses most"
    adaptive: ClassVar[str] = (
        "attackers see the coefficients and, in white-box threats, z' rebuilt with the public "
        "basis and the server's architecture"
    )
    keep: int | float = 8
    order: Literal["energy", "singular"] = "energy"

    def __post_init__(self) -> None:
        whole = isinstance(self.keep, int)
        if not math.isfinite(self.keep) or self.keep <= 0 or (not whole and self.keep > 1):
            raise SpecError(
                f"keep is a number of coefficients (1, 2, ...) or a share of the rank in (0, 1], got {self.keep}"
            )

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Factorize the server's first layer and order its directions on the owner's data.

        Raises CutError where the server does not begin with a fully connected layer, SpecError where m' exceeds the
        rank.
        """
        split = split.copy()
        found = first_linear(split.server)
        weight = found.weight.detach().double().cpu()
        part = corpus.task_train
        device = found.weight.device
        z = predict(split.edge, part.x[labelled(part, part.y)], device).flatten(1).double()
        if z.shape[1] != weight.shape[1]:
            raise CutError(
                f"the layer behind the cut takes {weight.shape[1]} values, the cut {split.cut!r} sends {z.shape[1]}"
            )
        _, singular, vt = torch.linalg.svd(weight, full_matrices=False)
        rank = int((singular > singular[0] * max(weight.shape) * torch.finfo(torch.float64).eps).sum())
        mean = torch.zeros_like(z[0]) if self.order == "singular" else z.mean(0)
        importance = singular[:rank] ** 2
        if self.order == "energy":
            importance = importance * ((z - mean) @ vt[:rank].T).var(0)
        kept = self._count(rank)
        chosen = importance.argsort(descending=True, stable=True)[:kept]
        basis = vt[chosen].T.contiguous()
        obfuscator = SignalObfuscator(basis.float().to(device), mean.float().to(device), split.shape)
        why = (
            "a deterministic projection of a continuous representation bounds no attacker; what it "
            "hides is measured by attack"
        )
        log = {
            "rank": rank,
            "null_dimension": weight.shape[1] - rank,
            "kept": kept,
            "share_of_signal": float(importance[chosen].sum() / importance.sum()),
        }
        return Defended(split, obfuscator, Guarantee.none(why), fold(split.server, found, obfuscator), log)

    def check(self, split: Split) -> None:
        """Refuse a server that does not begin with a linear layer, and more coefficients than the "
        "layer can have rank."""
        self._count(min(first_linear(split.server).weight.shape))

    def _count(self, rank: int) -> int:
        kept = self.keep if isinstance(self.keep, int) else math.ceil(self.keep * rank)
        if kept > rank:
            raise SpecError(
                f"keep={kept} exceeds the rank {rank} of the server's first layer; the most that means "
                f"anything is keep={rank}"
            )
        return kept


@dataclass(frozen=True)
class FirstLinear:
    """The server's first operator: its weight [m, n], its bias, and its module path where it is a module."""

    weight: Tensor
    bias: Tensor | None
    path: str | None


_SHAPING = {torch.flatten, "flatten", "contiguous", torch.ops.aten.flatten.using_ints}


def first_linear(server: nn.Module) -> FirstLinear:
    """Find the fully connected layer that the representation meets first, possibly behind a flattening.

    Raises CutError with the operator that stands there instead.
    """
    try:
        graph_module = server if isinstance(server, fx.GraphModule) else fx.symbolic_trace(server)
    except (fx.proxy.TraceError, TypeError, ValueError) as problem:
        raise CutError(f"signal_content cannot follow this server half to its first layer ({problem})") from problem
    node = next(
        n for n in graph_module.graph.nodes if n.op == "placeholder" and not str(n.target).startswith(("p_", "b_"))
    )
    while True:
        users = list(node.users)
        if len(users) != 1:
            raise CutError(
                f"signal_content needs a cut whose value goes into one fully connected layer; here it goes "
                f"into {len(users)} operators"
            )
        node = users[0]
        module = graph_module.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Linear):
            return FirstLinear(module.weight, module.bias, str(node.target))
        if node.op == "call_function" and node.target in (F.linear, torch.ops.aten.linear.default):
            weight, *bias = (_attribute(graph_module, arg) for arg in node.args[1:])
            if weight is not None:
                return FirstLinear(weight, bias[0] if bias else None, None)
        if not (
            isinstance(module, nn.Flatten | nn.Identity | nn.Dropout) or (module is None and node.target in _SHAPING)
        ):
            what = type(module).__name__ if module is not None else getattr(node.target, "__name__", str(node.target))
            raise CutError(
                f"signal_content needs a cut right before a fully connected layer; behind this cut stands "
                f"{what}: choose another with --at"
            )


def fold(server: nn.Module, found: FirstLinear, obfuscator: SignalObfuscator) -> nn.Module:
    """The server half on coefficients: its first layer becomes [m, m'] with weight W V and bias W z_bar + b (paper
    003, section 4)."""
    if found.path is None or len(obfuscator.shape) != 1:
        return ServerHalf(obfuscator, server)
    folded = copy.deepcopy(server)
    weight = found.weight.detach().double()
    bias = weight @ obfuscator.mean.double() + (found.bias.detach().double() if found.bias is not None else 0)
    layer = nn.Linear(obfuscator.basis.shape[1], weight.shape[0], device="meta")  # draws no random weights
    layer.weight = nn.Parameter((weight @ obfuscator.basis.double()).float(), requires_grad=False)
    layer.bias = nn.Parameter(bias.float(), requires_grad=False)
    folded.set_submodule(found.path, layer)
    return folded


def _attribute(module: nn.Module, node: Any) -> Tensor | None:
    if isinstance(node, fx.Node) and node.op == "get_attr":
        return cast(Tensor, operator.attrgetter(str(node.target))(module))
    return None
