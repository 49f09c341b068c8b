"""Every formula is shown without a script, a font or another host. A formula that cannot be shown
is reported with its line.
"""

import os
import re
import subprocess
import sys
import zipfile

import nbformat
import pytest
from bs4 import BeautifulSoup

from _ext import formulas, plain
from tools.browser import needs_chromium
from tools.course import editions, pairs, slides
from tools.course.pairs import write_pair
from tools.files import ROOT, copy_source
from tools.site import build_site

PAGE = r"""
Mathematics
===========

Euler found :math:`e^{i\pi} = -1`, and a price is $5 here.

.. math:: \bar{x} = \frac{1}{n} \sum_{i=1}^n x_i
   :label: mean

Look at :eq:`mean`, and at a matrix:

.. math::

   A &= \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} \\
   B &= A^\top

.. math::

   a = b

   c = d
"""
MARKDOWN = r"""## Energy

Let $E = mc^2$, in `$HOME` and "`$a$`"; and

$$
\int_0^1 x\,\mathrm{d}x = \frac{1}{2}
$$

\begin{align}
a &= b \\
c &= d
\end{align}

```bash
echo $HOME $USER
```
"""
LATEX = r"$\displaystyle \left[\begin{matrix}1 & 2\\3 & 4\end{matrix}\right]$"
NAME = "01-first-notebook"


def course_with(markdown, latex):
    """The first notebook with one more text cell and output, both on a slide."""
    notebook = editions.load()[NAME]
    cells = [
        nbformat.v4.new_markdown_cell(markdown, metadata={"tags": ["slide"]}),
        nbformat.v4.new_markdown_cell(
            r"1 minute. Say that $\pi$ is no fraction.", metadata={"tags": ["instructor"]}
        ),
        nbformat.v4.new_code_cell(
            "shown",
            metadata={"tags": ["slide"]},
            execution_count=1,
            outputs=[
                nbformat.v4.new_output(
                    "execute_result",
                    {"text/latex": latex, "text/plain": "Matrix"},
                    execution_count=1,
                )
            ],
        ),
    ]
    course = notebook["metadata"]["course"]
    metadata = {key: value for key, value in notebook["metadata"].items() if key != "measured"} | {
        "course": course | {"minutes": course["minutes"] + 1}
    }
    return notebook | {"cells": notebook["cells"] + cells, "metadata": metadata}


@pytest.fixture(scope="module")
def guide(tmp_path_factory):
    """A copy of the guide with a page and a notebook that have formulas."""
    source = copy_source(tmp_path_factory.mktemp("formulas") / "guide")
    (source / "scicomp/mathematics.rst").write_text(PAGE, encoding="utf-8")
    index = source / "index.rst"
    index.write_text(
        index.read_text(encoding="utf-8").replace(
            "\n   scicomp/git", "\n   scicomp/mathematics\n   scicomp/git", 1
        ),
        encoding="utf-8",
    )
    path = source / f"notebooks/{NAME}.ipynb"
    path.write_text(editions.ipynb(course_with(MARKDOWN, LATEX)), encoding="utf-8")
    write_pair(pairs.read_ipynb(path), path)
    return source


@pytest.fixture(scope="module")
def made(guide, tmp_path_factory):
    """The built site of that guide."""
    target = tmp_path_factory.mktemp("made")
    built = build_site(guide, target)
    assert built.returncode == 0, built.stderr
    return target / "html"


def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_a_page_shows_role_directive_matrix_and_number(made):
    page = soup(made / "scicomp/mathematics.html").main
    assert [formula["alttext"][:12] for formula in page.select("math")] == [
        r"e^{i\pi} = -",
        r"\bar{x} = \f",
        r"A &= \begin{",
        "a = b c = d",
    ]
    assert (
        page.select_one(".eqno").text == "(1)"
        and "a price is $5 here" in page.text
        and len(page.select("mtable mtable mtd")) == 4
    )


