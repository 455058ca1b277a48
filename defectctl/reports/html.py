"""Builds one self-contained HTML page: escaped text, tables, embedded pictures, and a calm style that prints well."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Sequence

_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that no HTML file may hold; file names may."""

_SIGNATURES = {b"\xff\xd8": "jpeg", b"\x89P": "png"}

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, "Segoe UI", Roboto, Arial, sans-serif; color: #1c1c1c; background: #fff;
  max-width: 62rem; margin: 1.5rem auto 3rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; padding-bottom: .2rem; border-bottom: 1px solid #999; }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; overflow-wrap: anywhere; }
p, ul, ol { margin: .4rem 0; }
a { color: inherit; }
li, figcaption, p { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
.quiet { color: #555; font-size: .87rem; }
.numbers { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
.numbers div { border: 1px solid #bbb; border-radius: 4px; padding: .35rem .9rem; min-width: 5.5rem; }
.numbers b { display: block; font-size: 1.35rem; }
.act { border-left: 5px solid #1c1c1c; background: #f4f4f1; padding: .5rem 1rem; margin: .8rem 0; }
table { border-collapse: collapse; margin: .5rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .18rem .7rem .18rem 0; border-bottom: 1px solid #ddd; }
th { font-weight: 600; border-bottom-color: #999; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .45em; border: 1px solid #333; }
.pictures { display: flex; flex-wrap: wrap; gap: .7rem; margin: .5rem 0; }
figure { margin: 0; max-width: 14rem; break-inside: avoid; }
figure img { display: block; max-width: 100%; border: 1px solid #999; }
figure.cells img { width: 10rem; image-rendering: pixelated; }
figcaption { font-size: .78rem; color: #444; }
ul.files { font-size: .85rem; padding-left: 1.2rem; }
svg { max-width: 100%; height: auto; display: block; margin: .3rem 0; }
svg text { font: 12px system-ui, "Segoe UI", Roboto, Arial, sans-serif; fill: #1c1c1c; }
@media print {
  body { max-width: none; margin: 0; font-size: 10.5pt; }
  h2, h3 { break-after: avoid; }
  tr, svg, .numbers, .act { break-inside: avoid; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""


class Markup(str):
    """Text that is HTML already; everything else is escaped where it enters the page."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """Text as HTML shows it literally, in an element or in a quoted attribute; `Markup` stays as it is."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(_UNFIT.sub("\ufffd", str(text)), quote=True))


def tag(name: str, *content: object, **attributes: object) -> Markup:
    """An element with its content, escaped unless it is `Markup`; an attribute `class_` is `class`."""
    told = "".join(f' {key.strip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{told}>{''.join(map(escape, content))}</{name}>")


def join(parts: Sequence[object], between: str = "") -> Markup:
    """Several pieces in a row."""
    return Markup(escape(between).join(map(escape, parts)))


def table(head: Sequence[object], rows: Sequence[Sequence[object]], text_columns: int = 1) -> Markup:
    """A table; the first `text_columns` columns hold text, the others numbers, set to the right."""
    kinds = [{} if place < text_columns else {"class_": "n"} for place in range(len(head))]
    lines = [tag("tr", *(tag("th", cell, **kind) for cell, kind in zip(head, kinds, strict=True)))]
    for row in rows:
        lines.append(tag("tr", *(tag("td", cell, **kind) for cell, kind in zip(row, kinds, strict=True))))
    return tag("div", tag("table", *lines), class_="wide")


def scrolled(content: Markup) -> Markup:
    """Wide content in a box that scrolls by itself on a narrow screen, where the page's style says so."""
    return tag("div", content, class_="scroll")


def bullets(items: Sequence[object], **attributes: object) -> Markup:
    """A list without order."""
    return tag("ul", *(tag("li", item) for item in items), **attributes)


def figure(data: bytes, caption: object, alternative: str, **attributes: object) -> Markup:
    """A picture, embedded, with a caption below it.

    Args:
        data: a whole JPEG or PNG file.
        alternative: what a screen reader says instead.
    """
    kind = _SIGNATURES[data[:2]]
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    image = Markup(f'<img alt="{escape(alternative)}" src="{source}">')
    return tag("figure", image, tag("figcaption", caption), **attributes)


def swatch(colour: tuple[int, int, int]) -> Markup:
    """A small square of a class's colour, RGB 0..255."""
    return tag("span", class_="swatch", style=f"background:{css_colour(colour)}")


def css_colour(colour: tuple[int, int, int]) -> str:
    """RGB 0..255 as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def page(title: str, body: Markup, more_style: str = "") -> str:
    """The whole file's text; needs neither network nor scripts. `more_style` is CSS that only this page needs."""
    view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head = f'<meta charset="utf-8">\n{view}\n{tag("title", title)}\n<style>{STYLE}{more_style}</style>'
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n'


def amount(value: float) -> str:
    """A number with thousands told apart: whole where it is whole, else two decimals or, below 1, three digits."""
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.3g}"


def score_text(value: float, digits: int = 4) -> str:
    """A score or threshold in 0..1; one just inside is never written as 0 or 1."""
    told = f"{value:.{digits}g}"
    return told if value in (0, 1) or 0 < float(told) < 1 else repr(float(value))


def percent(share: float) -> str:
    """A share as percent, two digits or more, never an exponent, and never 0 % or 100 % where it is not."""
    value = 100 * share
    near = min(value, 100 - value)
    if near <= 0:
        return f"{value:.0f} %"
    if near < 1e-4:
        return "< 0.0001 %" if value < 50 else "> 99.9999 %"
    digits = max(1, 1 - math.floor(math.log10(near)))
    return f"{value:.{digits}f} %"
