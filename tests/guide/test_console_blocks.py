"""Every command of the guide is typed on the small cluster, and prints what the guide shows."""

import re

import pytest

from _ext.examples import EXAMPLE, KINDS
from tools import pages
from tools.cluster import cluster
from tools.proof.reader import LIST, NOT_RUN, Reader, typed
from tools.proof.typed import simple_commands

LOGIN, NODE = (
    f"username@{getattr(cluster.facts().hosts, name)}" for name in ("short", "node")
)  # as in prompts
PARTITION = re.compile(r"(?:-p|--partition)[ =](\S+?)(?:`|\s|$)")
MOST_NOT_RUN = 0.03  # the largest share of console blocks that are not run
BLOCKS = [block for page in pages.sources() for block in pages.blocks(page)]
RUN = [block for page in pages.sources() for block in typed(page)]


@pytest.fixture(scope="module")
def readers(triton, request):
    """A reader for each page that this run tests. All readers work at the same time."""
    wanted = [
        item.callspec.params["block"]
        for item in request.session.items
        if item.module is request.module
        and hasattr(item, "callspec")
        and "block" in item.callspec.params
    ]
    last = {block.page: block.line for block in wanted}
    page_readers = {
        page: Reader(
            triton, page, [block for block in RUN if block.page == page and block.line <= line]
        )
        for page, line in last.items()
    }
    triton.settle()
    for reader in page_readers.values():
        reader.start()
    yield page_readers
    for reader in page_readers.values():
        reader.join(300)


def test_a_command_asks_for_the_partition_that_its_page_explains():
    """Another partition would work too, but teach something else."""
    wrong = []
    for block in BLOCKS:
        explained = PARTITION.findall(" ".join(re.findall("``[^`]+``", pages.read(block.page))))
        partitions = [
            (command.line, name)
            for command in block.commands
            if re.match("srun|salloc|sbatch|sjupyter", command.text)
            for name in PARTITION.findall(command.text)
        ]
        wrong += [
            f"{block.page}:{line}: the page explains no ``-p {name}``"
            for line, name in partitions
            if name not in explained
        ]
    assert wrong == []


AMOUNT = re.compile(r" (?:--mem=|--time=|-t )(\d\S*)")
ROUND = {
    *("100M", "500M", "1G", "2G", "3G", "4G", "8G"),
    *("00:05:00", "00:10:00", "00:30:00", "02:00:00", "04:00:00"),
}


def test_a_command_asks_for_a_round_amount():
    """Another amount would work too, so nothing else shows a slip in a digit."""
    assert [
        f"{block.page}:{command.line}: --mem or --time is {amount}; one of {sorted(ROUND)}, please"
        for block in BLOCKS
        for command in block.commands
        for amount in AMOUNT.findall(command.text)
        if amount not in ROUND
    ] == []


def test_commands_through_the_gateway_run_outside():
    gateway = cluster.facts().hosts.gateway
    assert [
        f"{block.page}:{command.line}: it is typed on {command.host}"
        for block in BLOCKS
        for command in block.commands
        if gateway in command.text and command.host != "outside"
    ] == []


def test_no_command_on_the_cluster_logs_in_to_it():
    """From the login node the command would work too, but teach something else."""
    hosts = cluster.facts().hosts
    assert [
        f"{block.page}:{command.line}: it is typed on {command.host}"
        for block in BLOCKS
        for command in block.commands
        if hosts.login in command.text and command.host in (hosts.short, hosts.node)
    ] == []


LOAD, SHOWS = (
    re.compile("module load"),
    re.compile(r"module (?!load)|env\b|echo \$|printenv"),
)  # a block that shows the variables is already compared with its output
LOADS = [
    block
    for block in RUN
    if any(LOAD.match(command.text) for command in block.commands[:-1])
    and not any(SHOWS.match(command.text) for command in block.commands)
]


