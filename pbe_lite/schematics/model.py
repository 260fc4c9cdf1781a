"""The networks: the whole pipeline, the U-Net, the exemplar's bottleneck."""

from pbe_lite.config import FULL, Preset
from pbe_lite.schematics.drawing import (
    EXEMPLAR,
    TRAINED,
    arrow,
    block,
    canvas,
    dot,
    icon,
    key,
    squares,
    stack,
    words,
)
from pbe_lite.style import FAINT, TEXT, NotebookFigure, styled

GUESS = {"epsilon": r"\epsilon", "sample": r"\hat{z}"}  # what the U-Net predicts


def scaled(preset):
    """Whether the exemplar's vector also scales and shifts the residual blocks."""
    return "class_embed_type" in preset.unet


@styled
def pipeline(preset: Preset = FULL) -> NotebookFigure:
    """How an edit is made: encode, denoise with guidance, decode, paste."""
    size, c, steps = preset.latent_size, preset.latent_channels, preset.sampling_steps
    guess, latent = GUESS[preset.prediction], f"{c} \u00d7 {size} \u00d7 {size}"
    fig, axis = canvas(500, (
        "The pipeline. The autoencoder encodes the source, its hole grey, to z_masked; the "
        "mask is made smaller; both are joined with z_t, which starts as noise, and go "
        "into the U-Net. The CLIP image encoder and a mapper turn the exemplar into one "
        "token c for the U-Net's cross-attention. Each step runs the U-Net with c and with "
        f"the null vector v and combines both by guidance, s = {preset.guidance_scale:g}. "
        f"After {steps} steps z_0 is decoded, and its hole is pasted into the source."))
    key(axis, 32, 32)

    stack(axis, 330, 66, "$z_t$", latent)
    words(axis, 288, 64, "starts\nas noise", TEXT - 1, FAINT, ha="right")
    icon(axis, 66, 165, "hole")
    words(axis, 66, 224, "source, hole grey", TEXT - 1)
    block(axis, 198, 165, 100, 50, "autoencoder:\nencode", "frozen")
    stack(axis, 330, 165, r"$z_\mathrm{masked}$", latent)
    icon(axis, 66, 290, "mask")
    words(axis, 66, 349, "mask", TEXT - 1)
    block(axis, 198, 290, 100, 50, f"shrink to\n1/{preset.latent_factor}")
    stack(axis, 330, 290, "mask", f"1 \u00d7 {size} \u00d7 {size}", sheets=1)
    if preset.hole_octaves:
        where = preset.unet_channels - 2 * c - 1
        words(axis, 330, 346, f"with {where} channels that\nsay where in the hole",
              TEXT - 2, FAINT)
    for y in (165, 290):
        arrow(axis, (114, y), (147, y))
        arrow(axis, (249, y), (299, y))

    block(axis, 485, 165, 110, 150, "U-Net", "trained", TEXT + 3)
    arrow(axis, (364, 62), (398, 62), (398, 120), (429, 120))
    arrow(axis, (364, 165), (429, 165))
    arrow(axis, (356, 290), (398, 290), (398, 210), (429, 210))

    icon(axis, 66, 424, "exemplar")
    words(axis, 66, 483, "exemplar", TEXT - 1)
    block(axis, 198, 424, 100, 50, "CLIP image\nencoder", "frozen")
    block(axis, 338, 424, 76, 50, "mapper", "trained")
    block(axis, 458, 424, 56, 34, "$c$", "exemplar")
    words(axis, 458, 462, f"one token,\n{preset.unet['cross_attention_dim']} numbers",
          TEXT - 1, FAINT)
    block(axis, 570, 424, 56, 34, "$v$", "trained")
    words(axis, 570, 462, "null vector,\nlearned", TEXT - 1, FAINT)
    arrow(axis, (114, 424), (147, 424))
    arrow(axis, (249, 424), (299, 424), color=EXEMPLAR, text="class\ntoken", at=(273, 402))
    arrow(axis, (377, 424), (429, 424), color=EXEMPLAR)
    arrow(axis, (458, 406), (458, 242), color=EXEMPLAR)
    arrow(axis, (570, 406), (570, 330), (515, 330), (515, 242), color=TRAINED)
    words(axis, 467, 368, "cross-\nattention" + ",\nscale, shift" * scaled(preset),
          TEXT - 1, EXEMPLAR, ha="left")

    block(axis, 656, 165, 150, 76, f"guidance, $s$ = {preset.guidance_scale:g}\n"
          f"${guess}(v) + s\\,[{guess}(c) - {guess}(v)]$", size=TEXT - 1)
    arrow(axis, (541, 140), (580, 140), text=f"${guess}(c)$", at=(560, 124))
    arrow(axis, (541, 190), (580, 190), text=f"${guess}(v)$", at=(560, 207))
    arrow(axis, (656, 126), (656, 28), (330, 28), (330, 36))
    words(axis, 493, 15, f"a step to a lower $t$, with less noise; {steps} steps", TEXT - 1)
    arrow(axis, (732, 165), (797, 165), text="at the\nend", at=(764, 143))
    stack(axis, 830, 165, "$z_0$", latent)
    block(axis, 830, 250, 116, 46, "autoencoder:\ndecode", "frozen")
    block(axis, 830, 327, 116, 46, "paste the hole\ninto the source")
    icon(axis, 830, 424, "result")
    words(axis, 830, 483, "result", TEXT - 1)
    for top, bottom in ((206, 226), (274, 303), (351, 377)):
        arrow(axis, (830, top), (830, bottom))
    words(axis, 762, 327, "outside the hole\nthe source stays\nas it is", TEXT - 1, FAINT,
          ha="right")
    return fig


