"""Prefect's UI in a real browser, as somebody sees it who never opens this project's code.

A server with its UI and the deployments of `deployments/`, served by one process; Debian's Chromium, driven by
Playwright. `uv run pytest -m browser --pictures` makes the pictures in `docs/images/` again.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright

from prefect_ollama.blocks.documents import Chunk, EmbeddedDocument, Region
from prefect_ollama.blocks.lance import Store, StoreSpec
from prefect_ollama.tasks.parsing import Parser
from tests.corpus_samples import identity_of, write_table
from tests.flow_samples import PREFIX, manifest, write_folder
from tests.nodes import Node, expected_vector, nodes
from tests.raw_node import RawNode, answer
from tests.research_samples import (
    COUNTED,
    GEARS,
    PARTS,
    QUESTION,
    RECEDES,
    TIDES,
    draft_for,
    scripts,
    text_of,
)
from tests.services import BIN, Api, Place, prefect_server
from tests.store_samples import document
from tests.waiting import until

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
MAX_BYTES = 160_000
TIMEOUT_MS = 240_000
"""Milliseconds for what the page has to ask the server for, which other work may hold up. It ends a wait in vain."""

expect.set_options(timeout=TIMEOUT_MS)

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A folder whose name can be shown."""
    with tempfile.TemporaryDirectory(prefix="library-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # Text for seven minutes: a browser that gets little of a busy machine must still see the run at work.
        write_folder(folder / "papers", [f"paper {number}" for number in range(1, 41)], pages=16)
        (folder / "papers" / "torn.pdf").write_bytes(b"%PDF-1.7 and no more")
        # A browser takes `https:/host` for `https://host` where the page came by `http`.
        for name in (
            "![x](https:/evil.test/name.png)",
            "<img src=https:/evil.test/html.png>",
            "www.evil.test",
        ):
            path = folder / "hostile" / f"{name}.pdf"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"no PDF")
        yield Place(folder)


@pytest.fixture(scope="module")
def pair() -> Iterator[list[Node]]:
    """Two nodes, slow enough that their run can be watched."""
    with nodes({"texts_per_second": 3}, {"texts_per_second": 2}) as pair:
        yield pair


@pytest.fixture(scope="module")
def api(place: Place) -> Iterator[Api]:
    """A server that knows the blocks and has the deployments, which one process serves."""
    with prefect_server(place, PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED="false") as (api, _):
        place.run(BIN / "prefect", "block", "register", "-m", "prefect_ollama.blocks")
        serve = (BIN / "python", ROOT / "deployments" / "serve.py")
        with place.serving("serve", *serve) as service:
            until(lambda: "Your deployments are being served" in service.said, why=lambda: service.said)
            yield api


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "apt-get install chromium"
    with sync_playwright() as playwright:
        # As root it has no sandbox; it opens pages of this machine only.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, api: Api) -> Iterator[Page]:
    """A page of the UI; it reaches nothing beyond this machine."""
    url = str(api.client.base_url).removesuffix("/api/")
    with browser.new_context(base_url=url, viewport={"width": 1280, "height": 800}) as context:
        context.set_default_timeout(TIMEOUT_MS)
        # By an expression, which the browser's driver applies: a function would hold up every request of the page.
        context.route(re.compile(r"^https?://(?!127\.0\.0\.1[:/])"), _elsewhere)
        yield context.new_page()


def _elsewhere(route: Route) -> None:
    """Logos come from the makers' sites; what else the UI asks for there is how it is used."""
    if route.request.resource_type == "image":
        route.fulfill(content_type="image/svg+xml", body='<svg xmlns="http://www.w3.org/2000/svg"/>')
    else:
        route.abort()


@pytest.fixture
def picture(pytestconfig: pytest.Config, tmp_path: Path) -> Callable[[str, Page], None]:
    """Take a picture of what is shown; with `--pictures` it is put into the documentation."""

    wanted = pytestconfig.getoption("--pictures")

    def take(name: str, page: Page) -> None:
        if wanted:
            # The page of a run asks the server again and again, so on a busy machine it may never be idle.
            page.wait_for_load_state("networkidle")
        path = (IMAGES if wanted else tmp_path) / f"{name}.png"
        page.screenshot(path=path, animations="disabled")
        assert path.stat().st_size < MAX_BYTES
        assert (IMAGES / path.name).exists(), "uv run pytest -m browser --pictures"

    return take


