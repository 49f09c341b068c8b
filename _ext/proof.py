"""Sphinx extension: pages show which of their sentences a run of the tests has proven.

``:tested:`test_file.py::test_name``` behind a sentence is a small mark that leads to that test on
the page with the directive ``proof``. There stands what the test does, and whether, when and on
which versions it passed. A build runs no test: it reads the results from ``proof_file``, which a
run of the tests writes, and the names of tests from the files in ``proof_tests``. A mark with an
unknown name is a warning. Without ``proof_file``, each mark says that nothing is proven.

The directive ``not-run`` shows what is not tested, from the files in ``proof_exceptions``, which is
{title: file}.
"""

import ast
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Set
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator

from _ext import facts

logger = logging.getLogger(__name__)
Run = dict[str, Any]  # what the tests wrote of their last run


class Tests(NamedTuple):
    """All tests: {file::name: (the name as a sentence, the docstring)}, and all their files: {file:
    the first paragraph of its docstring}, {file: its folder}.
    """

    tests: dict[str, tuple[str, str]]
    files: dict[str, str]
    folders: dict[str, str]


_known: WeakKeyDictionary[Config, Tests] = WeakKeyDictionary()


def tests(folder: Path) -> Tests:
    """The tests in the files test_*.py of `folder`."""
    functions: dict[str, tuple[str, str]] = {}
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in sorted(Path(folder).rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        folders[path.name] = path.parent.name
        files[path.name] = (
            (ast.get_docstring(tree) or path.name).split("\n\n")[0].replace("\n", " ")
        )
        for item in tree.body:
            if isinstance(item, ast.FunctionDef) and item.name.startswith("test_"):
                functions[f"{path.name}::{item.name}"] = (
                    item.name.removeprefix("test_").replace("_", " "),
                    ast.get_docstring(item) or "",
                )
    return Tests(functions, files, folders)


class Mark(nodes.reference):
    """The link of a mark.

    A screen reader lists links without the sentences before them, so each mark has its own name.
    """


def _visit_mark(translator: HTML5Translator, node: Mark) -> None:
    name: dict[str, Any] = {"aria-label": node["spoken"]} if "spoken" in node else {}
    translator.body.append(
        translator.starttag(
            node,
            "a",
            "",
            CLASS="reference internal",
            href=node["refuri"],
            title=node["reftitle"],
            **name,
        )
    )


def _depart_mark(translator: HTML5Translator, node: Mark) -> None:
    translator.body.append("</a>")


def _claim(mark: Mark) -> str:
    """The sentence before a mark, or before a row of marks."""
    text = ""
    siblings = mark.parent.children if mark.parent is not None else []
    for node in reversed(siblings[: siblings.index(mark)]):
        if isinstance(node, Mark) and text.strip():
            break
        text = ("" if isinstance(node, Mark) else node.astext()) + text
    text = " ".join(text.split())
    return re.split(r"(?<=[.!?:]) (?=[^a-z])", text)[-1]


class Tested(SphinxRole):
    """A mark that leads to the test that proves the sentence before it."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        known = _known[self.config].tests
        if self.text not in known:
            logger.warning(
                "there is no test %r in %s",
                self.text,
                self.config.proof_tests,
                location=self.get_location(),
                type="proof",
            )
            return [], []
        _claims(self.env).setdefault(self.env.docname, []).append(self.text)
        page = self.config.proof_page
        mark = Mark(
            "",
            "tested",
            internal=True,
            classes=["tested"],
            refuri="",
            reftitle=f"A test shows this: {known[self.text][0]}",
        )
        mark["proof"] = self.text, page
        return [mark], []


class Proof(SphinxDirective):
    """The place of the report on the last run, which `_report` writes when all pages are read."""

    def run(self) -> list[nodes.Node]:
        return [nodes.container("", proof=True)]


class Total(SphinxDirective):
    """The place of one line with what the last run tested, which `_total` writes."""

    def run(self) -> list[nodes.Node]:
        return [nodes.container("", proof_total=True)]


class NotRun(SphinxDirective):
    """What pages show and no test checks, each with the reason, from the lists of the tests."""

    def run(self) -> list[nodes.Node]:
        lists = nodes.definition_list()
        for title, file in self.config.proof_exceptions.items():
            self.env.note_dependency(file)
            rows = [
                nodes.list_item("", _paragraph(": ".join(part for part in row if part) + "."))
                for row in exceptions(Path(self.env.app.confdir, file), self.config.facts)
            ]
            if rows:
                lists += nodes.definition_list_item(
                    "", nodes.term("", title), nodes.definition("", nodes.bullet_list("", *rows))
                )
        return [lists] if lists.children else [_paragraph("Nothing.")]


def exceptions(path: Path, values: facts.Facts) -> list[tuple[str, str, str]]:
    """(page, what, why) of each entry of a list of exceptions.

    An entry is ``what = why``, in the table of a page or at the top, where the page is "".
    """
    if not path.exists():
        return []
    known = tomllib.loads(facts.substitute(path.read_text(encoding="utf-8"), values)[0])
    listed: list[tuple[str, str, str]] = []
    for page, entries in known.items():
        listed += (
            [(page, what, why) for what, why in entries.items()]
            if isinstance(entries, dict)
            else [("", page, entries)]
        )
    return [(page, f"``{what}``", why) for page, what, why in listed]


def _outcome(proof: Run | None, test: str) -> str:
    """The text of the mark of a test."""
    outcome = proof["tests"].get(test, "") if proof else ""
    return {"passed": "tested", "failed": "failed"}.get(outcome, "not proven in this build")


def _resolve(app: Sphinx, tree: nodes.document, docname: str) -> None:
    proof = _proof(app)
    for mark in tree.findall(Mark):
        if "proof" not in mark:
            continue
        test, page = mark["proof"]
        mark["refuri"] = (
            app.builder.get_relative_uri(docname, page) + f"#{nodes.make_id(test)}"
            if app.builder.format == "html"
            else ""
        )
        outcome = _outcome(proof, test)
        mark["spoken"] = f"{outcome}: {_claim(mark) or _known[app.config].tests[test][0]}"
        mark.children = [nodes.Text(outcome)]
        mark.setup_child(mark[0])
        if outcome != "tested":
            mark["classes"].append("unproven")
            mark["reftitle"] = mark["reftitle"].replace("A test shows this", "The test of this", 1)
        del mark["proof"]
    for place in list(tree.findall(nodes.container)):
        if place.get("proof"):
            report = _report(app, docname, proof)
            place.replace_self(nodes.container("", *report, classes=["not-searched"]))
        elif place.get("proof_total"):
            page = app.builder.get_relative_uri(docname, app.config.proof_page)
            link = nodes.reference("", "How this guide is tested", refuri=page, internal=True)
            line = nodes.paragraph("", f"{_total(app.env, proof)} ", link, classes=["proof-total"])
            place.replace_self(line)


def _proof(app: Sphinx) -> Run | None:
    """The content of `proof_file`; None without a run."""
    try:
        proof: Run = json.loads(
            Path(app.confdir, app.config.proof_file).read_text(encoding="utf-8")
        )
    except (OSError, ValueError):
        return None
    return proof


def _claims(env: BuildEnvironment) -> dict[str, list[str]]:
    """{page: the tests that its marks name}."""
    claims: dict[str, list[str]] = env.__dict__.setdefault("proof_claims", {})
    return claims


def _counted(counts: dict[str, int], claims: int) -> str:
    """What was tested, as "3 console blocks, 20 names, 1 claim"."""
    shown = [
        (counts.get("blocks", 0), "console block"),
        (counts.get("words", 0), "name"),
        (claims, "claim"),
    ]
    return ", ".join(f"{number} {word}{'s' * (number > 1)}" for number, word in shown if number)


def _total(env: BuildEnvironment, proof: Run | None) -> str:
    """One sentence: what the last run tested of all pages."""
    if not proof:
        return "Not proven in this build."
    counts: Counter[str] = sum(map(Counter, proof["pages"].values()), Counter())
    claims = sum(map(len, _claims(env).values()))
    day = proof["date"].split()[0]
    return f"{_counted(counts, claims)} of this guide were tried on a real small cluster on {day}."


def _foot(
    app: Sphinx,
    docname: str,
    template: str,
    context: dict[str, Any],
    doctree: nodes.document | None,
) -> None:
    """Give the foot of each page the number of things that tests show of it, and the versions."""
    if docname not in app.env.found_docs:
        return
    proof = _proof(app)
    context["proof_page"] = app.config.proof_page
    context["proof"] = "Not proven in this build"
    if proof:
        counts = proof["pages"].get(f"{docname}.rst", {})
        tested = _counted(counts, len(_claims(app.env).get(docname, [])))
        context["proof"] = (
            f"{tested or 'Nothing to run here'}: tested on {proof['date'].split()[0]}, "
            f"commit {proof['commit']}"
        )
        context["proof_versions"] = _versions(proof)


# ---------------------------------------------------------------- the page with the proof


def _versions(proof: Run) -> str:
    return "; ".join(f"{name} {version}" for name, version in proof["versions"].items())


def _report(app: Sphinx, docname: str, proof: Run | None) -> list[nodes.Node]:
    """The nodes that stand for the directive `proof`."""
    if proof is None:
        text = "Not proven in this build: the tests did not run before it."
        run: list[nodes.Node] = [nodes.paragraph("", text, classes=["proof-none"])]
    else:
        run = _run(proof, _known[app.config].files)
        if app.builder.name == "html":  # in an EPUB it would need words in the manifest
            picture = _places(proof, _known[app.config].folders, app.config.frontend_hosts)
            run.insert(1, nodes.raw("", picture, format="html"))
        run += _pages(proof, _claims(app.env))
        run += _lists(proof)
    if app.builder.name != "html":  # a book has no marks that lead to a test
        return run
    return [*run, nodes.rubric("", "Claims and their tests"), *_tests(app, docname, proof)]


def _run(proof: Run, files: dict[str, str]) -> list[nodes.Node]:
    """When the tests ran, and how many of them passed."""
    changed = " with changes" if proof["changed"] else ""
    rows = [
        [files.get(name, name), *map(str, counts)]
        for name, counts in sorted(proof["files"].items())
    ]
    return [
        nodes.paragraph(
            "",
            f"Run on {proof['date']}, commit {proof['commit']}{changed}, in "
            f"{proof['seconds'] / 60:.0f} minutes. {_versions(proof)}.",
        ),
        _table(["What", "Passed", "Failed", "Not run"], rows),
    ]


def _places(proof: Run, folders: dict[str, str], hosts: dict[str, str]) -> str:
    """A picture, as SVG: on which computers how many commands were typed, and in which folders
    how many tests passed.

    hosts: what a prompt's host is, in words.
    """
    typed = {name: proof.get("hosts", {}).get(host, 0) for host, name in hosts.items()}
    passed: Counter[str] = Counter()
    for file, (count, *_) in proof["files"].items():
        passed[f"tests/{folders[file]}" if file in folders else "other tests"] += count
    parts: list[str] = []
    y = 0
    for title, counts in (
        ("Commands typed", typed),
        ("Tests passed", dict(sorted(passed.items()))),
    ):
        most = max([1, *counts.values()])
        parts.append(f'<text x="0" y="{y + 16}" class="head">{title}</text>')
        y += 26
        for name, count in counts.items():
            parts.append(
                f'<text x="0" y="{y + 14}">{escape(name)}</text>'
                f'<text x="400" y="{y + 14}" text-anchor="end">{count}</text>'
                f'<rect y="{y + 20}" width="{400 * count / most:.0f}" height="6" rx="3"/>'
            )
            y += 34
        y += 12
    return (
        f'<svg class="places" viewBox="0 0 400 {y}" role="group" aria-label="What was run where">'
        f"{''.join(parts)}</svg>"
    )


def _pages(proof: Run, claims: dict[str, list[str]]) -> list[nodes.Node]:
    """How many blocks, words and claims of each page were tested."""
    rows = [
        [
            page,
            str(counts.get("blocks", 0)),
            str(counts.get("words", 0)),
            str(len(claims.get(page.removesuffix(".rst"), []))),
        ]
        for page, counts in sorted(proof["pages"].items())
    ]
    head = ["Page", "Console blocks", "Words with a role", "Claims"]
    return [nodes.rubric("", "Page by page"), _table(head, rows)] if rows else []


def _lists(proof: Run) -> list[nodes.Node]:
    """What was measured, and what is not covered."""
    result: list[nodes.Node] = []
    for title, name in (
        ("What was measured", "measured"),
        ("What is not covered, and why", "not_covered"),
    ):
        items = [nodes.list_item("", _paragraph(text)) for text in proof.get(name) or ["Nothing."]]
        result += [nodes.rubric("", title), nodes.bullet_list("", *items)]
    return result


def _tests(app: Sphinx, docname: str, proof: Run | None) -> list[nodes.Node]:
    """Each test that a mark names, folded under the first page that has its mark.

    The page with the list comes last.
    """
    marked = sorted(_claims(app.env).items(), key=lambda item: (item[0] == docname, item[0]))
    claims = {page: set(names) for page, names in marked}
    result: list[nodes.Node] = []
    shown: set[str] = set()
    for page, names in claims.items():
        if entries := [
            _test(app, docname, proof, test, [other for other in claims if test in claims[other]])
            for test in sorted(names - shown)
        ]:
            title = f"{app.env.titles[page].astext()}: {len(entries)}"
            result += [
                nodes.raw("", f"<details><summary>{escape(title)}</summary>", format="html"),
                nodes.definition_list("", *entries),
                nodes.raw("", "</details>", format="html"),
            ]
        shown |= names
    return result


def _test(
    app: Sphinx, docname: str, proof: Run | None, test: str, pages: list[str]
) -> nodes.definition_list_item:
    """A test: its name as a sentence, its outcome, its docstring, and the pages with its mark."""
    outcome = "not proven in this build" if proof is None else proof["tests"].get(test, "not run")
    sentence, docstring = _known[app.config].tests[test]
    text = nodes.Text(f": {outcome}. {docstring}")
    definition = nodes.definition("", nodes.paragraph("", "", nodes.literal("", test), text))
    links = nodes.paragraph("", "On: ")
    if app.builder.format == "html":
        for page in pages:
            links += nodes.reference(
                "",
                app.env.titles[page].astext(),
                internal=True,
                refuri=app.builder.get_relative_uri(docname, page),
            )
            links += nodes.Text(" ")
    definition += links
    return nodes.definition_list_item(
        "", nodes.term("", sentence, ids=[nodes.make_id(test)]), definition
    )


def _table(head: list[str], rows: list[list[str]]) -> nodes.table:
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in head), cols=len(head))
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group)


def _row(texts: Iterable[str]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", _paragraph(text)) for text in texts))


def _paragraph(text: str) -> nodes.paragraph:
    """A paragraph with `text`, in which text between backticks is a literal."""
    parts = re.split("`+([^`]+)`+", text)
    return nodes.paragraph(
        "",
        "",
        *(
            nodes.literal("", part) if number % 2 else nodes.Text(part)
            for number, part in enumerate(parts)
        ),
    )


# ---------------------------------------------------------------- what Sphinx calls


def _read_tests(app: Sphinx) -> None:
    _known[app.config] = tests(Path(app.confdir, app.config.proof_tests))


def _outdated(
    app: Sphinx, env: BuildEnvironment, added: Set[str], changed: Set[str], removed: Set[str]
) -> list[str]:
    """The pages to read again.

    These are the pages with a mark whose test is gone, so that Sphinx warns of it, and the page
    with the proof, if another page or the proof has changed.
    """
    known = _known[app.config].tests
    gone = [name for name, names in _claims(env).items() if not set(names) <= set(known)]
    path = Path(app.confdir, app.config.proof_file)
    before = env.__dict__.get("proof_run")
    now = env.__dict__["proof_run"] = path.stat().st_mtime_ns if path.exists() else 0
    if gone or added or changed or removed or before != now:
        return [name for name in (*gone, app.config.proof_page) if name in env.found_docs]
    return []


def _forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    _claims(env).pop(docname, None)


def _merge(app: Sphinx, env: BuildEnvironment, docnames: Set[str], other: BuildEnvironment) -> None:
    claims = _claims(other)
    _claims(env).update({name: claims[name] for name in docnames if name in claims})


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_config_value("proof_tests", "tests", "", str)
    app.add_config_value("proof_file", "_build/proof.json", "", str)
    app.add_config_value("proof_page", "about/how-tested", "env", str)
    app.add_config_value("proof_exceptions", {}, "env", dict)
    # The builder of EPUB uses the visitors named html, unless a node has visitors named epub.
    app.add_node(Mark, html=(_visit_mark, _depart_mark))
    app.add_role("tested", Tested())
    app.add_directive("not-run", NotRun)
    app.add_directive("proof", Proof)
    app.add_directive("proof-total", Total)
    app.connect("builder-inited", _read_tests)
    app.connect("env-get-outdated", _outdated)
    app.connect("env-purge-doc", _forget)
    app.connect("env-merge-info", _merge)
    app.connect("doctree-resolved", _resolve)
    app.connect("html-page-context", _foot)
    return {
        "version": "1",
        "env_version": 2,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
