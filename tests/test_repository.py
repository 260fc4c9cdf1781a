"""What holds for the repository as a whole: its shape, sizes, pins and notebooks."""

import ast
import functools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pbe_lite import config

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = set(
    "notebooks pbe_lite data tests requirements.txt README.md pyproject.toml setup.py"
    " MANIFEST.in Makefile LICENSE CHANGELOG.md CITATION.cff CONTRIBUTING.md .gitignore"
    " .pre-commit-config.yaml .ci .github docs".split()
)
MODULES = sorted((ROOT / "pbe_lite").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MEGABYTE = 1e6


def tracked_files():
    """Return the paths that git tracks, relative to ROOT; skip the test without git."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    try:
        run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no git here")
    assert run.returncode == 0, run.stderr.decode()
    paths = map(Path, run.stdout.decode().split("\0")[:-1])
    return [path for path in paths if (ROOT / path).is_file()]


def megabytes_under(folder):
    files = [path for path in tracked_files() if path.is_relative_to(folder)]
    return sum((ROOT / path).stat().st_size for path in files) / MEGABYTE


def test_top_level_holds_only_what_it_may():
    assert {path.parts[0] for path in tracked_files()} <= TOP_LEVEL


def test_what_is_shipped_stays_small():
    assert megabytes_under("data/weights") <= 50
    assert megabytes_under("data/sprites") <= 5


# ------------------------------------------------------------------- requirements


def pins():
    """Return name -> version of requirements.txt; everything but `-e .` is pinned."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    assert lines.pop() == "-e ."
    return dict(line.split("==") for line in lines)


def test_pins_satisfy_the_ranges():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]  # Sphinx makes the site, and runs no test
    requires = sum((v for k, v in extras.items() if k != "site"), project["dependencies"])
    ranges = {r.name: r.specifier for r in map(Requirement, requires)}
    assert set(pins()) == set(ranges)
    for name, version in pins().items():
        assert Version(version) in ranges[name], f"{name}=={version} not {ranges[name]}"


def test_torch_is_pinned_and_torchvision_is_not_needed():
    assert pins()["torch"] == "2.13.0" and "torchvision" not in pins()


def imported(source):
    """The top-level names that a piece of Python imports, but for Python's own."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module)
    return {name.split(".")[0] for name in found} - set(sys.stdlib_module_names)


@functools.cache
def homes_of_modules():
    """{module: [distributions]} of what is installed here: PIL comes from pillow."""
    return metadata.packages_distributions()


def undeclared(source, *extras):
    """What a piece of Python imports although neither pyproject's dependencies nor those
    of the extras name it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *map(project["optional-dependencies"].get, extras)]
    declared = {canonicalize_name(Requirement(r).name) for rs in lists for r in rs}
    homes = homes_of_modules()
    return {name for name in imported(source) - {"pbe_lite"}
            if not declared & set(map(canonicalize_name, homes.get(name, [name])))}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_all_that_the_package_imports_is_declared(path):
    extras = ["classroom"] if path.parent.name == "classroom" else []
    # training with 8-bit states asks for bitsandbytes, which not every system can have
    asked_for = {"bitsandbytes"} if path.name == "optim.py" else set()
    assert undeclared(path.read_text(), *extras) == asked_for


def test_all_that_the_tests_import_is_declared():
    ours = {path.stem for path in (ROOT / "tests").iterdir()}
    for path in (ROOT / "tests").rglob("*.py"):
        assert undeclared(path.read_text(), "classroom", "test") <= ours, path


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_all_that_a_notebook_imports_is_declared(path):
    cells = code_cells(json.loads(path.read_text(encoding="utf-8")))
    plain = [text for text in map(cell_source, cells) if not text.startswith("%%")]
    lines = [line for text in plain for line in text.splitlines()
             if not line.lstrip().startswith(("%", "!"))]
    written = {"toy", "package"}  # lesson 10 writes both
    assert undeclared("\n".join(lines)) <= written


def test_an_undeclared_import_is_found():
    assert undeclared("import torch\nimport os\nimport keras.layers") == {"keras"}
    assert undeclared("def f():\n    from nbgrader import api") == {"nbgrader"}
    assert undeclared("from . import toy\nimport PIL, sklearn") == set()


