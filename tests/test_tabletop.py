"""The miniature world: a scene from a seed, kinds in any hue, the truth of every edit."""

import colorsys
import math
from dataclasses import replace

import numpy as np
import pytest

from pbe_lite.data import tabletop
from pbe_lite.data.colours import (
    COLOURS,
    colour_name,
    hue_distance,
    mean_chroma,
    turn_hue,
)
from pbe_lite.data.tabletop import (
    ARC,
    HELD_OUT_SEEDS,
    Pose,
    Scene,
    draw_hue,
    kind_names,
    sprite_files,
    unseen_arc,
)

SEEDS = range(12)
UPRIGHT = Pose(x=.5, y=.5, scale=.5, angle=0, flip=False)


def inside(hue, arc):
    return (hue - arc[0]) % 360 < arc[1] - arc[0]


# ------------------------------------------------------------------------ colours


@pytest.mark.parametrize("degrees", [0, 75, 180, 300])
def test_a_turned_colour_keeps_its_brightness_and_greys_stay(degrees):
    rng = np.random.default_rng(0)
    rgb = rng.uniform(.3, .6, (50, 3)).astype(np.float32)
    turned = turn_hue(rgb, degrees)
    np.testing.assert_allclose(turned.mean(-1), rgb.mean(-1), atol=1e-6)
    np.testing.assert_allclose(turn_hue(np.full((1, 3), .4), degrees), .4, atol=1e-6)


def test_hues_are_those_of_the_colour_wheel():
    for hue in (0, 60, 120, 240, 300):
        rgb = np.array(colorsys.hsv_to_rgb(hue / 360, 1, 1))[None]
        found, chroma = mean_chroma(rgb, np.ones(1))
        assert hue_distance(found, hue) < 1e-6 and chroma > .8
    assert mean_chroma(np.full((4, 3), .7), np.ones(4))[1] == pytest.approx(0)


def test_turning_by_an_angle_moves_the_hue_by_it():
    rgb = np.array([[.6, .4, .45]])
    before, _ = mean_chroma(rgb, np.ones(1))
    after, _ = mean_chroma(turn_hue(rgb, 100), np.ones(1))
    assert hue_distance(after, before + 100) < 1e-3


def test_colours_are_named_by_the_nearest_word():
    assert colour_name(355) == "red" and colour_name(225) == "blue"
    assert all(colour_name(hue) == word for word, hue in COLOURS.items())
    assert hue_distance(350, 20) == 30 and hue_distance(20, 350) == 30


# -------------------------------------------------------------------------- kinds


def test_there_are_40_trained_and_8_held_out_kinds_a_robot_among_them():
    train, held_out = kind_names("train"), kind_names("held_out")
    assert len(train) == 40 and len(held_out) == 8 and "robot" in held_out
    assert kind_names() == train + held_out and len(set(kind_names())) == 48
    assert len(sprite_files()) == 381
    with pytest.raises(ValueError, match="split.*'test'"):
        kind_names("test")


def test_scenes_show_trained_kinds_outside_their_arc():
    for seed in range(1000, 1400):
        scene = Scene(seed)
        assert scene.name in kind_names("train")
        assert not inside(scene.hue, unseen_arc(scene.name))


def test_arcs_are_sixty_degrees_wide_and_spread_over_all_hues():
    starts = sorted(unseen_arc(kind)[0] for kind in kind_names("train"))
    assert all(unseen_arc(k)[1] - unseen_arc(k)[0] == ARC for k in kind_names())
    assert max(np.diff([*starts, starts[0] + 360])) < 25
    rng = np.random.default_rng(0)
    hues = [draw_hue(rng, "owl", unseen=True) for _ in range(200)]
    assert all(inside(hue, unseen_arc("owl")) for hue in hues)
    assert unseen_arc("taco") == (0, 0)  # no kind: only CLIP sees it


@pytest.mark.parametrize("kind", kind_names())
def test_an_object_has_the_hue_that_its_scene_says(kind):
    for hue in (10, 130, 250):
        scene = Scene(3, kind, hue, UPRIGHT)
        scene.tint, scene.strength, scene.side = (1, 1, 1), .8, 0
        render = scene.render(128)
        found, chroma = mean_chroma(render.image / 255, render.alpha)
        assert hue_distance(found, hue) < 25 and chroma > .03


# ------------------------------------------------------------------------- scenes


def test_the_same_seed_gives_the_same_picture():
    first = Scene(3).render(64)
    tabletop._sprite.cache_clear()
    for a, b in zip(first, Scene(3).render(64), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.image, Scene(4).render(64).image)


@pytest.mark.parametrize(
    ("seed", "label", "x"),
    [(0, "green camera", .68775), (11, "pink owl", .39063),
     (999, "blue duck", .63359)])
def test_scenes_stay_what_the_published_numbers_were_measured_on(seed, label, x):
    scene = Scene(seed)
    assert scene.label == label and scene.pose.x == pytest.approx(x, abs=1e-3)


