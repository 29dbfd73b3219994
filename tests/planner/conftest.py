"""What the tests of the planner share."""

from __future__ import annotations

import pytest

from autonla.planner import fast_path, planning
from autonla.planner.kinds.linear_system import LinearSystemKind


@pytest.fixture(autouse=True)
def _nothing_remembered():
    """Some tests replace the algorithms of a kind: what was planned with others must not be remembered."""
    planning._enumerated.cache_clear()
    planning._priced.cache_clear()
    fast_path._on_the_fastest_library.cache_clear()


@pytest.fixture
def use(monkeypatch):
    """Make these the only algorithms for linear systems, with no probes but these."""

    def install(*algorithms, probes=()):
        monkeypatch.setattr(LinearSystemKind, "algorithms", property(lambda self: algorithms))
        monkeypatch.setattr(LinearSystemKind, "probes", property(lambda self: probes))

    return install