# ------------------------------------------------------------------------ package


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_long(path):
    assert len(path.read_text().splitlines()) <= 250


def broken_contracts(root):
    """Return what import-linter says of the package in `root`, empty if all is well."""
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    run = subprocess.run(
        [sys.executable, "-c", lint, ROOT / "pyproject.toml", "--no-cache"],
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True,
        text=True)
    return run.stdout + run.stderr if run.returncode else ""


def test_a_module_imports_only_from_those_below_it():
    assert not broken_contracts(ROOT)


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        "from pbe_lite.training.trainer import Run",
        "from pbe_lite.training import losses, trainer",
        "import pbe_lite.training.trainer as t",
        "from .training.trainer import Run",
        "from . import training",
        "def f():\n    from pbe_lite.training.trainer import Run",
    ],
)
def test_an_import_from_above_is_found(tmp_path, source):
    shutil.copytree(ROOT / "pbe_lite", tmp_path / "pbe_lite")
    with open(tmp_path / "pbe_lite" / "plots.py", "a") as file:
        file.write(f"\n\n{source}\n")
    assert "pbe_lite.plots -> pbe_lite.training" in broken_contracts(tmp_path)


@pytest.mark.slow
def test_two_modules_of_a_room_that_import_each_other_are_found(tmp_path):
    shutil.copytree(ROOT / "pbe_lite", tmp_path / "pbe_lite")
    with open(tmp_path / "pbe_lite" / "data" / "masks.py", "a") as file:
        file.write("\n\nfrom pbe_lite.data import triplets\n")
    assert "No cycles are allowed in pbe_lite.data" in broken_contracts(tmp_path)


@pytest.mark.slow
def test_a_module_without_its_place_is_found(tmp_path):
    shutil.copytree(ROOT / "pbe_lite", tmp_path / "pbe_lite")
    (tmp_path / "pbe_lite" / "attic.py").write_text("")
    assert "attic" in broken_contracts(tmp_path)


def test_what_is_public_is_there_and_loaded_only_when_asked_for():
    code = ("import sys, pbe_lite; assert not {'torch', 'ipywidgets'} & set(sys.modules);"
            "assert set(pbe_lite.__all__) <= set(dir(pbe_lite));"
            "from pbe_lite import *; print(PaintByExamplePipeline, MaskPainter, Studio);"
            "pbe_lite.no_such_name")
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True,
                         text=True)
    assert run.stdout.count("<class 'pbe_lite.") == 3, run.stderr
    assert "has no attribute 'no_such_name'" in run.stderr


def test_data_that_a_module_reads_are_shipped():
    named = {name for path in MODULES
             for name in re.findall(r'\bDATA / "([^"]+)"', path.read_text())}
    shipped = {path.relative_to(config.DATA).parts[0] for path in config.SHIPPED}
    assert {"kinds.csv", "sprites.csv", "sprites", "weights"} <= named <= shipped


# ------------------------------------------------------------------------ documents


def test_every_file_that_the_documents_name_is_there():
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / name).read_text())
        assert not [link for link in links if not (ROOT / link).exists()], name


