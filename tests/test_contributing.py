"""The recipe in CONTRIBUTING.md is code that works."""

from __future__ import annotations

import re
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autonla.primitives.algorithm import Algorithm
from autonla.primitives.evidence import Evidence
from autonla.primitives.interval import Interval
from autonla.primitives.kernels.catalogue import KERNELS
from autonla.primitives.task import Task

GUIDE = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"


@pytest.fixture
def cgls(monkeypatch: pytest.MonkeyPatch) -> Algorithm:
    if not GUIDE.is_file():
        pytest.skip("the tests were copied out of the checkout")
    match = re.search(r"```python\n(\"\"\"Conjugate gradients.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert match
    module = types.ModuleType("autonla.primitives.least_squares.cgls")
    module.__package__ = "autonla.primitives.least_squares"
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where dataclasses look names up
    exec(compile(match[1], str(GUIDE), "exec"), module.__dict__)
    return module.ALGORITHM


@pytest.mark.parametrize("backend", ["numpy", "scipy", "torch"])
@pytest.mark.parametrize("condition", [1.0, 30.0])
def test_recipe_solves_least_squares(cgls, backend, condition):
    rng = np.random.default_rng(7)
    m, n = 200, 50
    U, V = (np.linalg.qr(rng.standard_normal(shape))[0] for shape in ((m, n), (n, n)))
    A = (U * np.geomspace(1.0, 1.0 / condition, n)) @ V.T
    b = rng.standard_normal(m)
    task = Task("least_squares", m, n, target=1e-8)
    evidence = Evidence(condition=Interval.exact(condition))
    (options,) = (o for o in cgls.options(task, evidence) if o.backend == backend)
    assert cgls.applies(task, evidence, options) is None

    x = np.asarray(cgls.solve(A, b, task, options, evidence, {}).value)

    best = np.linalg.lstsq(A, b)[0]
    assert np.linalg.norm(A @ (x - best)) <= task.target * np.linalg.norm(b)
    assert cgls.error(task, evidence, options).high <= task.target
    assert cgls.label(options) == f"cgls[{backend} float64]"
    for call in cgls.work(task, evidence, options).calls:
        assert len(call.dims) == len(KERNELS[call.kernel].dims)


def test_recipe_says_why_not(cgls):
    task, evidence = Task("least_squares", 200, 50), Evidence(condition=Interval.exact(1e6))
    options = next(iter(cgls.options(task, evidence)))
    assert "condition number" in cgls.applies(task, evidence, options)
    assert "ridge" in cgls.applies(replace(task, ridge=1.0), evidence, options)
