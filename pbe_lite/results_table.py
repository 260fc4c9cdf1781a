"""The benchmark's results in words: what each number means, and a table of them.

The table is HTML whose colours follow the page's, light or dark."""

from dataclasses import dataclass
from html import escape
from typing import NamedTuple


class Metric(NamedTuple):
    """`better`: "higher", "lower", or "one" where 1 is what the right answer has."""

    name: str
    unit: str
    better: str
    digits: int = 2


METRICS = {
    "right_kind": Metric("right kind", "share of pairs", "higher"),
    "right_colour": Metric("right colour", "share of pairs", "higher"),
    "leak": Metric("leak", "share of telltale pixels, 1 = copy-paste", "lower"),
    "clip_score": Metric("CLIP score", "100 cos", "higher", 1),
    "clip_fid": Metric("CLIP-FID", "distance to real pictures", "lower", 1),
    "qs": Metric("QS", "quality score", "higher", 1),
    "seam": Metric("seam", "step at the border, of the right answer's", "one"),
    "seam_hard": Metric("seam, hard edge", "step at the border, of the right answer's",
                        "one"),
    "light": Metric("light", "error of the mean colour, 8-bit levels", "lower", 1),
    "sharpness": Metric("sharpness", "of the right answer's", "one"),
    "background_psnr": Metric("background", "PSNR, dB", "higher", 1),
}
SPLITS = {"seen": "seen in training", "new_colourway": "new colours",
          "new_kind": "new kinds"}
CHEATS = {"copy_paste": "copy-paste", "flat_patch": "flat patch",
          "ground_truth": "right answer", "round_trip": "right answer through the codec"}
ARROWS = {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}",
          "one": "\N{RIGHTWARDS ARROW}\N{THIN SPACE}1", None: ""}


def is_cheat(row: str) -> bool:
    """Whether a row is no model's: it copies, or knows the right answer."""
    return row in CHEATS or row in CHEATS.values()


def row_words(row: str) -> str:
    """A row's name as a reader wants it; formulas are left alone."""
    return CHEATS.get(row, row if "$" in str(row) else str(row).replace("_", " "))


def axis_label(label: str, better: str | None = None) -> str:
    """What is measured and which direction is better, for an axis that points right, or
    up when it is turned.  `label` is a key of METRICS or words.

    Raises ValueError when `better` is none of "higher", "lower", "one", None."""
    label, better = measure(label, better)
    return {"higher": f"{label}   \N{RIGHTWARDS ARROW} better",
            "lower": f"better \N{LEFTWARDS ARROW}   {label}",
            "one": f"{label}   (best: 1)", None: label}[better]


def spoken_label(label: str, better: str | None = None) -> str:
    """The same without arrows, for an alt text."""
    label, better = measure(label, better)
    return {"higher": f"{label} (higher is better)", "lower": f"{label} (lower is better)",
            "one": f"{label} (best: 1)", None: label}[better]


def measure(label, better):
    """(words, better) of a key of METRICS, or of words."""
    if label in METRICS:
        metric = METRICS[label]
        label, better = f"{metric.name}, {metric.unit}", better or metric.better
    if better not in ARROWS:
        raise ValueError(f"better must be 'higher', 'lower', 'one' or None, got {better!r}")
    return label, better


@dataclass(frozen=True)
class ResultsTable:
    """What a notebook shows as a table, and a terminal as text."""

    html: str
    text: str

    def _repr_html_(self):
        return self.html

    def __repr__(self):
        return self.text


class Cell(NamedTuple):
    """The words of a number, its interval, and whether it is among the best."""

    words: str
    interval: str = ""
    best: bool = False


def distance_from_best(value, better):
    """The less the better; an exact background (mean None) is best of all."""
    if value["mean"] is None:
        return float("-inf")
    return {"higher": -value["mean"], "lower": value["mean"],
            "one": abs(value["mean"] - 1)}[better]


def best_rows(values, better):
    """The rows among values, {row: {"mean", "low", "high"}}, that nobody beats for certain:
    the best of the models, and those whose 95 % interval overlaps its interval.  None where
    that is all of them."""
    models = {row: v for row, v in values.items()
              if not is_cheat(row) and (v["mean"] is not None or v.get("exact"))}
    if not models:
        return set()
    first = min(models.values(), key=lambda v: distance_from_best(v, better))
    if first["mean"] is None:
        best = {row for row, v in models.items() if v["mean"] is None}
    else:
        best = {row for row, v in models.items()
                if v["low"] <= first["high"] and v["high"] >= first["low"]}
    return best if len(best) < len(models) else set()


