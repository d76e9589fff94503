"""The page in a real browser: what a radiologist and who looks after the PACS do there."""

from __future__ import annotations

import importlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from ledgers import NODE
from pages import OPERATOR, PASSWORD, READER
from ports import free_port
from viewers.reader import chromium
from web.screenshots import PHONE, WIDE, fill
from web.site import HOSTILE, Site, Who, opened, uid_of

from node.ledger import DeliveryState, Ledger, OwnPart
from node.ledger.nodes import Ill
from node.result import Priority
from node.store import Store

from .conftest import Started
from .programs import AI_NODE, MODALITY_AE, Daemon, Node, StoreScp, peer, settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

PATIENCE_MS = 20_000
OFTEN = pytest.mark.parametrize("site", [2.0], indirect=True)
"""The page renews itself as often as it may; else hardly ever."""
MORNING = "morning"
BUSY = pytest.mark.parametrize("site", [MORNING], indirect=True)
"""There are studies of every kind; else none yet."""

CONTRAST = """() => {
  const colour = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const behind = one => {
    for (; one; one = one.parentElement) {
      const found = colour(getComputedStyle(one).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const seen = [], HIDDEN = '.seen-only-by-ear, .skip, svg, noscript';
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement, style = getComputedStyle(one);
    if (!texts.currentNode.textContent.trim() || one.closest(HIDDEN)) continue;
    if (style.visibility !== 'visible' || !one.getClientRects().length) continue;
    const [a, b] = [light(colour(style.color)), light(behind(one))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) seen.push(`${ratio.toFixed(2)}: ${texts.currentNode.textContent.trim()}`);
  }
  return seen;
}"""

Visit = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """What a node has kept: nothing yet, or a morning's studies; to be copied."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("nothing", MORNING)}
    for name, folder in made.items():
        ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        ledger.migrate()
        store = Store(folder / "store")
        store.prepare()
        site = opened(store, ledger, folder)
        site.add_users()
        if name == MORNING:
            fill(site)
        ledger.close()
    return made


@pytest.fixture
def site(
    folders: Mapping[str, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Site]:
    """A node that is well, and a viewer beside it."""
    param = getattr(request, "param", 600.0)
    kept = folders[MORNING if param == MORNING else "nothing"]
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db")
    store = Store(tmp_path / "store")
    viewer = "https://viewer.example/?study={study_uid}"
    refresh_s = 600.0 if param == MORNING else param
    made = opened(
        store,
        ledger,
        tmp_path,
        shows="patient",
        refresh_s=refresh_s,
        viewer=viewer,
    )
    made.is_well()
    yield made
    ledger.close()


@pytest.fixture
def served(site: Site) -> Iterator[ExitStack]:
    """The page of the site is served until this is closed."""
    with ExitStack() as stack:
        stack.address = stack.enter_context(site.served())  # type: ignore[attr-defined]
        yield stack


@pytest.fixture
def visit(browser: Browser, served: ExitStack) -> Iterator[Visit]:
    """Sit down at a new screen, and log in. What its console complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def at_screen(
        user: str = OPERATOR,
        size: tuple[int, int] = WIDE,
        scheme: Literal["light", "dark"] = "light",
        **how: Any,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            base_url=served.address,  # type: ignore[attr-defined]
            **how,
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if _is_ours(said) else None)
        page.goto("/login")
        page.fill("#name", user)
        page.fill("#password", PASSWORD)
        page.press("#password", "Enter")
        page.wait_for_selector("h1:has-text('Reading list')")
        return page

    yield at_screen
    for context in contexts:
        context.close()
    assert complaints == []


def _is_ours(said: Any) -> bool:
    """Whether the console complains of our page, and not of a server that is gone or says no."""
    is_network = "net::ERR_" in said.text or "Failed to load resource" in said.text
    return said.type == "error" and not is_network


def shows_in_order(page: Page, expected: list[str]) -> None:
    """Wait until these studies are listed, and no other: a page may have been left just now."""
    has(page.locator("a.who"), len(expected))
    for place, study_uid in enumerate(expected):
        seen = page.locator("a.who").nth(place)
        playwright().expect(seen).to_have_id(f"study-{study_uid}", timeout=PATIENCE_MS)


def has(found: Locator, count: int) -> None:
    playwright().expect(found).to_have_count(count, timeout=PATIENCE_MS)


def playwright() -> Any:
    """It is installed for these tests only: this module is read without it, too."""
    return importlib.import_module("playwright.sync_api")


def studies(*numbers: int) -> list[str]:
    return [uid_of(number) for number in numbers]


