"""A talk of the run's own figures and numbers: one file that any browser opens without network, and editable slides."""

import base64
import html
from typing import NamedTuple

import cv2
import pandas as pd

from cxr_utils import config
from cxr_utils._files import atomic
from cxr_utils.data.labels import image_source
from cxr_utils.reports import slides_pptx


class SlideText(NamedTuple):
    """What a slide says.

    Attributes:
        title: the message, one sentence.
        text: at most some 40 words, a line for each thought.
        spoken: what the presenter says, for the notes.
        table: frame of strings, or `None`.
    """

    title: str
    text: str
    spoken: str
    table: pd.DataFrame | None = None


# Set for 1280×720, where 1rem is 24 pixels, and scaled to the window as a whole, so that no window breaks a line elsewhere.
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
  @page {{ size: 1280px 720px; margin: 0 }}
  html {{ font-size: calc(min(100vw / 1280, 100vh / 720) * 24); scroll-snap-type: y mandatory; scrollbar-width: none }}
  html::-webkit-scrollbar {{ display: none }}
  body {{ margin: 0; font-family: "Segoe UI", "Helvetica Neue", Arial, sans-serif; line-height: 1.32; color: #22303c; background: #fff }}
  section {{ --side: calc((100vw - 53.333rem) / 2 + 1.85rem); --edge: calc((100vh - 30rem) / 2);
    height: 100vh; box-sizing: border-box; padding: calc(var(--edge) + .9rem) var(--side) calc(var(--edge) + .7rem); border-top: .2rem solid #0072b2;
    display: flex; flex-direction: column; scroll-snap-align: start; print-color-adjust: exact; -webkit-print-color-adjust: exact }}
  .topic {{ margin: 0; font-size: .75rem; font-weight: 600; letter-spacing: .08em; text-transform: uppercase; color: #0072b2 }}
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
  th, td {{ padding: .6rem; font-size: 1.1rem; text-align: left; vertical-align: top; border-bottom: 1px solid #c9d3dc }}
  .long th, .long td {{ padding: .2rem .5rem; font-size: 1rem; line-height: 1.15 }}
  td:last-child {{ white-space: nowrap }}
  th {{ color: #fff; background: #12324f }}
  footer {{ display: flex; justify-content: space-between; align-items: center; gap: 1rem; margin-top: .6rem; font-size: .66rem; color: #4a5a68 }}
  footer .images {{ padding: .08rem .5rem; border-radius: .3rem; font-weight: 600; color: #5c4300; background: #fdeec4; overflow-wrap: anywhere }}
  footer :not(.images) {{ white-space: nowrap }}
  .opening {{ background: #12324f; color: #fff }}
  .opening .topic, .opening footer {{ color: #a9cbe6 }}
  .opening h1 {{ margin-top: auto; font-size: 2.6rem; color: #fff }}
  .opening .content {{ flex: none; margin-bottom: auto; max-width: 42rem; font-size: 1.15rem }}
  @media print {{
    html {{ font-size: 24px }}
    section {{ width: 1280px; height: 720px; padding: .9rem 1.85rem .7rem; overflow: hidden; break-after: page; break-inside: avoid }}
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
_PIXELS = 1280  # of a figure in the page, as wide as its slide
_WIDE = 2  # a figure this many times as wide as it is high stands below its words, another beside them
_WARNING = "A pre-diagnosis aid, never a diagnosis."


def write_slides(title, slides):
    """Writes `presentation/slides.html` and `presentation/slides.pptx`.

    Args:
        title: of the talk.
        slides: list of `(topic, figure, words)`; `figure` is a name in `figs/` or `None`, `words` are `SlideText` or `None`. A slide whose
            figure or words are not there is left out. The first one opens the talk.

    Returns:
        List of the topics of slides left out.
    """
    shown, left_out = [], []
    for topic, figure, words in slides:
        path = config.home() / "figs" / f"{figure}.png" if figure else None
        if words is None or (path and not path.is_file()):
            left_out.append(topic)
        else:
            shown.append((topic, path, path and _is_wide(path), words))
    with atomic(config.home() / "presentation" / "slides.html") as part:
        pages = "\n".join(_page(number, len(shown), *slide) for number, slide in enumerate(shown, 1))
        part.write_text(_PAGE.format(title=html.escape(title), slides=pages), encoding="utf-8")
    with atomic(config.home() / "presentation" / "slides.pptx") as part:
        slides_pptx.write(part, title, shown, image_source(), _WARNING)
    return left_out


def _page(number, count, topic, path, wide, words):
    kind, shown = "opening" if number == 1 else "plain", ""
    if path:
        kind, picture = "wide" if wide else "picture", _embedded(path)
        shown = f'<img alt="{html.escape(topic)}: {html.escape(words.title)}" src="data:image/png;base64,{picture}">'
    elif words.table is not None:
        kind, shown = "table" if len(words.table) < 6 else "long table", _table(words.table)
    return _SLIDE.format(
        kind=kind, topic=html.escape(topic), title=html.escape(words.title), shown=shown, number=number, count=count,
        text="".join(f"<p>{html.escape(line)}</p>" for line in words.text.splitlines()),
        images=html.escape(image_source()), warning=_WARNING,
    )  # fmt: skip


def _is_wide(path):
    height, width = cv2.imread(path).shape[:2]
    return width > _WIDE * height


def _embedded(path):
    """Returns a figure for the page: as wide as a screen shows it, since 300 dpi would make a file that no mail takes."""
    picture = cv2.imread(path)
    height, width = picture.shape[:2]
    if width > _PIXELS:
        picture = cv2.resize(picture, (_PIXELS, round(height * _PIXELS / width)), interpolation=cv2.INTER_AREA)
    return base64.b64encode(cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]).decode()


def _table(frame):
    # Not by pandas, which cuts what is longer than 50 characters.
    lines = [("th", frame.columns), *(("td", row) for row in frame.to_numpy())]
    return "<table>{}</table>".format(
        "".join(f"<tr>{''.join(f'<{tag}>{html.escape(text)}</{tag}>' for text in line)}</tr>" for tag, line in lines)
    )
