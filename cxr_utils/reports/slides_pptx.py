"""The talk as editable slides for PowerPoint, Impress or Keynote, with speaker notes."""

import copy
import math

from pptx import Presentation
from pptx.dml.color import RGBColor
from pptx.enum.text import MSO_ANCHOR
from pptx.oxml.ns import qn
from pptx.util import Emu, Pt

# Places and sizes are pixels of a slide of 1280×720, as in the browser's talk: so many EMU each.
_PIXEL = 9525
_LEFT, _TOP, _RIGHT, _BOTTOM = 44, 156, 1236, 644
_WORDS = 328  # width of the words beside a figure
_INSET = 10  # of a text in its box: boxes begin this much further left, so that texts and figures line up
_INK, _NAVY, _BLUE, _GREY, _PALE = (
    RGBColor.from_string(color) for color in ("22303C", "12324F", "0072B2", "4A5A68", "A9CBE6")
)
_WHITE, _ROW, _AMBER, _BROWN = (RGBColor.from_string(color) for color in ("FFFFFF", "F0F4F8", "FDEEC4", "5C4300"))
_PARTS = {"title": 0, "body": 1, "footer": 11, "number": 12}  # placeholders of the layout by their idx


def write(path, title, slides, images, warning):
    """Writes the slides.

    Args:
        path: of the `.pptx`.
        title: of the talk.
        slides: list of `(topic, figure, wide, words)`: `figure` is the `Path` of a PNG or `None`, `wide` whether it stands below the
            words or beside them, and `words` are `presentation.Words`. The first one opens the talk.
        images: where the images come from, in words; every slide says so.
        warning: what every slide says beside that.
    """
    deck = _template()
    deck.core_properties.title = title
    (layout,) = deck.slide_layouts
    for number, (topic, figure, wide, words) in enumerate(slides):
        slide = deck.slides.add_slide(layout)
        opening = number == 0 and not figure and words.table is None
        heading, body = (slide.placeholders[_PARTS[part]] for part in ("title", "body"))
        heading.text, body.text = words.title, words.text
        for paragraph in body.text_frame.paragraphs:
            paragraph.space_after = Pt(9)
        if opening:
            _open(slide, heading, body)
        elif figure and not wide:
            body.text_frame.vertical_anchor = MSO_ANCHOR.MIDDLE
            _add_picture(slide, figure, f"{topic}: {words.title}", _LEFT + _WORDS + 24, _TOP)
        elif figure or words.table is not None:
            # The words stand above what begins where they end; some 90 characters fill a line.
            height = 10 + sum(48 * math.ceil(len(line) / 90) for line in words.text.splitlines())
            # They move up where the title has one line, of some 50 characters.
            top = _TOP - 10 if len(words.title) > 50 else _TOP - 50
            _place(body, _LEFT - _INSET, top, _RIGHT - _LEFT, height)
            if figure:
                _add_picture(slide, figure, f"{topic}: {words.title}", _LEFT, top + height)
            else:
                _add_table(slide, words.table, top + height + 10)
        else:
            _place(body, _LEFT - _INSET, _TOP + 20, _RIGHT - _LEFT, _BOTTOM - _TOP - 20)
            for paragraph in body.text_frame.paragraphs:
                paragraph.font.size, paragraph.space_after = Pt(26), Pt(22)
        above = slide.shapes.add_textbox(0, 0, 0, 0)
        _place(above, _LEFT - _INSET, 22, 900, 34)
        _write(above, topic.upper(), 13.5, _PALE if opening else _BLUE, bold=True)
        _add_footer(slide, layout, images, warning, _PALE if opening else _GREY)
        slide.notes_slide.notes_text_frame.text = words.spoken
    deck.save(str(path))


def _template():
    """Returns an empty deck: python-pptx's template at 16:9, with one layout, in the talk's looks."""
    deck = Presentation()
    deck.slide_width, deck.slide_height = Emu(1280 * _PIXEL), Emu(720 * _PIXEL)
    content = deck.slide_layouts.get_by_name("Title and Content")
    for layout in list(deck.slide_layouts):
        if layout is not content:
            deck.slide_layouts.remove(layout)
    # Title, words, date, footer and number of the slide, in the template's order; the date is not used.
    heading, body, date, footer, number = deck.slide_master.placeholders
    _place(heading, _LEFT - _INSET, 50, _RIGHT - _LEFT + 2 * _INSET, 100)
    _place(body, _LEFT - _INSET, _TOP, _WORDS + 2 * _INSET, _BOTTOM - _TOP)
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


def _open(slide, heading, body):
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
    """Adds a picture as large as the place right of `left` and below `top` allows, in its own proportions, and centred there."""
    picture = slide.shapes.add_picture(str(figure), 0, 0)
    scale = min((_RIGHT - left) / picture.width, (_BOTTOM - top) / picture.height)
    width, height = picture.width * scale, picture.height * scale
    _place(picture, (left + _RIGHT - width) / 2, (top + _BOTTOM - height) / 2, width, height)
    picture._element.nvPicPr.cNvPr.set("descr", description)


def _add_table(slide, table, top):
    """Adds a frame as a table, the width of its columns by their longest entries."""
    texts = [list(table.columns), *table.to_numpy().tolist()]
    frame = slide.shapes.add_table(len(texts), len(table.columns), 0, 0, 0, 0)
    height, size = (58, 22) if len(texts) < 7 else (43, 19)
    _place(frame, _LEFT, top, _RIGHT - _LEFT, height * len(texts))
    longest = [4 + max(map(len, column)) for column in zip(*texts)]
    for column, width in zip(frame.table.columns, longest):
        column.width = Emu(round((_RIGHT - _LEFT) * _PIXEL * width / sum(longest)))
    for place, (line, row) in enumerate(zip(texts, frame.table.rows)):
        row.height = Emu(height * _PIXEL)
        for text, cell in zip(line, row.cells):
            cell.fill.solid()
            cell.fill.fore_color.rgb = (_WHITE if place % 2 else _ROW) if place else _NAVY
            cell.vertical_anchor = MSO_ANCHOR.MIDDLE
            _write(cell, text, size, _INK if place else _WHITE, bold=not place)


def _add_footer(slide, layout, images, warning, color):
    source = slide.shapes.add_textbox(0, 0, 0, 0)
    # A line holds some 85 characters; the name of a release can be a long address.
    height = 8 + 24 * math.ceil(len(images) / 85)
    _place(source, _LEFT, 702 - height, min(30 + 7.6 * len(images), 690), height)
    source.fill.solid()
    source.fill.fore_color.rgb = _AMBER
    _write(source, images, 13, _BROWN, bold=True)
    # The layout's own: python-pptx doesn't bring them to a slide, and a number that is a field stays right when slides move.
    for holder in layout.placeholders:
        if holder.placeholder_format.idx in (_PARTS["footer"], _PARTS["number"]):
            element = copy.deepcopy(holder.element)
            element.nvSpPr.cNvPr.set("id", str(max(shape.shape_id for shape in slide.shapes) + 1))
            slide.shapes._spTree.append(element)
    footer, number = (slide.placeholders[_PARTS[part]] for part in ("footer", "number"))
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