@styled
def unet(preset: Preset = FULL) -> NotebookFigure:
    """The U-Net: its input channels, and where the exemplar enters."""
    widths, c = preset.unet["block_out_channels"], preset.latent_channels
    where = preset.unet_channels - 2 * c - 1
    alpha = preset.alpha_weight > 0
    bottom = 86 + 76 * len(widths)  # where the middle block lies
    fig, axis = canvas(bottom + 210, (
        f"The U-Net. Its input has {preset.unet_channels} channels: z_t {c}, z_masked {c}, "
        f"mask 1{f', where in the hole {where}' * bool(where)}. Going down, blocks of "
        f"{', '.join(map(str, widths))} channels on ever smaller grids, then the same "
        "going up, with a skip connection on each level. The exemplar's token c enters the "
        "blocks that are marked c by cross-attention"
        f"{', and all residual blocks by scale and shift' * scaled(preset)}."))
    parts = [("$z_t$", c), (r"$z_\mathrm{masked}$", c), ("mask", 1)]
    parts += [("where in\nthe hole", where)] * bool(where)
    for i, (name, channels) in enumerate(parts):
        y = 86 + 38 * (i - (len(parts) - 1) / 2)
        block(axis, 58, y, 72, 34, name, size=TEXT - 1)
        words(axis, 98, y, str(channels), TEXT - 1, FAINT, ha="left")
    arrow(axis, (122, 86), (181, 86), at=(150, 60),
          text=f"conv\n{preset.unet_channels} to {widths[0]}")
    arrow(axis, (719, 86), (780, 86), at=(750, 60),
          text=f"conv\n{widths[0]} to {c + alpha}")
    guess = {"epsilon": "the noise", "sample": "$z_0$"}[preset.prediction]
    block(axis, 832, 86, 96, 46, f"guess of\n{guess}")
    words(axis, 832, 114, f"{c} channels" + ",\nand 1: the\nobject's alpha" * alpha,
          TEXT - 1, FAINT, va="top")
    words(axis, 450, 74, "skip connections", TEXT - 1, FAINT)
    _levels(axis, preset)
    _inside_a_block(axis, bottom + 44, scaled(preset))
    return fig


def _levels(axis, preset):
    """The blocks going down, in the middle, and going up."""
    widths = preset.unet["block_out_channels"]
    crossed = ["CrossAttn" in name for name in preset.unet["down_block_types"]]
    step = 152 / (len(widths) - 1)
    for i, width in enumerate(widths):
        x, y = 228 + step * i, 86 + 76 * i
        side = preset.latent_size // 2 ** i
        text = f"{width}\n{side} \u00d7 {side}"
        after = x + step if i + 1 < len(widths) else 450
        for place, inner in ((x, 1), (900 - x, -1)):
            block(axis, place, y, 90, 52, text, "trained")
            if crossed[i]:
                dot(axis, place + 45 * inner, y - 24, "c")
        arrow(axis, (x + 58, y), (900 - x - 48, y), color=FAINT, line=(0, (3, 3)))
        arrow(axis, (x - 24, y + 28), (x - 24, y + 76), (after - 47, y + 76))
        arrow(axis, (900 - after + 47, y + 76), (924 - x, y + 76), (924 - x, y + 28))
    block(axis, 450, y + 76, 90, 52, text, "trained")
    dot(axis, 495, y + 52, "c")


