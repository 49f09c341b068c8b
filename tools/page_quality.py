"""Measure each type of page in a real Chromium, and check the HTML of all: `make page-quality`.

Each page is measured on a phone (390 pixels wide, a slow network) and on a desktop (1280 pixels):
the kilobytes, the requests, and Lighthouse's scores with their limits. The search is measured too:
the time until a question has its results. A busy machine lowers the performance, so the best of
three runs counts.

    python -m tools.page_quality FOLDER index.html more.html

measures these pages of another site.
"""

import contextlib
import functools
import gzip
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from playwright.sync_api import sync_playwright

from tools import questions
from tools.browser import CHROMIUM, FLAGS
from tools.files import ROOT
from tools.site import html_pages

TYPES = [
    "index.html",
    "triton/apps/jupyter/connecting.html",
    "triton/apps/jupyter/hub.html",
    "notebooks/07-measure.html",
    "triton/apps/jupyter/faq.html",
    "search.html?q=proxy",
    "404.html",
]
REQUESTS = 12  # at most
KILOBYTES = 200  # at most
NODE = ROOT / ".node"
MILLISECONDS = 100  # from a letter to the results
LEAST = {"performance": 99, "accessibility": 100, "best-practices": 100, "seo": 100}
FORMS = {
    "phone": ["--screenEmulation.width=390", "--screenEmulation.height=844"],
    "desktop": ["--preset=desktop", "--screenEmulation.width=1280", "--screenEmulation.height=800"],
}
TEXT = {".html", ".css", ".js", ".json", ".svg", ".xml", ".txt", ".md", ".ipynb"}


