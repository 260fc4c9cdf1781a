"""Your own data: the same objects in any layout give the same records."""

import csv
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from pbe_lite.data.custom import find_layout, load_data, mask_box, pair_masks
from pbe_lite.data.images import UnreadableImage, crop_box
from pbe_lite.data.scenes import write_tabletop
from pbe_lite.data.tabletop import FIRST_TRAINING_SEED
from pbe_lite.data.triplets import Triplets
from pbe_lite.data.validate import check_data

# image: (width, height), its boxes in pixels (left, top, right, bottom), their labels
THINGS = {
    "cat.png": ((80, 60), [(8, 6, 48, 36)], ["cat"]),
    "deep/dog.jpg": ((60, 90), [(6, 9, 36, 45), (30, 45, 60, 90)], ["dog", "ball"]),
    "empty.png": ((50, 50), [], []),
}


@pytest.fixture
def folder(tmp_path):
    for name, (size, _, _) in THINGS.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "green").save(path)
    return tmp_path


def write_coco(folder, **changes):
    images, annotations, names = [], [], ["cat", "dog", "ball"]
    for name, (size, boxes, labels) in THINGS.items():
        images.append({"id": len(images) + 10, "file_name": name, "width": size[0],
                       "height": size[1]})
        annotations += [
            {"id": len(annotations) + i, "image_id": images[-1]["id"], "iscrowd": 0,
             "bbox": [b[0], b[1], b[2] - b[0], b[3] - b[1]],
             "category_id": names.index(label)}
            for i, (b, label) in enumerate(zip(boxes, labels, strict=True))]
    categories = [{"id": i, "name": name} for i, name in enumerate(names)]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps({**data, **changes}))
    return data


def write_csv(folder, pixels=False, label=True):
    with open(folder / "boxes.csv", "w", newline="") as file:
        header = ["image", "x0", "y0", "x1", "y1"] + ["label"] * label
        writer = csv.writer(file)
        writer.writerow(header + ["width", "height"] * pixels)
        for name, (size, boxes, labels) in THINGS.items():
            for box, word in zip(boxes, labels, strict=True):
                sides = (1, 1, 1, 1) if pixels else size * 2
                corners = [v / s for v, s in zip(box, sides, strict=True)]
                writer.writerow([name, *corners] + [word] * label + [*size] * pixels)


def write_masks(folder):
    (folder / "masks").mkdir()
    for name, (size, boxes, _) in THINGS.items():
        stem = name.rpartition("/")[2].rpartition(".")[0]
        for i, (x0, y0, x1, y1) in enumerate(boxes):
            mask = np.zeros(size[::-1], np.uint8)
            mask[y0:y1, x0:x1] = 255
            path = folder / "masks" / f"{stem}{f'_{i}' if i else ''}.png"
            Image.fromarray(mask).save(path)


LAYOUTS = {"coco": write_coco, "csv": write_csv, "masks": write_masks}


def boxes_of(records):
    return {records.dataset[i]["image_id"]: np.array(records.dataset[i]["boxes"])
            for i in range(len(records))}


EXPECTED = {name: np.array(boxes) / (size * 2)
            for name, (size, boxes, _) in THINGS.items() if boxes}


# ------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_give_the_same_records(folder, layout):
    LAYOUTS[layout](folder)
    assert find_layout(folder)[0] == layout
    records = load_data(folder, area=(0, 1))
    found = boxes_of(records)
    assert found.keys() == EXPECTED.keys()
    for name, boxes in EXPECTED.items():
        np.testing.assert_allclose(found[name], boxes, atol=1e-12)
    for record in records:
        size, _, labels = THINGS[record["image_id"]]
        assert record["image"].size == size
        assert record["labels"] == (labels if layout != "masks" else
                                    ["object"] * len(labels))


def test_corners_may_be_pixels_and_labels_left_out(folder):
    write_csv(folder, pixels=True, label=False)
    records = load_data(folder, area=(0, 1))
    found = boxes_of(records)
    for name, boxes in EXPECTED.items():
        np.testing.assert_allclose(found[name], boxes, atol=1e-12)
    assert records[0]["labels"] == ["object"]


