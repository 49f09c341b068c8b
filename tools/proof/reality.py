"""Questions about the small Triton and its programs, each asked once, for tools/proof/roles.py."""

import ast
import contextlib
import functools
import json
import mmap
import os
import re
import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, TypeVarTuple, Unpack

from tools.cluster import cluster
from tools.cluster.small_triton import Triton

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")

PLACEHOLDER = re.compile(r"%\d|%s|%u|%d|\{[^{}]*\}")
PORTS = {str(cluster.facts().proxy.port), str(cluster.facts().proxy.example)}
# The files of the hosts that hold the strings of a program.
BINARIES = {
    "ssh": ["usr/bin/ssh"],
    "bash": ["usr/bin/bash"],
    "git": ["usr/bin/git"],
    "sbatch": ["usr/bin/sbatch"],
    "R": ["usr/lib/R/lib/libR.so", "usr/lib/R/library/base/R/Rprofile"],
    "chromium": ["usr/lib/chromium/chromium"],
}


@dataclass(frozen=True)
class Program:
    """A program on `host`: its name and subcommand, and shell commands to type before it."""

    host: str
    before: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.words)


def once(
    method: Callable[["Reality", Unpack[Arguments]], Answer],
) -> Callable[["Reality", Unpack[Arguments]], Answer]:
    """Keep the answer of a method for each set of arguments.

    If two threads ask the same, one waits for the answer of the other.
    """

    @functools.wraps(method)
    def ask(self: "Reality", *arguments: *Arguments) -> Answer:
        with self._guard:
            question = (method.__name__, arguments)
            is_new = question not in self._answers
            answer = self._answers.setdefault(question, Future())
        if is_new:
            try:
                answer.set_result((method(self, *arguments), None))
            except Exception as error:
                answer.set_result((None, error))
        value: Answer
        value, problem = answer.result()
        if problem:
            # Raise a new error: the traceback of one that is raised again and again grows.
            raise RuntimeError(f"{method.__name__}{arguments or ''}: {problem}")
        return value

    return ask


class fixed(Generic[Answer]):
    """A property whose value is computed once."""

    def __init__(self, method: Callable[["Reality"], Answer]) -> None:
        self._ask = once(method)

    def __get__(self, instance: "Reality", owner: type["Reality"]) -> Answer:
        return self._ask(instance)


