"""The editions of a course, each made from the same notebooks by the tags of their cells;
notebooks/README.md lists the tags.

    python -m tools.course.editions FOLDER

makes in FOLDER the folders student, solutions and instructor, a zip of each, student.git, and
slides. Nothing in the student edition holds a solution; which solutions the site shows stands in
triton/facts.toml.
"""

import argparse
import contextlib
import html
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from _ext import facts
from tools import git
from tools.course.model import Cell, Course, Notebook
from tools.course.shown import WIDGET as WIDGET
from tools.course.shown import CourseError as CourseError
from tools.course.shown import linked as linked
from tools.course.shown import still
from tools.files import ROOT
from triton.lib import clusterfacts

NOTEBOOKS = ROOT / "notebooks"
STUDENT = NOTEBOOKS / "student"  # what only the student edition has
BRANCH = "student"  # of the git repository with the student edition
FOLDER = "jupyter-course"  # in each zip, and in the home of who opens it on the cluster
DATED = (2026, 1, 1, 0, 0, 0)  # each file in each zip: the same each time, and not 1980
NOTE = re.compile(r"(\d+) minutes?\.\s*")

Json = dict[str, Any]
"""A notebook or a cell, be it a Notebook, a Cell, or what json.loads() gives."""

Notebooks = Mapping[str, Json]
"""The notebooks of a course, by their names."""

Files = dict[str, str | bytes]
"""What each file holds, by its path."""


def tags(cell: Json) -> list[str]:
    return Cell(cell).tags


def source(cell: Json) -> str:
    """The source of a cell as one text."""
    return Cell(cell).source


def released(setting: object, name: str) -> bool:
    """Whether the solutions of the notebook `name` are out. setting: "all", "none" or a list of
    names.
    """
    return setting == "all" or (isinstance(setting, list) and name in setting)


def wrong_setting(setting: object, names: Iterable[str]) -> str:
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


def without(notebook: Notebook, *unwanted: str) -> Notebook:
    """The notebook without the cells that have one of these tags."""
    return notebook.having(cell for cell in notebook.cells if not set(unwanted) & set(cell.tags))


def page(notebook: Json, with_solutions: bool) -> Notebook:
    """What the site shows: outputs, and solutions if they are out."""
    hidden = ["instructor", "hidden-test"]
    if not with_solutions:
        hidden.append("solution")
    return still(without(Notebook(notebook), *hidden))


def folded(notebook: Json) -> Notebook:
    """The notebook with the text of its solutions behind a click, as the code of a solution is by
    its tag hide-cell.
    """
    book = Notebook(notebook)
    return book.having(
        cell.having(
            source=f"<details>\n<summary>Show the explanation</summary>\n\n{cell.source}\n\n"
            "</details>"
        )
        if cell.kind == "markdown" and "solution" in cell.tags
        else cell
        for cell in book.cells
    )


def student(notebook: Json, site: str, solved: int = 0) -> Notebook:
    """A copy to work in: no outputs, no notes, and solutions of the first `solved` exercises only,
    in place of their stubs.

    A notebook that needs a cluster keeps its outputs up to the exercises, to be read elsewhere.

    site: the address of the built guide, to which links lead that the copy would break.
    """
    book = Notebook(notebook)
    cells = []
    exercise = 0
    for cell in begun(without(book, "instructor", "hidden-test")).cells:
        if "exercise" in cell.tags:
            exercise += 1
        unwanted = "stub" if exercise <= solved else "solution"
        if unwanted not in cell.tags or not exercise:
            shown = "slurm" in book.course.needs and not exercise
            cells.append(_bare(cell, site, shown))
    metadata = {
        key: book.metadata[key] for key in ("kernelspec", "language_info") if key in book.metadata
    }
    return book.having(cells, metadata=metadata)


def promise(course: Mapping[str, Any]) -> str:
    """What a notebook is for, from what it declares: a sentence for its readers."""
    return Course.of({"course": course}).promise


def known(course: Mapping[str, Any]) -> str:
    """What a reader should know before a notebook: a sentence, empty if it is not declared."""
    return Course.of({"course": course}).known


def needed(course: Mapping[str, Any]) -> str:
    """What a reader must have for a notebook beyond its kernel, from what it declares."""
    return Course.of({"course": course}).needed


def begun(notebook: Notebook) -> Notebook:
    """The notebook with its promise below the title."""
    first, *others = notebook.cells
    title, _, rest = first.source.partition("\n")
    course = notebook.course
    facts = " ".join(filter(None, (course.promise, course.known, f"{course.minutes} minutes.")))
    begin = f"{title}\n\n*{facts}*\n{rest}"
    return notebook.having([first.having(source=begin), *others])


def solutions(notebook: Json, site: str) -> Notebook:
    """All of it but for what is the instructor's, with outputs."""
    shown = page(notebook, True)
    return shown.having(
        (linked(cell, site) for cell in shown.cells if "stub" not in cell.tags),
        metadata={key: value for key, value in shown.metadata.items() if key != "jupytext"},
    )


