"""What the browser gets: JavaScript modules composed into one, and one style sheet."""

import re
from pathlib import Path

import ipywidgets as widgets

try:
    from anywidget import AnyWidget as Drawn
except ImportError:  # widgets without a view; MaskPainter then shows its sliders alone
    Drawn = None

Base = Drawn or widgets.DOMWidget
STATIC = Path(__file__).parent / "static"
STYLE = STATIC / "studio.css"
IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+\.js)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(async )?(function|const|let|class) )", re.MULTILINE)


def module(name):
    """The module static/`name` and all that it imports, each once, as one ES module: a
    widget takes a single one.  Top-level names must differ between the files."""
    return "".join(EXPORT.sub("", IMPORT.sub("", (STATIC / file).read_text()))
                   for file in _with_imports(name, []))


def _with_imports(name, found):
    """Names of files, imported ones before those that import them."""
    for needed in IMPORT.findall((STATIC / name).read_text()):
        if needed not in found:
            _with_imports(needed, found)
    found.append(name)
    return found
