"""The validator: every fault by its file, and nothing said of what is in order."""

import json

import pytest
from PIL import Image
from test_custom import LAYOUTS, THINGS, folder, write_coco, write_csv, write_masks
from test_open_images import annotation, write_rows

from pbe_lite import __main__ as cli
from pbe_lite.data import validate
from pbe_lite.data.open_images import COLUMNS
from pbe_lite.data.validate import check_data

__all__ = ["folder"]  # a fixture, used by its name


def report(folder, capsys, expected=False, **options):
    assert check_data(folder, **{"area": (0, 1), **options}) is expected
    return capsys.readouterr().out


@pytest.mark.parametrize("layout", ["coco", "csv"])
def test_nothing_is_said_of_what_is_in_order(folder, layout, capsys):
    LAYOUTS[layout](folder)
    out = report(folder, capsys, True).splitlines()
    assert out == ["3 boxes, 3 of them with an area within 0 to 1, in 2 images", "ok"]


def test_the_area_is_told(folder, capsys):
    write_coco(folder)
    out = report(folder, capsys, True, area=(.21, .8))
    assert "3 boxes, 2 of them with an area within 0.21 to 0.8, in 2 images" in out


@pytest.mark.parametrize(("content", "reason"), [
    (b"", "empty"), (b"nonsense" * 50, "no image"), (None, "No such file")])
def test_each_unreadable_image_is_named(folder, capsys, content, reason):
    write_csv(folder)
    path = folder / "images" / "deep" / "dog.jpg"
    path.unlink() if content is None else path.write_bytes(content)
    out = report(folder, capsys)
    assert "unreadable: deep/dog.jpg: " in out and reason in out
    assert "cat.png" not in out and "1 x unreadable" in out


def test_only_so_many_images_are_decoded(folder, capsys):
    write_csv(folder)
    (folder / "images" / "deep" / "dog.jpg").write_bytes(b"")
    assert "unreadable" not in report(folder, capsys, True, limit=1)


def test_a_folder_of_nothing_is_unusable(tmp_path, capsys):
    out = report(tmp_path, capsys)
    assert "unusable: folder" in out and "expected *train-annotations-bbox.csv" in out


# ------------------------------------------------------------------- annotations


def test_faults_of_coco_boxes_are_named(folder, capsys):
    data = write_coco(folder)
    good = data["annotations"][0]
    wrong = [{**good, "id": 70, "image_id": 99}, {**good, "id": 71, "bbox": [1, 1, 0, 9]},
             {**good, "id": 72, "bbox": [1, 1, 90, 9]}]
    write_coco(folder, annotations=[*data["annotations"], *wrong])
    out = report(folder, capsys)
    assert "no such image" in out and "annotation 70: image_id 99" in out
    assert "not a box" in out and "annotation 71: bbox [1, 1, 0, 9]" in out
    assert "beyond the picture" in out and "annotation 72: bbox [1, 1, 90, 9] in 80 x 60" \
        in out
    assert "annotation 0" not in out


def test_a_json_that_is_none_is_unusable(folder, capsys):
    (folder / "annotations.json").write_text(json.dumps({"boxes": []}))
    assert "unusable: " in report(folder, capsys)


def test_faults_of_csv_lines_are_named(folder, capsys):
    write_csv(folder)
    with open(folder / "boxes.csv", "a") as file:
        file.write("cat.png,0.5,0.5,0.1,0.9,cat\ncat.png,0,0,2,1,cat\n")
    out = report(folder, capsys)
    assert "boxes.csv, line 5: x0, y0, x1, y1 = 0.5, 0.5, 0.1, 0.9" in out
    assert "boxes.csv, line 6" in out and "line 4" not in out
    with open(folder / "boxes.csv", "a") as file:
        file.write("cat.png,left,0,1,1,cat\n")
    assert "not a number: " in (out := report(folder, capsys)) and "line 7" in out


def test_a_box_in_pixels_is_cut_off_and_said_to_be(folder, capsys):
    write_csv(folder, pixels=True)
    with open(folder / "boxes.csv", "a") as file:
        file.write("cat.png,10,10,80.4,60,cat,80,60\ncat.png,10,10,95,60,cat,80,60\n"
                   "cat.png,90,10,95,60,cat,80,60\ncat.png,1,1,5,5,cat,0,60\n")
    out = report(folder, capsys)
    assert "line 5" not in out  # less than a pixel: rounding
    assert "line 6: x0, y0, x1, y1 = (10.0, 10.0, 95.0, 60.0) in 80 x 60; it will be cut" \
        in out
    assert "2 x not a box" in out and "line 7" in out and "line 8" in out


