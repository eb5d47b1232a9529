"""The folder of a challenge, which everybody may see, and the secret beside it, which stays with its maker.

    DIR/train.parquet      the adversary's people: id, payload, labels (and the server's answer, where recorded)
    DIR/payloads.parquet   the victims: id, payload (and the answer), in random order under names drawn for this folder
    DIR/challenge.json     the question, how to answer, the sha256 of both files, and the commitment
    DIR/README.md          the same in words
    DIR.secret.json        salt, the victims' labels and persons, the sha256 of challenge.json

The commitment is sha256(salt + canonical JSON of the victims' labels and persons): who has it can tell later that the
labels are those of the first day, and nobody can guess them from it, because the salt has 256 random bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from privet import run
from privet.errors import RunError

FORMAT = 1
CHALLENGE, TRAIN, PAYLOADS, README = "challenge.json", "train.parquet", "payloads.parquet", "README.md"
LOCKED = (TRAIN, PAYLOADS, README)
SAID, KEPT = {"format", "files", "commitment"}, {"format", "challenge", "salt", "labels", "persons"}


@dataclass(frozen=True)
class Secret:
    """What the maker keeps: for every victim's id a label (None where unknown) of every attribute, and a person."""

    salt: str
    labels: dict[str, dict[str, str | None]]
    persons: dict[str, int]

    @property
    def commitment(self) -> str:
        """sha256 (hex) over the salt and the canonical labels and persons."""
        text = run.canonical({"labels": self.labels, "persons": self.persons})
        return hashlib.sha256((self.salt + text).encode()).hexdigest()


@dataclass(frozen=True)
class Challenge:
    """A verified challenge: what it says of itself, both tables, and the secret."""

    said: dict[str, Any]
    train: pa.Table
    payloads: pa.Table
    secret: Secret


def secret_path(folder: Path) -> Path:
    """Where the secret lies, unless it was moved."""
    return folder.parent / f"{folder.name}.secret.json"


def check_target(folder: Path) -> None:
    """RunError where something stands already: what was published is never replaced."""
    if folder.is_symlink() or folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise RunError(f"{folder} is there already; a challenge is published once: give a folder that is new or empty")
    if secret_path(folder).exists():
        raise RunError(f"the secret of another challenge lies at {secret_path(folder)}; give another --out")


def write(folder: Path, said: Mapping[str, Any], tables: Mapping[str, pa.Table], readme: str, secret: Secret) -> None:
    """Write folder and secret, or neither. RunError where the disk does not take them."""
    kept = secret_path(folder)
    try:
        with run.replacing_folder(folder) as draft:
            for name, table in tables.items():
                pq.write_table(table, draft / name)
            (draft / README).write_text(readme, encoding="utf-8")
            files = {name: run.file_hash(draft / name) for name in LOCKED}
            whole = dict(said) | {"format": FORMAT, "files": files, "commitment": secret.commitment}
            text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False)
            (draft / CHALLENGE).write_text(text + "\n", encoding="utf-8")
            hidden = {
                "format": FORMAT, "challenge": run.file_hash(draft / CHALLENGE), "salt": secret.salt,
                "labels": secret.labels, "persons": secret.persons,
            }  # fmt: skip
            run.write_text(kept, run.canonical(hidden) + "\n", mode=0o600)
    except BaseException:
        if kept.exists() and not (folder / CHALLENGE).exists():
            kept.unlink()
        raise


def read(folder: Path, secret: Path | None = None) -> Challenge:
    """A challenge with its secret; RunError where a file is missing, or is not the one that was published."""
    if not (folder / CHALLENGE).is_file():
        raise RunError(f"{folder} is not a challenge, it has no {CHALLENGE}; give the folder that challenge make wrote")
    place = secret or secret_path(folder)
    said = _json(folder / CHALLENGE, SAID, "a published challenge", "take the published copy")
    kept = _json(place, KEPT, "a challenge's secret", f"give the maker's {secret_path(folder).name} with --secret")
    try:
        hidden = Secret(str(kept["salt"]), dict(kept["labels"]), dict(kept["persons"]))
        files, commitment, published = dict(said["files"]), said["commitment"], kept["challenge"]
        formats = {said["format"], kept["format"]}
    except (TypeError, ValueError) as problem:
        raise RunError(f"{folder / CHALLENGE} or {place} is damaged; take the published copy") from problem
    if formats != {FORMAT}:
        raise RunError(f"{folder} has format {sorted(map(str, formats))}, this privet reads {FORMAT}")
    if run.file_hash(folder / CHALLENGE) != published:
        raise RunError(f"{CHALLENGE} is not the one that {place.name} was made with; take the published copy")
    if set(files) != set(LOCKED):
        raise RunError(f"{CHALLENGE} names other files than {', '.join(LOCKED)}; take the published copy")
    for name, wanted in files.items():
        if not (folder / name).is_file() or run.file_hash(folder / name) != wanted:
            raise RunError(f"{name} is not the file that was published (its sha256 differs); take the published copy")
    if hidden.commitment != commitment:
        raise RunError(
            f"the labels in {place.name} are not those that the commitment of {CHALLENGE} was made for: they were "
            "changed after it was published, or it is the secret of another challenge"
        )
    try:
        tables = [pq.read_table(folder / name) for name in (TRAIN, PAYLOADS)]
    except (pa.ArrowException, OSError) as problem:
        raise RunError(f"{folder} cannot be read ({str(problem)[:120]}); take the published copy") from problem
    return Challenge(said, tables[0], tables[1], hidden)


def _json(path: Path, names: set[str], what: str, remedy: str) -> dict[str, Any]:
    """The object in a file; RunError where there is none, or where it lacks one of these names."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        raise RunError(f"there is no {path}; give the maker's secret file with --secret") from problem
    except OSError as problem:
        raise RunError(f"{path} cannot be read ({problem.strerror}); {remedy}") from problem
    except ValueError as problem:
        raise RunError(f"{path} is not {what}, it holds no JSON; {remedy}") from problem
    if not isinstance(found, dict):
        raise RunError(f"{path} is not {what}; {remedy}")
    if missing := sorted(names - found.keys()):
        raise RunError(f"{path} is not {what}, it has no {', '.join(missing)}; {remedy}")
    return found
