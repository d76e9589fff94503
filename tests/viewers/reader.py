"""A reader at a screen: OHIF in a headless Chromium, one series opened after another.

What is seen is asked of OHIF's own services, and of the pixels that it has drawn.
"""

from __future__ import annotations

import base64
import io
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

SCREEN = (1360, 860)
"""Width and height of the window in pixels."""
PATIENCE_MS = 60_000
"""How long anything may take on two busy processors."""
QUIET_MS = 1200
"""A screen that has not changed for so long has come to rest."""

CHROMIUM = (
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",  # nothing but loopback
)
BEFORE = "window.localStorage?.setItem('shownTours', '[\"basicViewerTour\"]');"
"""No guided tour."""
DISPLAY_SETS = """() => services.displaySetService.getActiveDisplaySets().map(d => ({
  uid: d.displaySetInstanceUID, series: d.SeriesInstanceUID, instance: d.SOPInstanceUID,
  is_refused: !!d.unsupported}))"""
SHOWN = """() => services.viewportGridService.getState().viewports.values().next().value
  .displaySetInstanceUIDs"""
MARKED = """uid => (services.displaySetService.getDisplaySetByUID(uid).measurements || []).map(
  m => m.TrackingUniqueIdentifier)"""
IMAGE = """() => {
  const viewport = cornerstone.getEnabledElements()[0].viewport;
  const {imageData, dimensions: [columns, rows]} = viewport.getImageData();
  const at = point => viewport.worldToCanvas(imageData.indexToWorld([...point, 0]));
  return {
    sop_uid: cornerstone.metaData.get(
      'generalImageModule', viewport.getCurrentImageId()).sopInstanceUID,
    corners: [[...at([-0.5, -0.5])], [...at([columns - 0.5, rows - 0.5])]],
    picture: viewport.getCanvas().toDataURL('image/png'),
  };
}"""
MARKS = r"""() => cornerstoneTools.annotation.state.getAllAnnotations()
  .filter(a => a.metadata.referencedImageId).map(a => {
    const image = a.metadata.referencedImageId;
    const points = (a.data.contour || {}).polyline || a.data.handles.points;
    return {
      uid: a.annotationUID,
      sop_uid: cornerstone.metaData.get('generalImageModule', image).sopInstanceUID,
      frame: Number((image.match(/frames\/(\d+)/) || [])[1] || 1),
      points: points.map(p => cornerstone.utilities.worldToImageCoords(image, p)),
    };
  })"""
