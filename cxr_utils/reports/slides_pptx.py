"""Writes editable slides with speaker notes, for PowerPoint, Impress or Keynote."""

import copy
import math

from pptx import Presentation
from pptx.dml.color import RGBColor
from pptx.enum.text import MSO_ANCHOR
from pptx.oxml.ns import qn
from pptx.util import Emu, Pt

# Positions and sizes are in pixels of a slide of 1280×720, as in the HTML slides.
_PIXEL = 9525  # EMU, the unit of python-pptx, in a pixel
_LEFT, _TOP, _RIGHT, _BOTTOM = 44, 156, 1236, 644
_TEXT_WIDTH = 328  # width of the text next to a figure
_INSET = 10  # margin of a text inside its box: boxes start this much further left, so that texts and figures align
_INK, _NAVY, _BLUE, _GRAY, _PALE = (
    RGBColor.from_string(color) for color in ("22303C", "12324F", "0072B2", "4A5A68", "A9CBE6")
)
_WHITE, _ROW, _AMBER, _BROWN = (RGBColor.from_string(color) for color in ("FFFFFF", "F0F4F8", "FDEEC4", "5C4300"))
_PLACEHOLDERS = {"title": 0, "body": 1, "footer": 11, "number": 12}  # idx of the placeholders in the layout


def write(path, title, slides, images, warning):
    """Writes the slides.

    Args:
        path: path of the `.pptx` file.
        title: str, title of the presentation.
        slides: list of `(topic, figure, wide, text)`: `figure` is the `Path` of a PNG or `None`, `wide` is True for a
            figure below the text and False for one next to it, and `text` is a `slides_html.SlideText`. The first
            slide opens the presentation.
        images: str, source of the images, shown on every slide.
        warning: str, note that is also shown on every slide.
    """
    deck = _template()
    deck.core_properties.title = title
    (layout,) = deck.slide_layouts
    for number, (topic, figure, wide, text) in enumerate(slides):
        slide = deck.slides.add_slide(layout)
        opening = number == 0 and not figure and text.table is None
        heading, body = (slide.placeholders[_PLACEHOLDERS[part]] for part in ("title", "body"))
        heading.text, body.text = text.title, text.text
        for paragraph in body.text_frame.paragraphs:
            paragraph.space_after = Pt(9)
        if opening:
            _format_opening(slide, heading, body)
        elif figure and not wide:
            body.text_frame.vertical_anchor = MSO_ANCHOR.MIDDLE
            _add_picture(slide, figure, f"{topic}: {text.title}", _LEFT + _TEXT_WIDTH + 24, _TOP)
        elif figure or text.table is not None:
            # The figure or table begins where the text ends. About 90 characters fill a line.
            height = 10 + sum(48 * math.ceil(len(line) / 90) for line in text.text.splitlines())
            # The text moves up if the title has one line, which is about 50 characters.
            top = _TOP - 10 if len(text.title) > 50 else _TOP - 50
            _place(body, _LEFT - _INSET, top, _RIGHT - _LEFT, height)
            if figure:
                _add_picture(slide, figure, f"{topic}: {text.title}", _LEFT, top + height)
            else:
                _add_table(slide, text.table, top + height + 10)
        else:
            _place(body, _LEFT - _INSET, _TOP + 20, _RIGHT - _LEFT, _BOTTOM - _TOP - 20)
            for paragraph in body.text_frame.paragraphs:
                paragraph.font.size, paragraph.space_after = Pt(26), Pt(22)
        above = slide.shapes.add_textbox(0, 0, 0, 0)
        _place(above, _LEFT - _INSET, 22, 900, 34)
        _write(above, topic.upper(), 13.5, _PALE if opening else _BLUE, bold=True)
        _add_footer(slide, layout, images, warning, _PALE if opening else _GRAY)
        slide.notes_slide.notes_text_frame.text = text.spoken
    deck.save(str(path))


def _template():
    """Returns an empty deck: python-pptx's template at 16:9 with one layout in the style of the HTML slides."""
    deck = Presentation()
    deck.slide_width, deck.slide_height = Emu(1280 * _PIXEL), Emu(720 * _PIXEL)
    content = deck.slide_layouts.get_by_name("Title and Content")
    for layout in list(deck.slide_layouts):
        if layout is not content:
            deck.slide_layouts.remove(layout)
    # Title, text, date, footer and slide number, in the order of the template. The date is not used.
    heading, body, date, footer, number = deck.slide_master.placeholders
    _place(heading, _LEFT - _INSET, 50, _RIGHT - _LEFT + 2 * _INSET, 100)
    _place(body, _LEFT - _INSET, _TOP, _TEXT_WIDTH + 2 * _INSET, _BOTTOM - _TOP)
    _place(date, 900, 668, 100, 36)
    _place(footer, 760, 668, 380, 36)
    _place(number, 1146, 668, 100, 36)
    heading.text_frame.vertical_anchor = MSO_ANCHOR.TOP
    for name, size, color in (("title", 29, _NAVY), ("body", 20, _INK)):
        style = deck.slide_master.element.find(f".//{qn(f'p:{name}Style')}/{qn('a:lvl1pPr')}")
        style.attrib.update({"algn": "l", "marL": "0", "indent": "0"})
        for bullet in style.findall(qn("a:buChar")):
            style.replace(bullet, style.makeelement(qn("a:buNone")))
        font = style.find(qn("a:defRPr"))
        font.attrib.update({"sz": str(100 * size), "b": str(int(name == "title"))})
        fill = font.find(qn("a:solidFill"))
        fill.replace(fill[0], fill.makeelement(qn("a:srgbClr"), {"val": str(color)}))
    return deck


