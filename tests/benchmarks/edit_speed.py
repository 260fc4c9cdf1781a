"""How much faster is an edit than with diffusers' own pipeline, and does it stay as good?

    python tests/benchmarks/edit_speed.py              # about 6 minutes on 2 cores
    python tests/benchmarks/edit_speed.py --pairs 0    # times alone
    python tests/benchmarks/edit_speed.py --compile    # one more row, torch.compile

The baseline is the stock (deprecated) `PaintByExamplePipeline` of diffusers, put together
in memory from the same weights: 50 steps of PNDM, guidance in every step, float32.  Each
row below it adds one thing; all take turns, so that they see the same machine.  Time is
the median of warm edits of one picture of the model's size, with one result and with
four.  Scores are the judge's right kind and CLIP-FID on the first `seen` pairs of the
benchmark, with 95 % intervals.  Writes `data/results/edit_speed.json`.
"""

import argparse
import copy
import statistics
import time
import warnings
from typing import NamedTuple

import numpy as np
import torch
from diffusers import PNDMScheduler
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from diffusers.pipelines.deprecated.paint_by_example import (
    PaintByExampleImageEncoder,
)
from diffusers.pipelines.deprecated.paint_by_example import (
    PaintByExamplePipeline as StockPipeline,
)
from PIL import Image

from pbe_lite.config import RESULTS, WEIGHTS
from pbe_lite.data.images import squash, to_clip
from pbe_lite.evaluation.contact_sheet import first_pairs
from pbe_lite.evaluation.evaluate import score_split, write_json
from pbe_lite.evaluation.painting import paint_pairs
from pbe_lite.models.unet import denoise, hole_coordinates, octaves_of
from pbe_lite.pipeline import PaintByExamplePipeline

INTERVAL = (.1, .8)  # of the steps, in which guidance acts
COUNTS = (1, 4)      # results of one edit


class StockVae(torch.nn.Module):
    """Lends a codec the one thing that the stock pipeline asks an AutoencoderKL for."""

    def __init__(self, vae, factor):
        super().__init__()
        self.vae, self.dtype, self.device = vae, vae.dtype, vae.device
        self.encode, self.decode = vae.encode, vae.decode
        channels = (1,) * (factor.bit_length())
        self.config = type(vae.config)(dict(vae.config, block_out_channels=channels))


class StockUnet(torch.nn.Module):
    """Lends a lite U-Net what the stock pipeline does not know: the place of each cell in
    the hole, and the exemplar's vector as class labels."""

    def __init__(self, unet, latent_channels):
        super().__init__()
        self.unet, self.dtype, self.device = unet, unet.dtype, unet.device
        self.octaves = octaves_of(unet, latent_channels)
        # what the stock pipeline checks the number of channels against
        self.config = type(unet.config)(dict(unet.config,
                                             in_channels=2 * latent_channels + 1))

    def forward(self, x, t, encoder_hidden_states, **kwargs):
        if self.octaves:
            where = hole_coordinates(1 - x[:, -1:], self.octaves)
            x = torch.cat([x, where.to(x)], 1)
        return UNet2DConditionOutput(denoise(self.unet, x, t, encoder_hidden_states))


def stock_pipeline(pipe):
    """The deprecated pipeline of diffusers from our parts, with its own scheduler."""
    encoder = PaintByExampleImageEncoder(pipe.image_encoder.config)
    encoder.load_state_dict({k.replace("vision_model.", ""): v for k, v in
                             pipe.image_encoder.state_dict().items()})
    unet = copy.deepcopy(pipe.unet)
    unet.set_attn_processor(AttnProcessor2_0())  # diffusers' default
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = StockPipeline(
            vae=StockVae(pipe.vae, pipe.latent_factor), image_encoder=encoder.eval(),
            unet=StockUnet(unet.eval(), pipe.vae.config.latent_channels),
            scheduler=PNDMScheduler.from_config(pipe.scheduler.config, skip_prk_steps=True),
            safety_checker=None, feature_extractor=None)
    theirs.set_progress_bar_config(disable=True)
    return theirs


class Row(NamedTuple):
    """One way to edit: a pipeline, and what its call gets beside the question."""

    pipe: PaintByExamplePipeline
    steps: int
    options: dict