def exercises(notebook: Json) -> int:
    """How many exercises a notebook has."""
    return sum("exercise" in cell.tags for cell in Notebook(notebook).cells)


def _bare(cell: Cell, site: str, shown: bool) -> Cell:
    kept = [tag for tag in cell.tags if tag not in ("hide-cell", "slide")]
    new = linked(cell, site).having(metadata={"tags": kept} if kept else {})
    if shown or cell.kind != "code":
        return new
    return new.having(outputs=[], execution_count=None)


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
    parts: list[Part] = field(default_factory=list)


def headings(text: str) -> list[tuple[int, str]]:
    """The headings in a Markdown text, wherever they stand in it, as (level, plain text)."""
    if "#" not in text and "\n==" not in text and "\n--" not in text:
        return []
    tokens = MarkdownIt().parse(text)
    return [
        (
            int(token.tag[1:]),
            "".join(
                " " if part.type == "softbreak" else part.content
                for part in tokens[number + 1].children or ()
            ),
        )
        for number, token in enumerate(tokens)
        if token.type == "heading_open" and token.level == 0
    ]


def sheet(name: str, notebook: Json) -> Sheet:
    """The Sheet of a notebook; CourseError where a note does not begin with its minutes, or all do
    not add up.

    A notebook without notes has parts that take no time.
    """
    book = Notebook(notebook)
    course = book.course
    title, parts = _parts(name, book)
    whole = sum(part.minutes for part in parts)
    if whole and whole != course.minutes:  # without notes it can be read, and not taught from
        raise CourseError(
            f"{name}: its parts take {whole} minutes together, and its header says {course.minutes}"
        )
    return Sheet(
        name,
        title,
        course.goal,
        course.minutes,
        book.measured.seconds,
        [part for part in parts if part.title],
    )


def _parts(name: str, notebook: Notebook) -> tuple[str, list[Part]]:
    """The title of a notebook and its parts, the first of which stands before any heading."""
    cell_seconds = iter(notebook.measured.cells)
    title = name
    parts = [Part("")]
    for cell in notebook.cells:
        text = cell.source
        if cell.kind == "code":
            parts[-1].seconds += next(cell_seconds, 0)
        elif "instructor" in cell.tags:
            begin = NOTE.match(text)
            if not begin or not parts[-1].title:
                raise CourseError(
                    f"{name}: the note {text.splitlines()[0]!r} must stand below the "
                    "heading of a part and begin with its minutes: '3 minutes. ...'"
                )
            parts[-1].minutes = int(begin[1])
            parts[-1].note = text[begin.end() :]
        elif cell.kind == "markdown":
            for level, heading in headings(text):
                if level == 1:
                    title = heading
                elif level == 2:
                    parts.append(Part(heading, exercise="exercise" in cell.tags))
    return title, parts


# ---------------------------------------------------------------- files


def load(folder: Path = NOTEBOOKS) -> dict[str, Notebook]:
    """{name: notebook} of the course, in its order: that of the numbers, 100 after 99; CourseError
    names one that is none.
    """
    return {
        path.stem: _read(path)
        for path in sorted(folder.glob("*.ipynb"), key=lambda path: in_order(path.name))
    }


def in_order(name: str) -> tuple[bool, int, str]:
    """What sorts notebooks by their numbers, and puts what has none behind them."""
    digits = len(name) - len(name.lstrip("0123456789"))
    return not digits, digits, name


def _read(path: Path) -> Notebook:
    try:
        notebook = Notebook.read(path)
        course = notebook.course
        if notebook.cells and isinstance(course.minutes, int) and course.goal:
            return notebook
    except (OSError, ValueError) as error:
        raise CourseError(f"{path}:{getattr(error, 'lineno', 1)}: no notebook: {error}") from None
    except TypeError:
        pass
    raise CourseError(
        f"{path}:1: has no cells, or declares no course with a goal and minutes (see "
        "notebooks/README.md)"
    )


def ipynb(notebook: Json) -> str:
    """The text of a notebook's file."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def myst(notebook: Json) -> str:
    """The notebook as MyST Markdown."""
    # They take long to import, and few who import this module want a text.
    import jupytext
    import nbformat

    book = Notebook(notebook)
    whole = book.having(cell.having(source=cell.source) for cell in book.cells)
    return str(jupytext.writes(nbformat.from_dict(whole), "md:myst"))


PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 sans-serif; max-width: 45rem; margin: 2rem auto; padding: 0 1rem }}
td, th {{ text-align: left; vertical-align: top; padding-right: 1rem }}
</style>
{body}</html>
"""


def readable(files: Mapping[str, str | bytes]) -> Files:
    """The `files` with each Markdown text as a page: at a click JupyterLab shows a page as it is
    meant, and Markdown as it is written.
    """
    pages: Files = {}
    for path, content in files.items():
        if path.endswith(".md") and isinstance(content, str):
            title = content.partition("\n")[0].lstrip("# ")
            pages[f"{path.removesuffix('.md')}.html"] = PAGE.format(
                title=html.escape(title), body=_markdown().render(content)
            )
        else:
            pages[path] = content
    return pages


