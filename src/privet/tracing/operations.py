"""What a node of a traced graph does: its name, whether it only reshapes, whether it writes in place."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from privet.tracing.nouns import FollowsMode

_IN_PLACE = {
    *(operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv, operator.imod, operator.ipow),
    *(
        operator.imatmul,
        operator.iand,
        operator.ior,
        operator.ixor,
        operator.ilshift,
        operator.irshift,
        operator.setitem,
    ),
}
_SAME_STORAGE = {
    "chunk",
    "split",
    "narrow",
    "select",
    "expand",
    "getitem",
    "getattr",
    "unbind",
    "t",
    "diagonal",
    "unfold",
}
VIEWS = {"view", "reshape", "flatten", "unflatten", "permute", "transpose", "movedim", "squeeze", "unsqueeze"}
COPIES = {"clone", "contiguous", "detach", "alias", "dropout", "identity", "dropout1d", "dropout2d", "dropout3d"}


def operation(node: fx.Node, parts: dict[str, Any]) -> str:
    """A short name of what a node does, the same for a module, a method, a function and an aten operator."""
    if node.op == "call_module":
        part = parts[str(node.target)]
        return operation_name(part.function) if isinstance(part, FollowsMode) else type(part).__name__.lower()
    return operation_name(node.target)


def operation_name(target: Any) -> str:
    if isinstance(target, str):
        return target
    if isinstance(target, torch._ops.OpOverload):
        return str(target._opname).removeprefix("_unsafe_")
    return str(getattr(target, "__name__", target))


def writes(node: fx.Node, parts: dict[str, Any]) -> bool:
    """Whether a node changes its first argument in place (always false in an exported, functional graph)."""
    if node.op.startswith("call") and node.kwargs.get("inplace") is True:
        return True
    if node.op == "call_module":
        return getattr(parts[str(node.target)], "inplace", False) is True
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    if node.op == "call_function":
        named = operation_name(node.target)
        return node.target in _IN_PLACE or (named.endswith("_") and not named.endswith("__"))
    return False


def lineage(node: fx.Node, parts: dict[str, Any]) -> Iterator[fx.Node]:
    """A node, and backwards the nodes whose storage its value may be."""
    shares = True
    while shares:
        yield node
        views = node.op.startswith("call") and operation(node, parts) in VIEWS | COPIES | _SAME_STORAGE
        shares = bool(node.args) and isinstance(node.args[0], fx.Node) and (views or writes(node, parts))
        node = node.args[0] if shares else node  # type: ignore[assignment]
