"""Every error that Privet raises on purpose.

    PrivetError          the base: one sentence that says what was given, what was wanted, what to do
    +-- DataError        the data cannot be read, or cannot carry the question asked of it
    +-- ModelError       a model reference, its weights or its mode do not fit
    +-- CutError         the cut does not exist, or more than one tensor would cross it
    +-- SpecError        a defense, attack, threat or option is misspelt or out of range
    +-- ThreatError      an attack asks for more than its threat grants
    +-- PayloadError     bytes that are not a payload of this signature
    +-- RunError         a run folder cannot be written, resumed or trusted
    +-- Infeasible       no plan keeps all limits; says which one binds, and what comes nearest
    +-- MissingExtra     an optional dependency is absent; the message holds its install line

The command line prints the message of any of them and exits with 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


class PrivetError(Exception):
    """Base of all deliberate errors; its text is a sentence with a remedy."""


class DataError(PrivetError):
    """The data cannot be read, or cannot carry the question asked of it."""


class ModelError(PrivetError):
    """A model reference, its weights or its mode do not fit."""


class CutError(PrivetError):
    """The cut does not exist, or more than one tensor would cross it."""


class SpecError(PrivetError):
    """A defense, attack, threat or option is misspelt or out of range."""


class ThreatError(PrivetError):
    """An attack asks for more than its threat grants."""


class PayloadError(PrivetError):
    """Bytes or tensors that are not a payload of this signature."""


class RunError(PrivetError):
    """A run folder cannot be written, resumed or trusted."""


class Infeasible(PrivetError):
    """No plan keeps all limits. `binding` names those that stand in the way, `nearest` is the value of each that would
    be enough."""

    def __init__(self, text: str, binding: Iterable[str] = (), nearest: Mapping[str, float] | None = None) -> None:
        super().__init__(text)
        self.binding, self.nearest = tuple(binding), dict(nearest or {})

    def __reduce__(self) -> tuple[type[Infeasible], tuple[str, tuple[str, ...], dict[str, float]]]:
        return Infeasible, (str(self), self.binding, self.nearest)


class MissingExtra(PrivetError):
    """An optional dependency is absent."""

    def __init__(self, module: str, extra: str) -> None:
        self.module, self.extra = module, extra
        super().__init__(
            f"this needs the package {module!r}; install it with: pip install 'privet[{extra}]' "
            f"(in a clone: pip install '.[{extra}]')"
        )

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return MissingExtra, (self.module, self.extra)


def unknown(kind: str, name: str, options: Iterable[str]) -> str:
    """One sentence for a name that is not among the options, with the nearest and all of them (the first 60)."""
    legal = sorted(options)
    near = difflib.get_close_matches(name, legal, n=1, cutoff=0.5)
    hint = f" did you mean {near[0]!r}?" if near else ""
    more = f", and {len(legal) - 60} more" if len(legal) > 60 else ""
    return f"no {kind} named {name!r};{hint} known: {', '.join(legal[:60])}{more}"
