"""Fold a batch normalization into the matrix behind it, so that the obfuscator's projection costs the edge next to
nothing.

    W (a * v + c) + b = (W diag(a)) v + (b + W c),   a, c the normalization's scale and shift of each value

ONNX Runtime folds a normalization into the convolution in front of it, but not across a pooling, and not into a Gemm
behind a flattening. The export compares the folded graph with torch before it is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def fold(model: Any) -> bool:
    """Fold BatchNormalization -> (Reshape | Flatten) -> Gemm, or without the reshaping, in an ONNX ModelProto, in
    place; whether there was one. The matrix is stored by columns, which runs faster for one example.

    Nothing is changed where another node reads what stands between. A Reshape is taken for a flattening, so whoever
    folds compares the graphs."""
    from onnx import helper, numpy_helper

    graph = model.graph
    weights = {i.name: i for i in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output if name}
    for gemm in graph.node:
        found = _matched(gemm, makers, weights, graph)
        if found is None:
            continue
        normal, first = found
        scale, shift, mean, variance = (numpy_helper.to_array(weights[n]).astype(np.float64) for n in normal.input[1:5])
        epsilon = next((a.f for a in normal.attribute if a.name == "epsilon"), 1e-5)
        a = scale / np.sqrt(variance + epsilon)
        c = shift - mean * a
        matrix = numpy_helper.to_array(weights[gemm.input[1]]).astype(np.float64)  # [outputs, inputs]
        each = matrix.shape[1] // len(a)
        a, c = np.repeat(a, each), np.repeat(c, each)
        bias = numpy_helper.to_array(weights[gemm.input[2]]) if len(gemm.input) > 2 else np.zeros(len(matrix))
        _replace(graph, gemm, matrix * a, bias + matrix @ c)
        first.input[0] = normal.input[0]
        if first is gemm:
            gemm.input[0] = normal.input[0]
        else:  # the same for a matrix behind it, and quicker than a Reshape
            first.CopyFrom(helper.make_node("Flatten", [normal.input[0]], list(first.output), name=first.name, axis=1))
        graph.node.remove(normal)
        _sweep(graph)
        return True
    return False


def _matched(gemm: Any, makers: dict[str, Any], weights: dict[str, Any], graph: Any) -> tuple[Any, Any] | None:
    """The normalization in front of a plain Gemm with stored weights, and the node that reads it."""
    options = {a.name: (a.i, a.f) for a in gemm.attribute}
    plain = options.get("transA", (0, 0.0))[0] == 0 and all(
        options.get(name, (0, 1.0))[1] == 1.0 for name in ("alpha", "beta")
    )
    stored = all(name in weights for name in gemm.input[1:])
    if gemm.op_type != "Gemm" or not (plain and stored and options.get("transB", (0, 0.0))[0] == 1):
        return None
    first, node = gemm, makers.get(gemm.input[0])
    if node is not None and node.op_type in ("Reshape", "Flatten"):
        first, node = node, makers.get(node.input[0])
    if node is None or node.op_type != "BatchNormalization" or not all(n in weights for n in node.input[1:5]):
        return None
    between = {gemm.input[0], first.input[0]}
    readers = [n for n in graph.node for name in n.input if name in between]
    if len(readers) != len(between) or between & {o.name for o in graph.output}:
        return None
    inputs, channels = list(weights[gemm.input[1]].dims)[1], next(iter(weights[node.input[1]].dims))
    return (node, first) if inputs % channels == 0 else None


def _replace(graph: Any, gemm: Any, matrix: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]) -> None:
    from onnx import numpy_helper

    for place, name, values in ((1, "folded.weight", np.ascontiguousarray(matrix.T)), (2, "folded.bias", bias)):
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        if len(gemm.input) > place:
            gemm.input[place] = name
        else:
            gemm.input.append(name)
    for option in gemm.attribute:
        if option.name == "transB":
            option.i = 0


def _sweep(graph: Any) -> None:
    """Drop initializers that nobody reads."""
    read = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
    for unused in [i for i in graph.initializer if i.name not in read]:
        graph.initializer.remove(unused)
