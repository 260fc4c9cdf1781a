"""The command line: files in, files out, and one line when something is wrong."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from conftest import pixels
from PIL import Image

from pbe_lite import PaintByExamplePipeline
from pbe_lite import __main__ as cli
from pbe_lite.edit import add_arguments, choose_device, load_pipeline, output_paths
from pbe_lite.models.convert import convert_checkpoint
from pbe_lite.models.shipping import read_manifest


@pytest.fixture
def model(pipe, tmp_path):
    pipe.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def files(tmp_path, picture):
    """image.png (90 x 70), mask_image.png, example_image.png."""
    hole = np.zeros((90, 70), np.uint8)
    hole[30:60, 20:50] = 255
    picture(90, 70).save(tmp_path / "image.png")
    Image.fromarray(hole).save(tmp_path / "mask_image.png")
    picture(20, 30).save(tmp_path / "example_image.png")
    return tmp_path


def edit(folder, **changes):
    names = ("example_image", "image", "mask_image", "out")
    options = {name: folder / f"{name}.png" for name in names}
    options |= {"model": folder / "model", "num_inference_steps": 2, **changes}
    return ["edit", *(str(v) for k, value in options.items()
                      for v in (f"--{k.replace('_', '-')}", value))]


def message(arguments):
    """What the command says when it gives up."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    return str(stopped.value.code)


# ---------------------------------------------------------------------------- edit


def test_edit_writes_what_the_pipeline_paints(model, files, pipe, capsys):
    cli.main(edit(files, seed=3, guidance_scale=2, out=files / "new" / "out.png"))
    assert capsys.readouterr().out.split() == [str(files / "new" / "out.png")]
    found = np.asarray(Image.open(files / "new" / "out.png"))
    expected = pixels(pipe(
        image=files / "image.png", mask_image=files / "mask_image.png", seed=3,
        example_image=files / "example_image.png", num_inference_steps=2,
        guidance_scale=2.))[0]
    assert np.abs(found.astype(int) - expected).max() <= 1
    image, hole = (np.asarray(Image.open(files / f"{n}.png"))
                   for n in ("image", "mask_image"))
    np.testing.assert_array_equal(found[hole == 0], image[hole == 0])
    assert (found[hole > 0] != image[hole > 0]).any()


def test_several_samples_are_several_files(model, files, capsys):
    cli.main(edit(files, num_images_per_prompt=3))
    paths = [files / name for name in ("out.png", "out-1.png", "out-2.png")]
    assert capsys.readouterr().out.split() == list(map(str, paths))
    pictures = [np.asarray(Image.open(path)) for path in paths]
    assert (pictures[0] != pictures[1]).any() and (pictures[1] != pictures[2]).any()


def test_several_exemplars_are_files_with_their_names(model, files, picture, capsys, pipe):
    picture(20, 20).save(files / "apple.png")
    picture(20, 30).rotate(90).save(files / "pear.png")
    call = edit(files, num_images_per_prompt=2, seed=5)
    at = call.index("--example-image")
    call[at + 1:at + 2] = [str(files / "apple.png"), str(files / "pear.png")]
    cli.main(call)
    names = ["out-apple.png", "out-apple-1.png", "out-pear.png", "out-pear-1.png"]
    assert capsys.readouterr().out.split() == [str(files / name) for name in names]
    expected = pixels(pipe(files / "pear.png", files / "image.png",
                           files / "mask_image.png", num_inference_steps=2, seed=6))[0]
    found = np.asarray(Image.open(files / "out-pear-1.png")).astype(int)
    assert np.abs(found - expected).max() <= 1


def test_exemplars_of_one_name_are_numbered():
    paths = [Path("a/x.png"), Path("b/x.png")]
    assert [p.name for v in output_paths(Path("o.png"), paths, 1).values() for p in v] \
        == ["o-0-x.png", "o-1-x.png"]


