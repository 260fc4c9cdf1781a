"""Puts the data into the wheel that `pbe_lite.config` points to; pyproject.toml says all
else.  A checkout and an editable install read `data/` where it lies.
"""

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from pbe_lite.config import DATA, SHIPPED  # noqa: E402


class BuildWithData(build_py):
    """The package's modules, and beside them `shipped/` with its data."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "pbe_lite", "shipped")
        shutil.rmtree(target, ignore_errors=True)  # of an earlier build
        for path in SHIPPED:
            copy = target / path.relative_to(DATA)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(path, copy) if path.is_dir() else shutil.copy(path, copy)


setup(cmdclass={"build_py": BuildWithData})
