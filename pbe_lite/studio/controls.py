"""Small parts of the Studio, all of core ipywidgets: notices, upload, settings, cards."""

import html

import ipywidgets as widgets

from pbe_lite.data.images import UnreadableImage, load
from pbe_lite.data.reading import read_image
from pbe_lite.studio.session import png, shrink

COLUMN = {"width": "100%", "max_width": "370px", "overflow": "visible"}
ROW = {"flex_flow": "row wrap", "grid_gap": "4px 20px", "overflow": "visible",
       "align_items": "flex-start"}
WIDE = {"width": "auto"}
LARGE, SMALL = 192, 112  # pixels: a card's picture among the results, and later on


def read_upload(files):
    """The value of a FileUpload -> (H, W, 3) uint8.

    Raises ValueError, naming the file, for what is no picture."""
    file = files[0]
    try:
        image = load(bytes(file["content"]))
    except UnreadableImage:
        raise ValueError(f"{file['name']} cannot be read: it is no picture, or a broken "
                         "one; PNG, JPEG and WebP are fine") from None
    return read_image(image, file["name"])


def uploader(description, act, fail):
    """A FileUpload; calls act(picture) with (H, W, 3) uint8, or fail(error)."""
    upload = widgets.FileUpload(accept="image/*", description=description,
                                tooltip="PNG, JPEG or WebP from your computer",
                                layout={"width": "auto"})

    def take(change):
        if not change["new"]:
            return
        try:
            act(read_upload(change["new"]))
        except ValueError as error:
            fail(error)
        upload.value = ()  # so that the same file can be taken again

    upload.observe(take, "value")
    return upload


def notice(text="", kind="info"):
    """A line for the reader, as HTML; kind: "info" or "error"."""
    role, text = ("alert" if kind == "error" else "status"), html.escape(str(text))
    return f'<div class="pbe-message pbe-{kind}" role="{role}">{text}</div>'


def title(text):
    """A heading inside a widget."""
    return widgets.HTML(f'<div class="pbe-title"><b>{html.escape(text)}</b></div>')


class Settings(widgets.VBox):
    """What a round of painting is told: arms, guidance, steps, seed, samples.

    arms: names; guidance, steps: where the controls start; most_steps: their limit."""

    def __init__(self, arms, guidance, steps, most_steps):
        super().__init__(layout=COLUMN)
        self.arms = {name: widgets.Checkbox(value=True, description=name, indent=False,
                                            layout={"width": "auto"}) for name in arms}
        self.own = widgets.Checkbox(
            value=True, description="guidance as each arm was trained for", indent=False,
            tooltip="an arm without a null vector makes sense at guidance 1 only",
            layout=WIDE)
        self.guidance = widgets.FloatSlider(
            value=guidance, min=1, max=10, step=.5, description="guidance", disabled=True,
            tooltip="how strictly the exemplar is followed", layout=WIDE)
        widgets.dlink((self.own, "value"), (self.guidance, "disabled"))
        self.steps = number("steps", steps, 1, most_steps, "of denoising")
        self.seed = number("seed", 0, 0, 2 ** 31 - 1, "of the noise")
        self.samples = number("samples", 1, 1, 8, "pictures of each arm, seeds in a row")
        self.children = (widgets.HBox(list(self.arms.values()), layout=ROW), self.own,
                         self.guidance, self.steps, self.seed, self.samples)

    @property
    def chosen(self):
        """Names of the arms to paint with.  Raises ValueError where none is ticked."""
        names = [name for name, box in self.arms.items() if box.value]
        if not names:
            raise ValueError("no arm is chosen: tick at least one")
        return names

    @property
    def options(self):
        """The numbers, as keyword arguments of `session.ask`."""
        return dict(guidance_scale=None if self.own.value else self.guidance.value,
                    steps=self.steps.value, seed=self.seed.value,
                    samples=self.samples.value)


def number(name, value, least, most, meaning):
    """A box for an integer; `meaning` shows when the pointer rests on it."""
    return widgets.BoundedIntText(value=value, min=least, max=most, description=name,
                                  tooltip=f"{name} {meaning}", layout={"width": "200px"})


def button(text, act, **options):
    """A button as wide as its text; `act()` is called without arguments."""
    made = widgets.Button(description=text, layout={"width": "auto"}, **options)
    made.on_click(lambda _: act())
    return made


class Card(widgets.VBox):
    """A `session.Answer` with its two buttons: use(answer), save(answer)."""

    def __init__(self, answer, use, save, longest=LARGE):
        self.picture = widgets.Image(value=png(shrink(answer.image, LARGE)))
        self.parts = (
            self.picture, title(answer.title),
            button("Use as source", lambda: use(answer), tooltip="edit this picture next"),
            button("Save PNG", lambda: save(answer), tooltip="write it to a file"))
        super().__init__(self.parts, layout={"overflow": "visible"})
        self.answer = answer
        self.resize(longest)

    def resize(self, longest):
        """Show the picture in a square of `longest` pixels."""
        side = f"{longest}px"
        self.picture.layout = {"width": side, "height": side, "object_fit": "contain"}
        self.layout.width = f"{longest + 8}px"

    def discard(self):
        """Take the card out of the browser's memory."""
        for part in (*self.parts, self):
            part.close()


class Cards(widgets.VBox):
    """A titled row of cards; `kept` of them at most, the first ones."""

    def __init__(self, text, kept=None):
        self.row = widgets.HBox(layout=ROW)
        super().__init__([title(text), self.row], layout={"overflow": "visible"})
        self.kept = kept

    @property
    def cards(self):
        """The cards, the first one first."""
        return self.row.children

    @cards.setter
    def cards(self, cards):
        kept = tuple(cards)[:self.kept]
        dropped = [card for card in cards if card not in kept]
        self.row.children = kept
        for card in dropped:
            card.discard()
