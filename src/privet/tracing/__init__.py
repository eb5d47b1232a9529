"""Follow a model once and write down what every module returned: the ground that `split` stands on.

Two tracers fill one noun, `Traced`:

    fx       symbolic tracing. Keeps submodules, so that halves still train and follow .train() and .eval().
    export   torch.export in eval mode with a dynamic batch. Follows Python control flow; the mode is baked in.

Both name values by the path of the module that returned them, so a cut has the same name whichever tracer ran. To
that end export looks into the same modules as fx: layers of torch.nn are one piece, `Sequential` and
`TransformerEncoder` are not.
A tracer that was misled is not believed: the graph is run at two batch sizes and compared with the model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn

from privet.errors import ModelError
from privet.tracing.exported import follow_export
from privet.tracing.nouns import PROBES, CannotTrace, Followed, Seen, Traced, first_line, sketch
from privet.tracing.symbolic import follow_fx


def trace(model: nn.Module, example: torch.Tensor, tracer: str = "auto") -> Traced:
    """Trace a model that maps one tensor [B, ...] to one tensor [B, ...]; the caller's model is left alone.

    Raises CannotTrace with the reason of each tracer tried, ModelError where the model does not accept the example."""
    follow = {"fx": follow_fx, "export": follow_export}
    probes = [_probe(example, size) for size in PROBES]
    truth = _run(sketch(model), probes)
    problems = []
    for name in follow if tracer == "auto" else [tracer]:
        try:
            followed = _trim(follow[name](sketch(model), probes[0]))
            seen = _check(followed, probes, truth)
        except CannotTrace as problem:
            problems.append(f"{name}: {problem}")
        else:
            return Traced(
                name, followed.graph, followed.calls, followed.parts, seen, probes[-1], truth[-1], model.training
            )
    raise CannotTrace("; ".join(problems))


def assemble(parts: dict[str, Any], graph: fx.Graph) -> fx.GraphModule:
    """A module that owns the parts which the graph names, and no others, in the order in which they run."""
    shelf = nn.Module()  # GraphModule takes a dictionary too, but orders it by depth
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            *parents, name = str(node.target).split(".")
            place = shelf
            for parent in parents:
                if not hasattr(place, parent):
                    place.add_module(parent, nn.Module())
                place = getattr(place, parent)
            part = parts[str(node.target)]
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                if getattr(place, name, None) is not part:
                    place.register_buffer(name, part)
            else:
                setattr(place, name, part)
    return fx.GraphModule(shelf, graph)


@contextlib.contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Eval mode and no gradient inside; every submodule's own mode is restored after."""
    modes = [(m, m.training) for module in modules for m in module.modules()]
    try:
        for module in modules:
            module.eval()
        with torch.no_grad():
            yield
    finally:
        for m, mode in modes:
            m.training = mode


def _probe(example: torch.Tensor, size: int) -> torch.Tensor:
    """A batch like the example: random where it holds real numbers, its own rows where it holds codes."""
    if example.ndim == 0 or not len(example):
        raise ModelError(f"an example of shape {tuple(example.shape)} was given; wanted [B, ...] with at least one row")
    if not example.is_floating_point():
        return example[torch.arange(size, device=example.device) % len(example)]
    noise = torch.rand(size, *example.shape[1:], generator=torch.Generator().manual_seed(size))
    return noise.to(example)


def _run(model: nn.Module, probes: list[torch.Tensor]) -> list[torch.Tensor]:
    """The model's outputs in eval mode."""
    try:
        with evaluating(model):
            outputs = [model(x.clone()) for x in probes]
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as problem:
        raise ModelError(
            f"the model does not accept inputs of shape {list(probes[0].shape)} ({first_line(problem)}); "
            "give an example of the shape it was made for"
        ) from problem
    for x, y in zip(probes, outputs, strict=True):
        if not isinstance(y, torch.Tensor) or y.shape[:1] != x.shape[:1]:
            raise ModelError("the model must return one tensor with the batch first; wrap it in a module that does")
    return outputs


def _trim(followed: Followed) -> Followed:
    """Keep the input and what the output needs: asserts, unused heads and spare arguments go."""
    output = next(node for node in reversed(followed.graph.nodes) if node.op == "output")
    value = output.args[0][0] if isinstance(output.args[0], (tuple, list)) else output.args[0]
    if not isinstance(value, fx.Node):
        raise CannotTrace("the output does not depend on the input")
    keep, stack = {value}, [value]
    while stack:
        for node in stack.pop().all_input_nodes:
            if node not in keep:
                keep.add(node)
                stack.append(node)
    inputs = [node for node in keep if node.op == "placeholder"]
    if len(inputs) != 1:
        raise CannotTrace(f"the output depends on {len(inputs)} inputs, not on one")
    graph = fx.Graph()
    new: dict[fx.Node, fx.Node] = {}
    for node in followed.graph.nodes:
        if node in keep:
            new[node] = graph.node_copy(node, new.__getitem__)
    graph.output(new[value])
    calls = {
        path: [tuple(new[node] for node in returned if node in new) for returned in all_returned]
        for path, all_returned in followed.calls.items()
    }
    return Followed(graph, calls, followed.parts)


class _Watch(fx.Interpreter):
    """Runs a graph and remembers what each node gave, tensors as `Seen`."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self.seen[n.name] = _glimpse(result)
        return result


def _glimpse(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return Seen(tuple(value.shape), value.dtype)
    if isinstance(value, (tuple, list)):
        return tuple(_glimpse(v) for v in value)
    return value


def _check(followed: Followed, probes: list[torch.Tensor], truth: list[torch.Tensor]) -> dict[fx.Node, tuple[Any, ...]]:
    """Run the graph at every probe, refuse it where it differs from the model, return what each node gave."""
    module = assemble(followed.parts, followed.graph)
    watches = [_Watch(module) for _ in probes]
    for watch, x, wanted in zip(watches, probes, truth, strict=True):
        try:
            with evaluating(module):
                y = watch.run(x.clone())
        except Exception as problem:  # whatever the model's own code raises when it is run node by node
            raise CannotTrace(f"what was traced does not run ({first_line(problem)})") from problem
        if not same(y, wanted):
            raise CannotTrace("what was traced computes something else than the model")
    return {node: tuple(w.seen[node.name] for w in watches) for node in followed.graph.nodes if node.op != "output"}


def same(y: Any, wanted: torch.Tensor) -> bool:
    """Equal up to the rounding that another kernel for the same operation may bring."""
    return (
        isinstance(y, torch.Tensor)
        and y.shape == wanted.shape
        and torch.allclose(y, wanted, rtol=1e-4, atol=1e-5, equal_nan=True)
    )
