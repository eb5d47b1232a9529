"""The repository around the package: prose that runs, names that exist, versions that agree, nothing of one machine."""

from __future__ import annotations

import functools
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import privet
from fresh import nothing_imported

REPO = Path(__file__).resolve().parents[1]
SUFFIXES = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".html", ".css", ".js", ".cfg", ".sh", ""}
COMMAND = re.compile(r"^privet[ \t]+(?P<verb>[a-z-]+)(?P<rest>.*)$", re.MULTILINE)
PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", REPO / "CHANGELOG.md", *sorted((REPO / "docs").rglob("*.md"))]


def tracked() -> list[Path]:
    """Files that are, or would be, committed."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        out = subprocess.run(listing, cwd=REPO, check=True, capture_output=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError) as problem:
        pytest.skip(f"git cannot list the files of {REPO.name}: {problem}")
    return [REPO / name for name in out.split("\0") if name and (REPO / name).is_file()]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def named(page: Path) -> str:
    return page.relative_to(REPO).as_posix()


def exists(name: str) -> bool:
    """Whether a dotted name imports, the last parts perhaps as attributes."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_no_file_names_a_place_of_one_machine() -> None:
    places = re.compile("|".join(f"/{folder}/" for folder in ("work", "farm", "tmp", "home/[a-z]", "opt/[a-z]")))
    met = []
    for path in tracked():
        if path.suffix in SUFFIXES and path != Path(__file__):
            lines = path.read_text(errors="replace").splitlines()
            met += [
                f"{named(path)}:{number}: {line.strip()}" for number, line in enumerate(lines, 1) if places.search(line)
            ]
    assert not met, "\n".join(met)


def test_no_large_file() -> None:
    assert [named(path) for path in tracked() if path.stat().st_size > 2_000_000] == []


def test_scripts_run() -> None:
    scripts = [p for p in (REPO / "scripts").iterdir() if p.is_file() and not p.suffix and not p.name.startswith("_")]
    scripts.append(REPO / ".ci" / "run")
    assert {"demo", "test", "check", "bench", "docs"} <= {path.name for path in scripts}
    for path in scripts:
        assert os.access(path, os.X_OK), f"{named(path)} has no run bit"
        assert path.read_text().startswith("#!/usr/bin/env bash\n")
        assert subprocess.run(["bash", "-n", path], check=False).returncode == 0, f"{named(path)} is not shell"


def test_integration_runs_the_tests_of_the_readme() -> None:
    assert "\nscripts/test" in (REPO / ".ci" / "run").read_text()
    assert "\nscripts/test" in "\n".join(blocks(REPO / "README.md", "sh"))


