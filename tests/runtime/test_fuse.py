"""The folded graph computes what the plain one does, and is left alone where it may not be folded."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from privet.runtime.fuse import fold

generator = np.random.default_rng(0)
STATISTICS = {"scale": 1.5, "shift": -0.5, "mean": 0.7, "var": 2.0}


def graph(*, reshape: bool = True, bias: bool = True, kind: str = "Gemm", spy: bool = False, trans: int = 1) -> Any:
    """x [B, 3, 2, 2] (or [B, 12]) -> BatchNormalization -> (Reshape) -> Gemm -> y [B, 5]."""
    shape = [None, 3, 2, 2] if reshape else [None, 12]
    channels = 3 if reshape else 12
    values = {n: (v * (0.5 + generator.random(channels))).astype(np.float32) for n, v in STATISTICS.items()}
    weight = generator.normal(size=(5, 12)).astype(np.float32)
    values["weight"] = weight if trans else weight.T.copy()
    values["bias"] = generator.normal(size=5).astype(np.float32)
    values["to"] = np.array([-1, 12])
    nodes = [helper.make_node("BatchNormalization", ["x", "scale", "shift", "mean", "var"], ["n"], epsilon=1e-3)]
    last = "n"
    if reshape:
        nodes.append(helper.make_node("Reshape", ["n", "to"], ["flat"]))
        last = "flat"
    if kind == "Gemm":
        nodes.append(helper.make_node("Gemm", [last, "weight", *(["bias"] if bias else [])], ["y"], transB=trans))
    else:
        nodes.append(helper.make_node("Relu", [last], ["y"]))
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * (4 if kind == "Relu" and not reshape else 2))
    ]
    if spy:
        outputs.append(helper.make_tensor_value_info(last, TensorProto.FLOAT, [None, 12]))
    stored = [numpy_helper.from_array(v, n) for n, v in values.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    whole = helper.make_graph(nodes, "g", inputs, outputs, stored)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: Any, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(["y"], {"x": x})[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("reshape", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_folded_is_the_same_function(reshape: bool, bias: bool) -> None:
    model = graph(reshape=reshape, bias=bias)
    x = generator.normal(size=(4, 3, 2, 2) if reshape else (4, 12)).astype(np.float32)
    before = run(model, x)
    assert fold(model)
    onnx.checker.check_model(model)
    assert [n.op_type for n in model.graph.node] == (["Flatten", "Gemm"] if reshape else ["Gemm"])
    assert {i.name for i in model.graph.initializer} == {"folded.weight", "folded.bias"}
    np.testing.assert_allclose(run(model, x), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fault", [{"kind": "Relu"}, {"spy": True}, {"trans": 0}])
def test_what_may_not_be_folded_is_left_alone(fault: dict[str, Any]) -> None:
    """Another reader, another operator, another layout: the graph stays as it was."""
    model = graph(**fault)
    before = model.SerializeToString()
    assert not fold(model)
    assert model.SerializeToString() == before
