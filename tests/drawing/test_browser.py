"""Pictures as a browser shows them: measured there, with the picture's own font and without it."""

import base64
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from functions import NAMES, make

from tinygraph import draw
from tinygraph.drawing.fitting import PAGE

sync_api = pytest.importorskip(
    "playwright.sync_api", reason='needs pip install -e ".[browser]" and a Chromium'
)
CHROMIUM = [Path("/usr/bin") / name for name in ("chromium", "chromium-browser", "google-chrome")]

MEASURE = """() => {
  const texts = [...document.querySelectorAll('svg text')].map(e => {
    const box = e.getBBox(), group = e.closest('g');
    const given = e.getAttribute('textLength');
    const color = e.getAttribute('fill');
    const shape = group.querySelector('rect[stroke], ellipse[stroke]');
    const behind = shape ? shape.getAttribute('fill') : 'white';
    e.removeAttribute('textLength');
    const natural = e.getComputedTextLength();
    e.setAttribute('textLength', given);
    return {text: e.textContent, group: group.id, kind: group.className.baseVal.split(' ')[0],
            color, behind: behind === 'none' ? 'white' : behind,
            size: +e.getAttribute('font-size'), x: box.x, y: +e.getAttribute('y'), width: box.width,
            given: +given, natural};
  });
  const shapes = [...document.querySelectorAll('svg g.node')].map(g => {
    const e = [...g.querySelectorAll('rect, ellipse')].pop();
    if (!e) return null;
    const box = e.getBBox();
    return {group: g.id, round: e.tagName === 'ellipse',
            x: box.x, y: box.y, width: box.width, height: box.height};
  }).filter(Boolean);
  const ways = [...document.querySelectorAll('svg g.edge path[stroke]')].map(e => {
    const n = Math.ceil(e.getTotalLength()), points = [];
    for (let k = 0; k <= n; k++) { const p = e.getPointAtLength(k); points.push([p.x, p.y]); }
    return {group: e.closest('g').id, points};
  });
  return {texts, shapes, ways};
}"""


