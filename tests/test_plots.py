"""Plots show what they are given, all of it, pixel by pixel, and say it in words."""

import base64
import io
import re
from unittest import mock

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image

from pbe_lite import plots, results_table, style


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def photos():
    """54 pictures as busy as photos: smooth shading, stripes, a disc, a little noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128] / 128
    pictures = []
    for _ in range(54):
        a, b = rng.random(2)
        stripes = np.sin(60 * (a * x + b * y)) > 0
        disc = (x - a) ** 2 + (y - b) ** 2 < .1
        layers = sum(layer[..., None] * rng.random(3) for layer in (x, y, stripes, disc))
        noise = rng.normal(0, 2, (128, 128, 3))
        pictures.append((layers * 100 + noise).clip(0, 255).astype(np.uint8))
    return np.stack(pictures)


def pixels(fig, density=1):
    """What the figure looks like, (H, W, 3) uint8, exact."""
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=style.DPI * density)
    return np.asarray(Image.open(file).convert("RGB"))


def text_boxes(fig):
    """(words, bounding box in pixels) of every text that is drawn."""
    fig.draw_without_rendering()
    drawn = []
    record = lambda text, renderer: text.get_visible() and drawn.append(
        (text.get_text(), text.get_window_extent(renderer)))
    with mock.patch.object(plt.Text, "draw", autospec=True, side_effect=record):
        fig.draw_without_rendering()
    return [(words, box) for words, box in drawn if words.strip()]


def overlaps(fig):
    """Pairs of texts that lie on each other, and texts that leave the figure."""
    boxes = text_boxes(fig)
    assert boxes  # or nothing was looked at
    pairs = [(a, b) for i, (a, box) in enumerate(boxes) for b, other in boxes[i + 1:]
             if box.shrunk(.98, .9).overlaps(other.shrunk(.98, .9))]
    outside = [words for words, box in boxes
               if box.x0 < 0 or box.y0 < 0 or box.x1 > fig.bbox.x1 or box.y1 > fig.bbox.y1]
    return pairs + outside


def test_a_picture_is_the_same_from_every_form():
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1) / 127.5 - 1
    np.testing.assert_allclose(plots.to_picture(tensor) * 255, array, atol=1e-3)
    assert np.array_equal(plots.to_picture(array), array)


def test_a_grid_shows_each_picture_and_leaves_none_out():
    first, second = np.zeros((4, 4)), np.ones((4, 4, 3))
    fig = plots.grid([[first, second], [second, None]], titles="ab", labels="cd")
    shown = [axis.images for axis in fig.axes]
    assert [len(images) for images in shown] == [1, 1, 1, 0]
    assert shown[0][0].get_cmap().name == "gray"
    assert [axis.get_title() for axis in fig.axes[:2]] == ["a", "b"]


@pytest.mark.parametrize("zoom, density", [(1, 1), (1, 2), (2, 2), (3, 1)])
def test_every_pixel_of_a_picture_becomes_a_square_of_its_colour(zoom, density):
    rng = np.random.default_rng(zoom)
    rows = rng.integers(0, 256, (2, 3, 37, 29, 3), np.uint8)
    fig = plots.grid(rows, ["one", "two", "three"], ["first", "a second row"], zoom=zoom,
                     caption="Noise, which no smoothing survives.")
    image, scale = pixels(fig, density), zoom * density
    for axis, picture in zip(fig.axes, rows.reshape(-1, 37, 29, 3)):
        box = axis.get_position().transformed(fig.transFigure)
        left = round(box.x0 * density)
        top = len(image) - round(box.y1 * density)
        shown = image[top:top + 37 * scale, left:left + 29 * scale]
        assert np.array_equal(shown, picture.repeat(scale, 0).repeat(scale, 1))


@pytest.mark.parametrize("size, side, width", [
    (128, 1.5, 128), (128, 1.3, 128), (128, 2.4, 256), (32, 1.5, 160), (16, 1.5, 144),
    (512, 2.4, 256), (224, 1.5, 224)])
def test_without_a_zoom_pictures_get_the_whole_zoom_nearest_to_side(size, side, width):
    fig = plots.grid([[np.zeros((size, size, 3))]], side=side)
    assert round(fig.axes[0].bbox.width) == width


def test_smaller_pictures_get_the_largest_whole_zoom_that_fits():
    fig = plots.strip([np.zeros((128, 128)), np.zeros((32, 32)), np.zeros((50, 40))],
                      zoom=1)
    sizes = [(round(a.bbox.width), round(a.bbox.height)) for a in fig.axes]
    assert sizes == [(128, 128), (128, 128), (80, 100)]


def test_masks_of_one_value_are_white_or_black():
    masks = np.ones((8, 8), bool), np.ones((8, 8)), np.full((8, 8), 255, np.uint8)
    fig = plots.strip([*masks, np.zeros((8, 8), bool)])
    image = pixels(fig)
    centres = [a.get_position().transformed(fig.transFigure) for a in fig.axes]
    levels = [image[len(image) // 2, round((c.x0 + c.x1) / 2), 0] for c in centres]
    assert levels == [255, 255, 255, 0]


def test_lines_over_a_picture_do_not_stretch_it():
    fig = plots.strip([np.zeros((8, 8))])
    fig.axes[0].plot([-5, 20], [3, 3])
    assert fig.axes[0].get_xlim() == (-.5, 7.5)


def test_words_around_a_grid_stay_apart_and_inside(photos):
    titles = ["source", "copy-paste with its own background", "a", "bottleneck",
              "final, guidance 2.5", "extraordinarily-long-word-that-has-no-break"]
    fig = plots.grid(photos[:18].reshape(3, 6, 128, 128, 3), titles,
                     ["pair 0", "a blue penguin in a new colourway", "pair\n2"],
                     caption="A caption of more than one line. " * 8)
    assert not overlaps(fig)


def test_labels_higher_than_their_pictures_stay_apart():
    rows = np.zeros((3, 2, 16, 16, 3))
    assert not overlaps(plots.grid(rows, (), ["a name that takes three lines " * 2] * 3,
                                   zoom=1))


@pytest.mark.parametrize("more", [dict(titles="abc"), dict(labels="ab")])
def test_labels_that_would_be_lost_are_refused(more):
    with pytest.raises(ValueError, match="do not fit 2 columns and 1 rows"):
        plots.grid([[np.zeros((4, 4))] * 2], **more)


@pytest.mark.parametrize("zoom", [0, -1, 1.5])
def test_a_zoom_is_a_whole_number(zoom):
    with pytest.raises(ValueError, match=f"zoom must be a whole number.*{zoom}"):
        plots.grid([[np.zeros((4, 4))]], zoom=zoom)


def image_of(html):
    """(alt, width, file) of the one <img> of an output."""
    (found,) = re.findall(r'<img alt="([^"]*)" width="(\d+)" .*?base64,([^"]*)"', html)
    return found[0], int(found[1]), base64.b64decode(found[2])


def test_a_grid_of_54_pictures_is_small_and_still_crisp(photos):
    fig = plots.grid(photos.reshape(9, 6, 128, 128, 3), zoom=1)
    html = fig.to_html()
    assert len(html) < 600_000
    _, width, file = image_of(html)
    shown = np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(float)
    assert shown.shape[1] == 2 * width == 2 * round(fig.bbox.width)
    error = np.mean((shown - pixels(fig, 2)) ** 2)
    assert 10 * np.log10(255 ** 2 / error) > 31


def test_even_noise_stays_within_the_budget(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    before = len(plots.strip(noise).encode())
    monkeypatch.setattr(style, "MOST_BYTES", int(.6 * before))
    assert len(plots.strip(noise).encode()) <= .6 * before


def test_figures_are_shown_once_with_their_alt_text(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    fig = plots.strip([np.zeros((4, 4))] * 2, ["a & b", 'the "c"'])
    fig._ipython_display_()
    assert not plt.get_fignums()  # what is closed is not shown again when the cell ends
    (data,) = shown
    assert data["text/plain"] == fig.alt
    assert "a & b" in fig.alt and 'the "c"' in fig.alt
    alt, _, _ = image_of(data["text/html"])
    assert "a &amp; b" in alt and "the &quot;c&quot;" in alt


def test_figures_of_one_cell_are_shown_in_the_order_in_which_they_were_drawn(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display",
                        lambda data, raw: shown.append(data["text/plain"]))
    for name in ("first", "second"):
        plots.figure(100, 100, name)
    plots.figure(100, 100, "third")._ipython_display_()  # the cell's last line
    assert shown == ["first", "second", "third"] and not plt.get_fignums()


def test_a_figure_without_an_alt_text_is_described_by_its_words():
    fig = plots.figure(300, 200)
    fig.subplots().set(title="A <title>", xlabel="steps", ylabel="loss")
    assert image_of(fig.to_html())[0] == "Figure: A &lt;title&gt;; steps; loss"


def test_an_alt_text_counts_rows_and_columns():
    assert plots.strip([np.zeros((4, 4))] * 2).alt == "Pictures in 1 row and 2 columns"


def test_a_formula_above_a_picture_is_not_broken():
    fig = plots.strip([np.zeros((8, 8))] * 2, ["$x_t = a x_0 + b n$, long", "an other"],
                      zoom=1)
    assert fig.axes[0].get_title() == "$x_t = a x_0 + b n$, long"
    assert not overlaps(fig)


def test_the_alt_text_survives_in_jupyterlabs_html_and_nbconvert():
    nbconvert = pytest.importorskip("nbconvert")
    nbformat = pytest.importorskip("nbformat")
    fig = plots.bars({"one": dict(mean=.5, low=.4, high=.6)}, "leak")
    output = nbformat.v4.new_output("display_data", {"text/html": fig.to_html(),
                                                     "text/plain": fig.alt})
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("bars", outputs=[output])])
    page, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    assert f'<img alt="{fig.alt}"' in page
    assert "lower is better" in fig.alt and "one 0.50 (0.40 to 0.60)" in fig.alt


def test_bars_and_whiskers_are_as_long_as_their_intervals():
    groups = {"one": {"mean": .5, "low": .4, "high": .7},
              "two": {"mean": .2, "low": .2, "high": .3}}
    (axis,) = plots.bars(groups, "share", bar=.6).axes
    assert [patch.get_width() for patch in axis.patches] == [.5, .2]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["one", "two"]
    whiskers = axis.collections[0].get_segments()
    np.testing.assert_allclose([w[:, 0] for w in whiskers], [(.4, .7), (.2, .3)])
    assert axis.lines[-1].get_xdata()[0] == .6


def arms():
    names = ("copy_paste", "naive", "bottleneck", "final", "ground_truth", "round_trip")
    return {name: {"mean": .9 - .15 * i, "low": .85 - .15 * i, "high": .95 - .15 * i}
            for i, name in enumerate(names)}


def test_the_arm_in_question_stands_out_and_cheats_are_grey():
    fig = plots.bars(arms(), "right_kind", "A title", .8, highlight="final",
                     bar_label="the truth")
    colors = [patch.get_facecolor() for patch in fig.axes[0].patches]
    assert colors[0] == colors[4] == colors[5] != colors[1] == colors[2]
    assert colors[3] not in colors[:3] + colors[4:]
    assert not overlaps(fig)


@pytest.mark.parametrize("metric, words", [
    ("right_kind", "right kind, share of pairs   → better"),
    ("leak", "better ←   leak, share of telltale pixels, 1 = copy-paste"),
    ("seam", "seam, step at the border, of the right answer's   (best: 1)")])
def test_axes_say_what_is_measured_and_which_way_is_better(metric, words):
    assert plots.bars(arms(), metric).axes[0].get_xlabel() == words
    lines = {"final": ([1, 2], [.3, .4]), "naive": ([1, 2], [.5, .6])}
    assert plots.curves(lines, "guidance", metric).axes[0].get_ylabel() == words


def test_every_metric_and_split_of_the_benchmark_has_words():
    from pbe_lite.evaluation import benchmark, evaluate, painting
    assert {*evaluate.METRICS} == {*plots.METRICS}
    assert {*painting.CHEATS} == {*results_table.CHEATS}
    assert {*benchmark.SPLITS} == {*results_table.SPLITS}


def test_a_direction_is_one_of_four():
    with pytest.raises(ValueError, match="better must be .*'up'"):
        plots.bars(arms(), "share", better="up")


def test_a_mean_that_is_none_has_no_bar():
    groups = {"one": dict(mean=None, low=None, high=None),
              "two": dict(mean=3, low=2, high=4)}
    fig = plots.bars(groups, "PSNR")
    assert [t.get_text() for t in fig.axes[0].texts] == ["none", "3.00"]
    assert "one none;" in fig.alt


def test_curves_keep_their_points_bands_and_names():
    x = np.arange(1, 6)
    lines = {"naive_augment": (x, x / 10, x / 10 - .05, x / 10 + .05),
             "$P_0$": (x * 1000, x ** 2)}
    fig = plots.curves(lines, "samples", "loss", "A title", log_x=True, log_y=True,
                       highlight="$P_0$", better="lower")
    (axis,) = fig.axes
    assert np.array_equal(axis.lines[0].get_ydata(), x / 10)
    assert len(axis.collections) == 1
    assert [t.get_text() for t in axis.get_legend().texts] == ["naive augment", "$P_0$"]
    assert axis.lines[1].get_linewidth() > axis.lines[0].get_linewidth()
    fig.canvas.draw()
    ticks = {t.get_text() for t in axis.get_xticklabels()}
    assert {"1", "1,000"} <= ticks
    assert not overlaps(fig)
    assert "naive augment from 0.1 to 0.5" in fig.alt


def test_an_axis_of_many_powers_of_ten_keeps_its_numbers_apart():
    x = np.logspace(-3, 6, 50)
    assert not overlaps(plots.curves({"one": (x, x)}, "x", "y", log_x=True, log_y=True))


def test_a_chart_stays_small():
    assert len(plots.bars(arms(), "leak").to_html()) < 150_000
    lines = {str(i): (np.arange(500), np.random.default_rng(i).random(500))
             for i in range(4)}
    assert len(plots.curves(lines, "step", "loss").to_html()) < 600_000


def test_a_figure_of_ones_own_has_the_style_without_changing_anybodys():
    before = dict(plt.rcParams)
    fig = plots.figure(500, 300, "Two dots.")
    fig.subplots().plot([1, 2], "o")
    assert image_of(fig.to_html())[:2] == ("Two dots.", 500)
    assert dict(plt.rcParams) == before


def value(mean, reach=.1, **more):
    return {"mean": mean, "low": mean - reach, "high": mean + reach, **more}


RESULTS = {"rows": {
    "copy_paste": {"seen": {"leak": value(1.), "seam": value(9.)}},
    "naive": {"seen": {"leak": value(.7), "seam": value(.5)}},
    "final": {"seen": {"leak": value(.2), "seam": value(1.6)}},
    "<b>": {"seen": {"leak": value(.35), "seam": value(1.9)}},
}}


def test_a_table_says_everything_in_words_and_sets_cheats_apart():
    shown = plots.table(RESULTS, caption="Table 2")
    lines = repr(shown).splitlines()
    assert lines[0] == "Table 2" and lines[1].startswith("seen in training")
    assert "leak ↓" in lines[1] and "seam →\N{THIN SPACE}1" in lines[1]
    assert [line.split("  ")[0] for line in lines[2:]] == ["naive", "final", "<b>",
                                                           "copy-paste"]
    html = shown._repr_html_()
    pale = [row for row in html.split("<tr") if "opacity:.65" in row]
    assert len(pale) == 1 and "copy-paste" in pale[0]
    assert "&lt;b&gt;" in html


def test_the_best_model_is_marked_with_those_that_cannot_be_told_from_it():
    html = plots.table(RESULTS)._repr_html_()
    assert re.findall(r"<b>([\d.]+)</b>", html) == ["0.50", "0.20", "0.35"]


def test_nothing_is_marked_where_all_models_are_alike():
    exact = {"mean": None, "low": None, "high": None, "exact": True}
    rows = {name: {"seen": {"background_psnr": exact}} for name in ("naive", "final")}
    rows["other"] = {"seen": {"background_psnr": value(38.)}}
    shown = plots.table({"rows": rows})
    assert repr(shown).count("exact*") == 2 and "38.0*" not in repr(shown)
    del rows["other"]
    assert "*" not in repr(plots.table({"rows": rows}))


@pytest.mark.parametrize("choice", [dict(rows=["fnal"]), dict(metrics=["fnal"]),
                                    dict(splits=["fnal"])])
def test_a_row_metric_or_split_that_is_not_there_is_named(choice):
    with pytest.raises(ValueError, match=f"{[*choice][0]} must be among .*'fnal'"):
        plots.table(RESULTS, **choice)
    with pytest.raises(ValueError, match="must have the key 'rows'"):
        plots.table({"row": 1})


@pytest.mark.parametrize("name", ["guidance", "table1", "table2", "width"])
def test_the_tables_that_the_course_ships_can_be_shown(name):
    from pbe_lite.evaluation.evaluate import read_results
    results = read_results(name)
    shown = plots.table(results)
    for row in results["rows"]:
        assert results_table.row_words(row) in repr(shown)


def test_an_overlay_tints_the_hole_alone():
    image, hole = np.full((4, 4, 3), 100, np.uint8), np.zeros((4, 4))
    hole[1, 2] = 1
    tinted = plots.overlay(image, hole)
    assert (np.argwhere((tinted != image).any(-1)) == [[1, 2]]).all()


@pytest.mark.slow
def test_every_figure_of_a_notebook_is_shown_once_in_its_cell():
    """The first one switches matplotlib's backend on, under this style's settings."""
    first = ("import numpy as np\nfrom pbe_lite.plots import strip\n"
             "x = np.zeros((9, 9, 3), 'u1')")
    cells = [first, "strip([x, x]);", "strip([x, x]);", "strip([x])", "x.shape",
             "import matplotlib.pyplot as plt\nplt.plot([1, 2]);", "strip([x, x]);"]
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    shown = [[kind for output in cell.outputs for kind in output.get("data", {})
              if kind in ("text/html", "image/png")] for cell in notebook.cells]
    html = ["text/html"]
    assert shown == [[], html, html, html, [], ["image/png"], html]
