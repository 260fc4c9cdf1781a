"""The course as a static site: `make site` builds it to runs/site/html.

Sphinx reads README, docs/ and the notebooks with their committed outputs; nothing is
executed.  The source folder is the repository, so that links work there and here.
"""

import json
import os
import shutil
from pathlib import Path

project = "Paint by Example, from scratch"
author = "The pbe_lite authors"
html_title = project

extensions = ["myst_nb"]
root_doc = "README"
include_patterns = [
    "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "docs/*.md",
    "notebooks/*.ipynb", "notebooks/assignments/README.md",
]
exclude_patterns = ["runs", ".venv", "**/.ipynb_checkpoints"]
html_theme = "furo"

nb_execution_mode = "off"
nb_ipywidgets_js = {}  # no live widgets: each holds a still picture of itself
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None),
                              ("html", "application/javascript", None)]
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
# a link to a file that is no page, as to a module, becomes a download
suppress_warnings = ["myst.header", "misc.highlighting_failure"]

LESSONS = """00_start_here studio 01_the_whole_method 02_the_task 03_latent_inpainting
04_copy_paste_failure 05_class_token_bottleneck 06_augmentation
07_classifier_free_guidance 08_prior_art 09_evaluation 10_multi_gpu_training
11_full_scale 12_limits_and_beyond""".split()
PAGES = {
    "Course": [f"notebooks/{lesson}" for lesson in LESSONS],
    "Reference": ["docs/results", "docs/notation", "docs/full_scale",
                  "docs/coming_from_diffusers", "data/README"],
    "Teaching and contributing": ["notebooks/assignments/README", "CONTRIBUTING",
                                  "CHANGELOG"],
}
# Jupyter's marks for what is folded -> MyST-NB's
FOLDED = {"outputs_hidden": "hide-output", "source_hidden": "hide-input"}


def table_of_contents() -> str:
    """The site's sidebar, which GitHub's view of README does not need."""
    return "".join(f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n"
                   + "\n".join(pages) + "\n```\n" for caption, pages in PAGES.items())


def fold(notebook: dict) -> dict:
    """The notebook with tags on the cells that JupyterLab shows folded."""
    for cell in notebook["cells"]:
        marks = cell["metadata"].get("jupyter", {})
        tags = cell["metadata"].setdefault("tags", [])
        tags += [tag for mark, tag in FOLDED.items() if marks.get(mark) and tag not in tags]
    return notebook


def adapt(app, docname, source):
    """What a page needs on the site and not in the repository."""
    if docname == root_doc:
        source[0] += table_of_contents()
    elif os.fspath(app.env.doc2path(docname)).endswith(".ipynb"):
        source[0] = json.dumps(fold(json.loads(source[0])))


def copy_front_page(app, failure):
    """The address without a page's name shows README, too."""
    if failure is None and app.builder.name == "html":
        shutil.copy(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))


def setup(app):
    app.connect("source-read", adapt)
    app.connect("build-finished", copy_front_page)
    return {"parallel_read_safe": True}
