"""python -m pbe_lite edit: one picture, one or several exemplars, one file a result.

What needs other packages is imported where it is used: `--help` answers at once, and
`check` runs where they are missing.
"""

import argparse
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pbe_lite.config import WEIGHTS

EXAMPLE = """example:
  python -m pbe_lite edit --example-image apple.png pear.png --image table.png \\
      --mask-image hole.png --out out.png --num-images-per-prompt 2

writes out-apple.png, out-apple-1.png, out-pear.png and out-pear-1.png; with a single
exemplar out.png and out-1.png.  The mask is white where something new shall stand.  A PNG
holds its settings as JSON, under "pbe_lite": Image.open(path).text["pbe_lite"].
"""


def add_arguments(parser):
    """The options of `edit`, under the names that the pipeline's arguments have."""
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, EXAMPLE
    add = parser.add_argument
    add("--example-image", type=Path, required=True, nargs="+", help="one or several")
    add("--image", type=Path, required=True)
    add("--mask-image", type=Path, required=True, help="of the image's size, white = hole")
    add("--out", type=Path, required=True, help="a picture's name, as out.png")
    add("--model", default=WEIGHTS / "final",
        help="a folder, a hub's name, or the authors' .ckpt; default: the shipped one")
    add("--num-images-per-prompt", type=int, default=1, help="results an exemplar")
    add("--num-inference-steps", type=int, help="default: as the weights say")
    add("--guidance-scale", type=float, help="default: as the weights say")
    add("--seed", type=int, default=0, help="result i of an exemplar has seed + i")
    add("--context", type=float, default=3.0,
        help="side of what the model sees, in sides of the hole; default: 3")
    add("--exemplar-fit", choices=("squash", "center_crop"), default="squash",
        help="how an exemplar becomes a square; default: squash, as the authors do")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    add("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    add("--no-safety-checker", action="store_true",
        help="do without the one that is in some models' folders")


def choose_device(name):
    """"auto": a GPU where there is one.  Raises ValueError for one that is not there."""
    import torch
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(),
             "cpu": True}
    if name == "auto":
        return next(device for device in there if there[device])
    if not there[name]:
        raise ValueError(f"device: there is no {name} here; try auto or cpu")
    return name


def load_pipeline(args):
    """The model that the options name, on the device that they name."""
    from pbe_lite.pipeline import PaintByExamplePipeline
    options = {"torch_dtype": args.dtype}
    load = PaintByExamplePipeline.from_single_file
    if Path(args.model).suffix not in (".ckpt", ".pt", ".pth"):
        load = PaintByExamplePipeline.from_pretrained
        options["safety_checker"] = None if args.no_safety_checker else True
    return load(args.model, **options).to(choose_device(args.device))


def output_paths(out, exemplars, count):
    """{exemplar: its `count` paths}: out.png, out-1.png; with the exemplar's name where
    there are several, and its number where two have one name."""
    stems = [path.stem for path in exemplars]
    names = stems if len(set(stems)) == len(stems) else [
        f"{i}-{stem}" for i, stem in enumerate(stems)]
    bases = [f"{out.stem}-{name}" for name in names] if len(names) > 1 else [out.stem]
    return {exemplar: [out.with_stem(f"{base}-{i}" if i else base) for i in range(count)]
            for exemplar, base in zip(exemplars, bases)}


def settings(args, pipe, exemplar, seed):
    """What a result was made with, to be made again: a dict for JSON."""
    guidance_scale, steps = pipe.defaults(args.guidance_scale, args.num_inference_steps)
    try:
        package = version("pbe_lite")
    except PackageNotFoundError:  # run from a checkout that is not installed
        package = None
    return {
        "example_image": str(exemplar), "image": str(args.image),
        "mask_image": str(args.mask_image), "model": str(args.model),
        "num_inference_steps": steps, "guidance_scale": guidance_scale, "seed": seed,
        "context": args.context, "exemplar_fit": args.exemplar_fit,
        "scheduler": type(pipe.scheduler).__name__, "dtype": args.dtype,
        "device": pipe.device.type, "pbe_lite": package}


def save(image, path, made_with):
    """Write a picture; a PNG with its settings."""
    from PIL.PngImagePlugin import PngInfo
    extra = {}
    if path.suffix.lower() == ".png":
        extra["pnginfo"] = PngInfo()
        extra["pnginfo"].add_text("pbe_lite", json.dumps(made_with))
    image.save(path, **extra)
    print(path)


def edit(args):
    """Edit one picture: --example-image, --image, --mask-image (white = hole) -> --out."""
    from PIL import Image

    from pbe_lite import crop_and_paste
    if args.out.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"out must end in a picture format, as .png; got {args.out}")
    image = crop_and_paste.read_image(args.image)
    mask = crop_and_paste.read_mask(args.mask_image, image.shape[:2])
    exemplars = {path: crop_and_paste.read_image(path, "example_image")
                 for path in args.example_image}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pipe = load_pipeline(args)
    paths = output_paths(args.out, list(exemplars), max(args.num_images_per_prompt, 0))
    for path, exemplar in exemplars.items():
        out = pipe(exemplar, image, mask, num_inference_steps=args.num_inference_steps,
                   guidance_scale=args.guidance_scale, seed=args.seed,
                   num_images_per_prompt=args.num_images_per_prompt, context=args.context,
                   exemplar_fit=args.exemplar_fit)
        if any(out.nsfw_content_detected or ()):
            print("the safety checker objected to what was painted: that is black now")
        for i, (result, target) in enumerate(zip(out.images, paths[path])):
            save(result, target, settings(args, pipe, path, args.seed + i))
