"""Memory limits that the operating system enforces: each case in a process of its own, under RLIMIT_AS.

What a budget allows, and what a forecast says, is set as the limit on the address space beyond what the process holds
already (`SLACK` more, for stacks of threads and what the allocator rounds up). Resident memory is read off the
high-water mark that the kernel keeps.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autonla.cost_models.memory import PeakMemory

ROOT = Path(__file__).resolve().parents[2]
SLACK = 24e6  # [B]
NOISE = 1e6  # pages that Python itself touches on the way [B]
# Arrays come from the system and go back to it: no memory is used again without being seen.
MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536"}
# Pools that take turns, beside other tests, would spend most of the time waiting for each other.
THREADS = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits and high-water marks are those of Linux"),
]

PROBLEMS = ["general", "positive definite", "tall", "torch", "float32", "integers", "far from unit size", "rank"]

SETTING = '''
import json, resource, sys
import numpy as np, torch
import autonla as nla
from autonla.cost_models.memory import PeakMemory
from autonla.planner.planning import machine_of
from tests._support.machine import synthetic_profile

PROFILE, SLACK = synthetic_profile(), float(sys.argv[2])
rng = np.random.default_rng(0)


def problem(name):
    """The problem, its accuracy, and a small one of the same sort."""
    b = rng.standard_normal(40000)
    if name == "general":
        make = lambda n: nla.LinearSystem(rng.standard_normal((n, n)), b[:n])
        return make(1200), 1e-10, make(60)
    if name == "positive definite":
        def make(n):
            A = rng.standard_normal((n, n))
            return nla.LinearSystem(A @ A.T + n * np.eye(n), b[:n], assume="spd")
        return make(1000), 1e-10, make(60)
    if name == "rank":
        def make(m):
            A = (rng.standard_normal((m, 60)) * 0.8 ** np.arange(60)) @ rng.standard_normal((60, m // 2))
            return nla.LowRank(A + 1e-6 * rng.standard_normal(A.shape), rank=20)
        return make(1600), 0.05, make(160)
    convert, accuracy = {
        "tall": (lambda a: a, 1e-8),
        "torch": (torch.from_numpy, 1e-8),
        "float32": (lambda a: a.astype("float32"), 1e-3),
        "integers": (lambda a: np.rint(9.0 * a).astype("int8") if a.ndim == 2 else a, 1e-8),
        "far from unit size": (lambda a: 1e80 * a, 1e-8),
    }[name]
    make = lambda m: nla.LeastSquares(convert(rng.standard_normal((m, 120))), convert(b[:m]))
    return make(20000), accuracy, make(3000)


def held(key):
    for line in open("/proc/self/status"):
        if line.startswith(key + ":"):
            return 1024 * int(line.split()[1])


class Limited:
    """The block may take so much more address space; `bytes` is what became resident."""

    def __init__(self, size):
        self.size = size

    def __enter__(self):
        soft = int(held("VmSize") + self.size + SLACK)
        resource.setrlimit(resource.RLIMIT_AS, (soft, resource.RLIM_INFINITY))
        self.memory = PeakMemory().__enter__()
        return self

    def __exit__(self, *error):
        self.memory.__exit__(*error)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.bytes = self.memory.bytes


def solved(solve):
    """What came of it, as plain data."""
    try:
        solution = solve()
    except nla.AutonlaError as error:
        kind, plan = getattr(error, "resource", ""), getattr(error, "plan", None)
        return {"error": type(error).__name__, "resource": kind, "planned": plan is not None, "text": str(error)}
    attempts = [[a.label, a.outcome] for a in solution.record.attempts]
    return {"status": solution.status, "bound": solution.certificate.bound, "attempts": attempts}


def one_of_each(plan):
    """A candidate of each algorithm on each library."""
    found = {}
    for candidate in plan.candidates:
        if candidate.forecast is not None:
            library = candidate.label.partition("[")[2].split()[0]
            found.setdefault((candidate.algorithm, library), candidate)
    return found.values()


def run_all(plan):
    for candidate in one_of_each(plan):
        try:
            plan.run(candidate=candidate)
        except nla.AutonlaError:
            pass


machine_of(None)  # its spot check takes memory of its own, once in a process
large, accuracy, small = problem(sys.argv[1])
budget = nla.Budget(accuracy=accuracy)
run_all(nla.plan(small, budget, rng=0, profile=PROFILE))  # imports and compiles
'''

EVERY_CANDIDATE = """
plan = nla.plan(large, budget, rng=0, profile=PROFILE)
run_all(plan)  # a BLAS touches its buffers when a product is first as large as that
for candidate in one_of_each(plan):
    allowed = candidate.forecast.bytes.high
    with Limited(allowed) as limited:
        told = solved(lambda: plan.run(candidate=candidate))
    print(json.dumps({"allowed": allowed, "peak": limited.bytes, "label": candidate.label, **told}))