def test_open_images_layout_is_known_too(tmp_path):
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 3)
    write_tabletop(tmp_path, seeds, 64)
    assert find_layout(tmp_path)[0] == "open images"
    assert len(load_data(tmp_path)) == 3


def test_the_area_filter_is_the_papers_unless_told(folder):
    write_coco(folder)
    boxes = sum(len(b) for b in boxes_of(load_data(folder)).values())
    assert boxes == 3  # areas .25, .2, .25
    assert len(load_data(folder, area=(.21, .3))) == 2


def test_triplets_are_made_of_them(folder, tiny):
    write_masks(folder)
    triplet = Triplets(load_data(folder), tiny, augment=False, shapes=False)[0, 0]
    assert triplet["name"] == "object" and triplet["image"].shape == (3, 64, 64)
    # a square of 60 of a picture of 80 x 60: the box is 40 x 30 of it
    assert float(triplet["hole"].mean()) == pytest.approx(40 * 30 / 60 ** 2, abs=.03)
    assert torch.isfinite(triplet["exemplar"]).all()


def test_a_folder_of_no_layout_is_told_what_was_looked_for(folder):
    with pytest.raises(FileNotFoundError, match="annotations.json.*boxes.csv or masks"):
        load_data(folder)
    write_csv(folder)
    (folder / "images").rename(folder / "pictures")
    with pytest.raises(FileNotFoundError, match="no folder images in .*beside boxes.csv"):
        load_data(folder)


def test_a_folder_of_two_layouts_is_not_guessed_at(folder):
    write_csv(folder)
    (folder / "._train-annotations-bbox.csv").write_bytes(b"\0")  # macOS leaves such
    assert find_layout(folder)[0] == "csv"
    write_masks(folder)
    with pytest.raises(ValueError, match="holds boxes.csv, masks: which of them is meant"):
        load_data(folder)


# ---------------------------------------------------------------------------- COCO


def test_crowds_and_boxes_of_no_image_are_left_out(folder):
    data = write_coco(folder)
    crowd = {**data["annotations"][0], "id": 90, "iscrowd": 1}
    stray = {**data["annotations"][0], "id": 91, "image_id": 999}
    write_coco(folder, annotations=[*data["annotations"], crowd, stray])
    found = boxes_of(load_data(folder, area=(0, 1)))
    assert {n: len(b) for n, b in found.items()} == {n: len(b) for n, b in EXPECTED.items()}


def test_boxes_are_cut_off_at_the_pictures_edge(folder):
    data = write_coco(folder)
    annotation = {**data["annotations"][0], "bbox": [-4, 30, 44, 40]}
    write_coco(folder, annotations=[annotation])
    np.testing.assert_allclose(boxes_of(load_data(folder))["cat.png"], [(0, .5, .5, 1)])


@pytest.mark.parametrize("content", ["[]", "{}", "no json", '{"images": [{}]}',
                                     '{"images": [], "annotations": [1]}'])
def test_what_is_no_coco_json_is_told(folder, content):
    (folder / "annotations.json").write_text(content)
    with pytest.raises(ValueError, match="annotations.json must be COCO JSON with images"):
        load_data(folder)


# ----------------------------------------------------------------------------- CSV


def test_columns_that_are_missing_are_named(folder):
    (folder / "boxes.csv").write_text("image,x0,y0,x1\na.png,0,0,1\n")
    with pytest.raises(ValueError, match="boxes.csv must have a header.*; y1 is missing"):
        load_data(folder)


