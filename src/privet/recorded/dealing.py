"""Who is whose: the rows of a recording dealt into the adversary's parts and the victims."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from privet.data.corpus import ADVERSARY, ROLES, Ints, Strings
from privet.data.deal import alike, too_many
from privet.data.groups import join, persons
from privet.data.question import Question
from privet.data.roles import Roles, allot, shares
from privet.errors import DataError
from privet.payload import Array
from privet.recorded.sheets import ID, ROLE, Inputs, Sheet, names_of, roles_of

FEW = 5  # one in so many of the adversary's rows may be left out


@dataclass(frozen=True)
class Deal:
    """For every usable row a role, a group and an id."""

    roles: Roles
    groups: Ints
    ids: Strings


def deal(sheet: Sheet, question: Question, inputs: Inputs, rows: Ints) -> tuple[Deal, list[str]]:
    """Nobody, and nothing that looks the same, on two sides; notes say by what people are told apart.

    Rows with equal payloads stay in one part where nothing else says who is who. Where the file names persons or roles
    they are left to it, and the adversary's are left out where they are few; a role is empty of what is left out."""
    own = np.array([f"{row:016x}" for row in rows])
    if ID in sheet.columns:
        names = names_of(sheet, sheet.columns[ID])
        own = np.array([hashlib.sha256(names[row].encode()).hexdigest()[:16] for row in rows])
    notes: list[str] = []
    same = join(own)
    if inputs.ids is not None:
        same, notes = alike(inputs.ids, inputs.x if inputs.kind == "image" else None, inputs.thumbs)
    people = persons(sheet.columns[question.group].codes[rows]) if question.group else None
    if people is not None:
        notes.append(f"groups are {question.group!r}: {len(np.unique(people))} of them")
    groups = same if people is None else people if question.by_design else join(people, same)
    equal = _equal(sheet.payload[rows])
    if ROLE in sheet.table.column_names:
        roles, more = _apart(_given(sheet, rows), equal)
        return Deal(_split_aux(roles, groups, question), groups, own), [*notes, *more]
    sizes = np.bincount(equal)
    if people is None and sizes.max() > 1 and not too_many(sizes):
        groups = join(groups, equal)
        notes.append(f"{int(sizes[sizes > 1].sum())} rows have equal payloads; those that do stay in one part")
    strata = sheet.columns[question.group or ""].codes[rows] if question.by_design else _strata(sheet, question, rows)
    units = same if question.by_design else groups
    roles, more = _apart(allot(units, strata, shares(*ADVERSARY), 0), equal)
    return Deal(roles, groups, own), [*notes, *more]


def _apart(roles: Roles, equal: Ints) -> tuple[Roles, list[str]]:
    """Roles [N] without the adversary's rows that have a victim's payload (empty there), and a note. Where these are
    many, or one payload is sent by very many people, payloads say too little to be one person's: all rows stay."""
    mine = np.isin(roles, ("aux", "aux_train", "aux_val"))
    met = mine & np.isin(equal, equal[roles == "victim"])
    many = int(met.sum())
    if not many:
        return roles, []
    if too_many(np.bincount(equal)) or FEW * many > mine.sum():
        return roles, [
            f"{many} of {int(mine.sum())} rows of the adversary have the payload of a victim; they are too many to be "
            "the same people recorded twice, so they stay"
        ]
    note = f"{many} rows were removed from the adversary's part, for a victim has the same payload"
    return np.where(met, "", roles), [note]


def _strata(sheet: Sheet, question: Question, rows: Ints) -> Ints:
    return sheet.columns[question.target or question.hidden[0]].codes[rows]


def _equal(payloads: Array) -> Ints:
    raw = np.ascontiguousarray(payloads).view(np.uint8).reshape(len(payloads), -1)
    return join(np.array([hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in raw]))


def _given(sheet: Sheet, rows: Ints) -> Roles:
    """The roles that the file names; those of the owner take no part."""
    legal = ("aux", *ROLES)
    words = roles_of(sheet)[rows]
    if len(odd := np.flatnonzero(~np.isin(words, legal))):
        what = f"the role {str(words[odd[0]])!r}" if words[odd[0]] else "no role"
        raise DataError(
            f"row {rows[odd[0]]} of {sheet.label} has {what}; a role is one of {', '.join(legal)}, and every row has "
            "one (rows are counted from 0)"
        )
    return np.array(words, dtype="U10")


def _split_aux(roles: Roles, groups: Ints, question: Question) -> Roles:
    """`aux` dealt into what the adversary learns from and what it chooses on."""
    aux = roles == "aux"
    if aux.any():
        roles = roles.copy()
        roles[aux] = allot(groups[aux], np.zeros(int(aux.sum()), np.int64), shares("aux_train", "aux_val"), 0)
    for role in ADVERSARY:
        if not np.any(roles == role):
            raise DataError(f"no row has the role {role!r}; an audit needs people of the adversary (aux) and victims")
    return roles
