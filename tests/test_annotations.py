"""Boxes of every odd shape: used rightly, or told by file and place; never guessed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pbe_lite.config import LITE
from pbe_lite.data.custom import load_data
from pbe_lite.data.images import UnreadableImage
from pbe_lite.data.triplets import Triplets
from pbe_lite.data.validate import check_data

SIZE = (400, 300)
PLACE = (40, 30, 160, 120)  # of the red object, in pixels
IMAGE = {"id": 1, "file_name": "a.jpg", "width": 400, "height": 300}
BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [40, 30, 120, 90]}
THING = [{"id": 1, "name": "thing"}]
CSV = "image,x0,y0,x1,y1,label\n"
ROW = "a.jpg,.1,.1,.4,.4,x\n"


def scene(box=PLACE):
    """A grey picture of `SIZE` with something red inside the box."""
    array = np.full((*SIZE[::-1], 3), 200, np.uint8)
    x0, y0, x1, y1 = box
    array[y0:y1, x0:x1] = (255, 0, 0)
    return Image.fromarray(array)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    scene().save(tmp_path / "images" / "a.jpg", quality=95)
    return tmp_path


def write_coco(folder, images=(IMAGE,), boxes=(BOX,), categories=THING):
    (folder / "annotations.json").write_text(json.dumps(
        {"images": list(images), "annotations": list(boxes), "categories": categories}))


def check(folder, capsys, **options):
    """(verdict, what is printed)."""
    verdict = check_data(folder, **options)
    return verdict, capsys.readouterr().out


def is_red(folder):
    """Whether the boxes of the only record lie on what is red."""
    (record,) = load_data(folder)
    for box in record["boxes"]:
        left, top, right, bottom = (box * np.tile(record["image"].size, 2)).astype(int)
        inside = np.asarray(record["image"])[top + 3:bottom - 3, left + 3:right - 3]
        if not np.allclose(inside.reshape(-1, 3).mean(0), (254, 0, 0), atol=5):
            return False
    return True


def sample(folder):
    """What training makes of the folder's first record."""
    preset = replace(LITE, alpha_weight=0)
    return Triplets(load_data(folder), preset, augment=False, shapes=False)[0, 0]


# ------------------------------------------------------------------------------ COCO


@pytest.mark.parametrize("bbox", [None, [], ["40", "30", "120", "90"], [1, 2, 3], "x",
                                  [True, 1, 2, 3], {"x": 1}, [1e300, 0, 1, 1]])
def test_what_is_no_bbox_is_named_by_its_annotation(folder, bbox, capsys):
    write_coco(folder, boxes=[BOX, {**BOX, "id": 7, "bbox": bbox}])
    verdict, said = check(folder, capsys)
    assert not verdict and "annotations.json, annotation 7: bbox " in said
    with pytest.raises(ValueError, match="annotation 7: bbox .*expected left, top, width"):
        load_data(folder)


def test_a_segmentation_without_a_box_is_named(folder, capsys):
    segment = {k: v for k, v in BOX.items() if k != "bbox"}
    write_coco(folder, boxes=[BOX, {**segment, "id": 7, "segmentation": [[1, 1, 9, 9]]}])
    assert "annotation 7: bbox None" in check(folder, capsys)[1]


@pytest.mark.parametrize("size", [{"width": None}, {"width": "400"}, {"height": 0},
                                  {"height": float("inf")}, {"width": float("nan")}])
def test_an_image_without_a_size_is_named(folder, size, capsys):
    write_coco(folder, [{**IMAGE, **size}])
    verdict, said = check(folder, capsys)
    assert not verdict and "image 1 (a.jpg): width " in said
    with pytest.raises(ValueError, match=r"image 1 \(a.jpg\): .*expected pixels"):
        load_data(folder)


def test_numbers_that_are_none_are_left_out_and_named(folder, capsys):
    write_coco(folder, boxes=[BOX, {**BOX, "id": 7, "bbox": [float("nan"), 1, 2, 3]},
                              {**BOX, "id": 8, "bbox": [500, 10, 50, 50]}])
    verdict, said = check(folder, capsys)
    assert not verdict and "2 x not a box" in said and "annotation 7" in said
    assert "annotation 8: bbox [500, 10, 50, 50] in 400 x 300; it is left out" in said
    assert "cut off" not in said and is_red(folder)


@pytest.mark.parametrize("content", ["[]", '{"images": null, "annotations": []}',
                                     '{"images": [1], "annotations": []}', '{"images"'])
def test_a_json_of_another_shape_is_unusable(folder, content, capsys):
    (folder / "annotations.json").write_text(content)
    verdict, said = check(folder, capsys)
    assert not verdict and "unusable: " in said and "annotations.json must be COCO" in said


