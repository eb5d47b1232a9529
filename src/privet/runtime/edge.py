"""The edge at work: a bundle's edge graph under ONNX Runtime. Runs without torch.

Noise comes from the operating system: every payload gets a generator of its own, seeded with 128 fresh bits, so
processes that were forked from one another never repeat each other's noise.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from typing import Any

import numpy as np

from privet.errors import DataError, MissingExtra, RunError
from privet.payload import Array, Payload
from privet.runtime import bundle as bundles


class Edge:
    """x -> payload, checked against the bundle's manifest before every call."""

    def __init__(self, bundle_dir: str | os.PathLike[str]) -> None:
        """Verify the bundle and load its edge graph. Raises RunError, or MissingExtra without onnxruntime."""
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("onnxruntime", "edge") from error
        self.bundle = bundles.open(bundle_dir)
        self.signature, self.noise = self.bundle.signature, self.bundle.noise
        options = session_options()
        graph = self.bundle.read("edge.onnx")
        try:
            self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base of their own
            raise RunError(f"edge.onnx cannot be loaded by ONNX Runtime; {bundles.ANEW}") from error
        wanted = {"x": (True, self.bundle.input_shape), **{n.name: (n.per == "sample", n.shape) for n in self.noise}}
        fields = {f.name: (True, f.shape) for f in self.signature}
        if _forms(self.session.get_inputs()) != wanted or _forms(self.session.get_outputs()) != fields:
            raise RunError(f"edge.onnx does not take the inputs or give the fields of its manifest; {bundles.ANEW}")

    def payload(self, x: Array, *, noise_seed: int | None = None) -> Payload:
        """x [B, *input] as float32 in [0, 1] or, for pictures, uint8 -> the payload that travels.

        `noise_seed` replays noise in tests; leave it out in service: whoever knows it can take the noise away.
        Raises DataError where x has another dtype, shape or range, PayloadError where the edge computes NaN.
        """
        feeds = {"x": self._input(np.asarray(x))}
        seed = secrets.randbits(128) if noise_seed is None else noise_seed
        generator = np.random.Generator(np.random.PCG64DXSM(seed))
        feeds |= {n.name: n.draw(len(x), generator) for n in self.noise}
        names = [f.name for f in self.signature]
        return Payload.pack(self.signature, dict(zip(names, self.session.run(names, feeds), strict=True)))

    def _input(self, x: Array) -> Array:
        shape, kind = self.bundle.input_shape, self.bundle.manifest["input"]["kind"]
        if x.shape[1:] != shape or x.ndim != len(shape) + 1 or not len(x):
            raise DataError(f"x has shape {x.shape}; this edge takes [B, {', '.join(map(str, shape))}], B at least 1")
        if kind == "image" and x.dtype == np.uint8:
            return x.astype(np.float32) / np.float32(255)
        if x.dtype != np.float32:
            also = " or uint8" if kind == "image" else ""
            raise DataError(f"x is {x.dtype}; this edge takes float32 in [0, 1]{also}")
        if not (np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1):
            raise DataError("x has values outside [0, 1] or not finite; scale it as the training data was scaled")
        return x


def session_options() -> Any:
    """How an edge runs: silent, and without a second, packed copy of its weights. Packing serves many examples at once;
    for one person a call it takes memory, and a thin matrix such as a projection to 8 coefficients runs slower."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def _forms(values: Iterable[Any]) -> dict[str, tuple[bool, tuple[int, ...]]]:
    """Name -> (whether the first dimension is free, the others), for float tensors; a fixed batch is never run."""
    return {
        v.name: (isinstance(v.shape[0], str), tuple(v.shape[1:]))
        for v in values
        if v.type == "tensor(float)" and v.shape
    }