def _markdown() -> MarkdownIt:
    """What makes HTML of Markdown with tables and formulas; it raises CourseError."""
    # They load Sphinx, which takes long, and few who import this module want a page.
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    from _ext import formulas

    def formula(tex: str, options: dict[str, Any]) -> str:
        try:
            return formulas.mathml(tex, options["display_mode"])
        except formulas.FormulaError as wrong:
            raise CourseError(str(wrong)) from None

    return MarkdownIt().enable("table").use(dollarmath_plugin, renderer=formula)


def data_files(folder: Path = NOTEBOOKS) -> Files:
    """The data that the notebooks read, and what says where it comes from, by the path in the
    edition.
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


def student_files(course: Notebooks, site: str, values: Json) -> Files:
    """The student edition of the notebooks `course`, with what lies in notebooks/student.

    site: the address of the built guide; values: the facts of the cluster, in words.
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


def solution_files(course: Notebooks, site: str) -> Files:
    """The notebooks with solutions and outputs."""
    return {
        f"{name}.ipynb": ipynb(solutions(notebook, site)) for name, notebook in course.items()
    } | data_files()


def instructor_files(course: Notebooks) -> Files:
    """The notebooks as they are, with notes and hidden tests."""
    return {f"{name}.ipynb": ipynb(notebook) for name, notebook in course.items()} | data_files()


def published(course: Notebooks, site: str, values: Json, setting: object) -> Files:
    """What the site offers: each notebook to work in, all of them as a zip, what is released of the
    solutions, slides.

    site: the address of the built guide; values: the facts of the cluster, in words; setting: which
    solutions are out.
    """
    # It loads Sphinx and nbconvert, which takes long, and few who import this module want slides.
    from tools.course import slides

    files: Files = {}
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
    files["student.zip"] = zipped(student_files(course, site, values))
    return files | {f"slides/{path}": text for path, text in slides.pages(course, site).items()}


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """The files as the bytes of a zip that is the same each time."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(f"{FOLDER}/{path}", DATED)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return packed.getvalue()


def write(folder: str | Path, files: Mapping[str, str | bytes]) -> None:
    """Write `files` below `folder`."""
    for path, content in files.items():
        target = Path(folder, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())


def repository(
    folder: Path, files: Mapping[str, str | bytes], before: Sequence[tuple[Path, str]]
) -> None:
    """Make the bare git repository `folder` with `files` on the branch `student`.

    before: repositories and a branch of each; what the first of them has that is there comes before
    the new state. Raises CalledProcessError.
    """

    def run(*command: str | Path, **variables: str) -> str:
        environment = git.environment() | variables
        return git.run(
            *command, cwd=folder.parent, env=environment, check=True, text=True
        ).stdout.strip()

    run("init", "--quiet", "--bare", f"--initial-branch={BRANCH}", folder)
    parent: list[str] = []
    for old, branch in before:
        with contextlib.suppress(subprocess.CalledProcessError):
            run("-C", folder, "fetch", "--quiet", old, f"+{branch}:refs/heads/{BRANCH}")
            parent = ["-p", BRANCH]
            break
    with tempfile.TemporaryDirectory() as tree:
        write(tree, files)
        place = ("--git-dir", Path(folder).resolve(), "--work-tree", tree)
        run(*place, "add", "--all")
        new = run(*place, "write-tree")
    if not parent or run("-C", folder, "rev-parse", f"{BRANCH}^{{tree}}") != new:
        author = {
            f"GIT_{role}_{key}": value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", "The course"), ("EMAIL", "course@localhost"))
        }
        message = "Bring the student edition up to date"
        commit = run("-C", folder, "commit-tree", new, *parent, "-m", message, **author)
        run("-C", folder, "update-ref", f"refs/heads/{BRANCH}", commit)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make all editions in the folder that the command line names; return the exit status."""
    from tools.course import slides  # see published()

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=lambda name: Path(name).resolve())
    options = parser.parse_args(arguments)
    try:
        known = clusterfacts.load(ROOT / "triton/facts.toml")
        site = known.site.url
        course = load()
        for name, notebook in course.items():
            sheet(name, notebook)
        editions = {
            "slides": slides.pages(course, site),
            "student": student_files(course, site, known.in_words()),
            "solutions": solution_files(course, site),
            "instructor": instructor_files(course),
        }
    except (CourseError, OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    _replace(options.folder, editions)
    print(
        f"{len(course)} notebooks in {options.folder}: {', '.join(editions)}. For the "
        "button on their pages:\n"
        f"git -C {options.folder}/student.git push {known.site.repository} {BRANCH}"
    )
    return 0


def _replace(folder: Path, editions: Mapping[str, Files]) -> None:
    """Put the editions in the place of what is in `folder`, all or none of them."""
    new = folder.with_name(folder.name + ".new")
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
        [(folder / "student.git", BRANCH), (ROOT, f"refs/remotes/origin/{BRANCH}")],
    )
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


if __name__ == "__main__":
    sys.exit(main())
