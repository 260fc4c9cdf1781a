"""How long does one edit take, next to diffusers' own pipeline with the same parts?

    python tests/benchmarks/edit_speed.py

One warm edit of a benchmark scene at default settings, and the same steps by the stock
(deprecated) `PaintByExamplePipeline` of diffusers, put together in memory from the same
weights and scheduler.  Both give one picture of the model's size; ours also crops,
pastes back with a feathered edge, and leaves out the attention to a single token.
Runs take turns, so that both see the same machine; medians of 5.
"""

import argparse
import copy
import statistics
import time
import warnings

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.pipelines.deprecated.paint_by_example import (
    PaintByExampleImageEncoder,
    PaintByExamplePipeline,
)
from PIL import Image

from pbe_lite import pipeline as ours
from pbe_lite.config import WEIGHTS
from pbe_lite.data.augmentation import squash
from pbe_lite.data.triplets import to_clip
from pbe_lite.evaluation.benchmark import make_pair


class StockVae(torch.nn.Module):
    """Lends a codec the one thing that the stock pipeline asks an AutoencoderKL for."""

    def __init__(self, vae, factor):
        super().__init__()
        self.vae, self.dtype, self.device = vae, vae.dtype, vae.device
        self.encode, self.decode = vae.encode, vae.decode
        channels = (1,) * (factor.bit_length())
        self.config = type(vae.config)(dict(vae.config, block_out_channels=channels))


def stock_pipeline(pipe):
    """The deprecated pipeline of diffusers from our parts."""
    encoder = PaintByExampleImageEncoder(pipe.image_encoder.config)
    encoder.load_state_dict({k.replace("vision_model.", ""): v for k, v in
                             pipe.image_encoder.state_dict().items()})
    unet = copy.deepcopy(pipe.unet)
    unet.set_attn_processor(AttnProcessor2_0())  # diffusers' default
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = PaintByExamplePipeline(
            vae=StockVae(pipe.vae, pipe.latent_factor), image_encoder=encoder.eval(),
            unet=unet.eval(), scheduler=copy.deepcopy(pipe.scheduler),
            safety_checker=None, feature_extractor=None)
    theirs.set_progress_bar_config(disable=True)
    return theirs


def edits(pipe):
    """{name: function without arguments that makes one picture, uint8}, and one that
    makes ours of what the stock pipeline sees, the whole picture and the raw decode."""
    pair, theirs = make_pair(0, pipe.resolution), stock_pipeline(pipe)
    mask = Image.fromarray(pair.hole.astype(np.uint8) * 255)
    exemplar = to_clip(squash(pair.exemplar, pipe.image_encoder.config.image_size))[None]
    image = Image.fromarray(pair.source.image)

    def stock():
        (out,) = theirs(
            example_image=exemplar, image=image, mask_image=mask, latents=pipe.noise([0]),
            num_inference_steps=pipe.config.steps, generator=torch.Generator(),
            guidance_scale=pipe.config.guidance_scale, output_type="np").images
        return np.round(255 * out).astype(np.uint8)

    ours = lambda **more: np.asarray(pipe(pair.exemplar, image, mask, **more).images[0])
    same = lambda: ours(context=100., paste=False)
    return {"pbe_lite": ours, "stock diffusers": stock}, same


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=WEIGHTS / "final")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    pipe = ours.PaintByExamplePipeline.from_pretrained(args.model)
    pipe.set_progress_bar_config(disable=True)
    functions, same = edits(pipe)
    difference = np.abs(same().astype(int) - functions["stock diffusers"]()).max()
    print(f"raw decodes differ by at most {difference} of 255 levels")
    seconds = {name: [] for name in functions}
    for run in range(args.runs + 1):  # the first is the warm-up
        for name, function in functions.items():
            begun = time.perf_counter()
            function()
            seconds[name] += [time.perf_counter() - begun] if run else []
    medians = {name: statistics.median(s) for name, s in seconds.items()}
    print(f"{pipe.config.steps} steps at guidance {pipe.config.guidance_scale}, "
          f"{pipe.resolution} px, {torch.get_num_threads()} threads, median of "
          f"{args.runs}:")
    for name, median in medians.items():
        print(f"  {name:<16}{median:7.3f} s")
    print(f"  ratio           {medians['pbe_lite'] / medians['stock diffusers']:7.2f}")


if __name__ == "__main__":
    main()