def _inside_a_block(axis, top, scaled):
    """The chain of layers in a block that is marked c."""
    block(axis, 450, top + 76, 868, 152, kind="pale")
    words(axis, 32, top + 20, "inside a block marked", ha="left")
    dot(axis, 204, top + 20, "c")
    y, places = top + 112, (190, 385, 580, 775)
    names = ("residual block\n(convolutions)", "self-attention",
             "cross-attention\nto one token", "feed-forward")
    for x, name in zip(places, names):
        arrow(axis, (x - 124, y), (x - 70, y))
        block(axis, x, y, 136, 50, name, "trained")
    arrow(axis, (844, y), (876, y))
    arrow(axis, (220, top + 58), (220, y - 28), text="time $t$", at=(252, top + 66))
    arrow(axis, (580, top + 50), (580, y - 28), color=EXEMPLAR)
    dot(axis, 580, top + 42, "c")
    words(axis, 598, top + 54, "keys and values of one token:\nevery place gets the same",
          TEXT - 1, EXEMPLAR, ha="left")
    if scaled:
        arrow(axis, (160, top + 66), (160, y - 28), color=EXEMPLAR)
        dot(axis, 160, top + 58, "c")
        words(axis, 144, top + 62, "scale, shift,\nin all blocks", TEXT - 1, EXEMPLAR,
              ha="right")


@styled
def bottleneck(preset: Preset = FULL) -> NotebookFigure:
    """What is left of the exemplar: tokens, the class token, one token for the U-Net."""
    vision, out = preset.clip["vision_config"], preset.unet["cross_attention_dim"]
    size, width = vision["image_size"], vision["hidden_size"]
    grid, layers = size // vision["patch_size"], vision["num_hidden_layers"]
    tokens, blocks = grid ** 2 + 1, (layers + 1) // 5
    sizes = (size * size * 3, tokens * width, width, out)
    fig, axis = canvas(300, (
        f"The bottleneck. The exemplar, {size} by {size} pixels, goes through the frozen "
        f"CLIP image encoder of {layers} layers, which gives {tokens} tokens of {width} "
        f"numbers: one class token and {grid ** 2} patch tokens. Only the class token is "
        f"kept. The mapper, {blocks} transformer block{'s' * (blocks > 1)} on one token, a "
        f"normalisation and a linear layer make of it one token of {out} numbers, c. "
        f"Numbers that are left: {', '.join(f'{n:,}' for n in sizes)}."))
    icon(axis, 76, 106, "exemplar", 104)
    block(axis, 226, 106, 112, 76, f"CLIP image\nencoder,\n{layers} layers", "frozen")
    squares(axis, 412, 106, grid, 128)
    block(axis, 322, 106, 18, 18, kind="exemplar")
    words(axis, 322, 80, "class\ntoken", TEXT - 1, EXEMPLAR, va="bottom")
    words(axis, 412, 31, f"{grid ** 2} patch tokens: not used", TEXT - 1, FAINT)
    mapper = f"mapper:\n{blocks} block{'s' * (blocks > 1)},\nLayerNorm,\nlinear"
    block(axis, 600, 106, 110, 84, mapper, "trained")
    block(axis, 786, 106, 64, 40, "$c$", "exemplar", TEXT + 2)
    words(axis, 786, 148, "one token,\nto the U-Net", TEXT - 1, FAINT)
    arrow(axis, (130, 106), (168, 106))
    arrow(axis, (284, 106), (310, 106))
    arrow(axis, (322, 117), (322, 188), (510, 188), (510, 106), (543, 106), color=EXEMPLAR)
    arrow(axis, (657, 106), (752, 106), color=EXEMPLAR)
    shapes = ((size, size, 3), (tokens, width), (1, width), (1, out))
    for x, shape, count in zip((76, 394, 560, 786), shapes, sizes):
        text = " \u00d7 ".join(map(str, shape))
        words(axis, x, 226, text)
        words(axis, x, 250, f"= {count:,} numbers", TEXT - 1, FAINT)
        length = max(2, 120 * count / max(sizes))
        axis.fill_between((x - length / 2, x + length / 2), 268, 278, color=EXEMPLAR,
                          linewidth=0)
    return fig