def build_rows(pipe, steps, compiled=False):
    """{name: Row}, each with one thing more than the one before."""
    slow = PaintByExamplePipeline(**dict(
        pipe.components, scheduler=PNDMScheduler.from_config(
            pipe.scheduler.config, skip_prk_steps=True)))
    half = copy.deepcopy(pipe).to(torch.bfloat16)
    rows = {"one-token fold, parts computed once": Row(slow, 50, {}),
            f"+ DPM-Solver++, {steps} steps": Row(pipe, steps, {}),
            f"+ guidance from {INTERVAL[0]:.0%} to {INTERVAL[1]:.0%} of the steps":
                Row(pipe, steps, {"guidance_interval": INTERVAL}),
            "+ bfloat16": Row(half, steps, {"guidance_interval": INTERVAL})}
    if compiled:
        half.unet.compile()
        rows["+ torch.compile"] = rows["+ bfloat16"]
    return rows


def edits(pipe, rows, pair):
    """{name: function of a number of results that makes them}, the stock pipeline first."""
    theirs = stock_pipeline(pipe)
    mask = Image.fromarray(pair.hole.astype(np.uint8) * 255)
    image = Image.fromarray(pair.source.image)
    exemplar = to_clip(squash(pair.exemplar, pipe.image_encoder.config.image_size))[None]
    scale = pipe.config.guidance_scale

    def stock(count):
        return theirs(example_image=exemplar, image=image, mask_image=mask,
                      latents=pipe.noise(range(count)), num_images_per_prompt=count,
                      num_inference_steps=50, guidance_scale=scale)

    def ours(row):
        return lambda count: row.pipe(
            pair.exemplar, image, mask, num_images_per_prompt=count,
            num_inference_steps=row.steps, **row.options)

    return {"stock diffusers": stock, **{name: ours(row) for name, row in rows.items()}}


def measure(functions, runs):
    """{name: {count: median seconds}}; all take turns, the first turn is the warm-up."""
    seconds = {name: {count: [] for count in COUNTS} for name in functions}
    for run in range(runs + 1):
        for name, function in functions.items():
            for count in COUNTS:
                begun = time.perf_counter()
                function(count)
                seconds[name][count] += [time.perf_counter() - begun] * (run > 0)
    return {name: {count: statistics.median(values) for count, values in of.items()}
            for name, of in seconds.items()}


def rate(row, pairs):
    """{metric: {"mean", "low", "high"}} of the row's answers to the pairs."""
    answers = paint_pairs(row.pipe, pairs, steps=row.steps, **row.options)
    scores = score_split(pairs, *answers)
    return {metric: scores[metric] for metric in ("right_kind", "right_colour", "clip_fid")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=WEIGHTS / "final")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    pipe = PaintByExamplePipeline.from_pretrained(args.model)
    pipe.set_progress_bar_config(disable=True)
    rows = build_rows(pipe, args.steps, args.compile)
    pairs = first_pairs(max(args.pairs, 1))
    seconds = measure(edits(pipe, rows, pairs[0]), args.runs)
    table = {name: {"seconds": of} for name, of in seconds.items()}
    for name, row in rows.items() if args.pairs else ():
        table[name].update(rate(row, pairs))
    if args.pairs:  # the stock pipeline's pictures are those of the first row, see tests
        first = table[next(iter(rows))]
        table["stock diffusers"].update({k: v for k, v in first.items() if k != "seconds"})
    base = seconds["stock diffusers"]
    print(f"{'':<44}{'1 result':>14}{'4 results':>14}   right kind        CLIP-FID")
    for name, row in table.items():
        times = [f"{row['seconds'][n]:6.2f} s {base[n] / row['seconds'][n]:4.1f}x"
                 for n in COUNTS]
        scores = [f"{row[m]['mean']:6.2f} [{row[m]['low']:.2f}, {row[m]['high']:.2f}]"
                  for m in ("right_kind", "clip_fid") if m in row]
        print(f"{name:<44}{times[0]:>14}{times[1]:>14}  {'  '.join(scores)}")
    if args.pairs:
        write_json({"pairs": args.pairs, "rows": table}, RESULTS / "edit_speed.json")


if __name__ == "__main__":
    main()
