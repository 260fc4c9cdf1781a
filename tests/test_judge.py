"""The judge of the benchmark: a network of its own, that sees grey crops alone."""

import numpy as np
import pytest
import torch

from pbe_lite.data.tabletop import Scene, kind_names
from pbe_lite.evaluation import evaluate, judge
from pbe_lite.evaluation.benchmark import make_pair


@pytest.fixture(scope="module")
def pairs():
    return [make_pair(i) for i in range(16)]


def test_the_judge_sees_no_colour_no_light_and_no_contrast():
    torch.manual_seed(0)
    model = judge.Judge().eval()
    image = Scene(5).render(128).image
    crop = judge.grey_crop(image, judge.window_around(Scene(5).render(128).box, 128))
    assert crop.shape == (48, 48) and 0 <= crop.min() and crop.max() <= 1
    swapped = judge.grey_crop(image[..., ::-1],
                              judge.window_around(Scene(5).render(128).box, 128))
    np.testing.assert_array_equal(crop, swapped)
    x = torch.from_numpy(crop)[None, None]
    with torch.no_grad():
        assert torch.allclose(model(x), model(.5 * x + .3), atol=.3)
        assert model(x).shape == (1, 49)


def test_a_window_beyond_the_picture_goes_on_with_its_border():
    image = np.full((128, 128, 3), 51, np.uint8)
    assert np.allclose(judge.grey_crop(image, (-30, 90, 80)), .2)


def test_spoiled_objects_differ_from_what_they_were():
    render, rng = Scene(7).render(128), np.random.default_rng(0)
    decode = lambda image, level, rng: image
    x0, y0, x1, y1 = (round(v * 128) for v in render.box)
    inside = np.s_[y0:y1, x0:x1]
    for spoil in (judge._shuffled, judge._blurred, judge._halved, judge._warped,
                  judge._lump, judge._empty):
        spoiled = spoil(render, rng, decode)
        assert spoiled.shape == (128, 128, 3) and spoiled.dtype == np.uint8
        difference = np.abs(spoiled[inside].astype(int) - render.image[inside])
        assert difference.mean() > 5, spoil.__name__


def test_the_judge_learns_from_several_views_of_a_picture(tiny, weights, tmp_path):
    torch.manual_seed(0)
    training = judge.JudgeTraining(tiny, weights, scenes=50)
    training._decode = lambda image, level, rng: image  # the tiny codec is of another size
    samples = [training.sample(0, i) for i in range(12)]
    labels = [s["label"] for s in samples]
    assert all(s["crops"].shape == (judge.VIEWS, 48, 48) for s in samples)
    assert max(labels) <= 48 and len(set(labels)) > 6
    first, second = samples[0]["crops"][:2]
    assert not torch.equal(first, second)
    again = training.sample(0, 0)
    assert torch.equal(again["crops"], samples[0]["crops"])  # a pure function of its key
    batch = torch.utils.data.default_collate(samples)
    losses = training(batch)
    assert losses.shape == (12,) and losses.isfinite().all()
    training.export(tmp_path)
    assert judge.load_judge(tmp_path).config.kinds == 48


def test_only_a_certain_judge_counts(pairs):
    names = kind_names()
    def verdict(probability):
        logits = torch.zeros(2 * len(pairs), 49)
        for i, pair in enumerate(pairs):
            rest = (1 - probability) / 48
            logits[2 * i:2 * i + 2] = np.log(rest)
            logits[2 * i:2 * i + 2, names.index(pair.kind)] = np.log(probability)
        return lambda crops: logits
    results = [p.answer for p in pairs]
    assert evaluate.right_kinds(pairs, results, verdict(.6)).mean() == 1
    assert evaluate.right_kinds(pairs, results, verdict(.4)).mean() == 0


def test_the_trained_judge_knows_scenes_and_what_is_none_of_these():
    network, rng = judge.load_judge(), np.random.default_rng(3)
    crops, empty = [], []
    for seed in range(800, 900):  # in no training: that begins at 1000
        render = Scene(seed).render(128)
        window = judge.window_around(render.box, 128)
        crops.append(judge.grey_crop(render.image, window))
        plain = judge._empty(render, rng, None)
        empty.append(judge.grey_crop(plain, window))
    with torch.no_grad():
        named, none = (network(torch.from_numpy(np.array(c))[:, None]).argmax(1)
                       for c in (crops, empty))
    wanted = torch.tensor([kind_names().index(Scene(s).name) for s in range(800, 900)])
    assert (named == wanted).double().mean() >= .95
    assert (none == 48).double().mean() >= .9
