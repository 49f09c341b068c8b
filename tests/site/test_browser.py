"""A reader who copies a command in a browser gets the text that belongs into the terminal."""

import re

from tools.browser import needs_chromium

pytestmark = needs_chromium


def test_a_copy_button_copies_the_commands_alone(page):
    """The button leaves out prompts and outputs."""
    opened = page("triton/apps/jupyter/connecting.html")
    blocks = opened.locator("div.highlight-console")
    copied = 0
    for index in range(blocks.count()):
        block = blocks.nth(index)
        if not block.locator("button.copybtn").count() or not block.is_visible():
            continue
        lines = block.locator("pre").inner_text().splitlines()
        commands = [
            line.split("$ ", 1)[1]
            for line in lines
            if line.startswith("username@") and "$ " in line
        ]
        block.hover()
        block.locator("button.copybtn").click()
        text = opened.evaluate("navigator.clipboard.readText()")
        assert text.splitlines()[:1] == commands[:1] and not re.search(
            r"^username@[\w-]+:", text, re.MULTILINE
        )
        copied += 1
    assert copied >= 3 and not opened.faults
