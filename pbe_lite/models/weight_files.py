"""Files of weights: which of them are read, and what is wrong with them.

A download may be half there: a Git-LFS pointer in place of the file, a file that was cut
off, a file of another model.  Each is told in one line that names it, before the libraries
fill what is missing with random numbers.
"""

import re
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

POINTER = b"version https://git-lfs"
# Old files keep the numbers of CLIP's positions, which are computed today.
COMPUTED = "position_ids"


def variant_of(path):
    """"fp16" for `model.fp16.safetensors` or a shard of it, "" for `model.safetensors`."""
    stem = re.sub(r"-\d{5}-of-\d{5}", "", Path(path).name)
    return ".".join(stem.split(".")[1:-1])


def find_weights(folder, variant=None, use_safetensors=None):
    """The files of weights in a folder: safetensors where there are any, else .bin.

    variant: "fp16" and the like; `use_safetensors`: True or False allows only one kind.
    The list is empty where there are none."""
    kinds = {None: (".safetensors", ".bin"), True: (".safetensors",), False: (".bin",)}
    for kind in kinds[use_safetensors]:
        files = sorted(Path(folder).glob(f"*{kind}"))
        files = [path for path in files if variant_of(path) == (variant or "")]
        if files:
            return files
    return []


def damage(path):
    """What is wrong with a file of weights, in words; None where it can be opened."""
    with open(path, "rb") as file:
        head = file.read(len(POINTER))
    if not head:
        return "is empty: download it again"
    if head == POINTER:
        return ("is a Git-LFS pointer, not the weights themselves: run `git lfs pull` in "
                "its folder, or download the file")
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt"):
                return None
        except SafetensorError as error:
            return f"is cut off or damaged: download it again ({error})"
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):  # its list is at its end
        return "is cut off or damaged: download it again"
    return None


def check_files(files):
    """Raise OSError, naming the file, unless all can be opened."""
    for path in files:
        if found := damage(Path(path)):
            raise OSError(f"{path} {found}")


def check_names(where, missing, unexpected=(), mismatched=()):
    """Raise OSError, naming the tensors, unless the weights in `where` are exactly a
    model's: none missing, none left over, none of another shape."""
    unexpected = [name for name in unexpected if not name.endswith(COMPUTED)]
    for names, problem in ((missing, "lack"), (unexpected, "have no place for"),
                           (mismatched, "have another shape for")):
        if names := sorted(str(name) for name in names):
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise OSError(f"the weights in {where} {problem} {', '.join(names[:3])}{more}: "
                          "the download is not whole, or they are another model's")


@torch.no_grad()
def check_finite(where, model):
    """Raise ValueError, naming the tensor, where a model's weights hold NaN or infinity."""
    for name, tensor in model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ValueError(
                f"the weights in {where} hold NaN or infinite numbers in {name}: they are "
                f"damaged, or too large for {str(tensor.dtype).removeprefix('torch.')}")


def read_dtype(value):
    """torch.float32, torch.float16 or torch.bfloat16, also by its name as a string.

    Raises ValueError for anything else."""
    dtype = getattr(torch, value, None) if isinstance(value, str) else value
    dtype = torch.float32 if value is None else dtype
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError("torch_dtype must be float32, float16 or bfloat16, "
                         f"got {value!r}")
    return dtype
