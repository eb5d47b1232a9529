"""Trace with torch.export: functional, in eval mode, with a dynamic batch."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from privet.tracing.nouns import Calls, CannotTrace, Followed, first_line, hands_on, leaves, opaque


class _Log:
    """How many tensors each call returned. Not a list on the module: export undoes what tracing does to those."""

    def __init__(self) -> None:
        self.returned: list[tuple[str, int]] = []


class _Tapped(nn.Module):
    """The model, returning beside its output a clone of everything that its modules returned."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.log = _Log()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        taps: list[torch.Tensor] = []
        paths = self.log.returned
        paths.clear()

        def tap(path: str, module: nn.Module, args: Any, result: Any) -> None:
            if hands_on(module, args, result):
                return
            tensors = [leaf.clone() for leaf in leaves(result) if isinstance(leaf, torch.Tensor)]
            paths.append((path, len(tensors)))
            taps.extend(tensors)

        hooks = [module.register_forward_hook(partial(tap, path)) for path, module in _open_modules(self.model)]
        try:
            return self.model(x), taps
        finally:
            for hook in hooks:
                hook.remove()


def _open_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every submodule with its path that is not inside an opaque one, each once."""
    closed: set[str] = set()
    for path, module in model.named_modules():
        parents = {path[:i] for i, letter in enumerate(path) if letter == "."}
        if path and not parents & closed:
            yield path, module
        if path and opaque(module):
            closed.add(path)


def follow_export(model: nn.Module, x: torch.Tensor) -> Followed:
    """Export in eval mode with a dynamic batch; parts are the tensors that the graph reads."""
    tapped = _Tapped(model).eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(
                tapped, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False
            ).run_decompositions({})
            module = program.module()
    except (
        Exception
    ) as problem:  # export reports through dozens of classes, and the model's own code may raise anything
        raise CannotTrace(first_line(problem)) from problem
    if program.graph_signature.buffers_to_mutate or program.graph_signature.user_inputs_to_mutate:
        raise CannotTrace("it changes a buffer or its input even in eval mode")
    graph: fx.Graph = module.graph
    parts: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op == "get_attr":
            value = operator.attrgetter(str(node.target))(module)
            node.target = str(node.target).removeprefix("model.")
            parts[node.target] = value
    outputs = next(node for node in reversed(graph.nodes) if node.op == "output").args[0]
    taps = iter([clone.args[0] for clone in outputs[1:]])
    calls: Calls = {}
    for path, count in tapped.log.returned:
        calls.setdefault(path, []).append(tuple(next(taps) for _ in range(count)))
    return Followed(graph, calls, parts)
