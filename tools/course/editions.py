"""The editions of a course, each made from the same notebooks by the tags of their cells;
notebooks/README.md lists the tags.

    python tools/course/editions.py FOLDER

makes in FOLDER the folders student, solutions and instructor, a zip of each, student.git, and
slides. Nothing in the student edition holds a solution; which solutions the site shows stands in
triton/facts.toml.
"""

import argparse
import copy
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

from _ext import facts
from tools.files import ROOT

NOTEBOOKS = ROOT / "notebooks"
STUDENT = NOTEBOOKS / "student"  # what only the student edition has
BRANCH = "student"  # of the git repository with the student edition
FOLDER = "jupyter-course"  # in each zip, and in the home of who opens it on the cluster
DATED = (2026, 1, 1, 0, 0, 0)  # each file in each zip: the same each time, and not 1980
LINK = re.compile(r"\]\((?!\w+:|#)([^)\s]+)\)")
WIDGET = "application/vnd.jupyter.widget-view+json"
NOTE = re.compile(r"(\d+) minutes?\.\s*")


class CourseError(Exception):
    """What is wrong in a notebook and where, in one sentence."""


def tags(cell):
    return cell["metadata"].get("tags", [])


def source(cell):
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)


def released(setting, name):
    """Whether the solutions of the notebook `name` are out. setting: "all", "none" or a list of
    names.
    """
    return setting == "all" or isinstance(setting, list) and name in setting


def wrong_setting(setting, names) -> str:
    """What is wrong in the setting which solutions are out, in one sentence; empty if nothing is.
    names: the course's notebooks.
    """
    choices = f'Choose "all", "none", or a list of these: {", ".join(names)}'
    if setting in ("all", "none"):
        return ""
    if not isinstance(setting, list) or not all(isinstance(item, str) for item in setting):
        return f"course.solutions is {setting!r}. {choices}"
    unknown = [item for item in setting if item not in names]
    return (
        f"course.solutions names {unknown[0]!r}, which is no notebook. {choices}" if unknown else ""
    )


# ---------------------------------------------------------------- which cells


def without(notebook, *unwanted):
    """The notebook without the cells that have one of these tags."""
    return notebook | {
        "cells": [cell for cell in notebook["cells"] if not set(unwanted) & set(tags(cell))]
    }


def page(notebook, with_solutions):
    """What the site shows: outputs, and solutions if they are out."""
    return still(
        without(notebook, "instructor", "hidden-test", *([] if with_solutions else ["solution"]))
    )


def folded(notebook):
    """The notebook with the text of its solutions behind a click, as the code of a solution is by
    its tag hide-cell.
    """
    cells = [
        cell
        | {
            "source": f"<details>\n<summary>Show the explanation</summary>\n\n{source(cell)}\n\n"
            "</details>"
        }
        if cell["cell_type"] == "markdown" and "solution" in tags(cell)
        else cell
        for cell in notebook["cells"]
    ]
    return notebook | {"cells": cells}


def still(notebook):
    """The notebook with a sentence in the place of each widget: without a kernel a page shows
    nothing there.
    """
    cells = [
        cell | {"outputs": [_still(output) for output in cell["outputs"]]}
        if cell.get("outputs")
        else cell
        for cell in notebook["cells"]
    ]
    return notebook | {"cells": cells}


def _still(output: dict) -> dict:
    if WIDGET not in output.get("data", {}):
        return output
    text = "".join(output["data"].get("text/plain", ""))
    name = re.match(r"\w*", text)[0]
    sentence = (
        f"*Here stands a widget{f' (`{name}`)' if name else ''}. It needs a kernel: run this "
        "notebook in Jupyter.*"
    )
    return output | {"data": {"text/markdown": sentence, "text/plain": sentence.replace("*", "")}}


def student(notebook, site, solved=0):
    """A copy to work in: no outputs, no notes, and solutions of the first `solved` exercises only,
    in place of their stubs.

    site: the address of the built guide, to which links lead that the copy would break.
    """
    cells, exercise = [], 0
    for cell in begun(without(notebook, "instructor", "hidden-test"))["cells"]:
        if "exercise" in tags(cell):
            exercise += 1
        unwanted = "stub" if exercise <= solved else "solution"
        if unwanted not in tags(cell) or not exercise:
            cells.append(_bare(cell, site))
    kept = {
        key: notebook["metadata"][key]
        for key in ("kernelspec", "language_info")
        if key in notebook["metadata"]
    }
    return notebook | {"cells": cells, "metadata": kept}


