"""Writes 09_full_scale.ipynb (outputs empty)."""

import json
from pathlib import Path

CELLS = []


def add(kind, text):
    text = text.strip("\n")
    cell = {"cell_type": kind, "id": f"c{len(CELLS):03d}", "metadata": {},
            "source": text.splitlines(keepends=True)}
    if kind == "code":
        cell.update(execution_count=None, outputs=[])
    CELLS.append(cell)


def md(text):
    add("markdown", text)


def code(text):
    add("code", text)


# ------------------------------------------------------------------------ header

md(r"""
# 09 · Full scale

**Question.** Nothing in this course was larger than a laptop. What has to change before the
same code loads the paper's own weights, edits photographs, and learns from *your* folder on
one 24 GB GPU?

**Goals.** After this lesson you can

- name the parts of the published model, count them without downloading them, and load them
  although `diffusers` no longer does;
- edit a photograph of any size and prove that its background is untouched;
- turn a Stable Diffusion U-Net into a nine-channel one, from either of its two layouts;
- bring your own pictures into a form that training takes, and find what is wrong with them;
- compute the memory of fine-tuning piece by piece, and check the sum where you can.

**Time.** About 60 minutes to read and try; about 2 minutes to run on 2 CPU cores.
<!-- TODO(measure): the run time in the laptop and in the smoke profile -->

**Needs.** Lessons 02 and 04; 08 helps. From the repository: `data/weights/final`. No GPU, no
network: without the published weights every cell runs on a narrow model with random weights,
and says so.
""")

code(r"""
import os

os.environ["TQDM_DISABLE"] = "1"  # no progress bars in this page

import copy
import json
import logging
import re
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path

import diffusers
import matplotlib.pyplot as plt
import numpy as np
import torch
import tqdm.auto
import transformers
from matplotlib_inline.backend_inline import set_matplotlib_formats
from PIL import Image
from torch import nn
from torch.nn import functional as F

from pbe_lite import PaintByExamplePipeline, plots
from pbe_lite.environment import profile
from pbe_lite.presets import ARMS, DATA, FULL, LITE

tqdm.auto.tqdm = tqdm.std.tqdm  # only the plain bar obeys the switch above
for library in (diffusers, transformers):
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()
logging.getLogger("pbe_lite.data").setLevel("ERROR")  # counted below instead
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 80})
PROFILE = profile()  # PBE_PROFILE: smoke, laptop or gpu
STEPS, N_BOXES, TUNE = {"smoke": (4, 20_000, 20), "laptop": (10, 200_000, 48),
                        "gpu": (10, 1_000_000, 48)}[PROFILE]
GPU = torch.cuda.is_available()
print(f"profile {PROFILE}: {N_BOXES:,} boxes, {TUNE} steps of fine-tuning")
""")

md(r"""
### Which model?

The published weights are several GB (section 1 counts them), and one picture keeps a CPU busy
for long, so this page asks for them only when you do: set `PBE_MODEL` to a folder that holds
them, or to their name on the hub. In the profile `gpu` that name is the default. The question
to the hub ends after five seconds, and `HF_HUB_OFFLINE=1` is respected.
""")

code(r"""
from contextlib import suppress
from threading import Thread

from huggingface_hub import get_hf_file_metadata, hf_hub_url


def reachable(name, seconds=5):
    "Whether a model is in a folder or on the hub; never waits longer."
    if not name or Path(name).is_dir():
        return bool(name) and (Path(name) / "model_index.json").is_file()
    found = []

    def ask():
        with suppress(Exception):  # no network, no such model, kept offline
            url = hf_hub_url(name, "model_index.json")
            found.append(get_hf_file_metadata(url, timeout=seconds))

    (asking := Thread(target=ask, daemon=True)).start()
    asking.join(seconds)
    return bool(found)
""")

md(r"""
The answer is kept in `REAL`. Every cell below runs either way.
""")

code(r"""
HUB = "Fantasy-Studio/Paint-by-Example"
WISH = os.environ.get("PBE_MODEL", HUB if PROFILE == "gpu" else "")
began = time.monotonic()
REAL = reachable(WISH)
assert time.monotonic() - began < 6
print(f"asked for {WISH or 'no model'}; published weights here: {REAL}")
""")

# --------------------------------------------------------------- 1 what is in it

md(r"""
## 1 · What is in the published folder

**Predict.** The paper's model paints 512 x 512 pixels. Which of its parts is the largest: the
U-Net, the VAE, the CLIP encoder? And which part was never trained by the authors of the paper?

**Idea.** A model in `diffusers` is a folder with one sub-folder a part, and a
`model_index.json` that names the class of each. Here is that of the published model, and its
extra guest: a *safety checker*, a second CLIP that looks at what was painted.

The file below is as we recall it; when the real one is here, the cell compares.
""")

code(r"""
from pbe_lite.published import read_index

INDEX = {
    "_class_name": "PaintByExamplePipeline",
    "_diffusers_version": "0.11.0.dev0",
    "feature_extractor": ["transformers", "CLIPFeatureExtractor"],
    "image_encoder": ["paint_by_example", "PaintByExampleImageEncoder"],
    "requires_safety_checker": False,
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
if REAL:
    there = read_index(WISH)
    print("differs in:", {k for k in INDEX if there.get(k) != INDEX[k]} or "-")
for name, value in INDEX.items():
    print(f"{name:<24}{value}")
""")

md(r"""
**What to notice.** Five of the parts hold numbers or settings that a call needs; the
`scheduler` is Stable Diffusion's, with the paper's noise schedule. Keep an eye on the line
`image_encoder`: it will make trouble in section 2.
""")

md(r"""
### Counting without downloading

**Predict.** Can you count the parameters of a model that does not fit into your memory?

**Idea.** On PyTorch's *meta device* a tensor has a shape and no content. So the whole model
can be built from its sizes alone: four networks, from the preset `full`.

$$\text{numbers} = \sum_{\text{tensors}} \prod_i \text{shape}_i, \qquad
\text{bytes} = 4 \cdot \text{numbers (fp32)} \quad\text{or}\quad 2 \cdot \text{numbers}$$
""")

code(r"""
from diffusers import AutoencoderKL
from diffusers.pipelines.stable_diffusion.safety_checker import (
    StableDiffusionSafetyChecker)
from transformers import CLIPConfig, CLIPVisionConfig

from pbe_lite.exemplar import ExemplarEncoder
from pbe_lite.unet import build_unet


def build(preset, kl, in_channels=9):
    "The four networks of a Paint by Example model, with random weights."
    vision = preset.clip["vision_config"]
    width = preset.unet["cross_attention_dim"]
    clip = CLIPConfig(vision_config=dict(vision), projection_dim=width)
    return {
        "unet": build_unet(preset, in_channels),
        "vae": AutoencoderKL(**kl),
        "image_encoder": ExemplarEncoder(
            CLIPVisionConfig(**vision, projection_dim=width)),
        "safety_checker": StableDiffusionSafetyChecker(clip),
    }
""")

md(r"""
**What is in this cell.** The U-Net takes nine channels; `ExemplarEncoder` is CLIP ViT-L/14
with the mapper of lesson 04 and the null vector of lesson 06 on top. The VAE is the only part
that no preset describes: Stable Diffusion's *KL-f8*, four levels, so 8 pixels to a latent
cell.
""")

code(r"""
def kl_f8(widths, groups, size):
    return dict(
        block_out_channels=widths, norm_num_groups=groups, sample_size=size,
        layers_per_block=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4)


def numbers(*modules):
    return sum(p.numel() for m in modules for p in m.parameters())


with torch.device("meta"):
    real = build(FULL, kl_f8((128, 256, 512, 512), 32, 512))
assert all(p.is_meta for m in real.values() for p in m.parameters())
assert real["unet"].conv_in.weight.shape == (320, 9, 3, 3)
print("built:", *real)
""")

md(r"""
**What to notice.** That took no memory to speak of. Now count:
""")

code(r"""
print(f"{'part':<16}{'tensors':>8}{'numbers':>15}{'fp32':>10}{'fp16':>10}")
for name, part in real.items():
    n = numbers(part)
    print(f"{name:<16}{len(part.state_dict()):>8}{n:>15,}"
          f"{4 * n / 1e9:>7.2f} GB{2 * n / 1e9:>7.2f} GB")
every = numbers(*real.values())
print(f"{'in all':<24}{every:>15,}{4 * every / 1e9:>7.2f} GB"
      f"{2 * every / 1e9:>7.2f} GB")
assert max(real, key=lambda name: numbers(real[name])) == "unet"
""")

md(r"""
**What to notice.** All of this is computed, and nothing was read. The U-Net is by far the
largest part; the two CLIP towers come next, and the VAE is small. The memory of the weights
alone halves in fp16.
<!-- TODO(measure): that the U-Net is the largest, then encoder and checker, then the VAE -->
""")

code(r"""
learned = sum(p.numel() for k in ("unet", "image_encoder")
              for p in real[k].parameters() if p.requires_grad)
mapper = numbers(real["image_encoder"].mapper)
print(f"trained by the paper: {learned:,} numbers,"
      f" {mapper:,} of them in the mapper")
print(f"frozen: CLIP's tower, {numbers(real['image_encoder'].model):,},"
      f" and the VAE, {numbers(real['vae']):,}")
assert len(real["image_encoder"].mapper.blocks) == 5
assert abs(learned / 923e6 - 1) < .002  # the count in our notes on the paper
""")

md(r"""
**What to notice.** The U-Net and all that follows CLIP's class token were trained; the tower,
the VAE and the safety checker were taken as they are.
""")

