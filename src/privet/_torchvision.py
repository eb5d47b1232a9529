"""Let torchvision be imported where its compiled extension does not fit the installed torch.

A torchvision built for CUDA fails on a CPU build of torch with `operator torchvision::nms does not exist`, and whatever
imports it fails too. Declaring the schemas of the missing operators is enough for the models; detection's non-maximum
suppression and `torchvision.io` stay unavailable then. Nothing is changed where the extension loads."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_kept: list[torch.library.Library] = []  # declarations live as long as their library object


def prepare_torchvision() -> bool:
    """Make the first `import torchvision` (or timm) work; returns whether schemas had to be declared."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None or _kept or hasattr(torch.ops.torchvision, "nms"):
        return False
    for extension in sorted(Path(found.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(str(extension))  # type: ignore[no-untyped-call]
        except (OSError, ImportError):
            continue
        if hasattr(torch.ops.torchvision, "nms"):
            return False
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(operator + _SCHEMA)  # type: ignore[no-untyped-call]
    _kept.append(library)
    return True