@pytest.fixture(scope="module")
def page():
    program = next((path for path in CHROMIUM if path.exists()), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def measure(page, svg):
    page.set_content(f"<!doctype html><body>{svg}</body>")
    page.evaluate("() => document.fonts.ready.then(() => true)")
    return page.evaluate(MEASURE)


def ink(text):
    """Give the rectangle of a text from its baseline to the height of a capital."""
    x, y, size = text["x"], text["y"], text["size"]
    return x, y - 0.711 * size, x + text["width"], y + 0.12 * size


def within(shape, x, y):
    if shape["round"]:
        rx, ry = shape["width"] / 2, shape["height"] / 2
        return ((x - shape["x"] - rx) / rx) ** 2 + ((y - shape["y"] - ry) / ry) ** 2 < 1
    return (
        shape["x"] < x < shape["x"] + shape["width"]
        and shape["y"] < y < shape["y"] + shape["height"]
    )


def meet(a, b, slack=0.0):
    return min(a[2], b[2]) - max(a[0], b[0]) > slack and min(a[3], b[3]) - max(a[1], b[1]) > slack


def check(found):
    """No text outside its box, none over another or over a box of others; give what is crossed."""
    texts, shapes = found["texts"], {shape["group"]: shape for shape in found["shapes"]}
    assert texts
    for text in texts:
        left, top, right, bottom = ink(text)
        shape = shapes.get(text["group"])
        if shape:
            corners = [(x, y) for x in (left, right) for y in (top, bottom)]
            assert all(within(shape, *corner) for corner in corners), text["text"]
        # a browser rounds this box to pixels of the screen, where pictures are made smaller
        assert text["width"] == pytest.approx(text["given"], abs=1.2), text["text"]
    boxes = [(text, ink(text)) for text in texts]
    for k, (one, a) in enumerate(boxes):
        for other, b in boxes[k + 1 :]:
            assert not meet(a, b), (one["text"], other["text"])
        for shape in shapes.values():
            if one["group"] != shape["group"]:
                box = shape["x"], shape["y"]
                box += shape["x"] + shape["width"], shape["y"] + shape["height"]
                assert not meet(a, box, 1.0), (one["text"], shape["group"])
    labels = [(text, box) for text, box in boxes if text["kind"] in ("edge", "title")]
    return {
        text["text"]
        for text, (left, top, right, bottom) in labels
        for way in found["ways"]
        if any(left < x < right and top + 1 < y < bottom - 1 for x, y in way["points"])
    }


def contrast(one, other):
    """Give the ratio of two colours' luminances, as WCAG defines it."""
    a, b = sorted((luminance(one), luminance(other)), reverse=True)
    return (a + 0.05) / (b + 0.05)


def luminance(color):
    parts = [int({"white": "#ffffff"}.get(color, color)[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def slow_but(*quick, of):
    """Mark what takes a second or more as slow, but for some by which a mistake is soon seen."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in of]


@pytest.mark.parametrize("fitted", [False, True], ids=["wide", "page"])
@pytest.mark.parametrize("name", slow_but("staged", "attention", "layernorm", of=NAMES))
def test_texts_have_room(page, name, fitted):
    svg = draw(make(name), width=PAGE if fitted else None).pipe("svg", encoding="utf-8")
    found = measure(page, svg)
    crossed = check(found)
    assert len(crossed) <= 2, crossed
    assert min(contrast(text["color"], text["behind"]) for text in found["texts"]) >= 4.5
    for text in found["texts"]:  # the browser's own measure agrees with ours
        assert text["natural"] > 0
        agree = pytest.approx(text["given"], abs=0.15, rel=0.002)
        assert text["natural"] == agree, text["text"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("residual", {"view": "joint"}),
        *((name, {"view": "backward"}) for name in ("staged", "groupnorm")),
        ("staged", {"step": 7}),
        *(
            pytest.param(name, options, marks=pytest.mark.slow)
            for name, options in [
                ("staged", {"view": "joint"}),
                ("lstm_step", {"view": "joint"}),
                ("staged", {"detail": "primitives"}),
                ("lstm_step", {"fold": "calls", "width": PAGE}),
            ]
        ),
    ],
)
def test_texts_have_room_in_other_views(page, name, options):
    found = measure(page, draw(make(name), **options).pipe("svg", encoding="utf-8"))
    check(found)
    assert min(contrast(text["color"], text["behind"]) for text in found["texts"]) >= 4.5


def test_a_measure_that_can_fail(page):
    """Text that leaves its box, lies on another, or is too pale, is found."""
    svg = draw(make("residual")).pipe("svg", encoding="utf-8")
    grown = re.sub(r'(textLength=")([\d.]+)', lambda m: f"{m[1]}{4 * float(m[2])}", svg)
    with pytest.raises(AssertionError):
        check(measure(page, grown))
    pale = measure(page, svg.replace("#b71c1c", "#ff8888"))
    assert min(contrast(text["color"], text["behind"]) for text in pale["texts"]) < 4.5


@pytest.mark.parametrize("font", ["serif", "monospace"])
@pytest.mark.parametrize("name", slow_but("attention", of=["staged", "attention"]))
def test_texts_have_room_in_a_font_of_the_machine(page, name, font):
    """Where a program does not load the font, the length keeps texts in their place."""
    svg = draw(make(name)).pipe("svg", encoding="utf-8")
    svg = re.sub(r"@font-face\{.*?\}", "", svg)
    svg = re.sub(r'font-family="[^"]*"', f'font-family="{font}"', svg)
    found = measure(page, svg)
    check(found)
    assert any(abs(text["natural"] - text["given"]) > 2 for text in found["texts"])


def test_lettering_of_the_main_picture_on_a_page(page):
    svg = (Path(__file__).parents[2] / "graphs" / "batchnorm.svg").read_text(encoding="utf-8")
    page.set_viewport_size({"width": 838, "height": 600})
    page.set_content(f"<!doctype html><body style='margin:0'>{svg}</body>")
    sizes = page.evaluate(
        """() => [...document.querySelectorAll('svg text')].map(
            e => e.getAttribute('font-size') * e.getScreenCTM().d)"""
    )
    assert min(sizes) >= 10
    assert page.evaluate("() => document.querySelector('svg').getBoundingClientRect().width") <= 838


@pytest.mark.parametrize("way", ["inline", "image"])
def test_a_picture_in_a_notebook_is_as_wide_as_its_cell(page, way):
    """As a notebook shows it, and as an export to HTML keeps it: in the page, or as an image."""
    picture = draw(make("staged"))
    svg = picture._repr_mimebundle_()["image/svg+xml"]
    if way == "image":
        code = base64.b64encode(svg.encode()).decode()
        svg = f'<img style="max-width:100%" src="data:image/svg+xml;base64,{code}">'
    page.set_viewport_size({"width": 1000, "height": 600})
    page.set_content(f"<!doctype html><div style='width:500px;overflow:hidden'>{svg}{svg}</div>")
    page.evaluate("() => Promise.all([...document.images].map(i => i.decode()))")
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('svg, img')].map(e => {
            const box = e.getBoundingClientRect();
            return [box.left, box.right, box.height];
        })"""
    )
    root = ET.fromstring(picture.pipe("svg"))
    width, height = (float(root.get(side).removesuffix("pt")) for side in ("width", "height"))
    assert len(boxes) == 2
    for left, right, high in boxes:
        assert right - left == pytest.approx(500, abs=1)
        assert right <= 510
        assert high == pytest.approx(500 * height / width, rel=0.02)
