"""Who plays which part: whole groups to roles, in proportion, close to stratified, the same for the same seed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from privet.data.corpus import Ints
from privet.errors import DataError

SHARES = {"task_train": 40.0, "task_val": 10.0, "aux_train": 25.0, "aux_val": 5.0, "victim": 20.0}
Roles = npt.NDArray[np.str_]


def shares(*roles: str) -> dict[str, float]:
    """The usual proportions of some roles, renormalized to 1."""
    total = sum(SHARES[role] for role in roles)
    return {role: SHARES[role] / total for role in roles}


def allot(units: Ints, strata: Ints, portions: Mapping[str, float], seed: int) -> Roles:
    """A role [N] for every row; all rows of a unit get one role.

    Units are dealt in random order, stratum by stratum (a unit belongs to the stratum of its first row), each to the
    role that is furthest behind its portion; what a stratum leaves over is owed in the next. DataError where there
    are fewer units than roles."""
    _, first, unit, size = np.unique(units, return_index=True, return_inverse=True, return_counts=True)
    roles = list(portions)
    if len(size) < len(roles):
        raise DataError(
            f"{len(size)} groups cannot fill the {len(roles)} parts {', '.join(roles)}, for a group stays in one part; "
            "give more data, or another group column"
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(size))
    order = order[np.argsort(strata[first][order], kind="stable")]
    portion = np.array([portions[role] for role in roles])
    debt = rng.uniform(-0.5, 0.5, len(roles)) * 1e-6
    chosen = np.zeros(len(size), np.int64)
    for place in order:
        debt += portion * size[place]
        role = int(np.argmax(debt))
        chosen[place] = role
        debt[role] -= size[place]
    _fill_empty(chosen, size, len(roles))
    return np.array(roles)[chosen[unit]]


def _fill_empty(chosen: Ints, size: Ints, roles: int) -> None:
    """Give every role a unit: the smallest of the role that has the most units."""
    for role in range(roles):
        if not np.any(chosen == role):
            donor = np.argmax(np.bincount(chosen, minlength=roles))
            own = np.flatnonzero(chosen == donor)
            chosen[own[np.argmin(size[own])]] = role


def thin(roles: Roles, limit: int, seed: int) -> npt.NDArray[np.int64]:
    """Rows to keep so that the largest part has at most `limit` examples and the others shrink in proportion (at
    least one)."""
    names, counts = np.unique(roles, return_counts=True)
    scale = min(1.0, limit / counts.max())
    rng = np.random.default_rng(seed)
    kept = [
        rng.choice(np.flatnonzero(roles == name), max(1, int(count * scale)), replace=False)
        for name, count in zip(names, counts, strict=True)
    ]
    return np.sort(np.concatenate(kept)).astype(np.int64)
