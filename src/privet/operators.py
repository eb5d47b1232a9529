"""The linear operator that a representation meets first behind the cut: found, folded, factorized.

    u = W z + constant,   logits = rest(u)

A fully connected layer is W [m, n]. A convolution is its kernel [C_out, C_in, kh, kw], and as a matrix the full
operator (C_out H' W') x (C H W) with its true stride and zero padding. What stands in front and is affine in each
value by itself (batch normalization in eval mode, dropout, flattening) is folded into W; anything else, a ReLU or a
pooling, means that the server's first operator is not linear, and such a cut is refused."""

from __future__ import annotations

import math
import operator as op
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from privet.errors import CutError, ModelError
from privet.tracing.operations import operation

LARGEST = (9216, 4608)  # of a full operator: the third convolution of Samragh et al. 2021, Table 1, on 50x50 pictures
DIRECT = 1024  # up to this smaller side a direct decomposition takes about a second
ROWS = 256

_MODAL = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)  # what train mode changes
_LINEAR = {"linear", "conv2d"}
_PASSES = {"flatten", "view", "reshape", "contiguous", "identity", "dropout", "dropout1d", "dropout2d", "alpha_dropout"}
_AFFINE = {"batchnorm1d", "batchnorm2d", "batch_norm", "batchnorm", "mul", "add", "sub", "div", "truediv"}
_AFFINE |= {"_native_batch_norm_legit_no_training", "getitem"}


@dataclass(frozen=True)
class Geometry:
    """How a convolution moves over its map."""

    stride: tuple[int, int]
    padding: tuple[int, int] | str
    dilation: tuple[int, int]


@dataclass(frozen=True)
class LinearOperator:
    """W and the rest of the server behind it.

    weight: [m, n] or a dense kernel [C_out, C_in, kh, kw], float64, with whatever stood in front folded in.
    constant: u at z = 0, [m] or [C_out, H', W'], float64: bias and shifts. shape: of z for one sample.
    rest: u [B, m] or [B, C_out, H', W'] -> logits [B, K]; it shares its parameters with the server given.
    """

    weight: Tensor
    constant: Tensor
    shape: tuple[int, ...]
    rest: nn.Module
    conv: Geometry | None = None

    @property
    def inputs(self) -> int:
        """n, the values of one z."""
        return math.prod(self.shape)

    @property
    def outputs(self) -> int:
        """m, the values of one u."""
        return self.constant.numel()

    @property
    def macs(self) -> int:
        """Multiply-accumulates of W z for one sample."""
        return self.outputs * self.weight[0].numel()

    def __call__(self, z: Tensor) -> Tensor:
        """u [B, *] of z [B, *shape], in the dtype of z."""
        return self.linear(z) + self.constant.to(z)

    def linear(self, z: Tensor, weight: Tensor | None = None) -> Tensor:
        """W z without the constant; another weight of the same kind may stand in."""
        w = (self.weight if weight is None else weight).to(z)
        if self.conv is None:
            return F.linear(z.flatten(1), w)
        return F.conv2d(z, w, None, self.conv.stride, self.conv.padding, self.conv.dilation)

    def matrix(self) -> Tensor:
        """The full operator [m, n] in float64, by sending the unit vectors through.

        Raises CutError where m x n exceeds 9216 x 4608, with the memory that it would take."""
        if self.conv is None:
            return self.weight
        m, n = self.outputs, self.inputs
        if m * n > math.prod(LARGEST):
            need = 8 * (m * n + 3 * min(m, n) ** 2) / 2**30
            raise CutError(
                f"the full operator of this convolution is {m} x {n} and its factorization takes {need:.0f} GiB; "
                f"up to {LARGEST[0]} x {LARGEST[1]} are taken: use conv=location, or cut deeper"
            )
        whole = torch.empty(m, n, dtype=torch.float64, device=self.weight.device)
        for start in range(0, n, ROWS):
            stop = min(start + ROWS, n)
            unit = torch.zeros(stop - start, n, dtype=torch.float64, device=whole.device)
            unit[torch.arange(stop - start), torch.arange(start, stop)] = 1
            whole[:, start:stop] = self.linear(unit.reshape(-1, *self.shape)).flatten(1).T
        return whole