def promise(course):
    """What a notebook is for, from what it declares: a sentence for its readers."""
    return f"Afterwards you can {course['goal'][0].lower()}{course['goal'][1:]}."


def begun(notebook):
    """The notebook with its promise below the title."""
    first, *others = notebook["cells"]
    title, _, rest = source(first).partition("\n")
    course = notebook["metadata"]["course"]
    return notebook | {
        "cells": [
            first
            | {"source": f"{title}\n\n*{promise(course)} {course['minutes']} minutes.*\n{rest}"},
            *others,
        ]
    }


def solutions(notebook, site):
    """All of it but for what is the instructor's, with outputs."""
    kept = page(notebook, True)
    return kept | {
        "cells": [linked(cell, site) for cell in kept["cells"] if "stub" not in tags(cell)],
        "metadata": {key: value for key, value in kept["metadata"].items() if key != "jupytext"},
    }


def exercises(notebook):
    return sum("exercise" in tags(cell) for cell in notebook["cells"])


def _bare(cell, site):
    new = linked(cell, site)
    kept = [tag for tag in tags(cell) if tag not in ("hide-cell", "slide")]
    new["metadata"] = {"tags": kept} if kept else {}
    if cell["cell_type"] == "code":
        new |= {"outputs": [], "execution_count": None}
    return new


def linked(cell, site, beside=True):
    """The cell with links that would break in a copy turned to the site; with `beside`, other
    notebooks lie beside the copy.
    """

    def turned(match):
        path = match[1]
        if beside and not path.startswith("../"):
            return match[0]
        return f"]({urljoin(urljoin(site, 'notebooks/'), re.sub(r'[.](rst|md|ipynb)(?=#|$)', '.html', path))})"

    new = copy.deepcopy(cell)
    if cell["cell_type"] == "markdown":
        new["source"] = LINK.sub(turned, source(cell)).splitlines(keepends=True)
    return new


# ---------------------------------------------------------------- the instructor's run sheet


@dataclass
class Part:
    """A part of a notebook: teaching time in minutes, what a machine takes for its cells in
    seconds, the instructor's note in Markdown.
    """

    title: str
    minutes: int = 0
    seconds: float = 0.0
    note: str = ""
    exercise: bool = False


@dataclass
class Sheet:
    """What an instructor needs of one notebook."""

    name: str
    title: str
    goal: str
    minutes: int
    seconds: float
    parts: list = field(default_factory=list)


def headings(text):
    """The headings in a Markdown text, wherever they stand in it, as (level, plain text)."""
    if "#" not in text and "\n==" not in text and "\n--" not in text:
        return []
    from markdown_it import MarkdownIt

    tokens = MarkdownIt().parse(text)
    return [
        (
            int(token.tag[1:]),
            "".join(
                " " if part.type == "softbreak" else part.content
                for part in tokens[number + 1].children
            ),
        )
        for number, token in enumerate(tokens)
        if token.type == "heading_open" and token.level == 0
    ]


def sheet(name, notebook):
    """The Sheet of a notebook; CourseError where a note does not begin with its minutes, or all do
    not add up.

    A notebook without notes has parts that take no time.
    """
    course, measured = notebook["metadata"]["course"], notebook["metadata"].get("measured", {})
    cell_seconds = iter(measured.get("cells", []))
    title, parts = name, [Part("")]
    for cell in notebook["cells"]:
        text = source(cell)
        if cell["cell_type"] == "code":
            parts[-1].seconds += next(cell_seconds, 0)
        elif "instructor" in tags(cell):
            found = NOTE.match(text)
            if not found or not parts[-1].title:
                raise CourseError(
                    f"{name}: the note {text.splitlines()[0]!r} must stand below the "
                    "heading of a part and begin with its minutes: '3 minutes. ...'"
                )
            parts[-1].minutes, parts[-1].note = int(found[1]), text[found.end() :]
        elif cell["cell_type"] == "markdown":
            for level, heading in headings(text):
                if level == 1:
                    title = heading
                elif level == 2:
                    parts.append(Part(heading, exercise="exercise" in tags(cell)))
    whole = sum(part.minutes for part in parts)
    if whole and whole != course["minutes"]:  # without notes it can be read, and not taught from
        raise CourseError(
            f"{name}: its parts take {whole} minutes together, and its header says "
            f"{course['minutes']}"
        )
    return Sheet(
        name,
        title,
        course["goal"],
        course["minutes"],
        measured.get("seconds", 0),
        [part for part in parts if part.title],
    )


