"""Fill the tables of the documents from data/results: no number there is typed by hand.

    python docs/make_tables.py            # write what belongs between the markers
    python docs/make_tables.py --check    # exit 1, naming the documents, where it differs

A marker names a results file, and then which splits, metrics and rows to show; without
rows, all:

    <!-- table: table2; seen; right_kind leak seam; naive bottleneck final -->
    <!-- end -->

`<!-- full_size -->` stands for what was measured of the full-size model.
"""

import argparse
import re
import sys
from pathlib import Path

from pbe_lite.evaluation.evaluate import read_results
from pbe_lite.results_table import (
    ARROWS,
    METRICS,
    SPLITS,
    cells,
    chosen,
    is_cheat,
    row_words,
)

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MARKER = re.compile(r"(<!-- (table: [^>]+|full_size) -->\n).*?(?=<!-- end -->)", re.DOTALL)
WIDTHS = {"bottleneck": "1 token (bottleneck)", "tokens_5": "5 tokens",
          "tokens_17": "17 tokens", "naive": "65 tokens (naive)"}


def markdown(head: list[str], lines: list[list[str]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *lines))


def words(cell) -> str:
    """A number with its interval; bold where no model is surely better."""
    number = f"**{cell.words}**" if cell.best else cell.words
    return f"{number} ({cell.interval})" if cell.interval else number


def row_name(row: str, widths: bool) -> str:
    """What a reader sees of a row's name; those that are no models in italics."""
    arm, _, scale = row.partition("@")
    name = f"guidance {scale}" if scale else row_words(row)
    name = WIDTHS.get(arm, name) if widths else name
    return f"*{name}*" if is_cheat(row) else name


def benchmark_table(name: str, splits: list[str], metrics: list[str],
                    rows: list[str] | None = None) -> str:
    """A results file as Markdown: for each split a line with its name, then its rows.

    Raises ValueError, naming it, for a split, metric or row that is not there."""
    results = read_results(name)["rows"]
    rows = sorted(chosen("rows", rows, results), key=is_cheat)
    metrics = chosen("metrics", metrics, METRICS)
    head = ["", *(f"{METRICS[m].name} {ARROWS[METRICS[m].better]}" for m in metrics)]
    lines = []
    for split in chosen("splits", splits, SPLITS):
        here = [row for row in rows if split in results[row]]
        columns = [cells({row: results[row][split][m] for row in here}, METRICS[m])
                   for m in metrics]
        if len(splits) > 1:
            lines.append([f"**{SPLITS[split]}**", *[""] * len(metrics)])
        lines += [[row_name(row, name == "width"), *(words(c[row]) for c in columns)]
                  for row in here]
    return markdown(head, lines)


def full_size_table() -> str:
    """Memory and speed of the full-size model, and what 20,000 samples take with it."""
    measured = read_results("full_size")
    lines = []
    for name, row in measured["rows"].items():
        memory = [f"{row[key] / 1e9:.1f} GB" for key in ("peak", "device")]
        if "rate" in row:
            work = [f"{row['rate']:.1f} samples/s", f"{20_000 / row['rate'] / 3600:.1f} h"]
        else:
            work = [f"{row['seconds']:.1f} s", "-"]
        lines.append([name, *memory, *work])
    gpu = f"On one {measured['gpu']}, torch {measured['torch'].partition('+')[0]}:\n\n"
    return gpu + markdown(["", "tensors", "of the card", "speed", "20,000 samples"], lines)


def table_of(order: str) -> str:
    """What a marker asks for."""
    if order == "full_size":
        return full_size_table()
    name, *parts = (part.strip() for part in order.removeprefix("table:").split(";"))
    if len(parts) not in (2, 3):
        raise ValueError(f"a marker must be 'table: NAME; SPLITS; METRICS[; ROWS]', got "
                         f"{order!r}")
    return benchmark_table(name, *(part.split() for part in parts))


def fill(text: str) -> str:
    """A document with every marked table made anew."""
    return MARKER.sub(lambda found: f"{found[1]}\n{table_of(found[2])}\n", text)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(argv).check
    stale = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        if (new := fill(text)) != text:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(new, encoding="utf-8")
    for name in stale:
        print(f"{name} {'differs from data/results' if check else 'written'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
