"""Lines of a log: none is long, and none has a secret, whatever a stranger asks for.

Used by hub and proxy, and by each server, whose configuration begins with it.
"""

import contextlib
import logging
import os
import re
import time
from typing import Any

LONGEST = 2000  # characters of a message: the address of a request can have 60,000
RATE, AT_ONCE = 20_000, 500_000  # bytes that a log may get in a second, and at once
OF_A_KIND = 500, 20_000  # bytes that each kind of message may add in any case, in the same way
KINDS = 200  # so many kinds are counted apart; all others together
TRACEBACK = 2000  # bytes of a traceback, about
# A secret in an address, also in one that is part of another; and in a header, which the hub logs
# with an error.
SECRET = re.compile(
    r"((?:[?&]|3F|26)[a-z_]*(?:token|code|state|xsrf)(?:=|%(?:25)*3D)|-[xc]srftoken\": \")"
    r"(?:[^\s&%\"']|%(?!(?:25)*26))+",
    re.IGNORECASE,
)
_make_record = logging.getLogRecordFactory()


def short_record(*fields: Any, **more: Any) -> logging.LogRecord:
    """A record of the log, whose message is cut where it gets too long."""
    record = _make_record(*fields, **more)
    try:
        message = record.getMessage()
    except Exception:  # logging says itself what is wrong with its arguments
        return record
    told = SECRET.sub(r"\1[secret]", message)
    if len(told) > LONGEST:
        told = f"{told[:LONGEST]}... ({len(message)} characters)"
    if told != message:
        record.msg, record.args = told, ()
    return record


logging.setLogRecordFactory(short_record)


class Allowance:
    """How many bytes may be written: `rate` a second, and `at_once` when nothing was written
    before.
    """

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

    def told(self) -> str:
        """What to add to the next line, if lines before it were left out."""
        number, self.left_out = self.left_out, 0
        return f" ({number} lines before this one were too many to keep)" if number else ""


class Few(logging.Filter):
    """For the handler of a log: lets through as many messages as the allowance takes, and some of
    each kind in any case.

    So the log still has other messages when strangers cause the same one again and again. Messages
    are of one kind if they come from the same line of a program, with the same level and error.
    """

    def __init__(self) -> None:
        super().__init__()
        self.all, self.kinds = Allowance(), dict[Any, Allowance]()

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # logging says itself what is wrong with its arguments
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
            record.msg, record.args = message + self.all.told(), ()
        return True


def copy(source: int, target: int) -> None:
    """Copy lines from one file to another until there are no more.

    Each line is cut, and their number is bounded. On a full disk it goes on, and loses lines.
    """
    allowance, begun = Allowance(), b""

    def write(line: bytes) -> None:
        text = line.decode(errors="replace")
        short = SECRET.sub(r"\1[secret]", text[:LONGEST]) + (
            f"... ({len(text)} characters)" if len(text) > LONGEST else ""
        )
        if allowance.takes(len(short) + 1):
            with contextlib.suppress(OSError):
                os.write(target, (short + allowance.told() + "\n").encode())

    while data := os.read(source, 65536):
        *lines, begun = (begun + data).split(b"\n")
        for line in lines:
            write(line)
        begun = begun[:200_000]
    if begun:
        write(begun)
