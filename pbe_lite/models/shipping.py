"""Shipping weights: half-precision copies under `data/weights/` and their manifest.

    python -m pbe_lite ship --run runs/final

An arm is shipped without what it has in common with the codec and the CLIP beside it;
`PaintByExamplePipeline.from_pretrained` puts the parts together.

`data/weights/manifest.json` says of every shipped arm how it was trained, on how many
samples, in how many minutes, some twenty points of its loss, and the SHA-256 of each of
its files.
"""

import hashlib
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from pbe_lite.config import WEIGHTS


def sha256(path):
    """Hex digest of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def halve(path):
    """Rewrite a safetensors file with float16 in place of float32."""
    _save({k: v.half() if v.dtype == torch.float32 else v
           for k, v in load_file(path).items()}, path)


def _save(tensors, path):
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes it for the owner alone


def hashes(folder):
    """{relative path: SHA-256} of all files in a folder."""
    files = sorted(p for p in Path(folder).rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): sha256(p) for p in files}


def share(arm, weights):
    """Drop the codec and the CLIP tower from an arm's folder when they are, bit by bit,
    those in `weights`; anything else is left as it is."""
    encoder, clip = (folder / "model.safetensors" for folder in
                     (arm / "image_encoder", weights / "clip"))
    if not all(p.exists() for p in (encoder, clip, arm / "vae", weights / "codec")):
        return
    own, tower = load_file(encoder), load_file(clip)
    tower = {f"model.{k}": v for k, v in tower.items() if k.startswith("vision_model.")}
    same_tower = all(k in own and torch.equal(own[k], v) for k, v in tower.items())
    if same_tower and _codec(arm / "vae") == _codec(weights / "codec"):
        shutil.rmtree(arm / "vae")
        _save({k: v for k, v in own.items() if k not in tower}, encoder)


def _codec(folder):
    """What makes two codecs one: the settings, not where they lay, and the weights."""
    settings = json.loads((folder / "config.json").read_text())
    return ({k: v for k, v in settings.items() if not k.startswith("_")},
            sha256(folder / "diffusion_pytorch_model.safetensors"))


def ship(run, weights=WEIGHTS, figures=None):
    """Copy `run/weights` (as exported by a training run) in half precision to
    `weights/<arm>`, less what it shares with the parts there, and enter it in the
    manifest with `run/run.json` and `figures`.

    Raises FileNotFoundError when the run has exported nothing."""
    run, weights = Path(run), Path(weights)
    record = json.loads((run / "run.json").read_text())
    target = weights / record["arm"]
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run / "weights", target)
    for path in target.rglob("*.safetensors"):
        halve(path)
    share(target, weights)
    manifest = read_manifest(weights)
    history = record.pop("history", [])
    every = -(-len(history) // 20) or 1
    record["history"] = [(n, round(loss, 5)) for n, loss in history[::every]]
    manifest[record["arm"]] = {**record, "figures": figures or {}, "sha256": hashes(target)}
    (weights / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    return target


def read_manifest(weights=WEIGHTS):
    """The manifest as a dict, empty where there is none."""
    path = Path(weights) / "manifest.json"
    return json.loads(path.read_text()) if path.exists() else {}


def verify(weights=WEIGHTS):
    """Names of shipped files that are missing, changed or unknown to the manifest."""
    wrong = []
    manifest = read_manifest(weights)
    folders = {path.name for path in Path(weights).iterdir() if path.is_dir()}
    for arm in sorted(folders | manifest.keys()):
        found = hashes(Path(weights) / arm)
        known = manifest.get(arm, {}).get("sha256", {})
        wrong += [f"{arm}/{name}" for name in sorted(found.keys() | known.keys())
                  if found.get(name) != known.get(name)]
    return wrong