@pytest.mark.parametrize("code", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_are_understood(folder, code, capsys):
    write_coco(folder)
    path = folder / "annotations.json"
    path.write_bytes(path.read_text().encode(code))
    assert check(folder, capsys)[0] and is_red(folder)


@pytest.mark.parametrize("name", [7, "\ud83d", None, ["a.jpg"]])
def test_a_file_name_that_is_no_text_is_named(folder, name, capsys):
    write_coco(folder, [IMAGE, {**IMAGE, "id": 2, "file_name": name}])
    verdict, said = check(folder, capsys)
    assert not verdict and "image 2: file_name" in said
    with pytest.raises(ValueError, match="image 2: file_name .*expected text"):
        load_data(folder)


def test_a_category_may_be_called_by_a_number(folder, capsys):
    write_coco(folder, categories=[{"id": 1, "name": 7}])
    assert check(folder, capsys)[0] and load_data(folder)[0]["labels"] == ["7"]


@pytest.mark.parametrize("category", [5, None])
def test_a_category_that_is_not_listed_is_told(folder, category, capsys):
    write_coco(folder, boxes=[{**BOX, "category_id": category}])
    verdict, said = check(folder, capsys)
    assert not verdict and f"annotation 1: category_id {category}: it is called" in said
    write_coco(folder, boxes=[{**BOX, "category_id": category}], categories=[])
    assert check(folder, capsys)[0]  # nothing is listed: all are objects


def test_images_of_one_id_are_told_and_not_trained_on(folder, capsys):
    scene((240, 150, 360, 240)).save(folder / "images" / "b.jpg", quality=95)
    write_coco(folder, [IMAGE, {**IMAGE, "file_name": "b.jpg"}, {**IMAGE, "id": 2}],
               [BOX, {**BOX, "id": 2, "bbox": [240, 150, 120, 90]}])
    verdict, said = check(folder, capsys)
    assert not verdict and "id twice: " in said and "image 1: a.jpg and b.jpg" in said
    with pytest.raises(UnreadableImage, match="100 images in a row"):
        sample(folder)
    write_coco(folder, [IMAGE, IMAGE])  # the same line twice is no doubt
    assert check(folder, capsys)[0] and is_red(folder)


def test_crowds_are_told_and_nothing_is_wrong_with_them(folder, capsys):
    crowd = {**BOX, "id": 2, "iscrowd": 1, "bbox": [0, 0, 400, 300]}
    write_coco(folder, boxes=[BOX, crowd])
    verdict, said = check(folder, capsys)
    assert verdict and "crowd: " in said and "annotation 2: iscrowd = 1" in said
    assert "1 x crowd" in said and is_red(folder)
    write_coco(folder, boxes=[crowd])
    verdict, said = check(folder, capsys)
    assert not verdict
    with pytest.raises(ValueError, match="all 1 annotations .*are crowds"):
        load_data(folder)


def test_the_same_box_twice_is_told(folder, capsys):
    write_coco(folder, boxes=[BOX, {**BOX, "id": 2}])
    verdict, said = check(folder, capsys)
    assert not verdict and "box twice: a.jpg: thing (0.1, 0.1, 0.4, 0.4), 2 times" in said


# -------------------------------------------------------------------------- sizes, EXIF


def write_sizes(folder, layout, width, height):
    if layout == "coco":
        write_coco(folder, [{**IMAGE, "width": width, "height": height}])
    else:
        (folder / "boxes.csv").write_text("image,x0,y0,x1,y1,width,height\n"
                                          f"a.jpg,40,30,160,120,{width},{height}\n")


@pytest.mark.parametrize("layout", ["coco", "csv"])
@pytest.mark.parametrize("size", [(800, 300), (300, 400), (400, 400)])
def test_a_size_that_is_not_the_files_is_told_and_not_trained_on(
        folder, layout, size, capsys):
    write_sizes(folder, layout, *size)
    verdict, said = check(folder, capsys)
    assert not verdict and f"boxes not certain: a.jpg: its boxes are of {size[0]} x " \
        f"{size[1]}, the file is 400 x 300" in said
    with pytest.raises(UnreadableImage, match="100 images in a row"):
        sample(folder)


def test_sizes_that_contradict_each_other_are_told(folder, capsys):
    write_sizes(folder, "csv", *SIZE)
    with open(folder / "boxes.csv", "a") as file:
        file.write("a.jpg,40,30,160,120,400,200\n")
    verdict, said = check(folder, capsys)
    assert not verdict and "boxes not certain: a.jpg: its boxes are of several" in said


@pytest.mark.parametrize("layout", ["coco", "csv"])
def test_a_picture_that_was_made_smaller_keeps_its_boxes(folder, layout, capsys):
    scene().resize((201, 150)).save(folder / "images" / "a.jpg", quality=95)
    write_sizes(folder, layout, *SIZE)
    assert check(folder, capsys)[0] and is_red(folder)


@pytest.mark.parametrize("layout", ["coco", "csv"])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_of_stored_pixels_stay_in_stored_pixels(folder, layout, orientation, capsys):
    scene().save(folder / "images" / "a.jpg", quality=95, exif=turned(orientation))
    write_sizes(folder, layout, *SIZE)
    assert check(folder, capsys)[0] and is_red(folder)
    assert load_data(folder)[0]["image"].size == SIZE


@pytest.mark.parametrize("layout", ["coco", "csv"])
def test_boxes_of_the_upright_picture_follow_it(folder, layout, capsys):
    stored = scene().transpose(Image.Transpose.ROTATE_90)  # as a camera held upright
    stored.save(folder / "images" / "a.jpg", quality=95, exif=turned(6))
    write_sizes(folder, layout, *SIZE)
    assert check(folder, capsys)[0] and is_red(folder)


@pytest.mark.parametrize("layout", ["coco", "csv"])
@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_where_a_size_does_not_tell_nothing_is_guessed(folder, layout, orientation, capsys):
    scene().save(folder / "images" / "a.jpg", quality=95, exif=turned(orientation))
    write_sizes(folder, layout, *SIZE)
    verdict, said = check(folder, capsys)
    assert not verdict and f"a.jpg: EXIF turns it (orientation {orientation})" in said
    with pytest.raises(UnreadableImage, match="100 images in a row"):
        sample(folder)


def test_fractions_in_a_csv_are_of_the_picture_as_it_is_shown(folder, capsys):
    stored = scene().transpose(Image.Transpose.ROTATE_90)
    stored.save(folder / "images" / "a.jpg", quality=95, exif=turned(6))
    (folder / "boxes.csv").write_text(CSV + ROW)
    assert check(folder, capsys)[0] and is_red(folder)


@pytest.mark.parametrize(("name", "dtype", "factor"), [
    ("a.png", np.uint16, 257), ("a.tif", np.uint16, 257), ("a.tif", np.int32, 8_000_000),
    ("a.tif", np.float32, 1 / 255)])
def test_deep_pixels_are_told_and_not_trained_on(folder, name, dtype, factor, capsys):
    grey = np.tile(np.arange(0, 240, 2), (90, 1))
    Image.fromarray((grey * factor).astype(dtype)).save(folder / "images" / name)
    write_coco(folder, [{**IMAGE, "file_name": name, "width": 120, "height": 90}],
               [{**BOX, "bbox": [30, 20, 60, 50]}])
    verdict, said = check(folder, capsys)
    assert not verdict and f"unreadable: {name}: {name}: must have 8 bits" in said
    with pytest.raises(UnreadableImage, match="100 images in a row"):
        sample(folder)


def test_a_preset_that_needs_alphas_says_so(folder):
    write_coco(folder)
    with pytest.raises(ValueError, match="alpha_weight needs the alpha.*a.jpg has none"):
        Triplets(load_data(folder), replace(LITE, alpha_weight=.2))[0, 0]


# ------------------------------------------------------------------------------- CSV


@pytest.mark.parametrize(("content", "line", "reason"), [
    ("x0,y0,x1,y1,image\n.1,.1,.4,.4\n.1,.1,.4,.4,a.jpg\n", 2, "column image is empty"),
    (CSV + ROW + f'a.jpg,.1,.1,.4,.4,"{"y" * 140_000}"\n', 3, "field larger than"),
    (CSV + ROW + "a.jpg,0,1,0,1,0,4,0,4,x\n", 3, "more than the header has"),
    (CSV + ROW + "a.jpg,.1,.1,.4,\n", 3, "y1 must be a number; got ''"),
    ("image,x0,y0,x1,y1,width\na.jpg,1,1,9,9,400\n", 2, "height must be a number"),
    ("image,x0,y0,x1,y1,width,height\na.jpg,1,1,9,9,inf,9\n", 2, "must be pixels"),
])
def test_lines_of_an_odd_shape_are_named(folder, content, line, reason, capsys):
    (folder / "boxes.csv").write_text(content)
    verdict, said = check(folder, capsys)
    assert not verdict and f"boxes.csv, line {line}: " in said and reason in said
    with pytest.raises(ValueError, match=f"boxes.csv, line {line}: .*{reason}"):
        load_data(folder)


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom"])
@pytest.mark.parametrize("divider", [",", ";", "\t"])
def test_what_spreadsheets_save_is_read(folder, code, divider, capsys):
    content = (CSV + "a.jpg,.1,.1,.4,.4,été\n").replace(",", divider)
    (folder / "boxes.csv").write_bytes(
        ("\ufeff" + content).encode("utf-16-le") if code == "utf-16-le-bom"
        else content.encode(code))
    verdict, said = check(folder, capsys)
    assert verdict and is_red(folder) and load_data(folder)[0]["labels"] == ["été"]
    assert ("boxes.csv: its byte-order mark says UTF-16" in said) == ("16" in code)


def test_another_encoding_is_named_with_its_line(folder, capsys):
    content = CSV + ROW + "a.jpg,0,0,1,1,été\n"
    (folder / "boxes.csv").write_bytes(content.encode("latin-1"))
    verdict, said = check(folder, capsys)
    assert not verdict and "boxes.csv, line 3: " in said and "save it as UTF-8" in said


def test_a_name_that_no_file_can_have_is_told(folder, capsys):
    write_coco(folder, [IMAGE, {**IMAGE, "id": 2, "file_name": "a\0.jpg"}],
               [BOX, {**BOX, "id": 2, "image_id": 2}])
    verdict, said = check(folder, capsys)
    assert not verdict and "unreadable: " in said and "null byte" in said