@pytest.mark.parametrize("block", LOADS, ids=lambda block: block.name)
def test_a_loaded_module_has_the_programs_that_follow(block, triton):
    """The next program of the block must come from the module. Without it, another module would
    work too, but teach something else.
    """
    place = next(
        number for number, command in enumerate(block.commands) if LOAD.match(command.text)
    )
    load = block.commands[place]
    rest = [command for command in block.commands[place + 1 :] if command.host == load.host]
    programs = {
        program
        for command in rest
        for words in simple_commands(command.text)
        for program in [next((word for word in words if "=" not in word), "")]
        if re.fullmatch(r"[\w-]+", program)
    }
    look = (
        f"before=:$PATH:; {load.text}; for one in {' '.join(sorted(programs))}; do "
        f"found=$(type -P $one) && case $before in *:${{found%/*}}:*) ;; *) echo $one;; esac; "
        "done"
    )
    assert triton.run("login", look, triton.account()).stdout.split(), (
        f"{block.page}:{load.line}: no program that follows on that host is of that "
        f"module: {', '.join(sorted(programs))}"
    )


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.name)
def test_the_block_does_what_the_page_shows(block, readers, record_property):
    record_property("console block", block.page)
    for command in block.commands:
        record_property("typed on", command.host)
    fault = readers[block.page].outcomes[block.line].result(timeout=600)
    if fault:
        pytest.fail(fault, pytrace=False)


@pytest.mark.claims(
    "A command that cannot run on the small cluster stands in "
    "``tools/proof/console_blocks.toml``, with a reason that a reader "
    "accepts."
)
def test_few_blocks_are_not_run_each_with_a_reason():
    code = {(block.page, block.commands[0].text) for block in BLOCKS}
    code |= {(page, lines) for page in pages.sources() for _, _, lines in pages.other_code(page)}
    listed = {(page, command) for page, commands in NOT_RUN.items() for command in commands}
    assert listed <= code, f"no block of the guide begins with {sorted(listed - code)}"
    for page, command in sorted(listed):
        reason = NOT_RUN[page][command]
        assert len(reason.split()) > 4, f"{page}: {command}: a reason that a reader accepts, please"
    assert len(BLOCKS) - len(RUN) <= MOST_NOT_RUN * len(BLOCKS)


@pytest.mark.parametrize("page", pages.sources())
def test_other_code_is_a_file_that_a_test_uses_or_has_a_reason(page):
    for line, language, lines in pages.other_code(page):
        assert lines in NOT_RUN.get(page, {}), (
            f"{page}:{line}: {language} is not executed: make it a console block, or a "
            f"rendered-file, or say why not in {LIST.name}: {lines}"
        )


@pytest.mark.parametrize("page", pages.sources())
def test_what_a_tab_calls_inside_or_outside_is_typed_there(page):
    text = pages.read(page)
    for tab in re.finditer(
        r"tab-item:: (Inside|Outside)\n(?:(?!tab-item).)*?username@(\w+):", text, re.DOTALL
    ):
        line = text.count("\n", 0, tab.start()) + 1
        assert tab[2] == {"Inside": "laptop", "Outside": "outside"}[tab[1]], (
            f"{page}:{line}: {tab[1]} is another computer"
        )


WRONG = {
    "a wrong option": (f"{LOGIN}:~$ squeue --mee\n...", "it ended with status 1"),
    "a command that is not there": (f"{LOGIN}:~$ squeeu", "it printed something else"),
    "a command of the cluster on a laptop": (
        "username@laptop:~$ squeue --me\n...",
        "it ended with status 127",
    ),
    "another output": (f"{LOGIN}:~$ echo one\ntwo", "it printed something else"),
    "an output that does not come": (f"{LOGIN}:~$ true\n...", "it printed something else"),
    "an output that is not shown": (f"{LOGIN}:~$ echo one", "it printed something else"),
    "a failure that is not shown": (f"{LOGIN}:~$ false", "it ended with status 1"),
    "a failure behind a pipe": (f"{LOGIN}:~$ cat nothing | sort\n...", "it ended with status 1"),
    "another folder": (f"{LOGIN}:~/work$ pwd\n...", "the prompt shows the folder ~/work"),
    "no such host": ("username@trion:~$ hostname\n...", "there is no host 'trion'"),
    "a node without a job": (
        f"{NODE}:~$ hostname\n...",
        f"no terminal of the reader is on {cluster.facts().hosts.node}",
    ),
    "a wrong host": (
        "username@laptop:~$ ssh -o ConnectTimeout=3 nowhere.example.org hostname\n...",
        "it ended with status 255",
    ),
    "a command that does not end": (
        f"{LOGIN}:~$ sleep 60",
        "the prompt did not come back in 5 seconds",
    ),
}


