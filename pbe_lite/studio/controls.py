"""Small parts of the Studio, all of core ipywidgets: notices, titles, buttons, settings."""

import html
import random

import ipywidgets as widgets

from pbe_lite.studio.session import SOFTNESS

OPEN = {"overflow": "visible"}
WIDE = {"width": "auto"}
LABEL = {"description_width": "70px"}
LAST_SEED = 2 ** 31 - 1


def notice(text="", kind="info"):
    """A line for the reader, as HTML; kind: "info" or "error"."""
    role, text = ("alert" if kind == "error" else "status"), html.escape(str(text))
    return f'<div class="pbe-message pbe-{kind}" role="{role}">{text}</div>'


def in_words(error):
    """An exception as one line for the reader."""
    expected = isinstance(error, ValueError)
    return str(error) if expected else f"{type(error).__name__}: {error}"


def title(text):
    """A heading inside a widget."""
    return widgets.HTML(f'<h3 class="pbe-title">{html.escape(text)}</h3>')


def number(name, value, least, most, meaning):
    """A box for an integer; `meaning` shows when the pointer rests on it."""
    return widgets.BoundedIntText(value=value, min=least, max=most, description=name,
                                  tooltip=f"{name} {meaning}", style=LABEL,
                                  layout={"width": "180px"})


def button(text, act, **options):
    """A button as wide as its text; `act()` is called without arguments."""
    made = widgets.Button(description=text, layout=WIDE, **options)
    made.on_click(lambda _: act())
    return made


def row(*parts):
    """Parts side by side, in lines as wide as there is room."""
    return widgets.HBox(parts).add_class("pbe-row")


def _slider(name, value, least, most, step, meaning, **options):
    return widgets.FloatSlider(value=value, min=least, max=most, step=step,
                               description=name, tooltip=meaning, layout=WIDE,
                               style=LABEL, **options)


class Settings(widgets.VBox):
    """What a round of painting is told: arms, guidance, steps, seed, samples, edge.

    arms: names; guidance, steps: where the controls start; most_steps: their limit."""

    def __init__(self, arms, guidance, steps, most_steps):
        super().__init__(layout=OPEN)
        self.arms = {name: widgets.Checkbox(value=True, description=name, indent=False,
                                            layout=WIDE) for name in arms}
        self.own = widgets.Checkbox(
            value=True, description="guidance of each arm", indent=False,
            tooltip="an arm without a null vector makes sense at guidance 1 only",
            layout=WIDE)
        self.guidance = _slider("guidance", guidance, 1, 10, .5,
                                "how strictly the exemplar is followed", disabled=True)
        widgets.dlink((self.own, "value"), (self.guidance, "disabled"))
        self.steps = number("steps", steps, 1, most_steps, "of denoising")
        self.seed = number("seed", 0, 0, LAST_SEED, "of the noise")
        self.random = widgets.Checkbox(
            value=False, description="a new seed for every round", indent=False,
            tooltip="without a tick the seed stays as it is", layout=WIDE)
        self.samples = number("samples", 1, 1, 8, "pictures of each arm, seeds in a row")
        # the browser rounds to whole steps: the default must be one
        self.softness = _slider("soft edge", SOFTNESS, 0, 6 * SOFTNESS, SOFTNESS / 2,
                                "how far inside the hole the new content fades in",
                                readout_format=".0%")
        self.children = (row(*self.arms.values()), self.own, self.guidance,
                         row(self.steps, self.samples, self.seed), self.random,
                         self.softness)

    @property
    def chosen(self):
        """Names of the arms to paint with.  Raises ValueError where none is ticked."""
        names = [name for name, box in self.arms.items() if box.value]
        if self.arms and not names:
            raise ValueError("no arm is chosen: tick at least one")
        return names

    @property
    def options(self):
        """The numbers, as keyword arguments of `session.ask`."""
        return dict(guidance_scale=None if self.own.value else self.guidance.value,
                    steps=self.steps.value, seed=self.seed.value,
                    samples=self.samples.value, softness=self.softness.value)

    def roll(self):
        """Another seed, where one is wanted for every round."""
        if self.random.value:
            self.seed.value = random.randint(0, LAST_SEED)

    def restore(self, arm, guidance_scale, steps, seed, softness):
        """Set what made one picture; what was not used (None) stays as it is."""
        self.softness.max = max(self.softness.max, softness)
        self.softness.value = softness
        if guidance_scale is None:
            return
        for name, box in self.arms.items():
            box.value = name == arm or arm not in self.arms
        self.own.value, self.random.value = False, False
        self.guidance.max = max(self.guidance.max, guidance_scale)
        self.guidance.min = min(self.guidance.min, guidance_scale)
        self.guidance.value = guidance_scale
        self.steps.value, self.seed.value, self.samples.value = steps, seed, 1

    def watch(self, act):
        """Call act() whenever one of the controls is moved."""
        for control in (*self.arms.values(), self.own, self.guidance, self.steps,
                        self.seed, self.samples, self.softness):
            control.observe(lambda _: act(), "value")
