"""The texts of slides as HTML, with formulas that need no script."""

from myst_nb.core.render import strip_latex_delimiters
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from _ext import formulas


class Formulas(IPythonRenderer):
    """What nbconvert makes of Markdown, with formulas as MathML."""

    def inline_math(self, body: str) -> str:
        return formulas.mathml(body, display=False)

    def block_math(self, body: str) -> str:
        return f"<p>{formulas.mathml(body, display=True)}</p>"

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")


def markdown(text: str) -> str:
    """A text in Markdown as HTML."""
    return MarkdownWithMath(renderer=Formulas(escape=False, exclude_anchor_links=True)).render(text)


def latex(text: str) -> str:
    """A notebook's output in LaTeX as HTML."""
    return formulas.mathml(strip_latex_delimiters(text), display=True)
