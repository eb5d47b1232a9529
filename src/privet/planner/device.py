"""What an extractor costs on a device: milliseconds a picture, bytes of its weights, multiply-accumulates.

Milliseconds are those of ONNX Runtime on one thread, one picture a call, the median after a warm-up: what the edge
runs, where it runs. A device that is not this one is described by a file that `privet` wrote there (`Device.read`)."""

from __future__ import annotations

import json
import math
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from privet import cost, run
from privet.defense import Defended
from privet.defenses.none import RawObfuscator
from privet.errors import RunError, SpecError
from privet.pretrained.pool import Source
from privet.runtime import export
from privet.runtime.edge import session_options
from privet.setting import Report
from privet.split import Split

REPEAT, WARMUP = 30, 5
FORMAT = 2


@dataclass(frozen=True)
class Layer:
    """The first `layer` layers of a source with all channels: milliseconds, multiply-accumulates, bytes of weights.
    `least` are those of one released channel behind one inner filter of each layer: some of the time is none of
    work."""

    source: str
    layer: int
    name: str
    ms: float
    macs: int
    bytes: int
    least_ms: float
    least_macs: int


@dataclass(frozen=True)
class Device:
    """What was measured where, for pictures of one shape."""

    name: str
    shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    here: bool = True  # whether milliseconds can be measured again

    def ms(self, source: str, layer: int, macs: int) -> float:
        """Milliseconds of an extractor with so many multiply-accumulates, on the line through the least and the whole
        one of its layer; SpecError where the layer was not measured."""
        found = next((one for one in self.layers if (one.source, one.layer) == (source, layer)), None)
        if found is None:
            known = ", ".join(sorted({f"{one.source}:{one.layer}" for one in self.layers}))
            raise SpecError(
                f"the device {self.name!r} was not measured with layer {layer} of {source}; it knows {known}"
            )
        rate = max(0.0, found.ms - found.least_ms) / max(1, found.macs - found.least_macs)
        return found.least_ms + rate * max(0, macs - found.least_macs)

    def write(self, path: Path) -> None:
        """As JSON, to plan for this device elsewhere."""
        run.write_text(path, json.dumps({"format": FORMAT, **asdict(self)}, indent=1))

    @classmethod
    def read(cls, path: Path, shape: Sequence[int]) -> Device:
        """A device that was measured elsewhere. RunError where the file is no such thing, SpecError where it was
        measured with samples of another shape."""
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            rows = tuple(
                Layer(
                    str(r["source"]),
                    int(r["layer"]),
                    str(r["name"]),
                    float(r["ms"]),
                    int(r["macs"]),
                    int(r["bytes"]),
                    float(r["least_ms"]),
                    int(r["least_macs"]),
                )
                for r in told["layers"]
            )
            found = cls(str(told["name"]), tuple(map(int, told["shape"])), rows, here=False)
            if not rows or not all(0 < r.least_ms < math.inf and 0 < r.ms < math.inf and r.macs > 0 for r in rows):
                raise ValueError("no layer with its milliseconds and its work")
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise RunError(
                f"{path} is no profile of a device ({problem}); make one there with privet plan"
            ) from problem
        if found.shape != tuple(shape):
            raise SpecError(
                f"the device {found.name!r} was measured with samples of {list(found.shape)}, these are {list(shape)}; "
                "measure it with samples of this size"
            )
        return found


def measured(
    sources: Sequence[Source], layers: dict[str, list[int]], shape: tuple[int, ...], report: Report = None
) -> Device:
    """This device: every layer that is asked for, with all channels."""
    asked = [(source, m) for source in sources for m in layers[source.name]]
    rows = []
    for done, (source, m) in enumerate(asked):
        if report:
            report(f"timing {source.name}, layer {m}", done, len(asked))
        head, least = source.chain.head(m), narrowest(source, m)
        rows.append(
            Layer(
                source.name, m, source.layers[m - 1], milliseconds(head, shape), *weighed(head, shape),
                milliseconds(least, shape), weighed(least, shape)[0],
            )
        )  # fmt: skip
    return Device(f"{platform.node() or 'here'} ({platform.machine()})", tuple(shape), tuple(rows))


def narrowest(source: Source, m: int) -> nn.Sequential:
    """The first m layers with one filter each, as far as they may be left out."""
    one = torch.zeros(1, dtype=torch.int64)
    return source.chain.head(m, one, dict.fromkeys(source.chain.inner(m), one))


def weighed(head: nn.Module, shape: Sequence[int]) -> tuple[int, int]:
    """(multiply-accumulates a picture, bytes of weights) of an extractor as it ships."""
    return cost.macs(head, torch.zeros(1, *shape)), cost.parameter_bytes(head)


def milliseconds(head: nn.Module, shape: Sequence[int]) -> float:
    """The median of single pictures under ONNX Runtime on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "edge.onnx"
        export.export_edge(shipped(head, shape), path, tuple(shape), check_batch=(1,))
        options = session_options()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    x: dict[str, Any] = {"x": np.random.default_rng(0).random((1, *shape), dtype=np.float32)}
    return cost.latency_ms(lambda: session.run(None, x), REPEAT, WARMUP)


def shipped(head: nn.Module, shape: Sequence[int]) -> Defended:
    """An extractor as an edge: its representations travel as float16, and there is no server half yet."""
    with torch.no_grad():
        z = head.eval()(torch.zeros(1, *shape))
    sent = tuple(z.shape[1:])
    return Defended.of(
        Split(head, nn.Flatten(), "released", sent), RawObfuscator(sent),
        "an extractor that nobody was told of hides as much as was measured, and promises nothing",
    )  # fmt: skip
