"""The nouns of data: a Part is examples in one role, a Corpus is parts that share nobody.

    task_train  task_val    the owner's: fit the model and the defense, choose among them
    aux_train   aux_val     the adversary's: fit attacks, choose among them
    victim                  touched once, by the number that is reported
    public                  optional: data that anybody may see

Disjointness is checked here, once, so that no later room can leak a victim into an attack's training set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from privet.errors import DataError, unknown

Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.str_]
Pixels = npt.NDArray[np.uint8]

ROLES = ("task_train", "task_val", "aux_train", "aux_val", "victim")
ADVERSARY = ("aux_train", "aux_val", "victim")  # all that is needed where nothing is trained for the owner
OPTIONAL_ROLES = ("public",)


@dataclass(frozen=True)
class Part:
    """N examples in one role.

    ids: [N] str, content hash (16 hex digits); groups: [N] int64, person or cluster of near-duplicates;
    x: uint8 [N, C, H, W] or float32 [N, D] in [0, 1] ([N, 0] where only payloads were recorded);
    y: [N] int64 target, -1 missing;
    s: hidden and side attributes, each [N] int64, -1 missing. Unequal lengths raise DataError."""

    ids: Strings
    groups: Ints
    x: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    y: Ints
    s: dict[str, Ints]

    def __post_init__(self) -> None:
        lengths = {"ids": self.ids, "groups": self.groups, "x": self.x, "y": self.y, **self.s}
        sizes = {name: len(values) for name, values in lengths.items()}
        if len(set(sizes.values())) > 1:
            raise DataError(f"a part needs one entry per example everywhere; got lengths {sizes}")

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return (
            f"Part({len(self)} examples of {tuple(self.x.shape[1:])}, hidden and side: {', '.join(self.s) or 'none'})"
        )

    def take(self, rows: npt.NDArray[np.intp] | Ints | npt.NDArray[np.bool_] | slice) -> Part:
        """The examples at `rows` (indices, mask or slice), in that order."""
        s = {name: values[rows] for name, values in self.s.items()}
        return Part(self.ids[rows], self.groups[rows], self.x[rows], self.y[rows], s)


@dataclass(frozen=True)
class Corpus:
    """A data set with its question (target, hidden, side) and its roles.

    `classes` maps every attribute to its class names; `person` names the column that tells persons apart, where groups
    are persons; `digest` is a sha256 over contents, labels and roles (computed
    when left empty). Raises DataError for a missing role, parts that share an example, parts that share a group
    (unless the flags `hidden_is_group`, `target_is_group` or, for the victim part, `groups_shared` say so), labels
    outside the class names, and wrong types or shapes of x."""

    name: str
    kind: str
    target: str
    hidden: tuple[str, ...]
    side: tuple[str, ...]
    classes: dict[str, tuple[str, ...]]
    parts: dict[str, Part]
    digest: str = ""
    notes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    person: str = ""

    needs: ClassVar[tuple[str, ...]] = ROLES

    def __post_init__(self) -> None:
        _check_roles(self.parts, self.needs)
        _check_x(self.kind, self.parts)
        _check_labels(self)
        check_disjoint(self.parts, self.flags)
        if not self.digest:
            object.__setattr__(self, "digest", digest(self))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{role} {len(part)}" for role, part in self.parts.items())
        side = f", side={self.side}" if self.side else ""
        return (
            f"Corpus({self.name!r}, {self.kind} {self.shape}, target={self.target!r}, hidden={self.hidden}{side}, "
            f"parts: {sizes})"
        )

    @property
    def task_train(self) -> Part:
        return self.parts["task_train"]

    @property
    def task_val(self) -> Part:
        return self.parts["task_val"]

    @property
    def aux_train(self) -> Part:
        return self.parts["aux_train"]

    @property
    def aux_val(self) -> Part:
        return self.parts["aux_val"]

    @property
    def victim(self) -> Part:
        return self.parts["victim"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one x: (C, H, W) or (D,)."""
        return tuple(self.victim.x.shape[1:])

    def n_classes(self, attribute: str) -> int:
        """How many classes the target, a hidden or a side attribute has; DataError for any other name."""
        if attribute not in self.classes:
            raise DataError(unknown("attribute", attribute, self.classes))
        return len(self.classes[attribute])


