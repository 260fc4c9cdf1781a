"""Results as cards: a picture, what made it, and what can be done with it."""

import ipywidgets as widgets
from traitlets import Bool, Bytes, Unicode

from pbe_lite.studio.assets import STYLE, Base, module
from pbe_lite.studio.controls import OPEN, title
from pbe_lite.studio.pictures import encode, shrink
from pbe_lite.studio.record import png_with_settings

LARGE = 192  # pixels of a card's picture
OPENED = 1280  # and of one that was opened


class Card(Base):
    """A `session.Answer` on the page; a click opens it beside its source.

    acts: {"use", "again": function of the answer}, what its buttons call: edit the
    picture next, and put back all that made it."""

    _esm = module("card.js")
    _css = STYLE
    picture = Bytes(help="PNG or JPEG").tag(sync=True)
    caption = Unicode().tag(sync=True)
    details = Unicode(help="the settings in words").tag(sync=True)
    known = Bool(help="whether there are settings to put back").tag(sync=True)

    def __init__(self, answer, acts):
        super().__init__(picture=encode(answer.small(LARGE)), caption=answer.title,
                         details=answer.details, known=answer.question is not None)
        self.answer, self.acts = answer, acts
        self.on_msg(self._receive)

    def _receive(self, _, message, buffers):
        if message.get("do") in self.acts:
            self.acts[message["do"]](self.answer)
        elif message.get("do") == "open":
            self.send({"do": "open"}, self._views())
        elif message.get("do") == "save":
            name = self.answer.title.replace(", ", "-").replace(" ", "-") + ".png"
            self.send({"do": "save", "name": name}, [png_with_settings(self.answer)])

    def _views(self):
        """The picture, and where they are known its source and the exemplar."""
        question, views = self.answer.question, [self.answer.small(OPENED)]
        if question is not None:
            views += [shrink(question.image, OPENED), shrink(question.exemplar, LARGE)]
        return [encode(view) for view in views]


class Cards(widgets.VBox):
    """A titled set of cards; `kept` of them at most, the first ones."""

    def __init__(self, text, kept=None):
        self.row = widgets.HBox().add_class("pbe-cards")
        super().__init__([title(text), self.row], layout=OPEN)
        self.kept = kept
        self.cards = ()

    @property
    def cards(self):
        """The cards, the first one first."""
        return self.row.children

    @cards.setter
    def cards(self, cards):
        kept = tuple(cards)[:self.kept]
        dropped = [card for card in cards if card not in kept]
        self.row.children = kept
        self.layout.display = None if kept or not self.kept else "none"
        for card in dropped:
            card.close()
