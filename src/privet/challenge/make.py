"""Make a challenge: the adversary's people with labels, the victims without, and a commitment to what is held back.

Names, order and salt come from the operating system, and so does the noise of a bundle: whoever knew the seed of either
could look the victims up in the data that they were taken from.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from privet.auditing import floors
from privet.auditing.estimate import estimate, weights
from privet.challenge import folder as place
from privet.challenge.folder import Secret
from privet.data.corpus import Part
from privet.errors import SpecError
from privet.payload import Array
from privet.recorded.study import Recording
from privet.recorded.system import Recordings, System
from privet.run import versions

SALT = 32  # bytes
REPLICATES = 400
TAKEN = ("id", "payload", "answer")


def make(study: Recording, out: Path, progress: Any = None) -> dict[str, Any]:
    """Write the folder `out` and its secret from payload files or a bundle; returns what challenge.json says.

    Raises RunError where something stands there, SpecError for more than one system or an attribute of a name that the
    tables use, and whatever reading the people raises."""
    place.check_target(out)
    if len(study.defenses) != 1:
        raise SpecError("a challenge is about one system; give one --payloads, and make a challenge for each")
    corpus = study.load(progress)
    assert isinstance(corpus, Recordings)
    if taken := [name for name in corpus.hidden if name in TAKEN]:
        raise SpecError(f"an attribute of a challenge cannot be called {taken[0]!r}; rename the column")
    system = corpus.systems[study.reference]
    generator = np.random.default_rng(secrets.randbits(128))
    roles = ("aux_train", "aux_val")
    train, at = _table(system, corpus, roles, "t", generator, labelled=True)
    owners = np.concatenate([corpus.parts[role].groups for role in roles])[at]
    payloads, order = _table(system, corpus, ("victim",), "v", generator, labelled=False)
    names = payloads["id"].to_pylist()
    told = {name: _names(corpus, corpus.victim, name)[order] for name in corpus.hidden}
    labels = {person: {name: told[name][row] for name in corpus.hidden} for row, person in enumerate(names)}
    persons = dict(zip(names, np.unique(corpus.victim.groups[order], return_inverse=True)[1].tolist(), strict=True))
    secret = Secret(secrets.token_hex(SALT), labels, persons)
    said = {
        "title": f"{study.reference}: can you tell {', '.join(corpus.hidden)} from the payload?",
        "attributes": {name: _question(corpus, name, train, owners) for name in corpus.hidden},
        "examples": {"train": len(train), "payloads": len(payloads)},
        "values": len(payloads["payload"][0]),
        "answer": "a CSV or Parquet file with a column id, and for each attribute either a column of that name with "
        "one of its values, or a column ATTRIBUTE=VALUE with a probability for every value",
        "privet": versions().get("privet"),
    }
    tables = {place.TRAIN: train, place.PAYLOADS: payloads}
    answered = all("answer" in table.column_names for table in tables.values())
    place.write(out, said, tables, _readme(said, out.name, answered), secret)
    return said


def _table(
    system: System, corpus: Recordings, roles: tuple[str, ...], letter: str, generator: np.random.Generator, *,
    labelled: bool,
) -> tuple[pa.Table, Array]:  # fmt: skip
    """A public table in random order under fresh names, and that order."""
    sent = [system.sent(corpus, role, secrets.randbits(64)) for role in roles]
    values = np.concatenate([payload for payload, _ in sent])
    order = generator.permutation(len(values))
    columns: dict[str, Any] = {
        "id": [f"{letter}{number:06d}" for number in range(len(values))],
        "payload": pa.FixedSizeListArray.from_arrays(pa.array(values[order].ravel()), values.shape[1]),
    }
    if all(answers is not None for _, answers in sent):
        answers = np.concatenate([answers for _, answers in sent if answers is not None])[order]
        columns["answer"] = np.array(corpus.classes[corpus.target], dtype=object)[answers]
    if labelled:
        for name in corpus.hidden:
            known = np.concatenate([_names(corpus, corpus.parts[role], name) for role in roles])
            columns[name] = pa.array(known[order].tolist(), pa.string())
    return pa.table(columns), order


def _names(corpus: Recordings, part: Part, attribute: str) -> Array:
    """Labels as words, None where there is none."""
    return np.array([*corpus.classes[attribute], None], dtype=object)[part.s[attribute]]


def _question(corpus: Recordings, attribute: str, train: pa.Table, owners: Array) -> dict[str, Any]:
    """The values of an attribute, and what is right without any payload, counted on the public people, of whom `owners`
    [N] says which rows are one person's."""
    labels = np.array(train[attribute].to_pylist(), dtype=object)
    classes = list(corpus.classes[attribute])
    s = np.array([-1 if label is None else classes.index(label) for label in labels])
    found = floor(s, classes, train["answer"].to_pylist() if "answer" in train.column_names else None)
    known = s >= 0
    rows, persons = weights(owners[known], REPLICATES, seed=0), len(np.unique(owners[known]))
    right = {name: (posterior[known].argmax(1) == s[known]).astype(np.float64) for name, posterior in found.items()}
    told = {name: estimate([rows @ r / rows.sum(1)], len(r), (0.0, 1.0), persons) for name, r in right.items()}
    return {"values": classes, "floor": {name: e.json() for name, e in told.items()}}


