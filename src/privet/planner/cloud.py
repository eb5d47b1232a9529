"""The cloud's side: learn the task from a release, without ever seeing an example it was made of.

    minimize  mean CE(h(z'_i), y_i)     h: PrivyNet's classification network (`icn`)

One row in ten is held out to choose the epoch, one to say how well it does. What comes out is the server's graph, which
takes what the edge releases."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet import models, run
from privet.auditing.estimate import Estimate, estimate, weights
from privet.defense import Defended
from privet.defenses.none import RawObfuscator
from privet.errors import DataError, RunError, SpecError
from privet.fitting import Course, Lesson, learn, outputs
from privet.nets import TELLING, Scale
from privet.payload import Array
from privet.planner import icn
from privet.runtime import export
from privet.setting import Report, usable
from privet.split import Split
from privet.train import Effort, one_thread

HELD = 10  # of so many rows one chooses the epoch, and one is judged on
FAR = 20 * TELLING  # where `Scale` cuts off
RATE, DECAY = 1e-3, 1e-2


@dataclass(frozen=True)
class Learned:
    """What the cloud learned: accuracy on rows held out, beside that of the most frequent class."""

    accuracy: Estimate
    majority: float
    rows: int
    classes: tuple[str, ...]
    epoch: int
    epochs: int

    def json(self) -> dict[str, Any]:
        """One object as `--json` prints it."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return plain | {"accuracy": self.accuracy.json(), "classes": list(self.classes)}


class Standing(nn.Module):
    """A network behind the scale that it was trained with: released channels [B, ...] to logits [B, K]."""

    mean: Tensor
    slope: Tensor

    def __init__(self, scale: Scale, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", scale.mean.clone())
        self.register_buffer("slope", 1 / scale.deviation)  # 0 where nothing varies

    def forward(self, z: Tensor) -> Tensor:
        return self.network(((z - self.mean) * self.slope).clamp(-FAR, FAR))  # type: ignore[no-any-return]


def fit(
    release: Path, out: Path, *, effort: str = "standard", seed: int = 0, device: str = "cpu", report: Report = None
) -> Learned:
    """Train on a folder of shards and write `server.onnx` and `server.safetensors`.

    Raises RunError where the folder holds no release, DataError where it has too few rows or one class, SpecError for
    a negative seed or a device that is not there."""
    if seed < 0:
        raise SpecError(f"the seed is {seed}; give a whole number from 0 on")
    usable(device)
    z, y, told = read(release)
    classes, shape = tuple(map(str, told["classes"])), tuple(map(int, told["shape"]))
    if len(np.unique(y)) < 2 or len(y) < 3 * HELD:
        raise DataError(f"the release has {len(y)} rows of {len(np.unique(y))} classes; release more")
    order = np.random.default_rng([seed, 3]).permutation(len(y))
    test, val, train = np.split(order, [len(y) // HELD, 2 * (len(y) // HELD)])
    given = {name: torch.from_numpy(z[rows].astype(np.float32)).reshape(-1, *shape) for name, rows in
             (("train", train), ("val", val), ("test", test))}  # fmt: skip
    asked = {name: torch.from_numpy(y[rows]) for name, rows in (("train", train), ("val", val), ("test", test))}
    settings = Effort.named(effort)
    epochs, patience = settings.attack_schedule("attribute", len(train))
    scale = Scale.of(given["train"], asked["train"])
    features = {name: scale(part) for name, part in given.items()}

    def tick(done: int) -> None:
        if report:
            report("learning from the release", done, epochs)

    lesson = Lesson(lambda epoch: features["train"], asked["train"], features["val"], asked["val"], F.cross_entropy)
    with one_thread():
        network, _, at = learn(
            lambda: icn.network(shape, len(classes)), lesson, Course(RATE, DECAY, epochs, patience, settings.batch),
            start=seed, order=seed, device=device, tick=tick,
        )  # fmt: skip
        said = outputs(network, features["test"], device).argmax(1).numpy()
        server = Standing(scale, network.cpu()).eval()
        write(server, shape, out)
    right = said == y[test]
    drawn = weights(np.arange(len(test)), 400, seed=0)
    found = estimate([drawn @ right.astype(np.float64) / drawn.sum(1)], len(test), (0, 1), len(test))
    most = float(np.bincount(y[test]).max() / len(test))
    made = Learned(found, most, len(y), classes, at, epochs)
    run.write_text(out / "cloud.json", json.dumps(made.json(), indent=1))
    return made


def read(release: Path) -> tuple[Array, Array, dict[str, Any]]:
    """Features float16 [N, P], labels int64 [N] and release.json; RunError where these are no release, or not whole."""
    try:
        told = run.unsealed(json.loads((release / "release.json").read_text(encoding="utf-8")))
        paths = [release / f"part-{i:05d}.parquet" for i in range(int(told["shards"]))]
        if missing := [path.name for path in paths if not path.is_file()]:
            raise RunError(f"{release} lacks {missing[0]}; run the same privet release again, which writes it")
        tables = [pq.read_table(path, page_checksum_verification=True) for path in paths]
        table = pa.concat_tables(tables)
        width = int(np.prod(told["shape"]))
        flat = table["z"].combine_chunks()
        z = flat.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        y = table["label"].to_numpy().astype(np.int64)
        whole = len(y) == int(told["rows"]) and np.isfinite(z).all() and y.min() >= 0 and y.max() < len(told["classes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as problem:
        raise RunError(f"{release} holds no release ({problem}); make one with privet release") from problem
    if not whole:
        raise RunError(f"the release in {release} is not whole; make it again with privet release")
    return z, y, told


def write(server: nn.Module, shape: tuple[int, ...], out: Path) -> None:
    """The server's half as ONNX, which takes the field `z`, and its weights."""
    run.ensure(out)
    split = Split(nn.Identity(), server, "released", shape)
    export.export_server(Defended.of(split, RawObfuscator(shape), "trained on a release"), out / "server.onnx")
    os.chmod(out / "server.onnx", 0o644)
    with run.writing(out / "server.safetensors"):
        models.save_weights(server, out / "server.safetensors")