@dataclass(frozen=True)
class Factors:
    """W = U S V^T up to the rank r: singular values [r], falling, and V [n, r] with orthonormal columns, in float64."""

    singular: Tensor
    right: Tensor
    inputs: int

    @property
    def rank(self) -> int:
        """Directions that W sees."""
        return len(self.singular)

    @property
    def null_dimension(self) -> int:
        """Directions that W does not see."""
        return self.inputs - self.rank


def factorize(matrix: Tensor, direct: int = DIRECT) -> Factors:
    """Singular values and right singular vectors of a matrix [m, n], the null space left out.

    Where the smaller side exceeds `direct`, through the eigenvectors of its Gram matrix in float64: faster by far, and
    it takes directions below 1e-6 of the largest for null. Signs are fixed, so that one matrix has one basis."""
    matrix = matrix.double()
    m, n = matrix.shape
    if min(m, n) <= direct:
        _, singular, vt = torch.linalg.svd(matrix, full_matrices=False)
        tolerance = max(m, n) * torch.finfo(torch.float64).eps
        right = vt.T
    else:
        gram = matrix.T @ matrix if n <= m else matrix @ matrix.T
        values, vectors = torch.linalg.eigh(gram)
        del gram
        singular, vectors = values.flip(0).clamp_min(0).sqrt(), vectors.flip(1)
        tolerance = 1e-6
        right = vectors if n <= m else matrix.T @ vectors / singular.clamp_min(singular[0] * tolerance)
    rank = int((singular > singular[0] * tolerance).sum()) if len(singular) and float(singular[0]) > 0 else 0
    right = right[:, :rank]
    largest = right.abs().argmax(0)
    signs = right[largest, torch.arange(rank, device=right.device)].sign()
    return Factors(singular[:rank], right * signs, n)


def spectrum(kernel: Tensor, height: int, width: int) -> Tensor:
    """Singular values of a convolution of stride 1 on an endless (circular) map [H, W], falling (Sedghi et al. 2019).

    One C_out x C_in matrix for each frequency. With zero padding the true values differ by some per cent: this is for
    looking at spectra and norms, not for obfuscation. kernel [C_out, C_in, kh, kw]."""
    waves = torch.fft.fft2(kernel.double(), (height, width)).permute(2, 3, 0, 1)
    values: Tensor = torch.linalg.svdvals(waves).flatten().sort(descending=True).values
    return values


def find(server: nn.Module, shape: tuple[int, ...]) -> LinearOperator:
    """The linear operator that z [B, *shape] meets first, with the rest of the server behind it.

    Raises CutError with what stands there instead, ModelError where the server holds batch normalization or dropout in
    train mode, which is then no fixed map."""
    if any(m.training for m in server.modules() if isinstance(m, _MODAL)):
        raise ModelError(
            "the server half is in train mode, where its layers are no fixed maps; call model.eval() first"
        )
    module = _traced(server)
    front, node = _walk(module)
    parts = dict(module.named_modules())
    weight, bias, conv = _parameters(module, node, parts)
    scale, shift = _front(module, front, node, shape, weight)
    if conv is not None:
        weight = weight * _by_channel(scale, shape)[None, :, None, None]
    else:
        if weight.shape[1] != scale.numel():
            raise CutError(
                f"the layer behind the cut takes {weight.shape[1]} values, the cut sends {scale.numel()}: a layer that "
                f"runs on every token by itself is not taken; cut behind a flattening or a mean over tokens"
            )
        weight = weight * scale.flatten()[None]
    rest = _behind(module, node)
    raw = LinearOperator(weight, torch.zeros(()).to(weight), shape, rest, conv)
    plain = _parameters(module, node, parts)[0]
    constant = raw.linear(shift.reshape(1, *scale.shape), plain)[0]
    if bias is not None:
        constant = constant + bias.reshape(-1, *([1] * (constant.dim() - 1)))
    return LinearOperator(weight, constant, shape, rest, conv)