md(r"""
### What differs from the lite model

**Predict.** Which lines of the preset change from the laptop to the paper: sizes only, or also
the method?

**Idea.** A scale is a preset, never a fork. So the difference between the two models *is* the
difference of two dataclasses, and a loop can print it.
""")

code(r"""
def flat(preset):
    "{name: value} of all that a preset says."
    rows = {f.name: getattr(preset, f.name) for f in fields(preset)}
    vision, unet = rows.pop("clip")["vision_config"], rows.pop("unet")
    rows |= {f"tower {k}": v for k, v in vision.items()}
    return rows | {f"unet {k}": v for k, v in unet.items()} | {
        "unet channels in": preset.unet_channels}


def short(value):  # blocks with attention as A, without as -
    if isinstance(value, tuple) and "Block2D" in str(value):
        return " ".join("A" if "Attn" in block else "-" for block in value)
    return str(value)


lite_says, full_says = flat(LITE), flat(FULL)  # name, lite, full:
for key in lite_says | full_says:
    a, b = (says.get(key, "default") for says in (lite_says, full_says))
    if a != b:
        print(f"{key:<30}{short(a):<22}{short(b)}")
""")

md(r"""
**What to notice.** Most lines are sizes. Those that are not: the paper predicts noise
(`epsilon`) at uniform timesteps with AdamW, where the lite model has the shortcuts of lesson 02
for its few minutes. The area filter, the 20 % drop and the noise schedule do not appear: they
are the same.
""")

code(r"""
lite = PaintByExamplePipeline.from_pretrained(DATA / "weights" / "final")
print(f"{'part':<16}{'lite':>12}{'full':>15}{'ratio':>8}")
for name in ("unet", "vae", "image_encoder"):
    a, b = numbers(getattr(lite, name)), numbers(real[name])
    print(f"{name:<16}{a:>12,}{b:>15,}{b / a:>7.0f}x")
assert LITE.null_probability == FULL.null_probability == .2
assert LITE.area == FULL.area and LITE.noise == FULL.noise
""")

md(r"""
**What to notice.** The same three parts, each a hundred times smaller or more. The lite codec
is the patch codec of lesson 02; everything that talks to it talks to the KL-f8 VAE as well.
<!-- TODO(measure): "a hundred times" against the printed ratios -->
""")

md(r"""
### A narrow twin

**Predict.** We divide all widths of the real model by ten or more and keep everything else.
Will the names of its tensors change?

**Idea.** Names come from the structure, not from the widths. So a narrow model with random
weights can stand in for the published one wherever weights do not matter: in the folder's
layout, in loading, in all bookkeeping.
""")

code(r"""
NARROW = replace(
    FULL, name="narrow", resolution=128, batch_size=4, lr=1e-3, warmup_steps=5,
    clip=dict(vision_config=dict(FULL.clip["vision_config"], hidden_size=64,
                                 intermediate_size=256)),
    unet=dict(FULL.unet, block_out_channels=(32, 64, 128, 128),
              cross_attention_dim=48))
NARROW_KL = kl_f8((16, 32, 64, 64), 16, NARROW.resolution)
torch.manual_seed(0)
narrow = build(NARROW, NARROW_KL)
for name, part in narrow.items():
    print(f"{name:<16}{numbers(part):>12,} numbers,"
          f" real {numbers(real[name]):>12,}")
    assert part.state_dict().keys() == real[name].state_dict().keys()
""")

md(r"""
**What to notice.** Every tensor of the published model has its namesake in the twin, in all
four networks.

Now write the twin in the published layout. Two things there are older than today's libraries:
the VAE's attention had other names, and CLIP's tower was wrapped once more.
""")

code(r"""
OLD = {"to_q": "query", "to_k": "key", "to_v": "value",
       "to_out.0": "proj_attn"}


def old_name(part, name):
    "What a tensor was called in December 2022."
    for new, old in OLD.items() if part == "vae" else ():
        name = re.sub(rf"(attentions\.\d+)\.{re.escape(new)}\.",
                      rf"\1.{old}.", name)
    if part == "safety_checker":
        name = re.sub(r"^vision_model\.", "vision_model.vision_model.", name)
    return name


example = "encoder.mid_block.attentions.0.to_q.weight"
print(f"{example} -> {old_name('vae', example)}")
assert example in narrow["vae"].state_dict()
""")

md(r"""
**What to notice.** The same tensor under its old name. (A constant of CLIP, `position_ids`, is
in the published files too, and is left out here.)
""")

code(r"""
from safetensors.torch import save_file


def write_part(folder, name, part):
    ours = name in ("unet", "vae")  # diffusers' models, not transformers'
    state = {old_name(name, k): v.detach().clone().contiguous()
             for k, v in part.state_dict().items()}
    (folder / name).mkdir(parents=True)
    file = f"{'diffusion_pytorch_model' if ours else 'model'}.safetensors"
    save_file(state, folder / name / file, metadata={"format": "pt"})
    (part.save_config if ours else part.config.save_pretrained)(folder / name)
""")

md(r"""
The rest is settings: the scheduler, and how pictures are prepared for the safety checker.
""")

code(r"""
from diffusers import PNDMScheduler

from pbe_lite.triplets import CLIP_MEAN, CLIP_STD

CLIP_PICTURE = dict(
    feature_extractor_type="CLIPFeatureExtractor", size=224, crop_size=224,
    do_resize=True, do_center_crop=True, do_normalize=True, resample=3,
    image_mean=CLIP_MEAN.tolist(), image_std=CLIP_STD.tolist())


def write_model(folder, parts, index):
    for name, part in parts.items():
        write_part(folder, name, part)
    (folder / "model_index.json").write_text(json.dumps(index))
    noise = {k: v for k, v in FULL.noise.items() if k != "clip_sample"}
    PNDMScheduler(skip_prk_steps=True, **noise).save_pretrained(
        folder / "scheduler")
    look = folder / "feature_extractor" / "preprocessor_config.json"
    look.parent.mkdir()
    look.write_text(json.dumps(CLIP_PICTURE))
""")

md(r"""
Everything below is written to a temporary folder, which vanishes with this notebook's kernel.
""")

code(r"""
scratch = tempfile.TemporaryDirectory()
WORK = Path(scratch.name)
STAND_IN = WORK / "paint-by-example"
write_model(STAND_IN, narrow, INDEX)
for path in sorted(p for p in STAND_IN.rglob("*") if p.is_file()):
    name = path.relative_to(STAND_IN).as_posix()
    print(f"{name:<55}{path.stat().st_size / 1e6:>8.2f} MB")
MODEL = WISH if REAL else STAND_IN
KIND = "published weights" if REAL else "RANDOM WEIGHTS"
print("the model of this page:", MODEL if REAL else "the narrow twin,", KIND)
""")

md(r"""
**What to notice.** The last line decides what you see from here on. With random weights every
*mechanism* works and every *picture* is noise.
""")

# --------------------------------------------------------------------- 2 loading

md(r"""
## 2 · Loading it

**Predict.** The folder says which class each part has. So `diffusers` should load it: it still
ships a `PaintByExamplePipeline`. What could go wrong?

**Idea.** Try it, and keep the error.
""")

code(r"""
import textwrap
import warnings


def error_of(call):
    "What a call raises, as text; None if it returns."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


told = error_of(
    lambda: diffusers.DiffusionPipeline.from_pretrained(str(STAND_IN)))
print(f"diffusers {diffusers.__version__} on the published layout:")
print(textwrap.fill((told or "loads it again: use it").split(" (")[0], 78))
""")

md(r"""
**What to notice.** The error, if your version still has it, is about the line
`image_encoder`. The class was once part of a module `paint_by_example` in `diffusers`; that
module has moved to a folder of deprecated things, and a loader must not import whatever a
downloaded file names.
<!-- TODO(measure): the error is "paint_by_example is not one of the libraries ..." -->
""")

md(r"""
### Part by part, by hand

**Predict.** What is needed to read one part: its code, its config, its weights? Which two of
these are in the folder?

**Idea.** Config and weights are there, and plain. We know the code. So read the two files, undo
the old names, and let PyTorch check every name and every shape. Here is the VAE.

$$\text{file}: \{\text{old name} \to \text{tensor}\} \;\to\; \{\text{name} \to \text{tensor}\}
\;\to\; \text{module, strictly}$$
""")

code(r"""
from safetensors.torch import load_file


def load_vae(folder):
    "The VAE of a published folder, by hand."
    vae = folder / "vae"
    config = json.loads((vae / "config.json").read_text())
    state = load_file(vae / "diffusion_pytorch_model.safetensors")
    for new, old in OLD.items():
        state = {re.sub(rf"(attentions\.\d+)\.{old}\.", rf"\1.{new}.", k): v
                 for k, v in state.items()}
    vae = AutoencoderKL.from_config(config)
    vae.load_state_dict(state)  # strict: each name and shape, none left over
    return vae.eval()


twin = PaintByExamplePipeline.from_pretrained(STAND_IN)
vae, theirs = load_vae(STAND_IN), twin.vae.state_dict()
assert all(torch.equal(v, theirs[k]) for k, v in vae.state_dict().items())
print(f"{len(theirs)} tensors of the VAE: by hand as by the package")
""")

md(r"""
**What to notice.** No name is left over and none is missing. The package reads all four
networks; they must be what we wrote.
""")

code(r"""
for name, part in narrow.items():
    found = getattr(twin, name).state_dict()
    assert found.keys() == part.state_dict().keys()
    assert all(torch.equal(v, found[k]) for k, v in part.state_dict().items())
    print(f"{name:<16}{len(found):>5} tensors, equal to the last number")
""")

md(r"""
**What to notice.** That is the whole trick of `PaintByExamplePipeline.from_pretrained`: each
part by its own class, and no class that a file may choose. It takes the name on the hub or a
folder; `torch_dtype` sets the precision.
""")

