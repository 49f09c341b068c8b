"""Imports follow the rules of the page How it is built, including imports inside functions."""

import ast
import graphlib
import re
import subprocess

import pytest

from tools.files import ROOT

FOLDERS = ("_ext", "tests", "tools", "triton")
EXTENSIONS = sorted((ROOT / "_ext").glob("*.py"))
# {folder: what it may not import}. Admins install triton/ by copying it, so it imports nothing from
# the other folders.
FORBIDDEN = {
    "triton": {"tools", "tests", "_ext", "sphinx"},
    "tools": {"tests"},
    "_ext": {"tools", "tests", "triton"},
    "tests": {"tests"},
}

NAME_CHARACTERS = 60  # the longest name of a test
FUNCTION_LINES = 60

# Imports that break a rule, with the reason why they remain. The list may only shrink.
NOT_YET: dict[tuple[str, str], str] = {}
# Imports that close a circle, with the reason.
CIRCLES: dict[tuple[str, str], str] = {}


def programs():
    """{module: its syntax tree} for each program in git, including those without a suffix."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *FOLDERS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    trees = {}
    for path in (ROOT / name for name in names.stdout.split("\0") if name):
        if path.name == "__init__.py":
            assert not path.read_bytes().strip(), f"{path}: __init__.py must be empty"
        elif path.suffix == ".py" or (
            not path.suffix and path.is_file() and re.match(rb"#!.*python", path.read_bytes()[:40])
        ):
            module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
            trees[module] = ast.parse(path.read_text(encoding="utf-8"))
    return trees


def imported(tree):
    """The names that a program imports, including imports inside functions: module, and module.name
    for `from module import name`.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: write the whole name of what is imported"
            yield from (
                name
                for alias in node.names
                for name in (node.module, f"{node.module}.{alias.name}")
            )


PROGRAMS = programs()
# {module: the modules of this repository and of Sphinx that it imports}
IMPORTS = {
    module: {
        name
        for name in imported(tree)
        if name in PROGRAMS or name.split(".")[0] in ("sphinx", "tests")
    }
    for module, tree in PROGRAMS.items()
}


def broken(imports):
    """The (module, imported name) pairs that a rule of FORBIDDEN does not allow."""
    return {
        (module, name)
        for module, names in imports.items()
        for name in names
        if name.split(".")[0] in FORBIDDEN[module.split(".")[0]]
    }


def circle(imports, without=()):
    """The modules of one circle of imports, in order, or an empty list. The imports in `without`
    are not followed.
    """
    graph = {
        module: {name for name in names if name in imports and (module, name) not in without}
        for module, names in imports.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1][::-1]
    return []


@pytest.mark.claims(
    "nothing of this repository but ``triton/lib``, nor Sphinx: an admin copies the folder",
    "Sphinx, and nothing of ``tools/``, ``tests/`` or ``triton/``",
    "``triton/lib`` and ``_ext/``, never ``tests/``",
    "all of that, but no other test: what two of them need is in ``tools/`` or in a "
    "``conftest.py``",
)
def test_each_folder_imports_only_what_it_may():
    assert len(PROGRAMS) > 100 and any(IMPORTS.values())
    now = broken(IMPORTS)
    assert sorted(now - set(NOT_YET)) == [], (
        "the page How it is built says that these are not imported"
    )
    assert sorted(set(NOT_YET) - now) == [], "these imports are gone: remove them from NOT_YET"


@pytest.mark.claims(
    "In ``tools/`` no import closes a circle, and none hides in a function to do so."
)
def test_no_module_of_the_tools_imports_in_a_circle():
    tools = {module: names for module, names in IMPORTS.items() if module.startswith("tools")}
    assert circle(tools, CIRCLES) == [], "each of these imports the next"
    for one in CIRCLES:
        assert circle(tools, set(CIRCLES) - {one}), (
            f"{one} closes no circle any more: take it out of CIRCLES"
        )


@pytest.mark.parametrize(
    ("module", "text", "wrong"),
    [
        ("triton.lib.slurm", "def f():\n    from tools import files\n", "tools.files"),
        ("triton.bin.sjupyter", "import sphinx.util", "sphinx.util"),
        ("tools.files", "from tests.site import test_site", "tests.site"),
        (
            "_ext.plain",
            "if True:\n    from triton.lib import clusterfacts",
            "triton.lib.clusterfacts",
        ),
        ("tests.site.test_site", "from tests.site.test_plain import text", "tests.site.test_plain"),
    ],
)
def test_an_import_that_breaks_a_rule_is_seen(module, text, wrong):
    """An import inside a function counts too."""
    assert (module, wrong) in broken({module: set(imported(ast.parse(text)))})


def test_a_circle_is_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) in (
        list("abca"),
        list("bcab"),
        list("cabc"),
    )
    assert circle({"a": {"b"}, "b": set()}) == []


def functions(tree):
    """All functions of a program, including those in classes and in other functions."""
    return [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def long_names(tree):
    """The names of tests that have more than NAME_CHARACTERS characters."""
    return [
        function.name
        for function in functions(tree)
        if function.name.startswith("test_") and len(function.name) > NAME_CHARACTERS
    ]


def long_functions(tree):
    """The names of functions that have more than FUNCTION_LINES lines."""
    return [
        function.name
        for function in functions(tree)
        if function.end_lineno - function.lineno >= FUNCTION_LINES
    ]


def test_a_function_fits_on_a_screen():
    """ruff limits the number of statements, but not of lines."""
    problems = {
        module: names for module, tree in PROGRAMS.items() if (names := long_functions(tree))
    }
    assert problems == {}
    for lines, expected in ((FUNCTION_LINES, []), (FUNCTION_LINES + 1, ["f"])):
        assert long_functions(ast.parse("def f():\n" + "    x = 1\n" * (lines - 1))) == expected


def test_the_story_of_a_test_stands_in_its_docstring():
    """Its name is short, so that a list of tests is readable."""
    tests = {module: tree for module, tree in PROGRAMS.items() if module.startswith("tests.")}
    assert sum(len(functions(tree)) for tree in tests.values()) > 1000
    assert {module: names for module, tree in tests.items() if (names := long_names(tree))} == {}
    assert long_names(ast.parse(f"def test_{'x' * 55}(): pass\ndef test_{'x' * 56}(): pass")) == [
        f"test_{'x' * 56}"
    ]


@pytest.mark.parametrize("path", EXTENSIONS, ids=lambda path: path.name)
def test_each_extension_has_a_setup_and_none_is_a_program(path):
    functions = {
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    assert "setup" in functions and "main" not in functions