def advance(rest: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Cut what follows the first operator behind its first nonlinearity: (front, back), back(front(u)) == rest(u).

    Raises CutError where no activation follows with something left behind it."""
    module = _traced(rest)
    parts = dict(module.named_modules())
    node = next(n for n in module.graph.nodes if n.op == "placeholder")
    while True:
        users = _reading(node)
        if len(users) != 1 or users[0].op == "output":
            raise CutError(
                "no activation follows the server's first linear layer, so there is no further layer to move"
            )
        node = users[0]
        if operation(node, parts) not in _PASSES | _AFFINE:
            break
    if all(user.op == "output" for user in node.users):
        raise CutError("behind the server's first activation nothing is left to compute, so there is no layer to move")
    return _until(module, node), _behind(module, node)


def _traced(module: nn.Module) -> fx.GraphModule:
    if isinstance(module, fx.GraphModule):
        return module
    try:
        return fx.symbolic_trace(module)
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError) as problem:
        raise CutError(f"this server half cannot be followed to its first layer ({problem})") from problem


def _walk(module: fx.GraphModule) -> tuple[list[fx.Node], fx.Node]:
    """The nodes between z and the first linear operator, and that operator."""
    parts = dict(module.named_modules())
    node = next(n for n in module.graph.nodes if n.op == "placeholder" and not str(n.target).startswith(("p_", "b_")))
    front: list[fx.Node] = []
    while True:
        previous, users = node, _reading(node)
        if len(users) != 1:
            raise CutError(
                f"the server must begin with one linear layer (fully connected or convolution); behind this cut z goes "
                f"into {len(users)} operators: choose another cut with --at"
            )
        node = users[0]
        name = operation(node, parts)
        if name in _LINEAR and node.args[0] is previous:
            return front, node
        if node.op == "output" or name not in _PASSES | _AFFINE:
            what = "the end of the network" if node.op == "output" else name
            raise CutError(
                f"the server must begin with a linear layer (fully connected or convolution); behind this cut stands "
                f"{what}: choose another cut with --at"
            )
        front.append(node)


def _parameters(
    module: fx.GraphModule, node: fx.Node, parts: dict[str, Any]
) -> tuple[Tensor, Tensor | None, Geometry | None]:
    """Weight (dense where a convolution has groups), bias and geometry of a linear node, in float64."""
    if node.op == "call_module":
        layer = parts[str(node.target)]
        weight, bias = layer.weight, layer.bias
        if isinstance(layer, nn.Conv2d):
            if layer.padding_mode != "zeros":
                raise CutError(f"the convolution behind the cut pads with {layer.padding_mode!r}; only zeros are taken")
            given = layer.stride, layer.padding, layer.dilation, layer.groups
    else:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        args = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
        weight, bias = (_attribute(module, args.get(key)) for key in ("weight", "bias"))
        given = (args.get("stride", 1), args.get("padding", 0), args.get("dilation", 1), args.get("groups", 1))  # type: ignore[assignment]
    if weight is None:
        raise CutError("the weights of the layer behind the cut are computed, not stored; choose another cut with --at")
    weight, bias = weight.detach().double(), None if bias is None else bias.detach().double()
    if weight.dim() == 2:
        return weight, bias, None
    stride, padding, dilation, groups = given
    return _dense(weight, int(groups)), bias, Geometry(_pair(stride), _padding(padding), _pair(dilation))


def _front(
    module: fx.GraphModule, front: list[fx.Node], node: fx.Node, shape: tuple[int, ...], like: Tensor
) -> tuple[Tensor, Tensor]:
    """Scale and shift of each value of what stands in front of the operator, shaped as its input; measured, then
    believed only where a third point agrees."""
    if not front:
        return torch.ones(shape).to(like), torch.zeros(shape).to(like)
    before = _until(module, front[-1])
    third = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.no_grad():
        zero, one, two = (before(p.to(like.device)).double()[0] for p in (third * 0, third * 0 + 1, third))
    scale = one - zero
    if not torch.allclose(two.flatten(), (zero + scale * third[0].to(zero).reshape(zero.shape)).flatten(), atol=1e-4):
        raise CutError("what stands between the cut and the first linear layer is not affine in each value by itself")
    return scale, zero


def _by_channel(scale: Tensor, shape: tuple[int, ...]) -> Tensor:
    flat = scale.reshape(shape[0], -1)
    if not torch.allclose(flat, flat[:, :1].expand_as(flat), atol=1e-6):
        raise CutError("what stands in front of the convolution scales positions differently, which no kernel can hold")
    return flat[:, 0]


def _reading(node: fx.Node) -> list[fx.Node]:
    """The users of a value, but for those that ask for its batch size or device only."""
    return [n for n in node.users if n.target not in ("size", getattr, torch.ops.aten.sym_size.int)]


def _until(module: fx.GraphModule, last: fx.Node) -> nn.Module:
    """The part of a graph up to a node, included."""
    return _part(module, last, ())


def _behind(module: fx.GraphModule, last: fx.Node) -> nn.Module:
    """The part of a graph behind a node, as a function of that node's value. Batch sizes are read off that value."""
    output = next(n for n in module.graph.nodes if n.op == "output")
    return _part(module, cast(fx.Node, output.args[0]), (last, *_line(last)))


def _line(node: fx.Node) -> list[fx.Node]:
    """What leads from the graph's input to a node, attributes left out."""
    before = [n for n in node.all_input_nodes if n.op != "get_attr"]
    return [m for n in before for m in (n, *_line(n))]


def _part(module: fx.GraphModule, result: fx.Node, given: tuple[fx.Node, ...]) -> nn.Module:
    """What computes `result`, from the graph's input or from the value that stands for the nodes `given`."""
    needed, stack = {result}, [result]
    while stack:
        node = stack.pop()
        fresh = [n for n in node.all_input_nodes if n not in needed] if node not in given else []
        needed.update(fresh)
        stack.extend(fresh)
    graph, new = fx.Graph(), dict[fx.Node, fx.Node]()
    if given:
        new = dict.fromkeys(given, graph.placeholder("u"))
    for node in module.graph.nodes:
        if node in needed and node not in new:
            new[node] = graph.node_copy(node, new.__getitem__)
    graph.output(new[result])
    return fx.GraphModule(module, graph).eval()


def _attribute(module: nn.Module, node: Any) -> Tensor | None:
    if isinstance(node, fx.Node) and node.op == "get_attr":
        return cast(Tensor, op.attrgetter(str(node.target))(module))
    return None


def _dense(weight: Tensor, groups: int) -> Tensor:
    """A grouped kernel [C_out, C_in / groups, kh, kw] with its zeros written out, [C_out, C_in, kh, kw]."""
    if groups == 1:
        return weight
    outputs, inputs = weight.shape[0] // groups, weight.shape[1]
    whole = weight.new_zeros(weight.shape[0], inputs * groups, *weight.shape[2:])
    for g in range(groups):
        rows = slice(g * outputs, (g + 1) * outputs)
        whole[rows, g * inputs : (g + 1) * inputs] = weight[rows]
    return whole


def _pair(value: Any) -> tuple[int, int]:
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    return (int(values[0]), int(values[-1]))


def _padding(value: Any) -> tuple[int, int] | str:
    return value if isinstance(value, str) else _pair(value)
