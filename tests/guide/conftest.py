"""The reader whom the tests of a page share."""

import pytest


@pytest.fixture(scope="module")
def user(triton):
    return triton.account()
