"""A method is a file in the folder or an entry point of another package; both are found, named and spelled alike."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import pytest

import privet
from fresh import nothing_imported
from privet import registry
from privet.defense import FOLDER, Chain, parse, spell
from privet.errors import SpecError

METHOD = '''"""Doubling (a test, 2026): send 2 z. Deviations: none."""
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class {name}:
    summary: ClassVar[str] = "sends twice the representation"
    adaptive: ClassVar[str] = "halve it"
    answered_by: ClassVar[tuple[str, ...]] = ("informed_probe",)
    factor: float = 2.0

    def fit(self, split, corpus, *, effort, seed, progress=None):
        raise NotImplementedError
'''
LOOK = """
import json
from privet import registry
from privet.defense import parse, spell
texts = ["dropped:factor=3", "entered:factor=4", "as-module:factor=5", "dropped+entered:factor=.5"]
print(json.dumps({"names": registry.names("privet.defenses"), "spelled": [spell(parse(t)) for t in texts],
                  "same": [parse(spell(parse(t))) == parse(t) for t in texts],
                  "gaussian": type(parse("gaussian")).__module__, "from": registry.__file__}))
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a copy of the package finds that has one more file, beside another package with three entry points."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(Path(privet.__file__).parent, folder / "privet")
    (folder / "privet/defenses/dropped.py").write_text(METHOD.format(name="Dropped"))
    (folder / "elsewhere.py").write_text(METHOD.format(name="Elsewhere"))
    (folder / "another.py").write_text(METHOD.format(name="Another"))
    info = folder / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    points = "entered = elsewhere:Elsewhere\nas-module = another\ngaussian = elsewhere:Elsewhere\n"
    (info / "entry_points.txt").write_text(f"[privet.defenses]\n{points}")
    methods = ("privet", "elsewhere", "another")
    with nothing_imported(folder, names=methods), contextlib.redirect_stdout(io.StringIO()) as told:
        exec(LOOK, {})
    found: dict[str, Any] = json.loads(told.getvalue())
    assert found["from"].startswith(str(folder))
    return found


def test_dropped_file_is_found(copied: dict[str, Any]) -> None:
    assert set(copied["names"]) == {*registry.names(FOLDER), "dropped", "entered", "as_module"}
    assert copied["spelled"][0] == "dropped:factor=3.0"


def test_entry_point_is_found(copied: dict[str, Any]) -> None:
    assert copied["spelled"][1:] == ["entered:factor=4.0", "as_module:factor=5.0", "dropped+entered:factor=0.5"]
    assert all(copied["same"])


def test_entry_point_cannot_take_a_name_of_the_folder(copied: dict[str, Any]) -> None:
    assert copied["gaussian"] == "privet.defenses.gaussian"