Picture = Callable[[str, Page], None]


def save(page: Page) -> None:
    """Save the form; a server on SQLite that writes something else answers 503, and the form stays as it is."""
    while True:
        with page.expect_response("**/block_documents/") as answer:
            page.get_by_role("button", name="Save").click()
        assert answer.value.status in (201, 503), answer.value.text()
        if answer.value.ok:
            return


class TestBlocks:
    def test_the_catalogue_shows_them(self, page: Page) -> None:
        page.goto("/v2/blocks/catalog")
        page.get_by_placeholder("Search blocks").fill("ollama")
        expect(page.get_by_text("Ollama Node", exact=True)).to_be_visible()
        expect(page.get_by_text("Ollama Cluster", exact=True)).to_be_visible()
        expect(page.get_by_text("AWS Credentials", exact=True)).to_be_hidden()

    def test_a_node_is_saved_through_its_form(
        self, page: Page, api: Api, pair: list[Node], picture: Picture
    ) -> None:
        page.goto("/v2/blocks/catalog/ollama-node/create")
        page.get_by_label("Name", exact=True).fill("gpu-box")
        page.get_by_label("URL").fill(pair[0].url)
        page.get_by_label("Bearer token").fill("its-token")
        expect(page.get_by_label("Bearer token")).to_have_attribute("type", "password")
        expect(page.get_by_text("Address of the Ollama server")).to_be_visible()
        expect(page.get_by_label("Max requests in flight")).to_have_value("16")
        picture("ui-node", page)
        save(page)
        page.wait_for_url("**/blocks/block/**")
        expect(page.get_by_text("gpu-box").first).to_be_visible()
        saved = api.get("/block_types/slug/ollama-node/block_documents/name/gpu-box")["data"]
        assert (saved["url"], saved["token"]) == (pair[0].url, "********")

    def test_a_cluster_takes_the_block_and_a_url(self, page: Page, api: Api, pair: list[Node]) -> None:
        page.goto("/v2/blocks/catalog/ollama-cluster/create")
        page.get_by_label("Name", exact=True).fill("home")
        page.get_by_role("button", name="Add item").first.click()
        page.get_by_role("button", name="Select a block").click()
        page.get_by_role("option", name="gpu-box").click()
        page.get_by_role("button", name="Add item").first.click()
        expect(page.get_by_role("tab", name="Name or URL")).to_have_count(2)
        page.get_by_role("tab", name="Name or URL").last.click()
        page.get_by_role("tabpanel", name="Name or URL").get_by_role("textbox").fill(pair[1].url)
        save(page)
        page.wait_for_url("**/blocks/block/**")
        block, url = api.get("/block_types/slug/ollama-cluster/block_documents/name/home")["data"]["nodes"]
        assert (set(block), url) == ({"$ref"}, pair[1].url)


@pytest.fixture(scope="module")
def run() -> dict[str, str]:
    """The id of the run that is started from the form, once it is there."""
    return {}


