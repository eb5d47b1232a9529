"""Both halves as ONNX graphs that any runtime can host: dynamic batch, weights inside the file, noise as inputs.

    edge     x, noise ...  -> one tensor per field of the signature
    server   fields ...    -> logits

A graph that draws its own randomness is refused: two fresh ONNX Runtime sessions replay the same stream, so such noise
hides nothing. Every export is run by ONNX Runtime and compared with torch before it is written.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from privet.defense import Defended
from privet.errors import MissingExtra, ModelError
from privet.payload import Array, Noise
from privet.runtime.edge import session_options
from privet.runtime.fuse import fold

OPSET = 18
TOLERANCE = 1e-4  # of the largest value, before the cast to the wire's dtype
TRACED_BATCH = 3  # not 1: torch.export would take a batch of one for a constant
LARGEST = 2**31 - 2**24  # protobuf ends at 2 GiB
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
)
OWN_DOMAINS = frozenset({"", "ai.onnx"})


@dataclass(frozen=True)
class Graph:
    """What to export: a module, its inputs (True: the batch comes first), its outputs, its example inputs."""

    what: str
    module: nn.Module
    inputs: dict[str, bool]
    outputs: dict[str, tuple[int, ...] | None]
    feed: Callable[[int], tuple[Array, ...]]


def export_edge(
    defended: Defended,
    path: str | os.PathLike[str],
    example_shape: Sequence[int],
    *,
    check_batch: Sequence[int] = (1, 5),
) -> None:
    """Write the edge half: inputs `x` [B, *example_shape] float32 and one per declared noise, outputs as the fields.

    Noise that a batch shares has the first dimension 1. Raises ModelError where the graph cannot be exported, holds a
    random node, or differs from torch by more than 1e-4 of the largest value at a batch size in `check_batch`.
    """
    obfuscator = defended.obfuscator
    shape = tuple(example_shape)
    outputs: dict[str, tuple[int, ...] | None] = {f.name: f.shape for f in obfuscator.signature}
    inputs = {"x": True, **{n.name: n.per == "sample" for n in obfuscator.noise}}
    if len({*inputs, *outputs}) != 1 + len(obfuscator.noise) + len(obfuscator.signature):
        given = ["x", *(n.name for n in obfuscator.noise), *(f.name for f in obfuscator.signature)]
        raise ModelError(f"the input x, the noises and the fields each need a name of their own, got {given}")

    def feed(batch: int) -> tuple[Array, ...]:
        generator = np.random.default_rng(batch)
        x = generator.random((batch, *shape), dtype=np.float32)
        return x, *(_stand_in(n, batch, generator) for n in obfuscator.noise)

    _export(Graph("edge", defended.edge_half, inputs, outputs, feed), Path(path), check_batch)


def export_server(defended: Defended, path: str | os.PathLike[str], *, check_batch: Sequence[int] = (1, 5)) -> None:
    """Write the server half, `decode` fused in: one float32 input per field (bits as 0 and 1), output `logits` [B, K].

    Raises ModelError as `export_edge` does.
    """
    obfuscator = copy.deepcopy(defended.obfuscator).cpu().eval()
    inputs = {f.name: True for f in obfuscator.signature}
    if "logits" in inputs:
        raise ModelError("a field is named 'logits', as the server's output is; give it another name")

    @torch.no_grad()
    def feed(batch: int) -> tuple[Array, ...]:
        generator = np.random.default_rng(batch)
        shape = obfuscator.takes or defended.split.shape
        z = torch.from_numpy(generator.standard_normal((batch, *shape), dtype=np.float32))
        noise = (torch.from_numpy(_stand_in(n, batch, generator)) for n in obfuscator.noise)
        return tuple(t.float().numpy() for t in obfuscator.encode(z, *noise))

    _export(Graph("server", defended.server_half, inputs, {"logits": None}, feed), Path(path), check_batch)


def random_nodes(model: Any) -> list[str]:
    """Names of the operators of an ONNX ModelProto that draw random numbers, in functions and subgraphs too."""
    constants = {i.name: i for i in model.graph.initializer}
    return [node.op_type for node in _nodes(model) if node.op_type in RANDOM or _trains(node, constants)]


def _export(graph: Graph, path: Path, check_batch: Sequence[int]) -> None:
    """Trace, inspect, clean, compare, write; the file appears only when all of that went well."""
    try:
        import onnx
        import onnxscript  # noqa: F401 - the exporter needs it and says so less clearly
    except ImportError as error:
        raise MissingExtra("onnxscript", "lab") from error
    module = copy.deepcopy(graph.module).cpu().eval()
    size = sum(t.numel() * t.element_size() for t in module.state_dict().values())
    if size > LARGEST:
        raise ModelError(
            f"the {graph.what} half has {size} bytes of weights; one ONNX file holds {LARGEST}: cut elsewhere"
        )
    model = _trace(graph, module)
    if drawn := random_nodes(model):
        raise ModelError(
            f"the {graph.what} half draws random numbers in its graph ({', '.join(drawn)}); "
            "declare them in the obfuscator's `noise` and take them as inputs of `encode`"
        )
    defined = {(f.domain, f.name) for f in model.functions}
    foreign = {(n.domain, n.op_type) for n in _nodes(model) if n.domain not in OWN_DOMAINS} - defined
    if foreign:
        named = ", ".join(sorted(f"{domain}.{op}" for domain, op in foreign))
        raise ModelError(f"the {graph.what} half needs operators outside ONNX ({named}); rewrite it with standard ones")
    _clean(model)
    plain = model.SerializeToString(deterministic=True)
    data = model.SerializeToString(deterministic=True) if fold(model) else plain
    onnx.checker.check_model(data)
    try:
        _compare(graph, module, data, check_batch)
    except ModelError:
        if data == plain:
            raise
        data = plain  # what was folded was no flattening
        _compare(graph, module, data, check_batch)
    _write(path, data)


def _trace(graph: Graph, module: nn.Module) -> Any:
    batch = torch.export.Dim("batch")
    spec = [{0: batch} if first else {} for first in graph.inputs.values()]
    example = tuple(torch.from_numpy(value) for value in graph.feed(TRACED_BATCH))
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                dynamic_shapes=_shapes(module, spec),
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                opset_version=OPSET,
                verbose=False,
            )
            if program is None:
                raise ModelError(f"the exporter gave no graph for the {graph.what} half")
            return program.model_proto
    except (RuntimeError, ValueError, TypeError) as error:
        why = str(error.__cause__ or error).strip().splitlines()[0][:300]
        raise ModelError(f"the {graph.what} half cannot be exported to ONNX with a dynamic batch: {why}") from error


def _shapes(module: nn.Module, flat: list[dict[int, Any]]) -> tuple[Any, ...]:
    """One entry per parameter of forward; `*args` is one entry that holds a tuple, absent where that is empty."""
    kinds = [p.kind for p in inspect.signature(module.forward).parameters.values()]
    named = sum(kind is not inspect.Parameter.VAR_POSITIONAL for kind in kinds)
    rest = tuple(flat[named:])
    return (*flat[:named], rest) if rest else tuple(flat)


def _compare(graph: Graph, module: nn.Module, data: bytes, batches: Sequence[int]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, session_options(), providers=["CPUExecutionProvider"])
    for batch in batches:
        feed = graph.feed(batch)
        with torch.no_grad():
            found = module(*(torch.from_numpy(value) for value in feed))
        wanted = [t.float().numpy() for t in (found if isinstance(found, tuple) else (found,))]
        got = session.run(list(graph.outputs), dict(zip(graph.inputs, feed, strict=True)))
        for (name, shape), ours, theirs in zip(graph.outputs.items(), wanted, got, strict=True):
            expected = (batch, *(shape if shape is not None else ours.shape[1:]))
            if not ours.shape == theirs.shape == expected:
                raise ModelError(
                    f"output {name!r} of the {graph.what} half has shape {ours.shape} in torch and {theirs.shape} "
                    f"in ONNX at batch {batch}, it should be {expected}; encode must keep the batch first"
                )
            error = float(np.abs(ours - theirs).max())
            if not error <= TOLERANCE * max(1.0, float(np.abs(ours).max())):  # also when it is not a number
                raise ModelError(
                    f"output {name!r} of the exported {graph.what} half differs from torch by {error:.2g} at batch "
                    f"{batch} (limit {TOLERANCE:g} of the largest); it must be finite and deterministic in eval mode"
                )


def _stand_in(noise: Noise, batch: int, generator: np.random.Generator) -> Array:
    """Noise good enough to compare two runtimes; exact laws are replaced by rounded normal draws."""
    if noise.law in ("normal", "uniform"):
        return noise.draw(batch, generator)
    size = (batch if noise.per == "sample" else 1, *noise.shape)
    return np.rint(3 * generator.standard_normal(size)).astype(np.float32)


def _nodes(model: Any) -> Iterator[Any]:
    """Every node: of the graph, of its functions, and of the graphs inside attributes."""
    stack = [*model.graph.node, *(node for f in model.functions for node in f.node)]
    while stack:
        node = stack.pop(0)
        yield node
        for attribute in node.attribute:
            stack += [*attribute.g.node, *(inner for g in attribute.graphs for inner in g.node)]


def _trains(node: Any, constants: dict[str, Any]) -> bool:
    """Whether this is a Dropout that is not plainly switched off."""
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    switch = constants.get(node.input[2])
    return switch is None or any(switch.raw_data) or any(switch.int32_data)


def _clean(model: Any) -> None:
    """Drop the exporter's notes: stack traces and source paths of the machine that exported."""
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer]
    for item in (model, model.graph, *model.functions, *_nodes(model), *values):
        item.ClearField("doc_string")
        item.ClearField("metadata_props")


def _write(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints, warns and logs; none of it helps the user."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        sink = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