@pytest.mark.claims(
    "Each block with a prompt runs in page order, in a terminal of the computer that its "
    "prompt names:",
    "types each command where the prompt says.",
    "What is printed must be what is shown; nothing shown means that nothing is printed. "
    "An exit status other than 0 is an "
    "error, unless the page shows a message.",
)
def test_the_reader_reports_faults(triton):
    readers = {
        name: Reader(triton, name, pages.blocks(name, _page(text)), patience=5)
        for name, (text, _) in WRONG.items()
    }
    for reader in readers.values():
        reader.start()
    for name, (_, message) in WRONG.items():
        fault = readers[name].outcomes[1].result(timeout=120)
        assert fault.startswith(f"{name}:3: ") and message in fault, f"{name}: {fault!r}"


def _page(text):
    return ".. code-block:: console\n\n" + "".join(f"   {line}\n" for line in text.splitlines())


@pytest.mark.claims("``username`` stands for its name.")
def test_the_reader_accepts_correct_blocks(triton):
    hosts, port = cluster.facts().hosts, cluster.facts().proxy.port
    text = (
        f"username@laptop:~$ ssh -D {port} username@{hosts.login}\nusername@laptop:~$ "
        "cd /tmp\nusername@laptop:/tmp$ pwd\n/tmp\n"
        f"{LOGIN}:~$ hostname\n{hosts.short}...\n{LOGIN}:~$ ls nothing\nls: cannot "
        "access 'nothing'..."
    )
    reader = Reader(triton, "right", pages.blocks("right", _page(text)), patience=20)
    reader.start()
    assert reader.outcomes[1].result(timeout=60) == ""


def test_a_running_command_stays_in_its_window(triton):
    text = f"{LOGIN}:~$ echo ready; sleep 300\nready\n{LOGIN}:~$ pgrep --exact sleep > /dev/null"
    reader = Reader(triton, "on", pages.blocks("on", _page(text)), patience=40)
    reader.start()
    assert reader.outcomes[1].result(timeout=60) == ""


def test_a_block_without_a_prompt_is_no_console_block():
    with pytest.raises(ValueError, match=r"page\.rst:3: a console block begins with a prompt"):
        pages.blocks("page.rst", _page("squeue --me"))


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", "", False),
        ("", "", True),
        ("", "a", False),
        ("a  ", "a", True),
        ("...", "a\nb", True),
        ("...", "", False),
        ("a\n...", "a", True),
        ("a\n...", "a\nb", True),
        ("...\nb", "b", True),
        ("...\nb", "ab", False),
        ("a...c", "abc", True),
        ("a...c", "a\nc", True),
        ("...b", "ab", True),
        ("a.c", "abc", False),
        ("a\n...\nc", "a\nc", True),
        ("a\n...\nc", "a\nb\nd", False),
        ("  <number:4711> R", "12 R", True),
        ("<number:4711>  R", "123456 R", True),
        ("<number:4711> R", "12 PD", False),
        ("<number:4711>.batch", "x.batch", False),
        ("<time:0:02> <word:c1>", "1-02:03:04 c2", True),
    ],
)
@pytest.mark.claims(
    "What is printed has to be what the page shows; three dots stand for what varies.",
    "Three dots stand for anything, and ``<KIND:EXAMPLE>`` for anything of its kind,",
)
def test_dots_and_examples_stand_for_what_varies(shown, printed, same):
    assert pages.matches(shown.splitlines(), printed.splitlines()) == same


@pytest.mark.parametrize("name", pages.sources())
def test_each_example_is_one_of_its_kind(name):
    for number, line in enumerate(pages.filled(name).splitlines(), start=1):
        for match in EXAMPLE.finditer(line):
            kind = match["kind"]
            assert re.fullmatch(KINDS[kind], match["example"]), (
                f"{name}:{number}: {match[0]} is no {kind} as outputs have it: _ext/examples.py"
            )