class Compressing(http.server.SimpleHTTPRequestHandler):
    """Serves the files of a folder, text compressed, as most web servers do."""

    def end_headers(self) -> None:
        """Close the connection after each answer."""
        self.send_header("Connection", "close")
        super().end_headers()

    def do_GET(self) -> None:
        """Send a file: text compressed, others as they are."""
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path /= "index.html"
        if path.suffix not in TEXT or not path.is_file():
            return super().do_GET()
        body = gzip.compress(path.read_bytes())
        self.send_response(200)
        for name, value in {
            "Content-Type": f"{self.guess_type(path)}; charset=utf-8",
            "Content-Encoding": "gzip",
            "Content-Length": str(len(body)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


@dataclass
class Measured:
    """The results of Lighthouse for a page."""

    scores: dict[str, int]  # by category, 0 to 100
    lowered: dict[str, list[str]]  # by category, the titles of the audits that lowered its score
    kilobytes: float  # that the page transfers
    requests: int
    other_hosts: set[str]  # that the page loads something from


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which the site in `folder` is served, on the loopback interface."""
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Compressing, directory=folder)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def lighthouse(url: str, form: str) -> Measured:
    """Measure a page on one of FORMS with Lighthouse. Raises SystemExit if Lighthouse fails."""
    command: list[str | Path] = [
        NODE / "node_modules/.bin/lighthouse",
        url,
        "--quiet",
        "--output=json",
        f"--only-categories={','.join(LEAST)}",
        *FORMS[form],
        f"--chrome-flags=--headless=new {' '.join(FLAGS)}",
    ]
    environment = _with_node() | {"CHROME_PATH": CHROMIUM or ""}
    completed = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300
    )
    if completed.returncode:
        sys.exit(f"Lighthouse could not measure {url}:\n{completed.stderr}")
    report = json.loads(completed.stdout)
    scores = {
        name: round(100 * (category["score"] or 0))
        for name, category in report["categories"].items()
    }
    audits = report["audits"]
    lowered = {
        name: [
            audits[part["id"]]["title"]
            for part in category["auditRefs"]
            if part["weight"]
            and (audits[part["id"]]["score"] or 0) < 0.9
            and audits[part["id"]]["scoreDisplayMode"]
            not in ("notApplicable", "manual", "informative")
        ]
        for name, category in report["categories"].items()
    }
    requests = [
        item
        for item in audits["network-requests"]["details"]["items"]
        if item["url"].startswith("http")
    ]
    hosts = {urlparse(item["url"]).netloc for item in requests}
    return Measured(
        scores,
        lowered,
        sum(item.get("transferSize", 0) for item in requests) / 1000,
        len(requests),
        hosts - {urlparse(url).netloc},
    )


def _with_node() -> dict[str, str]:
    """The variables of this process, and Node.js on the PATH."""
    return os.environ | {"PATH": f"{NODE}/bin:{os.environ['PATH']}"}


def measure(address: str, name: str, form: str) -> list[str]:
    """Print a line about the page; return what is wrong with it."""
    for _ in range(3):
        measured = lighthouse(f"{address}/{name}", form)
        if measured.scores["performance"] >= LEAST["performance"]:
            break
    print(
        f"{name:42}{form:9}{measured.kilobytes:6.0f} kB{measured.requests:4} requests   "
        + "  ".join(f"{score:3}" for score in measured.scores.values()),
        flush=True,
    )
    problems = [
        f"{category} {score}, not {LEAST[category]}: {'; '.join(measured.lowered[category])}"
        for category, score in measured.scores.items()
        if score < LEAST[category]
    ]
    if measured.other_hosts:
        problems.append(f"it asks other hosts: {', '.join(sorted(measured.other_hosts))}")
    if measured.kilobytes > KILOBYTES:
        problems.append(f"it transfers {measured.kilobytes:.0f} kB, not {KILOBYTES}")
    most = REQUESTS + 2 * ("?" in name)  # a search loads the index, and a text for each page
    if measured.requests > most:
        problems.append(f"{measured.requests} requests, not {most}")
    return [f"{name}, {form}: {problem}" for problem in problems]


def invalid(folder: Path) -> list[str]:
    """Each invalid place in the HTML of the guide's pages: file:line and the rule.

    JupyterLite's pages, in lite/, are not checked. Raises SystemExit if the check cannot run.
    """
    command: list[str | Path] = [
        NODE / "node_modules/.bin/html-validate",
        "--config",
        ROOT / "tools/node/.htmlvalidate.json",
        "--formatter",
        "json",
        *html_pages(folder),
    ]
    completed = subprocess.run(command, capture_output=True, text=True, env=_with_node())
    if completed.returncode not in (0, 1) or not completed.stdout:
        sys.exit(f"html-validate failed:\n{completed.stderr}")
    return [
        f"{Path(page['filePath']).relative_to(folder)}:{fault['line']}: {fault['message']}"
        for page in json.loads(completed.stdout)
        for fault in page["messages"]
    ]


TYPE = """async questions => {
    const took = [];
    for (const question of questions) {
        const began = performance.now();
        show(await Promise.all((await search(question)).slice(0, 8).map(entry)));
        took.push(performance.now() - began);
    }
    return took;
}"""


def typing(address: str) -> list[str]:
    """Print the milliseconds until readers' questions have results; return what is wrong."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(f"{address}/{TYPES[1]}")
        page.evaluate(TYPE, ["a"])  # the first search loads the index
        took = sorted(page.evaluate(TYPE, [question.text for question in questions.load()]))
        browser.close()
    middle = took[len(took) // 2]
    slow = took[len(took) * 19 // 20]
    print(
        f"search: {len(took)} questions, half of them answered within {middle:.0f} ms, 19 "
        f"of 20 within {slow:.0f} ms"
    )
    if slow > MILLISECONDS:
        return [f"one question of 20 takes more than {slow:.0f} ms, not {MILLISECONDS}"]
    return []


def main(folder: str | Path = ROOT / "_build/html", *names: str) -> bool:
    """Print measurements and faults of the site in `folder`; return whether there are faults.

    names: the pages to measure; without names, TYPES and the search.
    """
    folder = Path(folder).resolve()
    print(f"{'':51}{'transferred':>9}{'':14}{' '.join(LEAST)}")
    with served(folder) as address:
        problems = [
            problem
            for name in names or TYPES
            for form in FORMS
            for problem in measure(address, name, form)
        ]
        problems += [] if names else typing(address)
    problems += invalid(folder)
    print(
        *problems,
        f"{len(problems)} faults"
        if problems
        else f"No faults, and valid HTML on {len(list(folder.rglob('*.html')))} pages.",
        sep="\n",
    )
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
