"""Is this machine ready for the course?  One line per requirement.

    ok    torch 2.13.0
    FIX   diffusers 0.30.0: needs >=0.42,<1; run: pip install -r requirements.txt

What is needed is read from the metadata of the installed `pbe_lite`, which come from
pyproject.toml, so that no version is written down twice.  This module imports Python's
own library alone: what it looks for may be missing.
"""

import os
import platform
from importlib import metadata
from typing import NamedTuple

from pbe_lite.config import DATA, WEIGHTS

PROFILES = ("smoke", "laptop", "gpu")
INSTALL = "pip install -r requirements.txt"
MIN_FREE_GB = 2.0


class Line(NamedTuple):
    """One line of the check; `mark` is "ok", "FIX" or "info" (nothing to do)."""

    mark: str
    text: str

    def __str__(self):
        return f"{self.mark:<6}{self.text}"


def profile():
    """Return PBE_PROFILE, the one switch that sets budgets: "laptop" if it is not set.

    Raises ValueError if it is set to anything but smoke, laptop or gpu.
    """
    value = os.environ.get("PBE_PROFILE", "laptop")
    if value not in PROFILES:
        raise ValueError(f"PBE_PROFILE is {value!r}: expected {', '.join(PROFILES)}")
    return value


def check_requirements(requires, installed_version):
    """Return one Line for each requirement string, such as "torch>=2.8,<3".

    Only versions are looked up: nothing is imported.
    installed_version: name -> version, raising PackageNotFoundError where there is none.
    Requirements of other platforms and of extras are left out.
    Raises packaging.requirements.InvalidRequirement for a string that is none.
    """
    from packaging.requirements import Requirement
    needed = [Requirement(text) for text in requires]
    needed = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return [requirement_line(r, installed_version) for r in needed]


def requirement_line(requirement, installed_version):
    """Return the Line of one parsed Requirement; see check_requirements."""
    name, wanted = requirement.name, requirement.specifier
    try:
        found = installed_version(name)
    except metadata.PackageNotFoundError:
        return Line("FIX", f"{name} is missing: {needs(wanted)}; run: {INSTALL}")
    if wanted.contains(found, prereleases=True):
        return Line("ok", f"{name} {found}")
    return Line("FIX", f"{name} {found}: {needs(wanted)}; run: {INSTALL}")


def needs(specifiers):
    """Word a SpecifierSet, lower bound first: "needs >=0.42,<1"."""
    parts = sorted(map(str, specifiers), reverse=True)
    return f"needs {','.join(parts) or 'any version'}"


def package_lines():
    """Return the Lines of everything that pyproject.toml asks of this machine."""
    try:
        about = metadata.metadata("pbe_lite")
    except metadata.PackageNotFoundError:
        return [Line("FIX", f"pbe_lite is not installed; run: {INSTALL}")]
    try:
        import packaging.requirements  # noqa: F401
    except ImportError:
        return [Line("FIX", f"packaging is missing, without which versions cannot be "
                            f"compared; run: {INSTALL}")]
    python = python_line(about["Requires-Python"], platform.python_version())
    requires = metadata.requires("pbe_lite") or []
    return [python, *check_requirements(requires, metadata.version)]


def python_line(wanted, found):
    """Return the Line for Python `found`, a version, where `wanted`, a range, is needed."""
    from packaging.specifiers import SpecifierSet
    wanted = SpecifierSet(wanted)
    if wanted.contains(found, prereleases=True):
        return Line("ok", f"Python {found}")
    run = "make clean lab PYTHON=/path/to/a/newer/python3"
    return Line("FIX", f"Python {found}: {needs(wanted)}; run: {run}")


def profile_line():
    """Return the Line for PBE_PROFILE; a wrong value is named, not raised."""
    try:
        return Line("ok", f"PBE_PROFILE {profile()}")
    except ValueError as error:
        return Line("FIX", f"{error}; run: unset PBE_PROFILE")


def weights_line(folder=WEIGHTS / "final"):
    """Return the Line for the model that the course shows, in diffusers' layout."""
    home = DATA.parent
    shown = folder.relative_to(home) if folder.is_relative_to(home) else folder
    if (folder / "model_index.json").is_file() and any(folder.rglob("*.safetensors")):
        return Line("ok", f"weights in {shown}")
    return Line("FIX", f"no weights in {shown}; run: git checkout -- data/weights")


def threads_line():
    """Return the Line for the CPU threads that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return Line("info", f"CPU threads: {count or os.cpu_count()}")


def memory_line(free_gb=None):
    """Return the Line for free memory, measured if `free_gb` is not given."""
    free_gb = measure_free_gb() if free_gb is None else free_gb
    if free_gb is None:
        return Line("info", "free memory: unknown without psutil")
    if free_gb >= MIN_FREE_GB:
        return Line("ok", f"free memory {free_gb:.1f} GB")
    advice = f"needs {MIN_FREE_GB:.0f} GB; close other programs or notebooks"
    return Line("FIX", f"free memory {free_gb:.1f} GB: {advice}")


def measure_free_gb():
    """Return the gigabytes a new program could take, None if psutil is missing."""
    try:
        import psutil
    except ImportError:
        return None
    return psutil.virtual_memory().available / 1e9


def cuda_line():
    """Return the Line for the GPU; none is needed.  This one imports torch."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return Line("info", f"CUDA: unknown, torch cannot be imported ({error})")
    if torch.cuda.is_available():
        return Line("info", f"CUDA: {torch.cuda.get_device_name()}")
    return Line("info", "CUDA: none, and none is needed")


def check_environment(weights=WEIGHTS / "final"):
    """Print one line per requirement and return True if there is nothing to fix."""
    lines = [*package_lines(), profile_line(), weights_line(weights), memory_line()]
    lines += [threads_line(), cuda_line()]
    print(*lines, sep="\n")
    return all(line.mark != "FIX" for line in lines)
