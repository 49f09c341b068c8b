"""What the small Triton and the programs on it say. Each question is put once."""

import ast
import contextlib
import ctypes
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


@dataclass(frozen=True)
class Program:
    """A program, with its subcommand, and the shell commands that make it available on `host`."""

    host: str
    before: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.words)


def once(
    method: Callable[["Reality", Unpack[Arguments]], Answer],
) -> Callable[["Reality", Unpack[Arguments]], Answer]:
    """A method whose answer is kept; two threads that ask the same wait for one answer."""

    @functools.wraps(method)
    def ask(self: "Reality", *arguments: *Arguments) -> Answer:
        with self._guard:
            question = (method.__name__, arguments)
            mine = question not in self._answers
            answer = self._answers.setdefault(question, Future())
        if mine:
            try:
                answer.set_result((method(self, *arguments), None))
            except Exception as error:
                answer.set_result((None, error))
        value: Answer
        value, problem = answer.result()
        if problem:
            # A new one: what is raised anew grows.
            raise RuntimeError(f"{method.__name__}{arguments or ''}: {problem}")
        return value

    return ask


class fixed(Generic[Answer]):
    """A property whose value is asked for once."""

    def __init__(self, method: Callable[["Reality"], Answer]) -> None:
        self._ask = once(method)

    def __get__(self, instance: "Reality", owner: type["Reality"]) -> Answer:
        return self._ask(instance)


