"""Sphinx extension: formulas as MathML, which is made when the site is built.

So a page with formulas loads no JavaScript for them. Browsers show MathML themselves, screen
readers read it, and books can hold it. The LaTeX stands in the role ``:math:``, the directive
``math``, ``$...$`` in a notebook, or a notebook's output. A formula that cannot be converted is a
warning with its place, as other warnings of Sphinx have it.
"""

import functools
import html
import re
from typing import Any

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)

ENVIRONMENT = re.compile(r"\\begin\{(\w+\*?)\}.*?\\end\{\1\}", re.DOTALL)
# Environments that are replaced: those that math_core knows by another name, and those that number
# their formulas, which JupyterLab does not.
REPLACED = {
    "split": "aligned",
    "eqnarray": "align*",
    "eqnarray*": "align*",
    "smallmatrix": "matrix",
} | {name: f"{name}*" for name in ("align", "alignat", "equation", "flalign", "gather", "multline")}
MACROS = {
    "mbox": r"\text{#1}",
    "hbox": r"\text{#1}",
    "pmb": r"\boldsymbol{#1}",
    "substack": r"\begin{gathered}#1\end{gathered}",
}
LABEL: dict[str, Any] = {"aria-label": "Formula"}


class FormulaError(ValueError):
    """What is wrong in a formula, in one sentence."""


@functools.cache
def _converter() -> LatexToMathML:
    return LatexToMathML(
        macros=MACROS, xml_namespace=True, fancy_error=False, allow_unreliable_rendering=True
    )


def _laid_out(tex: str) -> str:
    """A display formula as plain LaTeX.

    Sphinx and MathJax also allow line breaks without an environment, and empty lines between
    formulas.
    """
    parts = [part for part in re.split(r"\n\s*\n", tex.strip()) if part.strip()]
    for number, part in enumerate(parts):
        if re.search(r"\\\\|(?<!\\)&", ENVIRONMENT.sub("", part)):
            parts[number] = rf"\begin{{aligned}}{part}\end{{aligned}}"
    return (
        parts[0] if len(parts) == 1 else r"\begin{gathered}" + r"\\".join(parts) + r"\end{gathered}"
    )


def mathml(tex: str, display: bool) -> str:
    """The MathML of a formula in LaTeX, with the LaTeX as its `alttext`. Raises FormulaError."""
    if not tex.strip():
        raise FormulaError("a formula is empty")
    known = re.sub(r"\\(?:label\{[^}]*\}|nonumber\b|notag\b)", "", tex)
    known = re.sub(
        r"\\(begin|end)\{(\w+\*?)\}",
        lambda match: rf"\{match[1]}{{{REPLACED.get(match[2], match[2])}}}",
        known,
    )
    try:
        result = _converter().convert_with_local_state(
            _laid_out(known) if display else known, displaystyle=display
        )
    except LatexError as error:
        why = re.sub(r"^\d+: ", "", str(error)).rstrip(".")
        raise FormulaError(
            f"the formula {' '.join(tex.split())} cannot be shown: {why[0].lower()}{why[1:]}"
        ) from None
    return result.replace("<math", f'<math alttext="{html.escape(" ".join(tex.split()))}"', 1)


def _shown(translator: HTML5Translator, node: nodes.Element, display: bool) -> str:
    try:
        return mathml(node.astext(), display)
    except FormulaError as error:
        logger.warning("%s", error, location=node, type="formula")
        return f"<code>{html.escape(node.astext())}</code>"


def _visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(
        translator.starttag(node, "span", "", CLASS="formula")
        + _shown(translator, node, False)
        + "</span>"
    )
    raise nodes.SkipNode


def _visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(
        translator.starttag(
            node,
            "div",
            "",
            CLASS="formula",
            tabindex="0",
            role="group",
            **LABEL,
        )
    )
    if node.get("number") and "amsmath" not in node["classes"]:
        translator.body.append(
            f'<span class="eqno">({get_node_equation_number(translator, node)})</span>'
        )
    translator.body.append(_shown(translator, node, True) + "</div>\n")
    raise nodes.SkipNode


def _depart(translator: HTML5Translator, node: nodes.Element) -> None:
    """Write nothing."""


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_html_math_renderer("mathml", (_visit_inline, _depart), (_visit_block, _depart))
    app.add_css_file("formulas.css")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