"""

BUDGETS = """
free = nla.plan(large, budget, rng=0, profile=PROFILE)
run_all(free)
copied = free._prepared.copied_bytes
sizes = sorted({copied + c.forecast.bytes.high for c in free.candidates if c.forecast})
for size in (sizes[0], sizes[len(sizes) // 2], sizes[-1]):
    for factor in (0.9, 1.02):
        allowed = factor * size
        with Limited(allowed) as limited:
            how = nla.Budget(accuracy=accuracy, memory=allowed)
            told = solved(lambda: nla.solve(large, how, rng=0, profile=PROFILE))
        print(json.dumps({"allowed": allowed, "peak": limited.bytes, "least": sizes[0], "copied": copied, **told}))
"""

EXHAUSTED = """
free = nla.plan(large, budget, rng=0, profile=PROFILE)
run_all(free)
SLACK = 0.0
sizes = sorted(c.forecast.bytes.median for c in free.candidates if c.forecast)
for allowed in (0.8 * 8 * large.A.size / 2, 1.3 * sizes[0], 1e9):
    with Limited(allowed) as limited:
        told = solved(lambda: nla.solve(large, budget, rng=0, profile=PROFILE))
    print(json.dumps({"allowed": allowed, "peak": limited.bytes, **told}))
"""


def reported(script: str, name: str) -> list[dict[str, Any]]:
    """The lines that a script writes, in a process of its own."""
    with PeakMemory() as memory:
        pass
    if memory.method != "high-water mark":
        pytest.skip("the high-water mark of resident memory cannot be reset here")
    path = os.pathsep.join((str(ROOT / ".link"), str(ROOT)))
    environment = {**os.environ, **MALLOC, **THREADS, "PYTHONPATH": path, "AUTONLA_RECORDS": "0"}
    done = subprocess.run(
        [sys.executable, "-c", SETTING + script, name, str(SLACK)],
        env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_candidate_keeps_to_its_forecast(name):
    """It runs where no more may be had, and nothing it does is resident beyond that."""
    runs = reported(EVERY_CANDIDATE, name)
    assert len(runs) >= 5
    assert {run["label"].partition("[")[2].split()[0] for run in runs} >= {"scipy", "torch"}
    for run in runs:
        assert "error" not in run, run
        assert not any("memory" in outcome for _, outcome in run["attempts"]), run
        assert run["peak"] <= run["allowed"] + NOISE, run
    # A forecast that is far too high would keep this as well, and refuse what fits.
    assert sum(run["peak"] > 0.3 * run["allowed"] for run in runs) >= len(runs) // 3


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_memory_budget_is_kept(name):
    """Copies that dtype or scaling ask for are part of it."""
    runs = reported(BUDGETS, name)
    assert len(runs) == 6
    for run in runs:
        assert run["peak"] <= run["allowed"] + NOISE, run
        if run["allowed"] < run["least"]:
            assert run["error"] == "InfeasibleBudget", run
            assert run["planned"]
        else:
            assert run["status"] == "certified", run
            assert not any("memory" in outcome for _, outcome in run["attempts"]), run
    assert any("error" in run for run in runs)
    if name in ("integers", "far from unit size"):
        assert runs[0]["copied"] >= 8 * 20000 * 120


@pytest.mark.parametrize("name", ["general", "positive definite"])
def test_memory_that_is_not_there(name):
    """Without a budget: too little for anything, enough for the leanest, and then all again."""
    nothing, lean, plenty = reported(EXHAUSTED, name)
    assert nothing["error"] == "BudgetExceeded", nothing
    assert nothing["resource"] == "memory"
    assert nothing["planned"]
    assert "Unable to allocate" in nothing["text"]
    assert lean["status"] == plenty["status"] == "certified"
    assert lean["peak"] <= lean["allowed"] + NOISE