class Reality:
    """A running small Triton, a user of it, and the programs that are installed there."""

    def __init__(self, triton: Triton) -> None:
        self.triton = triton
        self.user = triton.account()
        # By question: the answer, or the error that came instead of one.
        self._answers: dict[tuple[str, object], Future[tuple[Any, Exception | None]]] = {}
        self._guard = threading.Lock()
        self.central = Path(cluster.facts().paths.jupyter_env)
        # The same files, as this machine has them.
        self.installed = (
            cluster.APPS / "apps" / self.central.relative_to(cluster.facts().paths.apps)
        )
        # What takes long is asked beforehand, a part of it on the other processor.
        self._beforehand = [
            threading.Thread(target=self._ask_each, args=names, daemon=True)
            for names in (
                ("scenes", "_jobs", "_repository"),
                ("jupyter_client", "_ipython", "_jupyter_defaults", "jupyter_messages"),
            )
        ]
        for thread in self._beforehand:
            thread.start()

    def _ask_each(self, *names: str) -> None:
        for name in names:
            with contextlib.suppress(RuntimeError):  # kept, and raised for whoever asks next
                getattr(self, name)

    def close(self) -> None:
        """Wait until nothing is asked any more."""
        for thread in self._beforehand:
            thread.join(300)

    def ask(self, host: str, script: str, timeout: float = 60) -> tuple[int, str]:
        """(exit status, what was printed) of a script in a login shell of the user on `host`."""
        done = self.triton.run(
            host, f"exec 2>&1; {script}", self.user, check=False, timeout=timeout
        )
        return done.returncode, done.stdout + done.stderr

    def answer(self, host: str, script: str) -> str:
        """What was printed, as `ask`; raises RuntimeError if the script fails."""
        status, printed = self.ask(host, script)
        if status:
            raise RuntimeError(f"on {host}: {script}\n{printed}")
        return printed

    def python(self, code: str, *arguments: str) -> str:
        """What Python of the central environment prints."""
        return self.answer(
            "login", shlex.join([f"{self.central}/bin/python", "-c", code, *arguments])
        )

    # hosts, paths, variables

    @once
    def resolves(self, host: str, name: str) -> bool:
        """Whether the name has an address on `host`."""
        return self.ask(host, f"getent hosts {shlex.quote(name)}")[0] == 0

    @once
    def listens(self, host: str, name: str) -> bool:
        """Whether one gets an ssh connection from `host` to `name`."""
        return self.ask(host, f"timeout 2 bash -c ': < /dev/tcp/{name}/22' 2>/dev/null")[0] == 0

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
        """Whether the dynamic loader speaks of the variable `name` in its help."""
        loader = re.search(r"\S+/ld-linux\S+", self.answer("login", "ldd /bin/true"))
        if not loader:
            return False
        printed = self.answer("login", f"{loader[0]} --help")
        return re.search(rf"(?<!\w){name}(?!\w)", printed) is not None

    @fixed
    def home_places(self) -> set[str]:
        """The folders below a home directory that programs say they use, and those above them, as
        ~/...
        """
        said = self.answer(
            "login",
            f"""{self.central}/bin/jupyter --paths
            {self.central}/bin/python -m site; pip cache dir; pipx environment
            {self.central}/bin/python -c 'import send2trash.plat_other as t; print(t.HOMETRASH)'""",
        )
        found = set()
        for place in re.findall(rf"{cluster.facts().paths.home}/{self.user}(/[\w./-]+)", said):
            for folder in (Path(place), *Path(place).parents):
                found.add(f"~{folder}")
        return found

    @fixed
    def modules(self) -> set[str]:
        """The modules, as NAME/VERSION."""
        said = self.answer("login", "module -t avail")
        return {line for line in said.split() if "/" in line and not line.endswith((":", "/"))}

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
        """What Slurm knows: states, their codes, reasons, columns, partitions, steps; and how it
        writes that it does not know.
        """
        code = """import ctypes, glob, json
library = ctypes.CDLL(glob.glob("/usr/lib/*/slurm*/libslurmfull.so")[0])
def names(function, most):
    function = getattr(library, function)
    function.restype = ctypes.c_char_p
    return [function(number).decode() for number in range(most)]
states = names("job_state_string", 16)
codes = names("job_state_string_compact", 16)
print(json.dumps([states, codes, names("job_reason_string", 256)]))"""
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
        """Two jobs that were run: the variables of one with tasks, the files that they left, and
        how Slurm lists them.
        """
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
        parts = re.split(r"^==(\w+)\n", printed, flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

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
        """What Slurm writes between the numbers of a job and of its task, and before the number of
        tasks at a time.
        """
        found = re.findall(r"^\s*\d+(\D)\[?\d+(?:-\d+(\D))?", self._jobs["waiting"], re.MULTILINE)
        return {sign for signs in found for sign in signs} - {"", " ", "]"}

    @once
    def contributed_to_slurm(self, name: str) -> bool:
        """Whether Slurm's sources have a command of that name beside Slurm's own; Debian lists who
        wrote which.
        """
        return (
            self.ask(
                "login",
                f"grep -qw contribs/{shlex.quote(name)} /usr/share/doc/slurm-client/copyright",
            )[0]
            == 0
        )

    # programs

    @fixed
    def places(self) -> list[tuple[str, str, set[str]]]:
        """(host, what to do first, the names of all programs there), in the order in which a reader
        comes to them.
        """
        names = "IFS=:; ls $PATH 2>/dev/null; compgen -b; compgen -A function"
        found = []
        for host in ("login", "laptop"):
            found.append((host, "", set(self.ask(host, names)[1].split())))
        central = cluster.facts().modules.jupyter
        for module in sorted(self.modules, key=lambda name: name != central):
            before = f"module load {module}; "
            found.insert(-1, ("login", before, set(self.ask("login", before + names)[1].split())))
        return found

    def program(self, words: Sequence[str]) -> Program | None:
        """The program that a command's first words name, with its subcommand, if there is one."""
        return self._program(tuple(words))

    @once
    def _program(self, words: tuple[str, ...]) -> Program | None:
        name = words[0] if words else ""
        if re.search(r"(?:^|/)python3?$", name) and words[1:2] == ("-m",):
            return Program(
                "login",
                f"module load {cluster.facts().modules.jupyter}; ",
                ("python", *words[1:4]),
            )
        if re.fullmatch(r"(?:~|\$\w+)?(?:/[\w.-]+)+", name):
            name = name.rsplit("/", 1)[-1]
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
        if program.words[0] == "git":
            return (
                re.search(
                    rf"git {program.words[1]} \(?(?:[\w| ]*[| (])?{word}(?!\S)", self.help(program)
                )
                is not None
            )
        if program.words == ("module",):
            return (
                re.search(rf"^ {{2}}(?:\S+ \| )*{word}(?![\w-])", self.help(program), re.MULTILINE)
                is not None
            )
        if len(program.words) > 1 or program.words[0] in (
            "echo",
            "bash",
            "ssh",
            "exit",
            "srun",
            "sbatch",
        ):
            return False
        usage = re.search(
            rf"^usage: {program.words[0]} [a-z].*(?:\n {{7}}.*)*", self.help(program), re.MULTILINE
        )
        if usage:  # a line for each
            return word in re.findall(rf"(?<=\s){program.words[0]} ([a-z-]+)", usage[0])
        listed = re.search(
            rf"(?:^ {{2,}}|[{{,|] ?|(?:modules|subcommands):[\w \n]* |{program.words[0]} "
            rf"(?:\[[^\]]*\] )?\(?(?:[\w|]+\|)?){word}(?![\w-])",
            self.help(program),
            re.MULTILINE,
        )
        return listed is not None

    @once
    def help(self, program: Program) -> str:
        """What a program says when it is asked how to use it."""
        words = shlex.join(program.words)
        if program.words[0] == "module":
            ways = ["module help"]
        elif program.words[0] == "git":
            ways = [f"git {words.split(' ', 1)[1]} -h" if len(program.words) > 1 else "git --help"]
            if len(program.words) > 2:
                ways = [f"git {program.words[1]} -h"]
        elif program.words[0] in self.builtins:
            ways = [f"help {words}"]
        else:
            ways = [f"{words} --help", f"{words} -h"]
            if program.words[0] == "curl":
                ways = ["curl --help all"]
        printed = ""
        for way in ways:
            printed = self.ask(
                program.host,
                program.before + f"timeout 20 {way}" if way[:4] not in ("modu", "help") else way,
            )[1]
            if re.search(r"usage|options", printed, re.IGNORECASE):
                break
        return printed

    @fixed
    def builtins(self) -> set[str]:
        """The commands that the shell has itself."""
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
        said = self.help(program)
        if flag == "--help":
            return self.ask(program.host, f"{program.before}{program} --help")[0] == 0
        if exact.search(said) or (
            len(flag) == 2 and any(flag[1] in some for some in re.findall(r"\[-(\w+)\]", said))
        ):
            return True
        return (
            re.search(
                rf"^\s+(?:-\w, )*{re.escape(flag)}(?!\w|-\w)", self.manual(program), re.MULTILINE
            )
            is not None
        )

    @fixed
    def _traveller(self) -> tuple[str, str]:
        """A user who has a key on the login node, and the ssh command that goes there."""
        user = self.triton.account()
        for host in ("laptop", "login"):
            self.triton.run(host, "mkdir -pm 700 .ssh", user)
        self.triton.run(
            "laptop",
            "rm -f .ssh/id_* known other*; ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519",
            user,
        )
        self.triton.write(
            "login",
            ".ssh/authorized_keys",
            self.triton.run("laptop", "cat .ssh/id_ed25519.pub", user).stdout,
            user,
        )
        options = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=known"
        return user, f"ssh {options} {user}@{cluster.facts().hosts.login}"

    def try_out(self, program: Program, words: Sequence[str], files: Mapping[str, str]) -> str:
        """Run what may be run, as far as it goes; return what it complains about, or ""."""
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
            known = tool[1] in self.git_tools[program.words[1]]
            return "" if known else f"git {program.words[1]} knows no tool {tool[1]}"
        if name in ("srun", "sbatch", "squeue", "sacct", "scancel", "bash"):
            assert self._jobs  # they have ended: scancel --me must not hit them
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
        elsewhere = not re.match(r"-", words[-1]) and not (
            len(words) > 1 and re.match(r"-[A-Za-z]$", words[-2])
        )
        target = "" if elsewhere or "-o" in words else f" username@{known.login}"
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
        right = not jump or jump == f"username@{known.gateway}"
        return "" if right else f"it would go over {jump}"

    def _try_options_of_a_job(self, words: tuple[str, ...]) -> str:
        """What Slurm says against a job with these options; "" if nothing."""
        if all("=" not in word and re.match("-", word) for word in words):
            return ""  # an option without its value
        given = shlex.join(words)
        if gres := re.search(r"--gres=(\w+):\d+$", given):
            known = self.gres_plugin(gres[1])
            return "" if known else f"Slurm has no kind of resource called {gres[1]}"
        status, printed = self.ask("login", f"sbatch --test-only {given} --wrap true")
        return printed.strip().splitlines()[-1] if status else ""

    def _try_on_login_node(
        self, program: Program, words: tuple[str, ...], scripts: tuple[tuple[str, str], ...]
    ) -> str:
        """What the program complains about with these words; "" if it succeeds.

        scripts: the names and the texts of files in the folder where it runs.
        """
        name = program.words[0]
        alone = all("=" not in word and re.match("--", word) for word in words)
        if alone and name in ("sbatch", "sacct"):
            return ""
        for script, text in scripts:
            self.triton.write("login", f"~/{script}", text, self.user)
        module = f"module load {cluster.facts().modules.python}; "
        before = program.before + module if name == "bash" else ""
        status, printed = self.ask("login", f"{before}timeout 30 {name} {shlex.join(words)}")
        return (printed.strip().splitlines() or [f"exit status {status}"])[0] if status else ""

    @once
    def gres_plugin(self, name: str) -> bool:
        """Whether Slurm has a kind of resource of this name."""
        return self.ask("login", f"ls /usr/lib/*/slurm*/gres_{name}.so")[0] == 0

    @once
    def in_scripts(self, name: str) -> bool:
        """Whether a command of the cluster's own reads the variable `name`."""
        return (
            self.ask(
                "login",
                f"grep -rqw {shlex.quote(name)} {cluster.facts().paths.apps}/triton/bin",
            )[0]
            == 0
        )

    def binary(self, name: str) -> list[str]:
        """The files that the program `name` is made of: itself, or what it loads."""
        made_of = {
            "ssh": ["/usr/bin/ssh"],
            "bash": ["/bin/bash"],
            "git": ["/usr/bin/git"],
            "sbatch": ["/usr/bin/sbatch"],
            "R": ["/usr/lib/R/lib/libR.so", "/usr/lib/R/library/base/R/Rprofile"],
            "chromium": ["/usr/lib/chromium/chromium"],
        }
        return [path for path in made_of[name] if os.path.exists(path)]

    @once
    def is_string(self, name: str, text: str) -> bool:
        """Whether `text` is a whole string of the program `name`, or a path at the end of one."""
        pattern = re.compile(
            rb"(?:\0|[~%]s?/|^|[\"'])" + re.escape(os.fsencode(text)) + rb"[\0\"']"
        )
        for path in self.binary(name):
            with (
                open(path, "rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            ):
                if pattern.search(content):
                    return True
        return False

    # ssh, git

    @fixed
    def made_files(self) -> list[str]:
        """The files that ssh-keygen makes for one key, and those of Slurm for jobs."""
        return (
            self.answer(
                "laptop", "rm -rf key; mkdir key; cd key; ssh-keygen -q -t ed25519 -N '' -f id; ls"
            ).split()
            + self.job_files
        )

    @property
    def answers(self) -> set[str]:
        """The answers after which ssh trusts a host, or ssh-keygen keeps an old key."""
        return self._keeps_key | self._trusts

    @fixed
    def _keeps_key(self) -> set[str]:
        kept: set[str] = set()
        for word in "yn":
            said = self.answer(
                "laptop",
                "rm -f old*; ssh-keygen -q -t ed25519 -N '' -f old; cp old.pub before; "
                f"echo {word} | "
                "ssh-keygen -t ed25519 -N '' -f old; cmp -s old.pub before && echo KEPT; true",
            )
            if "KEPT" in said and "(y/n)" in said:
                kept.add(word)
        return kept

    @fixed
    def _trusts(self) -> set[str]:
        with open("/usr/bin/ssh", "rb") as file:
            question = re.search(rb"continue connecting \(([a-z]+)/", file.read())
        return {question[1].decode()} if question else set()

    @fixed
    def _repository(self) -> str:
        """A repository with everything that the guide sets up in it."""
        return self.answer(
            "login",
            f"""rm -rf repository; mkdir repository; cd repository; git init -q
            git config user.name N; git config user.email e@x
            nbdime-git enable >/dev/null && {self.central}/bin/nbdime config-git --enable
            echo ==files; find .git .gitattributes -maxdepth 2
            echo ==mergetool; git mergetool --tool-help; echo ==difftool; git difftool --tool-help
            echo ==marks; printf 'a\\n' > base; printf 'b\\n' > one; printf 'c\\n' > two
            git merge-file --diff3 -p one base two; true""",
        )

    @property
    def git_files(self) -> set[str]:
        """The files that git and nbdime have made."""
        return set(self._repository.partition("==files\n")[2].partition("==")[0].split())

    @property
    def git_tools(self) -> dict[str, set[str]]:
        """The tools that git mergetool and git difftool know."""
        parts = re.split(r"^==(\w+)\n", self._repository, flags=re.MULTILINE)
        printed = dict(zip(parts[1::2], parts[2::2], strict=True))
        return {
            name: set(re.findall(r"^\s+(\w+)(?:\.cmd)?\b", printed[name], re.MULTILINE))
            for name in ("mergetool", "difftool")
        }

    @property
    def conflict_marks(self) -> set[str]:
        """What git puts around a conflict."""
        return set(re.findall(r"^[<=>|]{5,}", self._repository.split("==marks")[1], re.MULTILINE))

    # Python, Jupyter, R

    @fixed
    def python_keywords(self) -> set[str]:
        """The keywords of Python."""
        return set(self.python("import keyword; print(*keyword.kwlist)").split())

    @once
    def evaluates(self, text: str) -> bool:
        """Whether the names in `text` exist; a call at its end is not made."""
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
        return (
            self.ask("login", shlex.join([f"{self.central}/bin/python", "-c", code, text]))[0] == 0
        )

    @once
    def brings(self, package: str, words: tuple[str, ...]) -> bool:
        """Whether `pip install` of this package makes a command that begins with these words."""
        scripts = self.python(
            "import sys; from importlib.metadata import distribution; print(*[file.name "
            "for file in distribution(sys.argv[1]).files])",
            package,
        ).split()
        return any("-".join(words[:count]) in scripts for count in range(1, len(words) + 1))

    @once
    def python_says(self, text: str, name: str) -> bool:
        """Whether `text` is what Python ends with when it imports `name`, or takes it from the
        environment.
        """
        for code in (f"import {name}", f"import os; os.environ[{name!r}]"):
            status, said = self.ask("login", shlex.join([f"{self.central}/bin/python", "-c", code]))
            if status and said.strip().splitlines()[-1] == text:
                return True
        return False

    @once
    def shell_says(self, name: str, text: str) -> bool:
        """Whether a shell that does not have `name` says `text`.

        A module function is what a plain shell has not.
        """
        said = self.ask(
            "login", f"env -i PATH=/nowhere /bin/bash --norc --noprofile -c {shlex.quote(name)}"
        )[1]
        return said.strip().endswith(": " + text)

    @fixed
    def _ipython(self) -> dict[str, Any]:
        code = """import json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "autoreload")
magics = sorted(shell.magics_manager.magics["line"])
print(json.dumps({"magics": magics, "first": shell.execution_count}))"""
        answer: dict[str, Any] = json.loads(self.python(code).strip().splitlines()[-1])
        return answer

    def magic(self, text: str) -> bool:
        """Whether IPython has this line magic."""
        name = text[1:].split(" ")[0]
        return (
            name in self._ipython["magics"] and re.fullmatch(r"%\w+|%env \w+=\S+", text) is not None
        )

    @once
    def shell_escape(self, text: str) -> bool:
        """Whether IPython takes the line for a shell command."""
        code = (
            "import sys; from IPython.core.inputtransformer2 import TransformerManager; "
            "print(TransformerManager().transform_cell(sys.argv[1]))"
        )
        return "system(" in self.python(code, text if text[1:] else f"{text}x")

    @property
    def prompts(self) -> set[str]:
        """What stands beside cells: the number of the first, and of one that runs."""
        scripts = "".join(
            path.read_text(encoding="utf-8")
            for path in (self.installed / "share/jupyter/lab/static").glob("jlab_core*.js")
        )
        running = set(re.findall(r"""["']running["']={2,3}[\w.]+\?["'](.)["']""", scripts))
        return {f"[{self._ipython['first']}]"} | {f"[{sign}]" for sign in running}

    @fixed
    def jupyter_client(self) -> dict[str, Any]:
        """The keys of kernel.json, and the placeholder that Jupyter replaces, as jupyter_client has
        them.
        """
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
        """Whether Jupyter replaces this first word of argv by its own Python."""
        code = """import sys
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec
manager = KernelManager(connection_file="/the/file")
manager._kernel_spec = KernelSpec(argv=[sys.argv[1], "-m", "x"])
sys.exit(manager.format_kernel_cmd()[0] != sys.executable)"""
        return (
            self.ask("login", shlex.join([f"{self.central}/bin/python", "-c", code, word]))[0] == 0
        )

    @once
    def expanded(self, value: str) -> str:
        """What a kernel gets of `value` in the env block of its kernel.json."""
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
        """Where the interfaces of Jupyter begin, behind the address of the server."""
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
    def shortcuts(self) -> set[str]:
        """The keys that run a cell, on a Mac and elsewhere, as the guide writes them."""
        found = set()
        for path in (self.installed / "share/jupyter/lab/schemas/@jupyterlab").glob(
            "notebook-extension/*.json"
        ):
            for entry in json.loads(path.read_text(encoding="utf-8")).get(
                "jupyter.lab.shortcuts", []
            ):
                if entry["command"].startswith("notebook:run-cell"):
                    for keys in [
                        *entry.get("keys", []),
                        *entry.get("macKeys", []),
                        *entry.get("winKeys", []),
                        *entry.get("linuxKeys", []),
                    ]:
                        found.add(re.sub(r"^(Accel|Ctrl)\b", "Control", keys).replace(" ", "-"))
        return found

    @fixed
    def terminal_keys(self) -> set[str]:
        """The keys with which a terminal interrupts, stops or ends what runs in it, as ^C."""
        said = self.answer("login", "script -qc 'stty -a' /dev/null < /dev/null")
        return set(re.findall(r"(?:intr|quit|eof|susp) = (\^\S);", said))

    @fixed
    def pager_quits(self) -> set[str]:
        """The keys that end the pager."""
        said = self.answer("login", "less --help")
        keys = re.search(r"^((?: +\S+)+) +Exit\.", said, re.MULTILINE)
        return set(keys[1].split()) if keys else set()

    @fixed
    def jupyter_messages(self) -> tuple[set[str], list[tuple[str, ...]]]:
        """The texts that JupyterLab shows, and those in the sources of the servers beside it, each
        whole and by sentences.

        A set of those without anything variable in the middle, and a list of the others, as the
        pieces around %1 or {}.
        """
        found = set()
        for path in (self.installed / "share/jupyter").glob("lab*/**/*.js"):
            for _, said in re.findall(
                r"""__\((["'`])((?:(?!\1)[^\\]|\\.)*)\1""", path.read_text(encoding="utf-8")
            ):
                found.add(
                    re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], said)
                )
        library = next((self.installed / "lib").glob("python3*")) / "site-packages"
        for source in (
            cluster.ROOT / "triton/jupyterhub",
            *(
                library / name
                for name in ("jupyter_server", "jupyterhub", "batchspawner", "jupyterlmod")
            ),
        ):
            for path in source.rglob("*.py"):
                if "tests" not in path.relative_to(source).parts:
                    found |= set(_texts(path.read_text(encoding="utf-8")))
            for path in (
                *source.rglob("*.html"),
                *(self.installed / "share/jupyterhub").rglob("*.html"),
            ):
                found |= {
                    " ".join(text.split())
                    for text in re.findall(r">([^<>{}]{4,})<", path.read_text(encoding="utf-8"))
                }
        plain, templates = set(), set()
        for text in found:
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

    @fixed
    def tabs(self) -> set[str]:
        """The titles of what extensions add to JupyterLab."""
        found = set()
        for path in (self.installed / "share/jupyter/labextensions").rglob("*.js"):
            found |= set(
                re.findall(
                    r"""title\.(?:caption|label)\s*=\s*(?:[\w.]+\()?["'`]([A-Z][\w ]+)["'`]""",
                    path.read_text(encoding="utf-8"),
                )
            )
        return found

    @fixed
    def default_names(self) -> set[str]:
        """What JupyterLab calls a new notebook."""
        return {self._jupyter_defaults[2] + ".ipynb"}

    # what programs print

    @fixed
    def system_messages(self) -> set[str]:
        """What the system calls its errors, and those of a look-up of a name."""
        return {os.strerror(number) for number in range(1, 134)} | {
            text for text in (_gai(number) for number in range(-12, 0)) if text
        }

    @fixed
    def signals(self) -> set[str]:
        """What the system calls the signals."""
        return set(filter(None, map(signal.strsignal, range(1, 32))))

    @once
    def printed_by_programs(self, text: str) -> bool:
        """Whether Slurm's programs, git, ssh or curl hold a text in which this stands between the
        ends of words.
        """
        pattern = re.compile(rb"(?<![\w-])" + re.escape(os.fsencode(text)) + rb"(?![\w-])")
        return any(
            os.fsencode(text) in content and pattern.search(content) for content in self._programs
        )

    @fixed
    def _programs(self) -> list[bytes]:
        places: list[str | Path] = [
            f"/usr/{name}"
            for name in (
                "bin/srun",
                "bin/squeue",
                "sbin/slurmstepd",
                "bin/git",
                "bin/ssh",
                "bin/curl",
            )
        ]
        places += [
            *Path("/usr/lib").glob("*/slurm*/libslurmfull.so"),
            *Path("/usr/lib").glob("*/slurm*/*cgroup*.so"),
        ]
        return [Path(place).read_bytes() for place in places if os.path.exists(place)]

    @once
    def curl_knows(self, name: str) -> bool:
        """Whether curl knows this kind of proxy."""
        return (
            re.search(rf"(?<!\w){name}(?!\w)", self.answer("laptop", "curl --help all")) is not None
        )

    def scenes_that_say(self, text: str) -> set[str]:
        """In which situations a program printed `text`, between the ends of words."""
        pattern = re.compile(r"(?<![\w-])" + re.escape(text) + r"(?![\w-])")
        return {scene for scene, said in self.scenes.items() if pattern.search(said)}

    @fixed
    def scenes(self) -> dict[str, str]:
        """What ssh, curl and Chromium print on a reader's computer in each of the situations that
        can go wrong.
        """
        names, port = cluster.facts().hosts, cluster.facts().proxy.port
        silent, nobody = f"{names.node}.{names.domain}", f"nobody.{names.domain}"
        web = cluster.facts().proxy.example
        user, ssh = self._traveller

        def browse(host: str, proxy: bool) -> str:
            through = f"--proxy-server=socks5://localhost:{port}" if proxy else ""
            return (
                "timeout 30 chromium --headless --no-sandbox --disable-gpu "
                "--user-data-dir=$(mktemp -d) --dump-dom "
                f"{through} http://{host}:{web} 2>&1 | grep -o 'ERR_[A-Z_]*' & curl "
                "--silent --show-error --max-time 10 "
                f"{f'--socks5-hostname localhost:{port}' if proxy else ''} "
                f"http://{host}:{web} & wait"
            )

        said = {}

        def scene(name: str, script: str) -> None:
            done = self.triton.run("laptop", f"exec 2>&1; {script}", user, check=False, timeout=90)
            said[name] = " ".join(done.stdout.split())

        listens = f"(: < /dev/tcp/127.0.0.1/{port}) 2>/dev/null"
        with_proxy = (
            f"{ssh} -N -D {port} & proxy=$!; for try in $(seq 60); do {listens} && break; "
            "sleep 0.1; done; "
        )
        scene("the proxy does not run", browse(silent, True))
        scene("the address does not go through the proxy", browse(silent, False))
        scene(
            "nothing listens at the address",
            with_proxy + f"({browse(silent, True)}); sleep 0.3; kill $proxy; wait",
        )
        scene(
            "no node has that name",
            with_proxy + f"({browse(nobody, True)}); sleep 0.3; kill $proxy; wait",
        )
        scene("another ssh has the port", with_proxy + f"{ssh} -D {port} true; kill $proxy; wait")
        changed = f"ssh -o BatchMode=yes {user}@{names.login} true"
        scene(
            "the host has another key",
            f"ssh-keygen -q -t ed25519 -N '' -f other; echo {names.login} $(cat "
            f"other.pub) > .ssh/known_hosts; {changed}",
        )
        return said


def _gai(number: int) -> str:
    """What the system says when a name cannot be looked up for this reason."""
    function = ctypes.CDLL(None).gai_strerror
    function.restype = ctypes.c_char_p
    text: bytes | None = function(number)
    return text.decode() if text else ""


def _texts(source: str) -> Iterator[str]:
    """The texts in a Python source; what is formatted into them stands as {}."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
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
