"""The folder is the registry: every file of `privet/defenses` and `privet/attacks` is one method, named as its file.

A file defines one public frozen dataclass; its fields are the method's hyperparameters and the options of the command
line (`name:option=value,option=value`). Somebody else's package adds a method by an entry point in the group
`privet.defenses` or `privet.attacks`; a name that the folder has keeps meaning the folder's file.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import pkgutil
import typing
from importlib import metadata
from types import ModuleType, UnionType
from typing import Any, Literal, get_args, get_origin

from privet.errors import SpecError, unknown

FOLDERS = ("privet.defenses", "privet.attacks")


@functools.cache
def entry_points(group: str) -> metadata.EntryPoints:
    """What other packages enter: read from the whole environment, which takes milliseconds, and stays the same in one
    process."""
    return metadata.entry_points(group=group)


def names(folder: str) -> tuple[str, ...]:
    """Names of all methods of `privet.defenses` or `privet.attacks`, without importing them."""
    package = importlib.import_module(folder)
    files = {m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")}
    return tuple(sorted(files | {_key(e.name) for e in entry_points(group=folder)}))


def find(folder: str, name: str) -> type[Any]:
    """The class behind a name; SpecError with the nearest name where there is none."""
    key = _key(name)
    if key not in names(folder):
        raise SpecError(unknown(folder.rsplit(".", 1)[-1].removesuffix("s"), name, names(folder)))
    if key in {m.name for m in pkgutil.iter_modules(importlib.import_module(folder).__path__)}:
        return _method_of(importlib.import_module(f"{folder}.{key}"), folder)
    entry = next(e for e in entry_points(group=folder) if _key(e.name) == key)
    found = entry.load()
    return _checked(found, folder) if isinstance(found, type) else _method_of(found, folder)


def method_name(method: object) -> str:
    """The name under which a method object is registered."""
    cls = type(method)
    for folder in FOLDERS:
        for entry in () if cls.__module__.startswith(f"{folder}.") else entry_points(group=folder):
            if entry.module == cls.__module__ and entry.attr in (None, cls.__qualname__):
                return _key(entry.name)
    return str(getattr(cls, "name", None) or cls.__module__.rsplit(".", 1)[-1])


def parse(folder: str, text: str) -> Any:
    """Build the method that `name:option=value,...` describes; SpecError says what does not fit."""
    name, _, rest = text.strip().partition(":")
    cls = find(folder, name.strip())
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    hints = typing.get_type_hints(cls)
    given: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = item.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise SpecError(f"option {item!r} of {name!r} has no value; write {name}:{item}=VALUE")
        if key not in fields:
            raise SpecError(unknown(f"option of {name!r}", key, fields or ["(none)"]))
        if key in given:
            raise SpecError(f"option {key!r} of {name!r} is given twice")
        given[key] = _value(hints[key], value.strip(), f"option {key!r} of {name!r}")
    missing = [
        k
        for k, f in fields.items()
        if k not in given and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise SpecError(f"{name!r} needs {', '.join(missing)}: write {name}:{','.join(f'{m}=VALUE' for m in missing)}")
    return cls(**given)


def spell(method: object) -> str:
    """The shortest `name:option=value` text that builds this method again."""
    changed = []
    for field in dataclasses.fields(typing.cast(Any, method)):
        value = getattr(method, field.name)
        if field.init and value != field.default:
            changed.append(f"{field.name}={value}")
    return method_name(method) + (":" + ",".join(changed) if changed else "")


def _key(name: str) -> str:
    return name.replace("-", "_")


def _method_of(module: ModuleType, folder: str) -> type[Any]:
    classes = [
        c
        for _, c in inspect.getmembers(module, inspect.isclass)
        if c.__module__ == module.__name__ and dataclasses.is_dataclass(c) and hasattr(c, "summary")
    ]
    if len(classes) != 1:
        raise SpecError(
            f"{module.__name__} must define one dataclass with a `summary`, found {[c.__name__ for c in classes]}"
        )
    return _checked(classes[0], folder)


def _checked(cls: type[Any], folder: str) -> type[Any]:
    """Refuse a method that does not say where it comes from or, for a defense, how it is attacked by one who knows
    it."""
    if not inspect.getdoc(inspect.getmodule(cls)):
        raise SpecError(f"{cls.__module__} needs a docstring: the source, the idea, the objective, the deviations")
    for card in ("summary", "adaptive") if folder == "privet.defenses" else ("summary",):
        if not (isinstance(getattr(cls, card, None), str) and getattr(cls, card).strip()):
            raise SpecError(f"{cls.__module__}.{cls.__qualname__} needs a class variable `{card}`, one line of text")
    answered = getattr(cls, "answered_by", ())
    if folder == "privet.defenses" and not (isinstance(answered, tuple) and answered):
        raise SpecError(
            f"{cls.__module__}.{cls.__qualname__} needs a class variable `answered_by`: the names of the attacks that "
            f"its card asks for, such as ('server_probe',)"
        )
    return cls


def _value(hint: Any, text: str, what: str) -> Any:
    origin = get_origin(hint)
    if origin is Literal:
        if text not in get_args(hint):
            raise SpecError(unknown(f"value for {what}", text, map(str, get_args(hint))))
        return text
    if origin in (typing.Union, UnionType):
        for member in get_args(hint):
            if member is type(None):
                if text.lower() == "none":
                    return None
                continue
            try:
                return _value(member, text, what)
            except SpecError:
                continue
        raise SpecError(f"{what} must be {_kind(hint)}, got {text!r}")
    try:
        if hint is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
        if hint in (int, float, str):
            return hint(text)
    except (KeyError, ValueError):
        pass
    raise SpecError(f"{what} must be {_kind(hint)}, got {text!r}")


KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "none"}


def _kind(hint: Any) -> str:
    if get_origin(hint) in (typing.Union, UnionType):
        return " or ".join(_kind(member) for member in get_args(hint))
    return " or ".join(map(str, get_args(hint))) if get_origin(hint) is Literal else KINDS.get(hint, str(hint))
