"""The check of each role of a word: CHECKS, by the name of the role.

A check is a function of the word, its page and the small cluster. It returns "" if the word is
true, or a sentence that says what is wrong. Checks ask the cluster and the programs on it. The name
of an example file is known to the page alone: it must stand in a command or a file that a page
shows, since tests run these.
"""

import functools
import http.client
import mimetypes
import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from _ext.roles import Word
from tools import pages
from tools.cluster import cluster
from tools.cluster.jupyter_server import literals, rows
from tools.course import editions
from tools.files import ROOT
from tools.proof import amounts, faq, typed
from tools.proof.reality import PORTS, Program, Reality
from tools.proof.typed import Page, split

Check = Callable[[Word, Page, Reality], str]


def facts(*tables: str) -> set[str]:
    """The values of these tables of triton/facts.toml, as text."""
    known = pages.facts()
    return {str(value) for table in tables for value in known[table].values()}


# Names and addresses


def host(word: Word, page: Page, reality: Reality) -> str:
    """A host, a domain, a pattern of such names, a port, or an address of one of them."""
    names, text = cluster.facts().hosts, word.text
    if text.isdigit():
        return "" if text in PORTS else f"triton/facts.toml has no port {text}"
    if "://" in text:
        return _address(text, page)
    if text == cluster.facts().proxy.pattern:
        return _tells_apart(text, f"{names.node}.{names.domain}", names.login)
    if text in facts("cluster"):
        return ""  # the VPN and the open network, which are outside the small cluster
    if text.startswith("SOCKS"):
        known = any(text in file for file in page.files.values()) and reality.curl_knows(text)
        return "" if known else "the PAC file and curl have another kind of proxy"
    if text == names.servers:
        place, name = "laptop", text.replace("*", cluster.USERS[0])
    elif text in (names.node, f".{names.domain}"):
        place, name = "login", text if text == names.node else names.node + text
    elif text in (names.login, names.hub, "localhost"):
        place, name = "laptop", text
    elif text == names.gateway:
        place, name = "outside", text
    else:
        return f"{text} is no host of triton/facts.toml"
    return "" if reality.resolves(place, name) else f"on {place} nobody finds {name}"


def _address(text: str, page: Page) -> str:
    site = cluster.facts().site.url
    if text.startswith(site):
        file = text.removeprefix(site)
        published = {str(Path(page.name).parent / name) for name in page.files}
        return "" if file in published else f"this page publishes no file {file}"
    parts = re.fullmatch(r"https?://([^/:]+):(\d+)", text)
    if not parts or parts[1] not in {"localhost", *facts("hosts")}:
        return f"{text} is no address on a host of triton/facts.toml"
    return "" if parts[2] in PORTS else f"triton/facts.toml has no port {parts[2]}"


def _tells_apart(pattern: str, inside: str, outside: str) -> str:
    expression = re.compile(".*".join(map(re.escape, pattern.split("*"))))
    if expression.fullmatch(inside) and not expression.fullmatch(outside):
        return ""
    return f"it does not tell {inside} from {outside}"


# Files and variables


def file(word: Word, page: Page, reality: Reality) -> str:
    """A file, a folder, or the ending of a file's name."""
    text = word.text
    if text in facts("logs") or text in reality.git_files:
        return ""
    if text.startswith("%USERPROFILE%\\"):
        text = "~/" + text.partition("\\")[2].replace("\\", "/")
    if text.startswith(("~/", "/", ".")):
        there = _in_home(text, page, reality) if text.startswith("~") else reality.exists(text)
        if there or text in reality.jupyter_urls or _dotted(text, page, reality):
            return ""
        if text[0] == "." and _shown(text, page):
            return ""
        return "the cluster has no such file or folder, and no program there uses one"
    if _shown(text, page) or _of_the_guide(text, page):
        return ""
    if text in _links():
        return ""
    kernels = f"{reality.central}/share/jupyter/kernels/python3"
    if reality.exists(f"{kernels}/{text}"):
        return ""
    return "no command of a page has such a file, and none lies beside this page"


def _links() -> set[str]:
    """What the links are called in the folder that a server of the hub begins in."""
    config = (ROOT / "triton/jupyterhub/jupyterhub_config.py").read_text(encoding="utf-8")
    links = re.search(r"^c\.ProfileSpawner\.links = (.*)", config, re.MULTILINE)
    return set(re.findall(r'\("(\w+)", ', links[1])) if links else set()


