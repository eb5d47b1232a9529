"""A model by reference: a built-in name, `package.module:factory`, `file.py:factory`, `torchvision:NAME`, `timm:NAME`.

Built-in names are the functions of `privet.architectures`. Weights are safetensors, never pickles. Initialization
depends on the seed alone, not on the global generator."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from privet._torchvision import prepare_torchvision
from privet.architectures import BUILT_IN
from privet.errors import MissingExtra, ModelError, PrivetError, unknown


def default_model(kind: str, shape: tuple[int, ...]) -> tuple[str, str]:
    """The built-in network and the cut that suit a corpus of kind "image" or "table" with samples of this shape.

    Both cuts are the input of a linear layer. Pictures below 8 px take the perceptron."""
    if kind == "image" and len(shape) == 3 and min(shape[1:]) >= 8:
        return "cnn3", "flatten"
    if kind in ("image", "table"):
        return "mlp", "fc1"
    raise ModelError(
        f"no default model for data of kind {kind!r}; wanted 'image' or 'table', or give a model reference"
    )


# Loading ------------------------------------------------------------------------------------------------------------


def load(
    reference: str, *, shape: tuple[int, ...], classes: int, weights: Path | None = None, seed: int = 0
) -> nn.Module:
    """Build the model that a reference names for samples of `shape` and K `classes`, [B, *shape] -> [B, K].

    The same seed gives the same initial weights. Raises ModelError for an unknown reference, a factory that gives no
    such model, or weights that do not fit, and MissingExtra where torchvision or timm is absent."""
    factory = resolve(reference)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _build(reference, factory, shape, classes)
    _check_output(reference, model, shape, classes)
    if weights is not None:
        load_weights(model, weights)
        _check_output(reference, model, shape, classes)
    return model


def resolve(reference: str) -> Callable[..., Any]:
    """The factory that a reference names; raises ModelError or MissingExtra."""
    source, colon, name = reference.rpartition(":")
    if not colon:
        if reference not in BUILT_IN:
            raise ModelError(
                unknown("model", reference, BUILT_IN) + ", package.module:factory, torchvision:NAME, timm:NAME"
            )
        return BUILT_IN[reference]
    if source in ("torchvision", "timm"):
        return _zoo(source, name)
    if not source or not name or source.startswith("."):
        raise ModelError(
            f"{reference!r} is not a model reference; give a built-in name, package.module:factory or file.py:factory"
        )
    module = _from_file(Path(source)) if source.endswith(".py") else _from_package(source)
    factory = getattr(module, name, None)
    if not callable(factory):
        names = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise ModelError(unknown(f"factory in {source}", name, names))
    return factory  # type: ignore[no-any-return]


def _zoo(package: str, name: str) -> Callable[..., nn.Module]:
    prepare_torchvision()
    try:
        zoo = importlib.import_module("torchvision.models" if package == "torchvision" else "timm")
    except ImportError as problem:
        raise MissingExtra(package, "zoo") from problem
    except Exception as problem:  # an extension that was built for another torch raises what it likes
        raise ModelError(
            f"the installed {package} cannot be imported ({_reason(problem)}); install one that fits torch"
        ) from problem
    names = zoo.list_models()
    if name not in names:
        raise ModelError(_nearest(package, name, names))
    if package == "torchvision":
        return lambda classes: zoo.get_model(name, weights=None, num_classes=classes)

    def timm(shape: tuple[int, ...], classes: int) -> nn.Module:
        c, *size = shape
        options = {"pretrained": False, "num_classes": classes, "in_chans": c}
        try:
            return zoo.create_model(name, img_size=tuple(size), **options)  # type: ignore[no-any-return]
        except TypeError:  # networks that take any size do not know img_size
            return zoo.create_model(name, **options)  # type: ignore[no-any-return]

    return timm


def _nearest(package: str, name: str, names: list[str]) -> str:
    return unknown(f"{package} model", name, names).partition(" known:")[0] + f" {package} has {len(names)} models"


def _from_package(path: str) -> Any:
    try:
        return importlib.import_module(path)
    except (Exception, SystemExit) as problem:  # a stranger's module may raise anything
        raise ModelError(
            f"the package {path!r} cannot be imported ({_reason(problem)}); "
            "install or mend it, or give path/to/file.py:factory"
        ) from problem


def _from_file(path: Path) -> Any:
    try:
        found = importlib.util.spec_from_file_location(path.stem, path) if path.is_file() else None
    except (OSError, ValueError) as problem:
        raise ModelError(
            f"the file {str(path)[:120]!r} cannot be read ({_reason(problem)}); mend the path"
        ) from problem
    if found is None or found.loader is None:
        raise ModelError(f"there is no Python file {str(path)!r}; give path/to/file.py:factory")
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except ModuleNotFoundError as problem:
        raise ModelError(
            f"{str(path)!r} imports the module {problem.name!r}, which is not installed; install it or leave it out"
        ) from problem
    except (Exception, SystemExit) as problem:  # a stranger's file may raise anything
        raise ModelError(f"{str(path)!r} cannot be imported ({_reason(problem)}); mend the file") from problem
    return module


def _reason(problem: BaseException) -> str:
    """The first line of what an exception says, after its kind."""
    kind = type(problem).__name__
    lines = str(problem).strip().splitlines()
    return f"{kind}: {lines[0][:200]}" if lines else kind


def _build(reference: str, factory: Callable[..., Any], shape: tuple[int, ...], classes: int) -> nn.Module:
    """Call a factory with those of `shape` and `classes` that it takes."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError) as problem:
        raise ModelError(f"{reference!r} does not say what it takes; give a Python function that does") from problem
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    given = {k: v for k, v in {"shape": tuple(shape), "classes": classes}.items() if takes_any or k in parameters}
    needed = [
        p.name for p in parameters.values() if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if missing := [name for name in needed if name not in given]:
        raise ModelError(f"{reference!r} asks for {', '.join(missing)}; a factory may ask for shape and classes only")
    try:
        model = factory(**given)
    except PrivetError:
        raise
    except (Exception, SystemExit) as problem:  # a stranger's factory may raise anything
        raise ModelError(
            f"{reference!r} failed while it built a model for samples of shape {list(shape)} "
            f"({_reason(problem)}); mend the factory"
        ) from problem
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{reference!r} gave a {type(model).__name__}; wanted a factory that returns a torch.nn.Module"
        )
    return model


