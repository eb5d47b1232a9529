"""The question asked of a data set: what is the target, what is hidden, what does the adversary know beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from privet.data.columns import Column, bijective, determines, label_like, listed, pick
from privet.data.groups import group_column
from privet.data.source import Source
from privet.errors import DataError, unknown

RAREST = 20
NOBODY_ASKS = ("none",)  # said for hidden: no attribute is asked for, only the target matters
KEYS = ("input", "(target)")  # names of an audit's own questions


@dataclass(frozen=True)
class Question:
    """Column names, checked against the data; `target` is empty where nobody recorded it; `group` is the person column
    or None, `by_design` says that the person is what is asked for, so persons are in several parts."""

    target: str
    hidden: tuple[str, ...]
    side: tuple[str, ...]
    group: str | None
    notes: tuple[str, ...]
    flags: tuple[str, ...]

    @property
    def attributes(self) -> tuple[str, ...]:
        """Target, hidden, side, each once."""
        return tuple(dict.fromkeys((*([self.target] if self.target else []), *self.hidden, *self.side)))

    @property
    def by_design(self) -> bool:
        return bool({"hidden_is_group", "target_is_group"} & set(self.flags))


def ask(
    source: Source,
    columns: Mapping[str, Column],
    target: str | None,
    hidden: Sequence[str],
    side: Sequence[str],
    group: str | None,
    *,
    recorded: bool = False,
) -> Question:
    """Check the names against the columns, filling in a built-in set's defaults; a `recorded` system may come without a
    target. Raises DataError for a missing
    target or hidden attribute (with the candidates), an unknown or unusable column, a name that results could not be
    filed under, an attribute named twice, and a target that is the hidden attribute under another name."""
    if source.defaults is not None:
        target = target or source.defaults[0]
        hidden = hidden or tuple(name for name in reversed(source.defaults) if name != target)[:1]
    if isinstance(hidden, str) or isinstance(side, str):
        raise DataError("hidden and side are sequences of column names, such as hidden=['race']; got one string")
    if target is None and not recorded:
        raise DataError(f"{source.name} needs a target; columns with labels: {listed(columns)}")
    if target:
        pick(columns, target, "target")
    target = target or ""
    if not hidden:
        raise DataError(f"{source.name} needs a hidden attribute; columns with labels: {listed(columns, [target])}")
    person = _group(columns, group)
    notes: list[str] = []
    if tuple(hidden) == NOBODY_ASKS and NOBODY_ASKS[0] not in columns:
        hidden = ()
    elif tuple(hidden) == ("all",) and "all" not in columns:
        hidden, notes = _all_hidden(columns, target, (*side, *([person] if person else [])))
    _check(columns, target, tuple(hidden), tuple(side))
    meant = {"hidden_is_group": person is not None and person in hidden, "target_is_group": person == target}
    flags = [flag for flag, holds in meant.items() if holds]
    for name in hidden:
        if target and determines(columns[target].codes, columns[name].codes):
            flags.append("target_determines_hidden")
            notes.append(f"target {target!r} determines {name!r}: the server learns it with the target")
    return Question(target, tuple(hidden), tuple(side), person, tuple(notes), tuple(dict.fromkeys(flags)))


def _group(columns: Mapping[str, Column], group: str | None) -> str | None:
    if group is None:
        return group_column([name for name, column in columns.items() if column.kind == "label"])
    if group not in columns:
        raise DataError(unknown("column", group, columns))
    if columns[group].kind != "label":
        raise DataError(f"column {group!r} cannot be the group: it holds no whole numbers or text; name another")
    return group


def _check(columns: Mapping[str, Column], target: str, hidden: tuple[str, ...], side: tuple[str, ...]) -> None:
    if target:
        _check_key(target, "target")
    for what, names in {"hidden attribute": hidden, "side information": side}.items():
        for name in names:
            pick(columns, name, what)
            _check_key(name, what)
        if len(set(names)) < len(names):
            raise DataError(f"{what} names a column twice: {', '.join(names)}; name each once")
    for name in (*hidden, *side):
        if name == target:
            raise DataError(f"{name!r} is the target and cannot also be hidden or side; name another column")
        if name in hidden and name in side:
            raise DataError(f"{name!r} is hidden and cannot also be side information; name another column")
    for name in ((target,) if target else ()) + hidden:
        codes = columns[name].codes
        if len(np.unique(codes[codes >= 0])) < 2:
            raise DataError(f"column {name!r} has fewer than two classes in this data; name a column with two or more")
    for name in hidden:
        if target and bijective(columns[target].codes, columns[name].codes):
            raise DataError(
                f"target {target!r} and hidden {name!r} are one labeling under two names; "
                "hide an attribute that the target leaves open"
            )


def _key_fault(name: str) -> str | None:
    """Why results cannot be filed under this name; None where they can."""
    if name in KEYS or "/" in name:
        return f"has a name that Privet keeps for itself ({', '.join(KEYS)}, anything with '/'); rename the column"
    return None


def _check_key(name: str, what: str) -> None:
    if reason := _key_fault(name):
        raise DataError(f"column {name!r} cannot be the {what}: it {reason}")


def _all_hidden(columns: Mapping[str, Column], target: str, out: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Every other label-like column with at least 20 examples of its rarest class; a note for each column left out."""
    chosen: list[str] = []
    notes: list[str] = []
    likely = set(label_like(columns))
    for name, column in columns.items():
        if name == target or name in out:
            continue
        counts = np.unique(column.codes[column.codes >= 0], return_counts=True)[1]
        twin = next(
            (
                other
                for other in ((target,) if target else ()) + tuple(chosen)
                if bijective(columns[other].codes, column.codes)
            ),
            None,
        )
        if name not in likely:
            reason = column.why_not() or f"has {len(counts)} classes, not 2 to 50"
        elif counts.min() < RAREST:
            reason = f"has only {counts.min()} examples of its rarest class, fewer than {RAREST}"
        elif fault := _key_fault(name):
            reason = fault
        elif twin is not None:
            reason = f"is {twin!r} under another name"
        else:
            chosen.append(name)
            continue
        notes.append(f"column {name!r} is not among the hidden attributes: it {reason}")
    if not chosen:
        reasons = "; ".join(notes) or "there is no other column"
        beside = f" beside the target {target!r}" if target else ""
        raise DataError(f"no column can be hidden{beside}: {reasons}")
    return tuple(chosen), notes