class TestRun:
    """One run, from the form to what is left of it."""

    def test_it_is_started_from_the_form_of_its_deployment(
        self, page: Page, api: Api, place: Place, run: dict[str, str], picture: Picture
    ) -> None:
        page.goto(f"/v2/deployments/deployment/{api.deployment('ingest-pdfs/nightly')['id']}")
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Custom run").click()
        expect(page.get_by_text("Folder with PDFs and subfolders")).to_be_visible()
        page.get_by_label("Run Name").fill("first-run")
        page.get_by_role("tabpanel", name="Folder or pattern").get_by_role("textbox").fill(
            str(place.folder / "papers")
        )
        page.get_by_role("tab", name="Cluster", exact=True).click()
        page.get_by_role("button", name="Select a block").click()
        page.get_by_role("option", name="home").click()
        page.get_by_role("tab", name="Name or folder").click()
        page.get_by_role("tabpanel", name="Name or folder").get_by_role("textbox").fill(
            str(place.folder / "tables")
        )
        for title in ("Reading", "Chunking", "Advanced"):
            expect(page.get_by_text(f"{title} (Optional)")).to_be_attached()
        page.evaluate("window.scrollTo(0, 0)")
        picture("ui-ingest", page)
        while (
            not run
        ):  # a server on SQLite that writes something else answers 503, and the form stays as it is
            with page.expect_response("**/create_flow_run") as answer:
                page.get_by_role("button", name="Submit").click()
            assert answer.value.status in (201, 503), answer.value.text()
            if answer.value.ok:
                run["id"] = answer.value.json()["id"]
        started = api.flow_run(run["id"])
        assert started["parameters"]["source"] == str(place.folder / "papers")
        assert set(started["parameters"]["cluster"]) == {"$ref"}
        api.reached(run["id"], "Running")

    def test_it_can_be_watched(
        self, page: Page, api: Api, pair: list[Node], run: dict[str, str], picture: Picture
    ) -> None:
        shown = until(lambda: (found := artifacts(api, run["id"])).keys() >= LIVE and found)
        # The page shows an artifact as it was when it was opened, so it has to be worth a look by then.
        until(lambda: "works" in str(api.get(f"/artifacts/{shown['ingest-nodes']}")["data"]), seconds=240)
        page.goto(f"/v2/artifacts/artifact/{shown['ingest-nodes']}")
        expect(page.get_by_text("gpu-box", exact=True).first).to_be_visible()
        for text in (r"works, [\d.]+ texts/s", r"VRAM \d+ MiB", "last error: none"):
            whole_in_sight(page, page.get_by_text(re.compile(text)).first)
        page.goto(f"/v2/artifacts/artifact/{shown['ingest-progress']}")
        for text in (r"\d+ of 41 documents", r"\d+ texts embedded", r"\w+(, \d+ texts/s)?: gpu-box"):
            expect(page.get_by_text(re.compile(text)).first).to_be_visible()
        expect(page.get_by_text(re.compile(r"Progress: \d"))).to_be_visible()
        page.goto(f"/v2/runs/flow-run/{run['id']}?tab=Artifacts")
        for name in LIVE:
            expect(page.get_by_text(name)).to_be_visible()
        picture("ui-run", page)
        self.first_ui(page, api)
        page.goto(f"/runs/flow-run/{run['id']}")
        page.get_by_text("Artifacts", exact=True).last.click()
        text = page.get_by_text(re.compile(r"\d+ texts/s; .*gpu-box \w+.*of 41 documents")).first
        expect(text).to_be_visible()
        expect(text).not_to_have_text(text.inner_text())  # it changes as one looks
        assert api.flow_run(run["id"])["state_name"] == "Running"
        for node in pair:
            node.control(speed=100.0)  # it has been seen

    def test_its_report_shows_what_became_of_it(
        self, page: Page, api: Api, place: Place, run: dict[str, str], picture: Picture
    ) -> None:
        ended = api.reached(run["id"])
        assert ended["state_name"] == "Completed", api.story(run["id"])
        assert len(manifest(place.folder / "tables")) == 41
        page.goto(f"/v2/runs/flow-run/{run['id']}?tab=Artifacts")
        page.get_by_text("ingest-report").click()
        expect(page.get_by_text(f"Ingest of {place.folder / 'papers'}").first).to_be_visible()
        report = artifacts(api, run["id"])["ingest-report"]
        page.goto(f"/v2/artifacts/artifact/{report}")
        self.shows_report(page)
        picture("ui-report", page)

    def test_the_first_ui_shows_it_too(self, page: Page, api: Api, run: dict[str, str]) -> None:
        self.first_ui(page, api)
        page.goto(f"/artifacts/artifact/{artifacts(api, run['id'])['ingest-report']}")
        expect(page.get_by_text("Switch to V2 UI")).to_be_visible()
        self.shows_report(page)

    @staticmethod
    def first_ui(page: Page, api: Api) -> None:
        page.context.add_cookies(
            [{"name": "prefect_ui_version", "value": "v1", "url": str(api.client.base_url)}]
        )

    @staticmethod
    def shows_report(page: Page) -> None:
        expect(page.get_by_role("heading", name="40 stored, 1 needs attention")).to_be_visible()
        whole_in_sight(page, page.get_by_role("listitem").filter(has_text="torn.pdf (failed)").first)
        expect(page.get_by_text("40 stored, 1 needs attention").first).to_be_visible()
        chart = page.get_by_alt_text("Texts a second over the run, by node")
        expect(chart).to_be_visible()
        width, height = chart.evaluate("image => [image.naturalWidth, image.clientHeight]")
        assert width > 0
        assert height > 100


