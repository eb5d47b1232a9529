"""What a tracer writes down, and what both tracers agree on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

PROBES = (2, 3)  # batch sizes; a number equal at both is a constant, one that follows them is the batch size
Calls = dict[str, list[tuple[fx.Node, ...]]]


class CannotTrace(Exception):
    """Why a tracer could not follow the model faithfully."""


@dataclass(frozen=True)
class Seen:
    """The tensor that a node gave at one probe."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Followed:
    """What a tracer found: a graph whose output is the model's, the calls, and what the graph's targets name."""

    graph: fx.Graph
    calls: Calls
    parts: dict[str, Any]


@dataclass(frozen=True)
class Traced:
    """A graph of what the output needs, from one input, and the nodes that each module call returned."""

    tracer: str
    graph: fx.Graph
    calls: Calls  # module path -> one tuple of nodes per call, in order of return
    parts: dict[str, Any]  # target of call_module and get_attr nodes -> the module or tensor, in the caller's mode
    seen: dict[fx.Node, tuple[Any, ...]]  # what each node gave at PROBES: Seen for a tensor, other values as they are
    probe: torch.Tensor  # an input at the last of PROBES
    expected: torch.Tensor  # the model's output on it, in eval mode
    training: bool

    @property
    def input(self) -> fx.Node:
        """The one placeholder."""
        found: fx.Node = next(node for node in self.graph.nodes if node.op == "placeholder")
        return found

    @property
    def result(self) -> fx.Node:
        """The node whose value is the model's output."""
        output: fx.Node = next(node for node in reversed(self.graph.nodes) if node.op == "output")
        return output.all_input_nodes[0]


class FollowsMode(nn.Module):
    """A function that was called with `self.training`: fx froze the flag, this gives it back."""

    def __init__(self, function: Callable[..., Any], places: tuple[int, ...], names: tuple[str, ...]) -> None:
        super().__init__()
        self.function, self.places, self.names = function, places, names

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        given = [self.training if i in self.places else arg for i, arg in enumerate(args)]
        return self.function(*given, **(kwargs | dict.fromkeys(self.names, self.training)))


def opaque(module: nn.Module) -> bool:
    """Whether cuts inside this module are out of reach: the layers of torch.nn are one piece."""
    inside = (nn.Sequential, nn.TransformerEncoder, nn.ModuleList, nn.ModuleDict)
    return module.__module__.startswith(("torch.nn.", "torch.ao.nn.")) and not isinstance(module, inside)


def hands_on(module: nn.Module, args: tuple[Any, ...], result: Any) -> bool:
    """Whether a call gave back what it was given: Identity, an empty Sequential. It names no cut of its own."""
    in_place = any(getattr(m, "inplace", False) is True for m in module.modules())
    return isinstance(module, nn.Identity) or (not in_place and any(result is arg for arg in args))


def leaves(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [leaf for v in value for leaf in leaves(v)]
    if isinstance(value, dict):
        return [leaf for v in value.values() for leaf in leaves(v)]
    return [value]


def sketch(model: nn.Module) -> nn.Module:
    """A copy to take notes on: modules and buffers of its own, the caller's parameters."""
    return copy.deepcopy(model, {id(p): p for p in model.parameters()})


def first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0][:200]