def test_one_license() -> None:
    text = (REPO / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert project()["license"] == "Apache-2.0"


def test_one_version() -> None:
    version = project()["version"]
    assert privet.__version__ == version
    assert f"\n## {version}" in (REPO / "CHANGELOG.md").read_text()
    assert f"{{{version}}}" in (REPO / "README.md").read_text()


def test_constraints_are_of_no_machine() -> None:
    lines = (REPO / "constraints.txt").read_text().splitlines()
    assert len(lines) > 20
    wrong = [line for line in lines if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[0-9][0-9a-z.]*", line)]
    assert not wrong, "a constraint is name==version, without location and local suffix"


def test_constraints_pin_what_is_declared() -> None:
    pinned = {line.partition("==")[0] for line in (REPO / "constraints.txt").read_text().splitlines()}
    declared = [
        *project()["dependencies"],
        *(d for extra in project()["optional-dependencies"].values() for d in extra),
    ]
    names = {re.split(r"[\[<>=]", requirement)[0] for requirement in declared}
    assert names - pinned == {"privet"}


def test_pages_name_what_exists() -> None:
    wrong = []
    for page in PAGES:
        for name in sorted(set(re.findall(r"(?<![\w/.-])privet(?:\.[A-Za-z_]\w*)+", page.read_text()))):
            if not exists(name):
                wrong.append(f"{named(page)}: {name}")
    assert not wrong, "\n".join(wrong)


def test_pages_link_to_what_exists() -> None:
    wrong = []
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            if not (page.parent / target).exists():
                wrong.append(f"{named(page)}: {target}")
        for path in re.findall(r"`((?:scripts|docs|src|tests|\.ci)/[\w/.-]+)`", page.read_text()):
            if not (REPO / path).exists():
                wrong.append(f"{named(page)}: {path}")
    assert not wrong, "\n".join(wrong)


def test_layout_of_the_readme_exists() -> None:
    layout = (REPO / "README.md").read_text().partition("## Layout")[2].partition("```\n")[2].partition("```")[0]
    rows = [line.split() for line in layout.splitlines()]
    paths = [word.rstrip(",") for row in rows for word in row[: 3 if row[0].endswith(",") else 1]]
    assert len(paths) >= 8
    assert [path for path in paths if not (REPO / path).exists()] == []


def commands() -> list[tuple[str, str, str]]:
    """Every `privet VERB ...` line of a shell block: page, verb, rest."""
    found = []
    for page in PAGES:
        for block in blocks(page, "sh"):
            found += [(named(page), m["verb"], m["rest"]) for m in COMMAND.finditer(block.replace("\\\n", " "))]
    return found


def test_commands_of_the_pages_exist() -> None:
    assert "audit" in {verb for _, verb, _ in commands()}
    for page, verb, rest in commands():
        for option in re.findall(r"(?<=\s)--[a-z-]+", rest):
            assert re.search(rf"{option}\b", helped(verb)), f"{page}: privet {verb} has no {option}"


def test_options_of_the_prose_exist() -> None:
    everything = "".join(
        helped(verb)
        for verb in (
            "audit",
            "challenge",
            "cuts",
            "fit",
            "fit-cloud",
            "plan",
            "profile",
            "release",
            "reproduce",
            "report",
            "compare",
        )
    )
    ours = everything + "--heavy --check --to"
    for page in PAGES:
        for option in re.findall(r"`[^`\n]*?(--[a-z][a-z-]+)", page.read_text()):
            assert re.search(rf"{option}\b", ours), f"{named(page)}: no command has {option}"


def test_blocks_of_the_shell_name_scripts_that_exist() -> None:
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in filter(None, (line.strip() for line in block.replace("\\\n", " ").splitlines())):
                word = line.split()[0]
                assert word in ("privet", "pip") or (REPO / word).is_file(), f"{named(page)}: {line}"


@pytest.mark.heavy
@pytest.mark.parametrize("index", range(len(blocks(REPO / "README.md", "python"))))
def test_python_of_the_readme_runs(index: int, tmp_path: Path) -> None:
    code = blocks(REPO / "README.md", "python")[index]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "signal_content:keep=4" in done.stdout
    assert list(tmp_path.rglob("report.html"))


def test_the_line_of_python_stands_beside_the_rooms() -> None:
    """A function and a room of the package may not fight for one name, whichever is imported first."""
    rooms_first = "import privet.auditing.threat, privet; assert callable(privet.audit)"
    line_first = "import privet; privet.audit; import privet.auditing.flags as flags; assert flags.FLAGS"
    for code in (rooms_first, line_first):
        with nothing_imported():
            exec(code, {})


def test_skeletons_are_methods(tmp_path: Path) -> None:
    """Each skeleton, dropped into the folder of a copy of the package, is found, parsed and given its card."""
    shutil.copytree(REPO / "src" / "privet", tmp_path / "privet")
    lines = ["import generate_docs, privet.registry as registry"]
    lines.append(f"assert registry.__file__.startswith({str(tmp_path)!r})")
    for code in blocks(REPO / "CONTRIBUTING.md", "python"):
        if "privet.recipes" in code:
            (tmp_path / "privet" / "recipes" / "skeleton.py").write_text(code)
            lines.append("from privet import recipes; assert [c.id for c in recipes.load('skeleton').claims] == ['1a']")
            continue
        kind = "defenses" if "privet.defense " in code else "attacks"
        (tmp_path / "privet" / kind / "skeleton.py").write_text(code)
        lines.append(f"method = registry.parse('privet.{kind}', 'skeleton')")
        lines.append("assert registry.spell(method) == 'skeleton', method")
        lines.append(f"assert '| option |' in generate_docs.pages()['methods/{kind}/skeleton.md']")
    assert len(lines) == 9
    with nothing_imported(tmp_path, REPO / "scripts", names=("privet", "generate_docs")):
        exec("\n".join(lines), {})


def test_generated_pages_are_fresh(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(REPO / "scripts"))
    generate = importlib.import_module("generate_docs")
    assert generate.main(["--check"]) == 0, capsys.readouterr().out


def test_every_threat_is_described() -> None:
    from privet.auditing.threat import THREATS

    text = (REPO / "docs" / "threats.md").read_text()
    assert [name for name in THREATS if f"| `{name}` |" not in text] == []


def project() -> dict[str, Any]:
    return tomllib.loads((REPO / "pyproject.toml").read_text())["project"]


@functools.cache
def helped(verb: str) -> str:
    """`privet VERB --help`, wide and plain; of a verb that has verbs of its own, theirs, too."""
    below = {"challenge": ("make", "score")}.get(verb, ())
    return "".join(_help(verb, *rest) for rest in ((), *((name,) for name in below)))


def _help(*verbs: str) -> str:
    from privet.cli import app

    environment = {"COLUMNS": "240", "TERM": "dumb", "NO_COLOR": "1"}
    done = CliRunner().invoke(app, [*verbs, "--help"], env=environment)
    assert done.exit_code == 0, f"privet {' '.join(verbs)} --help: {done.output}"
    return done.output
