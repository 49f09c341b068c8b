"""Every command that the guide prints is typed on the small Triton, and prints what the guide says."""
import tomllib
from pathlib import Path

import pytest
from guide import pages
from guide.reader import Reader

NOT_RUN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
BLOCKS = {block.name: block for page in pages.sources() for block in pages.blocks(page)}


def reason_not_to_run(block):
    """Why `block` cannot be run, or None. The list names blocks by page and first command, since lines move."""
    return NOT_RUN.get(block.page, {}).get(block.commands[0].text)


@pytest.fixture(scope="module")
def readers(triton, request):
    """A reader for each page that this run asks about, all at work at once."""
    wanted = [item.callspec.params["block"] for item in request.session.items if item.module is request.module and hasattr(item, "callspec")
              and "block" in item.callspec.params]
    last = {}
    for block in wanted:
        last[block.page] = max(block.line, last.get(block.page, 0))
    found = {page: Reader(triton, page, line) for page, line in last.items()}
    for reader in found.values():
        reader.start()
    yield found
    for reader in found.values():
        reader.join(300)


@pytest.mark.parametrize("block", [block for block in BLOCKS.values() if not reason_not_to_run(block)], ids=lambda block: block.name)
def test_the_block_does_what_the_page_shows(block, readers, record_property):
    record_property("kind", "console block")
    fault = readers[block.page].outcomes[block.line].result(timeout=600)
    if fault:
        pytest.fail(fault, pytrace=False)


def test_few_blocks_are_not_run_and_each_has_a_reason(record_property):
    listed = {(page, command) for page, commands in NOT_RUN.items() for command in commands}
    there = {(block.page, block.commands[0].text) for block in BLOCKS.values()}
    assert listed <= there, f"no block of the guide begins with {sorted(listed - there)}"
    for page, commands in NOT_RUN.items():
        for command, reason in commands.items():
            assert len(reason.split()) > 4, f"{page}: {command}: a reason that a reader accepts, please"
            record_property("not_covered", f"{page}, the command {command}: {reason}")
