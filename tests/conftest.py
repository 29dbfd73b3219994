"""Fixtures and marks that every test shares."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED_DATA = Path(os.environ.get("AUTONLA_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared/data")


def pytest_report_header() -> str:
    """Say which autonla is under test: the checkout or an installed wheel."""
    spec = importlib.util.find_spec("autonla")
    return f"autonla: {spec.origin if spec else 'not importable'}"


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.data)
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if gpu_items and not _has_cuda():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Directory of real matrices; a test that asks for it carries the mark `data`."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no shared data at {SHARED_DATA}; AUTONLA_SHARED_DATA says where it is")
    return SHARED_DATA


def _own_home(path: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTONLA_HOME", str(path))
        patch.delenv("AUTONLA_PROFILE", raising=False)
        yield path


@pytest.fixture(scope="session", autouse=True)
def _session_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For fixtures of wider scope, which run before `autonla_home`."""
    yield from _own_home(tmp_path_factory.mktemp("autonla-session-home"))


@pytest.fixture(autouse=True)
def autonla_home(tmp_path_factory: pytest.TempPathFactory, _session_home: Path) -> Iterator[Path]:
    """An empty home for every test: none sees the profile and records of the user or of another test."""
    yield from _own_home(tmp_path_factory.mktemp("autonla-home"))