def test_the_line_of_what_is_no_number_is_named(folder):
    lines = ["image,x0,y0,x1,y1", "a.png,0,0,1,1", "b.png,0,zero,1,1"]
    (folder / "boxes.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match="boxes.csv, line 3: .*zero"):
        load_data(folder)


def test_a_csv_from_a_spreadsheet_is_read(folder):
    content = "\ufeffimage,x0,y0,x1,y1\r\ncat.png,0.1,0.1,0.6,0.6\r\n"
    (folder / "boxes.csv").write_text(content, encoding="utf8")
    np.testing.assert_allclose(boxes_of(load_data(folder))["cat.png"], [(.1, .1, .6, .6)])


# --------------------------------------------------------------------------- masks


def test_masks_are_paired_by_name(folder):
    (folder / "masks").mkdir()
    for name in ("cat", "cat_1", "cat_left_2", "dog_x", "nobody", "no_body"):
        Image.new("L", (8, 8), 255).save(folder / "masks" / f"{name}.png")
    pairs = {image: [mask.stem for mask in masks]
             for image, masks in pair_masks(folder).items()}
    assert pairs == {"cat.png": ["cat", "cat_1", "cat_left_2"], "deep/dog.jpg": ["dog_x"],
                     "empty.png": []}


def test_an_image_whose_name_ends_like_a_masks_has_its_own(folder):
    Image.new("RGB", (8, 8)).save(folder / "images" / "cat_1.png")
    (folder / "masks").mkdir()
    Image.new("L", (8, 8), 255).save(folder / "masks" / "cat_1.png")
    assert pair_masks(folder)["cat_1.png"] and not pair_masks(folder)["cat.png"]


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "P"])
def test_the_box_of_a_mask_in_any_mode(tmp_path, mode):
    mask = np.zeros((20, 40), np.uint8)
    mask[5:10, 8:30] = 255
    Image.fromarray(mask).convert(mode).save(tmp_path / "mask.png")
    assert mask_box(tmp_path / "mask.png") == (8 / 40, 5 / 20, 30 / 40, 10 / 20)


def test_black_and_unreadable_masks_are_left_out(folder, caplog):
    write_masks(folder)
    Image.new("L", (50, 50)).save(folder / "masks" / "empty.png")
    (folder / "masks" / "empty_1.png").write_bytes(b"no picture")
    assert boxes_of(load_data(folder, area=(0, 1))).keys() == EXPECTED.keys()
    assert "skipped mask" in caplog.text and "empty_1.png" in caplog.text


def test_a_mask_that_is_added_is_seen(folder):
    write_masks(folder)
    assert "empty.png" not in boxes_of(load_data(folder))
    Image.new("L", (50, 50), 255).crop((0, 0, 50, 50)).save(folder / "masks" / "empty.png")
    assert "empty.png" in boxes_of(load_data(folder, area=(0, 1)))


@pytest.mark.parametrize("turned", [False, True])
def test_a_mask_of_a_photograph_that_exif_turns_is_of_its_own_shape(folder, turned):
    """Drawn on the picture as it is stored or as it is shown: both are right."""
    photo = np.full((60, 80, 3), 200, np.uint8)
    photo[6:36, 8:48] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(folder / "images" / "cat.png", exif=exif)
    mask = np.zeros((60, 80), np.uint8)
    mask[6:36, 8:48] = 255
    (folder / "masks").mkdir()
    mask = np.rot90(mask, -1) if turned else mask
    Image.fromarray(np.ascontiguousarray(mask)).save(folder / "masks" / "cat.png")
    (record,) = load_data(folder)
    assert "fault" not in record
    inside = np.asarray(crop_box(record["image"], record["boxes"][0]))
    assert (inside == (255, 0, 0)).all() and inside.size == 30 * 40 * 3


def test_a_mask_follows_its_own_orientation(folder):
    mask = np.zeros((60, 80), np.uint8)
    mask[6:36, 8:48] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.ascontiguousarray(np.rot90(mask))  # as a viewer turns it, it is upright
    (folder / "masks").mkdir()
    Image.fromarray(stored).save(folder / "masks" / "cat.png", exif=exif)
    np.testing.assert_allclose(boxes_of(load_data(folder))["cat.png"],
                               [(8 / 80, 6 / 60, 48 / 80, 36 / 60)])


def test_a_mask_of_another_shape_is_not_trained_on(folder, tiny):
    (folder / "masks").mkdir()
    mask = Image.new("L", (80, 80))
    mask.paste(255, (10, 10, 50, 50))
    mask.save(folder / "masks" / "cat.png")
    (record,) = load_data(folder)
    assert record["fault"] == "its boxes are of 80 x 80, the file is 80 x 60"
    with pytest.raises(UnreadableImage):
        Triplets(load_data(folder), tiny)[0, 0]


