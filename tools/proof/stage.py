"""Open a terminal in which you type the blocks of a page by hand, on a small Triton that is
prepared for this page.

    make stage PAGE=triton/tut/storage.rst              before the first block
    make stage PAGE=triton/tut/storage.rst BLOCK=121    before the block at line 121: all blocks
                                                        above it are typed first

The cluster ends with the shell.
"""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from tools import pages
from tools.cluster import cluster
from tools.cluster.small_triton import Triton
from tools.cluster.terminal import PASSPHRASE, Stuck
from tools.pages import Block
from tools.proof.reader import Reader, typed


class StageError(Exception):
    """An error whose text says what is wrong with PAGE or BLOCK, and what to write instead."""


def choose(page: str, line: str | None) -> tuple[list[Block], Block]:
    """(the blocks to type first, the block for the person) for PAGE=`page` and BLOCK=`line`.

    Without a line, the person begins with the first block. Raises StageError.
    """
    if page not in pages.sources():
        raise StageError(
            f"Which page? There is no {page or 'name of one'} here: make stage "
            "PAGE=triton/tut/storage.rst"
        )
    blocks = typed(page)
    if not blocks:
        raise StageError(
            f"{page} has no console block that is typed, so there is nothing to stand before"
        )
    if line is None:
        return [], blocks[0]
    for number, block in enumerate(blocks):
        if str(line).isdecimal() and block.line <= int(line) <= _last_line(block):
            return blocks[:number], block
    raise StageError(
        f"{page} has no typed block at line {line}; they begin at lines "
        f"{', '.join(str(block.line) for block in blocks)}"
    )


def _last_line(block: Block) -> int:
    return block.commands[-1].line + len(block.commands[-1].shown)


def play(triton: Triton, page: str, first: list[Block], block: Block) -> None:
    """Set the stage of `page`, type the blocks `first`, and connect the terminal of `block` with
    the person's own.
    """
    reader = Reader(triton, page, first)
    try:
        fault = reader.set_stage()
        for one in first:
            fault = fault or reader.type(one)
        if fault:
            print(f"This went wrong on the way, and nothing was typed after it:\n{fault}\n")
        host = block.commands[0].host
        try:
            terminal = reader.terminal(host)
        except (KeyError, LookupError) as error:
            print(f"{error.args[0]}; so this is the login node.")
            terminal = reader.terminal(cluster.facts().hosts.short)
        reader.save_files(block, terminal.host)
        print(f"{block.name}, and username is {reader.user}:")
        for command in block.commands:
            print(f"  {reader.own(f'username@{command.host}:{command.folder}$ {command.text}')}")
        print(
            f"The password is {triton.password(reader.user)}, and {PASSPHRASE} the "
            "passphrase of keys that were made.\n"
            f"One more terminal: SMALL_TRITON={triton.state} tools/cluster/on "
            f"login:{reader.user}\nTo end: exit",
            flush=True,
        )
        terminal.hand_over()
    finally:
        reader.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page")
    parser.add_argument("--block", metavar="LINE")
    options = parser.parse_args(arguments)
    page = os.path.normpath(options.page) if options.page else ""
    try:
        first, block = choose(page, options.block)
        if not sys.stdin.isatty():
            raise cluster.ClusterError("A stage is for a person at a terminal: call it from one")
        # A closed window ends the cluster too.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        with tempfile.TemporaryDirectory() as folder:
            state = Path(folder) / "state"
            try:
                cluster.up(state=state, tied=True)
                play(Triton(state), page, first, block)
            finally:
                cluster.down(state)
    except StageError as error:
        print(error, file=sys.stderr)
        return 2
    except (cluster.ClusterError, Stuck) as error:
        print(error if str(error) else "No shell of the reader has answered", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