def tides_table(folder: Path, node: Node) -> str:
    """Write a table of one paragraph of `samples/tides.pdf`, and return its folder."""
    with Parser() as parser:
        parsed = parser.parse(ROOT / "samples" / "tides.pdf")
    number, block = next(
        (page.number, block) for page in parsed.pages for block in page.blocks if "3.8 centi" in block.text
    )
    chunk = Chunk(block.text, 0, number, number, "Tides and the Earth", (Region(number, *block.box),), 120)
    vector = np.array([expected_vector(PREFIX + block.text)], np.float32)
    store = Store.open(StoreSpec(str(folder), "documents"), identity=identity_of(node), create=True)
    store.begin_run("write the tides", str(ROOT / "samples"))
    row = document("tides.pdf", str(ROOT / "samples"), pages=parsed.page_count)
    store.write([EmbeddedDocument(row, [chunk], vector)])
    store.end_run()
    return str(folder)


class TestAnswer:
    def test_the_artifact_shows_sentences_quotes_and_marked_pages(
        self, page: Page, api: Api, place: Place, picture: Picture
    ) -> None:
        sentences = [
            {
                "text": "The Moon recedes by 3.8 centimetres in a year.",
                "quotes": [{"passage": 1, "quote": "the Moon, which recedes by 3.8 centimetres in a year"}],
            },
            {
                "text": "The days grow longer by two milliseconds in a century.",
                "quotes": [
                    {"passage": 1, "quote": "days grow longer, by roughly two milliseconds in a century"}
                ],
            },
            {"text": "The Moon will leave in 50,000 years.", "quotes": []},
        ]
        with nodes({"chat_models": ["qwen3"]}) as (node,):
            node.control(
                chat_script=[
                    {"match": "numbered passages", "content": {"sentences": sentences}},
                    {"match": "whether a quote", "content": {"supported": True}},
                ]
            )
            # Playwright runs an event loop in this thread, and verifying a node needs one of its own.
            with ThreadPoolExecutor() as thread:
                table = thread.submit(tides_table, place.folder / "tides", node).result()
            question = "How fast does the Moon recede from the Earth?"
            given = ("--node", node.url, "--uri", table, "--chat-model", "qwen3", "--judge-model", "qwen3")
            shown = ("--track", "--show", place.folder / "pictures")
            place.run(BIN / "prefect-ollama", "ask", question, *given, *shown)
        found = api.post("/artifacts/filter", artifacts={"key": {"any_": ["answer"]}})
        page.goto(f"/v2/artifacts/artifact/{found[0]['id']}")
        expect(page.get_by_role("heading", name=question)).to_be_visible()
        expect(page.get_by_text("The Moon recedes by 3.8 centimetres in a year. [1]").first).to_be_visible()
        expect(page.get_by_text("The Moon will leave in 50,000 years.").first).to_be_attached()
        marked = page.get_by_alt_text("quote 1 on page 4")
        expect(marked).to_be_visible()
        assert marked.evaluate("image => image.naturalWidth") > 400
        picture("ui-answer", page)