def _check_output(reference: str, model: nn.Module, shape: tuple[int, ...], classes: int) -> None:
    """Run two samples: the model must take [B, *shape] and give [B, K], all finite."""
    modes = [(m, m.training) for m in model.modules()]
    try:
        with torch.no_grad():
            y = model.eval()(torch.zeros(2, *shape))
    except PrivetError:
        raise
    except (Exception, SystemExit) as problem:  # a stranger's network may raise anything
        raise ModelError(
            f"{reference!r} does not accept inputs of shape {list(shape)} ({_reason(problem)}); "
            "resize the data or choose another"
        ) from problem
    finally:
        for module, mode in modes:
            module.training = mode
    if not isinstance(y, torch.Tensor) or tuple(y.shape) != (2, classes):
        gave = list(y.shape) if isinstance(y, torch.Tensor) else type(y).__name__
        raise ModelError(
            f"{reference!r} gave {gave} for 2 samples of shape {list(shape)}; wanted logits [2, {classes}]"
        )
    if not bool(torch.isfinite(y).all()):
        raise ModelError(f"{reference!r} gave logits that are not finite; mend the network or give other weights")
    if classes > 1 and bool((y >= 0).all()) and bool(((y.sum(1) - 1).abs() < 1e-4).all()):
        raise ModelError(f"{reference!r} returns probabilities; return logits: leave out the softmax at its end")


# Weights ------------------------------------------------------------------------------------------------------------


COUNTED = "num_batches_tracked"  # which no network reads in eval mode, and other formats leave out
Translate = Callable[[str, torch.Tensor], tuple[str, torch.Tensor] | None]


def load_weights(model: nn.Module, path: Path, translate: Translate | None = None) -> None:
    """Read safetensors into the model, all of them or none, each under the name and in the layout that `translate`
    gives it (None: it is left out); raises ModelError naming what does not fit or is not finite."""
    try:
        read = load_file(path)
    except (OSError, ValueError, SafetensorError) as problem:
        raise ModelError(
            f"{str(path)!r} cannot be read as safetensors ({problem}); other formats are not accepted"
        ) from problem
    translated = {key: (translate or _as_it_is)(key, value) for key, value in read.items()}
    given = {found[0]: found[1] for found in translated.values() if found}
    called = {found[0]: key for key, found in translated.items() if found}  # in the file
    own = model.state_dict()
    shared = _duplicates(own)
    missing = [key for key in own if key not in given and shared.get(key) not in given and not key.endswith(COUNTED)]
    unexpected = [called[key] for key in given if key not in own]
    shapes = [
        f"{called[k]} is {list(given[k].shape)}, wanted {list(own[k].shape)}"
        for k in given
        if k in own and given[k].shape != own[k].shape
    ]
    faults = [
        f"{len(found)} {what} ({'; '.join(found[:3])}{'; ...' if len(found) > 3 else ''})"
        for what, found in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if found
    ]
    if faults:
        raise ModelError(
            f"the weights in {str(path)!r} do not fit the model: {', '.join(faults)}; "
            "give the model they were saved from"
        )
    if broken := [
        called[k] for k, v in given.items() if v.is_floating_point() and not bool(torch.isfinite(v.float()).all())
    ]:
        named = "; ".join([*broken[:3], *(["..."] if len(broken) > 3 else [])])
        raise ModelError(f"the weights in {str(path)!r} are not finite ({named}): their training diverged; give others")
    model.load_state_dict(given, strict=False)


def _as_it_is(key: str, value: torch.Tensor) -> tuple[str, torch.Tensor]:
    return key, value


def save_weights(model: nn.Module, path: Path, header: Mapping[str, str] | None = None) -> None:
    """Write the model's parameters and buffers as safetensors, with a header; the file appears whole or not at all."""
    own = model.state_dict()
    shared = _duplicates(own)
    tensors = {k: v.detach().cpu().contiguous() for k, v in own.items() if k not in shared}
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file(tensors, name, dict(header) if header else None)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _duplicates(state: dict[str, torch.Tensor]) -> dict[str, str]:
    """Keys whose tensor was already named: key -> its first name. safetensors holds no tensor twice."""
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    twice: dict[str, str] = {}
    for key, value in state.items():
        place = (value.data_ptr(), tuple(value.shape))
        if value.numel() and place in first:
            twice[key] = first[place]
        first.setdefault(place, key)
    return twice