def _format_opening(slide, heading, body):
    slide.background.fill.solid()
    slide.background.fill.fore_color.rgb = _NAVY
    _place(heading, _LEFT - _INSET, 170, 1100, 180)
    _place(body, _LEFT - _INSET, 370, 1000, 200)
    heading.text_frame.vertical_anchor = MSO_ANCHOR.BOTTOM
    for shape in (heading, body):
        for paragraph in shape.text_frame.paragraphs:
            paragraph.font.color.rgb = _WHITE
    heading.text_frame.paragraphs[0].font.size = Pt(44)


def _add_picture(slide, figure, description, left, top):
    """Adds a picture, as large as fits and centered in the space to the right of `left` and below `top`."""
    picture = slide.shapes.add_picture(str(figure), 0, 0)
    scale = min((_RIGHT - left) / picture.width, (_BOTTOM - top) / picture.height)
    width, height = picture.width * scale, picture.height * scale
    _place(picture, (left + _RIGHT - width) / 2, (top + _BOTTOM - height) / 2, width, height)
    picture._element.nvPicPr.cNvPr.set("descr", description)


def _add_table(slide, table, top):
    """Adds a frame as a table. The width of a column depends on its longest entry."""
    texts = [list(table.columns), *table.to_numpy().tolist()]
    frame = slide.shapes.add_table(len(texts), len(table.columns), 0, 0, 0, 0)
    height, size = (58, 22) if len(texts) < 7 else (43, 19)
    _place(frame, _LEFT, top, _RIGHT - _LEFT, height * len(texts))
    longest = [4 + max(map(len, column)) for column in zip(*texts, strict=True)]
    for column, width in zip(frame.table.columns, longest, strict=True):
        column.width = Emu(round((_RIGHT - _LEFT) * _PIXEL * width / sum(longest)))
    for number, (line, row) in enumerate(zip(texts, frame.table.rows, strict=True)):
        row.height = Emu(height * _PIXEL)
        for text, cell in zip(line, row.cells, strict=True):
            cell.fill.solid()
            cell.fill.fore_color.rgb = (_WHITE if number % 2 else _ROW) if number else _NAVY
            cell.vertical_anchor = MSO_ANCHOR.MIDDLE
            _write(cell, text, size, _INK if number else _WHITE, bold=not number)


def _add_footer(slide, layout, images, warning, color):
    source = slide.shapes.add_textbox(0, 0, 0, 0)
    # A line has space for about 85 characters. The name of a release can be a long URL.
    height = 8 + 24 * math.ceil(len(images) / 85)
    _place(source, _LEFT, 702 - height, min(30 + 7.6 * len(images), 690), height)
    source.fill.solid()
    source.fill.fore_color.rgb = _AMBER
    _write(source, images, 13, _BROWN, bold=True)
    # python-pptx does not copy these placeholders from the layout. The slide number is a field, so it stays correct if
    # slides are moved.
    for placeholder in layout.placeholders:
        if placeholder.placeholder_format.idx in (_PLACEHOLDERS["footer"], _PLACEHOLDERS["number"]):
            element = copy.deepcopy(placeholder.element)
            element.nvSpPr.cNvPr.set("id", str(max(shape.shape_id for shape in slide.shapes) + 1))
            slide.shapes._spTree.append(element)
    footer, number = (slide.placeholders[_PLACEHOLDERS[part]] for part in ("footer", "number"))
    _write(footer, warning, 13, color)
    number.text_frame.paragraphs[0].font.color.rgb = color


def _write(shape, text, size, color, bold=False):
    frame = shape.text_frame
    frame.text = text
    frame.word_wrap = True
    font = frame.paragraphs[0].runs[0].font if text else frame.paragraphs[0].font
    font.size, font.bold, font.color.rgb = Pt(size), bold, color


def _place(shape, left, top, width, height):
    shape.left, shape.top, shape.width, shape.height = (
        Emu(round(_PIXEL * side)) for side in (left, top, width, height)
    )
