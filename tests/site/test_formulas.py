"""A formula is shown without a script, a font or another host. One that cannot be shown is
reported.
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
from tools.course import editions, slides
from tools.files import ROOT

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

.. toctree::

   one
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
SMALL = """\
project, copyright, version = "small", "nobody", "1"
extensions = ["_ext.formulas", "_ext.books", "myst_nb"]
html_baseurl, html_math_renderer = "http://x/", "mathml"
nb_execution_mode, exclude_patterns = "off", ["made"]
myst_enable_extensions = ["amsmath", "dollarmath"]
"""


def cells(markdown, latex):
    """A cell with text and one with an output, both on a slide, and a note between them."""
    shown = {"text/latex": latex, "text/plain": "Matrix"}
    output = nbformat.v4.new_output("execute_result", shown, execution_count=1)
    slide, note = {"tags": ["slide"]}, {"tags": ["instructor"]}
    return [
        nbformat.v4.new_markdown_cell(markdown, metadata=slide),
        nbformat.v4.new_markdown_cell(r"1 minute. Say that $\pi$ is no fraction.", metadata=note),
        nbformat.v4.new_code_cell("x", metadata=slide, execution_count=1, outputs=[output]),
    ]


@pytest.fixture
def build(tmp_path):
    """build(page, cells, builder) makes a page and a notebook: (completed process, folder)."""

    def run(page, cells, builder):
        (tmp_path / "conf.py").write_text(SMALL)
        (tmp_path / "index.rst").write_text(page, encoding="utf-8")
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_markdown_cell("# One"), *cells],
            metadata={"language_info": {"name": "python"}},
        )
        nbformat.write(notebook, tmp_path / "one.ipynb")
        sphinx = [sys.executable, "-m", "sphinx", "-q", "--no-color", "--fail-on-warning"]
        tags = ["-t", "book"] * (builder == "epub")
        command = [*sphinx, "--keep-going", *tags, "-b", builder, tmp_path, tmp_path / "made"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        completed = subprocess.run(command, capture_output=True, text=True, env=environment)
        return completed, tmp_path / "made"

    return run


def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_pages_and_notebooks_show_formulas_and_no_other_dollars(build):
    built, made = build(PAGE, cells(MARKDOWN, LATEX), "html")
    assert built.returncode == 0, built.stderr
    page, notebook = soup(made / "index.html"), soup(made / "one.html")
    assert [formula["alttext"][:12] for formula in page.select("math")] == [
        r"e^{i\pi} = -",
        r"\bar{x} = \f",
        r"A &= \begin{",
        "a = b c = d",
    ]
    assert page.select_one(".eqno").text == "(1)" and "a price is $5 here" in page.text
    assert len(page.select("mtable mtable mtd")) == 4
    texts = [formula["alttext"] for formula in notebook.select("math")]
    assert texts[0] == "E = mc^2" and r"\begin{matrix}" in texts[-1] and len(texts) == 5, texts
    for words in ("$HOME", "$a$", "echo $HOME $USER"):
        assert words in notebook.text
    assert "mc^2$" not in notebook.text


def test_the_markdown_of_a_page_holds_the_latex():
    body = f"<p>{formulas.mathml('a_1 < b_2', False)}</p>"
    assert plain.markdown(body, "", ()) == "$a_1 < b_2$\n"


def test_books_hold_formulas(build):
    built, made = build(PAGE, [nbformat.v4.new_markdown_cell("No formula.")], "epub")
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next(made.glob("*.epub"))) as book:
        assert book.read("index.xhtml").count(b'xmlns="http://www.w3.org/1998/Math/MathML"') == 4
        listed = re.findall(r'href="(\S+)" properties="mathml"', book.read("content.opf").decode())
        assert listed == ["index.xhtml"]


@pytest.mark.claims(
    "A formula is LaTeX: in a page the role ``:math:`` or the directive ``math``, in a "
    "notebook between dollars. One that cannot "
    "be shown stops the build."
)
def test_each_wrong_formula_stops_the_build_and_is_named(build):
    page = PAGE.replace(r"e^{i\pi}", r"\nothing").replace(r"\bar{x}", r"\bra{x")
    built, _ = build(page, cells("Text\n\n$mc^^2$ here.", r"$\left( 1$"), "html")
    messages = built.stderr.splitlines()
    assert built.returncode == 1 and len(messages) == 4, built.stderr
    line = PAGE[: PAGE.index(r"\bar")].count("\n") + 1
    for place, formula in (
        (r"index\.rst:\d+", r"\nothing = -1"),
        (rf"index\.rst:{line}", r"\bra{x"),
        (r"one\.ipynb:\d+", "mc^^2"),
        (r"one\.ipynb:\d+", r"\left( 1"),
    ):
        says = rf".*{place}: WARNING: the formula {re.escape(formula)}.* cannot be shown: \S"
        assert any(re.match(says, message) for message in messages), built.stderr


def test_slides_and_notes_show_formulas_and_name_a_wrong_one():
    name, notebook = next(iter(editions.load().items()))
    course = notebook["metadata"]["course"]
    longer = notebook["metadata"] | {"course": course | {"minutes": course["minutes"] + 1}}

    def with_formulas(latex):
        more = notebook["cells"] + cells(MARKDOWN, latex)
        return {name: notebook | {"cells": more, "metadata": longer}}

    shown = slides.pages(with_formulas(LATEX), "")[f"{name}.html"]
    drawn = BeautifulSoup(shown, "html.parser").select("section math")
    assert len(drawn) == 5 and r"\pi" in [formula["alttext"] for formula in drawn]
    with pytest.raises(editions.CourseError, match=rf"^{name}: the formula .* cannot be shown"):
        slides.pages(with_formulas(r"\left( 1"), "")


@pytest.mark.parametrize(
    "tex",
    [
        r"\begin{bmatrix} a_{11} & \cdots & a_{1n} \\ \vdots & \ddots & \vdots \end{bmatrix}",
        r"f(x) = \begin{cases} 1 & x > 0 \\ 0 & \text{otherwise} \end{cases}",
        r"\begin{eqnarray} a &=& b \\ c &=& d \end{eqnarray}",
        r"\begin{split} a &= b \\ &= c \end{split}",
        r"\begin{equation} a \label{one} \end{equation}",
        r"\operatorname*{argmin}_{x \in \mathbb{R}} \left\| Ax - b \right\|_2^2",
        r"\mbox{if } 10\,\%",
    ],
)
def test_what_people_write_in_jupyter_is_known(tex):
    made = BeautifulSoup(formulas.mathml(tex, True), "html.parser")
    assert made.math["alttext"] == " ".join(tex.split())
    assert len(made.math.find_all()) > 2 and "\\" not in made.math.text


@pytest.mark.parametrize("tex", [r"\foo{x}", r"\frac{1}{", r"\left( a", "a_b_c", ""])
def test_a_text_that_is_no_formula_gives_one_sentence(tex):
    with pytest.raises(formulas.FormulaError) as error:
        formulas.mathml(tex, True)
    assert "\n" not in str(error.value) and len(str(error.value)) < 150
