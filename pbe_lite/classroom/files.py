"""The files of a submission: what lies in a folder and in its zips, safely.

Nothing here trusts a name or a size: links are not followed, hidden files and a Mac's
litter are left out, and a zip is unpacked only as far as it stays small.
"""

import os
import zipfile
from pathlib import Path

NOTEBOOK_ENDINGS = (".ipynb", ".ipynb.txt", ".ipynb.json")  # browsers add the last part
MOST_ZIPS = 20  # of a student, those inside of zips included
MOST_UNPACKED = 200_000_000  # bytes, of all zips of a student
MOST_MEMBERS = 2000  # files that one zip may hold


def printable(text: object) -> str:
    """The text without what a terminal or a CSV file stumbles over: control characters
    and the lone surrogates that stand for bytes which are no UTF-8."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def is_notebook(path: Path) -> bool:
    """Does its name say that it is a notebook?"""
    return path.name.lower().endswith(NOTEBOOK_ENDINGS)


def is_zip(path: Path) -> bool:
    """Does its name say that it is a zip?"""
    return path.suffix.lower() == ".zip"


def is_litter(name: str) -> bool:
    """Is it something that a system leaves beside its user's files?  A hidden notebook
    is none, but for the `._name` that a Mac writes beside each file."""
    hidden = name.startswith(".") and not is_notebook(Path(name))
    return hidden or name.startswith("._") or name == "__MACOSX"


def is_plain_file(path: Path) -> bool:
    """Is it a file, and neither a link nor a pipe?"""
    return os.path.isfile(path) and not os.path.islink(path)


def files_in(folder: Path, problems: list[str] | None = None) -> list[Path]:
    """The plain files in and below a folder, in order, without links and litter.

    Links are not followed: they might lead to somebody else's work.  Folders that cannot
    be read are appended to `problems`, a list of texts."""
    def note(error):
        if problems is not None:
            problems.append(f"{Path(error.filename).name}: {error.strerror}")

    found = []
    for place, folders, names in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if not is_litter(name))
        paths = [Path(place, name) for name in sorted(names) if not is_litter(name)]
        found += [path for path in paths if is_plain_file(path)]
    return found


def files_of(entry: Path) -> tuple[list[Path], list[str]]:
    """(files, problems) of one student: `entry` is a folder or a single file."""
    if os.path.islink(entry):
        return [], [f"{entry.name} is a link: not followed"]
    if os.path.isfile(entry):
        return [entry], []
    if not os.path.isdir(entry):
        return [], [f"{entry.name} is neither a file nor a folder"]
    problems = []
    return files_in(entry, problems), problems


def unpack(archive: Path, target: Path, most: int) -> int:
    """Unpack a zip of at most `most` bytes below the folder `target`; returns its bytes.

    Raises ValueError, saying why, for one that is broken, encrypted or too large."""
    try:
        with zipfile.ZipFile(archive) as file:
            members = [m for m in file.infolist() if not m.is_dir()]
            size = sum(member.file_size for member in members)
            if size > most or len(members) > MOST_MEMBERS:
                raise ValueError(f"it holds {len(members)} files, {size / 1e6:.0f} MB")
            file.extractall(target, members)  # never outside: `..` and `/` are dropped
    except Exception as error:  # zipfile has no one kind of error for a broken zip
        raise ValueError(f"{archive.name} cannot be unpacked: {error}") from None
    return size


def with_unpacked(files: list[Path], desk: Path) -> tuple[list[Path], list[str]]:
    """(files, problems): the files with every zip replaced by what it holds, zips inside
    of zips included; what could not be unpacked is told.

    desk: a folder for this student alone, made where needed."""
    found, problems = [], []
    waiting = list(files)
    opened = 0
    left = MOST_UNPACKED
    while waiting:
        path = waiting.pop(0)
        if not is_zip(path):
            found.append(path)
        elif opened == MOST_ZIPS:  # a zip may hold itself
            problems.append(f"{path.name} was not unpacked: more than {MOST_ZIPS} zips")
        else:
            target = Path(desk, str(opened))
            opened += 1
            try:
                left -= unpack(path, target, left)
                waiting += files_in(target, problems)
            except ValueError as error:
                problems.append(str(error))
    return found, problems
