"""Pictures of the pages for docs/web: a morning of generated exams, wide and on a phone.

    PYTHONPATH=.:tests .venv/bin/python tests/web/screenshots.py docs/web

Needs Chromium and playwright (`make test-interop` has them).
"""

from __future__ import annotations

import io
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import factories
from pages import OPERATOR, PASSWORD
from PIL import Image
from viewers.reader import chromium

from node.ledger import DeliveryState, Ledger, schema
from node.result import Priority
from node.store import Store
from node.trial import phantom
from web.site import EXAMPLE, Site, Who, opened, uid_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDE, PHONE = (1366, 768), (390, 844)
TECHNIQUE = phantom.Technique()
"""Images of an ordinary size: the captures are looked at."""
LOADED = """() => Promise.all([...document.images].map(one => {
  one.loading = 'eager';
  return one.complete || new Promise(loaded => one.addEventListener('load', loaded));
}))"""
LARGEST_BYTES = 150_000
R_CC, L_CC, R_MLO, L_MLO = phantom.EXAM


def fill(site: Site, technique: phantom.Technique = factories.SMALL) -> None:
    """Let a morning pass; the technique is that of the exam whose captures are looked at."""
    site.exam(1, Priority.ROUTINE, who=_who(1, "CEDAR"), age_s=5400)
    site.exam(
        2,
        Priority.NOT_ASSESSED,
        who=_who(2, "BIRCH"),
        views=(R_CC, L_CC, R_MLO),
        age_s=4100,
    )
    site.exam(3, Priority.SOON, who=_who(3, "HAZEL"), age_s=2500)
    site.exam(
        4,
        Priority.URGENT,
        who=_who(4, "ROWAN"),
        technique=technique,
        age_s=1300,
        has_marks=True,
    )
    site.exam(
        5,
        Priority.URGENT,
        who=_who(5, "ASPEN"),
        age_s=400,
        delivered=(DeliveryState.SENT, DeliveryState.REFUSED),
    )
    site.exam(6, who=_who(6, "ALDER"), refuse={L_CC: "an implant is visible"}, age_s=900)
    site.exam(7, Priority.ROUTINE, who=_who(7, "LINDEN"), age_s=240, delivered=None)
    site.arrived(8, who=_who(8, "WILLOW"))
    site.excluded(9, who=_who(9, "ELM"))


def remember(site: Site) -> None:
    """Let a month have passed, and the modality and the archive have been heard of."""
    day_s, at = 86_400.0, time.time()
    scores = random.Random(15)
    rows = [
        {"study_uid": f"1.2.826.0.2.{n}", "number": 1, "model": EXAMPLE.name}
        | {"model_version": "1.0.0", "weights_sha256": "0" * 64, "mode": "deliver"}
        | {"brief": "", "analysed": 4, "refusals": "{}", "score": score}
        | {"level": _level(score), "finished_at": at - day_s * (1 + n % 29)}
        for n, score in enumerate(scores.betavariate(1.3, 4.0) for _ in range(600))
    ]
    with site.ledger.writing() as db:
        db.execute(schema.analysis.insert(), rows)
        db.execute(schema.peer.delete())
        seen = {"name": "modality", "seen_at": at - 40, "object_at": at - 42}
        sent = {"name": "pacs", "seen_at": at - 300, "sent_at": at - 260}
        refused = {"failed_at": at - 270, "failure": "refused: 0xA700, out of resources"}
        for row in (seen, sent | refused):
            db.execute(schema.peer.insert().values(row))


def _level(score: float) -> Priority:
    if score >= 0.71:
        return Priority.URGENT
    return Priority.SOON if score >= 0.43 else Priority.ROUTINE


def _who(number: int, name: str) -> Who:
    return Who(f"PHANTOM^{name}", f"PH-{number:04}", f"A-{1000 + number}", "Screening, phantom")


@contextmanager
def morning(folder: Path) -> Iterator[Site]:
    """Open a site in an empty folder, and fill it."""
    ledger = Ledger(f"sqlite:///{folder}/ledger.db")
    ledger.migrate()
    store = Store(folder / "store")
    store.prepare()
    viewer = "https://viewer.example/?StudyInstanceUIDs={study_uid}"
    site = opened(store, ledger, folder, shows="patient", viewer=viewer)
    site.is_well()
    fill(site, TECHNIQUE)
    remember(site)
    site.add_users()
    yield site
    ledger.close()


def visit(
    browser: Browser,
    address: str,
    size: tuple[int, int],
    scheme: Literal["light", "dark"] = "light",
) -> Page:
    """Sit down at a screen of this size, and log in."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, base_url=address
    )
    page = context.new_page()
    page.goto("/login")
    page.fill("#name", OPERATOR)
    page.fill("#password", PASSWORD)
    page.press("#password", "Enter")
    page.wait_for_selector("h1:has-text('Reading list')")
    return page


def take(page: Page, name: str, folder: Path, most_px: int) -> None:
    """Keep a picture of the page from its top, no larger than a document should hold."""
    page.evaluate(LOADED)
    shot = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    shot = shot.crop((0, 0, shot.width, min(shot.height, most_px)))
    encoded = (_encoded(shot, colours) for colours in (256, 128, 64, 32))
    (folder / f"{name}.png").write_bytes(next(png for png in encoded if len(png) <= LARGEST_BYTES))


def _encoded(shot: Image.Image, colours: int) -> bytes:
    made = io.BytesIO()
    shot.quantize(colours).save(made, "png", optimize=True)
    return made.getvalue()


def main(folder: Path) -> None:
    """Write the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    pages: Mapping[str, str] = {
        "reading-list": "/",
        "study": f"/studies/{uid_of(4)}",
        "system": "/system",
    }
    with (
        tempfile.TemporaryDirectory() as place,
        morning(Path(place)) as site,
        site.served() as address,
        chromium() as browser,
    ):
        for size, suffix, most_px in ((WIDE, "", 1150), (PHONE, "-phone", 1300)):
            page = visit(browser, address, size)
            for name, where in pages.items():
                site.beat()
                page.goto(where)
                take(page, f"{name}{suffix}", folder, most_px)
        page = visit(browser, address, WIDE, "dark")
        site.beat()
        page.goto("/")
        take(page, "reading-list-dark", folder, 768)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
