"""The slide files: HTML and PowerPoint show the same slides, complete, readable, and with the source of the images."""

import base64
import re
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from pptx import Presentation
from pptx.util import Pt

from cxr_utils import config, reports
from tests.test_slides import ORDER, write_run

SOURCE = "Drawings <of a test>, no patients"
TABLE = pd.DataFrame(
    {"Model": ["one", "another & more, a long name that no table may shorten"], "Mean AUROC": ["0.7", "0.8"]}
)
SIZES = {"wide": (2700, 900), "tall": (300, 700)}
SLIDES = [
    reports.Slide("A question?", "First line.\nSecond line.", notes="Good morning."),
    reports.Slide("A wide chart", "Text.", "wide", notes="Look here."),
    reports.Slide("A <tall> chart", "Text & 95\u00a0%.", "tall", notes="And <here>."),
    reports.Slide("A table", "Text.", table=TABLE, notes="Look at the table."),
    reports.Slide("Limits", "One.\nTwo.", notes="Good bye."),
]
# Elements that leave the slide or their own box, pictures that leave their place, and texts smaller than 14 pixels.
DEFECTS = """slide => {
  const box = part => part.getBoundingClientRect(), frame = box(slide), parts = [...slide.querySelectorAll("*")];
  const outside = ({left, right, top, bottom}, {left: l, right: r, top: t, bottom: b}) =>
    left < l - 1 || right > r + 1 || top < t - 1 || bottom > b + 1;
  const wrong = part => outside(box(part), frame)
    || part.clientWidth && (part.scrollWidth > part.clientWidth + 1 || part.scrollHeight > part.clientHeight + 1)
    || part.tagName === "IMG" && outside(box(part), box(part.parentElement))
    || part.textContent.trim() && parseFloat(getComputedStyle(part).fontSize) < 14 * innerWidth / 1280;
  const rows = [...slide.children].map(box);
  const overlap = rows.some((row, number) => number && row.top < rows[number - 1].bottom - 1);
  return [...parts.filter(wrong).map(part => part.outerHTML.slice(0, 80)), ...overlap ? ["overlap"] : []];
}"""


@pytest.fixture
def files(home):
    """The HTML page and the PowerPoint file of `SLIDES`."""
    (home / "figs").mkdir()
    (home / "data").mkdir()
    for name, (width, height) in SIZES.items():
        cv2.imwrite(home / "figs" / f"{name}.png", np.full((height, width, 3), 128, np.uint8))
    (home / "data" / config.RELEASE_NOTE).write_text(SOURCE + "\nkind: phantom\n", encoding="utf-8")
    reports.write_slides("A <talk>", SLIDES)
    page = (home / "presentation" / "slides.html").read_text(encoding="utf-8")
    return page, Presentation(home / "presentation" / "slides.pptx")


