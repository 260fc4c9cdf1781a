"""Whatever a submission does, it comes back, and what ran before counts."""

import time

import psutil
import pytest

from pbe_lite.classroom import runner, sandbox
from pbe_lite.classroom.runner import Limits, run_apart

pytestmark = pytest.mark.slow  # live kernels
CONFINED = bool(sandbox.version())


def sheet(*sources):
    cells = [{"cell_type": "code", "id": f"c{i}", "metadata": {}, "source": source,
              "outputs": [], "execution_count": None} for i, source in enumerate(sources)]
    python = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": python}, "nbformat": 4,
            "nbformat_minor": 5}


def run(*sources, cell=60, whole=120, files=None):
    """What each cell says: its text, or the name of its error."""
    made = run_apart(sheet(*sources), Limits(cell, whole, CONFINED), files)
    said = []
    for done in made["cells"]:
        errors = [o["ename"] for o in done["outputs"] if o["output_type"] == "error"]
        texts = [o["text"] for o in done["outputs"] if o["output_type"] == "stream"]
        said.append(errors[0] if errors else "".join(texts).strip())
    return said


def test_cells_run_in_order_and_an_error_stops_none():
    assert run("x = 2", "1 / 0", "print(x)", "def (", "print('end')") == \
        ["", "ZeroDivisionError", "2", "SyntaxError", "end"]


def test_a_loop_costs_its_cell_alone():
    first, loop, last = run("print(1)", "while True:\n    pass", "print(3)", cell=4)
    assert (first, last) == ("1", "3") and loop in ("KeyboardInterrupt", "CellTimeout")


def test_a_loop_that_cannot_be_interrupted_ends_the_sheet():
    stubborn = ("import time\nwhile True:\n    try:\n        time.sleep(9)\n"
                "    except BaseException:\n        pass")
    begun = time.monotonic()
    first, loop, last = run("print(1)", stubborn, "print(3)", cell=4)
    assert first == "1" and loop and loop != "3" and last == "NotRun"
    assert time.monotonic() - begun < 90


@pytest.mark.parametrize("crash", [
    "import os\nos._exit(1)", "import ctypes\nctypes.string_at(0)",
    "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"])
def test_after_a_crash_what_ran_before_counts(crash):
    first, dead, last = run("print(1)", crash, "print(3)")
    assert (first, last) == ("1", "NotRun") and dead


def test_the_time_of_the_whole_sheet_is_limited():
    said = run(*["import time\ntime.sleep(4)\nprint('done')"] * 4, whole=6)
    assert said[0] == "done" and said[-1] == "NotRun"


def test_endless_printing_is_cut_off():
    flood = "while True:\n    print('x' * 10_000)"
    made = run_apart(sheet(flood, "print(2)"), Limits(5, 60, CONFINED))
    text = sum(len(o.get("text", "")) for o in made["cells"][0]["outputs"])
    assert text <= 2 * runner.PRINTED


def test_nothing_is_left_running():
    code = ("import subprocess\nsubprocess.Popen(['sleep', '98765'], "
            "start_new_session=True)\nprint('started')")
    assert run(code) == ["started"]
    time.sleep(.5)
    left = [p for p in psutil.process_iter(["cmdline"])
            if "98765" in (p.info["cmdline"] or [])]
    for process in left:
        process.kill()
    assert not left


def test_it_finds_the_files_that_came_with_it_and_no_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("A_SECRET", "token")
    (tmp_path / "mine.py").write_text("value = 7")
    (tmp_path / "other.ipynb").write_text("{}")
    said = run("import mine\nprint(mine.value)", "import os\nprint(sorted(os.listdir()))",
               "print(os.environ.get('A_SECRET'))", files=tmp_path)
    assert said[0] == "7" and said[1].startswith("['") and "other" not in said[1]
    assert said[2] == "None"


def test_a_file_of_ones_own_cannot_pose_as_the_sandbox(tmp_path):
    (tmp_path / "pbe_lite").mkdir()
    (tmp_path / "pbe_lite" / "__init__.py").write_text("")
    (tmp_path / "pbe_lite" / "sandbox.py").write_text("raise SystemExit('taken over')")
    assert run("print('ran')", files=tmp_path) == ["ran"]


def test_what_cannot_even_start_fails_cell_by_cell(monkeypatch):
    monkeypatch.setattr(runner.sys, "executable", "/bin/false")
    assert run("print(1)", "print(2)") == ["NotRun", "NotRun"]
