"""The index: every box once, in order, whatever the order of the rows, in flat memory."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pbe_lite.data import box_index
from pbe_lite.data.box_index import ROW, batched, build_index, fingerprint, open_index
from pbe_lite.data.shards import Folder


def made_up(images=40, seed=0, prefix=""):
    """Rows of 1 to 4 boxes an image, all with an area within the paper's."""
    rng = np.random.default_rng(seed)
    for i in range(images):
        for k in range(int(rng.integers(1, 5))):
            low = rng.uniform(0, .4, 2)
            high = low + rng.uniform(.2, .6, 2)
            yield f"{prefix}{i * 7919 % 16 ** 4:04x}", *low, *high, f"thing {k}"


def expected(rows):
    """{image: [(box, label)]}, by the plainest of ways."""
    images = {}
    for image_id, *box, label in rows:
        images.setdefault(image_id, []).append((box, label))
    return dict(sorted(images.items()))


def found(folder):
    dataset, _ = open_index(folder)
    return {row["image_id"]: list(zip(row["boxes"], row["labels"], strict=True))
            for row in dataset}


def build(folder, rows, area=(0, 1), locate=None, **options):
    locate = locate or Folder(".").locate
    return build_index(folder, batched(rows, 16), locate, area, **options)


def forbidden():
    """Batches that must not be asked for."""
    raise AssertionError("the source was read")
    yield


# ------------------------------------------------------------------------- content


@pytest.mark.parametrize("prefix", ["", "IMG_", "folder/ä b/"])
def test_every_box_is_there_once_in_the_order_of_ids(tmp_path, prefix):
    rows = list(made_up(prefix=prefix))
    build(tmp_path / "index", rows)
    assert found(tmp_path / "index") == expected(rows)
    assert list(found(tmp_path / "index")) == sorted({row[0] for row in rows})


def test_the_order_of_the_rows_does_not_matter(tmp_path):
    rows = list(made_up())
    by_image = sorted(rows, key=lambda row: row[0])
    order = np.random.default_rng(1).permutation(len(by_image))
    build(tmp_path / "a", by_image)
    build(tmp_path / "b", [by_image[i] for i in order])
    a, b = found(tmp_path / "a"), found(tmp_path / "b")
    assert a.keys() == b.keys()
    assert all(sorted(a[i]) == sorted(b[i]) for i in a)


def test_boxes_of_an_image_keep_the_order_of_the_rows(tmp_path):
    rows = [(i, 0, 0, .5, (k + 1) / 100, str(k)) for k in range(60) for i in ("a", "b")]
    build(tmp_path, rows)
    for boxes in found(tmp_path).values():
        assert [label for _, label in boxes] == [str(k) for k in range(60)]


def test_long_spills_are_split_and_the_index_stays_the_same(tmp_path, monkeypatch):
    rows = list(made_up(300))
    build(tmp_path / "whole", rows)
    monkeypatch.setattr(box_index, "SORTABLE", 5)
    build(tmp_path / "split", rows)
    assert found(tmp_path / "split") == found(tmp_path / "whole")
    assert len(list((tmp_path / "split").glob("part-*"))) > 16
    assert list(found(tmp_path / "split")) == sorted({row[0] for row in rows})


def test_one_image_of_many_boxes_ends_the_splitting(tmp_path, monkeypatch):
    monkeypatch.setattr(box_index, "SORTABLE", 5)
    rows = [("a" * 30, 0, 0, .5, .5, "x")] * 50 + [("a", 0, 0, .5, .5, "x")] * 50
    build(tmp_path, rows)
    counts = {i: len(boxes) for i, boxes in found(tmp_path).items()}
    assert counts == {"a": 50, "a" * 30: 50}


# ------------------------------------------------------------------ what is left out


def test_area_is_a_share_of_the_picture_ends_included(tmp_path):
    rows = [("a", 0, 0, side, 1, str(side)) for side in (.1, .25, .5, .75, .9)]
    build(tmp_path, rows, area=(.25, .75))
    assert [label for _, label in found(tmp_path)["a"]] == ["0.25", "0.5", "0.75"]


