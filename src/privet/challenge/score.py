"""Score answers: every figure beside what is reached without the payload, with 95 % intervals over persons."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from privet import metrics
from privet.auditing.estimate import Estimate, estimate, paired, weights
from privet.challenge.folder import Challenge
from privet.challenge.make import floor
from privet.data.assemble import open_source
from privet.data.columns import encode
from privet.errors import DataError
from privet.payload import Array

GUESSED = ("accuracy", "balanced_accuracy")  # all that can be said of guesses without probabilities
SCORED = (*GUESSED, "auc", "coverage_at_95_precision", "tpr_at_1_fpr")
REPLICATES, NAMED = 1000, 5
SUM = 0.01  # by which probabilities may miss one


@dataclass(frozen=True)
class Score:
    """One metric of the answers about one attribute, the floor beside it, and the paired difference."""

    attribute: str
    metric: str
    value: Estimate
    floor: Estimate
    over: Estimate
    floor_by: str

    def json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def score(challenge: Challenge, answers: Path) -> list[Score]:
    """All metrics of every attribute that was answered. DataError where ids are missing, unknown or stand twice, where
    a guess is no value of its attribute, or probabilities are none."""
    table = _answers(challenge, answers)
    found = [score for name in challenge.said["attributes"] for score in _attribute(challenge, table, name, answers)]
    if not found:
        asked = challenge.said["attributes"]
        first = next(iter(asked))
        raise DataError(
            f"{answers} answers none of {', '.join(asked)}; give a column {first!r}, or a column '{first}=VALUE' for "
            "each of its values"
        )
    return found


def _answers(challenge: Challenge, path: Path) -> pa.Table:
    """The answers in the order of the payloads."""
    if not os.path.isfile(path.expanduser()):
        what = "is a folder" if os.path.isdir(path.expanduser()) else "is not there"
        raise DataError(f"{path} {what}; give one CSV or Parquet file of answers")
    table = open_source(str(path)).train.table
    if "id" not in table.column_names:
        raise DataError(f"{path} has no column 'id'; answer by the ids of payloads.parquet")
    given, wanted = [str(name) for name in table["id"].to_pylist()], challenge.payloads["id"].to_pylist()
    place = {name: row for row, name in enumerate(given)}
    twice = sorted({name for row, name in enumerate(given) if place[name] != row})
    for what, names in (
        ("names twice", twice),
        ("does not answer", sorted(set(wanted) - set(given))),
        ("answers unknown", sorted(set(given) - set(wanted))),
    ):
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            raise DataError(
                f"{path} {what} ids: {', '.join(names[:NAMED])}{more}; give every id of payloads.parquet once"
            )
    return table.take(pa.array([place[name] for name in wanted]))


def _attribute(challenge: Challenge, table: pa.Table, name: str, path: Path) -> Iterator[Score]:
    values = [str(value) for value in challenge.said["attributes"][name]["values"]]
    posterior = _posterior(table, name, values, path)
    if posterior is None:
        return
    ids = challenge.payloads["id"].to_pylist()
    hidden = [challenge.secret.labels[person][name] for person in ids]
    known = np.array([label is not None for label in hidden])
    s = np.array([values.index(label) for label in hidden if label is not None])
    groups = np.array([challenge.secret.persons[person] for person in ids])[known]
    rows, persons = weights(groups, REPLICATES, seed=0), len(np.unique(groups))
    for metric in GUESSED if posterior.dtype == bool else SCORED:
        measure = metrics.METRICS[metric]
        value = measure(posterior[known].astype(np.float64), s, rows)
        floors = {by: measure(guess[known], s, rows) for by, guess in _floors(challenge, name, values).items()}
        by = max(floors, key=lambda key: float(floors[key][0]))
        yield Score(
            name, metric, estimate([value], len(s), (0.0, 1.0), persons),
            estimate([floors[by]], len(s), (0.0, 1.0), persons),
            paired([value], [floors[by]], len(s), (-1.0, 1.0), persons), by,
        )  # fmt: skip


def _floors(challenge: Challenge, name: str, values: list[str]) -> dict[str, Array]:
    labels = challenge.train[name].to_pylist()
    s = np.array([-1 if label is None else values.index(label) for label in labels])
    if "answer" not in challenge.payloads.column_names:
        whole = floor(s, values, None)["majority"]
        return {"majority": np.repeat(whole[:1], len(challenge.payloads), axis=0)}
    told, asked = (table["answer"].to_pylist() for table in (challenge.train, challenge.payloads))
    return dict(floor(s, values, told, asked))


def _posterior(table: pa.Table, name: str, values: list[str], path: Path) -> Array | None:
    """Probabilities [N, K]; of guesses a one-hot array of booleans; None where the attribute is not answered."""
    columns = [f"{name}={value}" for value in values]
    given = [column for column in columns if column in table.column_names]
    if given and len(given) < len(columns):
        raise DataError(
            f"{path} has probabilities for {len(given)} of {len(columns)} values of {name!r}; it lacks "
            f"{', '.join(sorted(set(columns) - set(given))[:NAMED])}"
        )
    if given:
        return _probabilities(table, columns, path)
    if name not in table.column_names:
        return None
    guesses = encode(name, table[name])
    words = np.array([*guesses.levels, ""], dtype=object)[guesses.codes]
    if len(odd := np.flatnonzero(~np.isin(words.astype(str), values))):
        said = f"{words[odd[0]]!r}" if words[odd[0]] else "nothing"
        raise DataError(
            f"{path} says {said} about {name!r} of {table['id'][int(odd[0])]} ({len(odd)} such answers); its values "
            f"are {', '.join(values)}"
        )
    return np.asarray(words.astype(str)[:, None] == np.array(values))


def _probabilities(table: pa.Table, columns: list[str], path: Path) -> Array:
    for column in columns:
        kind = table[column].type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise DataError(f"column {column!r} of {path} is of type {kind}; a probability is a number from 0 to 1")
    found = np.stack([table[c].cast(pa.float64()).fill_null(float("nan")).to_numpy() for c in columns], axis=1)
    with np.errstate(invalid="ignore"):
        wrong = ~np.isfinite(found).all(1) | (found < 0).any(1) | (np.abs(found.sum(1) - 1) > SUM)
    if len(odd := np.flatnonzero(wrong)):
        raise DataError(
            f"{path} has probabilities of {table['id'][int(odd[0])]} that are missing, negative or do not sum to one "
            f"({len(odd)} such rows): {', '.join(f'{v:g}' for v in found[odd[0]][:NAMED])}; give numbers from 0 to 1"
        )
    return np.asarray(found / found.sum(1, keepdims=True))
