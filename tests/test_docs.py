"""The documents: their tables, their links, and what makes the site of them."""

import copy
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def load(name):
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLES, SITE = load("make_tables"), load("conf")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_tables_are_those_of_the_results_files(page):
    text = page.read_text(encoding="utf-8")
    assert TABLES.fill(text) == text, "run python docs/make_tables.py"


def test_every_marker_is_filled_and_has_an_end():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        markers = len(re.findall(r"<!-- (?:table:|full_size)", text))
        assert markers == text.count("<!-- end -->"), page
        assert len(TABLES.MARKER.findall(text)) == markers, page


def result(mean):
    return {"mean": mean, "low": mean - .05, "high": mean + .05}


@pytest.fixture
def made_up(monkeypatch):
    """Results of three rows, of which the last is no model."""
    rows = {row: {split: {"leak": result(leak)} for split in ("seen", "new_kind")}
            for row, leak in (("naive", .6), ("final", .1), ("copy_paste", 1))}
    monkeypatch.setattr(TABLES, "read_results", lambda name: {"rows": rows})


def test_a_table_has_a_part_for_each_split_and_the_best_in_bold(made_up):
    table = TABLES.table_of("table: x; seen new_kind; leak").splitlines()
    assert table[0].startswith("|  | leak")
    assert [line.split(" | ")[0] for line in table[2:6]] == [
        "| **seen in training**", "| naive", "| final", "| *copy-paste*"]
    assert table[4] == "| final | **0.10** (0.05 to 0.15) |"
    assert len(table) == 2 + 2 * 4


def test_filling_again_changes_nothing(made_up):
    page = "a\n<!-- table: x; seen; leak; final -->\nold\n<!-- end -->\nb\n"
    once = TABLES.fill(page)
    assert "old" not in once and "0.10" in once and once.endswith("<!-- end -->\nb\n")
    assert TABLES.fill(once) == once


@pytest.mark.parametrize("order, word", [
    ("table: x; seen; speed", "speed"), ("table: x; unseen; leak", "unseen"),
    ("table: x; seen; leak; best", "best"), ("table: x; seen", "NAME; SPLITS")])
def test_a_marker_that_asks_for_what_is_not_there_is_told(made_up, order, word):
    with pytest.raises(ValueError, match=word):
        TABLES.table_of(order)


def test_links_lead_to_files():
    for page in PAGES:
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
        assert not [link for link in links if not (page.parent / link).exists()], page


def test_the_front_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 170


def test_the_site_has_every_notebook_and_page():
    pages = [page for part in SITE.PAGES.values() for page in part]
    on_disk = {str(path.relative_to(ROOT).with_suffix(""))
               for path in [*(ROOT / "notebooks").glob("*.ipynb"),
                            *(ROOT / "docs").glob("*.md")]}
    assert on_disk <= set(pages) and len(pages) == len(set(pages))
    for page in pages:
        assert (ROOT / f"{page}.md").exists() or (ROOT / f"{page}.ipynb").exists(), page
        assert f"\n{page}\n" in SITE.table_of_contents()


def test_cells_that_are_folded_in_a_notebook_are_folded_on_the_site():
    cells = [{"metadata": {"jupyter": {"outputs_hidden": True}}},
             {"metadata": {"jupyter": {"source_hidden": True}, "tags": ["hide-input"]}},
             {"metadata": {}}]
    folded = SITE.fold({"cells": copy.deepcopy(cells)})["cells"]
    assert [cell["metadata"]["tags"] for cell in folded] == [
        ["hide-output"], ["hide-input"], []]
