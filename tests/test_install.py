"""The base package, installed into a bare environment: no torch, and it says what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "sklearn", "scipy", "pyarrow", "jinja2", "onnx", "onnxruntime")
LIGHT = (
    "privet",
    "privet.payload",
    "privet.errors",
    "privet.registry",
    "privet.metrics",
    "privet.data.corpus",
    "privet.cli",
)


def call(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command outside the repository, so that nothing is imported from the working folder."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")} | environment
    return subprocess.run(
        command, cwd=Path(sys.executable).parent, env=clean, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that holds the base package alone."""
    root = tmp_path_factory.mktemp("bare")
    programs = root / "venv" / ("Scripts" if os.name == "nt" else "bin")
    if call(sys.executable, "-m", "uv", "--version").returncode == 0:
        uv = (sys.executable, "-m", "uv")
        make = (*uv, "venv", "--quiet", "--python", sys.executable)
        # uv would take an earlier build of the same folder from its cache
        install = (*uv, "pip", "install", "--quiet", "--refresh-package", "privet", "--python", programs / "python")
    else:
        make = (sys.executable, "-m", "venv")
        install = (programs / "python", "-m", "pip", "install", "--quiet")
    install = (*install, "-c", REPO / "constraints.txt")
    assert call(*make, root / "venv").returncode == 0
    needed = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["dependencies"]
    done = call(*install, *needed)
    if done.returncode:
        pytest.skip(f"the package registry cannot be reached from here: {done.stderr.strip().splitlines()[-1]}")
    done = call(*install, REPO)
    assert done.returncode == 0, done.stderr
    return programs


def test_the_base_brings_nothing_heavy(bare: Path) -> None:
    look = f"import importlib.util as u; print([m for m in {HEAVY} if u.find_spec(m)])"
    assert call(bare / "python", "-c", look).stdout.strip() == "[]"


@pytest.mark.parametrize("module", LIGHT)
def test_the_base_imports(bare: Path, module: str) -> None:
    done = call(bare / "python", "-c", f"import {module} as m; print(m.__file__)")
    assert done.returncode == 0, done.stderr
    assert str(bare.parent) in done.stdout, "the package under test is not the installed one"


def test_the_base_knows_its_version(bare: Path) -> None:
    version = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["version"]
    assert call(bare / "python", "-c", "import privet; print(privet.__version__)").stdout.strip() == version


def test_the_base_says_that_it_is_typed(bare: Path) -> None:
    look = "import privet, pathlib; print((pathlib.Path(privet.__file__).parent / 'py.typed').is_file())"
    assert call(bare / "python", "-c", look).stdout.strip() == "True"


def test_help_needs_no_torch(bare: Path) -> None:
    done = call(bare / "privet", "--help")
    assert done.returncode == 0, done.stderr
    assert "audit" in done.stdout


def test_audit_names_the_missing_extra(bare: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call(
        bare / "privet", "audit", "--data", "digits", "--defense", "none", "--out", out, COLUMNS="240", TERM="dumb"
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert "pip install 'privet[lab]'" in lines[0]
    assert not out.exists()


def test_python_names_the_missing_extra(bare: Path) -> None:
    done = call(bare / "python", "-c", "import privet; privet.audit('digits')")
    assert done.returncode == 1
    assert "privet[lab]" in done.stderr.strip().splitlines()[-1]
