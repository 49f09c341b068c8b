"""Log messages are short and limited in number, and contain neither secrets nor orders for a
terminal, whatever strangers request.

The hub and the proxy use this module, and the configuration of each server begins with it.
"""

import contextlib
import logging
import os
import re
import time
from typing import Any

LONGEST = 2000  # characters of a message; the address of a request can have 60,000
RATE, AT_ONCE = 20_000, 500_000  # bytes that a log may get per second, and at once
OF_A_KIND = 500, 20_000  # the same for each kind of message, in any case
KINDS = 200  # the number of kinds that are counted apart; all others count together
TRACEBACK = 2000  # approximate bytes of a traceback
# A secret in an address, which may be part of another address, or in a header, which the hub logs
# with an error.
SECRET = re.compile(
    r"((?:[?&]|3F|26)[a-z_]*(?:token|code|state|xsrf)(?:=|%(?:25)*3D)|-[xc]srftoken\": \")"
    r"(?:[^\s&%\"']|%(?!(?:25)*26))+",
    re.IGNORECASE,
)
# Characters that would be orders for the terminal of whoever reads the log.
ORDER = re.compile(r"[\0-\b\v-\x1f\x7f-\x9f]")
_make_record = logging.getLogRecordFactory()


def readable(text: str) -> str:
    """`text` without secrets, and with orders for a terminal written out, as Python does."""
    return ORDER.sub(lambda found: ascii(found[0])[1:-1], SECRET.sub(r"\1[secret]", text))


def short_record(*fields: Any, **more: Any) -> logging.LogRecord:
    """A log record whose message is readable() and has at most LONGEST characters."""
    record = _make_record(*fields, **more)
    try:
        message = record.getMessage()
    except Exception:  # logging itself reports wrong arguments
        return record
    text = readable(message)
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]}... ({len(message)} characters)"
    if text != message:
        record.msg, record.args = text, ()
    return record


logging.setLogRecordFactory(short_record)


class Allowance:
    """How many bytes may be written: `rate` per second, and `at_once` after a pause."""

    def __init__(self, rate: float = RATE, at_once: float = AT_ONCE) -> None:
        self.rate, self.at_once = rate, at_once
        self.bytes, self.looked, self.left_out = float(at_once), time.monotonic(), 0

    def takes(self, size: int) -> bool:
        now = time.monotonic()
        self.bytes, self.looked = (
            min(self.at_once, self.bytes + self.rate * (now - self.looked)),
            now,
        )
        if self.bytes < size:
            self.left_out += 1
            return False
        self.bytes -= size
        return True

    def left_out_note(self) -> str:
        """The text that tells how many lines were left out since the last call; "" if none."""
        number, self.left_out = self.left_out, 0
        return f" ({number} lines before this one were too many to keep)" if number else ""


class Few(logging.Filter):
    """A filter for a log handler: passes messages up to the allowance, and some of each kind in any
    case.

    So other messages remain visible when strangers cause the same one again and again. Messages are
    of one kind if they have the same level and error, and come from the same line of a program.
    """

    def __init__(self) -> None:
        super().__init__()
        self.all, self.kinds = Allowance(), dict[Any, Allowance]()

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # logging itself reports wrong arguments
            message = str(record.msg)
        kind: Any = (
            record.pathname,
            record.lineno,
            record.levelno,
            record.exc_info and record.exc_info[0],
        )
        if kind not in self.kinds and len(self.kinds) >= KINDS:
            kind = None
        own = self.kinds.setdefault(kind, Allowance(*OF_A_KIND))
        size = len(message) + 100 + TRACEBACK * bool(record.exc_info)
        if not (own.takes(size) or self.all.takes(size)):
            return False
        if self.all.left_out:
            record.msg, record.args = message + self.all.left_out_note(), ()
        return True


def copy(source: int, target: int) -> None:
    """Copy lines from one file to another until the input ends.

    Long lines are cut, and the rate of lines is limited. If the disk is full, lines are lost and
    copying goes on.
    """
    allowance, begun = Allowance(), b""

    def write(line: bytes) -> None:
        text = line.decode(errors="replace")
        short = readable(text[:LONGEST]) + (
            f"... ({len(text)} characters)" if len(text) > LONGEST else ""
        )
        if allowance.takes(len(short) + 1):
            with contextlib.suppress(OSError):
                os.write(target, (short + allowance.left_out_note() + "\n").encode())

    while data := os.read(source, 65536):
        *lines, begun = (begun + data).split(b"\n")
        for line in lines:
            write(line)
        begun = begun[:200_000]
    if begun:
        write(begun)
