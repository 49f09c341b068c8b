"""What a run of the tests has proven, on the pages.

``:tested:`test_file.py::test_name``` beside a sentence is a small mark that leads to that test on
the page with the directive ``proof``: what it does, and whether, when and on which versions it
passed. The tests are found by reading the files in ``proof_tests``; a name that none of them has is
a warning. What was proven stands in ``proof_file``, which the tests write; without it that page and
each mark say so. Building runs nothing. ``proof_exceptions`` are the lists, by what they are of,
from which the directive ``not-run`` says what is not tested.
"""

import ast
import json
import re
import tomllib
from pathlib import Path

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from _ext import facts

logger = logging.getLogger(__name__)


def tests(folder):
    """The tests in the files test_*.py of `folder`: a dict from file::name to (sentence,
    docstring), and from file to its docstring.
    """
    found, files = {}, {}
    for path in sorted(Path(folder).rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        files[path.name] = (
            (ast.get_docstring(tree) or path.name).split("\n\n")[0].replace("\n", " ")
        )
        for item in tree.body:
            if isinstance(item, ast.FunctionDef) and item.name.startswith("test_"):
                found[f"{path.name}::{item.name}"] = (
                    item.name.removeprefix("test_").replace("_", " "),
                    ast.get_docstring(item) or "",
                )
    return found, files


class Mark(nodes.reference):
    """The link of a mark.

    It has a name of its own, for a page has many, and a screen reader lists them without their
    sentences.
    """


def _visit_mark(translator, node):
    translator.body.append(
        translator.starttag(
            node,
            "a",
            "",
            CLASS="reference internal",
            href=node["refuri"],
            title=node["reftitle"],
            **{"aria-label": node["spoken"]} if "spoken" in node else {},
        )
    )


def _depart_mark(translator, node):
    translator.body.append("</a>")


def _claim(mark):
    """The sentence before a mark, or before the marks of which it is one."""
    text = ""
    for node in reversed(mark.parent.children[: mark.parent.index(mark)]):
        if isinstance(node, Mark) and text.strip():
            break
        text = ("" if isinstance(node, Mark) else node.astext()) + text
    text = " ".join(text.split())
    return re.split(r"(?<=[.!?:]) (?=[^a-z])", text)[-1]


class Tested(SphinxRole):
    """A mark that leads to the test that proves the sentence before it."""

    def run(self):
        if self.text not in self.env.app.proof_known[0]:
            logger.warning(
                "there is no test %r in %s",
                self.text,
                self.config.proof_tests,
                location=self.get_location(),
                type="proof",
            )
            return [], []
        claims = self.env.__dict__.setdefault("proof_claims", {})
        claims.setdefault(self.env.docname, []).append(self.text)
        page = self.config.proof_page
        mark = Mark(
            "",
            "tested",
            internal=True,
            classes=["tested"],
            refuri="",
            reftitle="A test shows this: " + self.env.app.proof_known[0][self.text][0],
        )
        mark["proof"] = self.text, page
        return [mark], []


class Proof(SphinxDirective):
    """What the last run has proven, with each test that a mark names."""

    def run(self):
        return [nodes.container("", proof=True)]


class NotRun(SphinxDirective):
    """What the pages show and no test runs or looks up, each with its reason, as the tests' own
    lists say it.
    """

    def run(self):
        found = nodes.definition_list()
        for title, file in self.config.proof_exceptions.items():
            self.env.note_dependency(file)
            rows = [
                nodes.list_item("", _paragraph(": ".join(part for part in row if part) + "."))
                for row in exceptions(Path(self.env.app.confdir, file), self.config.facts)
            ]
            if rows:
                found += nodes.definition_list_item(
                    "", nodes.term("", title), nodes.definition("", nodes.bullet_list("", *rows))
                )
        return [found] if found.children else [_paragraph("Nothing.")]


def exceptions(path, values):
    """(page, what, why) of each entry of a list of exceptions: a table of a page with ``what =
    why``, an ``[[unchecked]]``, or ``what = why``.
    """
    if not path.exists():
        return []
    known = tomllib.loads(facts.substitute(path.read_text(encoding="utf-8"), values)[0])
    listed = [
        (entry["page"], entry["text"], entry["reason"]) for entry in known.pop("unchecked", [])
    ]
    for page, entries in known.items():
        listed += (
            [(page, what, why) for what, why in entries.items()]
            if isinstance(entries, dict)
            else [("", page, entries)]
        )
    return [(page, f"``{what}``", why) for page, what, why in listed]


def _outcome(proof, test):
    """What a mark says of its test."""
    if proof is None:
        return "not proven in this build"
    return {"passed": "tested", "failed": "failed"}.get(
        proof["tests"].get(test), "not proven in this build"
    )


def _resolve(app, tree, docname):
    proof = _proof(app)
    for mark in tree.findall(lambda node: isinstance(node, Mark) and "proof" in node):
        test, page = mark["proof"]
        mark["refuri"] = (
            app.builder.get_relative_uri(docname, page) + f"#{nodes.make_id(test)}"
            if app.builder.format == "html"
            else ""
        )
        outcome = _outcome(proof, test)
        mark["spoken"] = f"{outcome}: {_claim(mark) or app.proof_known[0][test][0]}"
        mark.children = [nodes.Text(outcome)]
        mark.setup_child(mark[0])
        if outcome != "tested":
            mark["classes"].append("unproven")
            mark["reftitle"] = mark["reftitle"].replace("A test shows this", "The test of this", 1)
        del mark["proof"]
    for place in list(
        tree.findall(lambda node: isinstance(node, nodes.container) and node.get("proof"))
    ):
        place.replace_self(nodes.container("", *_report(app, docname), classes=["not-searched"]))


def _proof(app):
    """What the last run has proven, as the tests wrote it; None without a run."""
    try:
        return json.loads(Path(app.confdir, app.config.proof_file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _foot(app, docname, template, context, doctree):
    """For the foot of each page: proof_page, and what was shown of this one, and on which versions."""
    if docname not in app.env.found_docs:
        return
    proof = _proof(app)
    context["proof_page"], context["proof"] = app.config.proof_page, "Not proven in this build"
    if proof:
        counts, claims = (
            proof["pages"].get(f"{docname}.rst", {}),
            len(app.env.__dict__.get("proof_claims", {}).get(docname, [])),
        )
        shown = [
            (counts.get("blocks", 0), "console block"),
            (counts.get("literals", 0), "name"),
            (claims, "claim"),
        ]
        said = (
            ", ".join(f"{number} {word}{'s' * (number > 1)}" for number, word in shown if number)
            or "Nothing to run here"
        )
        context["proof"] = f"{said}: tested on {proof['date'].split()[0]}, commit {proof['commit']}"
        context["proof_versions"] = "; ".join(
            f"{name} {version}" for name, version in proof["versions"].items()
        )


def _report(app, docname):
    """The nodes that stand for the directive."""
    proof = _proof(app)
    known, files = app.proof_known
    if proof is None:
        report = [
            nodes.paragraph(
                "",
                "Not proven in this build: the tests did not run before it.",
                classes=["proof-none"],
            )
        ]
    else:
        versions = "; ".join(f"{name} {version}" for name, version in proof["versions"].items())
        report = [
            nodes.paragraph(
                "",
                f"Run on {proof['date']}, commit {proof['commit']}"
                + (" with changes" if proof["changed"] else "")
                + f", in {proof['seconds'] / 60:.0f} minutes. {versions}.",
            )
        ]
        report.append(
            _table(
                ["What", "Passed", "Failed", "Not run"],
                [
                    [files.get(name, name), *map(str, counts)]
                    for name, counts in sorted(proof["files"].items())
                ],
            )
        )
        if proof["pages"]:
            report.append(nodes.rubric("", "Page by page"))
            report.append(
                _table(
                    ["Page", "Console blocks", "Inline literals", "Claims"],
                    [
                        [
                            page,
                            str(counts.get("blocks", 0)),
                            str(counts.get("literals", 0)),
                            str(
                                len(
                                    app.env.__dict__.get("proof_claims", {}).get(
                                        page.removesuffix(".rst"), []
                                    )
                                )
                            ),
                        ]
                        for page, counts in sorted(proof["pages"].items())
                    ],
                )
            )
        for title, name in (
            ("What was measured", "measured"),
            ("What is not covered, and why", "not_covered"),
        ):
            report.append(nodes.rubric("", title))
            report.append(
                nodes.bullet_list(
                    "",
                    *(
                        nodes.list_item("", _paragraph(text))
                        for text in proof.get(name) or ["Nothing."]
                    ),
                )
            )
    report.append(nodes.rubric("", "Claims and their tests"))
    entries = nodes.definition_list()
    for test in sorted(
        {test for found in app.env.__dict__.get("proof_claims", {}).values() for test in found}
    ):
        outcome = (
            "not proven in this build" if proof is None else proof["tests"].get(test, "not run")
        )
        sentence, docstring = known[test]
        definition = nodes.definition(
            "",
            nodes.paragraph(
                "", "", nodes.literal("", test), nodes.Text(f": {outcome}. {docstring}")
            ),
        )
        pages = [name for name, found in sorted(app.env.proof_claims.items()) if test in found]
        links = nodes.paragraph("", "On: ")
        for name in pages:
            if app.builder.format == "html":
                links += nodes.reference(
                    "",
                    app.env.titles[name].astext(),
                    internal=True,
                    refuri=app.builder.get_relative_uri(docname, name),
                )
                links += nodes.Text(" ")
        definition += links
        entries += nodes.definition_list_item(
            "", nodes.term("", sentence, ids=[nodes.make_id(test)]), definition
        )
    return [*report, entries]


def _table(head, rows):
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in head), cols=len(head))
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group)


