"""The full-size model on one GPU: memory and speed of training it, and of an edit.

    python tests/benchmarks/full_size.py --json data/results/full_size.json

Random weights, pictures of the miniature world at 512 px.  Every setup is a process of
its own: a `Run` with gradient checkpointing, as `python -m pbe_lite.train` makes it,
whose steps are timed after two of warm-up; an edit is one call of the pipeline in float16.
"peak" is what tensors held at most, "device" what the process had of the card in the
end: CUDA itself and what the allocator kept in reserve as well.  README's command is held
to a card of 24 GB, whatever this one has.  Ratios are to `AdamW, 4`.  The frozen parts of
a step are also timed alone.  A setup that needs a package which is not there, or more
memory than there is, is left out, and said so.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionConfig

from pbe_lite.config import FULL
from pbe_lite.data.open_images import load_open_images
from pbe_lite.data.scenes import write_tabletop
from pbe_lite.data.tabletop import FIRST_TRAINING_SEED
from pbe_lite.evaluation.benchmark import make_pair
from pbe_lite.models.exemplar_encoder import ExemplarEncoder
from pbe_lite.models.unet import build_unet
from pbe_lite.pipeline import PaintByExamplePipeline
from pbe_lite.training.initialize import Start
from pbe_lite.training.losses import build_objective, build_scheduler
from pbe_lite.training.trainer import Run

SCENES = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 128)
WARM = 2
BASELINE = "AdamW, 4"
README = "README's command"
EDIT = "edit, float16"
# samples at once, parts of a batch, precision, AdamW of 8 bits
TRAINED = {
    BASELINE: (4, 1, "bf16", False),
    "AdamW, 16": (16, 1, "bf16", False),
    README: (1, 16, "bf16", True),
    "float32, 4, as the paper": (4, 1, "no", False),
}
CARD = 24e9  # README's command may use no more of any card
CONTEXT = 1e9  # of it, for CUDA itself, which torch does not count


def build():
    """Codec, encoder and U-Net of the full preset on the GPU, with random weights."""
    width = FULL.unet["cross_attention_dim"]
    vision = CLIPVisionConfig(**FULL.clip["vision_config"], projection_dim=width)
    with torch.device("cuda"):
        codec = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
            latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4)
        return Start(codec, ExemplarEncoder(vision), build_unet(FULL))


def milliseconds(call, times=5):
    """Of one call on the GPU, the mean of `times` after one of warm-up."""
    call()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / times


def measure_training(name, folder, samples, workers):
    """{"at_once", "rate": samples a second, "peak", "device": bytes, "flops": of a sample,
    where they were counted, ...}."""
    at_once, parts, precision, eight = TRAINED[name]
    steps = max(4, samples // (at_once * parts))
    if name == README:
        _, total = torch.cuda.mem_get_info()
        torch.cuda.set_per_process_memory_fraction(min(1, (CARD - CONTEXT) / total))
    preset = replace(FULL, batch_size=at_once * parts, precision=precision,
                     adam8bit=eight, warmup_steps=100)
    torch.manual_seed(0)
    records = load_open_images(folder / "scenes")
    objective = build_objective("final", preset, records, None, start=build())
    objective.unet.enable_gradient_checkpointing()
    with tempfile.TemporaryDirectory() as out:
        run = Run(objective, out, (steps + WARM) * preset.batch_size, workers=workers,
                  accumulate=parts)
        run.save = lambda: None  # 11 GB
        update, begun, flops = run._update, [], []

        def timed(batch):
            if run.step == 0 and name == BASELINE:  # slow: for one setup, for all
                with FlopCounterMode(display=False) as counter:
                    loss = update(batch)
                flops.append(counter.get_total_flops() / preset.batch_size)
                return loss
            if run.step == WARM:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                begun.append(time.perf_counter())
            return update(batch)

        run._update = timed
        run.train()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - begun[0]
    free, total = torch.cuda.mem_get_info()
    found = {"at_once": at_once, "rate": steps * preset.batch_size / seconds,
             "peak": torch.cuda.max_memory_allocated(), "device": total - free,
             "reserved": torch.cuda.memory_reserved(),  # in "device"
             "loss": float(torch.stack([x.float() for x in run.losses]).mean())}
    if flops:
        found["flops"] = flops[0]
    picture = torch.zeros(at_once, 3, FULL.resolution, FULL.resolution, device="cuda")
    exemplar = torch.zeros(at_once, 3, FULL.exemplar_size, FULL.exemplar_size,
                           device="cuda")
    with run.accelerator.autocast(), torch.no_grad():
        found["encode_ms"] = 2 * milliseconds(lambda: objective.encode(picture)) / at_once
        found["tower_ms"] = milliseconds(
            lambda: objective.encoder.features(exemplar)) / at_once
    return found


def measure_edit(rounds=2):
    """{"seconds": of one edit, "peak", "device": bytes}."""
    codec, encoder, unet = build()
    noise = DPMSolverMultistepScheduler.from_config(build_scheduler(FULL).config)
    pipe = PaintByExamplePipeline(
        vae=codec, image_encoder=encoder, unet=unet, scheduler=noise,
        guidance_scale=FULL.guidance_scale).to("cuda", torch.float16)
    pipe.set_progress_bar_config(disable=True)
    torch.cuda.reset_peak_memory_stats()
    pair, times = make_pair(0), []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        pipe(pair.exemplar, pair.source.image, pair.hole)
        times.append(time.perf_counter() - begun)
    free, total = torch.cuda.mem_get_info()
    return {"seconds": min(times[1:]), "peak": torch.cuda.max_memory_allocated(),
            "device": total - free}


def measure(name, folder, samples, workers):
    """What a process of its own finds, or why it could not."""
    call = [sys.executable, __file__, "--one", name, "--folder", str(folder),
            "--samples", str(samples), "--workers", str(workers)]
    done = subprocess.run(call, capture_output=True, text=True)
    if done.returncode:
        return {"left out": done.stderr.strip().splitlines()[-1][:300]}
    return json.loads(done.stdout.splitlines()[-1])


def describe(name, found, baseline):
    """One line of the table; `baseline` is that row, or None."""
    if "left out" in found:
        return f"{name:<26}left out: {found['left out']}"
    held = f"{found['peak'] / 1e9:6.2f} GB of tensors, {found['device'] / 1e9:6.2f} in all"
    if "seconds" in found:
        return f"{name:<26}{found['seconds']:7.2f} s      {held}"
    line = f"{name:<26}{found['rate']:7.2f} /s "
    if baseline and "rate" in baseline:
        speed = found["rate"] * baseline["flops"] / 1e12
        line += f"{found['rate'] / baseline['rate']:5.2f}  {speed:4.0f} TFLOP/s  "
    return line + held


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=64, help="timed, of each setup")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", nargs="*", help="these setups")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(
            measure_edit() if args.one == EDIT else
            measure_training(args.one, args.folder, args.samples, args.workers)))
        return
    table = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": {}}
    with tempfile.TemporaryDirectory() as folder:
        write_tabletop(Path(folder) / "scenes", SCENES, FULL.resolution)
        for name in args.only or [*TRAINED, EDIT]:
            rows = table["rows"]
            rows[name] = measure(name, folder, args.samples, args.workers)
            print(describe(name, rows[name], rows.get(BASELINE)), flush=True)
            if args.json:
                args.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