def _in_home(text: str, page: Page, reality: Reality) -> bool:
    """Whether a program uses this path in a home directory, or the page makes it."""
    if text in reality.home_places or page.shows(text[1:]):
        return True
    return any(
        reality.is_string(program, text)
        or (text[2] == "." and reality.is_string(program, text[2:]))
        for program in ("bash", "ssh", "R")
    )


def _dotted(text: str, page: Page, reality: Reality) -> bool:
    """Whether `text` is the ending of known files, or a dot file of git or of a home directory."""
    if text.startswith(".git") and reality.is_string("git", text):
        return True
    if re.fullmatch(r"\.\w+", text):
        beside = {path.suffix for path in (ROOT / page.name).parent.iterdir()} - {".rst"}
        made = {Path(name).suffix for name in (*page.files, *reality.made_files)}
        plain = mimetypes.guess_type(f"x{text}")[0] == "text/plain" and text != ".rst"
        return text in beside | made or plain or reality.exists(f"~/{text}")
    return False


def _shown(text: str, page: Page) -> bool:
    """Whether a command of some page has this file, or some page shows it."""
    every = [page, *map(typed.page, pages.sources())]
    return any(text in one.typed_words or text in one.files for one in every)


def _of_the_guide(text: str, page: Page) -> bool:
    """Whether the file lies beside the page, or, on the page for teachers, in the repository."""
    if ((ROOT / page.name).parent / text).exists():
        return True
    if page.name != TEACHING:
        return False
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return (ROOT / text).is_file() or text in makefile or text in EDITIONS


TEACHING = "notebooks/teaching.rst"
EDITIONS = ("solutions.zip", "student.zip")  # what `make class` makes


def envvar(word: Word, page: Page, reality: Reality) -> str:
    """A variable of a login shell or a job, set or printed by a command of the page, or read by a
    program.

    The beginning of such a name, up to a _, is enough.
    """
    match = re.fullmatch(r"\$?\{?(\w+)\}?", word.text)
    if not match:
        return f"{word.text} is no name of a variable"
    name = match[1]
    known = {*reality.environment, *reality.job_environment}
    if name in known or any(one.startswith(f"{name.rstrip('_')}_") for one in known):
        return ""
    if any(re.search(rf"(?<!\w){name}=", command) for command in page.commands):
        return ""
    if any(command.endswith(f"printenv {name}") for command in page.commands):
        return ""  # without the variable it fails
    if reality.read_by_loader(name):
        return ""
    return "neither a login shell nor a job has it, and no command of this page sets it"


def amount(word: Word, page: Page, reality: Reality) -> str:
    """A duration or a size that a number of a program, or a command of the page, makes true."""
    if ": " in word.of:
        true = amounts.constant(*word.of.split(": "))
        if true is None:
            return f"{word.of} is no number"
    elif word.of and word.of in pages.read(page.name):
        true = amounts.number(word.of)
    else:
        return "say of which number, as in `two minutes <FILE: NAME>`, or of which typed option"
    given = amounts.number(word.text)
    return (
        "" if given == true else f"it is {given:g}, and {word.of} is {true:g} (seconds, or bytes)"
    )


# kernel.json


def kernelspec(word: Word, page: Page, reality: Reality) -> str:
    """A key or a value of kernel.json, or what the kernel gets for such a value."""
    text, client = word.text, reality.jupyter_client
    if text == client["placeholder"] or (text in client["keys"] and page.shows(f'"{text}"')):
        return ""
    values = [other.text for _, other in page.words if other.role == "kernelspec"]
    if not text.startswith('"'):
        written = [value[1:-1] for value in values if re.fullmatch(r'"[^"]+"', value)]
        if text in [reality.expanded(value) for value in written]:
            return ""
        return f"no key of kernel.json is called {text}, and a kernel gets it of no value here"
    if not re.fullmatch(r'"[^"]*"(: "[^"]*")?', text):
        return "a value of kernel.json is a string between double quotes"
    if reality.kernel_program(text.strip('"')) or page.shows(text):
        return ""
    got = reality.expanded(text.strip('"'))
    named = re.findall(r"\$\{?([A-Z_]+)", text)
    if got in values or (named and all(name in reality.environment for name in named)):
        return ""
    return f"the kernel gets {got!r}, which the page does not say"