class TestResearch:
    def test_the_run_shows_each_step_and_the_artifact_each_quote(
        self, page: Page, api: Api, place: Place, picture: Picture
    ) -> None:
        models = {"chat_models": ["qwen3"]}
        with nodes(models, models) as pair:
            scripts(
                pair,
                draft_for(PARTS[0], RECEDES),
                draft_for(PARTS[1], COUNTED),
                synthesis=[text_of(RECEDES["text"], 1), text_of(COUNTED["text"], 2)],
            )
            with ThreadPoolExecutor() as thread:  # for the same reason as above
                identity = thread.submit(identity_of, pair[0]).result()
            table = place.folder / "research"
            write_table(table, identity, {"tides.pdf": TIDES, "wheels.pdf": GEARS})
            given = ("--uri", table, "--chat-model", "qwen3", "--judge-model", "qwen3")
            where = [word for node in pair for word in ("--node", node.url)]
            place.run(BIN / "prefect-ollama", "research", QUESTION, *where, *given)
        (run,) = api.post("/flow_runs/filter", flows={"name": {"any_": ["research"]}})
        page.goto(f"/v2/runs/flow-run/{run['id']}?tab=TaskRuns")
        for step in ("Split the question", "Write synthesis"):
            expect(page.get_by_text(step).first).to_be_visible()
        picture("ui-research", page)
        found = api.post("/artifacts/filter", artifacts={"key": {"any_": ["report"]}})
        page.goto(f"/v2/artifacts/artifact/{found[0]['id']}")
        expect(page.get_by_role("heading", name=QUESTION)).to_be_visible()
        for quoted in (RECEDES, COUNTED):
            expect(page.get_by_text(quoted["text"]).first).to_be_visible()


def whole_in_sight(page: Page, what: Locator) -> None:
    """Nothing of it is beyond the edge of the window, or of a box that cuts it off."""
    expect(what).to_be_visible()
    assert what.evaluate(
        """element => {
            const own = element.getBoundingClientRect();
            for (let box = element; box; box = box.parentElement) {
                if (getComputedStyle(box).overflowX !== "visible" && own.right > box.getBoundingClientRect().right + 1)
                    return false;
            }
            return own.right <= window.innerWidth && element.scrollWidth <= element.clientWidth + 1;
        }"""
    )


@pytest.fixture(scope="module")
def hostile(api: Api, place: Place, pair: list[Node]) -> dict[str, str]:
    """Ids of artifacts by key, of runs over hostile names, nodes and sources."""
    image = "![x](https://evil.test/version.png)<img src=https://evil.test/h.png> [a](https://evil.test) www.evil.test"
    pair[1].control(version=image)
    words = {"/api/version": answer({"version": image}), "*": answer({"error": image}, 500)}
    command = (BIN / "prefect-ollama",)
    with RawNode(words) as raw:
        for arguments in (
            ("nodes", "--node", pair[1].url, "--node", raw.url),
            ("discover", "127.0.0.1", "--port", pair[1].url.rpartition(":")[2]),
            (
                "ingest",
                place.folder / "hostile",
                "--node",
                pair[1].url,
                "--uri",
                place.folder / "hostile-tables",
            ),
        ):
            subprocess.run([*command, *map(str, arguments)], env=place.env, timeout=240, check=False)
    found = api.post("/artifacts/filter")
    return {each["key"]: each["id"] for each in found if each["key"] != "ingest-progress"}


@pytest.mark.parametrize("ui", ["v1", "v2"])
def test_no_text_from_outside_makes_the_browser_ask_a_foreign_server(
    page: Page, api: Api, hostile: dict[str, str], ui: str
) -> None:
    assert hostile.keys() >= {"nodes", "found-nodes", "ingest-report"}
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.context.add_cookies([{"name": "prefect_ui_version", "value": ui, "url": str(api.client.base_url)}])
    prefix = "/v2" if ui == "v2" else ""
    shown = [
        f"{prefix}/artifacts/artifact/{hostile[key]}" for key in ("nodes", "found-nodes", "ingest-report")
    ]
    for url in (*shown, f"{prefix}/artifacts"):
        page.goto(url)
        expect(page.get_by_text(re.compile("evil|ingest-report")).first).to_be_visible()
        page.wait_for_load_state("networkidle")
        assert not page.locator("a[href*='evil.test'], img[src*='evil.test']").count(), url
    assert asked
    assert not [url for url in asked if "evil.test" in url]


LIVE = {"ingest-progress", "ingest-nodes"}


def artifacts(api: Api, run: str) -> dict[str, str]:
    """The ids of a run's artifacts by key."""
    found = api.post("/artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})
    return {each["key"]: each["id"] for each in found}
