"""The lite CLIP: image and text towers trained on crops and names of the miniature world.

It plays CLIP's three parts of the paper in small: the frozen exemplar tower, the text
encoder of the prior, and the features of the scores that bear its name.
"""

import copy
from functools import lru_cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from pbe_lite.config import WEIGHTS
from pbe_lite.data.images import crop_box, squash, to_clip
from pbe_lite.models.weight_files import (
    check_files,
    check_finite,
    check_names,
    find_weights,
)

SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[EOS]"]


def caption(name):
    """The text that stands for an object; an empty name gives the empty caption."""
    return f"a picture of a {name}" if name else ""


def build_tokenizer(max_length, names):
    """A word-level tokenizer over the captions of `names`, all that it may meet."""
    words = sorted({w for n in names for w in caption(n).split()})
    vocabulary = {w: i for i, w in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=max_length, pad_token="[PAD]",
        unk_token="[UNK]", bos_token="[BOS]", eos_token="[EOS]")


def build_clip(preset, names):
    """An untrained CLIPModel of the preset's size, and its tokenizer over `names`."""
    tokenizer = build_tokenizer(
        preset.clip["text_config"]["max_position_embeddings"], names)
    text = dict(preset.clip["text_config"], vocab_size=len(tokenizer), pad_token_id=0,
                bos_token_id=2, eos_token_id=3)
    config = CLIPConfig(text_config=text, vision_config=preset.clip["vision_config"],
                        projection_dim=preset.clip["projection_dim"])
    return CLIPModel(config), tokenizer


def load_clip(folder=WEIGHTS / "clip"):
    """The trained lite CLIP, frozen, in eval mode and float32, and its tokenizer.

    The file is read once, and every caller gets a copy of its own: what one does to it,
    as moving it to a GPU, the others do not see.  Raises OSError where the folder holds
    no CLIP or not all of it."""
    model, tokenizer = _read_clip(Path(folder))
    return copy.deepcopy(model), tokenizer


@lru_cache
def _read_clip(folder):
    check_files(find_weights(folder))
    model, report = CLIPModel.from_pretrained(folder, dtype=torch.float32,
                                              output_loading_info=True)
    check_names(folder, report["missing_keys"], report["unexpected_keys"])
    check_finite(folder, model)
    return (model.eval().requires_grad_(False),
            PreTrainedTokenizerFast.from_pretrained(folder))


def tokenize(tokenizer, captions):
    """Token ids and attention mask, both (B, max_length)."""
    return tokenizer(list(captions), padding="max_length", truncation=True,
                     return_tensors="pt")


def _unit(output):
    return F.normalize(getattr(output, "pooler_output", output).float(), dim=-1)


def image_features(model, pixel_values):
    """(B, 3, E, E) normalised for CLIP -> (B, D) unit vectors."""
    return _unit(model.get_image_features(pixel_values=pixel_values))


def text_features(model, tokenizer, names):
    """Names of objects -> (B, D) unit vectors of their captions."""
    tokens = tokenize(tokenizer, map(caption, names))
    return _unit(model.get_text_features(
        input_ids=tokens.input_ids, attention_mask=tokens.attention_mask))


@torch.no_grad()
def embed(model, images, boxes=None):
    """PIL images, cropped to boxes of fractions where given -> (B, D) unit vectors."""
    if boxes is not None:
        images = [crop_box(i, b) for i, b in zip(images, boxes, strict=True)]
    size = model.config.vision_config.image_size
    return image_features(model, torch.stack([to_clip(squash(i, size)) for i in images]))