@pytest.fixture(scope="module")
def run(tmp_path_factory, predictions):
    """Folder with the files of a run."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, predictions)
    return folder


@pytest.fixture
def opened(home, browser):
    """Function that opens the HTML page at 1280×720 or another size, without a network."""
    contexts = []

    def show(width=1280, height=720):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, offline=True))
        page = contexts[-1].new_page()
        page.goto((home / "presentation" / "slides.html").as_uri())
        return page

    yield show
    for context in contexts:
        context.close()


def shapes(deck, kind):
    """The pictures or tables of each slide."""
    return [[shape for shape in slide.shapes if kind in type(shape).__name__] for slide in deck.slides]


def test_the_html_contains_its_figures_and_loads_nothing(files):
    page, _ = files
    pictures = [
        cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
        for text in re.findall(r"data:image/png;base64,([\w+/=]+)", page)
    ]
    # A large figure is scaled to the width of a slide; a smaller one is unchanged.
    assert [picture.shape for picture in pictures] == [(427, 1280, 3), (700, 300, 3)]
    assert all((picture == 128).all() for picture in pictures)
    without_pictures = re.sub(r"data:image/png;base64,[\w+/=]+", "", page)
    assert not re.search(r"//|\burl\(|@import|<link|\bsrc=\"[^\"]", without_pictures)


@pytest.mark.slow
def test_the_html_escapes_text_and_shows_the_whole_table(files, opened):
    assert "<tall>" not in files[0] and "<talk>" not in files[0] and "<of a test>" not in files[0]
    page = opened()
    assert page.title() == "A <talk>"
    assert page.locator("h1").all_text_contents() == [slide.title for slide in SLIDES]
    sentences = [line for slide in SLIDES for line in slide.sentence.splitlines()]
    assert page.locator("p").all_text_contents() == sentences
    assert page.locator("th, td").all_text_contents() == [*TABLE, *TABLE.to_numpy().ravel()]
    alt = [picture.get_attribute("alt") for picture in page.locator("img").all()]
    assert alt == [slide.title for slide in SLIDES if slide.figure]


def test_every_slide_has_the_source_of_the_images_a_warning_and_its_number(files, opened):
    footers = [footer.text_content() for footer in opened().locator("section > footer").all()]
    assert len(footers) == len(files[1].slides) == len(SLIDES)
    for number, (footer, slide) in enumerate(zip(footers, files[1].slides, strict=True), 1):
        text = slide.placeholders[11].text
        for shown in (footer, text):
            # Only the first line of RELEASE.txt is the name of the release.
            assert f"Images: {SOURCE}" in shown and "never a diagnosis" in shown and "kind" not in shown
        assert f"{number} / {len(SLIDES)}" in footer
        # The slide number is a field, so it stays correct if slides are moved.
        assert 'type="slidenum"' in slide.placeholders[12].element.xml


def test_the_powerpoint_file_has_the_same_text_and_speaker_notes(files):
    _, deck = files
    assert deck.core_properties.title == "A <talk>" and len(deck.slide_layouts) == 1
    assert [slide.shapes.title.text for slide in deck.slides] == [slide.title for slide in SLIDES]
    assert [slide.placeholders[1].text for slide in deck.slides] == [slide.sentence for slide in SLIDES]
    assert [slide.notes_slide.notes_text_frame.text for slide in deck.slides] == [slide.notes for slide in SLIDES]
    tables = shapes(deck, "GraphicFrame")
    assert [len(found) for found in tables] == [0, 0, 0, 1, 0]
    texts = [[cell.text for cell in row.cells] for row in tables[3][0].table.rows]
    assert texts == [list(TABLE), *TABLE.to_numpy().tolist()]
    for slide in deck.slides:
        ids = [shape.shape_id for shape in slide.shapes]
        assert len(set(ids)) == len(ids)


def test_pictures_keep_their_proportions_and_every_shape_is_on_the_slide(files):
    _, deck = files
    assert deck.slide_width / deck.slide_height == pytest.approx(16 / 9)
    pictures = [picture for found in shapes(deck, "Picture") for picture in found]
    assert [picture.image.size for picture in pictures] == list(SIZES.values())
    for picture, slide in zip(pictures, SLIDES[1:3], strict=True):
        width, height = picture.image.size
        assert picture.width / picture.height == pytest.approx(width / height, rel=0.01)
        # As large as the space below the text.
        assert picture.width > 0.9 * deck.slide_width or picture.height > 0.6 * deck.slide_height
        assert picture._element.nvPicPr.cNvPr.get("descr") == slide.title
    for slide in deck.slides:
        below = [slide.placeholders[1], *(s for s in slide.shapes if not s.is_placeholder), slide.placeholders[11]]
        for first, second in zip([slide.shapes.title, *below], below, strict=False):
            assert first.top + first.height <= second.top + Pt(2)
        for shape in slide.shapes:
            assert shape.left >= 0 and shape.top >= 0
            assert shape.left + shape.width <= deck.slide_width and shape.top + shape.height <= deck.slide_height


def test_a_missing_figure_is_named(home):
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        reports.write_slides("A talk", [reports.Slide("A chart", "Text.", "absent")])
    assert not list((home / "presentation").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080), (800, 450)])
def test_every_slide_of_a_run_fits_and_can_be_read(home, run, opened, size):
    shutil.copytree(run, home, dirs_exist_ok=True)
    (home / "data").mkdir()
    # The name of a release can be long, such as a URL.
    (home / "data" / config.RELEASE_NOTE).write_text("x" * 160 + "\nkind: phantom\n", encoding="utf-8")
    slides, _ = reports.build_slides()
    reports.write_slides("A talk", slides)
    page = opened(*size)
    sections = page.locator("section").all()
    assert len(sections) == len(slides) == len(ORDER)
    for slide, section in zip(slides, sections, strict=True):
        assert section.evaluate(DEFECTS) == [], slide.title
        box = section.bounding_box()
        assert (box["width"], box["height"]) == pytest.approx(size, abs=1)
        if slide.figure:
            # Space for a chart of 1190×440 pixels, seven eighths of it if the text is long.
            picture = section.locator("img").bounding_box()
            assert picture["width"] > 0.9 * size[0] and picture["height"] > 385 / 720 * size[1], slide.title
    deck = Presentation(home / "presentation" / "slides.pptx")
    assert [slide.shapes.title.text for slide in deck.slides] == [slide.title for slide in slides]
    assert [len(found) for found in shapes(deck, "Picture")] == [slide.figure is not None for slide in slides]
    # 14 pixels of a slide of 1280×720 are 10.5 points. The texts of tables are the smallest.
    cells = [cell for found in shapes(deck, "GraphicFrame") for frame in found for cell in frame.table.iter_cells()]
    assert min(cell.text_frame.paragraphs[0].font.size for cell in cells) >= Pt(10.5)


def test_keys_move_between_slides_and_each_slide_is_a_printed_page(files, opened):
    page = opened()
    shown = (
        "() => [...document.querySelectorAll('section')].findIndex(s => Math.abs(s.getBoundingClientRect().top) < 2)"
    )
    keys = {"ArrowRight": 1, "PageDown": 2, "ArrowLeft": 1, "Space": 2, "ArrowDown": 3, "Shift+Space": 2, "ArrowUp": 1}
    keys |= {"PageUp": 0}
    for key, number in keys.items():
        page.keyboard.press(key)
        page.wait_for_function(f"({shown})() === {number}")
    # The first and the last slide are ends.
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"({shown})() === 0")
    for _ in range(len(SLIDES) + 2):
        page.keyboard.press("ArrowRight")
    page.wait_for_function(f"({shown})() === {len(SLIDES) - 1}")
    pdf = page.pdf(prefer_css_page_size=True, print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == len(SLIDES)
    # 1280×720 pixels are 960×540 points.
    assert set(re.findall(rb"/MediaBox\s*\[([\d. ]+)\]", pdf)) == {b"0 0 960 540"}