md(r"""
### A .bin file is a program

**Predict.** Older weights come as `.bin`, which is Python's pickle format. What is the worst
that can happen when you open one from the internet?

**Idea.** A pickle may name any function and its arguments, and the reader calls it.
`weights_only=True` allows nothing but tensors; `safetensors` cannot hold anything else.
""")

code(r"""
import pickle


class Attack:
    def __reduce__(self):
        return print, ("a program inside the weights has run",)


torch.save({"weight": Attack()}, WORK / "attack.bin")
refused = error_of(lambda: torch.load(WORK / "attack.bin", weights_only=True))
print("weights_only=True: ", refused.split(".")[0][:70])
print("weights_only=False:", end=" ")
torch.load(WORK / "attack.bin", weights_only=False)
assert refused.startswith(pickle.UnpicklingError.__name__)
""")

md(r"""
**What to notice.** Ours was a harmless `print`. The package reads safetensors where there are
any, and a `.bin` with `weights_only=True` where there are none.
""")

md(r"""
### Which precision?

**Predict.** fp16 and bfloat16 both take two bytes. What does each of them give up?

**Idea.** fp16 spends its bits on accuracy, bfloat16 on range. We load the twin in each,
*measure* the bytes of its weights, and *compute* those of the real model with the same rule.

$$\text{relative rounding error} \le 2^{-(b + 1)}, \qquad
b = 23 \text{ (fp32)},\; 10 \text{ (fp16)},\; 7 \text{ (bf16)}$$
""")

code(r"""
def size(modules):
    return sum(p.numel() * p.element_size() for m in modules
               for p in m.parameters())


exact, errors = narrow["unet"].conv_in.weight.detach().double(), []
print(f"{'':<16}{'twin, measured':>16}{'real, computed':>16}"
      f"{'rounding':>10}{'largest':>10}")
for kind in (torch.float32, torch.float16, torch.bfloat16):
    half = PaintByExamplePipeline.from_pretrained(STAND_IN, torch_dtype=kind)
    held = size(getattr(half, name) for name in narrow)
    gap = (half.unet.conv_in.weight.detach().double() - exact).abs()
    errors.append(float(gap.mean() / exact.abs().mean()))
    print(f"{str(kind):<16}{held / 1e6:>13.1f} MB"
          f"{every * kind.itemsize / 1e9:>13.2f} GB{errors[-1]:>10.0e}"
          f"{torch.finfo(kind).max:>10.0e}")
    assert held == numbers(*narrow.values()) * kind.itemsize
assert errors[0] == 0 < 4 * errors[1] < errors[2]
""")

md(r"""
**What to notice.** The rule "numbers times bytes" is exact on the twin, so we trust it for the
real model. fp16 rounds less; bfloat16 cannot overflow. For painting, fp16 is the usual choice
on a GPU; for training, bfloat16 is.
""")

code(r"""
DTYPE = torch.float16 if GPU else torch.float32
pipe = PaintByExamplePipeline.from_pretrained(MODEL, torch_dtype=DTYPE)
pipe = pipe.to("cuda" if GPU else "cpu")
pipe.set_progress_bar_config(disable=True)
steps = pipe.config.steps if REAL else STEPS
print(f"{KIND}: {pipe.resolution} px, {steps} steps,"
      f" guidance {pipe.config.guidance_scale}, on {pipe.unet.device}")
print(f"scheduler {type(pipe.scheduler).__name__},"
      f" safety checker: {pipe.safety_checker is not None}")
assert pipe.unet.config.in_channels == 9
assert pipe.image_encoder.tokens == "class"
""")

md(r"""
**What to notice.** Guidance 5 and 50 steps are the paper's, and the defaults of a folder that
says nothing else. With random weights this page takes fewer steps: noise is noise.
""")

# --------------------------------------------------------------------- 3 editing

md(r"""
## 3 · Editing a photograph of any size

**Predict.** The authors' code takes squares of 512 pixels and returns the *decoded* picture:
all of it. What does that do to a holiday photograph of 4000 x 3000?

**Idea.** The model need not see the whole photograph. Cut a square *window* around the hole,
paint that at the model's own size, and paste only the hole back. Two photographs that come with
scikit-learn will do: `china.jpg` by danielbuechele and `flower.jpg` by vultilion, both from
Flickr, CC BY 2.0.
""")

code(r"""
from sklearn.datasets import load_sample_image

china, flower = (np.array(load_sample_image(f"{name}.jpg"))
                 for name in ("china", "flower"))


def ellipse(height, width, at=(.25, .7), radii=(.1, .2)):
    "A hole: (H, W) bool, True inside; all in fractions of the picture."
    y, x = np.mgrid[:height, :width] + .5
    return (((x / width - at[0]) / radii[0]) ** 2
            + ((y / height - at[1]) / radii[1]) ** 2) < 1


hole = ellipse(*china.shape[:2])
print("height, width, colours:", china.shape, "hole:", hole.sum(), "pixels")
""")

md(r"""
The exemplar is a crop of the second photograph: a box around whatever is redder than green.
""")

code(r"""
red = flower[..., 0].astype(int) - flower[..., 1] > 60  # the bloom, not leaves
(top, bottom), (left, right) = (
    np.quantile(np.nonzero(red)[axis], (.02, .98)).astype(int)
    for axis in (0, 1))
exemplar = flower[top:bottom, left:right]
plots.strip([plots.overlay(china, hole), flower, exemplar],
            ["source, hole", "a second photograph", "exemplar"], side=2.2)
assert .02 < exemplar[..., 0].size / flower[..., 0].size < .8
""")

md(r"""
**What to notice.** A crop is all that Paint by Example asks for, with the background that
happens to be in it.
<!-- TODO(measure): look at it: the crop holds the bloom; the hole lies at a sensible place -->
""")

md(r"""
### Window, square, paste

**Predict.** How much of the photograph should the model see around the hole? What is lost if
it sees only the hole, and what if it sees everything?

**Idea.** The window is three times as wide as the hole. It is resized to the model's S x S,
painted, and resized back. The weight *w* is 0 outside the hole and rises to 1 over a narrow
seam inside it.

$$y = w \odot \mathrm{resize}(\hat x) + (1 - w) \odot x, \qquad
x, y: (H, W, 3), \quad \hat x: (S, S, 3), \quad w: (H, W),\; w = 0 \text{ outside}$$
""")

code(r"""
from pbe_lite import canvas
from pbe_lite.augment import squash
from pbe_lite.pipeline import to_bytes
from pbe_lite.triplets import to_clip, to_signed

window, side = canvas.hole_window(hole, context=3), pipe.resolution
square = to_signed(canvas.resize(canvas.crop(china, window), side))
inside = canvas.resize_hole(canvas.crop(hole, window), side)
eye = pipe.image_encoder.config.image_size
pixels = to_clip(squash(Image.fromarray(exemplar), eye))
painted = pipe.paint(
    square[None], torch.from_numpy(inside)[None, None], pixels[None],
    pipe.noise([0]), steps=steps,
    generator=[torch.Generator().manual_seed(0)])
painted = to_bytes(painted)[0]
result = canvas.paste(china, painted, hole, window)
print(f"photograph {china.shape[1]} x {china.shape[0]}, window {window.side},"
      f" model {pipe.resolution}")
""")

md(r"""
`pipe(...)` does the same, checks its input, and looks at the result with the safety checker.
Without that, its picture must be ours.
""")

code(r"""
def edit(image, hole, seed=0):
    return pipe(image=image, mask=hole, exemplar=exemplar, steps=steps,
                seed=seed, output_type="np")


checker, pipe.safety_checker = pipe.safety_checker, None
theirs = edit(china, hole).images[0]
pipe.safety_checker = checker
gap = np.abs(theirs.astype(int) - result).max()
seen = canvas.crop(plots.overlay(china, hole), window)
plots.strip([seen, exemplar, painted, result],
            ["the window", "exemplar", f"painted: {KIND}", "pasted back"],
            side=2.1)
assert gap <= 1 and result.shape == china.shape
assert (result[~hole] == china[~hole]).all()
assert (result[hole] != china[hole]).any()
print(f"largest difference to pipe(...): {gap} of 255; outside the hole: none")
""")

md(r"""
**What to notice.** The hole has new content, the rest of the photograph is the same to the
last bit. With random weights that content is a pattern of noise, at the right place and with a
soft seam: the mechanism works, the model knows nothing.
<!-- TODO(measure): if really produced with the published weights, say what is seen instead -->
""")

code(r"""
sizes = (97, 61), (320, 90), (640, 427), (1920, 1281)
print(f"{KIND}")
for width, height in sizes:
    photo = np.asarray(Image.fromarray(china).resize((width, height)))
    where = ellipse(height, width)
    out = edit(photo, where).images[0]
    side = canvas.hole_window(where).side
    same = (out[~where] == photo[~where]).all()
    print(f"{width:>5} x {height:<5} window {side:>4},"
          f" hole {where.sum():>7,} px, background identical: {same}")
    assert out.shape == photo.shape and same
""")

md(r"""
**What to notice.** Small, flat, large: the cost of the model is the same, since it always sees
one square. What changes is the sharpness. In a large photograph the window is larger than the
square, and what is painted is enlarged when it is pasted: fill large holes and you see it.
""")

md(r"""
### The safety checker

**Predict.** The checker sees the painted square and may object. What should happen to the
photograph then?

**Idea.** It compares the square's CLIP embedding *f* with a list of embedded concepts; each
has its threshold. We let it stand, set all thresholds so low that it objects to anything, and
leave it out.

$$\text{objects} = \exists i:\; \cos(f, q_i) > \tau_i, \qquad
f: (768,), \quad q: (17, 768), \quad \tau: (17,)$$
""")