def test_a_png_holds_what_makes_it_again(model, files, pipe):
    cli.main(edit(files, seed=3, num_images_per_prompt=2, context=2, dtype="float32",
                  device="cpu", exemplar_fit="center_crop"))
    image = Image.open(files / "out-1.png")
    told = json.loads(image.text["pbe_lite"])
    assert told["seed"] == 4 and told["guidance_scale"] == 5.0
    assert told["scheduler"] == "DDIMScheduler" and told["device"] == "cpu"
    names = ("example_image", "image", "mask_image", "num_inference_steps", "seed",
             "guidance_scale", "context", "exemplar_fit")
    again = PaintByExamplePipeline.from_pretrained(told["model"])
    again.set_progress_bar_config(disable=True)
    expected = pixels(again(**{name: told[name] for name in names}))[0]
    assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1


def test_the_precision_is_the_models(model, files):
    pipe = load_pipeline(parsed(edit(files, dtype="bfloat16", device="cpu")))
    assert pipe.unet.dtype == pipe.vae.dtype == torch.bfloat16


def parsed(call):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(call[1:])


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_told(model, files, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert message(edit(files, device=device)) == \
        f"error: device: there is no {device} here; try auto or cpu"
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == "mps"


def test_help_has_an_example(capsys):
    assert message(["edit", "--help"]) == "0"
    out = capsys.readouterr().out
    assert "example:" in out and "--example-image apple.png pear.png" in out


def test_convert_writes_a_folder_that_loads(files, monkeypatch, capsys):
    made = lightning.write(files / "model.ckpt")
    narrow = (lightning.NARROW, lightning.NARROW_KL, None)
    monkeypatch.setattr(convert_checkpoint, "__defaults__", narrow)
    call = ["convert", str(files / "model.ckpt"), str(files / "new")]
    cli.main([*call, "--dtype", "float16"])
    assert capsys.readouterr().out.split() == [str(files / "new")]
    pipe = PaintByExamplePipeline.from_pretrained(files / "new", torch_dtype="float16")
    weight = made["unet"].conv_in.weight.half()
    assert torch.equal(pipe.unet.conv_in.weight, weight)
    call[1:] = [str(files / "gone.ckpt"), str(files / "other")]
    assert "no such file" in message(call)


@pytest.fixture
def no_model(monkeypatch):
    """Fails when a model is loaded."""
    def fail(args):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pbe_lite.edit.load_pipeline", fail)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("mask_image", np.zeros((90, 70), np.uint8), "error: mask_image is empty"),
        ("mask_image", np.full((90, 70), 255, np.uint8),
         "error: mask_image covers the whole image"),
        ("mask_image", np.eye(70, dtype=np.uint8),
         "error: mask_image must have the image's size"),
        ("mask_image", b"no picture", "error: mask_image: cannot read"),
        ("image", b"", "error: image: cannot read"),
        ("example_image", b"no picture", "error: example_image: cannot read"),
        ("example_image", None, "error: example_image: no file"),
    ],
)
def test_bad_files_are_named_before_a_model_is_loaded(
        files, no_model, name, content, expected):
    path = files / f"{name}.png"
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.fromarray(content).save(path)
    assert message(edit(files)).startswith(expected)
    assert not (files / "out.png").exists()


@pytest.mark.parametrize("out", ["out", "out.docx"])
def test_a_name_that_is_no_picture_is_told_before_a_model_is_loaded(files, no_model, out):
    assert message(edit(files, out=files / out)).startswith("error: out must end in")


def test_bad_numbers_are_named(model, files):
    assert message(edit(files, num_inference_steps=0)).startswith(
        "error: num_inference_steps must be")
    assert message(edit(files, num_images_per_prompt=0)).startswith(
        "error: num_images_per_prompt must be")
    assert message(edit(files, guidance_scale="nan")).startswith(
        "error: guidance_scale must be")


def test_a_missing_model_is_one_line(files):
    assert "nowhere" in message(edit(files, model=files / "nowhere"))


def test_a_missing_argument_is_named(files, capsys):
    assert message(["edit", "--image", str(files / "image.png")]) == "2"
    assert "--mask-image" in capsys.readouterr().err


# ------------------------------------------------------------------------ the others


def test_demo_says_where_its_picture_is(model, files, monkeypatch, capsys):
    monkeypatch.setattr(cli, "RUNS", files / "runs")
    monkeypatch.setattr("pbe_lite.evaluation.benchmark.make_pair.__defaults__",
                        (64, .05, None))
    cli.main(["demo", "--model", str(model), "--pair", "2"])
    path = files / "runs" / "demo.png"
    assert capsys.readouterr().out.strip().endswith(str(path))
    with Image.open(path) as picture:
        assert picture.width > 2.5 * picture.height  # four side by side


