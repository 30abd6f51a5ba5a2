"""The report that is committed: its pages in a real browser, its links, its PDF, and Quarto."""

import functools
import gzip
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pypdf
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route

from bookmaker import addresses, missing, pages_of
from browser import HIDDEN, TEXT_OUTSIDE, Visit, Visits
from conftest import contents
from vitrine.book import freeze
from vitrine.book.render import render
from vitrine.project import Project
from vitrine.store import Store

PARTS = (
    "_quarto.yml", "_variables.yml", "index.qmd", "references.bib",
    "chapters", "assets", "_freeze", "data", "code",
)  # fmt: skip
"""What the site is built from."""


@pytest.fixture(scope="session")
def book(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the committed report, without caches and without what was built before."""
    folder = tmp_path_factory.mktemp("book")
    ignored = shutil.ignore_patterns("cache", "__pycache__", "*_files")
    for part in PARTS:
        if (root / part).is_dir():
            shutil.copytree(root / part, folder / part, ignore=ignored)
        else:
            shutil.copy(root / part, folder / part)
    return Project(folder)


@pytest.fixture(scope="session")
def site(book: Project) -> Path:
    """The site as the bundled renderer builds it."""
    return render(book, renderer="bundled").site


@pytest.fixture(scope="session")
def pages(book: Project) -> list[str]:
    """The pages that the book must have, relative to the site."""
    config = yaml.safe_load((book.root / "_quarto.yml").read_text(encoding="utf-8"))
    return [chapter.removesuffix(".qmd") + ".html" for chapter in config["book"]["chapters"]]


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """The site on a web server of this machine, in a folder and compressed as on GitHub Pages."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            return super().translate_path(path.removeprefix("/vitrine"))

        def do_GET(self) -> None:
            path = Path(self.translate_path(self.path))
            if path.suffix not in (".html", ".css", ".js", ".svg", ".csv") or not path.is_file():
                return super().do_GET()
            content = gzip.compress(path.read_bytes())
            self.send_response(200)
            self.send_header("Content-Type", self.guess_type(path))
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A page that is left breaks off what it asked for; troubles are heard in the page."""

    server = Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/vitrine/"
    server.shutdown()
    server.server_close()


GROUND = "getComputedStyle(document.documentElement).backgroundColor"


def test_the_committed_freeze_is_current(root: Path) -> None:
    assert [str(stale) for stale in freeze.check(Project(root))] == []


def test_what_is_committed_stays_small(root: Path) -> None:
    sizes = {
        path: path.stat().st_size
        for folder in ("_freeze", "data/results", "assets")
        for path in (root / folder).rglob("*")
        if path.is_file()
    }
    assert max(sizes.values()) < 2_000_000, max(sizes, key=lambda path: sizes[path])
    assert sum(sizes.values()) < 68_000_000


def test_every_page_is_quiet_complete_and_asks_no_other_host(
    visit: Visit, address: str, pages: list[str]
) -> None:
    for name in pages:
        page = visit.scroll(address + name)
        broken = page.evaluate(
            "[...document.images].filter(i => !i.naturalWidth && i.offsetParent).map(i => i.src)"
        )
        assert broken == [], name
        assert page.locator("h1").count() == 1, name
        silent = page.evaluate("[...document.images].filter(i => !i.alt.trim()).map(i => i.src)")
        assert silent == [], name
    assert visit.hosts == {urlsplit(address).netloc}


def test_the_site_works_from_a_folder(visit: Visit, site: Path, pages: list[str]) -> None:
    for name in pages:
        visit.scroll((site / name).as_uri())


def test_the_vega_bundle_is_loaded_only_where_a_chart_is(visit: Visit, address: str) -> None:
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    visit.open(address + "chapters/methods.html")
    assert not [url for url in asked if "vega" in url]
    visit.open(address + "chapters/comparison.html")
    assert not [url for url in asked if "vega" in url or "-chart.js" in url]
    visit.page.locator(".vitrine-chart").first.scroll_into_view_if_needed()
    visit.page.wait_for_selector(".vitrine-chart.is-mounted")
    assert len([url for url in asked if "vega" in url]) == 1


def test_every_page_is_light_until_it_is_scrolled(
    visits: Visits, address: str, pages: list[str]
) -> None:
    visit = visits(1400)
    for name in pages:
        page = visit.open(address + name)
        sizes = page.evaluate(
            "performance.getEntries().filter(entry => 'encodedBodySize' in entry)"
            ".map(entry => [entry.encodedBodySize, entry.name])"
        )
        assert len(sizes) > 5, name
        assert sum(size for size, _ in sizes) < 400_000, (name, sorted(sizes)[-5:])


def test_every_link_and_asset_resolves(site: Path) -> None:
    """Without a browser: every href and src of every page, with its anchor."""
    assert missing(site) == []
    links = [link for page in pages_of(site).values() for link in addresses(page)]
    assert len(links) > 100
    # Addresses elsewhere are for the reader to follow; nothing is loaded from there.
    assert not [to for to in links if re.search(r":.*\.(js|css|woff2?)$", to)]


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_no_page_scrolls_sideways(
    visits: Visits, address: str, pages: list[str], width: int
) -> None:
    visit = visits(width)
    for name in pages:
        page = visit.scroll(address + name)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            ground = page.evaluate(GROUND)
            brightness = sum(map(int, re.findall(r"\d+", ground)[:3])) / 3
            assert (brightness > 128) == (scheme == "light"), ground


def test_the_front_page_shows_images_first_and_a_task_is_one_sheet(
    visits: Visits, address: str
) -> None:
    visit = visits(1400)
    page = visit.open(address + "index.html")
    boxes = [way.bounding_box() for way in page.locator(".vitrine-way img").all()]
    assert len(boxes) == 4 and all(box and box["y"] + box["height"] / 2 < 900 for box in boxes)
    assert page.locator(".vitrine-differs").is_visible()
    for link in page.locator(".vitrine-way").all():
        assert link.locator("span").inner_text().endswith(".")
    for number in range(1, 5):
        page = visit.open(f"{address}chapters/tasks/{number}.html")
        printed = page.pdf(format="A4", prefer_css_page_size=True)
        assert len(pypdf.PdfReader(io.BytesIO(printed)).pages) == 1


def test_without_javascript_everything_is_readable(
    visits: Visits, address: str, pages: list[str]
) -> None:
    visit = visits(java_script_enabled=False)
    for name in pages:
        page = visit.read(address + name)
        assert page.locator("h1").is_visible()
        for chart in page.locator(".vitrine-chart img").all():
            assert chart.is_visible()
    page.goto(address + "chapters/lime.html")
    assert page.locator("a.vitrine-zoom").first.get_attribute("href")


def test_the_reader_can_search_with_the_keyboard(visit: Visit, address: str) -> None:
    page = visit.open(address + "index.html")
    page.keyboard.press("/")
    page.keyboard.type("quickshift")
    result = page.locator("dialog[open] a", has_text=re.compile("how it was computed", re.I)).first
    result.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"chapters/lime\.html"))


@pytest.mark.parametrize("number", ["Table 1.1", "Figure 3.1"])
def test_a_figure_is_found_by_its_number(visit: Visit, address: str, number: str) -> None:
    page = visit.open(address + "index.html")
    page.keyboard.press("/")
    page.keyboard.type(number.lower())
    first = page.locator("dialog[open] [role=option]").first
    first.wait_for()
    assert number in first.locator(".search-where").inner_text()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("#(fig|tbl)-"))
    target = page.locator(f"#{urlsplit(page.url).fragment}")
    caption = target.locator("figcaption[class*=quarto]").first.inner_text()
    assert re.sub(r"\s", " ", caption).startswith(number)


def test_each_figure_says_where_it_comes_from(
    visit: Visit, address: str, root: Path, site: Path, pages: list[str]
) -> None:
    for name in pages:
        page = visit.open(address + name)
        told = page.locator("[data-lines]").evaluate("e => [e.dataset.source, e.dataset.lines]")
        lines = (root / told[0]).read_text(encoding="utf-8").splitlines()
        for label, number in json.loads(told[1]).items():
            assert label in lines[number - 1]
            line = page.locator(f"#{label} .vitrine-line")
            assert f"{told[0]}, line {number}" in (line.text_content() or "")
            assert line.locator(f"a[href='#{label}']").count() == 1
            drawn = page.locator(f"#{label} :is(.vitrine-chart, .vitrine-table)").count()
            data = line.locator("a[download]")
            assert data.count() >= min(drawn, 1)
            for link in data.all():
                assert (site / name).parent.joinpath(link.get_attribute("href")).stat().st_size


def test_the_repository_leads_to_the_source_of_figures_and_tasks(
    visit: Visit, address: str
) -> None:
    def named(route: Route) -> None:
        answer = route.fetch()
        link = '<a href="https://x.org/a/b/" data-repository>Repository</a></header>'
        route.fulfill(response=answer, body=answer.text().replace("</header>", link, 1))

    visit.page.route("**/tasks/4.html", named)
    page = visit.open(f"{address}chapters/tasks/4.html")
    links = page.locator("a:has(> .vitrine-module)").evaluate_all("all => all.map(a => a.href)")
    assert "https://x.org/a/b/tree/HEAD/code/vitrine/measures/agreement.py" in links
    figure = page.locator(".vitrine-line a[href^='https://x.org/a/b/blob/HEAD/chapters/tasks/4']")
    assert figure.count() == 1


HOVERED = """(chart) => {
  const drawn = ':is(.mark-symbol, .mark-rect, .mark-rule, .mark-image) > *';
  for (const mark of chart.querySelectorAll(drawn)) {
    const box = mark.getBoundingClientRect();
    const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
    const found = document.elementFromPoint(x, y);
    if (!found || !chart.contains(found)) continue;
    found.dispatchEvent(new MouseEvent('pointermove', { bubbles: true, clientX: x, clientY: y }));
    found.dispatchEvent(new MouseEvent('mousemove', { bubbles: true, clientX: x, clientY: y }));
    const shown = document.querySelector('#vg-tooltip-element.visible');
    if (shown) return [...shown.querySelectorAll('.key')].map((key) => key.textContent);
  }
  return null;
}"""
TAB_STOPS = """() => [...document.querySelectorAll(
  'main :is(a[href], button, input, select, summary, [tabindex])')].filter((element) =>
  element.tabIndex >= 0 && element.checkVisibility({ visibilityProperty: true })
  && !element.closest('p:not(.vitrine-line), li, .vitrine-explorer')).length"""


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_charts_are_whole_answer_the_pointer_and_axe_finds_nothing(
    visits: Visits, address: str, pages: list[str], width: int, scheme: str
) -> None:
    visit = visits(width, color_scheme=scheme)
    for name in pages:
        page = visit.scroll(address + name)
        assert page.evaluate(TEXT_OUTSIDE) == [], name
        assert page.evaluate(HIDDEN) == [], name
        squeezed = page.locator(".vitrine-mount svg").evaluate_all(
            "all => all.map(svg => svg.getAttribute('width') / svg.getBoundingClientRect().width)"
        )
        assert max(squeezed, default=1) < 1.05, name
        assert page.evaluate(TAB_STOPS) <= 40, name
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == [], name
        for chart in page.locator(".vitrine-chart").all():
            chart.scroll_into_view_if_needed()
            hit = chart.evaluate(HOVERED)
            assert hit, f"{name}: no mark of a chart has a tooltip"
            assert all("_" not in key for key in hit), f"{name}: {hit}"


def test_the_reader_can_enlarge_pictures_with_the_keyboard(visit: Visit, address: str) -> None:
    page = visit.open(address + "chapters/lime.html")
    page.locator("a.vitrine-zoom").first.focus()
    page.keyboard.press("Enter")
    shown = page.locator("dialog[open] img")
    shown.wait_for()
    first = shown.get_attribute("src")
    page.keyboard.press("ArrowRight")
    assert shown.get_attribute("src") != first
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.classList.contains('vitrine-zoom')")


def test_the_reader_can_choose_light_or_dark(visit: Visit, address: str) -> None:
    page = visit.open(address + "index.html")

    before = page.evaluate(GROUND)
    page.locator("[data-theme-toggle]").click()
    page.wait_for_function(f"before => {GROUND} !== before", arg=before)
    chosen = page.evaluate(GROUND)
    page.reload()
    assert page.evaluate(GROUND) == chosen


def test_a_table_can_be_sorted_and_taken_away(visit: Visit, address: str, site: Path) -> None:
    page = visit.open(address + "chapters/comparison.html")
    table = page.locator(".vitrine-table").first
    table.get_by_role("button", name="IoU").click()
    values = [float(text) for text in table.locator("tbody tr td:nth-child(2)").all_inner_texts()]
    assert values in (sorted(values), sorted(values, reverse=True))
    with page.expect_download() as download:
        page.locator("figure", has=table).locator("a.vitrine-download").first.click()
    assert download.value.suggested_filename == "iou.csv"


def test_the_units_can_be_searched_filtered_sorted_and_linked_to(
    visits: Visits, address: str
) -> None:
    page = visits().open(address + "chapters/published.html")
    explorer = page.locator(".vitrine-explorer")
    explorer.scroll_into_view_if_needed()
    found = explorer.locator("output")
    every = int(re.sub(r"\D", "", found.inner_text().split(" of ")[1]))
    assert every > 1000
    explorer.get_by_role("searchbox").fill("room")
    page.wait_for_url(re.compile(r"#units\?q=room"))
    explorer.get_by_label("Network").select_option("ResNet-18 Places365")
    explorer.get_by_role("button", name="Similarity").click()
    shown = found.inner_text()
    assert 0 < int(shown.split(" of ")[0]) < every
    cells = explorer.locator("tbody tr td:nth-child(6)").all_inner_texts()  # and the row's link
    values = [float(cell.split()[0]) for cell in cells]
    assert values == sorted(values, reverse=True)
    other = visits().open(page.url)
    other.locator(".vitrine-explorer.is-ready").wait_for()
    assert other.locator(".vitrine-explorer output").inner_text() == shown
    link = explorer.locator("tbody tr").nth(3).get_by_role("link", name="Link to this row")
    label = explorer.locator("tbody tr").nth(3).inner_text()
    link.click()
    marked = explorer.locator("tbody tr[aria-current]")
    marked.wait_for()
    assert marked.count() == 1 and marked.inner_text() == label
    assert found.inner_text() == shown


def _gallery(page: Page, state: str) -> list[int]:
    """Wait until the gallery shows a state; the numbers of all units that it lists."""
    page.wait_for_function(
        "state => document.querySelector('.vitrine-gallery')?.dataset.state === state", arg=state
    )
    more = page.locator(".vitrine-more")
    while more.is_visible():
        before = page.locator(".vitrine-units-grid a").count()
        more.click()
        page.wait_for_function(
            "n => document.querySelectorAll('.vitrine-units-grid a').length > n", arg=before
        )
    told = page.locator(".vitrine-units-grid a > span").all_inner_texts()
    return [int(re.findall(r"unit (\d+)", text)[0]) for text in told]


def test_a_bar_leads_to_exactly_the_units_that_it_counts(
    visit: Visit, address: str, book: Project, site: Path
) -> None:
    scripts = (site / "chapters" / "dissection_files" / "figure-html").glob("*-chart.js")
    bars = [
        row
        for spec in (json.loads(path.read_text()[:-2].split("]=", 1)[1]) for path in scripts)
        for rows in spec.get("datasets", {}).values()
        for row in rows
        if row.get("part")
    ]
    chosen = [bar for bar in bars if bar["part"] == "significant"][:2]
    chosen += [bar for bar in bars if bar["part"] != "significant"][:2]
    table = Store(book, book.shown_study).table("units")
    for bar in chosen:
        visit.open("about:blank")
        page = visit.open(address + "chapters/" + bar["link"])
        link = urlsplit(bar["link"]).fragment
        network, layer = map(unquote, link.split("?")[0].split("/"))
        own = table[(table["classifier"] == network) & (table["layer"] == layer)]
        own = own[(own["label"] == bar["concept"]) & own["similarity"].notna()]
        own = own[(own["q_value"] <= 0.05) == (bar["part"] == "significant")]
        page.wait_for_selector(".vitrine-units-grid a")
        state = page.locator(".vitrine-gallery").get_attribute("data-state")
        assert state is not None
        assert sorted(_gallery(page, state)) == own["unit"].tolist()
        assert len(own) == bar["number"]
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(500)  # to leave before the sheets are there would break them off


@pytest.mark.parametrize("width", [1400, 390])
def test_a_unit_is_a_place_that_the_keyboard_reaches(
    visits: Visits, address: str, width: int
) -> None:
    page = visits(width).open(address + "chapters/units.html")
    page.wait_for_selector(".vitrine-units-grid a")
    assert page.locator(".vitrine-gallery [tabindex='0'], .vitrine-gallery select").count() <= 5
    page.locator(".vitrine-units-grid a[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector(".vitrine-unit")
    where, label = page.locator(".vitrine-where").inner_text(), page.locator(".vitrine-unit h3")
    assert page.evaluate("document.activeElement.closest('.vitrine-unit') !== null")
    assert page.locator(".vitrine-unit-images canvas").count() == 9
    counts = page.locator(".vitrine-histogram [title]").evaluate_all(
        "bars => bars.map(bar => parseInt(bar.title))"
    )
    assert len(counts) == 16 and sum(counts) > 0
    other = visits(width).open(page.url)
    other.wait_for_selector(".vitrine-unit")
    assert other.locator(".vitrine-where").inner_text() == where
    assert other.locator(".vitrine-unit h3").inner_text() == label.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_share_of_the_frame_can_be_chosen(visit: Visit, address: str) -> None:
    page = visit.scroll(address + "chapters/comparison.html")
    before = page.locator(".vitrine-chart svg").first.inner_html()
    page.locator(".vitrine-chart select").first.select_option(label="50%")
    page.wait_for_function(
        "b => document.querySelector('.vitrine-chart svg').innerHTML !== b", arg=before
    )
    said = page.locator(".vitrine-mount").first
    page.wait_for_function("m => m.ariaLabel.includes('50%')", arg=said.element_handle())


def test_a_legend_can_be_operated_by_keyboard(visit: Visit, address: str) -> None:
    page = visit.open(address + "chapters/measures.html")
    chart = page.locator("#fig-curves .vitrine-chart")
    chart.scroll_into_view_if_needed()
    entries = chart.locator(".role-legend [role=button]")
    entries.first.wait_for()
    assert chart.locator(".role-legend [tabindex='0']").count() == 1
    entries.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    pressed = chart.locator(".role-legend [aria-pressed=true]")
    pressed.wait_for()
    assert pressed.get_attribute("aria-label") == entries.nth(1).get_attribute("aria-label")
    faded = chart.locator(".mark-line path[opacity='0.12']")
    assert faded.count() == entries.count() - 1
    page.keyboard.press("Enter")
    pressed.wait_for(state="detached")


def test_the_pdf_holds_every_chapter_with_its_figures(book: Project, site: Path) -> None:
    (path,) = site.glob("*.pdf")
    reader = pypdf.PdfReader(path)
    text = re.sub(r"\s+", " ", " ".join(page.extract_text() for page in reader.pages))
    outline = str(reader.outline)
    for chapter in sorted((book.freeze).rglob("typ.json")):
        markdown = json.loads(chapter.read_text(encoding="utf-8"))["result"]["markdown"]
        heading = re.search(r'^title: "?(.+?)"?$|^# (.+?) \{', markdown, re.M)
        assert heading
        title = heading[1] or heading[2]
        assert title.split(":")[0] in text
        assert title.split(":")[0] in outline
    figures = sum(
        len(re.findall(r"#fig-", _unfolded(json.loads(path.read_text())["result"]["markdown"])))
        for path in book.freeze.rglob("typ.json")
    )
    assert len(reader.pages) < 70
    printed = [page.extract_text() for page in reader.pages]
    for number in range(1, 5):
        tasks = [page for page in printed if f"Task {number}: " in page]
        assert any("The question." in page and "Code." in page for page in tasks)
    assert len(re.findall(r"Figure \d+(?:\.\d+)?: ", text)) >= figures
    assert sum(len(page.images) for page in reader.pages) >= 60


def _unfolded(markdown: str) -> str:
    """Without what is folded on the site, whose title alone is on paper."""
    return re.sub(r"^::: \{\.callout-\w+ collapse=.*?\n\n:::$", "", markdown, flags=re.M | re.S)


def test_two_renders_give_the_same_bytes(book: Project, site: Path) -> None:
    before = contents(site)
    render(book, renderer="bundled")
    after = contents(site)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []


def test_quarto_builds_the_book_from_the_freeze_without_starting_a_kernel(
    root: Path, book: Project, tmp_path: Path, pages: list[str]
) -> None:
    if not shutil.which("quarto"):
        pytest.skip("Quarto is not installed: the bundled renderer alone was tested")
    copy = tmp_path / "book"
    shutil.copytree(book.root, copy, ignore=shutil.ignore_patterns("_site"))
    frozen = {path: path.read_bytes() for path in (copy / "_freeze").rglob("*.json")}
    answer = subprocess.run(
        ["quarto", "render"],
        cwd=copy,
        # Where there is no Python, no kernel can start.
        env={**os.environ, "QUARTO_PYTHON": "/nonexistent/python"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = answer.stdout + answer.stderr
    assert answer.returncode == 0, said
    assert "Executing" not in said
    ours = [line for line in said.splitlines() if "WARN" in line and "python" not in line.lower()]
    assert ours == []
    for name in pages:
        page = (copy / "_site" / name).read_text(encoding="utf-8")
        assert "data-lines=" in page and "methods.html#sec-cite" in page
    assert list((copy / "_site").glob("*.pdf"))
    assert frozen == {path: path.read_bytes() for path in (copy / "_freeze").rglob("*.json")}