code(r"""
strict = copy.deepcopy(checker)
with torch.no_grad():
    strict.concept_embeds_weights.fill_(-2)  # no cosine is lower
results = {}
for name, guard in {"as published": checker, "objects to all": strict,
                    "left out": None}.items():
    pipe.safety_checker = guard
    results[name] = edit(china, hole)
    print(f"{name:<15} nsfw_content_detected:"
          f" {results[name].nsfw_content_detected}")
pipe.safety_checker = checker
plots.strip([r.images[0] for r in results.values()], list(results), side=2.4)
assert results["left out"].nsfw_content_detected is None
assert results["objects to all"].nsfw_content_detected == [True]
""")

md(r"""
The middle picture, in numbers:
""")

code(r"""
dark = results["objects to all"].images[0]
y, x = (int(v.mean()) for v in np.nonzero(hole))
print(f"middle of the hole: {dark[y, x]}, outside: as it was")
assert (dark[y, x] == 0).all()
assert (dark[~hole] == china[~hole]).all()
""")

md(r"""
**What to notice.** What it objects to is black, in the hole only, and the result says so; your
photograph is never lost. It is on when the folder has one. To load without it:
`from_pretrained(..., safety_checker=None)`, or `--no-safety-checker` on the command line. Read
the licence of the weights (CreativeML OpenRAIL-M) before you do.
""")

# ------------------------------------------------------------------ 4 from SD 1.x

md(r"""
## 4 · From Stable Diffusion to nine channels

**Predict.** The paper starts from Stable Diffusion, whose U-Net takes 4 channels. Ours takes 9.
What should the weights of the five new channels be at the start?

**Idea.** Zeros. Then the masked latent and the mask have no effect yet, and the U-Net is at
step 0 exactly the one that Stable Diffusion's training left behind.

$$\mathrm{conv}([z_t, z_{\text{masked}}, m];\, [W, 0]) = \mathrm{conv}(z_t;\, W), \qquad
W: (320, 4, 3, 3), \quad [W, 0]: (320, 9, 3, 3)$$

`starts.from_model` takes any Stable Diffusion 1.x folder. It has no image encoder, so a CLIP
tower is named as well; mapper and null vector start at random. Our folder is narrow again.
""")

code(r"""
from transformers import CLIPVisionModel

from pbe_lite.starts import Start, from_model

SD_INDEX = {k: v for k, v in INDEX.items() if k not in (
    "image_encoder", "safety_checker")} | {
    "_class_name": "StableDiffusionPipeline",
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"]}
torch.manual_seed(1)
sd = {k: v.eval() for k, v in build(NARROW, NARROW_KL, in_channels=4).items()
      if k in ("unet", "vae")}
write_model(WORK / "sd", sd, SD_INDEX)
CLIPVisionModel(CLIPVisionConfig(
    **NARROW.clip["vision_config"])).save_pretrained(WORK / "clip")
start = from_model(WORK / "sd", NARROW, ARMS["final"], WORK / "clip")
W = sd["unet"].conv_in.weight.detach()
by_hand = torch.cat([W, W.new_zeros(len(W), 5, 3, 3)], 1)
print(tuple(W.shape), "->", tuple(start.unet.conv_in.weight.shape))
assert torch.equal(start.unet.conv_in.weight, by_hand)
""")

md(r"""
**What to notice.** One line by hand, and the package's weights are the same. Now through the
whole U-Net, with real holes and any masked latent:
""")

code(r"""
from pbe_lite.unet import unet_input

draw = torch.Generator().manual_seed(0)
side = NARROW.latent_size
z, z_masked = (torch.randn(2, 4, side, side, generator=draw) for _ in "ab")
square_hole = torch.zeros(2, 1, NARROW.resolution, NARROW.resolution)
square_hole[0, :, 32:80, 24:100] = square_hole[1, :, 48:112, 40:64] = 1
t = torch.tensor([20, 700])
c = torch.randn(2, 1, NARROW.unet["cross_attention_dim"], generator=draw)
inputs = unet_input(z, z_masked, square_hole)
with torch.no_grad():
    nine = start.unet(inputs, t, c).sample
    four = sd["unet"](z, t, c).sample
gap = float((nine - four).abs().max())
print(f"input {tuple(inputs.shape)}, largest difference {gap:.1e},"
      f" largest output {four.abs().max():.1f}")
assert torch.allclose(nine, four, atol=1e-4, rtol=1e-4)
""")

md(r"""
**What to notice.** Two U-Nets, one answer. But do zeros ever leave zero? A weight learns when
its *input* is not zero; its own value does not matter.
""")

code(r"""
target = torch.randn(nine.shape, generator=draw)
loss = (start.unet(inputs, t, c).sample - target).square().mean()
loss.backward()
slope = start.unet.conv_in.weight.grad.abs().mean((0, 2, 3))
print("mean |gradient| by channel:", *(f"{v:.1e}" for v in slope))
assert (slope[4:] > 0).all()
start.unet.zero_grad()
""")

md(r"""
**What to notice.** All nine channels get a gradient in the very first step. Zeros are a start,
not a trap.
""")

md(r"""
### The inpainting model's other order

**Predict.** There is a Stable Diffusion *inpainting* model that takes nine channels already.
Load it as it is. What goes wrong, and will anything tell you?

**Idea.** Its channels are [z_t, mask, z_masked], and its mask is 1 in the *hole*; the paper's
are [z_t, z_masked, mask] with 1 = *keep*. Reordering is easy. For the polarity, put
hole = 1 - keep into the convolution.

$$W_m * \text{hole} = W_m * (1 - \text{keep}) = \textstyle\sum W_m \;-\; W_m * \text{keep}$$

So the mask's weights change sign, and their sum moves into the bias. Nothing would have told
you: all shapes fit.
""")

code(r"""
torch.manual_seed(2)
inpaint = {k: v.eval() for k, v in build(NARROW, NARROW_KL).items()
           if k in ("unet", "vae")}
write_model(WORK / "sd-inpainting", inpaint,
            SD_INDEX | {"_class_name": "StableDiffusionInpaintPipeline"})
first = inpaint["unet"].conv_in
w_z, w_hole, w_masked = first.weight.detach().split((4, 1, 4), 1)
weight = torch.cat([w_z, w_masked, -w_hole], 1)
bias = first.bias.detach() + w_hole.sum((1, 2, 3))
ours = from_model(WORK / "sd-inpainting", NARROW, ARMS["final"], WORK / "clip")
assert torch.allclose(ours.unet.conv_in.weight, weight)
assert torch.allclose(ours.unet.conv_in.bias, bias, atol=1e-6)
print("channel order and polarity by hand = the package's")
""")

md(r"""
And does the first layer do the same as before? `truth` is the inpainting model in its own order
and polarity; `wrong` is the same layer, given the paper's input.
""")

code(r"""
with torch.no_grad():
    mask = F.interpolate(square_hole, size=z.shape[-2:])
    truth = first(torch.cat([z, mask, z_masked], 1))  # its own order
    found = ours.unet.conv_in(inputs)
    wrong = first(inputs)  # nothing changed
inner = (..., slice(1, -1), slice(1, -1))
for name, out in {"brought into order": found, "as it is": wrong}.items():
    gap = (out - truth).abs()
    print(f"{name:<20}inside {gap[inner].max():.1e},"
          f" with edge {gap.max():.1e}")
assert torch.allclose(found[inner], truth[inner], atol=1e-5)
assert (wrong - truth)[inner].abs().max() > .1
plots.strip([v[0].abs().amax(0) for v in (found - truth, wrong - truth)],
            ["difference: in order", "difference: as it is"], side=2);
""")

md(r"""
**What to notice.** Inside, the first layer computes what it always did. A frame one cell wide
is left: the convolution pads both masks with 0, and 0 means "keep" in one model and "hole" in
the other. Training removes that in no time; the right-hand picture, a model that was loaded as
it is, is wrong all over.
""")

# ---------------------------------------------------------------- 5 data at scale

md(r"""
## 5 · Data at scale

**Predict.** Open Images V7 has 14.6 million boxes on 1.74 million training images. The authors
wrote one text file for each image. What would you do?

**Idea.** The boxes are one CSV. It is streamed once, filtered, sorted by image and kept as an
Arrow file that is *mapped*, not read. The filter is the paper's: a box must cover between 2 %
and 80 % of its picture.

$$.02 \;\le\; (x_1 - x_0)(y_1 - y_0) \;\le\; .8, \qquad x, y \text{ in fractions}$$

We make up a CSV with Open Images' own columns. Only its size is unlike the real one; the boxes
are random, so their *shares* mean nothing.
""")

code(r"""
import csv

from pbe_lite.openimages import COLUMNS, load_open_images

OPEN = WORK / "open-images"
(OPEN / "train").mkdir(parents=True)
codes = {"/m/01yrx": "Cat", "/m/0bt9lr": "Dog", "/m/0k4j": "Car"}
rng = np.random.default_rng(0)
images = [f"{i:016x}" for i in rng.integers(2 ** 62, size=N_BOXES // 8)]
with open(OPEN / "train-annotations-bbox.csv", "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    corners = np.sort(rng.random((N_BOXES, 2, 2)), 2)
    for n, ((x0, x1), (y0, y1)) in enumerate(corners):
        code = list(codes)[n % 3]
        writer.writerow([images[n % len(images)], "xclick", code, 1,
                         *(f"{v:.6f}" for v in (x0, x1, y0, y1)), *"00000"])
""")

md(r"""
A second file says what the codes of the classes mean. Look at the first lines of the first:
""")