def test_evaluate_writes_its_table(model, files, weights, capsys):
    cli.main(["evaluate", "--arm", "tiny", "--model", str(model), "--pairs", "2",
              "--weights", str(weights), "--steps", "1", "--guidance", "2", "--json",
              str(files / "out.json")])
    table = json.loads((files / "out.json").read_text())
    assert table["pairs"] == 2 and table["steps"] == 1 and table["guidance_scale"] == 2
    assert table["rows"].keys() == {"copy_paste", "flat_patch", "ground_truth",
                                    "round_trip", "tiny"}
    out = capsys.readouterr().out
    assert "copy_paste" in out and "identical" in out


def test_evaluate_says_how_to_train_the_judge_that_is_missing(model, files, weights):
    for part in ("clip", "codec"):
        (files / part).symlink_to(weights / part)
    found = message(["evaluate", "--model", str(model), "--pairs", "1", "--weights",
                     str(files)])
    assert found == f"error: no judge in {files / 'judge'}; to train it: " \
                    "python -m pbe_lite.reproduce --only judge"


def test_evaluate_looks_for_the_arms_own_weights(files):
    assert "no_such_arm" in message(["evaluate", "--arm", "no_such_arm", "--pairs", "1"])


def test_more_pairs_than_there_are_is_told(model):
    call = ["evaluate", "--arm", "tiny", "--model", str(model), "--steps", "1", "--pairs"]
    for pairs in ("401", "0"):
        found = message([*call, pairs])
        assert found == f"error: pairs must be from 1 to 400, got {pairs}"


def test_a_file_that_cannot_be_written_is_told_before_a_model_is_loaded(files, no_model):
    (files / "file").write_text("no folder")
    nowhere = files / "file" / "out"
    assert message(edit(files, out=f"{nowhere}.png")).startswith("error: ")
    assert message(["evaluate", "--json", f"{nowhere}.json"]).startswith("error: ")


@pytest.mark.parametrize("arguments", [
    ["demo", "--pair", "400"], ["evaluate", "--pairs", "1", "--steps", "0"],
    ["evaluate", "--pairs", "1", "--model", "data"], ["ship", "--run", "nowhere"],
    ["evaluate", "--guidance", "nan"], ["edit", "--image", "a", "--mask-image",
                                        "b", "--example-image", "c", "--out",
                                        "d.png"]])
def test_what_a_user_can_mend_is_one_line(arguments):
    text = message(arguments)
    assert text.startswith("error: ") and "\n" not in text


def test_check_runs_where_torch_is_missing(tmp_path):
    for name in ("torch", "diffusers", "PIL"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('none here')")
    done = subprocess.run([sys.executable, "-m", "pbe_lite", "check"], text=True,
                          capture_output=True, env={**os.environ, "PYTHONPATH":
                                                    f"{tmp_path}:{Path.cwd()}"})
    assert "Traceback" not in done.stderr and "torch" in done.stdout


@pytest.mark.parametrize("ready", [True, False])
def test_check_ends_with_its_verdict(monkeypatch, ready):
    monkeypatch.setattr(cli, "check_environment", lambda: ready)
    assert message(["check"]) == ("0" if ready else "1")


def test_ship_enters_a_run(files, monkeypatch, capsys, pipe):
    weights = files / "weights"
    weights.mkdir()
    pipe.save_pretrained(files / "run" / "weights")
    (files / "run" / "run.json").write_text(json.dumps({"arm": "tiny"}))
    monkeypatch.setattr("pbe_lite.models.shipping.ship.__defaults__", (weights, None))
    monkeypatch.setattr("pbe_lite.models.shipping.read_manifest.__defaults__", (weights,))
    cli.main(["ship", "--run", str(files / "run")])
    assert read_manifest(weights)["tiny"]["sha256"]
    out = capsys.readouterr().out.splitlines()
    assert out == [str(weights / "tiny"), "1 arms in the manifest"]


def test_without_a_command_it_says_which_there_are(capsys):
    assert message([]) == "2"
    assert message(["--help"]) == "0"
    out = capsys.readouterr().out
    assert all(name in out for name in ("edit", "demo", "evaluate", "check", "ship"))