# ---------------------------------------------------------------- files


def load(folder=NOTEBOOKS):
    """{name: notebook} of the course, in its order: that of the numbers, 100 after 99; CourseError
    names one that is none.
    """
    return {
        path.stem: _read(path)
        for path in sorted(folder.glob("*.ipynb"), key=lambda path: in_order(path.name))
    }


def in_order(name):
    """What sorts notebooks by their numbers, and puts what has none behind them."""
    number = re.match(r"\d*", name)[0]
    return not number, len(number), name


def _read(path):
    try:
        notebook = json.loads(path.read_text(encoding="utf-8-sig"))
        course = notebook["metadata"]["course"]
        assert notebook["cells"] and isinstance(course["minutes"], int) and course["goal"], (
            "an empty one"
        )
        return notebook
    except (OSError, ValueError) as error:
        raise CourseError(f"{path}:{getattr(error, 'lineno', 1)}: no notebook: {error}") from None
    except (KeyError, TypeError, AssertionError):
        raise CourseError(
            f"{path}:1: has no cells, or declares no course with a goal and minutes (see "
            "notebooks/README.md)"
        ) from None


def ipynb(notebook):
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def myst(notebook):
    """The notebook as MyST Markdown."""
    import jupytext
    import nbformat

    return jupytext.writes(
        nbformat.from_dict(
            notebook | {"cells": [cell | {"source": source(cell)} for cell in notebook["cells"]]}
        ),
        "md:myst",
    )


PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>:root {{ color-scheme: light dark }} body {{ font: 1rem/1.5 sans-serif; max-width: 45rem; margin: 2rem auto; padding: 0 1rem }} td, th {{ text-align: left; vertical-align: top; padding-right: 1rem }}</style>
{body}</html>
"""


def readable(files):
    """The `files` with each Markdown text as a page: at a click JupyterLab shows a page as it is
    meant, and Markdown as it is written.
    """
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    from _ext import formulas

    def formula(tex, options):
        try:
            return formulas.mathml(tex, options["display_mode"])
        except formulas.FormulaError as wrong:
            raise CourseError(str(wrong)) from None

    def page(path, text):
        if not path.endswith(".md"):
            return path, text
        return path.removesuffix("md") + "html", PAGE.format(
            title=html.escape(text.partition("\n")[0].lstrip("# ")),
            body=MarkdownIt().enable("table").use(dollarmath_plugin, renderer=formula).render(text),
        )

    return dict(page(*file) for file in files.items())


def data_files(folder=NOTEBOOKS):
    """{path in the edition: text or bytes} of the data that the notebooks read, and what says where
    it comes from.
    """
    return readable(
        {
            path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
            if path.suffix == ".md"
            else path.read_bytes()
            for path in sorted((folder / "data").rglob("*"))
            if path.is_file() and path.suffix not in (".pyc", ".ipynb")
        }
    )


def student_files(course, site, values):
    """{path: text or bytes} of the student edition of the notebooks `course`, with what lies in
    notebooks/student.
    """
    values = values | {"course": values.get("course", {}) | {"notebooks": "/".join(course)}}
    files = {
        path.name: facts.substitute(path.read_text(encoding="utf-8"), values)[0]
        for path in sorted(STUDENT.iterdir())
        if path.is_file()
    }
    return (
        readable(files)
        | {f"{name}.ipynb": ipynb(student(notebook, site)) for name, notebook in course.items()}
        | data_files()
    )


def solution_files(course, site):
    """{path: text or bytes} of the notebooks with solutions and outputs."""
    return {
        f"{name}.ipynb": ipynb(solutions(notebook, site)) for name, notebook in course.items()
    } | data_files()


def instructor_files(course):
    """{path: text or bytes} of the notebooks as they are, with notes and hidden tests."""
    return {f"{name}.ipynb": ipynb(notebook) for name, notebook in course.items()} | data_files()


def published(course, site, values, setting):
    """{path: text or bytes} of what the site offers: each notebook to work in, all of them as a
    zip, what is released of the solutions, slides.
    """
    files = {}
    for name, notebook in course.items():
        copy_of = student(notebook, site)
        files |= {f"{name}.ipynb": ipynb(copy_of), f"{name}.md": myst(copy_of)}
        if released(setting, name):
            files[f"solutions/{name}.ipynb"] = ipynb(solutions(notebook, site))
            files |= {
                f"after/{name}-{part}.ipynb": ipynb(student(notebook, site, part))
                for part in range(1, exercises(notebook) + 1)
            }
    out = {name: notebook for name, notebook in course.items() if released(setting, name)}
    if out:
        files["solutions.zip"] = zipped(solution_files(out, site))
    from tools.course import slides

    return (
        files
        | {"student.zip": zipped(student_files(course, site, values))}
        | {f"slides/{path}": text for path, text in slides.pages(course, site).items()}
    )


def zipped(files):
    """The files as the bytes of a zip that is the same each time."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(f"{FOLDER}/{path}", DATED)
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return packed.getvalue()