# Slurm


def slurm(word: Word, page: Page, reality: Reality) -> str:
    """A state, a reason, a column, a partition, a step, or a sign that Slurm reads or writes."""
    text, known = word.text, reality.slurm
    for kind in ("states", "reasons", "partitions", "steps"):
        if text in known[kind]:
            return ""
    if text in known["codes"]:
        return "" if "squeue" in page.typed_words else "no command of this page shows that code"
    if text in known["columns"]:
        return "" if page.shows(text) else "no command of this page shows that column"
    if text == known["unknown"] or text in reality.array_signs:
        return ""
    if text.startswith("#"):
        return "" if reality.is_string("sbatch", text) else "sbatch does not look for it"
    if re.fullmatch(r"%\w+", text):
        return "" if page.shows(text) else "no command or file of this page has it"
    if text.endswith("-") and any(name.startswith(text) for name in reality.job_files):
        return ""
    return "Slurm knows no such word"


def module(word: Word, page: Page, reality: Reality) -> str:
    """A module of triton/facts.toml, with or without its version; or the version alone."""
    versions = {name.partition("/")[2] for name in reality.modules}
    if word.text in versions:
        return ""
    known = reality.modules | {name.partition("/")[0] for name in reality.modules}
    if word.text not in known:
        return "module avail has no such module"
    return "" if word.text in facts("modules") else "triton/facts.toml does not have it"


# Programs and their options


def program(word: Word, page: Page, reality: Reality) -> str:
    """A program that is installed, or that stands in the folder contribs/ of Slurm's sources."""
    if not reality.program((word.text,)) and not reality.contributed_to_slurm(word.text):
        return "no such program is installed"
    return _misspelt(word.text)


def _misspelt(name: str) -> str:
    """A sentence if pages do not run `name`, but a program whose name is nearly the same."""
    run = {name for source in pages.sources() for name in typed.page(source).programs}
    if name in run:
        return ""
    return next((f"pages run {other}" for other in sorted(run) if one_slip(name, other)), "")


def command(word: Word, page: Page, reality: Reality) -> str:
    """What is typed: the program is installed, and it takes these options and words."""
    words = split(word.text)
    if page.name == TEACHING and (problem := _of_the_repository(words)) is not None:
        return problem
    while words and (setting := re.fullmatch(r"([A-Z_]+)=\S*", words[0])):
        if not reality.in_scripts(setting[1]):
            return f"no command of the cluster reads {setting[1]}"
        words.pop(0)
    known_program = reality.program(tuple(words))
    if not known_program:
        return f"no program {words[0] if words else word.text} is installed"
    if problem := _misspelt(known_program.words[0]):
        return problem
    return arguments(known_program, words[len(known_program.words) :], page, reality)


def _of_the_repository(words: Sequence[str]) -> str | None:
    """What is wrong with a task of make or a program of the student edition; None for others."""
    if words[:1] == ["make"]:
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        there = re.search(rf"^{re.escape(' '.join(words[1:]))}:.*##", makefile, re.MULTILINE)
        return "" if there else "the Makefile has no such task"
    call = re.fullmatch(r"(?:python3|%run -e) (\w+\.py) (\d+) (\d+)", " ".join(words))
    if not call:
        return None
    exercises = [
        editions.exercises(notebook)
        for name, notebook in editions.load().items()
        if name.startswith(call[2])
    ]
    if (editions.STUDENT / call[1]).is_file() and any(int(call[3]) <= n for n in exercises):
        return ""
    return "the student edition has no such program, notebook or exercise"


def option(word: Word, page: Page, reality: Reality) -> str:
    """An option, with or without its value, of the program that the word names."""
    words = split(word.text)
    if not words or not words[0].startswith("-"):
        return "an option begins with -"
    known_program = reality.program(tuple(split(word.of)))
    if not known_program:
        return "say of which program: by .. program:: above it, or as in `--mem <sbatch --mem>`"
    values = page.values(words[0].split("=")[0])
    given = words[0].partition("=")[2] or " ".join(words[1:])
    if given and len(values) == 1 and given not in values:
        return f"where this page runs it, it has the value {values.pop()}"
    return arguments(known_program, words, page, reality)


