"""Open Images' layout: what is there is found; what is missing is named."""

import csv

import numpy as np
import pytest
from PIL import Image

from pbe_lite.data import open_images
from pbe_lite.data.images import UnreadableImage
from pbe_lite.data.open_images import COLUMNS, load_open_images

CODES = [("/m/0cat", "Cat"), ("/m/0dog", "Dog, small")]


def write_rows(path, rows):
    with open(path, "w", newline="") as f:
        csv.writer(f).writerows(rows)


def annotation(image_id, label, x0, y0, x1, y1):
    return (image_id, "xclick", label, 1, x0, x1, y0, y1, 0, 0, 0, 0, 0)


def ids(records):
    return [records.dataset[i]["image_id"] for i in range(len(records))]


@pytest.fixture
def folder(tmp_path):
    """Two images of Open Images' kind: one with three boxes, one with a tiny box only."""
    (tmp_path / "train").mkdir()
    for image_id, colour in (("0123456789abcdef", "red"), ("00000000000000e1", "blue")):
        Image.new("RGB", (40, 30), colour).save(tmp_path / "train" / f"{image_id}.jpg")
    write_rows(tmp_path / "oidv6-train-annotations-bbox.csv", [
        COLUMNS,
        annotation("0123456789abcdef", "/m/0dog", .1, .2, .5, .6),
        annotation("0123456789abcdef", "/m/0cat", 0, 0, 1, .75),
        annotation("0123456789abcdef", "/m/0cat", 0, 0, 1, .9),
        annotation("00000000000000e1", "/m/0cat", .1, .1, .2, .2),
    ])
    write_rows(tmp_path / "oidv7-class-descriptions-boxable.csv",
               [("LabelName", "DisplayName"), *CODES])
    return tmp_path


# --------------------------------------------------------------- Open Images' rows


def test_boxes_of_one_image_stay_together(folder):
    (record,) = load_open_images(folder)
    assert record["image_id"] == "0123456789abcdef"
    np.testing.assert_allclose(record["boxes"], [(.1, .2, .5, .6), (0, 0, 1, .75)])
    assert record["labels"] == ["Dog, small", "Cat"]
    assert np.asarray(record["image"])[0, 0, 0] > 250  # red


@pytest.mark.parametrize(
    ("area", "counts"), [((0, 1), [1, 3]), ((.15, .17), [1]), ((.75, .9), [2])]
)
def test_area_is_a_fraction_of_the_picture(folder, area, counts):
    records = load_open_images(folder, area=area)
    assert [len(record["boxes"]) for record in records] == counts


def test_class_descriptions_need_no_header(folder):
    write_rows(folder / "oidv7-class-descriptions-boxable.csv", CODES)
    assert load_open_images(folder)[0]["labels"] == ["Dog, small", "Cat"]


def test_a_class_without_description_keeps_its_code(folder):
    write_rows(folder / "oidv7-class-descriptions-boxable.csv", CODES[:1])
    assert load_open_images(folder)[0]["labels"] == ["/m/0dog", "Cat"]


# ------------------------------------------------------------------------- errors


def test_no_box_left_is_told(folder):
    with pytest.raises(ValueError, match="leaves no box of train"):
        load_open_images(folder, area=(.3, .4))


@pytest.mark.parametrize("part", ["train-annotations-bbox", "class-descriptions"])
def test_a_missing_csv_is_named(folder, part):
    (path,) = folder.glob(f"*{part}*.csv")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"no \*{part}.*csv in .*{folder.name}"):
        load_open_images(folder)


def test_a_missing_picture_is_named_when_it_is_read(folder):
    (folder / "train" / "0123456789abcdef.jpg").unlink()
    records = load_open_images(folder)
    with pytest.raises(UnreadableImage, match="0123456789abcdef.jpg: No such file"):
        records[0]


def test_a_missing_folder_of_pictures_is_named(folder):
    (folder / "train").rename(folder / "elsewhere")
    with pytest.raises(FileNotFoundError, match="no folder .*train: expected images or"):
        load_open_images(folder)


def test_a_csv_without_its_columns_is_named(folder):
    write_rows(folder / "oidv6-train-annotations-bbox.csv", [("ImageID", "XMin"), (1, 2)])
    with pytest.raises(ValueError, match="oidv6-train-annotations-bbox.csv: .*LabelName"):
        load_open_images(folder)


def test_what_is_no_number_is_named_with_its_file(folder):
    rows = [COLUMNS, annotation("0123456789abcdef", "/m/0dog", .1, "left", .5, .6)]
    write_rows(folder / "oidv6-train-annotations-bbox.csv", rows)
    with pytest.raises(ValueError, match="oidv6-train-annotations-bbox.csv: .*left"):
        load_open_images(folder)


# -------------------------------------------------------------------- at any length


