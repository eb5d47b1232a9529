"""Dealing a pool: nobody, and nothing that looks the same, ends up on two sides."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from privet.data.corpus import Ints, Pixels, Strings
from privet.data.groups import SMALLEST_SIDE, join, near_duplicates, persons
from privet.data.pool import Pool
from privet.data.question import Question
from privet.data.roles import Roles, allot, shares
from privet.errors import DataError

RANK = {"test": 0, "victims": 0, "main": 1, "aux": 2}
MANY = 0.05
SIDES = ("the victims' data", "the training data", "the adversary's data")


@dataclass(frozen=True)
class Dealt:
    """The pool without what met another side, and for each of its rows a role and a group; notes and flags say what
    was done."""

    pool: Pool
    roles: Roles
    groups: Ints
    notes: tuple[str, ...]
    flags: tuple[str, ...]


def deal(pool: Pool, question: Question, named_group: bool, seed: int) -> Dealt:
    """Group, remove what is on two sides, deal the roles.

    named_group: the caller named the group column, so too few groups are an error; else they are a note. DataError
    where nothing is left to train on."""
    same, notes = alike(pool.ids, pool.x, pool.thumbs)
    pool, more = (pool, []) if named_group else _usable_groups(pool, question)
    notes += more
    keep, more = _one_side(pool, same if pool.persons is None or question.by_design else join(pool.ids))
    notes += more
    flags = ["many_removed"] if np.count_nonzero(~keep) > MANY * len(keep) else []
    if not keep.all():
        pool, same = pool.take(keep), same[keep]
    groups = same
    if pool.persons is not None:
        groups, more, raised = _by_person(pool, question)
        notes += more
        flags += raised
    strata = pool.columns[_stratum(question)].codes
    dealt = _roles(pool, same if question.by_design else groups, strata, seed)
    return Dealt(pool, dealt, groups, tuple(notes), tuple(flags))


def _one_side(pool: Pool, alike: Ints) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """Rows to keep, so that no cluster of look-alikes is in two sets: kept in the victims' before the main before
    the adversary's."""
    rank = np.array([RANK[origin] for origin in pool.origin.tolist()])
    keep = np.ones(len(alike), bool)
    notes = []
    for lower, higher in ((1, 0), (2, 0), (2, 1)):
        met = keep & (rank == lower) & np.isin(alike, alike[keep & (rank == higher)])
        if not met.any():
            continue
        equal = int(np.isin(pool.ids[met], pool.ids[rank == higher]).sum())
        notes.append(
            f"{int(met.sum())} examples were removed from {SIDES[lower]}, for they are in {SIDES[higher]} too "
            f"({equal} equal, {int(met.sum()) - equal} near-duplicates)"
        )
        keep &= ~met
    if not np.any(keep & (rank == 1)):
        raise DataError("every example to train on is also a victim; give data of which one part is not in the other")
    if np.any(rank == 2) and not np.any(keep & (rank == 2)):
        raise DataError(
            "nothing of --aux is left, all its examples stand in the training data or among the victims too; "
            "give the adversary examples of its own, or leave --aux out"
        )
    return keep, notes


def alike(ids: Strings, x: Pixels | None, thumbs: Pixels | None) -> tuple[Ints, list[str]]:
    """Clusters [N] of examples that look the same: near-duplicate pictures of 32 px and more, else equal contents."""
    same = join(ids)
    if x is None or thumbs is None or min(x.shape[2:]) < SMALLEST_SIDE:
        return same, []
    near = join(near_duplicates(thumbs), ids)
    sizes = np.bincount(near)
    if too_many(sizes):
        return same, [
            "the pictures are too alike to tell near-duplicates apart "
            f"(one cluster would hold {sizes.max()}), so only equal ones are grouped"
        ]
    many = int(sizes[sizes > 1].sum())
    return near, [f"{many} pictures have near-duplicates; each cluster stays in one part"] if many else []


def too_many(sizes: Ints) -> bool:
    """Whether the largest cluster of look-alikes is too large to be one person's."""
    return bool(sizes.max() > max(20, sizes.sum() // 100))


def _usable_groups(pool: Pool, question: Question) -> tuple[Pool, list[str]]:
    """The pool without a group column that was only guessed and has fewer groups than parts to fill."""
    if pool.persons is None or question.by_design:
        return pool, []
    if len(np.unique(persons(pool.persons)[pool.origin == "main"])) >= len(_main_roles(pool)):
        return pool, []
    return replace(pool, persons=None), [
        f"column {question.group!r} has too few groups to keep each in one part, so it is not used"
    ]


def _by_person(pool: Pool, question: Question) -> tuple[Ints, list[str], list[str]]:
    """Groups [N] from the group column, with notes and flags."""
    assert pool.persons is not None
    people = persons(pool.persons)
    if question.by_design:
        return people, [f"groups are {question.group!r}, which is asked for itself: every part holds the same ones"], []
    groups = join(people, pool.ids)
    notes = [f"groups are {question.group!r}: {len(np.unique(groups))} of them"]
    shared = np.intersect1d(groups[pool.origin == "main"], groups[np.isin(pool.origin, ["test", "victims"])])
    if not len(shared):
        return groups, notes, []
    notes.append(f"{len(shared)} groups are in the victims and in the training data too, as the data set has it")
    return groups, notes, ["groups_shared"]


def _stratum(question: Question) -> str:
    """What is kept in proportion: the person where persons are asked for, else the target."""
    return question.group if question.by_design and question.group is not None else question.target


def _main_roles(pool: Pool) -> list[str]:
    """The roles that the main set's rows are dealt."""
    given = set(pool.origin.tolist())
    mine = ["task_train", "task_val"]
    mine += [] if "aux" in given else ["aux_train", "aux_val"]
    return mine if given & {"test", "victims"} else [*mine, "victim"]


def _roles(pool: Pool, units: Ints, strata: Ints, seed: int) -> Roles:
    roles = np.full(len(units), "victim", dtype="U10")
    for origin, names in (("main", _main_roles(pool)), ("aux", ["aux_train", "aux_val"])):
        rows = pool.origin == origin
        if rows.any():
            roles[rows] = allot(units[rows], strata[rows], shares(*names), seed)
    return roles