def test_names_are_the_files() -> None:
    files = {p.stem for p in (Path(privet.__file__).parent / "defenses").glob("*.py") if not p.stem.startswith("_")}
    assert set(registry.names(FOLDER)) == files
    assert {"none", "gaussian", "random_channels", "signal_content", "coin_flip", "label_only"} <= files


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gausian", "did you mean 'gaussian'"),
        ("gaussian:sigmma=1", "did you mean 'sigma'"),
        ("gaussian:sigma", "write gaussian:sigma=VALUE"),
        ("gaussian:sigma=a", "must be a number"),
        ("gaussian:sigma=0", "positive finite"),
        ("gaussian:sigma=nan", "positive finite"),
        ("gaussian:sigma=1,sigma=2", "given twice"),
        ("random_channels:draw=smaple", "did you mean 'sample'"),
        ("random_channels:ratio=1", r"\[0, 1\)"),
        ("signal_content:keep=many", "must be a whole number or a number or free, got 'many'"),
        ("signal_content:keep=1.5", "share of the rank"),
        ("coin_flip:p=2", "probability"),
        ("", "no defense named ''"),
        ("none+", "did you mean 'none'"),
        ("none:x=1", "known: "),
    ],
)
def test_misspellings_teach(text: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        parse(text)


@pytest.mark.parametrize(
    ("text", "shortest"),
    [
        ("gaussian:sigma=1.0", "gaussian"),
        ("gaussian: sigma = 1e+20 ", "gaussian:sigma=1e+20"),
        ("random-channels:ratio=0.25,draw=batch", "random_channels:ratio=0.25,draw=batch"),
        ("signal_content:keep=8", "signal_content"),
        ("signal_content:keep=1.0", "signal_content:keep=1.0"),
        ("gaussian:sigma=.1+random_channels:ratio=.5", "gaussian:sigma=0.1+random_channels"),
        ("gaussian:sigma=1e+2 + none", "gaussian:sigma=100.0+none"),
    ],
)
def test_shortest_spelling(text: str, shortest: str) -> None:
    defense = parse(text)
    assert spell(defense) == shortest
    assert parse(shortest) == defense


def test_a_chain_has_two_links() -> None:
    with pytest.raises(SpecError, match="at least two"):
        Chain((parse("none"),))


@dataclass(frozen=True)
class Sample:
    """Every kind of option."""

    summary: ClassVar[str] = "a test"
    adaptive: ClassVar[str] = "a test"
    answered_by: ClassVar[tuple[str, ...]] = ("linear_probe",)
    count: int
    flag: bool = False
    limit: float | None = None
    word: str = "a"
    mode: Literal["x", "y"] = "x"


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find", lambda folder, name: Sample)
    monkeypatch.setattr(registry, "method_name", lambda method: "sample")


@pytest.mark.usefixtures("sampled")
def test_kinds_of_options() -> None:
    method = registry.parse(FOLDER, "sample:count=3,flag=yes,limit=2,word=b,mode=y")
    assert method == Sample(3, True, 2.0, "b", "y")
    assert registry.parse(FOLDER, registry.spell(method)) == method
    assert registry.parse(FOLDER, "sample:count=3,limit=none") == Sample(3)
    with pytest.raises(SpecError, match="needs count"):
        registry.parse(FOLDER, "sample")
    with pytest.raises(SpecError, match="must be true or false"):
        registry.parse(FOLDER, "sample:count=1,flag=maybe")
    with pytest.raises(SpecError, match="must be a whole number"):
        registry.parse(FOLDER, "sample:count=1.5")


def module(text: str, doc: str | None = "A source.") -> ModuleType:
    made = ModuleType("made_method", doc)
    sys.modules["made_method"] = made
    exec(compile(text, "made_method", "exec"), made.__dict__)
    return made


HEAD = "from dataclasses import dataclass\n"
GOOD = (
    "@dataclass(frozen=True)\nclass A:\n    summary = 'one line'\n    adaptive = 'a card'\n    answered_by = ('a',)\n"
)


@pytest.mark.parametrize(
    ("text", "doc", "says"),
    [
        (HEAD + GOOD, None, "docstring"),
        (HEAD + GOOD.replace("adaptive", "adaptable"), "A source.", "`adaptive`"),
        (HEAD + GOOD.replace("'one line'", "''"), "A source.", "`summary`"),
        (HEAD + GOOD.replace("('a',)", "()"), "A source.", "`answered_by`"),
        (HEAD + GOOD + GOOD.replace("class A", "class B"), "A source.", "one dataclass"),
        ("class A:\n    summary = 'x'", "A source.", "one dataclass"),
    ],
)
def test_incomplete_methods_refused(text: str, doc: str | None, says: str) -> None:
    try:
        with pytest.raises(SpecError, match=says):
            registry._method_of(module(text, doc), FOLDER)
    finally:
        sys.modules.pop("made_method", None)


def test_complete_method_accepted() -> None:
    try:
        assert registry._method_of(module(HEAD + GOOD), FOLDER).__name__ == "A"
    finally:
        sys.modules.pop("made_method", None)