def test_a_notebook_shows_dollars_environments_and_outputs(made):
    page = soup(made / f"notebooks/{NAME}.html").main
    texts = [formula["alttext"] for formula in page.select("math")]
    assert texts[0] == "E = mc^2" and len(texts) == 4 and r"\begin{matrix}" in texts[3], texts
    assert (
        "$HOME" in page.text
        and "$a$" in page.text
        and "echo $HOME $USER" in page.text
        and "mc^2$" not in page.text
    )
    assert soup(made / "notebooks/teaching.html").select_one("td.notes math")["alttext"] == r"\pi"


def test_a_page_without_formulas_loads_nothing_for_them(made, site):
    assert (
        "formula"
        not in (
            made / re.search(r"_static/page-\w+\.css", (made / "index.html").read_text())[0]
        ).read_text()
    )
    for name in ("index.html", "triton/apps/jupyter/hub.html"):
        loaded = [
            [
                re.sub(r"page-\w+", "page", link.get("href") or link.get("src") or "")
                for link in soup(folder / name).head.select("link, script")
            ]
            for folder in (made, site)
        ]
        assert loaded[0] == loaded[1]


@needs_chromium
def test_formulas_are_drawn_on_pages_and_slides(made, browser):
    """A fraction is taller than its numerator, and a matrix has two rows. No request goes to
    another host, and a long formula widens no page.
    """
    opened, asked = browser.new_page(viewport={"width": 390, "height": 844}), []
    opened.on("request", lambda request: asked.append(request.url))
    high = "formula => formula.getBoundingClientRect().height"
    opened.goto((made / "scicomp/mathematics.html").as_uri())
    line, fraction, matrix = (
        opened.locator("main math").nth(number).evaluate(high) for number in range(3)
    )
    assert fraction > 1.5 * line and matrix > 2 * line
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    opened.goto((made / f"course/slides/{NAME}.html").as_uri())
    opened.wait_for_function("window.Reveal && Reveal.isReady()")
    opened.evaluate("Reveal.slide(Reveal.getTotalSlides() - 1)")
    assert opened.locator("section.present math:visible").count() == 4
    assert opened.locator("section.present math").nth(1).evaluate(high) > opened.locator(
        "section.present math"
    ).nth(0).evaluate(high)
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
    opened.close()


def test_the_markdown_of_a_page_holds_the_latex(made):
    text = (made / "scicomp/mathematics.html.md").read_text(encoding="utf-8")
    assert r"$e^{i\pi} = -1$" in text and r"$$\bar{x} = \frac{1}{n} \sum_{i=1}^n x_i$$" in text
    assert (
        plain.markdown(f"<p>{formulas.mathml('a_1 < b_2', False)}</p>", "", ()) == "$a_1 < b_2$\n"
    )


SMALL = """\
project, copyright, version = "small", "nobody", "1"
extensions = ["_ext.formulas", "_ext.books", "myst_nb"]
html_baseurl, html_math_renderer = "http://x/", "mathml"
nb_execution_mode, exclude_patterns = "off", ["one.md", "made"]
myst_enable_extensions = ["amsmath", "dollarmath"]
"""


@pytest.fixture
def small(tmp_path):
    """A function that builds a page and a paired notebook, with only the extensions that formulas
    need.
    """

    def build(page, cells, *options):
        (tmp_path / "conf.py").write_text(SMALL)
        (tmp_path / "index.rst").write_text(page + "\n.. toctree::\n\n   one\n", encoding="utf-8")
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_markdown_cell("# One"), *cells],
            metadata={"language_info": {"name": "python"}},
        )
        nbformat.write(notebook, tmp_path / "one.ipynb")
        (tmp_path / "one.md").write_text(
            "\n\n".join(cell.source for cell in notebook.cells), encoding="utf-8"
        )
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "sphinx",
                "-q",
                "--no-color",
                "--fail-on-warning",
                "--keep-going",
                *options,
                tmp_path,
                tmp_path / "made",
            ],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        ), tmp_path

    return build


