"""Bytes on the wire at equal accuracy: what packed DISCO sends, against raw features and against the picture as JPEG.

    python benchmarks/payload_bytes.py [DATA TARGET HIDDEN [LIMIT]]     # without arguments: the embedded digits

One JSON line for each method and one for the comparison. Accuracy is chosen on task_val: the fewest bytes that lose at
most two points against the undefended network; that of the victims stands beside it. `file_bytes` is what libjpeg needs
on average for the same pictures at the same quality (colors at full resolution), whose lengths differ from person to
person; `bytes` is a payload of one length for everybody."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from privet import trained
from privet.auditing import wire
from privet.auditing.threat import Threat
from privet.data.corpus import Corpus, Part
from privet.defense import parse
from privet.schedule import Source
from privet.setting import Setting
from privet.train import Effort

LOST = 0.02
RATIOS, QUALITIES = ("0.5", "0.75", "0.9", "0.97"), (2, 5, 10, 25, 50)
RAW = "none"


@dataclass(frozen=True)
class Point:
    """One operating point."""

    what: str
    bytes: int
    task_val: float
    victims: float
    file_bytes: float | None = None


def points(corpus: Corpus, effort: Effort) -> list[Point]:
    """Every method, fitted on the same network."""
    setting = Setting("cnn3", "block3", effort=effort.name)
    model = trained.task_model(setting, corpus, 0, None)
    found = []
    names = [RAW, *(f"disco:ratio={r}" for r in RATIOS), *(f"jpeg:quality={q}" for q in QUALITIES)]
    for number, name in enumerate(names):
        print(f"{number + 1} of {len(names)}: {name}", file=sys.stderr)
        split = trained.cut(model, setting, corpus)
        defended = parse(name).fit(split, corpus, effort=effort, seed=0)
        seen = wire.observe(defended, corpus, Threat.named("server"), 0)
        right = float((seen.answers["victim"] == corpus.victim.y).mean())
        files = jpeg_bytes(corpus.victim, int(name.partition("=")[2])) if name.startswith("jpeg") else None
        chosen = wire.owner_accuracy(defended, corpus, 0)
        found.append(Point(name, defended.payload_bytes, chosen, right, files))
    return found


def jpeg_bytes(part: Part, quality: int) -> float:
    """Mean size of libjpeg's files."""
    sizes = []
    for picture in part.x[:500]:
        stream = io.BytesIO()
        pixels = picture.transpose(1, 2, 0) if len(picture) == 3 else picture[0]
        Image.fromarray(np.ascontiguousarray(pixels)).save(
            stream, "JPEG", quality=quality, subsampling=0, optimize=True
        )
        sizes.append(len(stream.getvalue()))
    return float(np.mean(sizes))


def main() -> None:
    data, target, hidden, limit, *_ = [*sys.argv[1:], *[None] * 4]
    source = Source(data or "digits", target, (hidden,) if hidden else (), limit=int(limit) if limit else None)
    corpus = source.load(None)
    found = points(corpus, Effort.named("standard"))
    for point in found:
        print(json.dumps(asdict(point)))
    raw = found[0]
    reached = [p for p in found if p.task_val >= raw.task_val - LOST]
    ours = min((p for p in reached if p.what.startswith("disco")), key=lambda p: p.bytes, default=None)
    picture = min((p for p in reached if p.what.startswith("jpeg")), key=lambda p: p.bytes, default=None)
    for name, other, size in (
        ("raw features", raw, raw.bytes),
        ("JPEG at one length", picture, picture.bytes if picture else 0),
        ("JPEG files", picture, picture.file_bytes if picture else 0),
    ):
        if ours is None or other is None:
            print(json.dumps({"what": f"bytes of DISCO over {name}", "missing": "none within two points"}))
            continue
        what = f"bytes of {ours.what} ({100 * ours.victims:.1f} %) over {name} ({100 * other.victims:.1f} %)"
        print(json.dumps({"what": what, "ours": ours.bytes, "baseline": size, "ratio": ours.bytes / (size or 1)}))


if __name__ == "__main__":
    main()