class Reality:
    """A running small Triton, a user of it, and the programs that are installed there."""

    def __init__(self, triton: Triton) -> None:
        self.triton = triton
        self.user = triton.account()
        # {(method, arguments): (the answer, the error)}, one of which is None.
        self._answers: dict[tuple[str, object], Future[tuple[Any, Exception | None]]] = {}
        self._guard = threading.Lock()
        self.central = Path(cluster.facts().paths.jupyter_env)
        # The same folder on this machine.
        self.installed = (
            cluster.APPS / "apps" / self.central.relative_to(cluster.facts().paths.apps)
        )
        # The slow questions are asked at once, in two threads.
        self._threads = [
            threading.Thread(target=self._ask_each, args=names, daemon=True)
            for names in (
                ("_jobs", "_repository"),
                ("jupyter_client", "_magics", "_jupyter_defaults", "jupyter_messages"),
            )
        ]
        for thread in self._threads:
            thread.start()

    def _ask_each(self, *names: str) -> None:
        for name in names:
            with contextlib.suppress(RuntimeError):  # the next call raises it again
                getattr(self, name)

    def close(self) -> None:
        """Wait until the threads have ended."""
        for thread in self._threads:
            thread.join(300)

    def ask(self, host: str, script: str, timeout: float = 60) -> tuple[int, str]:
        """(exit status, output) of a script in a login shell of the user on `host`."""
        completed = self.triton.run(
            host, f"exec 2>&1; {script}", self.user, check=False, timeout=timeout
        )
        return completed.returncode, completed.stdout + completed.stderr

    def answer(self, host: str, script: str) -> str:
        """The output of a script, as `ask`. Raises RuntimeError if the script fails."""
        status, printed = self.ask(host, script)
        if status:
            raise RuntimeError(f"on {host}: {script}\n{printed}")
        return printed

    def python(self, code: str, *arguments: str) -> str:
        """The output of `code` in the Python of the central environment."""
        return self.answer("login", self._call(code, *arguments))

    def _call(self, code: str, *arguments: str) -> str:
        """The shell command that runs `code` in the Python of the central environment."""
        return shlex.join([f"{self.central}/bin/python", "-c", code, *arguments])

    # hosts, paths, variables

    @once
    def resolves(self, host: str, name: str) -> bool:
        """Whether the name has an address on `host`."""
        return self.ask(host, f"getent hosts {shlex.quote(name)}")[0] == 0

    @once
    def exists(self, path: str) -> bool:
        """Whether the login node has this file or folder."""
        quoted = "~/" + shlex.quote(path[2:]) if path.startswith("~/") else shlex.quote(path)
        return self.ask("login", f"test -e {quoted}")[0] == 0

    @fixed
    def environment(self) -> dict[str, str]:
        """The variables of a login shell."""
        return dict(
            pair.split("=", 1)
            for pair in self.answer("login", "env -0 | tr '\\n' ' '").split("\0")
            if "=" in pair
        )

    @once
    def read_by_loader(self, name: str) -> bool:
        """Whether the help of the dynamic loader names the variable `name`."""
        loader = "$(ldd /bin/true | grep -o '/[^ ]*/ld-linux[^ ]*')"
        printed = self.answer("login", f"{loader} --help")
        return re.search(rf"(?<!\w){name}(?!\w)", printed) is not None

    @fixed
    def home_places(self) -> set[str]:
        """The folders in a home directory that programs use, and their parents, as ~/..."""
        printed = self.answer(
            "login",
            f"""{self.central}/bin/jupyter --paths
            {self.central}/bin/python -m site; pip cache dir; pipx environment
            {self.central}/bin/python -c 'import send2trash.plat_other as t; print(t.HOMETRASH)'""",
        )
        places = re.findall(rf"{cluster.facts().paths.home}/{self.user}(/[\w./-]+)", printed)
        return {f"~{folder}" for place in places for folder in (Path(place), *Path(place).parents)}

    @fixed
    def modules(self) -> set[str]:
        """The modules, as NAME/VERSION."""
        printed = self.answer("login", "module -t avail")
        return {line for line in printed.split() if "/" in line and not line.endswith((":", "/"))}

    @fixed
    def wheels(self) -> set[str]:
        """The Python packages that can be installed."""
        return {
            path.name.split("-")[0].replace("_", "-").lower()
            for path in (cluster.APPS / "wheels").glob("*.whl")
        }

    # Slurm

    @fixed
    def slurm(self) -> dict[str, Any]:
        """The words of Slurm, by their kind; "unknown" is its sign for an unknown value."""
        code = """import ctypes, glob, json
library = ctypes.CDLL(glob.glob("/usr/lib/*/slurm*/libslurmfull.so")[0])
def names(function, most):
    function = getattr(library, function)
    function.restype = ctypes.c_char_p
    return [function(number).decode() for number in range(most)]
states = names("job_state_string", 16)
codes = names("job_state_string_compact", 16)
reasons = "job_state_reason_string"
reasons = reasons if hasattr(library, reasons) else "job_reason_string"  # until 23.02
print(json.dumps([states, codes, names(reasons, 256)]))"""
        states, codes, reasons = (
            set(names)
            for names in json.loads(self.answer("login", shlex.join(["python3", "-c", code])))
        )
        columns = self.answer("login", "sacct --helpformat; sstat --helpformat").split()
        partitions = self.answer("login", "sinfo --noheader --format=%R").split()
        shown = set(self._jobs["waiting"].split() + self._jobs["running"].split())
        printed = re.findall(r"(?<=\s)[A-Z]/[A-Z](?=\s)", self._jobs["waiting"])
        return {
            "states": states - {"?"},
            "codes": codes & shown,
            "reasons": {name for name in reasons if not name.isdigit()},
            "columns": set(columns),
            "partitions": set(partitions),
            "unknown": printed[0] if printed else None,
            "steps": set(re.findall(r"^[\d_]+\.([a-z]+)", self._jobs["steps"], re.MULTILINE)),
        }

    @fixed
    def _jobs(self) -> dict[str, str]:
        """What jobs show: those that wait or run in squeue, their files, variables and steps."""
        printed = self.answer(
            "login",
            r"""rm -rf jobs && mkdir jobs && cd jobs &&
            sbatch --quiet --wait --array=0-1 --output=%A_%a.env --wrap 'env' &&
            sbatch --quiet --wait --wrap 'squeue --me' &&
            held=$(sbatch --parsable --hold --array=0-3%2 --wrap true) &&
            echo ==waiting && squeue --me --start && squeue --me --array &&
            scancel $held && echo ==running && cat slurm-*.out &&
            echo ==files && ls && echo ==env && cat *_0.env && echo ==steps &&
            for try in 1 2 3 4 5 6 7 8; do
                sacct --noheader --parsable2 --format=JobID | grep batch && break; sleep 0.5
            done""",
        )
        return _parts(printed)

    @property
    def job_environment(self) -> set[str]:
        """The variables of a job."""
        return {line.split("=")[0] for line in self._jobs["env"].splitlines() if "=" in line}

    @property
    def job_files(self) -> list[str]:
        """The files that jobs have left."""
        return [name for name in self._jobs["files"].split() if not name.endswith(".env")]

    @property
    def array_signs(self) -> set[str]:
        """The signs of an array: between the numbers of job and task, and before the number of
        tasks that may run at a time.
        """
        matches = re.findall(r"^\s*\d+(\D)\[?\d+(?:-\d+(\D))?", self._jobs["waiting"], re.MULTILINE)
        return {sign for signs in matches for sign in signs} - {"", " ", "]"}

    @once
    def contributed_to_slurm(self, name: str) -> bool:
        """Whether the folder contribs/ of Slurm's sources has this command, as Debian's list of
        authors says.
        """
        authors = "/usr/share/doc/slurm-client/copyright"
        return self.ask("login", f"grep -qw contribs/{shlex.quote(name)} {authors}")[0] == 0

    # programs

    @fixed
    def places(self) -> list[tuple[str, str, set[str]]]:
        """(host, shell commands to type first, the programs there), in the order of a search."""
        names = "IFS=:; ls $PATH 2>/dev/null; compgen -b; compgen -A function"
        central = cluster.facts().modules.jupyter
        modules = sorted(self.modules, key=lambda name: name != central)
        places = [
            ("login", ""),
            *(("login", f"module load {module}; ") for module in modules),
            ("laptop", ""),
        ]
        return [
            (host, before, set(self.ask(host, before + names)[1].split()))
            for host, before in places
        ]

    @once
    def program(self, words: tuple[str, ...]) -> Program | None:
        """The program, with its subcommand, that the first words of a command name; or None."""
        name = words[0] if words else ""
        if re.search(r"(?:^|/)python3?$", name) and words[1:2] == ("-m",):
            return Program(
                "login",
                f"module load {cluster.facts().modules.jupyter}; ",
                ("python", *words[1:4]),
            )
        for host, before, names in self.places:
            if name in names:
                program = Program(host, before, (name,))
                for word in words[1:]:
                    if not re.fullmatch(r"[a-z][a-z-]+", word) or not self._has_part(program, word):
                        break
                    program = Program(host, before, (*program.words, word))
                return program
        return None

    @once
    def _has_part(self, program: Program, word: str) -> bool:
        """Whether `word` is a subcommand."""
        if program.words == ("git",):
            return word in self.answer(program.host, "git --list-cmds=main,others").split()
        name = program.words[0]
        if name in ("echo", "bash", "ssh", "exit", "srun", "sbatch"):
            return False
        if name != "git" and len(program.words) > 1:
            return False
        printed = self.help(program)
        usage = re.search(rf"^usage: {name} [a-z].*(?:\n {{7}}.*)*", printed, re.MULTILINE)
        if name == "git":
            pattern = rf"git {program.words[1]} \(?(?:[\w| ]*[| (])?{word}(?!\S)"
        elif name == "module":
            pattern = rf"^ {{2}}(?:\S+ \| )*{word}(?![\w-])"
        elif usage:  # it has a line for each subcommand
            return word in re.findall(rf"(?<=\s){name} ([a-z-]+)", usage[0])
        else:
            pattern = (
                rf"(?:^ {{2,}}|[{{,|] ?|(?:modules|subcommands):[\w \n]* |{name} "
                rf"(?:\[[^\]]*\] )?\(?(?:[\w|]+\|)?){word}(?![\w-])"
            )
        return re.search(pattern, printed, re.MULTILINE) is not None

    @once
    def help(self, program: Program) -> str:
        """The help text of a program."""
        name = program.words[0]
        command = f"{program.before}timeout 20 {shlex.join(program.words)}"
        if name == "module":
            ways = ["module help"]
        elif name in self.builtins:
            ways = [f"help {name}"]
        elif name == "git":
            ways = [f"git {program.words[1]} -h" if len(program.words) > 1 else "git --help"]
        elif name == "curl":
            ways = ["curl --help all"]
        else:
            ways = [f"{command} --help", f"{command} -h"]
        printed = ""
        for way in ways:
            printed = self.ask(program.host, way)[1]
            if re.search(r"usage|options", printed, re.IGNORECASE):
                break
        return printed

    @fixed
    def builtins(self) -> set[str]:
        """The commands that are built into the shell."""
        return set(self.answer("login", "compgen -b").split())

    @once
    def manual(self, program: Program) -> str:
        """The manual page of a program; "" if there is none."""
        name = (
            "-".join(program.words[:2])
            if program.words[0] == "git" and len(program.words) > 1
            else program.words[0]
        )
        printed = self.ask(program.host, f"MANWIDTH=200 man {name} 2>/dev/null | col -bx")[1]
        return printed if len(printed) > 200 else ""

    @once
    def has_option(self, program: Program, flag: str) -> bool:
        """Whether a program's help, or else its manual, has this option."""
        exact = re.compile(
            rf"(?<![\w-])(?:{re.escape(flag)}|--\[no-\]{re.escape(flag[2:])})(?![\w-])"
            if flag.startswith("--")
            else rf"(?<![\w-]){re.escape(flag)}(?!\w|-\w)"
        )
        if program.words[0] == "chromium" and flag.startswith("--"):
            return self.is_string("chromium", flag[2:])
        if flag == "--help":
            return self.ask(program.host, f"{program.before}{program} --help")[0] == 0
        printed = self.help(program)
        if exact.search(printed) or (
            len(flag) == 2
            and any(flag[1] in letters for letters in re.findall(r"\[-(\w+)\]", printed))
        ):
            return True
        pattern = rf"^\s+(?:-\w, )*{re.escape(flag)}(?!\w|-\w)"
        return re.search(pattern, self.manual(program), re.MULTILINE) is not None

    def try_out(self, program: Program, words: Sequence[str], files: Mapping[str, str]) -> str:
        """Run the program with these words if that is harmless; return its complaint, or ""."""
        return self._try_out(
            program,
            tuple(words),
            files.get("ssh_config", ""),
            tuple((name, text) for name, text in files.items() if name.endswith(".sh")),
        )

    @once
    def _try_out(
        self,
        program: Program,
        words: tuple[str, ...],
        ssh_config: str,
        scripts: tuple[tuple[str, str], ...],
    ) -> str:
        name = program.words[0]
        given = shlex.join(words)
        if name == "ssh":
            return self._try_ssh(words, ssh_config)
        if name == "lsof":
            printed = self.ask("laptop", f"lsof {given}")[1]
            return printed.splitlines()[0] if "lsof" in printed else ""
        if name == "git" and (tool := re.search(r"--tool=(\S+)", given)):
            known = re.findall(r"^\s+(\w+)", self._repository[program.words[1]], re.MULTILINE)
            return "" if tool[1] in known else f"git {program.words[1]} knows no tool {tool[1]}"
        if name in ("srun", "sbatch", "squeue", "sacct", "scancel", "bash"):
            assert self._jobs  # wait for their end: scancel --me must not cancel them
            plain = [
                word
                for word, before in zip(words, ("", *words), strict=False)
                if word[0] != "-" and not re.fullmatch("-[A-Za-z]", before)
            ]
            if name in ("srun", "sbatch") and not plain:
                return self._try_options_of_a_job(words)
            return self._try_on_login_node(program, words, scripts)
        return ""

    def _try_ssh(self, words: tuple[str, ...], ssh_config: str) -> str:
        """What is wrong with these words of an ssh command on the laptop; "" if nothing is."""
        known = cluster.facts().hosts
        if not words or (len(words) == 1 and words[0].startswith("-")):
            return ""  # an option without its value
        names_host = not re.match(r"-", words[-1]) and not (
            len(words) > 1 and re.match(r"-[A-Za-z]$", words[-2])
        )
        target = "" if names_host or "-o" in words else f" username@{known.login}"
        self.triton.write("laptop", "~/ssh_config_of_page", ssh_config, self.user)
        status, printed = self.ask(
            "laptop", f"ssh -F ~/ssh_config_of_page -G {shlex.join(words)}{target}"
        )
        if status:
            return printed.strip().splitlines()[-1]
        settings = dict(line.split(" ", 1) for line in printed.splitlines() if " " in line)
        if settings.get("hostname") != known.login or settings.get("user") != "username":
            return f"it would log in as {settings.get('user')} on {settings.get('hostname')}"
        ports = re.findall(r"\d{3,}", settings.get("dynamicforward", ""))
        if not set(ports) <= PORTS:
            return f"triton/facts.toml has no port {ports[0]}"
        jump = settings.get("proxyjump")
        expected = not jump or jump == f"username@{known.gateway}"
        return "" if expected else f"it would go over {jump}"

    def _try_options_of_a_job(self, words: tuple[str, ...]) -> str:
        """Why Slurm would refuse a job with these options; "" if it would not."""
        if all("=" not in word and re.match("-", word) for word in words):
            return ""  # an option without its value
        given = shlex.join(words)
        gpus = cluster.facts().partitions.gpu
        if gpus and "--gres=" in given:
            given += f" --partition={gpus}"
        status, printed = self.ask("login", f"sbatch --test-only {given} --wrap true")
        return printed.strip().splitlines()[-1] if status else ""

    def _try_on_login_node(
        self, program: Program, words: tuple[str, ...], scripts: tuple[tuple[str, str], ...]
    ) -> str:
        """The complaint of the program with these words; "" if it succeeds.

        scripts: the names and the texts of files in the folder where it runs.
        """
        name = program.words[0]
        alone = all("=" not in word and re.match("--", word) for word in words)
        if alone and name in ("sbatch", "sacct", "squeue", "scancel"):
            return ""
        for script, text in scripts:
            self.triton.write("login", f"~/{script}", text, self.user)
        module = f"module load {cluster.facts().modules.python}; "
        before = program.before + module if name == "bash" else ""
        status, printed = self.ask("login", f"{before}timeout 30 {name} {shlex.join(words)}")
        return (printed.strip().splitlines() or [f"exit status {status}"])[0] if status else ""

    @once
    def in_scripts(self, name: str) -> bool:
        """Whether a command in triton/bin reads the variable `name`."""
        folder = f"{cluster.facts().paths.apps}/triton/bin"
        return self.ask("login", f"grep -rqw {shlex.quote(name)} {folder}")[0] == 0

    @once
    def is_string(self, name: str, text: str) -> bool:
        """Whether `text` is a whole string of the program `name`, or a path at the end of one."""
        pattern = re.compile(
            rb"(?:\0|[~%]s?/|^|[\"'])" + re.escape(os.fsencode(text)) + rb"[\0\"']"
        )
        for path in BINARIES[name]:
            with (
                open(cluster.IMAGE / path, "rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            ):
                if pattern.search(content):
                    return True
        return False

    # ssh, git

    @fixed
    def made_files(self) -> list[str]:
        """The files that ssh-keygen makes for a key, and Slurm for a job."""
        return (
            self.answer(
                "laptop", "rm -rf key; mkdir key; cd key; ssh-keygen -q -t ed25519 -N '' -f id; ls"
            ).split()
            + self.job_files
        )

    @fixed
    def _repository(self) -> dict[str, str]:
        """What a repository shows that the guide has set up: files, tools, marks of a conflict."""
        printed = self.answer(
            "login",
            f"""rm -rf repository; mkdir repository; cd repository; git init -q
            git config user.name N; git config user.email e@x
            nbdime-git enable >/dev/null && {self.central}/bin/nbdime config-git --enable
            echo ==files; find .git .gitattributes -maxdepth 2
            echo ==mergetool; git mergetool --tool-help; echo ==difftool; git difftool --tool-help
            echo ==marks; printf 'a\\n' > base; printf 'b\\n' > one; printf 'c\\n' > two
            git merge-file --diff3 -p one base two; true""",
        )
        return _parts(printed)

    @property
    def git_files(self) -> set[str]:
        """The files that git and nbdime make in a repository."""
        return set(self._repository["files"].split())

    @property
    def conflict_marks(self) -> set[str]:
        """The marks that git writes around a conflict."""
        return set(re.findall(r"^[<=>|]{5,}", self._repository["marks"], re.MULTILINE))

    # Python, Jupyter, R

    @fixed
    def python_keywords(self) -> set[str]:
        """The keywords of Python."""
        return set(self.python("import keyword; print(*keyword.kwlist)").split())

    @once
    def evaluates(self, text: str) -> bool:
        """Whether all names in `text` exist in Python; a call at its end is not made."""
        code = """import ast, importlib, sys
tree = ast.parse(sys.argv[1])
if not tree.body or not isinstance(tree.body[-1], ast.Expr):
    sys.exit(1)
last = tree.body[-1].value
last = last.func if isinstance(last, ast.Call) else last
used = [node.id for node in ast.walk(last) if isinstance(node, ast.Name)]
names = {name: importlib.import_module(name) for name in used} if len(tree.body) == 1 else {}
exec(compile(ast.Module(tree.body[:-1], []), "", "exec"), names)
eval(compile(ast.Expression(last), "", "eval"), names)"""
        return self.ask("login", self._call(code, text))[0] == 0

    @once
    def python_says(self, text: str, name: str) -> bool:
        """Whether Python ends with `text` when it imports `name`, or reads that variable."""
        for code in (f"import {name}", f"import os; os.environ[{name!r}]"):
            status, printed = self.ask("login", self._call(code))
            if status and printed.strip().splitlines()[-1] == text:
                return True
        return False

    @once
    def shell_says(self, name: str, text: str) -> bool:
        """Whether a plain shell, which has no programs and no modules, answers `name` by `text`."""
        printed = self.ask(
            "login", f"env -i PATH=/nowhere /bin/bash --norc --noprofile -c {shlex.quote(name)}"
        )[1]
        return printed.strip().endswith(": " + text)

    @fixed
    def _magics(self) -> list[str]:
        code = """import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "autoreload")
magics = shell.magics_manager.magics
signs = {"line": "%", "cell": "%%"}
print(json.dumps([sign + name for kind, sign in signs.items() for name in magics[kind]]))"""
        answer: list[str] = json.loads(self.python(code).strip().splitlines()[-1])
        return answer

    def magic(self, text: str) -> bool:
        """Whether IPython has this magic, of a line or of a cell; a question mark may follow."""
        name, _, backend = text.partition(" ")
        if name == "%matplotlib" and backend:
            code = "from matplotlib.backends.registry import backend_registry as all; import sys"
            known = self.python(f"{code}; print(sys.argv[1] in all.list_all())", backend)
            return known.strip() == "True"
        form = re.fullmatch(r"(%%?\w+)\??|(%env) \w+(=\S+)?", text)
        return form is not None and (form[1] or form[2]) in self._magics

    @once
    def shell_escape(self, text: str) -> bool:
        """Whether IPython takes the line for a shell command."""
        code = (
            "import sys; from IPython.core.inputtransformer2 import TransformerManager; "
            "print(TransformerManager().transform_cell(sys.argv[1]))"
        )
        return "system(" in self.python(code, text if text[1:] else f"{text}x")

    @fixed
    def jupyter_client(self) -> dict[str, Any]:
        """The keys of kernel.json, and the placeholder that jupyter_client replaces there."""
        code = """import json, re, inspect
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec
source = inspect.getsource(KernelManager.format_kernel_cmd)
manager = KernelManager(connection_file="/the/file")
manager._kernel_spec = KernelSpec(argv=["{connection_file}", "{resource_dir}", "{prefix}"])
names = [name for name in ("connection_file", "resource_dir", "prefix") if name in source]
done = [name for name in names if "{" + name + "}" not in manager.format_kernel_cmd()]
print(json.dumps({"keys": sorted(KernelSpec().to_dict()), "placeholder": "{" + done[0] + "}"}))"""
        answer: dict[str, Any] = json.loads(self.python(code).strip().splitlines()[-1])
        return answer

    @once
    def kernel_program(self, word: str) -> bool:
        """Whether Jupyter replaces `word` as the first of argv by its own Python."""
        code = """import sys
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec
manager = KernelManager(connection_file="/the/file")
manager._kernel_spec = KernelSpec(argv=[sys.argv[1], "-m", "x"])
sys.exit(manager.format_kernel_cmd()[0] != sys.executable)"""
        return self.ask("login", self._call(code, word))[0] == 0

    @once
    def expanded(self, value: str) -> str:
        """What a kernel gets for the value `value` in the env block of its kernel.json."""
        code = """import asyncio, json, os, sys
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.provisioning import KernelProvisionerBase, LocalProvisioner
spec = KernelSpec(argv=["true"], env={"ASKED": sys.argv[1]})
provisioner = LocalProvisioner(kernel_id="x", kernel_spec=spec)
launch = KernelProvisionerBase.pre_launch(provisioner, env=dict(os.environ))
print(json.dumps(asyncio.run(launch)["env"]["ASKED"]))"""
        answer: str = json.loads(self.python(code, value).strip().splitlines()[-1])
        return answer

    @fixed
    def jupyter_urls(self) -> set[str]:
        """The paths of JupyterLab and of Notebook on a server."""
        return set(self._jupyter_defaults[:2])

    @fixed
    def _jupyter_defaults(self) -> list[str]:
        return self.python("""from jupyter_server.services.contents.manager import ContentsManager
from jupyterlab.labapp import LabApp
from notebook.app import JupyterNotebookApp
names = [LabApp.default_url, JupyterNotebookApp.default_url, ContentsManager.untitled_notebook]
for name in names:
    print(name.default_value)""").split()

    @fixed
    def jupyter_messages(self) -> tuple[set[str], list[tuple[str, ...]]]:
        """(constant texts, templates) of JupyterLab and the servers, whole and by sentences.

        A template is a text with placeholders, as the list of the pieces around them.
        """
        plain, templates = set(), set()
        for text in self._texts_of_jupyter():
            for part in {text, *re.split(r"(?<=[.?!])\s+|\n", text)}:
                pieces = PLACEHOLDER.split(part.strip(" \"'\u2026").removesuffix("."))
                words = [piece.strip(" \"'") for piece in pieces if piece.strip(" \"'")]
                if len(words) == 1:
                    plain |= {
                        words[0],
                        part.strip(" \"'\u2026")
                        if len(pieces) == 1
                        else words[0] + "." * part.endswith("."),
                    }
                if len(pieces) > 1 and len(max(pieces, key=len)) >= 12:
                    templates.add(tuple(pieces))
        return plain, sorted(templates)

    def _texts_of_jupyter(self) -> set[str]:
        """The texts in JavaScript of JupyterLab, and in sources and templates of the servers."""
        texts = set()
        for path in (self.installed / "share/jupyter").glob("lab*/**/*.js"):
            for _, text in re.findall(
                r"""__\((["'`])((?:(?!\1)[^\\]|\\.)*)\1""", path.read_text(encoding="utf-8")
            ):
                texts.add(
                    re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)
                )
        library = next((self.installed / "lib").glob("python3*")) / "site-packages"
        for source in (
            cluster.ROOT / "triton/jupyterhub",
            *(
                library / name
                for name in (
                    *("jupyter_server", "jupyterhub", "batchspawner", "jupyterlmod"),
                    *("jupyter_client", "nbclient", "papermill"),
                )
            ),
        ):
            for path in source.rglob("*.py"):
                if "tests" not in path.relative_to(source).parts:
                    texts |= set(_texts(path.read_text(encoding="utf-8")))
            for path in (
                *source.rglob("*.html"),
                *(self.installed / "share/jupyterhub").rglob("*.html"),
            ):
                texts |= {
                    " ".join(text.split())
                    for text in re.findall(r">([^<>{}]{4,})<", path.read_text(encoding="utf-8"))
                }
        return texts

    @fixed
    def tabs(self) -> set[str]:
        """The titles of the tabs that extensions add to JupyterLab."""
        title = re.compile(
            r"""title\.(?:caption|label)\s*=\s*(?:[\w.]+\()?["'`]([A-Z][\w ]+)["'`]"""
        )
        return {
            name
            for path in (self.installed / "share/jupyter/labextensions").rglob("*.js")
            for name in title.findall(path.read_text(encoding="utf-8"))
        }

    @fixed
    def default_names(self) -> set[str]:
        """The file name of a new notebook in JupyterLab."""
        return {self._jupyter_defaults[2] + ".ipynb"}

    # what programs print

    @fixed
    def system_messages(self) -> set[str]:
        """The texts of the system's errors and signals."""
        signals = filter(None, map(signal.strsignal, range(1, 32)))
        return {*map(os.strerror, range(1, 134)), *signals}

    @once
    def printed_by_programs(self, text: str) -> bool:
        """Whether Slurm, git, ssh, curl, the loader or Python holds `text`, as whole words."""
        pattern = re.compile(rb"(?<![\w-])" + re.escape(os.fsencode(text)) + rb"(?![\w-])")
        return any(
            os.fsencode(text) in content and pattern.search(content) for content in self._programs
        )

    @fixed
    def _programs(self) -> list[bytes]:
        usr = cluster.IMAGE / "usr"
        names = (
            "bin/srun",
            "bin/squeue",
            "sbin/slurmstepd-wlm",  # the other name is a link from the root folder
            "bin/git",
            "bin/ssh",
            "bin/curl",
            "bin/python3",
        )
        files = [
            *(usr / name for name in names),
            *usr.glob("lib/*/slurm*/libslurmfull.so"),
            *usr.glob("lib/*/slurm*/*cgroup*.so"),
            *usr.glob("lib/*/ld-linux*"),
        ]
        return [path.read_bytes() for path in files]

    @once
    def curl_knows(self, name: str) -> bool:
        """Whether the help of curl names this kind of proxy."""
        printed = self.answer("laptop", "curl --help all")
        return re.search(rf"(?<!\w){name}(?!\w)", printed) is not None


def _parts(printed: str) -> dict[str, str]:
    """{name: the text below the line ==name} of what a script has printed."""
    parts = re.split(r"^==(\w+)\n", printed, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _texts(source: str) -> Iterator[str]:
    """The strings in a Python source; in f-strings, {} stands for each value."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and " " in node.value
            and "\n\n" not in node.value
        ):
            yield node.value