def _row(texts):
    return nodes.row("", *(nodes.entry("", _paragraph(text)) for text in texts))


def _paragraph(text):
    """`text`, with what stands between backticks as a literal."""
    parts = re.split("`+([^`]+)`+", text)
    return nodes.paragraph(
        "",
        "",
        *(
            nodes.literal("", part) if number % 2 else nodes.Text(part)
            for number, part in enumerate(parts)
        ),
    )


def _read_tests(app):
    app.proof_known = tests(Path(app.confdir, app.config.proof_tests))


def _outdated(app, env, added, changed, removed):
    """The page with the proof shows what stands on others, so it is read when they are; and a mark
    whose test has gone is warned of.
    """
    gone = [
        name
        for name, found in env.__dict__.get("proof_claims", {}).items()
        if not set(found) <= set(app.proof_known[0])
    ]
    path = Path(app.confdir, app.config.proof_file)
    before, now = env.__dict__.get("proof_run"), path.stat().st_mtime_ns if path.exists() else 0
    env.proof_run = now
    if gone or added or changed or removed or before != now:
        return [name for name in (*gone, app.config.proof_page) if name in env.found_docs]
    return []


def _forget(app, env, docname):
    env.__dict__.get("proof_claims", {}).pop(docname, None)


def _merge(app, env, docnames, other):
    found = other.__dict__.get("proof_claims", {})
    env.__dict__.setdefault("proof_claims", {}).update(
        {name: found[name] for name in docnames if name in found}
    )


def setup(app):
    app.add_config_value("proof_tests", "tests", "", str)
    app.add_config_value("proof_file", "_build/proof.json", "", str)
    app.add_config_value("proof_page", "about/how-tested", "env", str)
    app.add_config_value("proof_exceptions", {}, "env", dict)
    app.add_node(
        Mark, html=(_visit_mark, _depart_mark)
    )  # the EPUB takes those of html, of all extensions, while no node has one named epub
    app.add_role("tested", Tested())
    app.add_directive("not-run", NotRun)
    app.add_directive("proof", Proof)
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
