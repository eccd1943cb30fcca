"""The slide files: HTML and PowerPoint contain the same slides, complete and with the source of their images."""

import base64
import io
import re

import pandas as pd
import pytest
from PIL import Image
from pptx import Presentation

from cxr_utils import config, reports
from cxr_utils.reports.slides_html import SlideText

IMAGES = "Phantom: drawn <here>, no patients"
TABLE = pd.DataFrame(
    {"Model": ["one", "another & more, a long name that no table may shorten"], "Mean AUROC": ["0.7", "0.8"]}
)
SLIDES = [
    ("Opening", None, SlideText("A question?", "First line.\nSecond line.", "Good morning.")),
    ("Wide", "wide", SlideText("A wide chart", "Text.", "Look here.")),
    ("Tall", "tall", SlideText("A <tall> chart", "Text & 95\u00a0%.", "And here.")),
    ("No figure", "absent", SlideText("Left out", "Text.", "Not spoken.")),
    ("Numbers", None, SlideText("A table", "Text.", "Look at the table.", TABLE)),
    ("No text", "wide", None),
    ("Text", None, SlideText("Limits", "One.\nTwo.", "Good bye.")),
]
SHOWN = [slide for slide in SLIDES if slide[0] not in ("No figure", "No text")]
SIZES = {"wide": (2700, 900), "tall": (300, 700)}


@pytest.fixture
def written(home):
    """Topics left out, the HTML page, and the PowerPoint file."""
    (home / "figs").mkdir()
    (home / "data").mkdir()
    for name, size in SIZES.items():
        Image.new("RGB", size, "gray").save(home / "figs" / f"{name}.png", dpi=(300, 300))
    (home / "data" / config.RELEASE_NOTE).write_text(IMAGES + "\n")
    # A plain space in front of a percent sign becomes a no-break space.
    slides = [(*slide, text and text._replace(text=text.text.replace("\u00a0", " "))) for *slide, text in SLIDES]
    left_out = reports.write_slides("A talk", slides)
    page = (home / "presentation" / "slides.html").read_text(encoding="utf-8")
    return left_out, page, Presentation(home / "presentation" / "slides.pptx")


def test_slides_without_figure_or_text_are_left_out_and_named(written):
    left_out, page, deck = written
    assert left_out == ["No figure", "No text"]
    assert page.count("<section") == len(deck.slides) == len(SHOWN)
    assert "Not spoken" not in page


def test_the_html_contains_its_figures_and_loads_nothing(written, home):
    _, page, _ = written
    pictures = [
        Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall("data:image/png;base64,([\\w+/=]+)", page)
    ]
    # A large figure is scaled to the width of a slide; a smaller one is unchanged.
    assert [picture.size for picture in pictures] == [(1280, 427), (300, 700)]
    assert all(picture.getcolors() == [(picture.width * picture.height, (128, 128, 128))] for picture in pictures)
    without_pictures = re.sub(r"data:image/png;base64,[\w+/=]+", "", page)
    assert not re.search(r"//|\burl\(|@import|<link|\bsrc=\"[^\"]", without_pictures)
    assert without_pictures.count("<img ") == page.count("data:image/png") == len(SIZES)


def test_the_html_escapes_text_and_shows_the_whole_table(written):
    _, page, _ = written
    # A wide figure is below the text, another next to it.
    kinds = dict(re.findall(r'<section class="([\w ]+)"><p class="topic">\w+</p><h1>([^<]+)', page))
    assert kinds["wide"] == "A wide chart" and kinds["picture"] == "A &lt;tall&gt; chart"
    assert "A &lt;tall&gt; chart" in page and "Text &amp; 95\u00a0%." in page and "<tall>" not in page
    assert [re.sub("<[^>]+>", "", cell) for cell in re.findall("<t[hd].*?</t[hd]>", page)] == [
        "Model",
        "Mean AUROC",
        "one",
        "0.7",
        "another &amp; more, a long name that no table may shorten",
        "0.8",
    ]


def test_every_slide_names_the_source_of_the_images_and_states_that_it_is_not_a_diagnosis(written):
    _, page, deck = written
    for section in re.findall("<section.*?</section>", page, flags=re.S):
        assert "Images: Phantom: drawn &lt;here&gt;, no patients" in section and "never a diagnosis" in section
    for slide in deck.slides:
        texts = [shape.text_frame.text for shape in slide.shapes if shape.has_text_frame]
        assert f"Images: {IMAGES}" in texts and "A pre-diagnosis aid, never a diagnosis." in texts


def test_the_powerpoint_file_contains_the_same_text_and_speaker_notes(written):
    _, page, deck = written
    headings = re.findall("<h1>(.*?)</h1>", page)
    assert [slide.shapes.title.text.replace("<", "&lt;").replace(">", "&gt;") for slide in deck.slides] == headings
    assert [slide.shapes.title.text for slide in deck.slides] == [text.title for _, _, text in SHOWN]
    assert [slide.placeholders[1].text for slide in deck.slides] == [text.text for _, _, text in SHOWN]
    assert [slide.notes_slide.notes_text_frame.text for slide in deck.slides] == [text.spoken for _, _, text in SHOWN]
    (table,) = (shape.table for shape in deck.slides[3].shapes if shape.has_table)
    assert [[cell.text for cell in row.cells] for row in table.rows] == [list(TABLE), *TABLE.to_numpy().tolist()]
    for slide in deck.slides:
        # The slide number is a field, so it stays correct if slides are moved.
        assert 'type="slidenum"' in slide.placeholders[12].element.xml
        ids = [shape.shape_id for shape in slide.shapes]
        assert len(set(ids)) == len(ids)


def test_pictures_keep_their_proportions_and_every_shape_is_on_the_slide(written):
    _, _, deck = written
    assert deck.slide_width / deck.slide_height == pytest.approx(16 / 9)
    pictures = [shape for slide in deck.slides for shape in slide.shapes if hasattr(shape, "image")]
    assert [picture.image.size for picture in pictures] == list(SIZES.values())
    for picture in pictures:
        width, height = picture.image.size
        assert picture.width / picture.height == pytest.approx(width / height, rel=0.01)
        # As large as the space next to or below the text.
        assert picture.width > 0.6 * deck.slide_width or picture.height > 0.65 * deck.slide_height
    for slide in deck.slides:
        for shape in slide.shapes:
            assert shape.left >= 0 and shape.top >= 0
            assert shape.left + shape.width <= deck.slide_width and shape.top + shape.height <= deck.slide_height


def test_a_long_name_of_a_release_fits_on_the_slide(home):
    (home / "data").mkdir()
    (home / "data" / config.RELEASE_NOTE).write_text("x" * 160)
    reports.write_slides("A talk", SLIDES[:1])
    deck = Presentation(home / "presentation" / "slides.pptx")
    (source,) = (shape for shape in deck.slides[0].shapes if shape.has_text_frame and "xxx" in shape.text_frame.text)
    warning = deck.slides[0].placeholders[11]
    assert source.top + source.height <= deck.slide_height and source.left + source.width <= warning.left
