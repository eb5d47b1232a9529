"""The pool: feature extractors to choose from, each with what it was trained on.

What is public must be public: an extractor that has met the private pictures is refused, by the name of the data, by
its class names, or by the content of a single picture (Li et al. 2017 take networks trained on other data; a pool that
knows the answers would be circular)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn

from privet import models, run
from privet.data.corpus import Corpus
from privet.errors import DataError, ModelError, unknown
from privet.pretrained import layers, zoo
from privet.pretrained.layers import Chain, Normalize
from privet.pretrained.zoo import IMAGENET_DEVIATION, IMAGENET_MEAN, KNOWN, chain_of

TRAINED_ON = "trained_on"  # in the header of a safetensors file: names of data, separated by commas
PRIVATE = ("task_train", "task_val", "victim")  # roles whose people nobody else may have met
IDS = "ids"  # content hashes of the pictures, as JSON


@dataclass(frozen=True)
class Source:
    """A pretrained network to take layers from. `trained_on`: names of its data (empty: nobody says); `classes`: what
    it was to tell apart, where known; `ids`: content hashes of its pictures, where known."""

    name: str
    chain: Chain
    file: str
    trained_on: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    ids: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def identity(self) -> list[str]:
        """What it computes: its name, its weights, and the code that makes layers of them."""
        return [
            self.name,
            *(run.file_hash(Path(str(one))) for one in (self.file, layers.__file__, zoo.__file__, __file__)),
        ]

    @property
    def layers(self) -> list[str]:
        """Its layers in their order."""
        return self.chain.names

    def meets(self, corpus: Corpus) -> str:
        """Why it has met this corpus, or nothing."""
        if same := [name for name in self.trained_on if re.search(rf"{_plain(name)}(?![0-9])", _plain(corpus.name))]:
            return f"it was trained on {same[0]}, and the corpus is called {corpus.name!r}"
        own = {_plain(name) for name in corpus.classes[corpus.target]}
        if len(own) > 2 and own == {_plain(name) for name in self.classes}:
            return f"it was trained to tell apart the very classes of {corpus.target!r}"
        private = [id_ for role in PRIVATE if role in corpus.parts for id_ in corpus.parts[role].ids.tolist()]
        seen = len(self.ids.intersection(private))
        return f"{seen} of the corpus' examples are among those it was trained on" if seen else ""


def names(folder: str | Path) -> list[str]:
    """The extractors in a folder that we know how to read, in the order in which they are known; ModelError where there
    is no such folder or none in it."""
    if not Path(folder).is_dir():
        raise ModelError(f"there is no folder of pretrained networks at {str(folder)!r}; give one to --pool")
    found = [name for name in KNOWN if (Path(folder) / f"{name}.safetensors").is_file()]
    if not found:
        raise ModelError(
            f"the folder {str(folder)!r} holds no pretrained network that is known here; known: {', '.join(KNOWN)} "
            "(.safetensors). Others are given as --source torchvision:vgg16=FILE"
        )
    return found


def load(folder: str | Path | None, wanted: str, shape: tuple[int, ...]) -> Source:
    """One extractor for samples of this shape: the name of a file in the folder, or REFERENCE=FILE for a network that
    is a sequence of layers or a ResNet (a built-in name, `torchvision:vgg16`, `timm:resnet18`,
    `package.module:factory`).

    ModelError for unknown names and for weights that do not fit, by name and shape."""
    reference, equals, file = wanted.partition("=")
    if equals:
        return _given(reference, Path(file), shape)
    there = names(folder) if folder is not None else []
    found = [name for name in there if name == wanted] or [name for name in there if name.startswith(wanted)]
    if ":" in wanted:
        raise ModelError(f"the weights of {wanted} are needed; give --source {wanted}=FILE (.safetensors)")
    if not there:
        raise ModelError(
            f"no folder of pretrained networks to look for {wanted!r} in; give one to --pool, or leave --source out"
        )
    if len(found) != 1:
        raise ModelError(unknown("pretrained network", wanted, there))
    path = Path(str(folder)) / f"{found[0]}.safetensors"
    known = KNOWN[found[0]]
    chain = known.build()
    models.load_weights(chain, path, known.translate)
    chain.eval().requires_grad_(False)
    _, ids = _header(path)
    return Source(found[0], chain, str(path), known.trained_on, known.classes, ids)


def header(trained_on: Sequence[str], ids: Sequence[str]) -> dict[str, str]:
    """What a file of weights says of the data that they were trained on."""
    return {TRAINED_ON: ",".join(trained_on), IDS: json.dumps(sorted(ids))}


def usable(sources: Sequence[Source], corpus: Corpus) -> tuple[list[Source], dict[str, str]]:
    """Those that have not met the private corpus, and why the others are refused. DataError where none is left."""
    refused = {source.name: why for source in sources if (why := source.meets(corpus))}
    left = [source for source in sources if source.name not in refused]
    if not left:
        told = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise DataError(f"no pretrained network of the pool may serve here ({told}); give others to --pool or --source")
    return left, refused


def _given(reference: str, path: Path, shape: tuple[int, ...]) -> Source:
    trained_on, ids = _header(path)
    zoo = reference.startswith(("torchvision:", "timm:"))
    taken = (3, *shape[1:]) if zoo and len(shape) == 3 else shape
    try:
        model = models.load(reference, shape=taken, classes=_classes(path), weights=path)
    except ModelError:
        untrained = models.load(reference, shape=taken, classes=_classes(path))
        chain_of(untrained)  # says so where weights are not what is wrong
        raise
    chain = chain_of(model, colors=taken[0] if len(taken) == 3 else None)
    if zoo:  # timm says on what its weights were trained; all of torchvision's were on this
        told = getattr(model, "pretrained_cfg", None) or {"mean": IMAGENET_MEAN, "std": IMAGENET_DEVIATION}
        chain.first = nn.Sequential(Normalize(told["mean"], told["std"]), chain.first)
    return Source(reference, chain.eval().requires_grad_(False), str(path), trained_on, (), ids)


def _classes(path: Path) -> int:
    """How many classes a network was trained to tell apart: the rows of its last matrix."""
    with safe_open(str(path), "pt") as file:
        matrices = [key for key in file.keys() if len(file.get_slice(key).get_shape()) == 2]  # noqa: SIM118
        if not matrices:
            return 1000
        return int(file.get_slice(matrices[-1]).get_shape()[0])


def _header(path: Path) -> tuple[tuple[str, ...], frozenset[str]]:
    try:
        with safe_open(str(path), "pt") as file:
            told = file.metadata() or {}
    except (OSError, SafetensorError) as problem:
        raise ModelError(
            f"{str(path)!r} cannot be read as safetensors ({problem}); give a file of weights"
        ) from problem
    try:
        ids = frozenset(map(str, json.loads(told.get(IDS, "[]"))))
    except ValueError as problem:
        raise ModelError(f"the ids in the header of {str(path)!r} are no JSON; write them again") from problem
    return tuple(name.strip() for name in told.get(TRAINED_ON, "").split(",") if name.strip()), ids


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
