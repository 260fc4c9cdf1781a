"""The installed package, without its checkout, edits a picture."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pbe_lite import config

ROOT = Path(__file__).resolve().parents[1]
SOURCES = "pbe_lite data pyproject.toml setup.py MANIFEST.in README.md LICENSE".split()
EDIT = """
import sys
from pathlib import Path
import pbe_lite
from pbe_lite.__main__ import main
from pbe_lite.config import RUNS, SHIPPED
assert Path(pbe_lite.__file__).is_relative_to(sys.prefix), pbe_lite.__file__
assert all(path.exists() and path.is_relative_to(sys.prefix) for path in SHIPPED)
assert RUNS == Path.cwd() / "runs"
main("edit --example-image exemplar.png --image image.png --mask-image mask.png "
     "--out out.png --num-inference-steps 2".split())
main(["demo"])
"""


def run(*command, **named):
    """Run a program outside of the checkout; its output."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True,
                          **named)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the tree, which a build would leave folders in."""
    tree = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        path = ROOT / name
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tree / name)
    (tree / "data" / "second").mkdir(exist_ok=True)  # what config does not point to
    (tree / "data" / "second" / "of_no_use.bin").write_bytes(bytes(1000))
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index",
        "--no-build-isolation", "--wheel-dir", tree, tree)
    return next(tree.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The Python of a fresh environment with the wheel alone; it borrows all other
    packages from this one.  (A `.pth` in a borrowed folder is not read, so that no
    editable install is borrowed, too.)"""
    place = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", place)
    python = next(p for p in place.glob("*/python*") if p.stem == "python")
    home = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    borrowed = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    Path(home.strip(), "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps",
        "--no-index", "--ignore-installed", wheel)
    return python


@pytest.mark.slow
def test_the_wheel_edits_a_picture_from_any_folder(python, tmp_path, picture):
    hole = np.zeros((90, 70), np.uint8)
    hole[30:60, 20:50] = 255
    picture(90, 70).save(tmp_path / "image.png")
    Image.fromarray(hole).save(tmp_path / "mask.png")
    picture(20, 30).save(tmp_path / "exemplar.png")
    said = run(python, "-c", EDIT, cwd=tmp_path)
    found, image = (np.asarray(Image.open(tmp_path / f"{name}.png"))
                    for name in ("out", "image"))
    np.testing.assert_array_equal(found[hole == 0], image[hole == 0])
    assert (found[hole > 0] != image[hole > 0]).any()
    assert str(tmp_path / "runs" / "demo.png") in said
    assert (tmp_path / "runs" / "demo.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_wheel_holds_what_config_points_to_once(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    shipped = {n.removeprefix("pbe_lite/shipped/") for n in names if "/shipped/" in n}
    expected = {p.relative_to(config.DATA).as_posix() for given in config.SHIPPED
                for p in ([given] if given.is_file() else given.rglob("*")) if p.is_file()}
    assert shipped == expected
    assert not [n for n in names if n.startswith(("data/", "tests/", "notebooks/"))]
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "pbe_lite").rglob("*.py")}
    statics = {p.relative_to(ROOT).as_posix()
               for p in (ROOT / "pbe_lite" / "studio" / "static").iterdir()}
    assert modules | statics <= set(names)


# ------------------------------------------------------------------------------ folders


def test_a_checkout_is_known_by_its_data(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sprites.csv").write_text("")
    assert config.find_folders(tmp_path / "pbe_lite") == (
        tmp_path / "data", tmp_path / "runs", tmp_path / "data" / "results")


def test_an_installed_package_writes_nothing_beside_itself(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "pbe_lite"
    monkeypatch.chdir(tmp_path)
    data, runs, results = config.find_folders(package)
    assert data == package / "shipped"
    assert runs == tmp_path / "runs" and results == tmp_path / "runs" / "results"
