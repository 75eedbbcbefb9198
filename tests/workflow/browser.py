"""Snakemake's HTML report in Debian's chromium, headless and off the network, read from page to page."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zipfile import ZipFile

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

CHROMIUM = shutil.which("chromium")
PATIENCE = 120_000  # milliseconds for one page to show, on a busy machine, too

# Colours of a canvas, which is there before it is drawn: one is a blank page.
COLOURS = """async canvas => {
    let colours = 0;
    for (let frame = 0; frame < 100 && colours < 2; frame++) {
        await new Promise(requestAnimationFrame);
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        colours = new Set(new Uint32Array(pixels.buffer)).size;
    }
    return colours;
}"""
# An image that cannot be decoded has no size; it must not stop the reading.
SIZE = """async image => {
    await image.decode().catch(() => null);
    return [image.naturalWidth, image.naturalHeight];
}"""

# Where the result on the page comes from, or null: until it changes, the result before still shows.
SOURCE = """() => document.querySelector("iframe, img[src^='data/']")?.getAttribute("src") ?? null"""


class Result(NamedTuple):
    """One table or figure as it shows: a table's body rows and words, or an image's pixels."""

    chapter: str
    title: str
    caption: str
    rows: int
    words: str
    pixels: tuple[int, int]


@dataclass
class Reading:
    """What a reader met: results by file name, colours of the charts, texts of the other pages, and what went wrong."""

    results: dict[str, Result] = field(default_factory=dict)
    charts: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def missing() -> str | None:
    """Why no browser can be started here, or None."""
    if CHROMIUM is None:
        return "no chromium: apt-get install chromium"
    return None if find_spec("playwright") else "no playwright, which drives chromium: install the dev packages"


def screenshots(report_zip: str | Path, folder: str | Path) -> Reading:
    """Read a report and save a PNG of every page, numbered in reading order."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = count()

    def save(page: "Page", name: str) -> None:
        file = f"{next(numbers):03d}-{name.replace(' ', '-')}.png"
        page.screenshot(path=folder / file, animations="disabled")

    return read(report_zip, save)


def read(report_zip: str | Path, look: Callable[["Page", str], object] = lambda page, name: None) -> Reading:
    """Click through all of a report; `look` is called with each page when it shows, and the page's name."""
    reading = Reading()
    with tempfile.TemporaryDirectory() as folder, _context() as context:
        with ZipFile(report_zip) as archive:
            archive.extractall(folder)
        _listen(context, reading.problems)
        page = context.new_page()
        page.goto(next(Path(folder).glob("*/report.html")).as_uri())
        _read_general(page, reading, look)
        _read_results(page, reading, look)
    return reading


@contextmanager
def _context() -> Iterator["BrowserContext"]:
    from playwright.sync_api import sync_playwright  # where it is missing, the tests are skipped

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        try:
            context = browser.new_context(viewport={"width": 1600, "height": 1000}, offline=True)
            context.set_default_timeout(PATIENCE)
            yield context
        finally:
            browser.close()


def _listen(context: "BrowserContext", problems: list[str]) -> None:
    """Collect errors of scripts, failed requests, and requests that leave the report."""
    context.on("weberror", lambda error: problems.append(f"script: {error.error}"))
    context.on("console", lambda line: line.type == "error" and problems.append(f"console: {line.text}"))
    context.on("requestfailed", lambda request: problems.append(f"failed: {request.url} ({request.failure})"))
    context.on(
        "request",
        lambda request: (
            request.url.startswith(("file:", "data:", "blob:")) or problems.append(f"leaves the report: {request.url}")
        ),
    )


def _read_general(page: "Page", reading: Reading, look: Callable[["Page", str], object]) -> None:
    """The workflow's page, which is the first, the statistics, and each package under About."""
    _menu(page, "Workflow")
    reading.charts["workflow"] = _colours(page.locator("#rulegraph canvas"))
    reading.texts["workflow"] = page.locator(".prose").inner_text()
    look(page, "workflow")
    _menu(page, "Statistics")
    for chart in ("runtimes", "timeline"):
        reading.charts[chart] = _colours(page.locator(f"#{chart} canvas"))
    look(page, "statistics")
    _menu(page, "About")
    packages = page.locator("nav li a:has(span)")
    for package in packages.all():
        package.click()
        reading.texts[f"about {package.inner_text()}"] = page.locator("pre").inner_text()
    look(page, "about")


def _read_results(page: "Page", reading: Reading, look: Callable[["Page", str], object]) -> None:
    """Every chapter, every result in it, and the result's caption; then the rule of the last result."""
    _menu(page, "Results")
    chapters = [link.inner_text() for link in page.locator("nav li a:has(span)").all()]
    look(page, "chapters")
    for chapter in chapters:
        _menu(page, "Results")
        page.locator("nav li a:has(span)", has_text=chapter).click()
        look(page, chapter)
        for number in range(page.locator("nav tbody tr").count()):
            row = page.locator("nav tbody tr").nth(number)
            title = row.locator("td").first.inner_text()
            before = page.evaluate(SOURCE)
            row.locator("a").first.click()
            page.wait_for_function(f"before => ![null, before].includes(({SOURCE})())", arg=before)
            file, shown = _shown(page)
            look(page, file)
            row.locator("a").last.click()
            caption = page.locator("nav .prose").inner_text()
            look(page, f"{file} caption")
            reading.results[file] = Result(chapter, title, caption, **shown)
            page.locator("nav nav a", has_text=chapter).click()
    row.locator("a").last.click()
    page.locator("nav li span a[type=button]").last.click()
    reading.texts["rule"] = page.locator("nav").first.inner_text()
    look(page, "rule")


def _shown(page: "Page") -> tuple[str, dict]:
    """File name of the result on the page, and the fields of Result that say what of it can be seen."""
    content = page.locator("iframe, img[src^='data/']")
    file = content.get_attribute("src").rsplit("/", 1)[-1]
    if content.evaluate("element => element.tagName") == "IMG":
        return file, {"rows": 0, "words": "", "pixels": tuple(content.evaluate(SIZE))}
    frame = content.element_handle().content_frame()
    frame.wait_for_url(f"**/{file}")
    rows = frame.locator("tbody tr:has(td)").count()
    return file, {"rows": rows, "words": frame.locator("body").inner_text(), "pixels": (0, 0)}


def _menu(page: "Page", item: str) -> None:
    """Back to the front page's menu, then one of its items."""
    page.locator("nav nav a").first.click()
    page.locator("nav li a:has(span)", has_text=item).click()


def _colours(canvas: "Locator") -> int:
    canvas.wait_for()
    return canvas.evaluate(COLOURS)