def test_faults_of_masks_are_named(folder, capsys):
    write_masks(folder)
    Image.new("L", (80, 60)).save(folder / "masks" / "cat_dark.png")
    Image.new("L", (80, 80), 255).save(folder / "masks" / "cat_square.png")
    Image.new("L", (8, 8), 255).save(folder / "masks" / "nobody.png")
    (folder / "masks" / "cat_broken.png").write_bytes(b"x")
    out = report(folder, capsys)
    for expected in ("mask without image: ", "nobody.png", "black mask: ", "cat_dark.png",
                     "another shape: ", "cat_square.png: (80, 80), but its image (80, 60)",
                     "unreadable: ", "cat_broken.png",
                     "image without mask: empty.png: expected masks/empty.png"):
        assert expected in out
    assert "dog" not in out


def test_masks_that_are_none_and_stray_specks_are_named(folder, capsys):
    write_masks(folder)
    labels = Image.new("P", (80, 60))
    labels.putpalette([0, 0, 0, 128, 0, 0])
    labels.paste(1, (10, 10, 40, 40))
    labels.save(folder / "masks" / "cat_labels.png")
    speck = Image.new("L", (80, 60))
    speck.paste(255, (10, 10, 40, 40))
    speck.putpixel((79, 0), 255)
    speck.save(folder / "masks" / "cat_speck.png")
    (folder / "masks" / "cat_old.gif").write_bytes(b"GIF89a")
    out = report(folder, capsys)
    for expected in ("no mask: ", "cat_labels.png: it has colours", "stray specks: ",
                     "cat_speck.png: 1 pixels make its box larger; without them it would "
                     "be 0.12, 0.17, 0.50, 0.67", "unknown kind: ", "cat_old.gif"):
        assert expected in out
    assert "dog" not in out and "cat.png" not in out


def test_the_shape_of_a_mask_is_compared_with_the_picture_as_it_is_used(folder, capsys):
    """A photograph that its EXIF turns, with masks of either shape and of none."""
    write_masks(folder)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("cat.png", "empty.png"):
        Image.new("RGB", (80, 60)).save(folder / "images" / name, exif=exif)
    for name, size in (("cat.png", (60, 80)), ("empty.png", (80, 60))):
        mask = Image.new("L", size)
        mask.paste(255, (8, 6, 48, 36))
        mask.save(folder / "masks" / name)
    report(folder, capsys, True)
    exif[0x0112] = 3
    Image.new("RGB", (80, 60)).save(folder / "images" / "empty.png", exif=exif)
    assert "empty.png: (80, 60), but its image (80, 60); EXIF turns it" in \
        report(folder, capsys)


def test_faults_of_open_images_rows_are_named(tmp_path, capsys):
    (tmp_path / "train").mkdir()
    for image_id in "ab":
        Image.new("RGB", (40, 30)).save(tmp_path / "train" / f"{image_id}.jpg")
    write_rows(tmp_path / "train-annotations-bbox.csv", [
        COLUMNS, annotation("a", "/m/0cat", .1, .2, .5, .6),
        annotation("a", "/m/0cat", .5, .2, .1, .6), annotation("b", "/m/0new", 0, 0, 1, 1),
        annotation("c", "/m/0cat", 0, 0, 1, 1)])
    write_rows(tmp_path / "class-descriptions-boxable.csv", [("/m/0cat", "Cat")])
    out = report(tmp_path, capsys)
    assert "train-annotations-bbox.csv, line 3: x0, y0, x1, y1 = 0.5, 0.2, 0.1, 0.6" in out
    assert "class without a name: " in out and "/m/0new" in out and "0cat" not in out
    assert "unreadable: c: c.jpg: No such file" in out
    assert "4 boxes, 3 of them" in out


def test_after_twenty_of_a_kind_they_are_only_counted(folder, capsys, monkeypatch):
    monkeypatch.setattr(validate, "SHOWN", 3)
    write_csv(folder)
    with open(folder / "boxes.csv", "a") as file:
        file.write("cat.png,0.5,0.5,0.1,0.9,cat\n" * 50)
    out = report(folder, capsys)
    assert out.count("not a box: ") == 3 and "50 x not a box" in out


# --------------------------------------------------------------------- the command


@pytest.mark.parametrize("right", [True, False])
def test_the_command_ends_with_the_verdict(folder, right, capsys):
    write_csv(folder)
    if not right:
        (folder / "images" / "cat.png").unlink()
    with pytest.raises(SystemExit) as stopped:
        cli.main(["check-data", "--data", str(folder), "--area", "0", "1"])
    assert stopped.value.code == (0 if right else 1)
    assert len(THINGS) == 3 and ("cat.png" in capsys.readouterr().out) is not right