SEGMENTED = """() => cornerstoneTools.segmentation.state.getSegmentations().map(one => ({
  labels: Object.values(one.segments).map(segment => segment.label),
  slices: (one.representationData.Labelmap.imageIds || []).map(id => {
    const image = cornerstone.cache.getImage(id), of = image.referencedImageId;
    const voxels = image.voxelManager.getScalarData(), columns = image.columns, found = {};
    voxels.forEach((segment, at) => {
      if (segment) (found[segment] ||= []).push([at % columns, Math.floor(at / columns)]);
    });
    return {
      sop_uid: cornerstone.metaData.get('generalImageModule', of).sopInstanceUID,
      frame: Number((of.match(/frames\\/(\\d+)/) || [])[1] || 1),
      found,
    };
  }).filter(slice => Object.keys(slice.found).length),
}))"""
LOADED = """() => {
  const viewport = cornerstone.getEnabledElements()[0]?.viewport;
  return !!viewport && viewport.getCornerstoneImage()?.imageId === viewport.getCurrentImageId();
}"""
PLACE = "() => cornerstone.getEnabledElements()[0].viewport.getCurrentImageIdIndex()"
IMAGES = """() => cornerstone.getEnabledElements()[0].viewport.getImageIds().length"""
DRAWN = """() => [...document.querySelectorAll('[data-cy=viewport-pane] svg.svg-layer')]
  .flatMap(s => [...s.querySelectorAll('line,path,polyline,circle,ellipse,rect')])
  .filter(e => !e.closest('defs')).length"""


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark that OHIF has put on an image."""

    sop_uid: str
    points: tuple[tuple[float, float], ...]
    """Column and row, as in a SCOORD (PS3.3 C.18.6)."""
    frame: int = 1


@dataclass(frozen=True, slots=True)
class Shown:
    """An image in the viewport."""

    sop_uid: str
    pixels: NDArray[np.uint8]
    """What the screen shows of it: rows, columns, red-green-blue."""


class Reader:
    """One study in the viewer."""

    def __init__(self, page: Page, screenshots: Path) -> None:
        self.page = page
        self.errors: list[str] = []
        """What went wrong in the page, since the study was opened."""
        self._screenshots = screenshots
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open_study(self, address: str, study_uid: str, series: int) -> None:
        """Open a study and wait until so many series are listed."""
        self.page.goto(f"{address}/viewer?StudyInstanceUIDs={study_uid}")
        self.page.wait_for_selector("[data-cy^=study-browser-thumbnail]")
        self.page.wait_for_function(f"({DISPLAY_SETS})().length >= {series}")
        self.settle()

    def listed(self) -> list[dict[str, Any]]:
        """Return the series of the list: series, instance, is_refused."""
        found: list[dict[str, Any]] = self.page.evaluate(DISPLAY_SETS)
        return found

    def open_series(self, series_uid: str, name: str, *, answer: str = "No") -> None:
        """Open a series as a reader does, and keep a screenshot of that name.

        `answer`: to its question whether to load a report's or a segmentation's content for work;
        of a segmentation, which is loaded by "Yes", the question is waited for.
        """
        uid = self._display_set(series_uid)
        [is_refused] = [one["is_refused"] for one in self.listed() if one["uid"] == uid]
        card = self._card(uid)
        card.scroll_into_view_if_needed()
        card.dblclick()
        button = self.page.get_by_role("button", name=answer, exact=True)
        if answer == "Yes":
            button.first.wait_for()
        elif not is_refused:
            self.page.wait_for_function(f"uid => ({SHOWN})().includes(uid)", arg=uid)
        self.page.wait_for_timeout(1000)
        self.settle()
        if button.count():
            button.first.click()
            self.settle()
        self.screenshot(name)

    def is_open(self, series_uid: str) -> bool:
        """Say whether the series is in the viewport."""
        return self._display_set(series_uid) in self.page.evaluate(SHOWN)

    def instance(self, series_uid: str) -> str:
        """Return the SOP Instance UID of the report that is shown of a series."""
        [found] = [one["instance"] for one in self.listed() if one["series"] == series_uid]
        return str(found)

    def image(self) -> Shown:
        """Return what the viewport shows, cut to the image."""
        self.page.wait_for_function(LOADED)
        seen = self.page.evaluate(IMAGE)
        png = base64.b64decode(seen["picture"].partition(",")[2])
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        left, top, right, bottom = (max(round(x), 0) for corner in seen["corners"] for x in corner)
        return Shown(seen["sop_uid"], pixels[top:bottom, left:right])

    def changed(self, before: Shown) -> Shown:
        """Return what the viewport shows as soon as it differs from what it showed."""
        give_up_at = time.monotonic() + PATIENCE_MS / 1000
        while time.monotonic() < give_up_at:
            after = self.image()
            if not np.array_equal(after.pixels, before.pixels):
                self.settle()
                return self.image()
            self.page.wait_for_timeout(400)
        pytest.fail("the image stays as it was")

    def images(self) -> int:
        """Return how many images can be scrolled through."""
        return int(self.page.evaluate(IMAGES))

    def next_image(self) -> None:
        """Scroll by one image, of those that can be scrolled through."""
        before = self.page.evaluate(PLACE)
        self.page.keyboard.press("ArrowDown")
        self.page.wait_for_function(f"before => ({PLACE})() !== before", arg=before)
        self.page.wait_for_function(LOADED)
        self.settle()

    def next_region(self) -> None:
        """Press the arrow beside the name of an open report."""
        self.page.locator("[data-cy=viewport-action-arrows-right]").first.click()
        self.settle()

    def marks(self, series_uid: str) -> list[Mark]:
        """Return the regions of an open report, in its order, as OHIF has put them on images."""
        uid = self._display_set(series_uid)
        self._await_regions()
        self.page.wait_for_function(
            f"""uid => {{
              const marked = ({MARKED})(uid), on_images = ({MARKS})().map(mark => mark.uid);
              return marked.length && marked.every(one => on_images.includes(one));
            }}""",
            arg=uid,
        )
        drawn = {mark["uid"]: mark for mark in self.page.evaluate(MARKS)}
        marks = [drawn[uid] for uid in self.page.evaluate(MARKED, uid)]
        return [
            Mark(m["sop_uid"], tuple((p[0], p[1]) for p in m["points"]), m["frame"]) for m in marks
        ]

    def segmented(self) -> tuple[list[str], dict[tuple[str, int, int], set[tuple[int, int]]]]:
        """Return what the loaded segmentation calls its segments, and where OHIF has put them.

        By image, its frame and the number of the segment: columns and rows.
        """
        self.page.wait_for_function(f"({SEGMENTED})().some(one => one.slices.length)")
        *_, last = self.page.evaluate(SEGMENTED)
        found = {
            (one["sop_uid"], one["frame"], int(segment)): {(x, y) for x, y in voxels}
            for one in last["slices"]
            for segment, voxels in one["found"].items()
        }
        return last["labels"], found

    def text(self, awaited: str) -> str:
        """Return the words in the viewport, as soon as these are among them."""
        viewport = self.page.locator("[data-cy=viewport-pane]").first.filter(has_text=awaited)
        words: str = viewport.inner_text()
        return words

    def document(self) -> NDArray[np.uint8]:
        """Return the pixels of an embedded document, such as a PDF, with the browser's frame."""
        frame = self.page.locator("[data-cy=viewport-pane]").locator("object, iframe, embed")
        png = frame.first.screenshot()
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def screenshot(self, name: str) -> None:
        """Keep what is on the screen."""
        self.page.screenshot(path=self._screenshots / f"{name}.png")

    def settle(self) -> None:
        """Wait until the screen stops changing."""
        before, quiet_ms = b"", 0
        for _ in range(PATIENCE_MS // 400):
            self.page.wait_for_timeout(400)
            now = self.page.screenshot(type="jpeg", quality=40)
            quiet_ms = quiet_ms + 400 if now == before else 0
            before = now
            if quiet_ms >= QUIET_MS:
                return
        pytest.fail("the screen does not come to rest")

    def _await_regions(self) -> None:
        """Wait until regions are drawn; help as docs/viewers.md tells a reader to.

        OHIF 3.13 marks regions as shown after the image was drawn and asks for no other drawing:
        on a slow machine they may come too late for the first.
        """
        give_up_at = time.monotonic() + PATIENCE_MS / 1000
        while not self.page.evaluate(DRAWN):
            if time.monotonic() > give_up_at:
                pytest.fail("no region is drawn")
            self.page.wait_for_timeout(2000)
            self.page.keyboard.press("Space")  # reset the view

    def _display_set(self, series_uid: str) -> str:
        found = [one["uid"] for one in self.listed() if one["series"] == series_uid]
        assert found, "the series is not in the list"
        return str(found[0])

    def _card(self, uid: str) -> Locator:
        return self.page.locator(f"[id='thumbnail-{uid}']")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser without a window."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        pytest.fail("playwright is not installed: pip install playwright", pytrace=False)
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("chromium is not installed: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM))
        yield browser
        browser.close()


@contextmanager
def reader(browser: Browser, screenshots: Path) -> Iterator[Reader]:
    """Sit down at a new screen."""
    width, height = SCREEN
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(BEFORE)
    yield Reader(context.new_page(), screenshots)
    context.close()