def test_versions_that_are_written_twice_are_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version, python = project["version"], project["requires-python"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {version} - " in (ROOT / "CHANGELOG.md").read_text()
    assert f'__version__ = "{version}"' in (ROOT / "pbe_lite" / "__init__.py").read_text()
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert f"rev: v{pins()['ruff']} " in hooks
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text()
    assert f'python: ["{python.removeprefix(">=")}", ' in workflow


def test_ruff_finds_nothing():
    run = subprocess.run([sys.executable, "-m", "ruff", "check", ROOT], capture_output=True)
    assert run.returncode == 0, run.stdout.decode()


# ---------------------------------------------------------------------- notebooks


def cell_source(cell):
    return "".join(cell["source"])


def code_cells(notebook):
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [cell for cell in cells if cell_source(cell).strip()]


def output_faults(notebook):
    """Yield what is wrong with the outputs that were committed."""
    cells = code_cells(notebook)
    counts = [cell["execution_count"] for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        yield f"not executed 1..n: {counts}"
    outputs = [output for cell in cells for output in cell["outputs"]]
    if any(output["output_type"] == "error" for output in outputs):
        yield "holds an error output"
    if "widgets" in notebook["metadata"]:
        yield "holds saved widget state"


def code_faults(notebook):
    """Yield what is wrong with the length of code lines and cells."""
    sources = [cell_source(cell).splitlines() for cell in code_cells(notebook)]
    long = [line for lines in sources for line in lines if len(line) > 79]
    if long:
        yield f"lines over 79 characters: {long}"
    sizes = sorted(map(len, sources))
    p90 = sizes[math.ceil(0.9 * len(sizes)) - 1] if sizes else 0
    if p90 > 20:
        yield f"a tenth of the code cells is longer than 20 lines: {sizes}"


def balance_faults(notebook):
    """Yield whether a lesson explains too little or too much between code cells."""
    prose = sum(cell["cell_type"] == "markdown" for cell in notebook["cells"])
    code = len(code_cells(notebook))
    if not code <= prose <= 2 * code:
        yield f"{prose} markdown cells to {code} code cells: wanted 1.0 to 2.0"


def test_no_assignment_is_taken_for_a_test():
    """Sheets fail on purpose: pytest, called on a folder, must not run them."""
    collect = "-m pytest --nbmake --collect-only -q notebooks".split()
    run = subprocess.run(
        [sys.executable, *collect], cwd=ROOT, capture_output=True, text=True)
    found = {line.split("::")[0] for line in run.stdout.splitlines() if "::" in line}
    assert found == {f"notebooks/{path.name}" for path in NOTEBOOKS}, run.stdout


def is_lesson(path):
    return path.name[:2].isdigit() and path.name[:2] != "00"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_fit_to_read(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    faults = [*output_faults(notebook), *code_faults(notebook)]
    faults += balance_faults(notebook) if is_lesson(path) else []
    assert not faults
    assert path.stat().st_size <= MEGABYTE


def counts(path):
    """(words of text, lines of code, code cells) of a notebook."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    prose = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    code = code_cells(notebook)
    return (sum(len(cell_source(cell).split()) for cell in prose),
            sum(len(cell_source(cell).splitlines()) for cell in code), len(code))


def test_the_course_is_short_enough_to_be_read(capsys):
    found = {path.stem: counts(path) for path in NOTEBOOKS}
    words, lines, cells = (sum(column) for column in zip(*found.values(), strict=True))
    with capsys.disabled():
        print(f"\n{words:,} words, {lines:,} lines of code, {cells} code cells")
    assert words <= 24_000 and lines <= 4_000
    assert not {name for name, (w, _, c) in found.items() if w > 3_000 or c > 60}


def made_up_notebook(source="x = 1", count=1, output="stream", prose=1, **metadata):
    code = {"cell_type": "code", "source": [source], "execution_count": count}
    code["outputs"] = [{"output_type": output}]
    empty = {"cell_type": "code", "source": [], "execution_count": None, "outputs": []}
    text = {"cell_type": "markdown", "source": ["why"]}
    return {"cells": [code, empty] + [text] * prose, "metadata": metadata}


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({}, None),
        ({"prose": 2}, None),
        ({"source": "x" * 79}, None),
        ({"source": "x = 1\n" * 20}, None),
        ({"count": None}, "not executed 1..n"),
        ({"count": 2}, "not executed 1..n"),
        ({"output": "error"}, "error output"),
        ({"widgets": {}}, "widget state"),
        ({"source": "x" * 80}, "lines over 79"),
        ({"source": "x = 1\n" * 21}, "longer than 20 lines"),
        ({"prose": 0}, "0 markdown cells to 1"),
        ({"prose": 3}, "3 markdown cells to 1"),
    ],
)
def test_each_fault_of_a_notebook_is_found(made, expected):
    notebook = made_up_notebook(**made)
    checks = (output_faults, code_faults, balance_faults)
    faults = [fault for check in checks for fault in check(notebook)]
    assert len(faults) == (expected is not None)
    assert expected is None or expected in faults[0]


def test_the_starting_page_is_not_held_to_the_balance_of_a_lesson():
    assert is_lesson(Path("01_the_task.ipynb")) and is_lesson(Path("10_limits.ipynb"))
    assert not is_lesson(Path("00_start_here.ipynb"))