code(r"""
with open(OPEN / "class-descriptions-boxable.csv", "w", newline="") as file:
    csv.writer(file).writerows(codes.items())
with open(OPEN / "train-annotations-bbox.csv") as file:
    print(*(next(file) for _ in range(3)), sep="")
size_mb = (OPEN / "train-annotations-bbox.csv").stat().st_size / 1e6
print(f"... {size_mb:.0f} MB")
""")

md(r"""
**What to notice.** A box is XMin, XMax, YMin, YMax, in that order, as fractions. That is the
second commonest bug of this family, right after the mask.

By hand, an index is a filter and a dictionary. The package must give the same.
""")

code(r"""
XYXY = "XMin", "YMin", "XMax", "YMax"


def index_by_hand(path):
    "{image: [[x0, y0, x1, y1], ...]} in the order of ids."
    kept = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            box = [float(row[k]) for k in XYXY]
            if .02 <= (box[2] - box[0]) * (box[3] - box[1]) <= .8:
                kept.setdefault(row["ImageID"], []).append(box)
    return dict(sorted(kept.items()))
""")

md(r"""
Both are timed; the comparison goes through every image and every box.
""")

code(r"""
began = time.monotonic()
expected = index_by_hand(OPEN / "train-annotations-bbox.csv")
slow, began = time.monotonic() - began, time.monotonic()
records = load_open_images(OPEN)
fast = time.monotonic() - began
rows = (records.row(i) for i in range(len(records)))
assert {r["image_id"]: r["boxes"] for r in rows} == expected
info = {k: records.info[k] for k in ("rows", "not_a_box", "boxes", "images")}
print(info)
assert info["boxes"] == sum(map(len, expected.values()))
assert info["images"] == len(expected)
""")

md(r"""
**What to notice.** The same boxes, in the same order.
""")

code(r"""
print(f"by hand {N_BOXES / slow:,.0f} boxes/s, index {N_BOXES / fast:,.0f}")
print(f"all of Open Images: {14.6e6 * fast / N_BOXES:.0f} s,"
      " computed, if time grows in proportion")
began = time.monotonic()
again = load_open_images(OPEN)
print(f"opened again: {1000 * (time.monotonic() - began):.0f} ms")
row = again.row(0)
print(row["image_id"], row["labels"], row["path"])
assert again.row(0) == records.row(0)
""")

md(r"""
**What to notice.** The second call finds the index finished, and opens it without reading it.
No image was touched: an index needs boxes alone. The benchmark at the real size is
`tests/benchmarks/open_images_index.py`.
<!-- TODO(measure): that the index is faster than by hand; its extrapolated time -->
""")

md(r"""
### Your own folder

**Predict.** You have pictures and, for each, a mask drawn in some paint program. The model is
trained on *boxes*. What is missing?

**Idea.** Nothing: the box is what the white of the mask spans. `owndata.load_data` takes a
folder of image + mask, COCO JSON, or a CSV, and gives the same records. As "your" pictures we
take scenes of the miniature world.

$$x_0 = \min_{m_{ij} = 1} j / W, \qquad x_1 = (1 + \max_{m_{ij} = 1} j) / W, \qquad
m: (H, W)$$
""")

code(r"""
from pbe_lite.owndata import find_layout, load_data
from pbe_lite.tabletop import Scene

MINE = WORK / "mine"
for name in ("images", "masks"):
    (MINE / name).mkdir(parents=True)
renders = [Scene(seed).render(160) for seed in range(40_000, 40_040)]
large = [r for r in renders if (r.alpha > .5).mean() > .03][:24]
for i, render in enumerate(large):
    Image.fromarray(render.image).save(MINE / "images" / f"{i:03d}.jpg")
    Image.fromarray(render.alpha > .5).save(MINE / "masks" / f"{i:03d}.png")
mine = load_data(MINE)
print(f"layout {find_layout(MINE)[0]!r}: {len(mine)} images,"
      f" first {mine.row(0)['image_id']}, box",
      *(f"{v:.3f}" for v in mine.row(0)["boxes"][0]))
shown = [np.asarray(mine[i]["image"]) for i in range(6)]
plots.grid([shown, [r.alpha > .5 for r in large[:6]]], side=1.1)
assert len(mine) == len(large) == 24
""")

md(r"""
**What to notice.** White is the object. Several masks for one image would be several objects:
`003_1.png`, `003_left.png`, any ending after a `_`.

The same pictures as COCO JSON, with boxes that we compute from the masks by hand:
""")

code(r"""
import shutil


def coco_box(mask):
    "(H, W) bool -> left, top, width, height in pixels."
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]


mask = large[0].alpha > .5
left, top, width, height = coco_box(mask)
box = left / 160, top / 160, (left + width) / 160, (top + height) / 160
print("by hand", *(f"{v:.3f}" for v in box))
assert np.allclose(box, mine.row(0)["boxes"][0])
""")

md(r"""
**What to notice.** By hand and by `load_data`: one box. All of them go into one JSON file.
""")

code(r"""
COCO = WORK / "mine-coco"
shutil.copytree(MINE / "images", COCO / "images")
entries = {"images": [], "annotations": [],
           "categories": [{"id": 1, "name": "thing"}]}
for i, render in enumerate(large):
    entries["images"].append({
        "id": i, "file_name": f"{i:03d}.jpg", "width": 160, "height": 160})
    entries["annotations"].append({
        "id": i, "image_id": i, "category_id": 1, "iscrowd": 0,
        "bbox": coco_box(render.alpha > .5)})
(COCO / "annotations.json").write_text(json.dumps(entries))
coco = load_data(COCO)
print(f"layout {find_layout(COCO)[0]!r}: {len(coco)} images")
print("of masks:", mine.row(0)["labels"], " of COCO:", coco.row(0)["labels"])
for i in range(len(mine)):
    a, b = mine.row(i), coco.row(i)
    assert a["image_id"] == b["image_id"]
    assert np.allclose(a["boxes"], b["boxes"], atol=1e-9)
""")

md(r"""
**What to notice.** Two layouts, one set of records. COCO also knows what things are called;
training does not need that.
""")

md(r"""
### What is wrong with it, before a GPU waits

**Predict.** A folder of 24 pairs with six faults: a picture cut off half way, an empty file, a
black mask, a mask of another shape, a mask and a picture without partner. Which of these would
stop a naive training loop, and which would silently teach nonsense?

**Idea.** Ask first: `python -m pbe_lite check-data --data my-folder` goes through everything
and says what is wrong, file by file. We plant the faults and see whether each is found.
""")

code(r"""
from pbe_lite.checkdata import find_problems

BAD = WORK / "bad"
shutil.copytree(MINE, BAD, ignore=shutil.ignore_patterns("index-*"))
pictures, masks = BAD / "images", BAD / "masks"
whole = (pictures / "003.jpg").read_bytes()
(pictures / "003.jpg").write_bytes(whole[:len(whole) // 2])
(pictures / "004.jpg").write_bytes(b"")
Image.new("L", (160, 160)).save(masks / "005.png")
Image.new("L", (160, 80), 255).save(masks / "002.png")
Image.new("L", (160, 160), 255).save(masks / "nobody.png")
Image.new("RGB", (160, 160)).save(pictures / "lonely.jpg")
problems = list(find_problems(BAD))
for p in problems:
    text = f"{p.kind}: {p.file}: {p.text}".replace(f"{BAD}/", "")
    print(textwrap.shorten(text, 96))
""")

md(r"""
Are these the six? Compare what was found with what we planted.
""")

code(r"""
found = {(p.kind, Path(p.file).name) for p in problems}
planted = {("unreadable", "003.jpg"), ("unreadable", "004.jpg"),
           ("black mask", "005.png"), ("another shape", "002.png"),
           ("mask without image", "nobody.png"),
           ("image without mask", "lonely.jpg")}
print("planted and found:", planted <= found)
print("beside these:", found - planted or "-")
assert planted <= found
assert {name[:3] for _, name in found - planted} <= {"004"}  # its mask, too
""")

md(r"""
**What to notice.** All six, by name. The empty picture may be told twice, once for itself and
once for its mask, whose size cannot be compared.
<!-- TODO(measure): that is what is printed as "beside these" -->
""")

md(r"""
### Damaged images are skipped, and counted

**Predict.** Nobody repairs 1.7 million files. What should a training loop do with a picture
that it cannot read, so that a run of a week neither ends nor changes?

**Idea.** Another picture stands in, drawn from the sample's own generator; which one it is
depends on (seed, epoch, index) alone, as everything does (lesson 08). The damaged one is
written down once.
""")

code(r"""
from pbe_lite.records import Skipped
from pbe_lite.triplets import Triplets

bad, skipped = load_data(BAD), Skipped(WORK)
triplets = Triplets(bad, NARROW, seed=0, skipped=skipped)
samples = [triplets[epoch, i] for epoch in (0, 1) for i in range(len(bad))]
for name, reason in skipped.read().items():
    print(f"skipped {name}: {reason}")
print(f"{len(samples)} samples asked for and got, {len(bad)} images indexed")
assert skipped.read().keys() == {"003.jpg", "004.jpg"}
assert bad.row(0)["image_id"] == mine.row(0)["image_id"] == "000.jpg"
good, clean = triplets[0, 0], Triplets(mine, NARROW, seed=0)[0, 0]
assert torch.equal(good["image"], clean["image"])
assert torch.equal(good["exemplar"], clean["exemplar"])
""")

md(r"""
**What to notice.** Exactly the two unreadable ones are named, once each although they came up
in two epochs; no sample was lost, and a good sample is bit for bit what it would have been in a
clean folder. A run writes the list to `skipped-*.csv` and the count into `run.json`.
""")

# ------------------------------------------------------------------ 6 fine-tuning