def test_masks_in_folders_belong_to_images_in_folders(folder):
    for place in ("a", "b"):
        for part, mode in (("images", "RGB"), ("masks", "L")):
            (folder / part / place).mkdir(parents=True)
            Image.new(mode, (8, 8)).save(folder / part / place / "1.png")
    Image.new("L", (8, 8)).save(folder / "masks" / "b" / "1_left.png")
    Image.new("L", (8, 8)).save(folder / "masks" / "b" / "cat.png")  # the only cat
    Image.new("L", (8, 8)).save(folder / "masks" / "1.png")  # of which?
    told = []
    pairs = {image: [str(m.relative_to(folder / "masks")) for m in masks]
             for image, masks in pair_masks(folder, told.append).items()}
    assert pairs == {"a/1.png": ["a/1.png"], "b/1.png": ["b/1.png", "b/1_left.png"],
                     "cat.png": ["b/cat.png"], "deep/dog.jpg": [], "empty.png": []}
    (two,) = [p for p in told if p.kind == "mask of two images"]
    assert two.file.endswith("masks/1.png") and "a/1.png or b/1.png" in two.text
    assert len(told) == 3  # and two images without a mask


def test_the_names_that_systems_leave_behind_are_no_masks(folder):
    (folder / "masks" / ".ipynb_checkpoints").mkdir(parents=True)
    for name in ("cat.png", ".ipynb_checkpoints/cat_1.png"):
        Image.new("L", (80, 60), 255).save(folder / "masks" / name)
    for name in ("masks/.DS_Store", "masks/Thumbs.db", "masks/._cat.png",
                 "images/._cat.png"):
        (folder / name).write_bytes(b"\0\0\0\1Bud1")
    told = []
    pairs = pair_masks(folder, told.append)
    assert [len(masks) for masks in pairs.values()] == [1, 0, 0]
    assert {p.kind for p in told} == {"image without mask"}


def test_a_name_that_is_not_utf8_costs_no_other_image(folder, capsys):
    (folder / "masks").mkdir()
    mask = Image.new("L", (80, 60))
    mask.paste(255, (8, 6, 48, 36))
    mask.save(folder / "masks" / "cat.png")
    for part, mode in (("images", "RGB"), ("masks", "L")):
        Image.new(mode, (80, 60)).save(os.fsencode(folder / part) + b"/caf\xe9.png")
    assert boxes_of(load_data(folder)).keys() == {"cat.png"}
    assert not check_data(folder)
    out = capsys.readouterr().out
    assert "odd name: caf\\udce9.png: it is not in UTF-8" in out


def test_an_image_that_is_added_is_seen(folder):
    (folder / "masks").mkdir()
    for name in ("cat", "late", "cat_1"):
        mask = Image.new("L", (80, 60))
        mask.paste(255, (8, 6, 48, 36))
        mask.save(folder / "masks" / f"{name}.png")
    assert {i: len(b) for i, b in boxes_of(load_data(folder)).items()} == {"cat.png": 2}
    for name in ("late", "cat_1"):  # whose mask the second one really is
        Image.new("RGB", (80, 60)).save(folder / "images" / f"{name}.png")
    found = {i: len(b) for i, b in boxes_of(load_data(folder)).items()}
    assert found == {"cat.png": 1, "cat_1.png": 1, "late.png": 1}


def test_a_map_of_labels_is_left_out_and_said_so(folder, caplog):
    write_masks(folder)
    labels = np.zeros((50, 50), np.uint8)
    labels[10:30, 10:30], labels[35:45, 35:45] = 1, 2
    image = Image.fromarray(labels, "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 192, 128, 128])
    image.save(folder / "masks" / "empty.png")
    Image.fromarray(labels.astype(np.uint16) * 300).save(folder / "masks" / "empty_1.png")
    assert mask_box(folder / "masks" / "empty.png") is None
    assert mask_box(folder / "masks" / "empty_1.png") is None
    assert boxes_of(load_data(folder, area=(0, 1))).keys() == EXPECTED.keys()
    assert "empty.png: has colours" in caplog.text
    assert "empty_1.png: must have 8 bits" in caplog.text
