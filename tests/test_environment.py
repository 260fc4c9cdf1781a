"""The environment check: what it says on a good machine and on a broken one."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pbe_lite import environment
from pbe_lite.environment import Line, check_environment, check_requirements, profile

WANTED = ["torch>=2.9,<3", "diffusers>=0.42,<1", "tqdm"]
GOOD = {"torch": "2.13.0+cpu", "diffusers": "0.42.1", "tqdm": "4.70.1"}


def installed(versions):
    def look_up(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    return look_up


def texts(versions, requires=WANTED):
    return [str(line) for line in check_requirements(requires, installed(versions))]


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "unet" / "model.safetensors").write_bytes(b"\0")
    return tmp_path


def test_good_versions_are_ok():
    expected = ["ok    torch 2.13.0+cpu", "ok    diffusers 0.42.1", "ok    tqdm 4.70.1"]
    assert texts(GOOD) == expected


def test_an_old_version_says_what_was_found_what_is_needed_and_what_to_run():
    assert texts({**GOOD, "diffusers": "0.30.0"}) == [
        "ok    torch 2.13.0+cpu",
        "FIX   diffusers 0.30.0: needs >=0.42,<1; run: pip install -r requirements.txt",
        "ok    tqdm 4.70.1",
    ]


def test_a_version_above_the_range_is_no_better():
    line = check_requirements(WANTED, installed({**GOOD, "torch": "3.0.0"}))[0]
    assert line.mark == "FIX" and "torch 3.0.0: needs >=2.9,<3" in line.text


def test_a_development_build_inside_the_range_is_ok():
    lines = check_requirements(WANTED, installed({**GOOD, "torch": "2.14.0.dev20260101"}))
    assert [line.mark for line in lines] == ["ok", "ok", "ok"]


@pytest.mark.parametrize(
    ("name", "range_"), [("diffusers", "needs >=0.42,<1"), ("tqdm", "needs any version")]
)
def test_a_missing_package_is_named(name, range_):
    versions = {k: v for k, v in GOOD.items() if k != name}
    line = f"FIX   {name} is missing: {range_}; run: pip install -r requirements.txt"
    assert line in texts(versions)


def test_extras_and_other_platforms_are_not_asked_for():
    requires = ['pytest>=8; extra == "test"', 'x>=1; sys_platform == "amiga"', "tqdm>=4"]
    assert texts(GOOD, requires) == ["ok    tqdm 4.70.1"]


def test_this_machine_is_ready(weights, monkeypatch, capsys):
    monkeypatch.delenv("PBE_PROFILE", raising=False)
    monkeypatch.setattr(environment, "measure_free_gb", lambda: 8.0)
    assert check_environment(weights) is True
    lines = capsys.readouterr().out.splitlines()
    assert f"ok    torch {metadata.version('torch')}" in lines
    assert f"ok    weights in {weights}" in lines
    assert "ok    PBE_PROFILE laptop" in lines
    assert any(line.startswith("info  CUDA: ") for line in lines)
    assert not any(line.startswith("FIX") for line in lines)


def test_one_old_package_makes_the_whole_check_fail(weights, monkeypatch, capsys):
    real = metadata.version
    fake = lambda name: "0.30.0" if name == "diffusers" else real(name)
    monkeypatch.setattr(metadata, "version", fake)
    monkeypatch.setattr(environment, "measure_free_gb", lambda: 8.0)
    assert check_environment(weights) is False
    out = capsys.readouterr().out
    fixes = [line for line in out.splitlines() if line.startswith("FIX")]
    assert len(fixes) == 1 and "diffusers 0.30.0: needs >=0.42" in fixes[0]


def test_all_of_pyproject_is_checked():
    names = {line.text.split()[0] for line in environment.package_lines()}
    assert {"Python", "torch", "diffusers", "jupyterlab", "packaging"} <= names
    assert "pytest" not in names  # readers need no test tools


def test_an_uninstalled_pbe_lite_is_one_line_to_fix(monkeypatch):
    monkeypatch.setattr(metadata, "metadata", installed({}))
    text = "pbe_lite is not installed; run: pip install -r requirements.txt"
    assert environment.package_lines() == [Line("FIX", text)]


def test_a_torch_without_muon_is_too_old(monkeypatch):
    real = metadata.version
    monkeypatch.setattr(metadata, "version",
                        lambda name: "2.8.0" if name == "torch" else real(name))
    fix = "FIX   torch 2.8.0: needs >=2.9,<3; run: pip install -r requirements.txt"
    assert fix in map(str, environment.package_lines())


def test_an_old_python_is_named():
    assert environment.python_line(">=3.11", "3.11.7") == Line("ok", "Python 3.11.7")
    line = environment.python_line(">=3.11", "3.9.1")
    assert line.mark == "FIX" and "Python 3.9.1: needs >=3.11; run: make" in line.text


@pytest.mark.parametrize("lost", ["model_index.json", "unet/model.safetensors"])
def test_missing_weights_say_how_to_get_them_back(weights, lost):
    assert environment.weights_line(weights).mark == "ok"
    (weights / lost).unlink()
    line = environment.weights_line(weights)
    assert line.mark == "FIX" and "run: git checkout -- data/weights" in line.text


def test_shipped_weights_are_named_relative_to_the_repository():
    assert " data/weights/final" in environment.weights_line().text


def test_little_free_memory_is_told():
    assert environment.memory_line(8.0) == Line("ok", "free memory 8.0 GB")
    assert environment.memory_line(0.5).mark == "FIX"
    assert "0.5 GB: needs 2 GB" in environment.memory_line(0.5).text


@pytest.mark.parametrize("module", ["psutil", "torch"])
def test_a_package_that_cannot_be_imported_stops_nothing(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)  # makes `import module` fail
    line = {"psutil": environment.memory_line, "torch": environment.cuda_line}[module]()
    assert line.mark == "info" and "unknown" in line.text


@pytest.mark.parametrize("value", ["smoke", "laptop", "gpu"])
def test_profile_is_what_the_variable_says(value, monkeypatch):
    monkeypatch.setenv("PBE_PROFILE", value)
    assert profile() == value


def test_profile_defaults_to_laptop(monkeypatch):
    monkeypatch.delenv("PBE_PROFILE", raising=False)
    assert profile() == "laptop"


@pytest.mark.parametrize("value", ["", "fast", "Laptop"])
def test_a_wrong_profile_names_the_variable_and_the_choices(value, monkeypatch, weights):
    monkeypatch.setenv("PBE_PROFILE", value)
    with pytest.raises(ValueError, match="PBE_PROFILE.*smoke, laptop, gpu"):
        profile()
    assert environment.profile_line().mark == "FIX"
    assert check_environment(weights) is False


def test_versions_are_read_without_importing_the_packages():
    code = (
        "import sys, pbe_lite.environment as e; e.package_lines();"
        "print({'torch', 'diffusers', 'transformers', 'numpy'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "set()", run.stderr


# --------------------------------------------------------- `check` where things are missing

ROOT = Path(__file__).resolve().parents[1]
THIRD_PARTY = ("torch", "numpy", "PIL", "packaging", "psutil", "diffusers", "transformers")


def check_without(*missing, options=()):
    """(exit code, output) of `python -m pbe_lite check` in a process that cannot import
    some packages."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({missing!r}))"  # None: no import
    code = f"{hide}; from pbe_lite.__main__ import main; main(['check'])"
    run = subprocess.run([sys.executable, *options, "-c", code], cwd=ROOT, text=True,
                         capture_output=True, env={**os.environ, "PBE_PROFILE": "smoke"})
    assert "Traceback" not in run.stderr, run.stderr
    return run.returncode, run.stdout


@pytest.mark.parametrize("missing", [("torch",), ("PIL", "numpy"), ("psutil",)])
def test_check_runs_where_a_package_cannot_be_imported(missing):
    code, said = check_without("torch", *missing)  # and without it the check is quick
    assert code in (0, 1) and "PBE_PROFILE smoke" in said
    assert "CUDA: unknown, torch cannot be imported" in said


def test_check_runs_where_every_package_is_missing():
    code, said = check_without(*THIRD_PARTY)
    assert code == 1 and "FIX   packaging is missing" in said
    code, said = check_without(options=["-S"])  # no folder of installed packages at all
    assert code == 1 and "run: pip install -r requirements.txt" in said