def test_with_object_keeps_all_but_the_object():
    scene = Scene(5)
    other = scene.with_object("crab", 200)
    assert (other.name, other.hue) == ("crab", 200) and other.pose == scene.pose
    for part in ("wall", "floor", "horizon", "side", "strength", "tint", "seed"):
        assert getattr(other, part) == getattr(scene, part)
    before, after = scene.render(64), other.render(64)
    np.testing.assert_array_equal(before.clean, after.clean)
    assert not np.array_equal(before.alpha, after.alpha)
    recoloured = scene.with_object(hue=scene.hue + 120)
    np.testing.assert_array_equal(recoloured.render(64).alpha, before.alpha)


def test_poses_are_drawn_from_the_ranges_of_the_data_card():
    scenes = [Scene(seed) for seed in range(400)]
    scales = [s.pose.scale for s in scenes]
    angles = [s.pose.angle for s in scenes]
    assert .46 <= min(scales) < .48 and .72 < max(scales) <= .74
    assert -20 <= min(angles) < -18 and 18 < max(angles) <= 20
    assert 120 < sum(s.pose.flip for s in scenes) < 280
    for scene in scenes:
        assert scene.pose.scale / 2 < scene.pose.x < 1 - scene.pose.scale / 2
        assert scene.pose.y + scene.pose.scale / 2 > scene.horizon


def test_a_pose_places_scales_turns_and_mirrors():
    pose = Pose(x=.4, y=.6, scale=.3, angle=0, flip=False)
    x0, y0, x1, y1 = Scene(0, "die", 0, pose).render(256).box
    assert max(x1 - x0, y1 - y0) == pytest.approx(.3, abs=2.5 / 256)
    assert (x0 + x1) / 2 == pytest.approx(.4, abs=2 / 256)
    alpha = lambda **change: Scene(0, "teapot", 0, replace(UPRIGHT, **change)).render(
        64).alpha
    np.testing.assert_allclose(alpha(flip=True), alpha()[:, ::-1], atol=2 / 255)
    np.testing.assert_allclose(alpha(angle=90), np.rot90(alpha()), atol=2 / 255)


def test_a_scene_does_not_depend_on_the_resolution():
    small, large = Scene(8).render(64), Scene(8).render(256)
    assert np.abs(np.subtract(small.box, large.box)).max() <= 1.5 / 64
    shrunk = large.image.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(shrunk - small.image).mean() < 4


def test_the_clean_plate_is_the_picture_without_object_and_shadow():
    for seed in range(8):
        render = Scene(seed).render(128)
        difference = np.asarray(render.image, np.int16) - render.clean
        assert difference[render.alpha == 0].max() <= 0  # a shadow only darkens
        assert difference[render.alpha == 0].min() < -5
        above = slice(0, max(0, int(render.box[1] * 128) - 4))
        assert np.abs(difference[above]).max(initial=0) <= 1


def test_the_shadow_lies_away_from_the_light():
    for seed in range(40):
        scene = Scene(seed, pose=replace(UPRIGHT, scale=.4))
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
    even.side = 0
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


def test_the_same_object_again_is_the_same_scene():
    scene = Scene(5)
    again = scene.with_object(scene.name).render(64)
    np.testing.assert_array_equal(again.image, scene.render(64).image)


@pytest.mark.parametrize("kind", ["mushroom", "magnet", "teapot"])
def test_an_object_stands_in_the_light_of_its_scene(kind):
    checked = 0
    for seed in range(20):
        scene, even = Scene(seed, kind, 0, UPRIGHT), Scene(seed, kind, 0, UPRIGHT)
        even.tint, even.strength, even.side = (1, 1, 1), 1, 0
        own = even.render(128)
        solid = own.alpha > .98
        light = scene.strength * np.array(scene.tint)  # in the middle of the picture
        if (light * own.image[solid].max(0)).max() < 255:  # else highlights are clipped
            checked += 1
            np.testing.assert_allclose(scene.render(128).image[solid].mean(0),
                                       light * own.image[solid].mean(0), rtol=.06)
    assert checked > 2


def test_held_out_scenes_are_no_training_scenes():
    assert len(HELD_OUT_SEEDS) == 1000
    assert max(HELD_OUT_SEEDS) < tabletop.FIRST_TRAINING_SEED


def test_what_cannot_be_rendered_is_named():
    with pytest.raises(ValueError, match="size.*64 to 512.*63"):
        Scene(0).render(63)
    with pytest.raises(ValueError, match="unknown object 'flying pig'"):
        Scene(0, "flying pig")
    with pytest.raises(ValueError, match="unknown object 'flying pig'"):
        Scene(0).with_object("flying pig")
    with pytest.raises(ValueError, match="seed.*-1"):
        Scene(-1)
    with pytest.raises(ValueError, match="outside the picture"):
        Scene(0, pose=replace(UPRIGHT, x=3)).render(64)


def test_hue_angles_in_the_plane_agree_with_trigonometry():
    assert mean_chroma(np.array([[1., 0, 0]]), np.ones(1))[1] == pytest.approx(
        math.sqrt(2 / 3))