@BUSY
def test_the_list_is_in_order_and_filters_and_search_find_what_they_say(
    site: Site, visit: Visit
) -> None:
    page = visit()
    shows_in_order(page, studies(4, 5, 3, 2, 1, 6, 7, 8))
    assert page.title() == "(2 urgent) Reading list - AI node"
    for words, found in (
        ("Urgent 2", studies(4, 5)),
        ("Not assessed 1", studies(2)),
        ("Failed 1", studies(5)),
        ("Waiting 2", studies(8, 7)),
        ("Excluded 1", studies(9)),
    ):
        page.get_by_role("link", name=words).click()
        page.wait_for_selector(f"[aria-current=true]:has-text('{words.rpartition(' ')[0]}')")
        shows_in_order(page, found)
    for by, text, found in (
        ("patient", "PH-0003", studies(3)),
        ("accession", "A-1006", studies(6)),
        ("study", uid_of(9), studies(9)),
        ("patient", "nobody", []),
    ):
        page.select_option("#search-by", by)
        page.fill("#search-text", text)
        page.press("#search-text", "Enter")
        page.wait_for_selector(f"#search-text[value='{text}']")
        shows_in_order(page, found)
        assert "PH-0003" not in page.url
    page.goto("/")
    viewer = page.get_by_role("link", name="Open in viewer").first
    assert viewer.get_attribute("href") == f"https://viewer.example/?study={uid_of(4)}"


def test_a_study_is_marked_as_read_by_who_is_asked_once_and_that_is_undone(
    site: Site, visit: Visit
) -> None:
    site.exam(1, Priority.URGENT)
    page = visit(READER)
    page.get_by_role("link", name="Mark as read").click()
    page.get_by_role("link", name="No, go back").click()
    shows_in_order(page, studies(1))
    page.get_by_role("link", name="Mark as read").click()
    page.get_by_role("button", name="Yes: mark as read").click()
    page.wait_for_selector("text=Nothing waits to be read.")
    page.get_by_role("link", name="Undo").click()
    page.get_by_role("button", name="Yes").click()
    page.wait_for_selector("text=It is on the reading list again.")
    page.get_by_role("link", name="Reading list").first.click()
    page.wait_for_selector(f"a.who >> text={Who().name.replace('^', ', ')}")
    shows_in_order(page, studies(1))


def test_an_excluded_study_is_released_from_its_page_through_the_question(
    site: Site, visit: Visit
) -> None:
    site.excluded(1, "older than 30 days")
    page = visit()
    page.get_by_role("link", name="see them").click()
    page.locator("a.who").click()
    page.get_by_role("link", name="Release").click()
    page.wait_for_selector("text=It is excluded: older than 30 days.")
    page.get_by_role("button", name="Yes: release").click()
    page.wait_for_selector("text=Released: it goes on.")
    has(page.locator(f".history >> text=by hand by {OPERATOR}"), 1)


def test_results_that_were_refused_are_sent_again_through_the_question(
    site: Site, visit: Visit
) -> None:
    site.exam(1, Priority.URGENT, delivered=(DeliveryState.SENT, DeliveryState.REFUSED))
    page = visit()
    page.locator("a.who").click()
    page.get_by_role("link", name="Send again").click()
    page.get_by_role("button", name="Yes: send again").click()
    page.wait_for_selector("text=Its results are sent again.")
    has(page.locator(f".history >> text=sent again to pacs by hand by {OPERATOR}"), 1)


def test_captures_are_seen_and_result_objects_are_downloaded(site: Site, visit: Visit) -> None:
    site.exam(1, Priority.URGENT, has_marks=True)
    page = visit()
    page.locator("a.who").click()
    pictures = page.locator(".pictures img")
    has(pictures, 5)
    for number in range(5):
        picture = pictures.nth(number)
        picture.scroll_into_view_if_needed()
        width = picture.evaluate("one => one.decode().then(() => one.naturalWidth)")
        assert width > 100
    with page.expect_download() as download:
        page.locator("[id^=object-]").first.click()
    content = download.value.path().read_bytes()
    assert download.value.suggested_filename.endswith(".dcm")
    assert content[128:132] == b"DICM"


def test_nothing_is_wider_than_a_phone_whatever_a_stranger_wrote(site: Site, visit: Visit) -> None:
    nasty = Who(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    site.exam(1, Priority.URGENT, who=nasty, refuse={}, has_marks=True)
    site.exam(2, Priority.NOT_ASSESSED, delivered=(DeliveryState.REFUSED,))
    site.excluded(3)
    here = f"/studies/{uid_of(1)}"
    for size in (PHONE, WIDE):
        page = visit(size=size)
        for address in ("/", "/?show=all", here, f"{here}/read", "/system"):
            page.goto(address)
            scrolled = page.evaluate("document.documentElement.scrollWidth")
            assert scrolled <= size[0], address
            assert not page.title().startswith("pwned"), "its script has run"
            inside = page.evaluate(
                "() => [...document.querySelectorAll('.wide')].every(one => "
                "one.scrollWidth <= one.clientWidth + 1)"
            )
            assert inside, f"a table of {address} is wider than its place"
        page.goto(here)
        heading = page.locator("h1")
        assert heading.inner_text().startswith("<script>document.title")
        assert (heading.bounding_box() or {"height": 999})["height"] < 150


def test_everything_is_done_with_the_keyboard_alone(site: Site, visit: Visit) -> None:
    site.exam(1, Priority.URGENT)
    page = visit(READER)
    page.goto("/")
    focused = "() => document.activeElement.id || document.activeElement.className"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "skip"
    assert (page.locator(".skip").bounding_box() or {"y": -1})["y"] >= 0, (
        "it is seen once it has the focus"
    )
    page.keyboard.press("Enter")
    assert page.evaluate(focused) == "main"
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(focused))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", reached[-1]
        if reached[-1] == f"read-{uid_of(1)}":
            break
    for name in ("filter-open", "filter-all", "search-by", "search-text", "search"):
        assert name in reached
    assert reached[-3:] == [f"{what}-{uid_of(1)}" for what in ("study", "view", "read")]
    page.keyboard.press("Enter")
    page.wait_for_selector("#yes")
    page.locator("#main").focus()
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "yes"
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Nothing waits to be read.")


