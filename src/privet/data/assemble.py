"""From a name on the command line to a Corpus: find, ask, read, group, deal the roles, cut into parts."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privet.data import cache as store
from privet.data import digits, folder, hub, parquet
from privet.data.corpus import ROLES, Corpus, Part
from privet.data.deal import Dealt, deal
from privet.data.images import parse_resize
from privet.data.pool import most_frequent, pool
from privet.data.question import Question, ask
from privet.data.resample import dependent
from privet.data.roles import thin
from privet.data.sheet import Reader, Sheet, read_sheet
from privet.data.source import Progress, Source
from privet.data.tables import features
from privet.errors import DataError, PrivetError, SpecError

BUILT_IN = {"digits": digits.source}


def load(
    data: str,
    *,
    target: str | None = None,
    hidden: Sequence[str] = (),
    side: Sequence[str] = (),
    resize: str | None = None,
    aux: str | None = None,
    victims: str | None = None,
    group: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    cache: Path | None = None,
    on_bad: str = "skip",
    top: str | None = None,
    dependence: str | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Read a data set and deal its roles.

    data: `digits`, a Parquet file, a directory (train.parquet and test.parquet, shards of them, or labels.csv with
    pictures), `DIR/adult` for DIR/adult_train.parquet and DIR/adult_test.parquet, a CSV, or `hub:NAME`. A test split
    is the victim part and train gives the other four (40:10:25:5); one file gives all five (20 for the victims).
    target, hidden, side, group: column names; hidden=["all"] means every other column with labels,
    ["none"] none of them, where nobody attacks. aux, victims:
    further sets of the same layout for the adversary (its train split) and for the victims (its test split).
    resize: None (the shorter side to 50 px where both exceed it), "50", "HxW", "none". limit: size of the largest
    part, the others shrink in proportion. cache: folder for decoded pictures. on_bad: "skip" and count bad pictures,
    or "stop". top: "writer=100" keeps the examples of the 100 most frequent values of an attribute. dependence:
    "race=0.2" thins the examples until target and attribute share 0.2 nats.

    Raises DataError (the data, or what is asked of it), SpecError (an option), MissingExtra."""
    if limit is not None and limit < 1:
        raise SpecError(f"limit is {limit}; give the size of the largest part, 1 or more")
    reader = Reader(parse_resize(resize), cache or store.default_folder(), on_bad, progress)
    main = open_source(data)
    notes: list[str] = []
    if victims is not None and main.test is not None:
        notes.append(f"the test split of {main.name} is left out, for the victims come from another set")
        main = replace(main, test=None)
    columns = main.columns()
    question = ask(main, columns, target, hidden, side, group)
    sheets = [read_sheet(main, columns, reader, ("main", "test"), columns)]
    for origin, place in (("aux", aux), ("victims", victims)):
        if place is not None:
            sheets.append(_further(place, origin, reader, sheets[0], notes))
    pooled = pool(sheets, question)
    if top is not None:
        pooled = most_frequent(pooled, question, top)
    if dependence is not None:
        pooled = dependent(pooled, question, dependence, seed)
    dealt = deal(pooled, question, group is not None, seed)
    if limit is not None:
        rows = thin(dealt.roles, limit, seed)
        if len(rows) < len(dealt.roles):
            notes.append(f"the largest part is limited to {limit} examples: {len(rows)} of {len(dealt.roles)} are used")
        dealt = replace(dealt, pool=dealt.pool.take(rows), roles=dealt.roles[rows], groups=dealt.groups[rows])
    return _corpus(main.name, question, dealt, notes)


def open_source(data: str) -> Source:
    """The source behind a name; DataError where there is nothing, with what was near, or it cannot be read."""
    try:
        return _open(data)
    except PrivetError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # no permission, a folder for a file, a name too long, NUL
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        if isinstance(error, OSError) and error.strerror:
            reason = f"{Path(str(error.filename or '')).name[:80]}: {error.strerror}".removeprefix(": ")
        raise DataError(
            f"the data at {_brief(data)} cannot be read ({reason}); give digits, a Parquet or CSV file, "
            "or a directory that you may read"
        ) from error


def _brief(name: str) -> str:
    return repr(name if len(name) <= 120 else f"{name[:117]}...")


