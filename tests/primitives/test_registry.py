"""The registry: the built-in algorithms, those of other packages, and packages that are broken."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest

from autonla import primitives
from autonla.primitives import algorithms_for
from tests._support.fakes import fake


class Point:
    """An entry point that gives what it is told to."""

    def __init__(self, name: str, gives: Any) -> None:
        self.name, self._gives = name, gives

    def load(self) -> Any:
        if isinstance(self._gives, Exception):
            raise self._gives
        return self._gives


@pytest.fixture
def plugged_in(monkeypatch):
    """Install entry points; the registry is as it was afterwards."""

    def forget() -> None:
        algorithms_for.cache_clear()
        primitives._third_party.cache_clear()

    def install(*points: Point) -> None:
        asked = {primitives.ENTRY_POINT_GROUP: points}
        monkeypatch.setattr(primitives, "entry_points", lambda *, group: asked[group])
        forget()

    yield install
    monkeypatch.undo()
    forget()


def test_algorithms_of_other_packages_follow_the_built_in_ones(plugged_in):
    built_in = algorithms_for("linear_system")
    one, other, new = (
        fake(name, kind=kind) for name, kind in (("a", "linear_system"), ("b", "low_rank"), ("c", "new"))
    )
    plugged_in(Point("one", one), Point("several", iter([other, new])))
    assert algorithms_for("linear_system") == (*built_in, one)
    assert algorithms_for("low_rank")[-1] == other
    assert algorithms_for("new") == (new,)
    assert algorithms_for("nothing") == ()


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        (ImportError("no module named 'gone'"), "no module named 'gone'"),
        (["not an algorithm"], "str is not an autonla.primitives.Algorithm"),
        (3, "'int' object is not iterable"),
    ],
)
def test_a_broken_package_is_left_out_with_a_warning_that_names_it(plugged_in, gives, says):
    good = fake("good", kind="new")
    plugged_in(Point("broken", gives), Point("good", good))
    with pytest.warns(UserWarning, match=f"the algorithm plug-in 'broken' was left out: {says}"):
        assert algorithms_for("new") == (good,)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert algorithms_for("new") == (good,), "it is said once"


def test_what_a_broken_package_gave_before_it_broke_is_kept(plugged_in):
    first = fake("first", kind="new")
    plugged_in(Point("half", [first, None, replace(first, name="last")]))
    with pytest.warns(UserWarning, match="NoneType is not"):
        assert algorithms_for("new") == (first,)
