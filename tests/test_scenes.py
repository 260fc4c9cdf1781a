"""Scenes as training data: what is written in Open Images' layout comes back."""

import csv
from dataclasses import replace as change

import numpy as np
import pytest

from pbe_lite.data import scenes
from pbe_lite.data.open_images import COLUMNS, load_open_images
from pbe_lite.data.scenes import FreshScenes, labels, training_records, write_tabletop
from pbe_lite.data.tabletop import (
    FIRST_TRAINING_SEED,
    Scene,
    kind_names,
    unseen_arc,
)

SEEDS = (1000, 1003, 4096, 70000)


def ids(records):
    return [records.dataset[i]["image_id"] for i in range(len(records))]


def test_scenes_come_back_as_they_were_written(tmp_path):
    records = load_open_images(write_tabletop(tmp_path, SEEDS, 64))
    assert set(records[0]) == {"image_id", "image", "boxes", "labels", "alpha"}
    assert ids(records) == [f"{seed:016x}" for seed in SEEDS]
    for seed, record in zip(SEEDS, records, strict=True):
        scene = Scene(seed)
        render = scene.render(64)
        np.testing.assert_allclose(record["boxes"], [render.box], atol=1e-6)
        assert record["labels"] == [scene.label]
        alpha = np.asarray(record["alpha"], float) / 255
        assert np.abs(alpha - render.alpha).max() <= .5 / 255 + 1e-6
        assert record["image"].size == (64, 64) and record["image"].mode == "RGB"
        error = np.asarray(record["image"], float) - render.image
        assert np.sqrt((error ** 2).mean()) < 8  # JPEG with halved colour at 64 px


def test_a_folder_of_other_scenes_is_not_taken_for_these(tmp_path):
    write_tabletop(tmp_path, SEEDS[:2], 64)
    for seeds in (SEEDS[:3], SEEDS[:1], SEEDS[1:3]):
        with pytest.raises(ValueError, match="folder .* holds other scenes .* delete it"):
            write_tabletop(tmp_path, seeds, 64)


def test_the_layout_is_open_images_own(tmp_path):
    write_tabletop(tmp_path, SEEDS[:2], 64)
    with open(tmp_path / "train-annotations-bbox.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert list(rows[0]) == COLUMNS
    assert [row["ImageID"] for row in rows] == [f"{seed:016x}" for seed in SEEDS[:2]]
    assert all((tmp_path / "train" / f"{row['ImageID']}.jpg").exists() for row in rows)
    with open(tmp_path / "class-descriptions-boxable.csv", newline="") as f:
        names = dict(csv.reader(f))
    assert list(names.values()) == labels() and len(names) == 48 * 8
    assert names[rows[0]["LabelName"]] == Scene(SEEDS[0]).label


def test_another_split_has_its_own_files(tmp_path):
    write_tabletop(tmp_path, SEEDS[:1], 64)
    write_tabletop(tmp_path, SEEDS[1:2], 64, split="validation")
    assert ids(load_open_images(tmp_path)) == [f"{SEEDS[0]:016x}"]
    assert ids(load_open_images(tmp_path, "validation")) == [f"{SEEDS[1]:016x}"]


def test_a_second_write_does_nothing(tmp_path, monkeypatch):
    write_tabletop(tmp_path, SEEDS[:2], 64)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    monkeypatch.setattr(scenes, "Scene", None)  # would fail if it rendered
    assert write_tabletop(tmp_path, SEEDS[:2], 64) == tmp_path
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_an_interrupted_write_is_not_taken_for_complete(tmp_path, monkeypatch):
    def fail_at_the_third(seed):
        if seed == SEEDS[2]:
            raise KeyboardInterrupt
        return Scene(seed)

    monkeypatch.setattr(scenes, "Scene", fail_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_tabletop(tmp_path, SEEDS, 64)
    with pytest.raises(FileNotFoundError):
        load_open_images(tmp_path)
    monkeypatch.undo()
    assert len(load_open_images(write_tabletop(tmp_path, SEEDS, 64))) == len(SEEDS)


def test_annotations_appear_only_when_whole(tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def stop(self, target):
        if "annotations" in str(target):
            raise Stop
        return replace(self, target)

    replace = scenes.Path.replace
    monkeypatch.setattr(scenes.Path, "replace", stop)
    with pytest.raises(Stop):
        write_tabletop(tmp_path, SEEDS[:2], 64)
    assert not (tmp_path / "train-annotations-bbox.csv").exists()


# --------------------------------------------------------------- what is trained on


def test_training_records_are_the_scenes_of_the_preset(tiny, tmp_path):
    records = training_records(change(tiny, scenes=3), runs=tmp_path)
    assert ids(records) == [f"{FIRST_TRAINING_SEED + i:016x}" for i in range(3)]
    assert (tmp_path / "tabletop-64" / "train-annotations-bbox.csv").exists()


def test_of_few_kinds_there_are_only_scenes_of_these(tiny, tmp_path):
    kinds = ["cactus", "owl", "die"]
    records = training_records(change(tiny, scenes=60), kinds, tmp_path)
    found = [records[i]["labels"][0].split(" ", 1)[1] for i in range(len(records))]
    wanted = [Scene(s).name for s in range(1000, 1060) if Scene(s).name in kinds]
    assert found == wanted and 0 < len(found) < 20
    with pytest.raises(ValueError, match="kinds must be of cactus, .*; got robot"):
        training_records(tiny, ["cactus", "robot"], tmp_path)  # that one is held out


def test_fresh_scenes_show_any_sprite_but_no_kind_in_its_unseen_arc():
    fresh, rng = FreshScenes(500, 64, wide=.5), np.random.default_rng(0)
    kinds = 0
    for i in range(300):
        scene = fresh.scene(i, rng)
        assert scene.seed == FIRST_TRAINING_SEED + i
        kinds += scene.name in kind_names()
        start, end = unseen_arc(scene.name)
        assert not (scene.hue - start) % 360 < end - start
    assert 110 < kinds < 190 and len(fresh) == 500
