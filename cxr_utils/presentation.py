"""A talk in one file: slides of the run's own figures and numbers, which any browser opens without network."""

import base64
import html

from cxr_utils import config
from cxr_utils.files import atomic
from cxr_utils.showing import films_note

_PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
  html {{ scroll-snap-type: y mandatory; font: 28px/1.4 sans-serif; color: #222; }}
  section {{ height: 100vh; box-sizing: border-box; padding: 3vh 5vw; scroll-snap-align: start; display: flex; flex-direction: column; }}
  h1 {{ font-size: 1.5em; margin: 0 0 1vh; }}
  img {{ flex: 1; min-height: 0; object-fit: contain; }}
  p {{ white-space: pre-line; }}
  footer {{ font-size: 0.5em; color: #666; margin-top: auto; }}
</style>
{slides}
</html>
"""
_SLIDE = "<section><h1>{title}</h1>{picture}<p>{text}</p><footer>{note}. A pre-diagnosis aid, never a diagnosis.</footer></section>"


def write_slides(title, slides):
    """Writes `presentation/slides.html`.

    Args:
        title: of the talk.
        slides: list of `(title, text, figure)`; `figure` is a name in `figs/` or `None`. A slide whose figure is not there
            is left out.

    Returns:
        List of the titles of slides left out.
    """
    parts, left_out = [], []
    for heading, text, figure in slides:
        path = config.home() / "figs" / f"{figure}.png"
        if figure and not path.is_file():
            left_out.append(heading)
            continue
        source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" if figure else ""
        picture = f'<img alt="{html.escape(heading)}" src="{source}">' if figure else ""
        parts.append(
            _SLIDE.format(
                title=html.escape(heading), picture=picture, text=html.escape(text), note=html.escape(films_note())
            )
        )
    with atomic(config.home() / "presentation" / "slides.html") as part:
        part.write_text(_PAGE.format(title=html.escape(title), slides="\n".join(parts)), encoding="utf-8")
    return left_out