def test_what_is_no_box_is_left_out_and_counted(tmp_path):
    nan = float("nan")
    wrong = [(.5, .2, .1, .9), (.5, .9, .9, .1), (.9, .9, .1, .1), (-.1, 0, .5, .5),
             (0, 0, 1.1, .5), (.5, .5, .5, .9), (nan, 0, 1, 1), (None, 0, 1, 1)]
    rows = [("a", *box, "wrong") for box in wrong] + [("b", 0, 0, 1, 1, "right")]
    build(tmp_path, rows)
    assert found(tmp_path) == {"b": [([0, 0, 1, 1], "right")]}
    info = open_index(tmp_path)[1]
    assert (info["rows"], info["not_a_box"], info["boxes"], info["images"]) == (9, 8, 1, 1)


def test_images_that_are_not_there_are_left_out_and_counted(tmp_path):
    rows = list(made_up())
    missing = sorted({row[0] for row in rows})[::3]

    def locate(ids):
        path, offset, size = Folder(".").locate(ids)
        there = pa.array([i not in missing for i in ids.to_pylist()])
        return pc.if_else(there, path, pa.scalar(None, pa.string())), offset, size

    build(tmp_path, rows, locate=locate)
    assert found(tmp_path) == expected(row for row in rows if row[0] not in missing)
    assert open_index(tmp_path)[1]["missing"] == len(missing)


def test_nothing_left_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"area=\(0.9, 1\) leaves no box of my data"):
        build(tmp_path / "a", made_up(), area=(.9, 1), what="my data")
    with pytest.raises(ValueError, match="leaves no box"):
        build(tmp_path / "b", [])
    nowhere = lambda ids: (pa.nulls(len(ids), pa.string()),
                           *(pa.nulls(len(ids), pa.int64()),) * 2)
    with pytest.raises(ValueError, match="none of the 40 images of my data is there"):
        build(tmp_path / "c", made_up(), locate=nowhere, what="my data")
    for folder in "abc":
        with pytest.raises(FileNotFoundError, match="no finished index"):
            open_index(tmp_path / folder)


# ------------------------------------------------------------------------ once only


def test_a_finished_index_is_left_alone(tmp_path):
    build(tmp_path, made_up(), made_from="x")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    build_index(tmp_path, forbidden(), Folder(".").locate, (0, 1), "x")
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_another_source_or_area_makes_it_anew(tmp_path):
    build(tmp_path, made_up(), made_from="x")
    build(tmp_path, made_up(5, prefix="z"), made_from="y")
    assert found(tmp_path) == expected(made_up(5, prefix="z"))
    build(tmp_path, made_up(), area=(.2, .3), made_from="y")
    assert all(.2 <= (b[2] - b[0]) * (b[3] - b[1]) <= .3
               for boxes in found(tmp_path).values() for b, _ in boxes)


def test_stopped_while_reading_it_begins_again(tmp_path):
    rows = list(made_up())

    def stopping():
        yield from rows[:50]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, stopping())
    with pytest.raises(FileNotFoundError):
        open_index(tmp_path)
    build(tmp_path, rows)
    assert found(tmp_path) == expected(rows)


def test_stopped_while_sorting_it_goes_on_and_reads_nothing_again(tmp_path, monkeypatch):
    rows, grouped = list(made_up()), []

    def stopping(table, locate):
        if len(grouped) == 3:
            raise KeyboardInterrupt
        grouped.append(group(table, locate))
        return grouped[-1]

    group = box_index.group
    monkeypatch.setattr(box_index, "group", stopping)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, rows)
    monkeypatch.undo()
    parts = {p: p.stat().st_mtime_ns for p in tmp_path.glob("part-*.arrow")}
    assert len(parts) == 3
    build_index(tmp_path, forbidden(), Folder(".").locate, (0, 1))
    assert found(tmp_path) == expected(rows)
    assert all(p.stat().st_mtime_ns == time for p, time in parts.items())
    assert not (tmp_path / "rows").exists()