def test_books_hold_formulas(small):
    built, folder = small(
        PAGE, [nbformat.v4.new_markdown_cell("No formula.")], "-t", "book", "-b", "epub"
    )
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next((folder / "made").glob("*.epub"))) as book:
        assert book.read("index.xhtml").count(b'xmlns="http://www.w3.org/1998/Math/MathML"') == 4
        assert re.findall(
            r'href="(\S+)" properties="mathml"', book.read("content.opf").decode()
        ) == ["index.xhtml"]


@pytest.mark.claims(
    "A formula is LaTeX: in a page the role ``:math:`` or the directive ``math``, in a "
    "notebook between dollars. One that cannot "
    "be shown stops the build."
)
def test_each_wrong_formula_is_named_with_its_line(small):
    output = nbformat.v4.new_output(
        "display_data", {"text/latex": r"$\left( 1$", "text/plain": "x"}
    )
    built, folder = small(
        PAGE.replace(r"e^{i\pi}", r"\nothing").replace(r"\bar{x}", r"\bra{x"),
        [
            nbformat.v4.new_markdown_cell("Text\n\n$mc^^2$ here."),
            nbformat.v4.new_code_cell("1", outputs=[output]),
        ],
    )
    messages = sorted(built.stderr.splitlines())
    assert built.returncode == 1 and len(messages) == 4, built.stderr
    for line, (file, text) in zip(
        messages,
        (
            ("index.rst", ":math:"),
            ("index.rst", ".. math::"),
            ("one.ipynb", "left"),
            ("one.md", "mc^^2"),
        ),
        strict=True,
    ):
        number = next(
            number
            for number, content in enumerate(
                (folder / file).read_text(encoding="utf-8").splitlines(), 1
            )
            if text in content
        )
        assert re.match(rf"{file}:{number}: WARNING: the formula .* cannot be shown: \S", line), (
            line
        )
    assert r'formula \nothing = -1 cannot be shown: unknown command "\nothing"' in messages[0]


def test_a_wrong_formula_on_a_slide_ends_make_class():
    """It ends with one sentence."""
    with pytest.raises(editions.CourseError, match=rf"^{NAME}: the formula .* cannot be shown"):
        slides.pages({NAME: course_with(MARKDOWN, r"\left( 1")}, "")


@pytest.mark.parametrize(
    "tex",
    [
        r"\begin{bmatrix} a_{11} & \cdots & a_{1n} \\ \vdots & \ddots & \vdots \end{bmatrix}",
        r"f(x) = \begin{cases} 1 & x > 0 \\ 0 & \text{otherwise} \end{cases}",
        r"\begin{eqnarray} a &=& b \\ c &=& d \end{eqnarray}",
        r"\begin{split} a &= b \\ &= c \end{split}",
        r"\begin{equation} a \label{one} \end{equation}",
        r"\begin{array}{c|c} 1 & 2 \end{array}",
        r"\operatorname*{argmin}_{x \in \mathbb{R}} \left\| Ax - b \right\|_2^2",
        r"x \sim \mathcal{N}(\mu, \sigma^2)",
        r"\frac12",
        r"\mbox{if } 10\,\%",
    ],
)
def test_what_people_write_in_jupyter_is_known(tex):
    made = BeautifulSoup(formulas.mathml(tex, True), "html.parser")
    assert (
        made.math["alttext"] == " ".join(tex.split())
        and len(made.math.find_all()) > 2
        and "\\" not in made.math.text
    )


@pytest.mark.parametrize(
    "tex",
    [
        r"\foo{x}",
        r"\frac{1}{",
        "x^{2",
        r"\left( a",
        "a_b_c",
        "",
        r"\begin{tabular}{ll} a & b \end{tabular}",
    ],
)
def test_a_text_that_is_no_formula_gives_one_sentence(tex):
    with pytest.raises(formulas.FormulaError) as error:
        formulas.mathml(tex, True)
    assert "\n" not in str(error.value) and len(str(error.value)) < 150
