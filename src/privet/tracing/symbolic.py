"""Trace with torch.fx, and refuse what it would silently get wrong: frozen modes, hidden writes."""

from __future__ import annotations

import inspect
import operator
import warnings
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from privet.tracing.nouns import Calls, CannotTrace, Followed, FollowsMode, first_line, hands_on, leaves, opaque, sketch
from privet.tracing.operations import lineage, writes


class _Recorder(fx.Tracer):
    """A tracer that remembers what every module returned."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Calls = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return opaque(m)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if type(m) is nn.TransformerEncoder and len(args) == 1 and not kwargs:
            forward = partial(_layers, m)  # its own forward asks for len(shape), which fx cannot answer
        result = super().call_module(m, forward, args, kwargs)
        if not hands_on(m, args, result):
            nodes = tuple(value.node for value in leaves(result) if isinstance(value, fx.Proxy))
            self.calls.setdefault(self.path_of_module(m), []).append(nodes)
        return result


def _layers(encoder: nn.TransformerEncoder, src: Any) -> Any:
    """What TransformerEncoder does where no mask is given."""
    for layer in encoder.layers:
        src = layer(src)
    return src if encoder.norm is None else encoder.norm(src)


def follow_fx(model: nn.Module, x: torch.Tensor) -> Followed:
    """Trace symbolically, in both modes; parts are the model's own submodules."""
    recorder, graph, root = _symbolic(model, training=False)
    _, train_graph, _ = _symbolic(model, training=True)
    moded = _unfreeze_modes(graph, train_graph, model)
    _refuse_hidden_mutation(graph, dict(root.named_modules()) | moded)
    parts: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr") and node.target not in moded:
            try:
                parts[node.target] = operator.attrgetter(node.target)(model)
            except AttributeError:  # a constant that the tracer made
                parts[node.target] = operator.attrgetter(node.target)(root)
    return Followed(graph, recorder.calls, parts | moded)


def _symbolic(model: nn.Module, training: bool) -> tuple[_Recorder, fx.Graph, nn.Module]:
    root = sketch(model).train(training)
    spare = list(inspect.signature(root.forward).parameters.values())[1:]
    defaults = {p.name: p.default for p in spare if p.default is not p.empty}
    recorder = _Recorder()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return recorder, recorder.trace(root, concrete_args=defaults or None), root
    except Exception as problem:  # the model's own code, fed with stand-ins, may raise anything
        raise CannotTrace(first_line(problem)) from problem


def _unfreeze_modes(graph: fx.Graph, train_graph: fx.Graph, model: nn.Module) -> dict[str, nn.Module]:
    """Compare the graphs of both modes: a flag that follows the mode becomes `FollowsMode`, all else refuses."""
    moded: dict[str, nn.Module] = {}
    pairs = list(zip(graph.nodes, train_graph.nodes, strict=False))
    if len(graph.nodes) != len(train_graph.nodes):
        raise CannotTrace("its Python code takes another way in train mode, which fx would freeze")
    for node, other in pairs:
        places = tuple(
            i for i, (a, b) in enumerate(zip(node.args, other.args, strict=False)) if a is False and b is True
        )
        names = tuple(k for k, a in node.kwargs.items() if a is False and other.kwargs.get(k) is True)
        flags = set(places) | set(names)
        if (node.op, node.target, _constants(node, flags)) != (other.op, other.target, _constants(other, flags)):
            raise CannotTrace("its Python code takes another way in train mode, which fx would freeze")
        if flags:
            if node.op != "call_function":
                raise CannotTrace("it passes its mode to a module, which fx would freeze")
            name = f"_{node.name}_follows_mode"
            callers = list(node.meta.get("nn_module_stack", {"": ("", None)}).values())
            moded[name] = FollowsMode(node.target, places, names)
            moded[name].training = model.get_submodule(callers[-1][0]).training
            node.op, node.target = "call_module", name
    return moded


def _constants(node: fx.Node, flags: set[Any]) -> str:
    args = [None if i in flags else a for i, a in enumerate(node.args)]
    return repr((args, {k: None if k in flags else a for k, a in node.kwargs.items()}))


def _refuse_hidden_mutation(graph: fx.Graph, parts: dict[str, Any]) -> None:
    """fx follows results, not storage: refuse where a value is changed in place and its old name is read later."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    source = {node: list(lineage(node, parts))[-1] for node in graph.nodes}
    for node in graph.nodes:
        if "out" in node.kwargs:
            raise CannotTrace("it writes into an 'out' argument, which fx does not follow")
        if writes(node, parts):
            kin = [n for n in graph.nodes if source[n] is source[node] and order[n] < order[node]]
            if any(order[user] > order[node] for n in kin for user in n.users):
                raise CannotTrace(
                    f"{node.name!r} changes a value in place that is read again, which fx does not follow"
                )