@pytest.mark.parametrize("extra", [(), ("XClick1X", "XClick2X", "XClick1Y")])
def test_columns_may_have_any_order_and_company(folder, extra):
    path = folder / "oidv6-train-annotations-bbox.csv"
    with open(path, newline="") as f:
        rows = list(csv.DictReader(f))
    expected = [record["boxes"] for record in load_open_images(folder)]
    columns = [*extra, *reversed(COLUMNS)]
    rows = [[-1] * len(extra) + [row[c] for c in reversed(COLUMNS)] for row in rows]
    write_rows(path, [columns, *rows])
    assert [record["boxes"] for record in load_open_images(folder)] == expected


def test_a_csv_longer_than_a_block_is_read_whole(folder, monkeypatch):
    monkeypatch.setattr(open_images, "BLOCK", 2000)
    rows = [annotation(f"{i:016x}", "/m/0cat", 0, 0, .5, .5) for i in range(500)]
    write_rows(folder / "oidv6-train-annotations-bbox.csv", [COLUMNS, *rows])
    records = load_open_images(folder)
    assert ids(records) == [f"{i:016x}" for i in range(500)]
    assert records.info["rows"] == records.info["boxes"] == 500


def test_a_changed_csv_is_read_again_and_an_unchanged_one_is_not(folder, monkeypatch):
    assert len(load_open_images(folder)) == 1
    write_rows(folder / "oidv6-train-annotations-bbox.csv", [
        COLUMNS, *(annotation(i, "/m/0cat", 0, 0, .5, .5) for i in ("a", "b", "c"))])
    assert ids(load_open_images(folder)) == ["a", "b", "c"]
    monkeypatch.setattr(open_images.arrow_csv, "open_csv", None)  # would fail if it read
    assert ids(load_open_images(folder)) == ["a", "b", "c"]


def test_the_index_may_lie_elsewhere(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("index") / "here"
    load_open_images(folder, index=elsewhere)
    assert (elsewhere / "index.json").exists()
    assert not list(folder.glob("index-*"))


# ------------------------------------------------------------------- as downloaded


def one_box(folder, image_id="a"):
    write_rows(folder / "train-annotations-bbox.csv",
               [COLUMNS, annotation(image_id, "/m/0dog", .1, .1, .4, .4)])
    write_rows(folder / "class-descriptions-boxable.csv", CODES)


def test_boxes_are_of_the_pixels_as_they_are_stored(tmp_path):
    """The data set's boxes are: a picture must not be turned alone."""
    (tmp_path / "train").mkdir()
    array = np.full((300, 400, 3), 200, np.uint8)
    array[30:120, 40:160] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(array).save(tmp_path / "train" / "a.jpg", quality=95, exif=exif)
    one_box(tmp_path)
    (record,) = load_open_images(tmp_path)
    assert record["image"].size == (400, 300) and "fault" not in record
    inside = np.asarray(record["image"].crop((44, 34, 156, 116)), int)
    assert np.abs(inside - (254, 0, 0)).max() < 10


@pytest.mark.parametrize("place", ["train/train_0", "train_0"])
def test_archives_may_lie_as_they_unpack(tmp_path, place):
    for name in (place, place[:-1] + "f", "train-alpha"):
        (tmp_path / name).mkdir(parents=True)
    Image.new("RGB", (40, 30), "red").save(tmp_path / place / "a.jpg")
    (tmp_path / place / "._a.jpg").write_bytes(b"\0")
    one_box(tmp_path)
    (tmp_path / "train-alpha").rmdir()
    (record,) = load_open_images(tmp_path)
    assert record["image"].getpixel((0, 0))[0] > 250
    one_box(tmp_path, "b")
    with pytest.raises(ValueError, match="none of the 1 images"):
        load_open_images(tmp_path)
    Image.new("RGB", (40, 30)).save(tmp_path / (place[:-1] + "f") / "b.jpg")
    assert ids(load_open_images(tmp_path)) == ["b"]  # an image that was added is seen


@pytest.mark.parametrize("place", ["train", "."])
@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_a_compressed_archive_is_named(tmp_path, place, suffix):
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / f"train_0{suffix}").write_bytes(b"x")
    one_box(tmp_path)
    with pytest.raises(ValueError, match=f"train_0{suffix} must be unpacked first"):
        load_open_images(tmp_path)


def test_a_class_without_a_name_is_named_with_its_line(folder):
    path = folder / "oidv7-class-descriptions-boxable.csv"
    path.write_text("/m/0cat,Cat\n/m/0dog\n")
    with pytest.raises(ValueError, match="boxable.csv, line 2: expected LabelName,Display"):
        load_open_images(folder)
    path.write_bytes("\ufeff/m/0cat,Cat\n/m/0dog,Dog\n".encode())
    assert load_open_images(folder)[0]["labels"] == ["Dog", "Cat"]
