"""Cut a network in two at the output of one of its modules: `server(edge(x)) == model(x)`.

A *legal* cut is a module path whose module is called exactly once and whose output is the only tensor that crosses: the
server needs it and nothing else. Sizes that the server reads off the input (the batch, a height) are rebuilt from z and
do not cross. The tensor must be real-valued with the batch first. Refused besides: the raw input, also when only
reshaped, and a server with nothing left to compute. A module that returns several tensors is legal where just one of
them is used. When nested modules return the same value (`layer1`, `layer1.1`), each path is a name of the cut; a module
that gives back what it was given (Identity, an empty Sequential) is none.

The input as a cut, with no edge at all, exists only when written out: `Split(nn.Identity(), model, "input", shape)`."""

from __future__ import annotations

import copy
import difflib
import operator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import fx, nn

from privet.errors import CutError
from privet.tracing import assemble, evaluating, same, trace
from privet.tracing.nouns import PROBES, CannotTrace, Seen, Traced
from privet.tracing.operations import COPIES, VIEWS, lineage, operation, writes

Tracer = Literal["auto", "fx", "export"]
SHOWN = 12


@dataclass(frozen=True)
class Cut:
    """A legal cut: module path, shape of z for one sample, and the tracer that found it."""

    name: str
    shape: tuple[int, ...]
    tracer: str


@dataclass(frozen=True)
class Split:
    """A network in two halves. `tracer` "export" means eval mode is baked in: such halves do not follow .train()."""

    edge: nn.Module
    server: nn.Module
    cut: str
    shape: tuple[int, ...]
    tracer: str = "explicit"
    frozen: frozenset[str] = frozenset()

    def copy(self) -> Split:
        """The same split with halves of its own."""
        return replace(self, edge=copy.deepcopy(self.edge), server=copy.deepcopy(self.server))


def cuts(model: nn.Module, example: torch.Tensor, *, tracer: Tracer = "auto") -> list[Cut]:
    """All legal cuts for inputs like `example` [B, ...], in order of execution, inner modules before outer ones.

    Raises CutError where no tracer can follow the model, ModelError where the model does not accept the example."""
    return legal(_trace(model, example, tracer))


def split(model: nn.Module, example: torch.Tensor, at: str, *, tracer: Tracer = "auto") -> Split:
    """Cut a model that maps [B, ...] to [B, ...] at module path `at`; the halves own their parameters, the model stays.

    Under fx both halves keep the model's submodules, modes and parameter names. Raises CutError where `at` is no legal
    cut (with the legal ones) or no tracer can follow the model, ModelError where it does not accept the example."""
    paths = dict(model.named_modules())
    traced = _trace(model, example, tracer)
    if at not in paths or not at:
        near = difflib.get_close_matches(at, [cut.name for cut in legal(traced)] or list(paths), n=1, cutoff=0.0)
        hint = f"did you mean {near[0]!r}? " if near and near[0] else ""
        raise CutError(f"the model has no module {at!r}; {hint}{_listing(traced)}")
    return halves(traced, at)


def halves(traced: Traced, at: str) -> Split:
    """The two halves of a traced model at `at`, checked on the trace's own probe."""
    verdict = _judge(traced, at)
    if isinstance(verdict, str):
        raise CutError(f"cutting at {at!r} is not possible: {verdict}; {_listing(traced)}")
    node, shape = verdict
    edge, server = _edge(traced, node), _server(traced, node)
    try:
        with evaluating(edge, server):
            y = server(edge(traced.probe.clone()))
    except (RuntimeError, ValueError, TypeError, AttributeError) as problem:
        raise CutError(f"cutting at {at!r} gave halves that do not run ({problem}); {_listing(traced)}") from problem
    if not same(y, traced.expected):
        raise CutError(f"cutting at {at!r} gave halves that compute something else than the model; {_listing(traced)}")
    return Split(edge, server, at, shape, traced.tracer)


def legal(traced: Traced) -> list[Cut]:
    """The legal cuts of a traced model, in order of execution."""
    verdicts = {path: _judge(traced, path) for path in traced.calls}
    return [Cut(path, found[1], traced.tracer) for path, found in verdicts.items() if not isinstance(found, str)]


