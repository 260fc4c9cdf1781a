"""The miniature world: a scene from a seed, and the right answer to every edit."""

import importlib.util
import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pbe_lite.config import DATA, SPRITES
from pbe_lite.data import tabletop
from pbe_lite.data.tabletop import HELD_OUT_SEEDS, Pose, Scene, object_names, sprite_table

SEEDS = range(12)
UPRIGHT = Pose(x=.5, y=.5, scale=.5, angle=0, flip=False)


def signed(image):
    return np.asarray(image, np.int16)


# ------------------------------------------------------------------------- scenes


def test_the_same_seed_gives_the_same_picture():
    first = Scene(3).render(64)
    tabletop._sprite.cache_clear()
    again = Scene(3).render(64)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.image, Scene(4).render(64).image)


@pytest.mark.parametrize(
    ("seed", "name", "x", "angle", "textures"),
    [
        (0, "personal computer", .388686, -18.455871, ("stripes", "checks")),
        (11, "screwdriver", .493404, -13.108212, ("waves", "plain")),
        (499, "pushpin", .490783, -16.315491, ("stripes", "waves")),
        (24999, "package", .768737, -8.739284, ("plain", "stripes")),
    ],
)
def test_scenes_stay_what_the_published_numbers_were_measured_on(
        seed, name, x, angle, textures):
    scene = Scene(seed)
    assert scene.name == name and (scene.wall.texture, scene.floor.texture) == textures
    assert (scene.pose.x, scene.pose.angle) == pytest.approx((x, angle), abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_scene_does_not_depend_on_the_resolution(seed):
    small, large = Scene(seed).render(64), Scene(seed).render(256)
    assert np.abs(np.subtract(small.box, large.box)).max() <= 1.5 / 64
    shrunk = large.image.reshape(64, 4, 64, 4, 3).mean((1, 3))
    difference = np.abs(shrunk - small.image)
    assert difference.mean() < 4 and np.median(difference) < 2


@pytest.mark.parametrize("seed", SEEDS)
def test_the_clean_plate_is_the_picture_without_object_and_shadow(seed):
    image, clean, alpha, box = Scene(seed).render(128)
    difference = signed(image) - clean
    above = slice(0, max(0, int(box[1] * 128) - 4))
    assert np.abs(difference[above]).max(initial=0) <= 1
    assert difference[alpha == 0].max() <= 0  # a shadow only darkens
    assert difference[alpha == 0].min() < -5  # and there is one
    assert np.abs(difference[alpha > .99]).mean() > 5  # the object is seen


def test_the_shadow_lies_away_from_the_light():
    for seed in range(40):
        scene = replace(Scene(seed), pose=replace(UPRIGHT, scale=.4))
        if abs(scene.side) < .3:
            continue
        image, clean, alpha, (x0, _, x1, _) = scene.render(128)
        relative = 1 - (image.sum(-1) + 1) / (clean.sum(-1) + 1)  # no slope of the light
        shadow = np.where(alpha == 0, relative, 0)
        centre = (shadow.sum(0) @ (np.arange(128) + .5)) / shadow.sum() / 128
        assert np.sign(centre - (x0 + x1) / 2) == -np.sign(scene.side)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_side_that_the_light_comes_from_is_lighter(seed):
    lit, even = Scene(seed), Scene(seed)
    object.__setattr__(even, "side", 0)
    columns = lambda scene: scene.render(64).clean.mean((0, 2)) + 1
    ratio = columns(lit) / columns(even)
    assert np.sign(ratio[-8:].mean() - ratio[:8].mean()) == np.sign(lit.side)


@pytest.mark.parametrize("seed", SEEDS)
def test_box_and_alpha_agree(seed):
    render = Scene(seed).render(128)
    x0, y0, x1, y1 = (round(v * 128) for v in render.box)
    assert np.allclose(np.array(render.box) * 128, (x0, y0, x1, y1))
    opaque = render.alpha > .5
    assert opaque[y0:y1, x0:x1].sum() == opaque.sum()
    edges = opaque[y0, :], opaque[y1 - 1, :], opaque[:, x0], opaque[:, x1 - 1]
    assert all(edge.any() for edge in edges)


# ------------------------------------------------------------- the truth of an edit


@pytest.mark.parametrize("seed", SEEDS)
def test_with_object_keeps_all_but_the_object(seed):
    scene = Scene(seed)
    other = scene.with_object("hot dog")
    for part in ("wall", "floor", "horizon", "side", "strength", "tint", "pose", "seed"):
        assert getattr(other, part) == getattr(scene, part)
    before, after = scene.render(64), other.render(64)
    np.testing.assert_array_equal(before.clean, after.clean)
    assert not np.array_equal(before.alpha, after.alpha)


def test_the_same_object_again_is_the_same_scene():
    scene = Scene(5)
    again = scene.with_object(scene.name).render(64)
    np.testing.assert_array_equal(again.image, scene.render(64).image)


@pytest.mark.parametrize("name", ["red apple", "blueberries", "teapot"])
def test_an_object_has_its_sprites_colours_in_the_light_of_its_scene(name):
    file = {n: f for f, n in sprite_table()}[name]
    sprite = np.asarray(Image.open(SPRITES / file).convert("RGBA"), float)
    own = sprite[sprite[..., 3] > 250][:, :3].mean(0)
    for seed in range(20):
        scene = Scene(seed).with_object(name, UPRIGHT)
        image, _, alpha, _ = scene.render(128)
        light = scene.strength * np.array(scene.tint)  # in the middle of the picture
        if (light * own).max() < 180:  # else highlights are clipped
            np.testing.assert_allclose(image[alpha > .98].mean(0), light * own, rtol=.06)


# ------------------------------------------------------------------------- poses


def test_a_pose_places_and_scales():
    pose = Pose(x=.4, y=.6, scale=.3, angle=0, flip=False)
    x0, y0, x1, y1 = Scene(0).with_object("lemon", pose).render(256).box
    assert max(x1 - x0, y1 - y0) == pytest.approx(.3, abs=2.5 / 256)
    assert (x0 + x1) / 2 == pytest.approx(.4, abs=2 / 256)
    assert (y0 + y1) / 2 == pytest.approx(.6, abs=2 / 256)


def test_flip_mirrors_the_object():
    alphas = [Scene(0).with_object("teapot", replace(UPRIGHT, flip=f)).render(64).alpha
              for f in (False, True)]
    np.testing.assert_allclose(alphas[0], alphas[1][:, ::-1], atol=2 / 255)
    assert np.abs(alphas[0] - alphas[1]).mean() > .01


@pytest.mark.parametrize("flip", [False, True])
def test_angles_turn_counter_clockwise(flip):
    upright = replace(UPRIGHT, flip=flip)
    alphas = [Scene(0).with_object("teapot", replace(upright, angle=a)).render(64).alpha
              for a in (0, 90)]
    np.testing.assert_allclose(np.rot90(alphas[0]), alphas[1], atol=2 / 255)


def test_poses_are_drawn_from_the_ranges_of_the_data_card():
    scenes = [Scene(seed) for seed in range(400)]
    poses = [scene.pose for scene in scenes]
    scales, angles = [p.scale for p in poses], [p.angle for p in poses]
    assert .34 <= min(scales) < .36 and .60 < max(scales) <= .62
    assert -30 <= min(angles) < -28 and 28 < max(angles) <= 30
    assert 120 < sum(p.flip for p in poses) < 280
    for scene, pose in zip(scenes, poses, strict=True):
        assert pose.scale / 2 < pose.x < 1 - pose.scale / 2
        assert pose.y + pose.scale / 2 > scene.horizon  # it stands on the floor


# --------------------------------------------------------------------- the objects


def test_there_are_380_objects_40_of_them_held_out():
    assert len(object_names()) == len(set(object_names())) == 380
    train, held_out = set(object_names("train")), set(object_names("held_out"))
    assert (len(train), len(held_out)) == (340, 40)
    assert train | held_out == set(object_names()) and not train & held_out


def test_held_out_objects_are_never_drawn():
    names = {Scene(seed).name for seed in range(1000, 4000)}
    assert names == set(object_names("train"))


def test_held_out_scenes_are_no_training_scenes():
    assert len(HELD_OUT_SEEDS) == 500
    assert max(HELD_OUT_SEEDS) < tabletop.FIRST_TRAINING_SEED


def test_every_picture_is_listed_and_every_listed_picture_is_there():
    files = [file for file, _ in sprite_table()]
    assert sorted(files) == sorted(p.name for p in SPRITES.iterdir())
    for file in files:
        with Image.open(SPRITES / file) as sprite:
            assert sprite.format == "WEBP" and "A" in sprite.getbands(), file
            assert max(sprite.size) == 256


def test_make_sprites_makes_what_is_shipped(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("make_sprites", DATA / "make_sprites.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with tarfile.open(tmp_path / "npm.tgz", "w") as tar:
        for i, code in enumerate(script.CODEPOINTS):
            raw = (SPRITES / f"{code}.webp").read_bytes()
            # the package has some under their code alone, some with a variation selector
            info = tarfile.TarInfo(f"package/assets/{code}{'-fe0f' * (i % 7 == 0)}.webp")
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    monkeypatch.setattr("sys.argv", ["", str(tmp_path / "npm.tgz"), "--out", str(tmp_path)])
    script.main()
    assert (tmp_path / "sprites.csv").read_text() == (DATA / "sprites.csv").read_text()
    made = {p.name: p.read_bytes() for p in (tmp_path / "sprites").iterdir()}
    assert made == {p.name: p.read_bytes() for p in SPRITES.iterdir()}


# -------------------------------------------------------------------------- errors


@pytest.mark.parametrize("size", [0, 63, 513])
def test_a_size_it_cannot_render_is_named(size):
    with pytest.raises(ValueError, match=f"size.*64 to 512.*{size}"):
        Scene(0).render(size)


def test_an_unknown_object_is_named():
    with pytest.raises(ValueError, match="unknown object 'flying pig'"):
        Scene(0).with_object("flying pig")
    with pytest.raises(ValueError, match="unknown object 'flying pig'"):
        Scene(0, name="flying pig")


def test_a_negative_seed_and_an_unknown_split_are_named():
    with pytest.raises(ValueError, match="seed.*-1"):
        Scene(-1)
    with pytest.raises(ValueError, match="split.*'test'"):
        object_names("test")


def test_a_pose_outside_the_picture_is_named():
    with pytest.raises(ValueError, match="outside the picture"):
        Scene(0).with_object("lemon", replace(UPRIGHT, x=3)).render(64)