def digest(corpus: Corpus) -> str:
    """sha256 (hex) over the question, the class names and, part by part, ids, groups, x and labels."""
    total = hashlib.sha256()
    question = (corpus.kind, corpus.target, corpus.hidden, corpus.side, sorted(corpus.classes.items()))
    total.update(repr(question).encode())
    for role, part in sorted(corpus.parts.items()):
        total.update(f"{role} {len(part)} {part.x.shape} {part.x.dtype}".encode())
        total.update("".join(part.ids.tolist()).encode())
        arrays = [part.groups, part.x, part.y, *(part.s[name] for name in sorted(part.s))]
        for values in arrays:
            total.update(np.ascontiguousarray(values).data)
    return total.hexdigest()


def check_disjoint(parts: Mapping[str, Part], flags: Iterable[str] = ()) -> None:
    """Raise DataError where two parts share an example or, unless flagged, a group."""
    flags = set(flags)
    ids = {role: set(part.ids.tolist()) for role, part in parts.items()}
    groups = {role: set(part.groups.tolist()) for role, part in parts.items()}
    by_design = bool(flags & {"hidden_is_group", "target_is_group"})
    for one, two in combinations(parts, 2):
        if shared := ids[one] & ids[two]:
            raise DataError(
                f"{one} and {two} share {len(shared)} examples (such as {min(shared)}); "
                "an example has one role only: remove it from one of them"
            )
        if by_design or ("groups_shared" in flags and "victim" in (one, two)):
            continue
        if met := groups[one] & groups[two]:
            raise DataError(
                f"{one} and {two} share {len(met)} groups (such as {min(met)}); "
                "keep a person in one part, or hide the group itself"
            )


def _check_roles(parts: Mapping[str, Part], needs: tuple[str, ...]) -> None:
    for role in parts:
        if role not in ROLES + OPTIONAL_ROLES:
            raise DataError(unknown("role", role, ROLES + OPTIONAL_ROLES))
    for role in needs:
        if role not in parts or not len(parts[role]):
            raise DataError(f"the part {role!r} has no examples; a corpus needs all of: {', '.join(needs)}")


def _check_x(kind: str, parts: Mapping[str, Part]) -> None:
    wanted = {"image": (np.uint8, 4), "table": (np.float32, 2), "payload": (np.float32, 2)}
    if kind not in wanted:
        raise DataError(unknown("kind of data", kind, wanted))
    dtype, axes = wanted[kind]
    shape = parts["victim"].x.shape[1:]
    for role, part in parts.items():
        if part.x.dtype != dtype or part.x.ndim != axes:
            raise DataError(
                f"x of {role} is {part.x.dtype} with {part.x.ndim} axes; {kind} data is {np.dtype(dtype)} with {axes}"
            )
        if part.x.shape[1:] != shape:
            raise DataError(f"x of {role} has shape {part.x.shape[1:]} per example, but victim has {shape}")


def _check_labels(corpus: Corpus) -> None:
    attributes = (*corpus.hidden, *corpus.side)
    asked = (corpus.target,) if corpus.target else ()  # of a recording nobody may know what was asked for
    for name in (*asked, *attributes):
        if name not in corpus.classes:
            raise DataError(f"no class names for {name!r}; classes holds: {', '.join(sorted(corpus.classes))}")
    for role, part in corpus.parts.items():
        if set(part.s) != set(attributes):
            raise DataError(f"s of {role} holds {sorted(part.s)}, but hidden and side are {sorted(set(attributes))}")
        for name, labels in {corpus.target: part.y, **part.s}.items():
            most = len(corpus.classes.get(name, ())) - 1
            if len(labels) and not (int(labels.min()) >= -1 and int(labels.max()) <= most):
                raise DataError(
                    f"{name!r} in {role} has labels outside -1..{most}; they index the class names, -1 means missing"
                )