def _trace(model: nn.Module, example: torch.Tensor, tracer: Tracer) -> Traced:
    try:
        return trace(model, example, tracer)
    except CannotTrace as problem:
        raise CutError(
            f"the model cannot be followed ({problem}); give the halves yourself: Split(edge, server)"
        ) from problem


def _listing(traced: Traced) -> str:
    names = [cut.name for cut in legal(traced)]
    if not names:
        return "this model has no legal cut"
    more = f" and {len(names) - SHOWN} more (`privet cuts` lists all)" if len(names) > SHOWN else ""
    return f"legal cuts: {', '.join(names[:SHOWN])}{more}"


# What is legal ------------------------------------------------------------------------------------------------------


def _judge(traced: Traced, path: str) -> tuple[fx.Node, tuple[int, ...]] | str:
    """The node to cut at and the shape of z for one sample, or why not."""
    calls = traced.calls.get(path, [])
    if not calls:
        return "the module is not called, only hands on what it was given, or lies inside a layer that is one piece"
    if len(calls) > 1:
        return f"the module is called {len(calls)} times"
    values = {value for node in calls[0] for value in _tensors(traced, node)}
    if len(values) != 1:
        return f"{len(values)} of the module's tensors are used"
    node = values.pop()
    tensors = traced.seen[node]
    rest = {seen.shape[1:] for seen in tensors}
    if any(seen.shape[:1] != (size,) for seen, size in zip(tensors, PROBES, strict=True)) or len(rest) != 1:
        return f"its output of shape {list(tensors[0].shape)} (for {PROBES[0]} samples) does not have the batch first"
    if not tensors[0].dtype.is_floating_point:
        return f"its output is {tensors[0].dtype}, not real numbers"
    if _raw(traced, node):
        return "its output is the raw input"
    have = _computable(traced, node)
    if not have[traced.result]:
        crossing = _crossing(traced, node)
        return f"it would send {len(crossing)} tensors ({', '.join(_label(traced, n) for n in crossing)})"
    if not any(_computes(traced, n) for n in _needed(traced, node, have)):
        return "nothing would be left for the server to compute"
    return node, rest.pop()


def _tensors(traced: Traced, node: fx.Node) -> list[fx.Node]:
    """The node where it gives a tensor; where it gives several, those that are used."""
    if isinstance(traced.seen[node][0], Seen):
        return [node]
    return [t for user in node.users if user.target is operator.getitem for t in _tensors(traced, user)]


def _computable(traced: Traced, cut: fx.Node) -> dict[fx.Node, bool]:
    """For every node: whether the server can have its value from z, its own parameters and rebuilt sizes."""
    have: dict[fx.Node, bool] = {}
    for node in traced.graph.nodes:
        if node.op == "output":
            break
        from_inputs = node.op != "placeholder" and all(have[n] for n in node.all_input_nodes)
        have[node] = node is cut or from_inputs or _rebuildable(traced.seen[node])
    return have


def _needed(traced: Traced, cut: fx.Node, have: dict[fx.Node, bool]) -> set[fx.Node]:
    """The nodes whose values the server needs, from the cut (not included) to the output."""
    needed: set[fx.Node] = set()
    stack = [traced.result]
    while stack:
        node = stack.pop()
        if node is not cut and node not in needed:
            needed.add(node)
            if all(have[n] for n in node.all_input_nodes):  # else its value is rebuilt
                stack.extend(node.all_input_nodes)
    return needed


def _crossing(traced: Traced, cut: fx.Node) -> list[fx.Node]:
    """The tensors made up to the cut, the input among them, that are read after it."""
    order = {node: i for i, node in enumerate(traced.graph.nodes)}
    depends: set[fx.Node] = set()
    for node in traced.graph.nodes:
        if node.op == "placeholder" or any(n in depends for n in node.all_input_nodes):
            depends.add(node)
    return [
        node
        for node in traced.graph.nodes
        if order[node] <= order[cut]
        and node in depends
        and not _rebuildable(traced.seen[node])
        and any(order[user] > order[cut] and not _rebuildable(traced.seen.get(user, ())) for user in node.users)
    ]


