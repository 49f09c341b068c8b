"""Lines of a log: none is long, and none has a secret, whatever a stranger asks for. Used by hub and proxy, and by each server, whose configuration begins with it."""
import contextlib
import logging
import os
import re
import time
from typing import Any

LONGEST = 2000      # characters of a message: an address of a request can have 60,000
RATE, AT_ONCE = 20_000, 500_000     # bytes a second that the requests of strangers may add to a log, and at once
TRACEBACK = 2000    # bytes of one, about
# A secret in an address, also in one that is part of another.
SECRET = re.compile(r"((?:[?&]|3F|26)[a-z_]*(?:token|code|state)(?:=|%(?:25)*3D))(?:[^\s&%\"']|%(?!(?:25)*26))+", re.IGNORECASE)
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
    """How many bytes may be written: RATE a second, and AT_ONCE when nothing was written before."""

    def __init__(self) -> None:
        self.bytes, self.looked, self.left_out = float(AT_ONCE), time.monotonic(), 0

    def takes(self, size: int) -> bool:
        now = time.monotonic()
        self.bytes, self.looked = min(AT_ONCE, self.bytes + RATE * (now - self.looked)), now
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
    """Lets through as many of the messages that strangers bring about as the allowance takes: requests, and errors with their tracebacks."""

    def __init__(self, allowance: Allowance, *, all_messages: bool) -> None:
        super().__init__()
        self.allowance, self.all_messages = allowance, all_messages

    def filter(self, record: logging.LogRecord) -> bool:
        if not (record.exc_info or self.all_messages):
            return True
        if not self.allowance.takes(len(record.getMessage()) + 100 + TRACEBACK * bool(record.exc_info)):
            return False
        record.msg, record.args = record.getMessage() + self.allowance.told(), ()
        return True


def copy(source: int, target: int) -> None:
    """Copy lines from one file to another until there are no more, each cut and all bounded. A full disk is no end."""
    allowance, begun = Allowance(), b""

    def write(line: bytes) -> None:
        text = line.decode(errors="replace")
        short = SECRET.sub(r"\1[secret]", text[:LONGEST]) + (f"... ({len(text)} characters)" if len(text) > LONGEST else "")
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