md(r"""
## 6 · Fine-tuning on one 24 GB GPU

**Predict.** The weights of the real model fit into a 24 GB card several times over. What else
has to fit in when it *learns*?

**Idea.** First the recipe, as a command. Each option will reappear as a number of bytes. The
parser that the command line uses reads it here, so it cannot be out of date.
""")

code(r"""
import shlex

from pbe_lite.options import read_options

RECIPE = '''python -m pbe_lite.train --preset full --data my-folder
    --init Fantasy-Studio/Paint-by-Example --out runs/mine
    --samples 20000 --batch-size 16 --accumulate 16 --workers 8
    --precision bf16 --checkpointing --adam8bit'''
print(RECIPE.replace("\n", " \\\n"))
options = read_options(shlex.split(RECIPE)[3:])
recipe = options.preset
at_once = recipe.batch_size // options.accumulate
print(f"\nbatch {recipe.batch_size} in {options.accumulate} parts:"
      f" {at_once} picture at a time, on one GPU")
assert at_once == 1 and recipe.adam8bit and options.checkpointing
""")

md(r"""
**What to notice.** The batch is the run's; `--accumulate` only says in how many parts it is
computed. The gradient is the same, the memory is that of one picture.
""")

code(r"""
from pbe_lite.positions import learning_rate

total_steps = options.samples // recipe.batch_size
share = [learning_rate(s, total_steps, recipe) for s in range(total_steps)]
print(f"{total_steps:,} steps; warm-up over {recipe.warmup_steps:,}")
print(f"at the last step the rate is {share[-1]:.1%} of {recipe.lr:.0e}:"
      f" {share[-1] * recipe.lr:.1e}")
assert share == sorted(share)
""")

md(r"""
**What to notice.** One trap of borrowing the paper's preset: its warm-up was made for a much
longer run. In a short fine-tuning the rate is still climbing at the end. That is gentle, which
is not bad for a small folder; if the loss hardly moves, raise `--lr` in proportion.
<!-- TODO(measure): if the package gets a --warmup option, put it into RECIPE and rewrite -->
""")

md(r"""
### Run here, narrow

**Predict.** Our twin has random weights. Its loss starts near 1: why that number? Where will it
be after a few dozen steps?

**Idea.** The very same objects as the command's: a start, an objective, a run. Only the preset
is narrow, with a warm-up to match. At the start the answer has nothing to do with the noise,
so the squared error is at least the noise's own power.

$$L = \lVert \hat\epsilon - \epsilon \rVert^2 / (4 h w), \qquad
\mathbb{E}\, \epsilon^2 = 1, \qquad \epsilon: (B, 4, h, w)$$
""")

code(r"""
import io
from contextlib import redirect_stderr

from pbe_lite.objectives import build_objective
from pbe_lite.optimizers import build_optimizers
from pbe_lite.train import Run

torch.manual_seed(0)
start = from_model(STAND_IN, NARROW, ARMS["final"])
begin = {k: v.detach().clone() for k, v in start.unet.state_dict().items()}
objective = build_objective("final", NARROW, mine, None, start=start)
with redirect_stderr(io.StringIO()):  # the bar of a long run
    run = Run(objective, WORK / "tuned", TUNE * NARROW.batch_size, workers=0,
              accumulate=2)
    done = run.train()
losses = [float(x) for x in run.losses]  # kept for 50 steps at most
assert done and len(losses) == TUNE
print(f"RANDOM WEIGHTS, narrow: {run.step} steps of {run.batch_size},"
      f" {run.seconds:.0f} s")
""")

md(r"""
`run.losses` holds the loss of each step. Which tensors of the U-Net have moved since the start?
""")

code(r"""
early, late = np.mean(losses[:5]), np.mean(losses[-5:])
print(f"loss of the first 5 steps {early:.2f}, of the last 5 {late:.2f}")
assert late < early
plots.curves({"loss": (np.arange(1, TUNE + 1), losses)}, "step", "loss",
             "fine-tuning on the folder `mine` (narrow, random weights)")
moved = [k for k, v in start.unet.state_dict().items()
         if not torch.equal(v.cpu(), begin[k])]
still = sorted({k.split(".transformer_blocks.0.")[-1] for k in begin}
               - {k.split(".transformer_blocks.0.")[-1] for k in moved})
print(f"{len(moved)} of {len(begin)} tensors of the U-Net have moved;"
      f" nowhere: {still}")
assert 0 < len(moved) < len(begin)
""")

md(r"""
**What to notice.** The curve is the loss of each step: it falls from about 1. That says that
the machinery learns; a model that paints needs days, not seconds. Some tensors have not moved
at all: they are those of lesson 04 that one token makes useless, and they are frozen.
<!-- TODO(measure): starts near 1 and falls; `still` is attn2's to_k, to_q and norm2 -->
""")

code(r"""
with redirect_stderr(io.StringIO()):
    run.export("lesson 09")
tuned = PaintByExamplePipeline.from_pretrained(WORK / "tuned" / "weights")
tuned.set_progress_bar_config(disable=True)
print(f"exported: checker {tuned.safety_checker}, guidance"
      f" {tuned.config.guidance_scale}, {tuned.config.steps} steps")
tuned.register_modules(safety_checker=twin.safety_checker,
                       feature_extractor=twin.feature_extractor)
out = tuned(image=china, mask=hole, exemplar=exemplar, steps=STEPS,
            output_type="np")
print("with the published checker again:", out.nsfw_content_detected)
assert torch.equal(tuned.unet.conv_in.weight,
                   run.objective.unet.conv_in.weight.cpu())
assert (out.images[0][~hole] == china[~hole]).all()
""")

md(r"""
**What to notice.** What a run exports is a folder in `diffusers`' layout, and the same class
loads it. It carries no safety checker, because none was trained; take the published one along
if you show results to others.
""")

md(r"""
### Weights, gradients, optimiser: counted

**Predict.** AdamW keeps two numbers for each weight. A gradient is one more. How many bytes is
that for each number that learns, and which numbers do not learn?

**Idea.** Everything is kept in fp32, also with `--precision bf16`: that option only *computes*
in 16 bits. We state the rule, and compare it with what the run above really holds.

$$\underbrace{4\,(N_{\text{learns}} + N_{\text{frozen}})}_{\text{weights}} \;+\;
\underbrace{4\,N_{\text{learns}}}_{\text{gradients}} \;+\;
\underbrace{8\,N_{\text{learns}}}_{\text{AdamW, 32 bits}} \text{ bytes}$$
""")

code(r"""
from torch.utils.data import default_collate

learns = list(run.parameters.values())
n = sum(p.numel() for p in learns)
states = run.optimizers[0].state
held = {"weights": size([objective]), "AdamW": sum(
    x.numel() * x.element_size() for state in states.values()
    for x in state.values() if torch.is_tensor(x))}
batch = default_collate([objective[0, i] for i in range(2)])
batch = {k: v.to(learns[0].device) for k, v in batch.items()}
objective(batch).sum().backward()
held["gradients"] = sum(p.grad.numel() * 4 for p in learns)
rule = {"weights": 4 * numbers(objective), "gradients": 4 * n,
        "AdamW": 8 * n + 4 * len(learns)}  # 4: each tensor's step counter
objective.zero_grad()
for name, b in rule.items():
    print(f"{name:<10} computed {b / 1e6:7.2f} MB, measured"
          f" {held[name] / 1e6:7.2f} MB (narrow)")
assert held == rule
""")

md(r"""
**What to notice.** Computed and measured agree to the byte, on a model small enough to measure.
So the rule may be used where we cannot measure.
""")

code(r"""
useless = [k for k in objective.unet.state_dict()
           if ".attn2.to_q." in k or ".attn2.to_k." in k]
known = {id(p) for p in states}
spared = [p for k, p in objective.unet.named_parameters() if k in useless]
print(f"{len(useless)} tensors attn2.to_q and to_k, with optimiser state:"
      f" {sum(id(p) in known for p in spared)}")
assert len(useless) == 32 and not any(id(p) in known for p in spared)
assert not any(p.requires_grad for p in spared)
assert len(states) == len(learns)
""")

md(r"""
**What to notice.** 16 cross-attentions, two matrices each, and no optimiser state for any: with
one token their gradient is exactly zero, so two moments of zeros would be kept for nothing. How
much is that in the real model? The widths of its 16 attentions give it by hand:

$$\sum_{d} \big(\underbrace{d^2}_{\text{to\_q}} + \underbrace{768\, d}_{\text{to\_k}}\big),
\qquad d = 320 \;(5\times),\; 640 \;(5\times),\; 1280 \;(6\times)$$
""")

code(r"""
from pbe_lite.unet import fold_one_token

fold_one_token(real["unet"])
real["vae"].requires_grad_(False)
trunk = [real[k] for k in ("unet", "vae", "image_encoder")]
N = numbers(*trunk)
LEARNS = [p for m in trunk for p in m.parameters() if p.requires_grad]
N_LEARNS = sum(p.numel() for p in LEARNS)
qk = sum(p.numel() for k, p in real["unet"].named_parameters()
         if ".attn2.to_q." in k or ".attn2.to_k." in k)
print(f"real, computed: {N:,} numbers, {N_LEARNS:,} learn")
print(f"attn2's to_q, to_k: {qk:,}, spared {12 * qk / 1e6:.0f} MB of gradients"
      " and AdamW")
mapper = real["image_encoder"].mapper.named_parameters()
lone = sum(p.numel() for k, p in mapper if ".to_q." in k or ".to_k." in k)
print(f"the mapper's own to_q, to_k are the same case, and kept: {lone:,}")
assert qk == sum(d * d + 768 * d for d in [320] * 5 + [640] * 5 + [1280] * 6)
""")