def _label(traced: Traced, node: fx.Node) -> str:
    if node.op == "placeholder":
        return "the input"
    named = [path for path, calls in traced.calls.items() if calls == [(node,)]]
    return named[0] if named else node.name


def _computes(traced: Traced, node: fx.Node) -> bool:
    """Whether a node makes new numbers, rather than pass on or reshape those it is given."""
    makes = node.op.startswith("call") and isinstance(traced.seen[node][0], Seen)
    return makes and operation(node, traced.parts) not in VIEWS | COPIES


def _raw(traced: Traced, node: fx.Node) -> bool:
    """Whether a node is the input, at most reshaped."""
    while node.op != "placeholder":
        if _computes(traced, node) or not node.all_input_nodes:
            return False
        node = node.all_input_nodes[0]
    return True


# The halves ---------------------------------------------------------------------------------------------------------


def _edge(traced: Traced, cut: fx.Node) -> nn.Module:
    wanted, stack = {cut}, [cut]
    while stack:
        fresh = [n for n in stack.pop().all_input_nodes if n not in wanted]
        wanted.update(fresh)
        stack.extend(fresh)
    graph, new = fx.Graph(), {}
    guard = _overwrites(traced, wanted, traced.input)
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            x = graph.placeholder("x")
            new[node] = graph.call_method("clone", (x,)) if guard else x
        elif node in wanted:
            new[node] = graph.node_copy(node, new.__getitem__)
    graph.output(new[cut])
    return _half(traced, graph)


def _server(traced: Traced, cut: fx.Node) -> nn.Module:
    have = _computable(traced, cut)
    needed = _needed(traced, cut, have)
    graph = fx.Graph()
    z = graph.placeholder("z")
    if _overwrites(traced, needed, cut):  # the caller keeps z: attacks and tests read it again
        z = graph.call_method("clone", (z,))
    new: dict[fx.Node, Any] = {cut: z}
    for node in traced.graph.nodes:
        if node in needed:
            inputs = all(have[n] for n in node.all_input_nodes) and node.op != "placeholder"
            new[node] = graph.node_copy(node, new.__getitem__) if inputs else _rebuild(graph, z, traced.seen[node])
    graph.output(new[traced.result])
    return _half(traced, graph)


def _overwrites(traced: Traced, nodes: set[fx.Node], given: fx.Node) -> bool:
    """Whether a half of these nodes would change in place the tensor it is given."""
    return any(given in lineage(node, traced.parts) for node in nodes if writes(node, traced.parts))


def _half(traced: Traced, graph: fx.Graph) -> nn.Module:
    half = copy.deepcopy(assemble(traced.parts, graph))
    half.training = traced.training
    return half


def _rebuildable(values: tuple[Any, ...]) -> bool:
    """Whether a value is a constant, a multiple of the batch size, a device, or a tuple of such."""
    first, second = values if len(values) == len(PROBES) else (Seen, Seen)
    if isinstance(first, tuple):
        pairs = zip(first, second, strict=False)
        return len(first) == len(second) and all(_rebuildable(pair) for pair in pairs)
    if isinstance(first, int) and first * PROBES[1] == second * PROBES[0]:
        return True
    return isinstance(first, (bool, int, float, str, torch.dtype, torch.device, type(None))) and first == second


def _rebuild(graph: fx.Graph, z: fx.Node, values: tuple[Any, ...]) -> Any:
    """The value that the server would have read off the edge's tensors, said in terms of z."""
    first, second = values
    if isinstance(first, tuple):
        return tuple(_rebuild(graph, z, pair) for pair in zip(first, second, strict=True))
    if isinstance(first, torch.device):
        return graph.call_function(getattr, (z, "device"))
    if first == second:
        return first
    size = graph.call_method("size", (z, 0))
    return size if first == PROBES[0] else graph.call_function(operator.mul, (size, first // PROBES[0]))
