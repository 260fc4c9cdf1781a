"""Previews show what an arm can do, and leave no trace in its training."""

import json

import numpy as np
import pytest
import torch
from conftest import folder_of
from PIL import Image
from test_trainer import assert_identical

from pbe_lite.data.scenes import write_tabletop
from pbe_lite.data.tabletop import FIRST_TRAINING_SEED, HELD_OUT_SEEDS
from pbe_lite.evaluation.benchmark import PAIRS
from pbe_lite.training import cli, preview
from pbe_lite.training.preview import undisturbed, unseen_scenes
from pbe_lite.training.trainer import Run

SAMPLES = 24


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(preview, "UNSEEN_SEEDS", range(900, 906))
    monkeypatch.setattr(preview, "ROWS", 3)


@pytest.mark.parametrize("arm", ["final", "naive"])
def test_a_run_with_previews_ends_bit_identical(objective, tiny, tmp_path, arm):
    whole = Run(objective(arm), tmp_path / "whole", SAMPLES, workers=0)
    torch.manual_seed(5)
    whole.train()
    run = Run(objective(arm), tmp_path / "shown", SAMPLES, workers=0,
              held_out=unseen_scenes(tiny))
    torch.manual_seed(5)
    run.train(preview_minutes=0)  # after every step
    assert_identical(run, whole)
    assert run.history == whole.history
    assert [n for n, _ in run.previews] == [4, 8, 12, 16, 20, 24]
    assert len({loss for _, loss in run.previews}) == 6  # the weights move


def test_modes_and_random_numbers_are_as_they_were(objective):
    built = objective("final")
    built.encoder.train()
    built.unet.eval()
    modes = [m.training for m in built.modules()]
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with undisturbed(built):
        assert not any(m.training for m in built.modules())
        torch.rand(7)
    assert torch.equal(torch.rand(4), expected)
    assert [m.training for m in built.modules()] == modes


def test_the_same_weights_have_the_same_preview(objective, tiny, tmp_path):
    pictures, losses = [], []
    for name in ("a", "b"):
        run = Run(objective("final"), tmp_path / name, SAMPLES, workers=0,
                  held_out=unseen_scenes(tiny))
        run.train(minutes=0)
        torch.manual_seed(hash(name) % 1000)  # of no account
        run.preview()
        pictures.append(np.asarray(Image.open(tmp_path / name / "samples.png")))
        losses.append(run.previews)
    assert (pictures[0] == pictures[1]).all() and losses[0] == losses[1]


def test_a_row_is_picture_exemplar_and_result(objective, tiny, tmp_path):
    scenes = unseen_scenes(tiny)
    run = Run(objective("final"), tmp_path, SAMPLES, workers=0, held_out=scenes)
    run.train(minutes=0)
    run.preview()
    picture = np.asarray(Image.open(tmp_path / "samples.png"))
    assert picture.shape == (3 * 64, 3 * 64, 3)
    first, scene = picture[:64, :64], np.asarray(scenes[0]["image"])
    x0, y0, x1, y1 = (round(64 * v) for v in scenes[0]["boxes"][0])
    assert (abs(first[y0:y1, x0:x1].astype(int) - 128) <= 1).all()  # the hole is grey
    outside = np.ones((64, 64), bool)
    outside[y0:y1, x0:x1] = False
    assert (first[outside] == scene[outside]).mean() > .99
    crop = scenes[1]["image"].crop([round(64 * v) for v in scenes[1]["boxes"][0]])
    shown = np.asarray(Image.fromarray(picture[:64, 64:128]).resize(crop.size))
    assert np.abs(shown.astype(int) - np.asarray(crop)).mean() < 12
    assert picture[:64, 128:].std() > 1


def test_it_is_the_averaged_weights_that_are_shown(objective, tiny, tmp_path):
    run = Run(objective("final"), tmp_path, SAMPLES, workers=0,
              held_out=unseen_scenes(tiny))
    run.train()
    run.preview()
    with torch.no_grad():
        for parameter in run.parameters.values():
            parameter.zero_()
    run.preview()
    (_, before), (_, after) = run.previews
    assert before == after
    assert not any(p.any() for p in run.parameters.values())  # back in their place


def test_the_losses_are_kept_in_checkpoint_and_record(objective, tiny, tmp_path):
    run = Run(objective("final"), tmp_path, SAMPLES, workers=0,
              held_out=unseen_scenes(tiny))
    run.train(minutes=0, preview_minutes=0)
    again = Run(objective("final"), tmp_path, SAMPLES, workers=0)
    assert again.previews == run.previews and len(run.previews) == 1
    again.export()
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["held_out"] == [list(entry) for entry in run.previews]


def test_the_scenes_are_in_no_training_and_no_benchmark(tiny):
    seeds = range(900, 964)
    assert max(seeds) < FIRST_TRAINING_SEED
    assert set(seeds).isdisjoint(HELD_OUT_SEEDS[:2 * PAIRS])
    ids = [record["image_id"] for record in unseen_scenes(tiny)]
    assert ids[:2] == [f"{900:016x}", f"{901:016x}"]


def test_the_command_previews_what_a_folder_holds_out(command, tmp_path, capsys):
    write_tabletop(tmp_path / "other", range(700, 704), 64)
    command("--samples", "8", "--preview-minutes", "100", "--held-out",
            str(tmp_path / "other"))
    assert "8 samples: loss " in capsys.readouterr().out  # once, in the end
    assert Image.open(tmp_path / "run" / "samples.png").size == (3 * 64, 3 * 64)


def test_pictures_that_are_trained_on_are_refused(command, records):
    with pytest.raises(SystemExit, match="--held-out must hold other pictures than"):
        command("--preview-minutes", "1", "--held-out", str(folder_of(records)))


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--preview-minutes", "1", "--data", "x"], "--preview-minutes needs --held-out"),
    (["--preview-minutes", "1", "--arm", "prior"], "--preview-minutes is for the arms"),
    (["--preview-minutes", "0"], "--preview-minutes must be more than 0"),
    (["--held-out", "x"], "--held-out is for --preview-minutes"),
])
def test_what_does_not_go_together_is_told(capsys, arguments, expected):
    with pytest.raises(SystemExit):
        cli.read_options(arguments)
    assert expected in capsys.readouterr().err


def test_scenes_of_few_kinds_show_these_in_turn(tiny):
    records = unseen_scenes(tiny, ["owl", "die"])
    kinds = [record["labels"][0].split(" ", 1)[1] for record in records]
    assert kinds[:4] == ["owl", "die", "owl", "die"] and len(records) == 6
