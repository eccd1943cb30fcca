"""Writes slides as one HTML file that loads nothing: arrow keys, one slide per printed page, scales with the window."""

import base64
import html

import cv2
import numpy as np

# The layout is for 1280×720 pixels, where 1rem is 24 pixels. It scales with the window, so that lines break at the same
# place in every window.
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
  @page {{ size: 1280px 720px; margin: 0 }}
  html {{ font-size: calc(min(100vw / 1280, 100vh / 720) * 24); scroll-snap-type: y mandatory; scrollbar-width: none }}
  body {{ margin: 0; font-family: "Segoe UI", "Helvetica Neue", Arial, sans-serif; line-height: 1.3; color: #22303c }}
  section {{ --side: calc((100vw - 53.333rem) / 2 + 1.85rem); --edge: calc((100vh - 30rem) / 2);
    height: 100vh; box-sizing: border-box; padding: calc(var(--edge) + .8rem) var(--side) calc(var(--edge) + .6rem);
    border-top: .2rem solid #0072b2; display: flex; flex-direction: column; gap: .5rem; scroll-snap-align: start;
    print-color-adjust: exact; -webkit-print-color-adjust: exact }}
  h1 {{ margin: 0; font-size: 1.3rem; line-height: 1.2; color: #12324f }}
  p {{ margin: 0; text-wrap: pretty }}
  .words p {{ margin: .7rem 0; padding-left: 1rem; border-left: .2rem solid #0072b2; font-size: 1.25rem }}
  .content {{ flex: 1; min-height: 0 }}
  img {{ display: block; width: 100%; height: 100%; object-fit: contain }}
  table {{ width: 100%; margin-top: .6rem; border-collapse: collapse; font-size: min(1.1rem, 7.9rem / var(--rows)) }}
  th, td {{ padding: .32em .5em; text-align: left; line-height: 1.2; border-bottom: 1px solid #c9d3dc }}
  th {{ color: #fff; background: #12324f }}
  footer {{ display: flex; justify-content: space-between; align-items: center; gap: 1rem; font-size: .62rem;
    white-space: nowrap; color: #4a5a68 }}
  footer :first-child {{ padding: .08rem .5rem; border-radius: .3rem; white-space: normal; overflow-wrap: anywhere;
    font-weight: 600; color: #5c4300; background: #fdeec4 }}
  section:first-of-type {{ background: #12324f; color: #fff }}
  section:first-of-type h1 {{ margin-top: 6rem; font-size: 2.4rem; color: #fff }}
  section:first-of-type footer {{ color: #a9cbe6 }}
  @media print {{
    html {{ font-size: 24px }}
    section {{ width: 1280px; height: 720px; padding: .8rem 1.85rem .6rem; overflow: hidden; break-after: page;
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
_SLIDE = """<section class="{kind}"><h1>{title}</h1>
{text}<div class="content">{content}</div>
<footer><span>{images}</span><span>{warning}</span><span>{number} / {count}</span></footer></section>"""
_PIXELS = 1280  # largest width of a figure, the width of a slide


def write(path, title, slides, images, warning):
    """Writes the slides.

    Args:
        path: path of the HTML file.
        title: str, title of the presentation.
        slides: list of `slides.Slide`.
        images: str, source of the images, shown on every slide.
        warning: str, note that is also shown on every slide.
    """
    pages = []
    for number, slide in enumerate(slides, 1):
        content = ""
        if slide.figure:
            content = f'<img alt="{html.escape(slide.title)}" src="data:image/png;base64,{_embedded(slide.path)}">'
        elif slide.table is not None:
            content = _table(slide.table)
        pages.append(
            _SLIDE.format(
                kind="shown" if content else "words",
                title=html.escape(slide.title),
                text="".join(f"<p>{html.escape(line)}</p>\n" for line in slide.sentence.splitlines()),
                content=content,
                images=html.escape(images),
                warning=html.escape(warning),
                number=number,
                count=len(slides),
            )
        )
    path.write_text(_PAGE.format(title=html.escape(title), slides="\n".join(pages)), encoding="utf-8")


def _embedded(path):
    """Returns a figure as base64, at most as wide as a slide: at 300 dpi the file would be too large to mail."""
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    scale = min(1, _PIXELS / picture.shape[1])
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return base64.b64encode(cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]).decode()


def _table(frame):
    # `DataFrame.to_html` would cut texts longer than 50 characters.
    lines = [("th", frame.columns), *(("td", row) for row in frame.to_numpy())]
    rows = (f"<tr>{''.join(f'<{tag}>{html.escape(text)}</{tag}>' for text in line)}</tr>" for tag, line in lines)
    return f'<table style="--rows: {len(lines)}">{"".join(rows)}</table>'