def arguments(program: Program, words: Sequence[str], page: Page, reality: Reality) -> str:
    """What is wrong with these options and other words of a program; "" if nothing is."""
    for number, word in enumerate(words):
        if re.match(r"--?[A-Za-z]|--$", word):
            flag, _, value = word.partition("=")
            if not reality.has_option(program, flag):
                return f"{program} has no option {flag}"
            if value and (typed_value := _nearly(word, page)):
                return f"the page runs {typed_value}"
            if "://" in value and (problem := _address(value, page)):
                return problem
        elif problem := _argument(program, words, number, page, reality):
            return problem
    return reality.try_out(program, words, page.files)


def _nearly(word: str, page: Page) -> str:
    """A word in the page's commands from which `word` differs in one character; "" for none."""
    if word in page.typed_words:
        return ""
    return next((one for one in page.typed_words if "=" in one and one_slip(word, one)), "")


def one_slip(first: str, second: str) -> bool:
    """Whether two texts differ by one character that was added, left out or replaced."""
    if first == second or abs(len(first) - len(second)) > 1:
        return False
    shorter, longer = sorted((first, second), key=len)
    if len(first) == len(second):
        return sum(a != b for a, b in zip(first, second, strict=True)) == 1
    return any(longer[:at] + longer[at + 1 :] == shorter for at in range(len(longer)))


def _argument(
    program: Program, words: Sequence[str], number: int, page: Page, reality: Reality
) -> str:
    """What is wrong with a word that is no option; "" if nothing is."""
    word = words[number]
    before = words[number - 1] if number else ""
    name = program.words[0]
    if word in page.arguments(name) and not re.fullmatch(r"[\d:]+", word):
        return ""
    if re.fullmatch(r":?\d{3,5}", word):
        port = word.lstrip(":")
        return "" if port in PORTS else f"triton/facts.toml has no port {port}"
    if user_at_host := re.fullmatch(r"(\w+)@(\S+)", word):
        known = user_at_host[1] == "username" and user_at_host[2] in facts("hosts")
        return "" if known else f"{word} is nobody on a host of triton/facts.toml"
    if name == "ssh" and re.fullmatch(r"[\w.-]+", word) and "ssh_config" in page.files:
        return ""  # reality.try_out asks ssh -G
    if program.words[:2] == ("module", "load"):
        return "" if word in reality.modules else f"module avail has no {word}"
    if program.words[:2] == ("pip", "install"):
        return "" if word in reality.wheels else f"there is no package {word}"
    if re.match(r"-[A-Za-z]$", before) and before != "-o":
        return ""  # the value of an option, which reality.try_out checks
    if word in page.files or (name == "echo" and mentioned(word.removeprefix("$"), page) > 1):
        return ""
    return f"{program} knows no {word!r}, and no command of this page has it"


def mentioned(name: str, page: Page) -> int:
    """How often an invented name stands in the page; a name that stands once may be misspelt."""
    return len(re.findall(rf"(?<!\w){re.escape(name)}(?!\w)", pages.read(page.name)))


def package(word: Word, page: Page, reality: Reality) -> str:
    """A Python package that can be installed."""
    return "" if word.text.lower() in reality.wheels else "no package of that name can be installed"


def elsewhere(word: Word, page: Page, reality: Reality) -> str:
    """A word that nothing here can check: tools/proof/elsewhere.toml gives the reason."""
    known = word.text in ELSEWHERE.get(page.name, {})
    return "" if known else f"{LIST.relative_to(ROOT)} gives no reason for it on this page"


LIST = ROOT / "tools/proof/elsewhere.toml"
ELSEWHERE: dict[str, dict[str, str]] = tomllib.loads(LIST.read_text(encoding="utf-8"))


# Notebooks and keys


def cell(word: Word, page: Page, reality: Reality) -> str:
    """A line of a cell, in Python, for IPython or for the shell; or the number beside a cell."""
    text = word.text
    if text.startswith("["):
        return "" if text in ("[*]", "[1]") else "JupyterLab shows no such number beside a cell"
    if text.startswith("%"):
        if page.name == TEACHING and (problem := _of_the_repository(split(text))) is not None:
            return problem
        if not reality.magic(text):
            return "IPython has no such magic"
        lonely = [name for name in re.findall(r"\b[A-Z_]{3,}\b", text) if mentioned(name, page) < 2]
        return f"{lonely[0]} stands nowhere else on this page" if lonely else ""
    if text.startswith("!"):
        if not reality.shell_escape(text):
            return "IPython does not take it for a shell command"
        typed_in_shell = Word("command", text[1:])
        return command(typed_in_shell, page, reality) if text[1:] else ""
    if text in reality.python_keywords or reality.evaluates(text):
        return ""
    return "Python does not know it"


