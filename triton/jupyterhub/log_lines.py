"""Lines of a log: none is long, whatever a stranger asks for. Used by the hub, and by each server, whose configuration begins with it."""
import logging
from typing import Any

LONGEST = 2000      # characters of a message: an address of a request can have 60,000
_make_record = logging.getLogRecordFactory()


def short_record(*fields: Any, **more: Any) -> logging.LogRecord:
    """A record of the log, whose message is cut where it gets too long."""
    record = _make_record(*fields, **more)
    try:
        message = record.getMessage()
    except Exception:  # logging says itself what is wrong with its arguments
        return record
    if len(message) > LONGEST:
        record.msg = f"{message[:LONGEST]}... ({len(message)} characters)"
        record.args = ()
    return record


logging.setLogRecordFactory(short_record)
