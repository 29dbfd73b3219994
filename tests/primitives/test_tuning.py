"""Free parameters of the algorithms: their ranges, and that each does what it is there for."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from autonla.primitives.evidence import Evidence
from autonla.primitives.interval import Interval
from autonla.primitives.least_squares import randomized_cholesky_qr, spir
from autonla.primitives.low_rank import block_krylov, randomized_svd
from autonla.primitives.task import Task
from autonla.primitives.tuning import DEFAULT, RANGES, Tuning
from autonla.probes import range_sketch, sketched_least_squares
from tests._support import matrices, spectra

TALL = Task("least_squares", 4000, 30, target=1e-10)
LOW = Task("low_rank", 300, 200, nrhs=0, rank=20, target=0.05)


def tall(condition: float):
    rng = np.random.default_rng(1)
    return matrices.least_squares(matrices.with_spectrum(4000, 30, spectra.geometric(30, condition), rng), 0.1, rng)


def test_every_parameter_has_a_range_with_its_default_inside():
    assert {field.name for field in fields(Tuning)} == set(RANGES)
    for name, (low, high) in RANGES.items():
        assert low <= getattr(DEFAULT, name) <= high
        for value in (low, high):
            assert getattr(Tuning.of({name: float(value)}), name) == value


@pytest.mark.parametrize("name", RANGES)
def test_outside_its_range(name):
    low, high = RANGES[name]
    for value in (low - 1, high + 1, float("nan")):
        with pytest.raises(ValueError, match=name):
            Tuning.of({name: value})


def test_not_whole_or_not_known():
    with pytest.raises(ValueError, match=r"sketch_factor = 4.5 is not a whole number from 3 to 10"):
        Tuning.of({"sketch_factor": 4.5})
    with pytest.raises(ValueError, match="no parameter 'sketchfactor'; there are sketch_factor, nonzeros"):
        Tuning.of({"sketchfactor": 4.0})
    assert Tuning.of({}) == DEFAULT
    assert Tuning.of({"nonzeros": 6.0}) == replace(DEFAULT, nonzeros=6)


def test_the_sketch_of_spir():
    task = replace(TALL, tuning=Tuning(sketch_factor=7, nonzeros=5))
    assert {o.factor for o in spir.options(task, Evidence()) if o.sketch == "sparse_sign"} == {7, 21}
    seen = Evidence(coherence=Interval(2.0, 1.0, 4.0))  # a probe has left its sketch
    assert {o.factor for o in spir.options(task, seen)} == {4, 7, 21}
    problem = tall(1e6)
    out = spir.solve(problem.A, problem.b, task, spir.Options(factor=7), Evidence(), {})
    sketch = out.by_products["sketch"]
    assert (sketch.rows, sketch.nonzeros) == (210, 5)
    assert any(call.dims == (4000, 30, 210, 5) for call in spir.work(task, Evidence(), spir.Options(factor=7)).calls)
    x = np.linalg.lstsq(problem.A, problem.b)[0]
    assert np.linalg.norm(problem.A @ (out.value - x)) < 1e-9 * np.linalg.norm(problem.b)


def test_the_sketch_of_the_probe_has_the_nonzeros_that_are_forecast():
    problem = tall(10.0)
    for nonzeros in (4, 9):
        task = replace(TALL, tuning=Tuning(nonzeros=nonzeros))
        _, left = sketched_least_squares.run(problem.A, problem.b, task, Evidence())
        assert left["sketch"].nonzeros == nonzeros
        assert any(c.dims[-1] == nonzeros for c in sketched_least_squares.work(task).calls if c.kernel == "sparse_sign")


def test_the_blocks_of_randomized_cholesky_qr(monkeypatch):
    problem = tall(1e6)
    rows = []
    original = randomized_cholesky_qr._block
    monkeypatch.setattr(
        randomized_cholesky_qr, "_block", lambda lib, A, b, R: rows.append(len(A)) or original(lib, A, b, R)
    )
    answers = []
    for entries in (1 << 15, 1 << 23):
        rows.clear()
        task = replace(TALL, tuning=Tuning(panel_entries=entries))
        options = randomized_cholesky_qr.Options(rows=120)
        answers.append(randomized_cholesky_qr.solve(problem.A, problem.b, task, options, Evidence(), {}).value)
        work = randomized_cholesky_qr.work(task, Evidence(), options)
        (priced,) = (call for call in work.calls if call.kernel == "trsm_right")
        assert rows[0] == priced.dims[0]
        assert rows[0] * 30 <= entries
    assert rows == [4000]
    assert np.allclose(*(problem.A @ x for x in answers), rtol=0.0, atol=1e-10 * np.linalg.norm(problem.b))


def test_oversampling():
    task = replace(LOW, tuning=Tuning(oversampling=6))
    assert {o.oversampling for o in randomized_svd.options(task, Evidence())} == {6}
    assert block_krylov.plan(task, Evidence(), block_krylov.Options()) == (26, 1)
    assert range_sketch.columns(replace(task, m=3000, n=2000)) == 26


def test_the_narrow_block_of_krylov():
    task = replace(LOW, tuning=Tuning(krylov_width=0.5, krylov_steps=3))
    assert (10, 3) in {(o.block, o.steps) for o in block_krylov.options(task, Evidence())}
    assert (8, 4) in {(o.block, o.steps) for o in block_krylov.options(LOW, Evidence())}