def cells(values, metric):
    """{row: Cell} of one column."""
    best = best_rows(values, metric.better)
    column = {}
    for row, v in values.items():
        if v["mean"] is None:
            column[row] = Cell("exact" if v.get("exact") else "-", best=row in best)
        else:
            mean, low, high = (f"{v[key]:.{metric.digits}f}" for key in
                               ("mean", "low", "high"))
            column[row] = Cell(mean, f"{low} to {high}", row in best)
    return column


def table(results, metrics=None, splits=None, rows=None, caption="") -> ResultsTable:
    """A results dict, {"rows": {row: {split: {metric: {"mean", "low", "high"}}}}}, as
    `evaluation.evaluate.read_results` reads it, as a table: a part for each split, a line
    for each row, a column for each metric, each in words.

    Cheats (copy-paste, flat patch, right answers) are set apart in grey, below the models.
    Bold: the best model, and all whose 95 % interval overlaps its interval.  `metrics`,
    `splits` and `rows` choose, and give the order; by default all that are there.  Raises
    ValueError, naming it, for one that the results do not have."""
    if "rows" not in results:
        raise ValueError(f"results must have the key 'rows', got {sorted(results)}")
    everything = results["rows"]
    rows = chosen("rows", rows, everything)
    there = {split: None for row in rows for split in everything[row]}
    splits = chosen("splits", splits, there)
    there = [m for m in METRICS if all(m in everything[r].get(s, {m: 0})
                                       for r in rows for s in splits)]
    metrics = chosen("metrics", metrics, there)
    rows = sorted(rows, key=is_cheat)  # stable: cheats last, the order kept otherwise
    parts = {}
    for split in splits:
        here = [row for row in rows if split in everything[row]]
        parts[split] = {m: cells({row: everything[row][split][m] for row in here},
                                 METRICS[m]) for m in metrics}
    return ResultsTable(to_html(parts, metrics, caption), to_text(parts, metrics, caption))


def chosen(what, names, there):
    """`names`, all of which must be there; all that are there without names."""
    for name in names or ():
        if name not in there:
            raise ValueError(f"{what} must be among {', '.join(there)}; got {name!r}")
    return list(names or there)


LEFT, RIGHT = (f"text-align:{side};padding:.25em .7em" for side in ("left", "right"))
NOTE = ("In brackets: 95 % intervals. Bold: the best model, and all whose interval "
        "overlaps its interval. Grey: no models, but rows that show what a number rewards.")


def to_html(parts, metrics, caption):
    """Colours are left to the page, so that it is readable on light and dark ones."""
    head = "".join(
        f'<th scope="col" style="{RIGHT};vertical-align:bottom">{METRICS[m].name}&nbsp;'
        f'{ARROWS[METRICS[m].better]}<br><small style="font-weight:normal;opacity:.75;'
        f'display:inline-block;max-width:9em">{METRICS[m].unit}</small></th>'
        for m in metrics)
    lines = []
    for split, columns in parts.items():
        lines.append(f'<tr><th scope="rowgroup" colspan="{1 + len(metrics)}" style="'
                     f'{LEFT};padding-top:.8em">{SPLITS.get(split, split)}</th></tr>')
        lines += [html_line(row, [columns[m][row] for m in metrics])
                  for row in columns[metrics[0]]]
    return (f'<table><caption style="caption-side:top;{LEFT}">{escape(caption)}</caption>'
            f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
            f"<small>{NOTE}</small>")


def html_line(row, line):
    """One row of the table; the numbers of the best are bold, cheats pale."""
    pale = ' style="opacity:.65;font-style:italic"' if is_cheat(row) else ""
    numbers = ""
    for cell in line:
        words = f"<b>{cell.words}</b>" if cell.best else cell.words
        interval = f"<br><small>({cell.interval})</small>" if cell.interval else ""
        numbers += f'<td style="{RIGHT};white-space:nowrap">{words}{interval}</td>'
    return (f'<tr{pale}><th scope="row" style="{LEFT};font-weight:normal">'
            f"{escape(row_words(row))}</th>{numbers}</tr>")


def to_text(parts, metrics, caption):
    """The same for a terminal; * marks the best."""
    lines = [caption] * bool(caption)
    for split, columns in parts.items():
        heads = [f"{METRICS[m].name} {ARROWS[METRICS[m].better]}" for m in metrics]
        lines.append(f"{SPLITS.get(split, split):<32}" + "".join(f"{h:>26}" for h in heads))
        for row in columns[metrics[0]]:
            line = [columns[m][row] for m in metrics]
            words = [f"{c.words}{'*' * c.best}" + f" ({c.interval})" * bool(c.interval)
                     for c in line]
            lines.append(f"{row_words(row):<32}" + "".join(f"{w:>26}" for w in words))
    return "\n".join(lines)
