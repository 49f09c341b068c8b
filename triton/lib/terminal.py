"""How commands print words that others have chosen: names of files and kernels, messages of
programs. Some characters in them would be orders for the terminal.
"""

import io
import re
import sys


def printable(text: str) -> str:
    """`text`, with each invisible character written as in Python, such as \\x1b.

    Ends of lines and tabs stay.
    """
    return re.sub(
        r"[^\n\t -~]",
        lambda found: found[0] if found[0].isprintable() else ascii(found[0])[1:-1],
        text,
    )


class Printable(io.TextIOWrapper):
    def write(self, text: str) -> int:
        return super().write(printable(text))


def print_printable() -> None:
    """From now on, let all that is printed go through printable().

    sys.__stdout__ and sys.__stderr__ stay as they were.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        setattr(
            sys,
            name,
            Printable(
                stream.buffer, stream.encoding, stream.errors, line_buffering=stream.line_buffering
            ),
        )
