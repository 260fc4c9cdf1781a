"""Plots show what they are given, and all of it."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from pbe_lite import plots


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_a_picture_is_the_same_from_every_form():
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1) / 127.5 - 1
    np.testing.assert_allclose(plots.to_picture(tensor) * 255, array, atol=1e-3)
    assert np.array_equal(plots.to_picture(array), array)


def test_a_grid_shows_each_picture_and_leaves_none_out():
    first, second = np.zeros((4, 4)), np.ones((4, 4, 3))
    fig = plots.grid([[first, second], [second, None]], titles="ab", labels="cd")
    shown = [axis.images for axis in fig.axes]
    assert [len(images) for images in shown] == [1, 1, 1, 0]
    assert shown[0][0].get_cmap().name == "gray"
    assert [axis.get_title() for axis in fig.axes[:2]] == ["a", "b"]


def test_bars_and_whiskers_are_as_long_as_their_intervals():
    groups = {"one": {"mean": .5, "low": .4, "high": .7},
              "two": {"mean": .2, "low": .2, "high": .3}}
    (axis,) = plots.bars(groups, "share", bar=.6).axes
    assert [patch.get_width() for patch in axis.patches] == [.5, .2]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["one", "two"]
    whiskers = axis.collections[0].get_segments()
    np.testing.assert_allclose([w[:, 0] for w in whiskers], [(.4, .7), (.2, .3)])
    assert axis.lines[-1].get_xdata()[0] == .6


def test_an_overlay_tints_the_hole_alone():
    image, hole = np.full((4, 4, 3), 100, np.uint8), np.zeros((4, 4))
    hole[1, 2] = 1
    tinted = plots.overlay(image, hole)
    assert (np.argwhere((tinted != image).any(-1)) == [[1, 2]]).all()
