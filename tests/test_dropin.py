"""A defense or an attack is one file: dropped into a copy of the package, or brought by another package's entry point,
it is in the lists, the audit, the report, the conformance tests and the docs with no other edit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import privet
from privet import registry

REPO = Path(__file__).resolve().parents[1]
DEFENSE = '''"""Fading: a fraction of the representation (a test, 2026).

    z' = factor * z

Deviations: none."""
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
from privet.defense import Defended, Obfuscator
from privet.payload import Field


class _Fade(Obfuscator):
    def __init__(self, shape, factor):
        super().__init__()
        self.factor, self.signature = factor, (Field("z", "float16", shape),)

    def encode(self, z, *noise):
        return (self.factor * z,)

    def decode(self, *tensors):
        return tensors[0]


@dataclass(frozen=True)
class NAME:
    """Fade every value."""

    summary: ClassVar[str] = "SUMMARY"
    adaptive: ClassVar[str] = "divide by the factor"
    answered_by: ClassVar[tuple[str, ...]] = ("informed_probe",)
    factor: float = 0.5

    def fit(self, split, corpus, *, effort, seed, progress=None):
        return Defended.of(split.copy(), _Fade(split.shape, self.factor), "it only scales")
'''
ATTACK = '''"""Frequencies: the frequencies among aux, whatever the payload says (a test, 2026).

    p(s | payload) = p(s)

Deviations: none."""
from __future__ import annotations
from dataclasses import dataclass
from typing import ClassVar
import torch


@dataclass(frozen=True)
class NAME:
    """Ignore the payload."""

    summary: ClassVar[str] = "SUMMARY"
    goal: ClassVar[str] = "attribute"
    needs: ClassVar[frozenset] = frozenset({"labels"})

    def fit(self, train, s, val, s_val, *, classes, effort, seed, device="cpu"):
        counts = torch.bincount(s, minlength=classes).float()
        return lambda view: (counts / counts.sum()).expand(len(view), classes)
'''
POINTS = """[privet.defenses]
entered-fade = elsewhere_defense:EnteredFade
[privet.attacks]
entered-guess = elsewhere_attack:EnteredGuess
"""
DROPPED, ENTERED = ("dropped_fade", "dropped_guess"), ("entered_fade", "entered_guess")


@dataclass(frozen=True)
class Copy:
    """A copy of the package with a file more in each folder, and another package beside it."""

    folder: Path
    environment: dict[str, str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=300
        )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    folder = tmp_path_factory.mktemp("dropin")
    package = folder / "src" / "privet"
    shutil.copytree(Path(privet.__file__).parent, package)

    def write(path: Path, text: str, name: str, summary: str) -> None:
        path.write_text(text.replace("NAME", name).replace("SUMMARY", summary))

    write(package / "defenses" / "dropped_fade.py", DEFENSE, "DroppedFade", "a dropped defense that fades")
    write(package / "attacks" / "dropped_guess.py", ATTACK, "DroppedGuess", "a dropped attack that guesses")
    write(folder / "src" / "elsewhere_defense.py", DEFENSE, "EnteredFade", "an entered defense that fades")
    write(folder / "src" / "elsewhere_attack.py", ATTACK, "EnteredGuess", "an entered attack that guesses")
    info = folder / "src" / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    for name in ("tests", "scripts", "docs"):
        if (REPO / name).is_dir():
            shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("golden"))
    path = os.pathsep.join(map(str, (folder / "src", folder / "tests")))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return Copy(folder, environment)


ALL = """
import contextlib, io, json, runpy, sys
import driver, pytest
from privet.__main__ import main

def told(*words):
    sys.argv = ["privet", *words]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.suppress(SystemExit):
            main()
    return [json.loads(line) for line in out.getvalue().splitlines()]

asked = "audit --limit 60 --effort tiny --seeds 1 --jobs 1 --defense dropped_fade:factor=.25 --defense entered-fade"
found = {"defenses": told("defenses", "--json"), "attacks": told("attacks", "--json")}
found["audit"] = told(*asked.split(), "--out", "out", "--json")
sys.argv = ["generate_docs.py", "--to", "made"]
with contextlib.suppress(SystemExit, FileNotFoundError), contextlib.redirect_stdout(sys.stderr):
    runpy.run_path("scripts/generate_docs.py", run_name="__main__")
class Collected:
    names = []

    def pytest_itemcollected(self, item):
        self.names.append(item.nodeid)

quiet = ["-q", "-p", "no:cacheprovider", "-k", "planted and dropped_guess"]
with contextlib.redirect_stdout(io.StringIO()):
    asked = ["tests/defenses/test_conformance.py", "tests/attacks/test_attack_conformance.py"]
    found["caught"] = int(pytest.main([*quiet, *asked], plugins=[Collected()]))
found["collected"] = Collected.names
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(copy: Copy) -> dict[str, Any]:
    """What the copy lists, audits and writes."""
    done = copy.run("-c", ALL)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("verb", ["defenses", "attacks"])
def test_both_are_listed(found: dict[str, Any], verb: str) -> None:
    listed = {row["name"]: row for row in found[verb]}
    added = {"defenses": {DROPPED[0], ENTERED[0]}, "attacks": {DROPPED[1], ENTERED[1]}}[verb]
    assert set(listed) == {*registry.names(f"privet.{verb}"), *added}
    assert all(listed[name]["summary"].endswith(("fades", "guesses")) for name in added)


def test_both_are_audited_and_reported(found: dict[str, Any], copy: Copy) -> None:
    rows = found["audit"]
    assert {r["defense"] for r in rows} == {"none", "dropped_fade:factor=.25", "entered-fade"}
    assert {DROPPED[1], ENTERED[1], "linear_probe", "decoder"} <= {r["attack"] for r in rows}
    page = (copy.folder / "out" / "report.html").read_text()
    for name in (*DROPPED, "entered-fade", ENTERED[1]):
        assert name in page


def test_both_are_in_the_docs(found: dict[str, Any], copy: Copy) -> None:
    if not (copy.folder / "scripts" / "generate_docs.py").is_file():
        pytest.skip("no scripts/generate_docs.py")
    cards = {p.stem: p.read_text() for p in (copy.folder / "made").rglob("*.md")}
    assert "a fraction of the representation" in cards["dropped_fade"]
    assert "whatever the payload says" in cards["dropped_guess"]


def test_both_meet_the_conformance_tests(found: dict[str, Any]) -> None:
    """The tests over the folders pick the new files up: the attack that only guesses is caught."""
    for name in (*DROPPED, *ENTERED):
        assert any(f"[{name}" in test or f"-{name}" in test for test in found["collected"]), name
    assert found["caught"] == 1