def write(folder, files):
    """Write `files` below `folder`."""
    for path, content in files.items():
        target = Path(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())


def repository(folder, files, before):
    """Make the bare git repository `folder` with `files` on the branch `student`; they follow what
    the branch has in `before`, if that is there.
    """
    # A hook of git hands on which repository is committed to; this is another.
    names = subprocess.run(
        ["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True
    ).stdout.split()
    here = {
        name: value
        for name, value in os.environ.items()
        if name not in names or name.startswith("GIT_CONFIG")
    }

    def git(*command, env=here):
        return subprocess.run(
            ["git", *command], check=True, capture_output=True, text=True, env=env
        ).stdout.strip()

    author = {"GIT_AUTHOR_NAME": "The course", "GIT_AUTHOR_EMAIL": "course@localhost"}
    who = (
        here | author | {key.replace("AUTHOR", "COMMITTER"): value for key, value in author.items()}
    )
    git("init", "--quiet", "--bare", f"--initial-branch={BRANCH}", folder)
    parent = []
    for old, branch in before:
        if (
            subprocess.run(
                ["git", "-C", folder, "fetch", "--quiet", old, f"+{branch}:refs/heads/{BRANCH}"],
                capture_output=True,
                env=here,
            ).returncode
            == 0
        ):
            parent = ["-p", BRANCH]
            break
    with tempfile.TemporaryDirectory() as tree:
        write(tree, files)
        place = ("--git-dir", Path(folder).resolve(), "--work-tree", tree)
        git(*place, "add", "--all")
        new = git(*place, "write-tree")
    if not parent or git("-C", folder, "rev-parse", f"{BRANCH}^{{tree}}") != new:
        commit = git(
            "-C",
            folder,
            "commit-tree",
            new,
            *parent,
            "-m",
            "Bring the student edition up to date",
            env=who,
        )
        git("-C", folder, "update-ref", f"refs/heads/{BRANCH}", commit)


def main(arguments=None):
    from tools.course import slides

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    values = facts.load(ROOT / "triton/facts.toml")
    site = values["site"]["url"]
    try:
        course = load()
        for name, notebook in course.items():
            sheet(name, notebook)
        editions = {
            "slides": slides.pages(course, site),
            "student": student_files(course, site, values),
            "solutions": solution_files(course, site),
            "instructor": instructor_files(course),
        }
    except (CourseError, OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    new = options.folder.with_name(options.folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    for name, files in editions.items():
        write(new / name, files)
        if name != "slides":
            (new / f"{name}.zip").write_bytes(zipped(files))
    # Students have cloned it: a new state follows the one that was pushed, or that was made here
    # the last time.
    repository(
        new / "student.git",
        editions["student"],
        [(options.folder / "student.git", BRANCH), (ROOT, f"refs/remotes/origin/{BRANCH}")],
    )
    shutil.rmtree(options.folder, ignore_errors=True)
    new.rename(options.folder)
    print(
        f"{len(course)} notebooks in {options.folder}: {', '.join(editions)}. For the "
        "button on their pages:\n"
        f"git -C {options.folder}/student.git push {values['site']['repository']} {BRANCH}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
