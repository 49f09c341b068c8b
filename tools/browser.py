"""Chromium, and a handler that serves a folder to it."""

import http.server
import shutil

import pytest

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
# Chromium without a window of its own, which takes a third of the processor time of a page. It
# reads no proxy file, shows no PDF, and a page that it cannot open is empty.
HEADLESS = shutil.which("chromium-headless-shell") or CHROMIUM
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
needs_chromium = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium here: make system says how to get it"
)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the files of a folder, and logs nothing."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""