md(r"""
**What to notice.** It is a small saving, two or three per cent; the point is that the count by
hand and the model agree. The mapper attends to one token as well, so its queries and keys are
just as idle; the package leaves them as they are.
<!-- TODO(measure): two or three per cent: qk against N_LEARNS -->
""")

md(r"""
### Activations: what backward needs

**Predict.** For the backward pass, autograd keeps the inputs of nearly every operation. Is that
more or less than the weights, for one picture of 512 pixels?

**Idea.** PyTorch calls a hook for each tensor that it keeps. We add up their bytes, each
storage once and parameters not at all. *Gradient checkpointing* keeps only what enters a
residual or transformer block, and computes its inside again when it is needed: one block at a
time.

$$\text{checkpointed} = \sum_{\text{blocks}} |\text{input}| \;+\; |\text{between blocks}|
\;+\; \max_{\text{blocks}} |\text{inside}|$$
""")

code(r"""
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D


class Kept:
    "Bytes that a forward pass keeps for backward: {storage: bytes}."

    def __init__(self, unet):
        self.own = {p.untyped_storage()._cdata for p in unet.parameters()}
        self.all, self.between, self.inside = {}, {}, None
        self.largest, self.alive = 0, []
        for module in unet.modules():
            if isinstance(module, (ResnetBlock2D, BasicTransformerBlock)):
                module.register_forward_pre_hook(self.enter)
                module.register_forward_hook(self.leave)

    def note(self, where, x):
        storage = x.untyped_storage()
        if storage._cdata not in self.own:
            where[storage._cdata] = storage.nbytes()
            self.alive.append(x)  # so that no other takes its place

    def enter(self, module, args):
        self.inside = {}
        for x in filter(torch.is_tensor, args):
            self.note(self.between, x)

    def leave(self, *_):
        self.largest = max(self.largest, sum(self.inside.values()))
        self.inside = None

    def pack(self, x):
        self.note(self.all, x)
        self.note(self.between if self.inside is None else self.inside, x)
        return x
""")

md(r"""
`all` is what is kept without checkpointing; `between` + `largest` is the sum above.

Two more things decide the bytes. *Mixed precision* gives convolutions and matrices 16 bits, and
norms 32. *Fused attention* never writes down the (N, N) weights; it keeps q, k, v, its result
and one number a row. On the meta device there is no such kernel, so a stand-in keeps the same.
""")

code(r"""
def mixed(unet):
    "Layers as autocast has them: 16 bits, but 32 in norms."
    for m in unet.modules():
        if isinstance(m, (nn.Conv2d, nn.Linear)):
            m.bfloat16().register_forward_pre_hook(
                lambda m, args: (args[0].bfloat16(), *args[1:]))
        elif isinstance(m, (nn.GroupNorm, nn.LayerNorm)):
            m.register_forward_pre_hook(
                lambda m, args: (args[0].float(), *args[1:]))


def plain(q, k, v, **_):
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** .5).float().softmax(-1)
    return weights.to(v.dtype) @ v
""")

md(r"""
Now one forward pass, on the meta device or for real:
""")

code(r"""
from unittest.mock import patch

from torch.autograd.graph import saved_tensors_hooks


class Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v):
        out, rows = torch.empty_like(q), q.new_empty(q.shape[:-1]).float()
        ctx.save_for_backward(q, k, v, out, rows)
        return out


def fused(q, k, v, **_):
    return Fused.apply(q, k, v)


def count_kept(unet, attention, *given):
    "Run `unet(*given)` with this attention; what was kept, as a `Kept`."
    kept, name = Kept(unet), "scaled_dot_product_attention"
    with saved_tensors_hooks(kept.pack, lambda x: x), \
            patch.object(F, name, attention):
        unet(*given)
    return kept
""")

md(r"""
And the U-Net of any preset, with an input of its size:
""")

code(r"""
def activations(preset, batch=1, half=True, attention=fused, device="meta"):
    "Bytes kept without and with checkpointing."
    side, width = preset.latent_size, preset.unet["cross_attention_dim"]
    with torch.device(device):
        unet = fold_one_token(build_unet(preset))
        x = torch.zeros(batch, preset.unet_channels, side, side)
        t, c = torch.zeros(batch).long(), torch.zeros(batch, 1, width)
    if half:
        mixed(unet)
    kept = count_kept(unet, attention, x, t, c)
    return (sum(kept.all.values()),
            sum(kept.between.values()) + kept.largest)


print(*activations(NARROW), "bytes: narrow, without and with checkpointing")
""")

md(r"""
Is the count right? The twin's U-Net is small enough to run, here on the CPU with PyTorch's own
attention, and its kept tensors are measured:
""")

code(r"""
sdpa = F.scaled_dot_product_attention
counted = activations(NARROW, 4, half=False)
measured = activations(NARROW, 4, half=False, attention=sdpa, device="cpu")
for name, a, b in zip(("all", "checkpointed"), counted, measured):
    print(f"narrow, batch 4, fp32, {name:<13} meta {a / 1e6:7.2f} MB,"
          f" measured {b / 1e6:7.2f} MB")
    assert abs(a / b - 1) < .1
one, two = (activations(NARROW, b)[0] for b in (1, 2))
print(f"two pictures need {two / one:.3f} times the bytes of one")
assert abs(two / one - 2) < .02
""")

md(r"""
**What to notice.** Shapes alone predict what a real pass on this CPU keeps, within a few per
cent; and the bytes grow in proportion to the batch. Now the real U-Net, which can only be
counted here:
<!-- TODO(measure): the two ratios; "a few per cent" -->
""")

code(r"""
print("real U-Net, one picture of 512 px, computed on the meta device:")
kept = {}
for name, half, attention in (("fp32, plain attention", False, plain),
                              ("fp32, fused", False, fused),
                              ("bf16, plain", True, plain),
                              ("bf16, fused", True, fused)):
    kept[name] = activations(FULL, half=half, attention=attention)
    print(f"{name:<24}all {kept[name][0] / 1e9:6.2f} GB,"
          f" checkpointed {kept[name][1] / 1e9:5.2f} GB")
ACTIVATIONS = kept["bf16, fused"]
assert ACTIVATIONS[1] < ACTIVATIONS[0] / 2
assert kept["bf16, plain"][0] > ACTIVATIONS[0]
assert kept["fp32, fused"][0] > ACTIVATIONS[0]
""")

md(r"""
**What to notice.** Plain attention is the dearest item by far: at 64 x 64 latents its weights
are 4096 x 4096 for each of 8 heads. Fused attention removes them, checkpointing removes most of
the rest, and pays with one more forward pass.
<!-- TODO(measure): the order of the four lines; how large checkpointing's factor is -->
""")

md(r"""
### The sum

**Predict.** Which is the largest piece of the recipe now? Which option would you drop first on
a card of 48 GB?

**Idea.** Add up. Under `bf16` autograd also holds a 16-bit copy of each matrix that learns.
8-bit AdamW keeps two bytes a number plus two scales for each block of 256, and leaves tensors
below 4,096 numbers in 32 bits (bitsandbytes' defaults, as recalled).

Left out, because we cannot compute it: the CUDA context and the libraries' workspaces, of the
order of 1 GB. The VAE and the CLIP tower run before the U-Net and free their memory again.
""")

code(r"""
def adam_bytes(learns, eight):
    if not eight:
        return 8 * sum(p.numel() for p in learns)
    return sum(2 * p.numel() + 8 * -(-p.numel() // 256)
               if p.numel() >= 4096 else 8 * p.numel() for p in learns)


MATRICES = sum(m.weight.numel() for part in trunk for m in part.modules()
               if isinstance(m, (nn.Conv2d, nn.Linear))
               and m.weight.requires_grad)


def pieces(batch=1, eight=True, checkpointing=True, ema=False):
    "{piece: bytes} of training the real model in bf16 on one GPU."
    return {"weights": 4 * N, "gradients": 4 * N_LEARNS,
            "AdamW": adam_bytes(LEARNS, eight),
            "16-bit copies": 2 * MATRICES,
            "activations": batch * ACTIVATIONS[checkpointing],
            "EMA": 4 * N_LEARNS * ema}
""")

md(r"""
For the recipe, and with the basis of each number:
""")

code(r"""
BASIS = {"weights": "computed; the rule measured on the twin",
         "gradients": "computed; the rule measured on the twin",
         "AdamW": "computed, 8 bits; only 32 bits were measured",
         "16-bit copies": "computed, an upper bound",
         "activations": "counted on the meta device; fp32 twin measured",
         "EMA": "computed; 0 in the recipe"}
recipe_needs = pieces(at_once, recipe.adam8bit, options.checkpointing,
                      recipe.ema_decay > 0)
for name, b in recipe_needs.items():
    print(f"{name:<15}{b / 1e9:7.2f} GB   {BASIS[name]}")
total = sum(recipe_needs.values())
print(f"{'in all':<15}{total / 1e9:7.2f} GB   of 24, none of it run on a GPU")
assert BASIS.keys() == recipe_needs.keys()
assert total < .85 * 24e9
""")

md(r"""
**What to notice.** The recipe fits with room to spare. Each line says where its number comes
from; no line says that it ran at this size, because it did not.
<!-- TODO(measure): the sum; if the last cell of this section ran on a GPU, name its number -->
""")

code(r"""
plans = {
    "the recipe": {}, "AdamW in 32 bits": dict(eight=False),
    "... and EMA": dict(eight=False, ema=True),
    "recipe, no checkpointing": dict(checkpointing=False),
    "recipe, 8 at a time": dict(batch=8),
    "32 bits, 4 at a time,\nno checkpointing": dict(
        batch=4, eight=False, checkpointing=False)}
fig, axis = plt.subplots(figsize=(7, 3), layout="constrained")
left = np.zeros(len(plans))
for piece in recipe_needs:
    wide = np.array([pieces(**p)[piece] / 1e9 for p in plans.values()])
    axis.barh(list(plans), wide, left=left, label=piece)
    left += wide
axis.axvline(24, color="k", linestyle="--", linewidth=1)
axis.set(xlabel="GB, computed")
axis.invert_yaxis()
axis.legend(frameon=False, fontsize=8, ncols=2)
assert left[0] == min(left) and abs(left[0] - total / 1e9) < 1e-6
""")

