"""What the tests of the planner share."""

from __future__ import annotations

import pytest

from autonla.planner import fast_path, planning


@pytest.fixture(autouse=True)
def _nothing_remembered():
    """Some tests replace the algorithms of a kind: what was planned with others must not be remembered."""
    planning._memory.clear()
    fast_path._libraries.clear()
