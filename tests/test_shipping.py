"""Shipping weights: half the size, and every byte accounted for."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import pixels
from safetensors.torch import load_file, save_file

from pbe_lite import PaintByExamplePipeline
from pbe_lite.config import WEIGHTS
from pbe_lite.models.shipping import halve, hashes, read_manifest, ship, verify


@pytest.fixture
def run(tmp_path):
    """What a training run leaves behind."""
    folder = tmp_path / "run"
    (folder / "weights" / "unet").mkdir(parents=True)
    torch.manual_seed(0)
    save_file({"w": torch.randn(4, 5), "n": torch.arange(3), "h": torch.ones(2).half()},
              folder / "weights" / "unet" / "model.safetensors", metadata={"format": "pt"})
    (folder / "weights" / "model_index.json").write_text("{}")
    (folder / "run.json").write_text(json.dumps({
        "arm": "final", "command": "train it", "samples": 64, "minutes": 1.5,
        "history": [[50 * i, 1 / (i + 1)] for i in range(101)]}))
    return folder


@pytest.fixture
def shelf(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    return folder


@pytest.fixture
def arm_run(objective, tmp_path):
    """What the training of a tiny arm leaves behind."""
    objective("final").export(tmp_path / "arm" / "weights")
    (tmp_path / "arm" / "run.json").write_text(json.dumps({"arm": "final"}))
    return tmp_path / "arm"


@pytest.fixture
def stocked(weights, shelf):
    """A shelf with the codec and the CLIP that the arm was trained with."""
    for part in ("clip", "codec"):
        shutil.copytree(weights / part, shelf / part)
        halve(next((shelf / part).glob("*.safetensors")))
    return shelf


def test_a_shipped_run_is_a_copy_in_half_precision(run, shelf):
    target = ship(run, shelf)
    assert target == shelf / "final"
    weights = target / "unet" / "model.safetensors"
    assert weights.stat().st_mode & 0o777 == 0o644
    before = load_file(run / "weights" / "unet" / "model.safetensors")
    after = load_file(target / "unet" / "model.safetensors")
    assert {k: v.dtype for k, v in after.items()} == {
        "w": torch.float16, "n": torch.int64, "h": torch.float16}
    torch.testing.assert_close(after["w"].float(), before["w"], rtol=1e-3, atol=1e-4)
    assert torch.equal(after["n"], before["n"])
    assert before["w"].dtype == torch.float32  # the run's own file stays as it was
    assert (target / "model_index.json").read_text() == "{}"


def test_the_manifest_tells_how_and_what(run, shelf):
    ship(run, shelf, figures={"psnr": 31.6})
    entry = json.loads((shelf / "manifest.json").read_text())["final"]
    assert entry["command"] == "train it" and entry["samples"] == 64
    assert entry["minutes"] == 1.5 and entry["figures"] == {"psnr": 31.6}
    assert entry["history"][:2] == [[0, 1.0], [300, .14286]]  # every sixth of 101
    assert len(entry["history"]) == 17
    files = {"model_index.json", "unet/model.safetensors"}
    assert entry["sha256"].keys() == files
    for name in files:
        digest = hashlib.sha256((shelf / "final" / name).read_bytes()).hexdigest()
        assert entry["sha256"][name] == digest
    assert verify(shelf) == []


def test_another_arm_is_entered_beside_and_the_same_one_replaced(run, shelf):
    ship(run, shelf)
    stale = shelf / "final" / "stale.bin"
    stale.write_bytes(b"left over")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "arm": "naive"}))
    ship(run, shelf)
    (run / "run.json").write_text(json.dumps({**record, "samples": 128}))
    ship(run, shelf)
    manifest = read_manifest(shelf)
    assert manifest.keys() == {"final", "naive"} and manifest["final"]["samples"] == 128
    assert not stale.exists() and verify(shelf) == []


@pytest.mark.parametrize("position", [0, 40, -1])
def test_a_flipped_byte_is_found(run, shelf, position):
    path = ship(run, shelf) / "unet" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[position] ^= 1
    path.write_bytes(raw)
    assert verify(shelf) == ["final/unet/model.safetensors"]


def test_missing_and_unknown_files_are_found(run, shelf):
    target = ship(run, shelf)
    (target / "model_index.json").unlink()
    (target / "unet" / "extra.bin").write_bytes(b"x")
    (shelf / "scratch").mkdir()
    (shelf / "scratch" / "model.bin").write_bytes(b"x")
    assert verify(shelf) == [
        "final/model_index.json", "final/unet/extra.bin", "scratch/model.bin"]


def test_a_whole_folder_gone_is_found(run, shelf):
    target = ship(run, shelf)
    target.rename(shelf.parent / "elsewhere")
    assert verify(shelf) == ["final/model_index.json", "final/unet/model.safetensors"]


def test_a_run_without_export_cannot_be_shipped(run, shelf):
    (run / "run.json").unlink()
    with pytest.raises(FileNotFoundError, match="run.json"):
        ship(run, shelf)
    assert list(shelf.iterdir()) == []


def test_without_a_manifest_nothing_is_known(shelf):
    assert read_manifest(shelf) == {} and verify(shelf) == []


def test_a_shipped_pipeline_paints_nearly_the_same(pipe, tmp_path, shelf, picture):
    pipe.save_pretrained(tmp_path / "run" / "weights")
    (tmp_path / "run" / "run.json").write_text(json.dumps({"arm": "tiny"}))
    shipped = PaintByExamplePipeline.from_pretrained(ship(tmp_path / "run", shelf))
    shipped.set_progress_bar_config(disable=True)
    hole = np.zeros((64, 64), bool)
    hole[20:40, 20:40] = True
    call = dict(image=picture(64, 64), mask_image=hole, example_image=picture(16, 16),
                num_inference_steps=3)
    a, b = (pixels(p(**call))[0].astype(int) for p in (pipe, shipped))
    assert 0 < np.abs(a - np.asarray(picture(64, 64))).max()
    assert np.abs(a - b).max() <= 8 and np.abs(a - b).mean() < .5


def test_what_an_arm_shares_is_shipped_once(arm_run, stocked, tmp_path):
    whole, lean = ship(arm_run, tmp_path / "elsewhere"), ship(arm_run, stocked)
    assert (whole / "vae").exists() and not (lean / "vae").exists()
    size = lambda folder: (folder / "image_encoder" / "model.safetensors").stat().st_size
    assert size(lean) < size(whole) / 2
    one, two = (PaintByExamplePipeline.from_pretrained(f) for f in (whole, lean))
    for part in ("vae", "image_encoder", "unet"):
        a, b = (getattr(pipe, part).state_dict() for pipe in (one, two))
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a), part
    two.save_pretrained(tmp_path / "whole again")
    assert hashes(tmp_path / "whole again").keys() == hashes(whole).keys()
    half = PaintByExamplePipeline.from_pretrained(lean, torch_dtype=torch.bfloat16)
    assert {p.dtype for p in half.image_encoder.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("part", ["clip", "codec"])
def test_an_arm_with_parts_of_its_own_is_shipped_whole(arm_run, stocked, part):
    path = next((stocked / part).glob("*.safetensors"))
    save_file({k: v + 1 for k, v in load_file(path).items()}, path)
    assert (ship(arm_run, stocked) / "vae").exists()


def test_a_lean_arm_alone_says_what_is_missing(arm_run, stocked, tmp_path):
    alone = tmp_path / "alone" / "final"
    shutil.copytree(ship(arm_run, stocked), alone)
    with pytest.raises(OSError, match="codec"):
        PaintByExamplePipeline.from_pretrained(alone)


def test_hashes_have_relative_names_in_order(run):
    assert list(hashes(run / "weights")) == ["model_index.json", "unet/model.safetensors"]


# ----------------------------------------------------------------- what is in data/


@pytest.mark.parametrize("arm", [
    "clip", "codec", "judge", "prior", "final", "naive", "bottleneck"])
def test_shipped_weights_are_there_as_the_manifest_says(arm):
    manifest = read_manifest()
    assert arm in manifest, f"data/weights/{arm} is not shipped: train and ship it"
    entry = manifest[arm]
    assert hashes(WEIGHTS / arm) == entry["sha256"]
    assert entry["samples"] > 0 and entry["minutes"] > 0
    assert entry["command"].startswith(("python -m pbe_lite.reproduce",
                                        f"python -m pbe_lite.train --arm {arm}"))


def test_nothing_shipped_is_missing_changed_or_unknown():
    assert verify() == []
