"""Records: read when asked for, and what cannot be read is skipped, counted and logged."""

import io
import multiprocessing
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pbe_lite.data.box_index import batched, build_index
from pbe_lite.data.images import UnreadableImage, decode
from pbe_lite.data.records import Records, Skipped
from pbe_lite.data.shards import Folder
from pbe_lite.data.triplets import Triplets

BOX = (.1, .2, .7, .8)


def jpeg(i, size=(40, 48)):
    """A picture of noise: most of its bytes are content, not header."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(i).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()


DAMAGE = {
    "truncated": lambda data: data[:len(data) // 2],
    "empty": lambda data: b"",
    "text": lambda data: b"this is no image" * 20,
    "missing": None,
}


def damaged(i):
    """How image i of `library` is damaged: the first of each hundred, by turns."""
    return list(DAMAGE)[i // 10 % 4] if i % 10 == 3 else None


@pytest.fixture
def library(tmp_path):
    """build(count): Records of `count` images, every tenth of which is damaged."""
    def build(count=80, damage=damaged):
        root = tmp_path / "images"
        root.mkdir()
        for i in range(count):
            harm = damage(i)
            if harm != "missing":
                spoil = DAMAGE[harm] if harm else lambda data: data
                (root / f"{i:04d}.jpg").write_bytes(spoil(jpeg(i)))
        rows = [(f"{i:04d}", *BOX, f"thing {i}") for i in range(count)]
        index = build_index(tmp_path / "index", batched(rows), Folder(root).locate)
        return Records(index, Folder(root))
    return build


def bad(count):
    return {f"{i:04d}" for i in range(count) if damaged(i)}


# -------------------------------------------------------------------------- records


def test_a_record_is_an_image_with_boxes(library):
    records = library(20, damage=lambda i: None)
    assert len(records) == 20 == len(list(records))
    record = records[7]
    assert record["image_id"] == "0007" and record["labels"] == ["thing 7"]
    np.testing.assert_array_equal(record["boxes"], [BOX])
    expected = np.asarray(Image.open(io.BytesIO(jpeg(7))))
    np.testing.assert_array_equal(np.asarray(record["image"]), expected)
    with pytest.raises(IndexError):
        records[20]


def test_records_are_sent_to_workers_without_their_rows(library):
    records = library(2000, damage=lambda i: "missing")
    sent = pickle.dumps(records)
    assert len(sent) < 5000
    assert pickle.loads(sent).dataset[5] == records.dataset[5]


@pytest.mark.parametrize(("harm", "reason"), [
    ("truncated", "truncated"), ("empty", "empty"), ("text", "no image"),
    ("missing", "No such file")])
def test_each_damage_is_named(library, harm, reason):
    records = library(3, damage=lambda i: harm if i == 1 else None)
    with pytest.raises(UnreadableImage, match=f"0001.jpg: .*{reason}") as caught:
        records[1]
    assert caught.value.image_id == "0001"
    assert records[0]["image"] and records[2]["image"]


def test_pictures_are_turned_upright():
    image, exif = Image.new("RGB", (30, 10), "red"), Image.Exif()
    exif[0x0112] = 6  # a camera held upright
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", exif=exif)
    assert decode(buffer.getvalue()).size == (10, 30)


def test_whatever_a_decoder_raises_is_one_error(monkeypatch):
    for error in (SyntaxError("broken PNG"), ValueError("odd"), IndexError("odd")):
        def fail(file, error=error):
            raise error
        monkeypatch.setattr(Image, "open", fail)
        with pytest.raises(UnreadableImage, match="x.png: (broken|odd)"):
            decode(b"something", "x.png")


# ------------------------------------------------------------------------- skipping


def test_one_in_ten_damaged_each_counted_once_and_no_other_lost(library, tiny, tmp_path):
    records, skipped = library(80), Skipped(tmp_path)
    triplets = Triplets(records, tiny, skipped=skipped)
    for epoch in (0, 1):
        names = [triplets[epoch, i]["name"] for i in range(80)]
        for i in range(80):
            assert (names[i] == f"thing {i}") == (not damaged(i))
    assert skipped.read().keys() == bad(80)


def test_who_stands_in_belongs_to_the_sample(library, tiny):
    records = library(80)
    a, b = (Triplets(records, tiny, seed=0) for _ in range(2))
    for key in ((0, 3), (0, 13), (2, 43)):
        first, again = a[key], b[key]
        assert first["name"] == again["name"]
        assert all(torch.equal(first[part], again[part])
                   for part in ("image", "hole", "exemplar"))
    stand_ins = {Triplets(records, tiny, seed=s)[0, 3]["name"] for s in range(20)}
    assert len(stand_ins) > 5


def test_good_samples_are_as_if_nothing_were_damaged(library, tiny, tmp_path_factory):
    records = library(40)
    triplets = Triplets(records, tiny)
    whole = Triplets([None if damaged(i) else records[i] for i in range(40)], tiny)
    for i in range(40):
        if not damaged(i):
            assert torch.equal(triplets[1, i]["exemplar"], whole[1, i]["exemplar"])


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_lose_nothing_and_count_the_same(library, tiny, tmp_path, workers):
    records, skipped = library(80), Skipped(tmp_path)
    keys = [[(0, i) for i in range(start, start + 8)] for start in range(0, 80, 8)]
    loader = DataLoader(Triplets(records, tiny, skipped=skipped), batch_sampler=keys,
                        num_workers=workers)
    names = [name for batch in loader for name in batch["name"]]
    assert len(names) == 80
    assert set(names) >= {f"thing {i}" for i in range(80) if not damaged(i)}
    assert skipped.read().keys() == bad(80)


def test_nothing_but_damage_is_an_error_with_advice(library, tiny):
    records = library(30, damage=lambda i: "empty")
    with pytest.raises(UnreadableImage, match="100 images in a row.*check-data"):
        Triplets(records, tiny)[0, 0]


def test_a_run_over_damaged_images_ends_and_says_how_many(
        library, weights, tiny, tmp_path, caplog):
    from pbe_lite.training.losses import build_objective
    from pbe_lite.training.trainer import Run
    torch.manual_seed(0)
    preset = replace(tiny, ema_decay=0)
    objective = build_objective("final", preset, library(80), weights)
    run = Run(objective, tmp_path / "run", 80, workers=2)
    assert run.train() is True
    assert run.skipped.read().keys() == bad(80)
    run.export()
    assert '"skipped_images": 8' in (tmp_path / "run" / "run.json").read_text()


# ------------------------------------------------------------------------- the log


def note(folder, numbers):
    skipped = Skipped(folder)
    for i in numbers:
        skipped.note(UnreadableImage(f'{i}.jpg: "cut", off', str(i)))


def test_each_is_noted_once_a_process_and_processes_add_up(tmp_path, caplog):
    note(tmp_path, [1, 2, 1, 1])
    fork = multiprocessing.get_context("fork")
    other = fork.Process(target=note, args=(tmp_path, [2, 3]))
    other.start()
    other.join()
    assert len(list(tmp_path.glob("skipped-*.csv"))) == 2
    assert Skipped(tmp_path).read() == {
        str(i): f'{i}.jpg: "cut", off' for i in (1, 2, 3)}
    assert caplog.text.count("skipped 1:") == 1


def test_without_damage_nothing_is_written(library, tiny, tmp_path):
    skipped = Skipped(tmp_path)
    Triplets(library(5, lambda i: None), tiny, skipped=skipped)[0, 2]
    assert skipped.read() == {} and not list(tmp_path.glob("skipped-*"))