def test_half_a_part_is_not_taken_for_whole(tmp_path, monkeypatch):
    rows = list(made_up())

    def fail_half_way(self, table):
        raise OSError("disk full")

    monkeypatch.setattr(pa.ipc.RecordBatchStreamWriter, "write_table", fail_half_way,
                        raising=False)
    with pytest.raises(OSError, match="disk full"):
        build(tmp_path, rows)
    monkeypatch.undo()
    build(tmp_path, rows)
    assert found(tmp_path) == expected(rows)


def test_a_fingerprint_follows_names_and_content(tmp_path):
    (tmp_path / "masks").mkdir()
    a, b = tmp_path / "a.csv", tmp_path / "masks" / "b.png"
    a.write_text("1")
    b.write_text("1")
    first = fingerprint(a, tmp_path / "masks")
    assert fingerprint(a, tmp_path / "masks") == first != fingerprint(a)
    b.write_text("12")
    second = fingerprint(a, tmp_path / "masks")
    b.rename(tmp_path / "masks" / "c.png")
    assert len({first, second, fingerprint(a, tmp_path / "masks")}) == 3


def test_a_fingerprint_tells_folders_of_one_name_apart(tmp_path):
    for place in ("a", "b"):
        (tmp_path / "masks" / place).mkdir(parents=True)
    (tmp_path / "masks" / "a" / "1.png").write_text("1")
    first = fingerprint(tmp_path / "masks")
    shallow = fingerprint(tmp_path / "masks" / "b", deep=False)
    (tmp_path / "masks" / "a" / "1.png").rename(tmp_path / "masks" / "b" / "1.png")
    assert fingerprint(tmp_path / "masks") != first
    assert fingerprint(tmp_path / "masks" / "b", deep=False) != shallow


# ---------------------------------------------------------------------------- sizes


def test_the_size_that_boxes_were_drawn_on_is_kept(tmp_path):
    box = (0, 0, .5, .5, "x")
    rows = [("a", *box, 40, 30), ("b", *box, 40, 30), ("a", *box, 40, 30),
            ("b", *box, 40, 20), ("c", *box, 0, 0)]
    build(tmp_path, rows)
    sizes = {row["image_id"]: (row["width"], row["height"])
             for row in open_index(tmp_path)[0]}
    assert sizes == {"a": (40, 30), "b": (40, -1), "c": (0, 0)}
    build(tmp_path, [row[:6] for row in rows], made_from="no sizes")
    assert {row["width"] for row in open_index(tmp_path)[0]} == {0}


def test_an_index_of_other_columns_is_made_anew(tmp_path):
    build(tmp_path, made_up(), made_from="x")
    path = tmp_path / "index.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items()
                                if k != "columns"}))
    with pytest.raises(AssertionError, match="the source was read"):
        build_index(tmp_path, forbidden(), Folder(".").locate, (0, 1), "x")


# --------------------------------------------------------------------------- memory


def test_memory_does_not_grow_with_the_rows(tmp_path):
    held = []

    def blocks(count, size=20_000):
        for i in range(count):
            held.append(pa.total_allocated_bytes())
            ids = pa.array([f"{(i * size + k) * 7919 % 16 ** 6:06x}" for k in range(size)])
            low, high = pa.array(np.zeros(size)), pa.array(np.full(size, .5))
            label = pa.array(["thing"] * size)
            yield pa.RecordBatch.from_arrays([ids, low, low, high, high, label],
                                             schema=ROW)

    build_index(tmp_path, blocks(30), Folder(".").locate, (0, 1))
    one = 20_000 * (6 + 5 + 4 * 8 + 8)  # bytes
    assert max(held[1:]) - held[0] < 5 * one  # of 30 that have passed
    assert json.loads((tmp_path / "index.json").read_text())["rows"] == 600_000
