"""Writes slides with the figures and numbers of a run: one HTML file that works offline, and a PowerPoint file."""

import base64
import html
from typing import NamedTuple

import cv2
import pandas as pd

from cxr_utils import config
from cxr_utils._files import atomic
from cxr_utils.data import image_source
from cxr_utils.reports import slides_pptx


class SlideText(NamedTuple):
    """The text of a slide.

    Attributes:
        title: str, the message of the slide in at most about 100 characters.
        text: str, at most about 40 words, one line for each point.
        spoken: str, what the presenter says, for the speaker notes.
        table: frame of str, or `None`.
    """

    title: str
    text: str
    spoken: str
    table: pd.DataFrame | None = None


# The layout is for 1280×720 pixels, where 1rem is 24 pixels. It scales with the window, so that lines break at the same
# place in every window.
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
  @page {{ size: 1280px 720px; margin: 0 }}
  html {{ font-size: calc(min(100vw / 1280, 100vh / 720) * 24); scroll-snap-type: y mandatory; scrollbar-width: none }}
  html::-webkit-scrollbar {{ display: none }}
  body {{ margin: 0; font-family: "Segoe UI", "Helvetica Neue", Arial, sans-serif; line-height: 1.32;
    color: #22303c; background: #fff }}
  section {{ --side: calc((100vw - 53.333rem) / 2 + 1.85rem); --edge: calc((100vh - 30rem) / 2);
    height: 100vh; box-sizing: border-box; padding: calc(var(--edge) + .9rem) var(--side) calc(var(--edge) + .7rem);
    border-top: .2rem solid #0072b2; display: flex; flex-direction: column; scroll-snap-align: start;
    print-color-adjust: exact; -webkit-print-color-adjust: exact }}
  .topic {{ margin: 0; font-size: .75rem; font-weight: 600; letter-spacing: .08em; text-transform: uppercase;
    color: #0072b2 }}
  h1 {{ margin: .1rem 0 .7rem; font-size: 1.5rem; line-height: 1.18; color: #12324f; text-wrap: balance }}
  .content {{ flex: 1; min-height: 0; display: flex; flex-direction: column; gap: .7rem }}
  .picture .content {{ display: grid; grid-template: minmax(0, 1fr) / 13.7rem minmax(0, 1fr); gap: 1.1rem }}
  .picture .words {{ align-self: center }}
  .wide .content {{ display: grid; grid-template: auto minmax(0, 1fr) / minmax(0, 1fr) }}
  .words p {{ margin: 0 0 .6rem; text-wrap: pretty }}
  .plain .words {{ margin-top: 1.2rem; font-size: 1.25rem }}
  .plain .words p {{ margin-bottom: 1.2rem; padding-left: 1rem; border-left: .2rem solid #0072b2 }}
  img {{ width: 100%; height: 100%; object-fit: contain }}
  table {{ width: 100%; border-collapse: collapse }}
  th, td {{ padding: .6rem; font-size: 1.1rem; text-align: left; vertical-align: top;
    border-bottom: 1px solid #c9d3dc }}
  .long th, .long td {{ padding: .2rem .5rem; font-size: 1rem; line-height: 1.15 }}
  td:last-child {{ white-space: nowrap }}
  th {{ color: #fff; background: #12324f }}
  footer {{ display: flex; justify-content: space-between; align-items: center; gap: 1rem; margin-top: .6rem;
    font-size: .62rem; color: #4a5a68 }}
  footer .images {{ padding: .08rem .5rem; border-radius: .3rem; font-weight: 600; color: #5c4300; background: #fdeec4;
    overflow-wrap: anywhere }}
  footer :not(.images) {{ white-space: nowrap }}
  .opening {{ background: #12324f; color: #fff }}
  .opening .topic, .opening footer {{ color: #a9cbe6 }}
  .opening h1 {{ margin-top: auto; font-size: 2.6rem; color: #fff }}
  .opening .content {{ flex: none; margin-bottom: auto; max-width: 42rem; font-size: 1.15rem }}
  @media print {{
    html {{ font-size: 24px }}
    section {{ width: 1280px; height: 720px; padding: .9rem 1.85rem .7rem; overflow: hidden; break-after: page;
      break-inside: avoid }}
    section:last-of-type {{ break-after: auto }}
  }}
</style></head><body>
{slides}
<script>
  const slides = [...document.querySelectorAll("section")];
  const steps = {{ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1}};
  addEventListener("keydown", event => {{
    const step = event.key === " " && event.shiftKey ? -1 : steps[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const shown = slides.findIndex(slide => slide.getBoundingClientRect().bottom > innerHeight / 2);
    slides[Math.min(Math.max(shown + step, 0), slides.length - 1)].scrollIntoView();
  }});
</script>
</body></html>
"""
_SLIDE = """<section class="{kind}"><p class="topic">{topic}</p><h1>{title}</h1>
<div class="content"><div class="words">{text}</div>{shown}</div>
<footer><span class="images">{images}</span><span>{warning}</span><span>{number} / {count}</span></footer></section>"""
_PIXELS = 1280  # largest width of a figure, the width of a slide
_WIDE = 2  # ratio of width to height above which a figure is below the text; otherwise it is next to it
_WARNING = "A pre-diagnosis aid, never a diagnosis."


def write_slides(title, slides):
    """Writes `presentation/slides.html` and `presentation/slides.pptx`.

    Args:
        title: str, title of the presentation.
        slides: list of `(topic, figure, text)`: `figure` is the name of a file in `figs/` or `None`, and `text` is a
            `SlideText` or `None`. A slide is left out if its text is `None` or its figure is missing. The first slide
            opens the presentation.

    Returns:
        List of the topics of the slides that were left out.
    """
    shown, left_out = [], []
    for topic, figure, text in slides:
        path = config.home() / "figs" / f"{figure}.png" if figure else None
        if text is None or (path and not path.is_file()):
            left_out.append(topic)
        else:
            text = text._replace(title=_with_fixed_spaces(text.title), text=_with_fixed_spaces(text.text))
            shown.append((topic, path, path and _is_wide(path), text))
    with atomic(config.home() / "presentation" / "slides.html") as part:
        pages = "\n".join(_page(number, len(shown), *slide) for number, slide in enumerate(shown, 1))
        part.write_text(_PAGE.format(title=html.escape(title), slides=pages), encoding="utf-8")
    with atomic(config.home() / "presentation" / "slides.pptx") as part:
        slides_pptx.write(part, title, shown, image_source(), _WARNING)
    return left_out


def _page(number, count, topic, path, wide, text):
    kind, shown = "opening" if number == 1 else "plain", ""
    if path:
        kind, picture = "wide" if wide else "picture", _embedded(path)
        shown = f'<img alt="{html.escape(topic)}: {html.escape(text.title)}" src="data:image/png;base64,{picture}">'
    elif text.table is not None:
        kind, shown = "table" if len(text.table) < 6 else "long table", _table(text.table)
    return _SLIDE.format(
        kind=kind,
        topic=html.escape(topic),
        title=html.escape(text.title),
        text="".join(f"<p>{html.escape(line)}</p>" for line in text.text.splitlines()),
        shown=shown,
        images=html.escape(image_source()),
        warning=_WARNING,
        number=number,
        count=count,
    )


def _with_fixed_spaces(text):
    """Replaces the space in front of a percent sign by a no-break space."""
    return text.replace(" %", "\u00a0%")


def _is_wide(path):
    height, width = cv2.imread(path).shape[:2]
    return width > _WIDE * height


def _embedded(path):
    """Returns a figure as base64, at most as wide as a slide: at 300 dpi the file would be too large to mail."""
    picture = cv2.imread(path)
    height, width = picture.shape[:2]
    if width > _PIXELS:
        picture = cv2.resize(picture, (_PIXELS, round(height * _PIXELS / width)), interpolation=cv2.INTER_AREA)
    return base64.b64encode(cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]).decode()


def _table(frame):
    # `DataFrame.to_html` would cut texts longer than 50 characters.
    lines = [("th", frame.columns), *(("td", row) for row in frame.to_numpy())]
    return "<table>{}</table>".format(
        "".join(f"<tr>{''.join(f'<{tag}>{html.escape(text)}</{tag}>' for text in line)}</tr>" for tag, line in lines)
    )