@BUSY
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_word_stands_out_from_what_is_behind_it(
    site: Site, visit: Visit, scheme: Literal["light", "dark"]
) -> None:
    """WCAG 2.2, 1.4.3, level AA: at least 4.5 to 1."""
    page = visit(scheme=scheme)
    here = f"/studies/{uid_of(5)}"
    for address in ("/", "/?show=all", here, f"{here}/retry", "/system"):
        page.goto(address)
        assert page.evaluate(CONTRAST) == [], address


@OFTEN
def test_the_list_renews_itself_and_moves_nobody(site: Site, visit: Visit) -> None:
    for number in range(1, 20):
        site.arrived(number)
    page = visit()
    page.locator(f"[id='study-{uid_of(9)}']").focus()
    page.fill("#search-text", "half a num")
    page.locator(f"[id='study-{uid_of(9)}']").focus()
    page.evaluate("window.scrollTo(0, 300)")
    site.exam(50, Priority.URGENT)
    page.wait_for_selector(f"[id='study-{uid_of(50)}']")
    first = page.locator("a.who").first
    playwright().expect(first).to_have_id(f"study-{uid_of(50)}", timeout=PATIENCE_MS)
    assert page.evaluate("document.activeElement.id") == f"study-{uid_of(9)}"
    assert page.evaluate("window.scrollY") == 300
    assert page.input_value("#search-text") == "half a num"
    assert page.title().startswith("(1 urgent)")


@OFTEN
def test_without_scripts_the_list_renews_itself_too(site: Site, visit: Visit) -> None:
    page = visit(java_script_enabled=False)
    site.exam(1, Priority.URGENT)
    page.wait_for_selector(f"[id='study-{uid_of(1)}']")


@OFTEN
def test_a_page_whose_server_is_gone_says_that_its_order_cannot_be_trusted(
    site: Site, visit: Visit, served: ExitStack
) -> None:
    site.exam(1, Priority.URGENT)
    page = visit()
    stale = page.locator(".stale")
    assert not stale.is_visible()
    served.close()
    stale.wait_for(state="visible")
    words = stale.inner_text()
    assert re.search(r"This page is from \d\d:\d\d:\d\d and older than it should be", words)
    shows_in_order(page, studies(1))


@OFTEN
def test_a_node_that_falls_ill_says_so_on_the_page_that_is_open(site: Site, visit: Visit) -> None:
    page = visit()
    ill = page.locator("#banners .ill .banner")
    assert ill.count() == 0
    site.desk.nodes.record_ill(NODE, {OwnPart.LISTENER: Ill(1_764_000_000.0, "it has died")})
    ill.wait_for(state="visible")
    words = ill.inner_text()
    assert "the order of the reading list cannot be trusted" in words
    assert "listener, since 2025-11-24" in words
    site.desk.nodes.record_ill(NODE, {})
    ill.wait_for(state="detached")


def test_a_study_is_seen_to_come_and_nodes_that_were_killed_are_missed(
    tmp_path: Path,
    browser: Browser,
    pacs: StoreScp,
    started: Started,
    exam: Callable[[str], list[Path]],
) -> None:
    """Real processes: a node, and beside it one that only shows."""
    modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["pacs"])
    archive = peer("pacs", pacs.ae_title, pacs.port)
    port, web_port = free_port(), free_port()
    of_node = settings(port, modality, archive, node=["dead_after_s = 3"])
    of_node = of_node.replace('"state"', f'"{tmp_path}/state"')
    node = Node(tmp_path / "node", port, of_node)
    configuration = tmp_path / "web.toml"
    configuration.write_text(f"{of_node}[web]\nport = {web_port}\nrefresh_s = 2\n", "utf-8")
    command = [AI_NODE, "run", "--only", "web", "--config", str(configuration)]
    shown = Daemon(tmp_path / "web", command)
    started(node)
    started(shown)
    shown.wait_until("it shows", lambda: "Page at" in shown.says())
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.goto(f"http://127.0.0.1:{web_port}/")
    ill = page.locator("#banners .ill .banner")
    assert ill.count() == 0
    node.send(*exam("page"))
    page.wait_for_selector("tr:has-text('4/4 views') >> text=breast-area")
    node.kill()
    ill.wait_for(state="visible")
    assert "no node listens" in ill.inner_text()
    assert "no node works" in ill.inner_text()
    assert "since" in ill.inner_text()
    shown.kill()
    page.locator(".stale").wait_for(state="visible")
    has(page.locator("a.who"), 1)
    page.close()
