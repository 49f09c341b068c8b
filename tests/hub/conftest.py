"""Fixtures for the running hub and the browser windows of its users."""

import pytest

from tools.cluster import hub, jupyter_server


@pytest.fixture(scope="module")
def services(triton):
    """The hub and its proxy, while they run."""
    hub.running(triton)


@pytest.fixture(scope="module")
def people(triton, services):
    """People at a reader's computer who call the hub's API."""
    asked = hub.People(triton)
    yield asked
    asked.close()


@pytest.fixture(scope="module")
def chromium(playwright, triton, services, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    with jupyter_server.browser(playwright, triton, folder) as running:
        yield running


@pytest.fixture
def visit(triton, chromium):
    """visit(user) opens a new window of that user, or of a new user."""
    windows = []

    def new(user=None):
        windows.append(hub.Visit(triton, user or triton.account(), chromium))
        return windows[-1]

    yield new
    for window in windows:
        window.close()


@pytest.fixture(scope="module")
def staying(triton, chromium):
    """A window of a user whose server runs from the first test that uses it to the last."""
    window = hub.Visit(triton, triton.account(), chromium)
    window.start(hub.TINY)
    yield window
    triton.run("login", "scancel --me", window.user, check=False)
    window.close()
