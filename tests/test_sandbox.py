"""A program in the sandbox works in one folder and leaves no trace anywhere else."""

import os
import subprocess
import sys

import pytest

from pbe_lite.classroom import cli, sandbox
from pbe_lite.config import DATA

needs_landlock = pytest.mark.skipif(not sandbox.version(), reason="no Landlock here")


@pytest.fixture
def box(tmp_path):
    """A folder to be confined to, beside one with a secret."""
    for name in ("box", "beside"):
        (tmp_path / name).mkdir()
    (tmp_path / "beside" / "gradebook.db").write_text("all marks")
    return tmp_path / "box"


def confined(box, code, *arguments):
    """What a program in the sandbox prints; its last words where it failed."""
    home = dict.fromkeys(("HOME", "TMPDIR", "MPLCONFIGDIR"), str(box))
    made = subprocess.run(
        [sys.executable, "-I", "-m", "pbe_lite.classroom.sandbox", box,
         sys.executable, "-c",
         f"import os, sys; from pathlib import Path; here = Path(sys.argv[1])\n{code}",
         box, *map(str, arguments)], cwd=box, env={**os.environ, **home},
        capture_output=True, text=True)
    return made.stdout.strip() or made.stderr.strip().splitlines()[-1]


@needs_landlock
def test_inside_everything_is_allowed(box):
    said = confined(box, "(here / 'a').mkdir(); (here / 'a' / 'b').write_text('text')\n"
                    "(here / 'a' / 'b').rename(here / 'c'); (here / 'a').rmdir()\n"
                    "print((here / 'c').read_text())")
    assert said == "text" and (box / "c").read_text() == "text"


@needs_landlock
@pytest.mark.parametrize("code", [
    "print((there / 'gradebook.db').read_text())", "(there / 'new').write_text('x')",
    "(there / 'gradebook.db').write_text('x')", "(there / 'gradebook.db').unlink()",
    "print(os.listdir(there))",
    "(there / 'new').mkdir()", "(there / 'gradebook.db').rename(here / 'mine')",
    "os.link(there / 'gradebook.db', here / 'mine')", "open('/tmp/pbe-lite-escaped', 'w')",
    "os.symlink(there, here / 'way'); print((here / 'way' / 'gradebook.db').read_text())",
    "import sqlite3; sqlite3.connect(there / 'gradebook.db').execute('drop table t')"])
def test_outside_nothing_is(box, code):
    said = confined(box, f"there = here.parent / 'beside'\n{code}")
    assert "Permission denied" in said or "cross-device" in said or "unable to open" in said
    assert [p.name for p in (box.parent / "beside").iterdir()] == ["gradebook.db"]
    assert (box.parent / "beside" / "gradebook.db").read_text() == "all marks"


@pytest.mark.skipif(sandbox.version() < 3, reason="cutting off came with version 3")
def test_nor_can_a_file_be_cut_off(box):
    assert "Permission denied" in confined(
        box, "os.truncate(here.parent / 'beside' / 'gradebook.db', 0)")


@needs_landlock
def test_what_it_starts_is_confined_too(box):
    said = confined(box, "import subprocess\nprint(subprocess.run(['cat', sys.argv[2]], "
                    "capture_output=True).stderr.decode())",
                    box.parent / "beside" / "gradebook.db")
    assert "Permission denied" in said


@needs_landlock
@pytest.mark.parametrize("path", [
    cli.SOURCE / "a1" / "a1.ipynb", DATA.parent / "README.md", "/etc/shadow"])
def test_hidden_tests_and_the_rest_of_the_repository_cannot_be_read(box, path):
    assert "Permission denied" in confined(box, "print(open(sys.argv[2]).read())", path)


@needs_landlock
def test_libraries_and_the_miniature_world_can(box):
    said = confined(box, "import matplotlib, numpy, PIL, scipy.special, torch\n"
                    "from pbe_lite.data.tabletop import Scene\n"
                    "print(torch.ones(2).sum().item(), Scene(3).render(64).image.shape)")
    assert said == "2.0 (64, 64, 3)"


@pytest.mark.skipif(sandbox.version() < 6, reason="signals are scoped from version 6 on")
def test_it_cannot_signal_a_process_outside(box):
    assert "not permitted" in confined(box, "os.kill(os.getppid(), 0); print('did')")


@needs_landlock
def test_another_process_environment_is_out_of_sight(box):
    said = confined(box, "print(open(f'/proc/{os.getppid()}/environ').read())")
    assert "Permission denied" in said


@needs_landlock
def test_a_file_cannot_fill_the_disk(box):
    said = confined(box, "(here / 'big').write_bytes(bytes(100 * 2 ** 20))")
    assert "too large" in said
    assert (box / "big").stat().st_size <= sandbox.LIMITS["RLIMIT_FSIZE"]


def test_without_landlock_it_refuses(box, monkeypatch):
    monkeypatch.setattr(sandbox, "version", lambda: 0)
    with pytest.raises(OSError, match="cannot confine"):
        sandbox.confine(box)