def floor(
    s: Array, classes: list[str], answers: list[str] | None, asked: list[str] | None = None
) -> Mapping[str, Array]:
    """What is guessed without a payload from labels s [N] (-1 missing) and answers: posteriors of `asked` (the answers
    of other people; the same ones where not given) by the name of the floor."""
    known = s >= 0
    people = len(s) if asked is None else len(asked)
    found = {"majority": floors.majority(s[known], len(classes), people).numpy()}
    if answers is not None:
        levels = sorted({*answers, *(asked or answers)})
        told, others = (np.array([levels.index(word) for word in words]) for words in (answers, asked or answers))
        found["label_only"] = floors.label_only(s[known], told[known], others, len(classes), len(levels)).numpy()
    return found


def _readme(said: Mapping[str, Any], name: str, answered: bool) -> str:
    """The challenge in words, for who has never heard of Privet."""
    tops = {a: max(q["floor"].values(), key=lambda e: e["mean"]) for a, q in said["attributes"].items()}
    asked = "\n".join(
        f"- `{a}`: {', '.join(q['values'])}; right without the payload for {tops[a]['mean']:.1%} of the people of "
        f"train.parquet (95 % interval {tops[a]['low']:.1%} to {tops[a]['high']:.1%})"
        for a, q in said["attributes"].items()
    )
    answer = (
        "\nThe column `answer` of both is what the system answered to each payload. It is no secret: whoever runs the "
        "service learns\nit anyway. Use it as you like. What can be told from it alone counts as known without the "
        "payload, and is no leak.\n"
        if answered
        else ""
    )
    first, question = next(iter(said["attributes"].items()))
    train, payloads = said["examples"]["train"], said["examples"]["payloads"]
    return f"""# {said["title"]}

A system sent one payload of each person, {said["values"]:,} numbers. `train.parquet` holds the payloads of {train:,}
people whose attributes are given; `payloads.parquet` those of {payloads:,} others. Tell theirs.
{answer}
{asked}

## How to answer

One file, CSV or Parquet, one row for every `id` of `payloads.parquet`. For each attribute that you answer, either a
guess

    id,{first}
    v000000,{question["values"][0]}

or, better, a probability for each value, that sum to one:

    id,{",".join(f"{first}={value}" for value in question["values"])}

Guesses get accuracy and balanced accuracy; probabilities also AUC, coverage at 95 % precision and the true positive
rate at 1 % false positives. Start from this:

```python
from pyarrow import csv, parquet, table
from sklearn.linear_model import LogisticRegression

train, asked = (parquet.read_table(name).to_pydict() for name in ("train.parquet", "payloads.parquet"))
known = [i for i, label in enumerate(train["{first}"]) if label is not None]
model = LogisticRegression(max_iter=1000)
model.fit([train["payload"][i] for i in known], [train["{first}"][i] for i in known])
guesses = model.predict(asked["payload"])
csv.write_csv(table({{"id": asked["id"], "{first}": guesses}}), "answers.csv")
```

## What is locked

`challenge.json` holds the sha256 of every file here and a commitment to the answers: sha256 over a random salt and the
labels of all ids. The maker scores with `privet challenge score {name} --answers FILE`, which refuses where a file or
a label was changed. When the maker publishes `{name}.secret.json`, anybody can score, and sees that no label was.
"""
