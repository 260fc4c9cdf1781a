"""The Studio's JavaScript: its pure parts by node's own tests, all of it by a parser."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pbe_lite.studio.assets import STATIC, module

ENTRIES = ("canvas.js", "card.js", "code_box.js", "gallery.js", "upload.js")
TESTS = Path(__file__).parent / "javascript"
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")


def node(*arguments):
    done = subprocess.run(["node", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_node
def test_the_pure_parts():
    node("--test", *TESTS.glob("*.test.mjs"))


@needs_node
@pytest.mark.parametrize("entry", ENTRIES)
def test_modules_compose_into_one_that_the_browser_can_read(entry, tmp_path):
    (tmp_path / "one.mjs").write_text(module(entry))
    node("--check", tmp_path / "one.mjs")


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_module_is_taken_once_and_nothing_is_left_to_import(entry):
    text = module(entry)
    assert not re.search(r"^import ", text, re.MULTILINE)
    assert re.findall(r"^export .*", text, re.MULTILINE) == ["export default { render };"]
    assert text.count("function node(") <= 1


def test_every_module_is_used():
    used = {file for entry in ENTRIES for file in STATIC.glob("*.js")
            if file.read_text().splitlines()[0] in module(entry)}
    assert used == set(STATIC.glob("*.js"))
    for file in used:
        assert len(file.read_text().splitlines()) <= 340, file.name