# A test presses each of them.
KEYS = {"Control-C", "Control-Enter", "Esc", "M", "Shift-Enter", "n", "no", "q", "yes"}


def kbd(word: Word, page: Page, reality: Reality) -> str:
    """Keys of JupyterLab, of a terminal or of the pager; or an answer to ssh or ssh-keygen."""
    return "" if word.text in KEYS else "no test presses it; if one does, add it to KEYS"


# What programs print


def message(word: Word, page: Page, reality: Reality) -> str:
    """What Slurm, ssh, curl, git, a shell, Python, the system or JupyterLab print or show."""
    text = word.text
    if text in reality.system_messages | reality.tabs | reality.conflict_marks:
        return ""
    if page.name == faq.FAQ and text in faq.seen():
        return ""  # the test of its entry sees it
    if text in tunnel_messages() or said_by_jupyter(text, page, reality):
        return ""
    if match := re.fullmatch(r"(\w+): command not found", text):
        if reality.program((match[1],)) and reality.shell_says(match[1], text):
            return ""
        return "the shell does not say that, or nobody knows that program"
    if match := re.fullmatch(r"\w+Error: .*'(\w+)'", text):
        return "" if reality.python_says(text, match[1]) else "Python says something else"
    if len(text) > 6 and reality.printed_by_programs(text):
        return ""
    return "no program that the guide speaks of says it; leave out what was typed: a name, a number"


@functools.cache
def tunnel_messages() -> set[str]:
    """The messages of the table about the proxy, each of which test_faq.py reads there and sees."""
    table = rows("triton/apps/jupyter/connecting.rst", "proxy-in-use")
    return {text for messages, _ in table for text in literals(messages)}


def said_by_jupyter(text: str, page: Page, reality: Reality, depth: int = 0) -> bool:
    """Whether JupyterLab, the hub or a server of the environment says `text`.

    What stands for %1 must be known itself. In `text`, ... at the end stands for the rest.
    """
    plain, templates = reality.jupyter_messages
    if text in plain:
        return True
    # tornado writes errors in this form; the hub's page puts "Error: " before it.
    if match := re.fullmatch(r"(?:Error: )?HTTP (\d{3}): (.+?) \((.+)\)", text):
        code, phrase, reason = match.groups()
        standard = phrase == http.client.responses.get(int(code))
        return standard and said_by_jupyter(reason, page, reality, depth)
    head = text.removesuffix("...") if text.endswith(" ...") else None
    for pieces in templates if depth < 2 else ():
        cuts = [] if head is None else [(head, pieces[:number]) for number in range(1, len(pieces))]
        for said, known in [(text, pieces), *cuts]:
            if (
                all(piece in said for piece in known)
                and (match := _fits(said, known))
                and all(_fills(value, page, reality, depth) for value in match.groups())
            ):
                return True
    return False


def _fits(text: str, pieces: Sequence[str]) -> re.Match[str] | None:
    """A match whose groups are the texts between these pieces in `text`; None if it lacks one."""
    return re.fullmatch("(.+?)".join(map(re.escape, pieces)) + r"(?:(?<!\.)\.)?", text)


def _fills(value: str, page: Page, reality: Reality, depth: int) -> bool:
    """Whether `value` may stand in the place of %1 in a message: it must be known itself."""
    text = re.sub(r"\busername\b", cluster.USERS[0], value.removesuffix(":..."))
    if value == "..." or value.isdigit() or value in reality.default_names:
        return True
    if text == cluster.USERS[0] or text.removeprefix("https://") in facts("hosts"):
        return True
    if file(Word("file", text), page, reality) == "":
        return True
    return said_by_jupyter(value, page, reality, depth + 1)


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        amount,
        cell,
        command,
        elsewhere,
        envvar,
        file,
        host,
        kbd,
        kernelspec,
        message,
        module,
        option,
        package,
        program,
        slurm,
    )
}
