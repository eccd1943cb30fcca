"""Writes slides as a PowerPoint file with editable text and speaker notes, for PowerPoint, Impress or Keynote."""

import copy
import itertools

from pptx import Presentation
from pptx.enum.text import MSO_ANCHOR
from pptx.oxml.ns import qn
from pptx.util import Emu, Pt

_PIXEL = 9525  # EMU, the unit of python-pptx, in a pixel of a slide of 1280×720
# Left, top, width and height in pixels. Texts have a margin of 10 pixels inside their boxes.
_TITLE, _TEXT, _FOOTER, _NUMBER = (34, 16, 1212, 52), (34, 66, 1212, 134), (34, 660, 1100, 48), (1136, 660, 110, 48)
_CONTENT = (44, 204, 1192, 448)


def write(path, title, slides, images, warning):
    """Writes the slides.

    Args:
        path: path of the `.pptx` file.
        title: str, title of the presentation.
        slides: list of `slides.Slide`.
        images: str, source of the images, shown on every slide.
        warning: str, note that is also shown on every slide.
    """
    deck = _template()
    deck.core_properties.title = title
    (layout,) = deck.slide_layouts
    *_, footer, number = layout.placeholders
    footer.text = f"{images}   ·   {warning}"
    for slide in slides:
        page = deck.slides.add_slide(layout)
        # python-pptx does not copy these two from the layout. The number is a field: it stays correct if slides move.
        for placeholder in (footer, number):
            page.shapes._spTree.append(copy.deepcopy(placeholder.element))
        heading, body = page.shapes.title, page.placeholders[1]
        heading.text, body.text = slide.title, slide.sentence
        if slide.figure:
            _add_picture(page, slide)
        elif slide.table is not None:
            _add_table(page, slide.table)
        else:
            _place(body, *_TEXT[:3], _CONTENT[3])
            for paragraph in body.text_frame.paragraphs:
                paragraph.font.size, paragraph.space_after = Pt(26), Pt(20)
        page.notes_slide.notes_text_frame.text = slide.notes
    deck.save(str(path))


def _template():
    """Returns an empty deck: python-pptx's template at 16:9 with one layout, in the style of the HTML slides."""
    deck = Presentation()
    deck.slide_width, deck.slide_height = _in_emu(1280, 720)
    for layout in [layout for layout in deck.slide_layouts if layout.name != "Title and Content"]:
        deck.slide_layouts.remove(layout)
    # Title, text, date, footer and slide number, in the order of the template. The date is not used.
    places = (_TITLE, _TEXT, _FOOTER, _FOOTER, _NUMBER)
    for placeholder, place in zip(deck.slide_master.placeholders, places, strict=True):
        _place(placeholder, *place)
    for name, size, color in (("title", 26, "tx2"), ("body", 17, "tx1")):
        style = deck.slide_master.element.find(f".//{qn(f'p:{name}Style')}/{qn('a:lvl1pPr')}")
        style.attrib.update({"algn": "l", "marL": "0", "indent": "0"})
        for bullet in style.findall(qn("a:buChar")):
            style.remove(bullet)
        font = style.find(qn("a:defRPr"))
        font.set("sz", str(100 * size))
        font.find(f".//{qn('a:schemeClr')}").set("val", color)
    return deck


def _add_picture(page, slide):
    """Adds the figure, as large as fits and centered."""
    picture = page.shapes.add_picture(str(slide.path), 0, 0)
    left, top, width, height = _CONTENT
    scale = min(width / picture.width, height / picture.height)
    size = picture.width * scale, picture.height * scale
    _place(picture, left + (width - size[0]) / 2, top + (height - size[1]) / 2, *size)
    picture._element.nvPicPr.cNvPr.set("descr", slide.title)


def _add_table(page, table):
    """Adds a frame as a table. The width of a column depends on its longest entry."""
    texts = [list(table.columns), *table.to_numpy().tolist()]
    size = min(20, 145 / len(texts))
    left, top, width, _ = _CONTENT
    added = page.shapes.add_table(
        len(texts), len(table.columns), *_in_emu(left, top, width, 2.6 * size * len(texts))
    ).table
    longest = [4 + max(map(len, column)) for column in zip(*texts, strict=True)]
    for column, length in zip(added.columns, longest, strict=True):
        (column.width,) = _in_emu(width * length / sum(longest))
    for text, cell in zip(itertools.chain(*texts), added.iter_cells(), strict=True):
        cell.text, cell.vertical_anchor = text, MSO_ANCHOR.MIDDLE
        cell.text_frame.paragraphs[0].font.size = Pt(size)


def _place(shape, *place):
    shape.left, shape.top, shape.width, shape.height = _in_emu(*place)


def _in_emu(*pixels):
    return [Emu(round(_PIXEL * length)) for length in pixels]
