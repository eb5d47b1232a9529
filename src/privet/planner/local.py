"""The client's side of a plan: what its edge graph makes of examples, under ONNX Runtime and without torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from privet import run
from privet.errors import MissingExtra, RunError
from privet.payload import Array
from privet.runtime.edge import session_options


@dataclass(frozen=True)
class Local:
    """The client's side of a plan: its edge graph, and what it takes and asks for."""

    session: Any
    shape: tuple[int, ...]
    target: str
    digest: str
    read_as: dict[str, Any]
    data: str
    salt: str
    promised: str

    @classmethod
    def open(cls, folder: Path) -> Local:
        """RunError where the folder holds no plan, or not the edge that belongs to it."""
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("onnxruntime", "edge") from error
        try:
            told = run.unsealed(json.loads((folder / "plan.json").read_text(encoding="utf-8")))
            graph = (folder / "edge.onnx").read_bytes()
            shape, target, read_as = tuple(map(int, told["input_shape"])), str(told["target"]), dict(told["read_as"])
            given, found = told["limits"]["psnr"], told["verified"]["owner"]["mean"]
            learned = int(told["verified"]["public"])
            limit = "no limit on it" if given is None else f"the limit was {given:g}"
            promised = (
                f"{found:.1f} dB were drawn by decoders that do not know the network and learned from {learned:,} "
                f"public examples, {limit}"
            )
            data, salt = str(told["data"]), str(told["salt"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            why = "plan.json is no JSON" if isinstance(problem, json.JSONDecodeError) else problem
            raise RunError(
                f"{folder} holds no plan ({why}); put plan.json and edge.onnx back as they were written, or make "
                f"another with privet plan --out {folder}"
            ) from problem
        digest = hashlib.sha256(graph).hexdigest()
        if digest != told.get("edge"):
            raise RunError(f"edge.onnx in {folder} is not the one of plan.json; make the plan again")
        options = session_options()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        return cls(session, shape, target, digest, read_as, data, salt, promised)

    @property
    def released(self) -> tuple[int, ...]:
        """The shape of one person's features."""
        return tuple(self.session.get_outputs()[0].shape[1:])

    def features(self, x: Array) -> Array:
        """Released channels [B, ...] as float16 of pictures uint8 [B, C, H, W] or rows float32 [B, D]."""
        given = x.astype(np.float32) / 255 if x.dtype == np.uint8 else x
        z = self.session.run(None, {"x": given})[0]
        with np.errstate(over="ignore"):
            sent: Array = np.clip(z, -65504, 65504).astype(np.float16)
        return sent
