"""Find words of the guide's pages that need a role: ``literals`` that look like words that tests
can check. See _ext/roles.py.
"""

import re
from collections.abc import Iterator

from sybil import Document
from sybil.parsers.rest.lexers import DirectiveLexer

LITERAL = re.compile(r"(?<![\w`\\:])``(?=\S)((?:(?!\n *\n).)+?)(?<=\S)``(?!`)", re.DOTALL)
CODE = "code-block|rendered-file|literalinclude|facts-table|toctree"
FILE_ENDING = "cfg|csv|html|ini|ipynb|js|json|log|md|out|pac|py|sh|toml|txt|yaml|yml|zip"
# {role: pattern of its words}; the first pattern that fits decides.
LOOKS = {
    "option": re.compile(r"--?[A-Za-z][\w-]*([= ]\S+)?|--"),
    "cell": re.compile(r"[!%][a-z][\w -]*(=\S*)?|import \w+.*"),
    "envvar": re.compile(r"\$\{?[A-Za-z_]\w*\}?|[A-Z][A-Z0-9]*_[A-Z0-9_]+"),
    "host": re.compile(
        r"https?://\S+|\{\{ (cluster|hosts|proxy)\.\w+ \}\}|localhost(:\d+)?|"
        r"[\w.-]+\.(fi|org|com|net|edu)"
    ),
    "file": re.compile(
        rf"[~.]{{0,2}}/[\w./*~{{}} -]*|\{{\{{ paths\.\w+ \}}\}}\S*|[\w./-]+\.({FILE_ENDING})|\.\w+"
    ),
    "command": re.compile(
        r"(bash|git|jupyter|module|pip|python3?|sacct|salloc|sbatch|scancel|scontrol|sinfo|sjupyter|"
        r"squeue|srun|ssh|sstat|uv|conda|mamba)( .+)?",
        re.DOTALL,
    ),
}


def plain_words(name: str, text: str) -> Iterator[str]:
    """A sentence with file and line for each literal of a page that needs a role."""
    hidden = list(text)
    for region in DirectiveLexer(CODE)(Document(text, name)):
        for at in range(region.start, region.end):
            if hidden[at] != "\n":
                hidden[at] = " "
    prose = "".join(hidden)
    for literal in LITERAL.finditer(prose):
        word = " ".join(literal[1].split())
        role = next((role for role, look in LOOKS.items() if look.fullmatch(word)), None)
        if role:
            line = prose.count("\n", 0, literal.start()) + 1
            target = f" <PROGRAM {word}>" if role == "option" else ""
            yield (
                f"{name}:{line}: ``{word}`` looks like the role {role}: write "
                f":{role}:`{word}{target}`; if nothing here can tell, :elsewhere:`{word}`, with "
                "its reason in tools/proof/elsewhere.toml"
            )
