"""Who may know whom: a Sphinx extension knows Sphinx alone, and what an admin installs by copying
its folder knows nothing of the guide.
"""

import ast

import pytest

from tools.files import ROOT

EXTENSIONS = sorted((ROOT / "_ext").glob("*.py"))
UNKNOWN = {
    "_ext": {"tests", "tools", "triton"},
    "tools": {"tests"},
    "triton": {"_ext", "sphinx", "tests", "tools"},
}


def imported(path):
    """The top packages that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


def programs(folder):
    """The Python files below a folder, also those without an ending."""
    for path in sorted((ROOT / folder).rglob("*")):
        if path.suffix == ".py" and path.is_file():
            yield path
        elif not path.suffix and path.is_file():
            with path.open("rb") as file:
                if b"python" in file.readline(100):
                    yield path


@pytest.mark.parametrize("folder", UNKNOWN)
def test_a_folder_imports_nothing_that_it_must_not_know(folder):
    files = list(programs(folder))
    assert len(files) > 5
    assert [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imported(path)
        if name in UNKNOWN[folder]
    ] == []


@pytest.mark.parametrize("path", EXTENSIONS, ids=lambda path: path.name)
def test_each_extension_has_a_setup_and_none_is_a_program(path):
    functions = {
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert "setup" in functions and "main" not in functions
