"""Triplets: the box is hole and exemplar, and a sample is decided by its key alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pbe_lite.data.augmentation import squash
from pbe_lite.data.masks import box_mask
from pbe_lite.data.triplets import (
    CLIP_MEAN,
    CLIP_STD,
    Triplets,
    crop_box,
    crop_to_square,
    sample_rng,
    square_crop,
    to_clip,
    to_signed,
)

KEYS = [(0, 3), (0, 7), (1, 3), (2, 0), (5, 9), (0, 1)]
PARTS = ("image", "hole", "exemplar")


def same(a, b, parts=PARTS):
    return all(torch.equal(a[part], b[part]) for part in parts)


@pytest.fixture
def triplets(records, tiny):
    return lambda seed=0, **options: Triplets(records, tiny, seed, **options)


@pytest.fixture
def two_boxes(picture):
    """One record of a wide picture with two boxes."""
    return [{"image": picture(60, 100), "boxes": [(.1, .2, .4, .8), (.5, .1, .9, .6)],
             "labels": ["left", "right"]}]


# ------------------------------------------------------------------- pure function


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_and_order_change_nothing(triplets, workers):
    data = triplets()
    expected = {key: data[key] for key in KEYS}
    order = KEYS[::-1]
    loader = DataLoader(data, batch_sampler=[order[:4], order[4:]], num_workers=workers)
    found = {}
    for keys, batch in zip((order[:4], order[4:]), loader, strict=True):
        for i, key in enumerate(keys):
            found[key] = {part: batch[part][i] for part in PARTS}
            assert batch["name"][i] == expected[key]["name"]
    assert all(same(found[key], expected[key]) for key in KEYS)


def test_another_epoch_seed_or_index_is_another_sample(triplets):
    data = triplets()
    first = data[0, 3]
    assert same(data[0, 3], first) and same(triplets()[0, 3], first)
    assert not same(data[0, 4], first, ["image"])
    for other in ([data[epoch, 3] for epoch in range(1, 6)],
                  [triplets(seed)[0, 3] for seed in range(1, 6)]):
        assert any(not same(o, first, ["hole"]) for o in other)
        assert any(not same(o, first, ["exemplar"]) for o in other)


def test_the_generator_of_a_sample_depends_on_every_part_of_its_key():
    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    draws = [sample_rng(*key).uniform(size=4).tolist() for key in keys]
    assert len({tuple(d) for d in draws}) == 5
    assert sample_rng(3, 1, 4).uniform() == sample_rng(3, 1, 4, 0).uniform()


# ---------------------------------------------------------------- image, hole, crop


def test_without_augmentation_the_box_is_hole_and_exemplar(triplets, records, tiny):
    for index in range(len(records)):
        record = records[index]
        (box,), image = record["boxes"], record["image"]
        triplet = triplets(augment=False, shapes=False)[0, index]
        x0, y0, x1, y1 = (round(64 * v) for v in box)
        exact = torch.zeros(64, 64)
        exact[y0:y1, x0:x1] = 1
        assert torch.equal(triplet["hole"], exact[None])
        assert torch.equal(triplet["image"], to_signed(np.asarray(image)))
        crop = image.crop((x0, y0, x1, y1))
        assert torch.equal(triplet["exemplar"], to_clip(squash(crop, tiny.exemplar_size)))
        assert triplet["name"] == record["labels"][0]


def test_shapes_and_types(triplets, tiny):
    triplet = triplets()[0, 0]
    assert triplet["image"].shape == (3, 64, 64) and triplet["image"].dtype == torch.float32
    assert triplet["hole"].shape == (1, 64, 64) and triplet["hole"].dtype == torch.float32
    assert triplet["exemplar"].shape == (3, tiny.exemplar_size, tiny.exemplar_size)
    assert -1 <= triplet["image"].min() and triplet["image"].max() <= 1
    assert set(triplet["hole"].unique().tolist()) == {0, 1}


def test_the_hole_covers_the_box(triplets, records):
    for index in range(len(records)):
        inner = box_mask(records[index]["boxes"][0], 64) > 0
        for epoch in range(8):
            hole = triplets()[epoch, index]["hole"][0].numpy()
            assert hole[inner].mean() > .85  # a jittered outline may nibble at the box


@pytest.mark.parametrize("options", [{"augment": False}, {"shapes": False}])
def test_augmentation_and_shapes_are_separate_switches(triplets, options):
    plain = triplets(augment=False, shapes=False)
    data = triplets(**options)
    kept, changed = ("exemplar", "hole") if "augment" in options else ("hole", "exemplar")
    assert all(same(data[epoch, 2], plain[epoch, 2], [kept]) for epoch in range(6))
    assert any(not same(data[epoch, 2], plain[epoch, 2], [changed]) for epoch in range(6))


def test_each_box_has_its_turn_and_its_name(two_boxes, tiny):
    data = Triplets(two_boxes, tiny, augment=False, shapes=False)
    found = {}
    for epoch in range(30):
        triplet = data[epoch, 0]
        found.setdefault(triplet["name"], []).append(triplet["exemplar"])
    assert found.keys() == {"left", "right"}
    for name, box in (("left", (10, 12, 40, 48)), ("right", (50, 6, 90, 36))):
        crop = to_clip(squash(two_boxes[0]["image"].crop(box), tiny.exemplar_size))
        assert all(torch.equal(exemplar, crop) for exemplar in found[name])


def test_crop_box_cuts_the_pixels_that_box_mask_marks():
    rng = np.random.default_rng(0)
    for _ in range(200):
        w, h = rng.integers(5, 60, 2)
        low = rng.uniform(0, .8, 2)
        box = (*low, *np.minimum(low + rng.uniform(.05, .5, 2), 1))
        marked = box_mask(box, (h, w)) > 0
        numbered = np.zeros((h, w, 3), np.uint8)
        numbered[..., 0], numbered[..., 1] = np.mgrid[:h, :w]
        cut = np.asarray(crop_box(Image.fromarray(numbered), box))
        inside = numbered[marked].reshape(-1, 3)
        np.testing.assert_array_equal(cut.reshape(-1, 3), inside)


def test_crop_box_keeps_at_least_a_pixel():
    image = Image.new("RGB", (10, 10))
    for box in ((.5, .5, .5001, .5001), (.999, .999, 1, 1), (0, .3, .001, .9)):
        assert min(crop_box(image, box).size) >= 1


# -------------------------------------------------------------------- square crops


@pytest.mark.parametrize("shape", [(60, 100), (100, 60), (64, 64), (30, 200)])
def test_the_square_holds_the_box(shape):
    h, w = shape
    side, rng, starts = min(shape), np.random.default_rng(1), set()
    for _ in range(300):
        extent = rng.uniform(.2, .9, 2) * side / np.array([w, h])
        low = rng.uniform(0, 1 - extent)
        left, top, right, bottom = square_crop((w, h), (*low, *(low + extent)), rng)
        assert right - left == bottom - top == side
        assert 0 <= left and right <= w and 0 <= top and bottom <= h
        x0, y0 = low * (w, h)
        x1, y1 = (low + extent) * (w, h)
        assert left <= x0 + .5 and top <= y0 + .5  # to the nearest pixel
        assert right >= x1 - .5 and bottom >= y1 - .5
        starts.add((left, top))
    assert len(starts) == 1 if h == w else len(starts) > 20


def test_a_box_longer_than_the_square_fits_none():
    rng = np.random.default_rng(0)
    assert square_crop((100, 50), (.1, .1, .7, .9), rng) is None
    assert square_crop((50, 100), (.1, .1, .9, .7), rng) is None
    assert square_crop((100, 50), (.1, 0, .6, 1), rng) is not None


@pytest.mark.parametrize("shape", [(60, 100), (100, 60)])
def test_the_box_moves_with_the_crop(shape):
    h, w = shape
    numbered = np.zeros((h, w, 3), np.uint8)
    numbered[..., 0], numbered[..., 1] = np.mgrid[:h, :w]
    box = (20 / w, 10 / h, 50 / w, 45 / h)
    for seed in range(20):
        square, moved = crop_to_square(Image.fromarray(numbered), box,
                                       np.random.default_rng(seed))
        assert square.size == (60, 60)
        cut = np.asarray(crop_box(square, moved))
        np.testing.assert_array_equal(cut, numbered[10:45, 20:50])


def test_where_no_square_fits_the_picture_is_squashed(picture, tiny):
    image, box = picture(40, 100), (.05, .2, .95, .8)
    record = [{"image": image, "boxes": [box], "labels": ["long"]}]
    triplet = Triplets(record, tiny, augment=False, shapes=False)[0, 0]
    assert torch.equal(triplet["image"], to_signed(squash(image, 64)))
    assert torch.equal(triplet["hole"][0], torch.from_numpy(box_mask(box, 64)))


def test_non_square_pictures_give_square_triplets(two_boxes, tiny):
    data = Triplets(two_boxes, replace(tiny, resolution=48), augment=False, shapes=False)
    for epoch in range(10):
        triplet = data[epoch, 0]
        box = two_boxes[0]["boxes"][triplet["name"] == "right"]
        share = (box[2] - box[0]) * 100 * (box[3] - box[1]) * 60 / 60 ** 2
        assert triplet["image"].shape == (3, 48, 48)
        assert triplet["hole"].mean() == pytest.approx(share, abs=.05)


# ------------------------------------------------------------------ normalisations


def test_to_signed_maps_bytes_to_minus_one_to_one():
    array = np.array([[[0, 255, 51]]], np.uint8)
    np.testing.assert_allclose(to_signed(array)[:, 0, 0], (-1, 1, -.6), atol=1e-6)


def test_to_clip_is_clips_own_normalisation():
    from transformers import CLIPImageProcessor
    array = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
    processor = CLIPImageProcessor(do_resize=False, do_center_crop=False)
    theirs = processor(Image.fromarray(array), return_tensors="pt").pixel_values[0]
    np.testing.assert_allclose(to_clip(array), theirs, atol=1e-5)
    assert CLIP_MEAN.dtype == CLIP_STD.dtype == np.float32