md(r"""
**What to notice.** Each bar is a plan, each colour a piece, and the dashed line is the card.
The weights and what belongs to them hardly change; the activations decide, and they are what
checkpointing and `--accumulate` are for.
<!-- TODO(measure): which bars cross the line; that activations dominate the last bar -->
""")

md(r"""
**On a GPU this cell measures the peak** of two training steps at full size, with 32-bit AdamW
and random weights. Elsewhere it says that it did not.
""")

code(r"""
def measure_peak():
    "Bytes: bf16, checkpointing, AdamW in 32 bits, one picture at a time."
    before = torch.cuda.memory_allocated()
    with torch.device("cuda"):
        big = build(FULL, kl_f8((128, 256, 512, 512), 32, 512))
    begin = Start(big["vae"], big["image_encoder"], big["unet"])
    del big  # training has no safety checker
    task = build_objective("final", FULL, mine, None, start=begin)
    task.unet.enable_gradient_checkpointing()
    torch.cuda.reset_peak_memory_stats()
    (adam,) = build_optimizers(task)
    for i in range(2):
        batch = default_collate([task[0, i]])
        with torch.autocast("cuda", torch.bfloat16):
            loss = task({k: v.cuda() for k, v in batch.items()}).mean()
        loss.backward()
        adam.step()
        adam.zero_grad()
    return torch.cuda.max_memory_allocated() - before
""")

md(r"""
The peak is taken over what was in use before, so the model of this page does not count.
""")

code(r"""
room = torch.cuda.get_device_properties(0).total_memory if GPU else 0
computed = sum(pieces(eight=False).values())
if room > 24e9:
    peak = measure_peak()
    print(f"{torch.cuda.get_device_name()}: measured {peak / 1e9:.2f} GB,"
          f" computed {computed / 1e9:.2f} GB")
else:
    print(f"no GPU of 24 GB here: {computed / 1e9:.2f} GB stay computed")
""")

md(r"""
**What to notice.** A computed number is a claim with its reasons in sight; a measured one needs
the machine. Keep the two apart, in your own reports too.
""")

# ---------------------------------------------------------------------- exercises

md(r"""
## Exercises

### 1 · How many at a time? (easy, 10 minutes)

Write `most_at_once`: the largest number of pictures that fits into `room` bytes at once, for a
given optimiser and with or without checkpointing; 0 if not even one fits. Use `pieces`. The
check tries the next larger number, too.
""")

code(r"""
def most_at_once(room, eight, checkpointing):
    "-> the largest batch whose pieces fit into `room` bytes, or 0."
    return None  # your lines


def check_most(solution):
    if solution(24e9, True, True) is None:
        return print("not solved yet")
    for room in (8e9, 24e9, 48e9, 80e9):
        for eight in (True, False):
            for again in (True, False):
                n = solution(room, eight, again)
                needs = lambda b: sum(pieces(b, eight, again).values())
                assert n == 0 or needs(n) <= room, f"{n} do not fit"
                assert needs(n + 1) > room, f"{n + 1} would fit, too"
    print("solved; 24 GB hold", solution(24e9, True, True), "at once")


check_most(most_at_once)
""")

md(r"""
<details><summary>Hint 1</summary>

Only one piece depends on the batch, and it is proportional to it.
</details>
<details><summary>Hint 2</summary>

`pieces(0, ...)` is everything else. What is left of `room`, divided by one picture's bytes?
</details>
<details><summary>Solution</summary>

```python
def most_at_once(room, eight, checkpointing):
    rest = sum(pieces(0, eight, checkpointing).values())
    return max(0, int((room - rest) // ACTIVATIONS[checkpointing]))
```

With accumulation one picture at a time is enough for any batch. More at once is faster, not
better: the gradient is the same.
</details>
""")

md(r"""
### 2 · Boxes from another tool (medium, 15 minutes)

Many annotation tools write YOLO's format, a text file for each image, one line a box:
`class centre_x centre_y width height`, all in fractions. Write the conversion to a line of
`boxes.csv`. The check writes the folder `mine` in YOLO's format, converts it with your
function, and compares the records.
""")

code(r"""
def from_yolo(line, image, names):
    "One line of YOLO -> (image, x0, y0, x1, y1, label)."
    return None  # your lines


def check_yolo(convert):
    if convert("0 .5 .5 .2 .4", "a.jpg", ["thing"]) is None:
        return print("not solved yet")
    folder, rows = WORK / "mine-yolo", ["image x0 y0 x1 y1 label".split()]
    shutil.copytree(MINE / "images", folder / "images", dirs_exist_ok=True)
    for row in map(mine.row, range(len(mine))):
        x0, y0, x1, y1 = row["boxes"][0]
        line = f"1 {(x0 + x1) / 2} {(y0 + y1) / 2} {x1 - x0} {y1 - y0}"
        rows.append(convert(line, row["image_id"], ["nothing", "thing"]))
    with open(folder / "boxes.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    new = load_data(folder)
    assert len(new) == len(mine), f"{len(new)} images came through"
    for i in range(len(new)):
        assert np.allclose(new.row(i)["boxes"], mine.row(i)["boxes"]), i
        assert new.row(i)["labels"] == ["thing"], new.row(i)["labels"]
    print("solved")


check_yolo(from_yolo)
""")

md(r"""
<details><summary>Hint 1</summary>

`line.split()` gives five texts; the first is a number of a class, not a fraction.
</details>
<details><summary>Hint 2</summary>

A corner is the centre minus, or plus, *half* of the side.
</details>
<details><summary>Hint 3</summary>

Rounding may put a corner just outside the picture, at 1.0000000002. What is no box is left out:
clip to 0..1.
</details>
<details><summary>Solution</summary>

```python
def from_yolo(line, image, names):
    number, *values = line.split()
    x, y, w, h = map(float, values)
    corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    corners = (min(max(v, 0), 1) for v in corners)
    return (image, *corners, names[int(number)])
```
</details>
""")

md(r"""
### 3 · The way back (harder, 20 minutes)

Someone wants your fine-tuned U-Net in a tool that knows Stable Diffusion *inpainting* only.
Write the inverse of section 4: from [z_t, z_masked, mask], 1 = keep, to [z_t, mask, z_masked],
1 = hole. Change `unet.conv_in` in place. The check compares the first layers, and goes there
and back again.
""")

code(r"""
def to_inpainting_order(unet):
    "Paper's order and polarity -> Stable Diffusion inpainting's, in place."
    return None  # your lines, then: return unet


@torch.no_grad()
def check_back(solution):
    unet = copy.deepcopy(ours.unet)
    if solution(unet) is None:
        return print("not solved yet")
    conv = unet.conv_in
    mask = F.interpolate(square_hole, size=z.shape[-2:])
    out = conv(torch.cat([z, mask, z_masked], 1))
    truth = ours.unet.conv_in(inputs)
    assert torch.allclose(out[inner], truth[inner], atol=1e-5), "first layer"
    source = inpaint["unet"].conv_in
    assert torch.allclose(conv.weight, source.weight, atol=1e-6), "weights"
    assert torch.allclose(conv.bias, source.bias, atol=1e-5), "bias"
    print("solved: there and back again")


check_back(to_inpainting_order)
""")

md(r"""
<details><summary>Hint 1</summary>

`conv.weight.split((4, 4, 1), 1)` takes the paper's order apart.
</details>
<details><summary>Hint 2</summary>

Now keep = 1 - hole. The formula is the same with the two words exchanged.
</details>
<details><summary>Solution</summary>

```python
@torch.no_grad()
def to_inpainting_order(unet):
    conv = unet.conv_in
    w_z, w_masked, w_keep = conv.weight.clone().split((4, 4, 1), 1)
    conv.weight.copy_(torch.cat([w_z, -w_keep, w_masked], 1))
    conv.bias.add_(w_keep.sum((1, 2, 3)))
    return unet
```

The tool would still need an exemplar's condition in place of a caption's; the first layer is
only half of the way.
</details>
""")

md(r"""
## Where we are

- The published model is four plain networks in a folder. Each is read by its own class, so it
  loads where `diffusers`' own loader refuses, and its sizes can be counted without a download.
- A photograph of any size is edited in one square window; what is outside the hole is the
  same to the last bit, safety checker or not.
- Stable Diffusion becomes a start in two lines: zeros for new channels, or another order and a
  sign.
- Your own folder needs images with masks, COCO JSON or a CSV. Check it before a GPU waits; what
  cannot be read is skipped and counted.
- The memory of fine-tuning is a sum of five pieces. We measured the rules on a small model and
  computed the large one, and kept the two apart.

What does a larger model *not* cure? One token is one token at any scale.

**Next: [10 · Limits and beyond](10_limits_and_beyond.ipynb)**. **Back to** the
[map of the course](00_start_here.ipynb).
""")

# -------------------------------------------------------------------------- write

NOTEBOOK = {
    "cells": CELLS,
    "metadata": {
        "kernelspec": {"display_name": "Python 3", "language": "python",
                       "name": "python3"},
        "language_info": {"name": "python"},
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}
path = Path(__file__).with_name("09_full_scale.ipynb")
path.write_text(json.dumps(NOTEBOOK, indent=1, ensure_ascii=False) + "\n")
print(path, len(CELLS), "cells")