def _open(data: str) -> Source:
    if data in BUILT_IN:
        return BUILT_IN[data]()
    if data.startswith("hub:"):
        return hub.source(data.removeprefix("hub:"))
    path = Path(data).expanduser()
    if path.is_file() and path.suffix.lower() in (".csv", ".tsv"):
        return folder.source(path)
    if path.is_file() and path.suffix.lower() != ".parquet":
        raise DataError(f"{data!r} is neither .parquet nor .csv; convert it to one of them")
    if parquet.find(path):
        return parquet.source(path)
    if path.is_dir() and (labels := folder.find(path)):
        return folder.source(labels)
    if path.is_dir():
        held = parquet.pairs(path)
        tables = ", ".join(f"{path}/{name}" for name in held)
        hint = f"it holds tables, name one: {tables}" if held else "add one of them"
        raise DataError(f"the directory {data!r} has no train*.parquet, single .parquet or labels.csv; {hint}")
    near = difflib.get_close_matches(data.lower(), BUILT_IN, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise DataError(f"no data at {_brief(data)}; {hint}give digits, a Parquet or CSV file, a directory, or hub:NAME")


def _further(place: str, origin: str, reader: Reader, main: Sheet, notes: list[str]) -> Sheet:
    """A further set at the main set's picture size: its train split for the adversary, its test split for the
    victims."""
    source = open_source(place)
    if source.test is not None:
        kept, split = (source.train, "train") if origin == "aux" else (source.test, "test")
        source = Source(source.name, kept)
        notes.append(f"{origin}: the {split} split of {source.name}")
    columns = source.columns()
    if source.kind == "table" and not columns.keys() & main.columns.keys():
        raise DataError(
            f"{origin}: {source.name} has none of the columns of {main.name} ({', '.join(list(main.columns)[:5])}); "
            "give a set of the same layout"
        )
    if main.x is not None and source.train.pictures is not None:
        size = parse_resize(f"{main.x.shape[2]}x{main.x.shape[3]}")
        reader = replace(reader, resize=size)
    return read_sheet(source, columns, reader, (origin,), main.columns)


def _corpus(name: str, question: Question, dealt: Dealt, notes: list[str]) -> Corpus:
    """Cut the dealt pool into parts."""
    pooled = dealt.pool
    codes = {attribute: pooled.columns[attribute].codes for attribute in question.attributes}
    notes = [*question.notes, *notes, *pooled.notes, *dealt.notes]
    x, more = _inputs(question, dealt)
    notes += more
    parts = {}
    for role in ROLES:
        rows = np.flatnonzero(dealt.roles == role)
        s = {attribute: codes[attribute][rows] for attribute in question.attributes if attribute != question.target}
        parts[role] = Part(pooled.ids[rows], dealt.groups[rows], x[rows], codes[question.target][rows], s)
    missing, more = label_notes(parts, question)
    flags = (*question.flags, *pooled.flags, *dealt.flags, *(["labels_missing"] if missing else []))
    return Corpus(
        name=name,
        kind=pooled.kind,
        target=question.target,
        hidden=question.hidden,
        side=question.side,
        classes={attribute: pooled.columns[attribute].levels for attribute in question.attributes},
        parts=parts,
        notes=(*notes, *more),
        flags=tuple(dict.fromkeys(flags)),
        person=question.group or "" if pooled.persons is not None else "",
    )


def _inputs(question: Question, dealt: Dealt) -> tuple[npt.NDArray[np.uint8] | npt.NDArray[np.float32], list[str]]:
    """x [N, ...]: the pictures, or the features of a table (without target, hidden and side columns)."""
    pooled = dealt.pool
    if pooled.x is not None:
        return pooled.x, []
    out = {*question.attributes, question.group}
    columns = {name: column for name, column in pooled.columns.items() if name not in out}
    secret = {name: pooled.columns[name].codes for name in (question.target, *question.hidden)}
    made = features(columns, dealt.roles == "task_train", secret)
    left_out = ", ".join((*question.hidden, *question.side))
    without = f"; the hidden and side columns ({left_out}) are not among them" if left_out else ""
    return made.x, [f"x is {made.x.shape[1]} features{without}", *made.notes]


def label_notes(parts: Mapping[str, Part], question: Question) -> tuple[bool, list[str]]:
    """Whether labels are missing, and notes on missing labels and rare classes. DataError where the owner's training
    data have one target class, or the adversary's one class of a hidden attribute, and where the victims are of one
    group or have no label of the target or of a hidden attribute."""
    notes = []
    missing = False
    if len(np.unique(parts["victim"].groups)) < 2:
        raise DataError("the victims are of one group only; give more data, more victims, or another group column")
    for name in question.attributes:
        labels = {role: part.y if name == question.target else part.s[name] for role, part in parts.items()}
        if name == question.target:  # which nobody attacks: an adversary's set may know nothing of it
            labels = {role: y for role, y in labels.items() if not role.startswith("aux") or np.any(y >= 0)}
        if absent := sum(int((codes < 0).sum()) for codes in labels.values()):
            missing = True
            notes.append(f"{absent} of {sum(map(len, labels.values()))} examples have no label of {name!r}")
        role = "task_train" if name == question.target else "aux_train"
        if name not in question.side and len(np.unique(labels[role][labels[role] >= 0])) < 2:
            raise DataError(f"{role} has fewer than two classes of {name!r}; give more data or another column")
        if name not in question.side and not np.any(labels["victim"] >= 0):
            raise DataError(f"no victim has a label of {name!r}; label the victims' data or give another column")
        if name in question.hidden:
            notes += _rare(name, labels)
    return missing, notes


def _rare(name: str, labels: Mapping[str, npt.NDArray[np.int64]]) -> list[str]:
    """A note for every part in which some class of a hidden attribute has fewer than two examples."""
    values = np.unique(np.concatenate(list(labels.values())))
    values = values[values >= 0]
    counts = {role: np.array([np.count_nonzero(codes == v) for v in values]) for role, codes in labels.items()}
    return [
        f"{int((count < 2).sum())} of {len(values)} classes of {name!r} have fewer than 2 examples in {role}"
        for role, count in counts.items()
        if np.any(count < 2)
    ]
