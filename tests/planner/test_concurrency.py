"""Threads and processes: the same answers, decisions and bits whoever asks, and no hangs.

What is promised: with the same inputs, seed, profile and number of threads a plan is the same, and so is every bit of
the answer of each of its candidates, in whatever thread or process it runs. Where the memory of an operand begins does
not matter as long as it is at a multiple of 16 bytes, as in arrays that NumPy and torch allocate themselves: MKL, in
torch, may round otherwise at other addresses. Not promised: the same bits from another number of threads.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import autonla as nla
from autonla.cost_models import spot_check
from autonla.planner import planning
from autonla.planner.solution import Solution
from tests._support.machine import synthetic_profile

PROFILE = synthetic_profile()
THREADS = 4
Problem = Any


def as_torch(a: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(a.copy())


def placed(offset: int) -> Callable[[np.ndarray], np.ndarray]:
    """Makes copies that begin `offset` bytes beyond a multiple of 64."""

    def copy(a: np.ndarray) -> np.ndarray:
        room = np.empty(a.nbytes + 128, np.uint8)
        skip = -room.ctypes.data % 64 + offset
        b = room[skip : skip + a.nbytes].view(a.dtype).reshape(a.shape)
        b[...] = a
        return b

    return copy


def problems(dtype: str) -> dict[str, Callable[[Callable[[np.ndarray], Any]], Problem]]:
    """Makers of a problem of every kind, from operands as a function gives them."""
    rng = np.random.default_rng(0)
    G = rng.standard_normal((220, 220)).astype(dtype)
    S = (G @ G.T + 220.0 * np.eye(220)).astype(dtype)
    T, b = rng.standard_normal((3000, 40)).astype(dtype), rng.standard_normal(3000).astype(dtype)
    W = np.ascontiguousarray(T[:200].T)
    V = np.linalg.qr(rng.standard_normal((150, 150)))[0]
    L = (rng.standard_normal((300, 150)) * np.geomspace(1.0, 1e-6, 150) @ V).astype(dtype)
    return {
        "general system": lambda given: nla.LinearSystem(given(G), given(b[:220])),
        "positive definite system": lambda given: nla.LinearSystem(given(S), given(b[:220])),
        "many right-hand sides": lambda given: nla.LinearSystem(given(G), given(T[:220].repeat(2, axis=1))),
        "tall": lambda given: nla.LeastSquares(given(T), given(b)),
        "wide": lambda given: nla.LeastSquares(given(W), given(b[:40])),
        "ridge": lambda given: nla.LeastSquares(given(T), given(b), ridge=0.1),
        "low rank": lambda given: nla.LowRank(given(L), rank=8),
        "by accuracy": lambda given: nla.LowRank(given(L)),
    }


def budget(name: str, dtype: str) -> nla.Budget:
    if name in ("low rank", "by accuracy"):
        return nla.Budget(accuracy=0.1 if name == "low rank" else 1e-2)
    return nla.Budget(accuracy=1e-9 if dtype == "float64" else 1e-4)


def bits(value: Any) -> str:
    """A digest of every bit of an answer."""
    parts = value if isinstance(value, tuple) else (value,)
    digest = hashlib.sha256()
    for part in parts:
        array = np.ascontiguousarray(part.numpy() if isinstance(part, torch.Tensor) else part)
        digest.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
    return digest.hexdigest()[:16]


def at_once(actions: list[Callable[[], Any]]) -> list[Any]:
    """What each of some actions returns, all begun at the same moment in a thread of its own."""
    barrier = threading.Barrier(len(actions))

    def wait_and(action: Callable[[], Any]) -> Any:
        barrier.wait(60)
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(wait_and, actions))


NAMES = tuple(problems("float64"))
FEW = ("general system", "tall", "low rank")


def solved(
    given: Callable, dtype: str, profile: Any, names: tuple[str, ...] = FEW
) -> dict[str, tuple[str, str, float, str]]:
    """Problems solved: what was chosen, the bits of the answer, its bound, and its status."""
    made = problems(dtype)
    found = {}
    for name in names:
        solution = nla.solve(made[name](given), budget(name, dtype), rng=7, profile=profile)
        found[name] = (
            solution.plan.chosen.label, bits(solution.value), solution.certificate.bound, solution.status,
        )  # fmt: skip
    return found


@functools.cache
def expected(library: str = "numpy") -> dict[str, tuple[str, str, float, str]]:
    """The same, planned on the synthetic machine, as this process finds it by itself."""
    return solved(as_torch if library == "torch" else np.copy, "float64", PROFILE)


def turned(names: tuple[str, ...], by: int) -> tuple[str, ...]:
    by %= len(names)
    return (*names[by:], *names[:by])


SETTINGS = [
    pytest.param(library, dtype, profile, id=f"{library} {dtype} {'planned' if profile else 'at once'}",
                 marks=() if (dtype == "float64") == (library == "numpy") else pytest.mark.slow)
    for library, dtype, profile in itertools.product(("numpy", "torch"), ("float64", "float32"), (PROFILE, None))
]  # fmt: skip


def check_four_threads(library: str, dtype: str, profile: Any, names: tuple[str, ...]) -> None:
    given = as_torch if library == "torch" else np.copy
    alone = solved(given, dtype, profile, names)
    assert {status for *_, status in alone.values()} == {"certified"}
    together = at_once([lambda i=i: solved(given, dtype, profile, turned(names, 2 * i)) for i in range(THREADS)])
    assert together == [alone] * THREADS


@pytest.mark.parametrize(("library", "dtype", "profile"), SETTINGS)
def test_four_threads_decide_and_answer_as_one(library, dtype, profile):
    check_four_threads(library, dtype, profile, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("profile", [PROFILE, None], ids=["planned", "at once"])
def test_and_so_do_they_with_every_kind_of_problem(library, profile):
    check_four_threads(library, "float64", profile, NAMES)


def test_four_threads_run_one_plan():
    made = problems("float64")
    for name in FEW:
        plan = nla.plan(made[name](np.copy), budget(name, "float64"), rng=7, profile=PROFILE)
        text, alone = plan.to_json(), bits(plan.run().value)
        assert at_once([lambda plan=plan: bits(plan.run().value)] * THREADS) == [alone] * THREADS
        assert plan.to_json() == text


def test_the_first_plans_of_a_process_are_made_with_one_profile(monkeypatch):
    """The spot check that scales the shipped profile takes times: of several, each would be another profile."""
    counter = itertools.count(1)

    def checked(profile: Any) -> spot_check.SpotCheck:
        number = next(counter)
        time.sleep(0.05)
        return spot_check.SpotCheck(1.0 + 0.1 * number, 1.0, 1.0, ())

    monkeypatch.setattr(spot_check, "spot_check", checked)
    planning._scaled_generic.cache_clear()
    try:
        machines = at_once([lambda: planning.machine_of(None)] * THREADS)
        assert len({id(machine.profile) for machine in machines}) == 1
        assert next(counter) == 2
    finally:
        planning._scaled_generic.cache_clear()


def test_what_is_written_down_when_first_asked_for_may_be_asked_for_at_once():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            solution = Solution(0.0, None, "certified", lambda: "a plan", lambda: "a record")  # type: ignore[arg-type]
            seen = at_once([lambda s=solution: (s.plan, s.record)] * 8)
            assert seen == [("a plan", "a record")] * 8
    finally:
        sys.setswitchinterval(interval)


# The same bits.


QUICK = (("general system", "float64"), ("wide", "float32"))
EVERY = [
    pytest.param(name, dtype, marks=() if (name, dtype) in QUICK else pytest.mark.slow)
    for name, dtype in itertools.product(NAMES, ("float64", "float32"))
]


@pytest.mark.parametrize(("name", "dtype"), EVERY)
def test_every_candidate_gives_the_same_bits_wherever_its_operands_begin(name, dtype):
    make = problems(dtype)[name]
    plan = nla.plan(make(np.copy), budget(name, dtype), rng=7, profile=PROFILE, rigor="estimate")
    ran, faults = 0, {}
    for candidate in plan.candidates:
        if candidate.forecast is None:
            continue
        seen = set()
        for offset in (0, 48):
            try:
                seen.add(bits(plan.run(make(placed(offset)), candidate=candidate).value))
            except nla.CertificationFailed as error:
                seen.add(f"not certified: {error}")
        ran += 1
        if len(seen) > 1:
            faults[candidate.label] = len(seen)
    assert ran >= 5
    assert faults == {}


def test_another_seed_is_another_sketch():
    """So the tests above can tell: bits of a randomized answer do change."""
    make = problems("float64")["low rank"]
    plan = nla.plan(make(np.copy), budget("low rank", "float64"), rng=7, profile=PROFILE)
    other = nla.plan(make(np.copy), budget("low rank", "float64"), rng=8, profile=PROFILE)
    label = next(c.label for c in plan.candidates if c.algorithm == "randomized_svd" and c.forecast is not None)
    assert bits(plan.run(candidate=label).value) != bits(other.run(candidate=label).value)


def child(*arguments: str, **environment: str) -> Any:
    """What this file prints, run as a program."""
    found = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, *arguments], capture_output=True, text=True, timeout=300,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    assert found.returncode == 0, f"{arguments}: {found.returncode} {found.stderr[-2000:]}"
    return json.loads(found.stdout)


@pytest.mark.parametrize("library", ["numpy", pytest.param("torch", marks=pytest.mark.slow)])
def test_another_process_gives_the_same_bits(library):
    assert child("solve", library) == {name: list(found) for name, found in expected(library).items()}


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "3"])
def test_another_number_of_threads_gives_certified_answers_and_the_same_plan(threads):
    there = child("solve", "numpy", OPENBLAS_NUM_THREADS=threads, OMP_NUM_THREADS=threads)
    for name, (label, _, _, status) in expected().items():
        assert (there[name][0], there[name][3]) == (label, status)


# Processes that are forked off, and others.

FORK = ("scipy", "torch", "numpy")
FORKS = [
    pytest.param(*pair, marks=() if pair in (("torch", "torch"), ("scipy", "scipy")) else pytest.mark.slow)
    for pair in itertools.product(FORK, FORK)
]


def normal_equations(library: str) -> None:
    """One run whose products are large enough for the threads of a library."""
    make = problems("float64")["tall"]
    plan = nla.plan(make(np.copy), budget("tall", "float64"), rng=7, profile=PROFILE, rigor="estimate")
    label = f"normal_equations[{library} float64]"
    assert plan.run(candidate=label).certificate.satisfied


def fork_after(parent: str, then: str) -> None:
    """Solve, fork, solve again in the child; ends with the child's status, or 99 where it never ends."""
    normal_equations(parent)
    if parent == "torch":
        torch.mm(torch.ones(700, 700), torch.ones(700, 700))
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            normal_equations(then)
            nla.solve(problems("float64")["general system"](np.copy), rng=1)
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            sys.stdout.write(json.dumps(os.waitstatus_to_exitcode(status)))
            return
        time.sleep(0.02)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    sys.stdout.write(json.dumps(99))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(("parent", "then"), FORKS)
def test_a_forked_child_solves_whatever_its_parent_had_run(parent, then):
    """Threads do not survive a fork: libraries that count on theirs would wait for ever."""
    assert child("fork", parent, then) == 0


def report(queue: Any, name: str) -> None:
    """In a worker: the bits of an answer."""
    found = nla.solve(problems("float64")[name](np.copy), budget(name, "float64"), rng=7, profile=PROFILE)
    queue.put((name, bits(found.value), found.status))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_of_multiprocessing(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    names = ("general system", "tall")
    workers = [context.Process(target=report, args=(queue, name)) for name in names]
    for worker in workers:
        worker.start()
    found = {name: (digest, status) for name, digest, status in (queue.get(timeout=120) for _ in names)}
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert found == {name: (expected()[name][1], "certified") for name in names}


# No state in modules but what is listed here.

ROOMS = ("planner", "primitives", "probes", "cost_models", "profiles")
CONTAINERS = {"dict", "list", "set", "defaultdict", "deque", "Counter", "OrderedDict", "bytearray", "WeakKeyDictionary"}
CHANGES = {
    "append", "appendleft", "extend", "insert", "pop", "popleft", "popitem", "clear", "update", "setdefault", "remove",
    "discard", "add", "sort", "reverse", "__setitem__",
}  # fmt: skip

CACHED = {
    # what one process finds out once: the same for all threads
    "cost_models.energy._counters_of": "counters of this machine",
    "profiles.fingerprint.processor": "this machine",
    "profiles.fingerprint.core_counts": "this machine",
    "profiles.fingerprint._version": "what is installed",
    "profiles.fingerprint._devices": "this machine",
    "profiles.records._version": "what is installed",
    "planner.kinds.kind_of": "one object without state for each kind",
    "primitives.algorithms_for": "the registry",
    "primitives._third_party": "the registry",
    "primitives.kernels.library": "one object without state for each library",
    "primitives.kernels._scipy._routine": "a function of LAPACK",
    "primitives.norms._ddot": "a function of BLAS",
    "primitives.autospec.eigenproblems.engine": "weights that are shipped",
    "primitives.autospec.functions.engine": "weights that are shipped",
    "primitives.autospec.linear_systems.engine": "weights that are shipped",
    # compiled code: compiled twice, it is the same
    "primitives.kernels._numba._sparse_sign_kernel": "compiled code",
    "primitives.kernels._numba._normal_residual_kernel": "compiled code",
    "primitives.kernels._numba._dot2_kernel": "compiled code",
    "primitives.kernels._numba._axpy2_kernel": "compiled code",
    # pure functions of their arguments: whoever computes them, the value is the same, and nobody changes it
    "primitives.least_squares._shared": "pure",
    "primitives.low_rank.randomized_svd": "pure",
    "primitives.low_rank._shared": "pure",
    "primitives.sparse_linear_system._iterations": "pure",
    "primitives.matrix_function._common": "pure",
    "primitives.matrix_function.polynomial": "pure",
    "planner.autospec.functions.table": "pure",
    "primitives.range_finder_theory.spectrum_from_leading": "pure",
    "primitives.range_finder_theory.range_error": "pure",
    "primitives.range_finder_theory.krylov_error": "pure",
    "profiles.store._file_name": "pure",
    "profiles.store._home": "pure, but for the variables that are part of the key",
    "planner.fast_path._on_the_fastest_library": "pure",
    "planner.planning._priced": "pure",
    "planner.planning._enumerated": "pure",
    "planner.bench.variants": "pure",
    "planner.demo.problems": "pure",
    # files as they were read: another copy is as good
    "profiles.store._generic": "a file of the package",
    "profiles.store._named": "a file, until it changes",
    "profiles.store._kept": "a file, until it changes",
    "cost_models.price._fits": "what a profile's tables were fitted to, and prices found with them",
    # what must be one in a process, made under a lock or harmless where it is not
    "planner.planning._scaled_generic": "a spot check: under a lock",
    "planner.planning._ready": "under the same lock",
    "profiles.records._records_in": "what waits to be written: every copy writes its own at exit",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Dotted names, without the package, and trees."""
    for room in ROOMS:
        root = Path(importlib.import_module(f"autonla.{room}").__path__[0]).resolve()
        for path in sorted(root.rglob("*.py")):
            parts = (room, *path.relative_to(root).with_suffix("").parts)
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def is_container(value: ast.expr | None) -> bool:
    if isinstance(value, (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)):
        return True
    return isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] in CONTAINERS


def containers(tree: ast.Module) -> set[str]:
    """Names of the containers that stand in a module, or in a class of it."""
    found = set()
    bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
    for statement in itertools.chain.from_iterable(bodies):
        if isinstance(statement, ast.Assign) and is_container(statement.value):
            found |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.AnnAssign) and is_container(statement.value):
            found |= {statement.target.id} if isinstance(statement.target, ast.Name) else set()
    return found


def root_name(node: ast.expr) -> str:
    """The name that a chain of attributes and subscripts ends in: "X" of X[i], module.X[i] and X.attribute."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def changes(tree: ast.AST, names: set[str]) -> list[str]:
    """Statements that change what one of these names holds, or rebind a name of the module from a function."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            found.append(f"global {', '.join(node.names)}")
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.Delete)):
            targets = node.targets if not isinstance(node, ast.AugAssign) else [node.target]
            found += [ast.unparse(t) for t in targets if isinstance(t, ast.Subscript) and root_name(t) in names]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
            found += [ast.unparse(node)] if root_name(node.func.value) in names else []
    return found


def local_names(function: ast.AST) -> set[str]:
    """Names that a function binds itself, so that they are not the module's."""
    found = {argument.arg for argument in ast.walk(function) if isinstance(argument, ast.arg)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def faults_of(tree: ast.Module, elsewhere: set[str]) -> list[str]:
    """What functions of a module do to containers of modules."""
    own, found = containers(tree), []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            found += changes(node, (own | elsewhere) - local_names(node))
    return found


def test_no_function_changes_a_container_of_a_module():
    trees = dict(modules())
    everywhere = {name for tree in trees.values() for name in containers(tree) if name.isupper()}
    assert len(everywhere) > 10
    assert {name: found for name, tree in trees.items() if (found := faults_of(tree, everywhere))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "X = {}\ndef f(): X[1] = 2", "X = []\ndef f(): X.append(2)", "X = set()\ndef f(): X.add(2)",
        "x = 1\ndef f():\n    global x\n    x = 2", "X = {}\ndef f(): del X[1]", "X = {}\ndef f(): X[1] += 2",
        "class A:\n    known = {}\n    def f(self): self.known[1] = 2", "def f(): other.KNOWN.update(a=1)",
        "from collections import deque\nX = deque()\ndef f(): X.popleft()",
    ],
)  # fmt: skip
def test_the_search_finds_each_kind_of_change(source):
    assert len(faults_of(ast.parse(source), {"KNOWN"})) == 1


@pytest.mark.parametrize(
    "source", ["X = {}\ndef f():\n    X = {}\n    X[1] = 2", "def f(x): x[1] = 2", "X = {}\nX[1] = 2", "X = {1: 2}"]
)
def test_the_search_leaves_the_harmless_alone(source):
    assert faults_of(ast.parse(source), {"KNOWN"}) == []


def cached() -> Iterator[str]:
    """Dotted names of the functions that remember what they returned."""
    for name, tree in modules():
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for decorator in node.decorator_list:
                    called = decorator.func if isinstance(decorator, ast.Call) else decorator
                    if ast.unparse(called).rpartition(".")[2] in ("cache", "lru_cache"):
                        yield f"{name}.{node.name}"


def test_every_function_that_remembers_is_known_and_harmless():
    """A cache is state of its module: add a line to CACHED that says why it may be, or do without."""
    found = set(cached())
    unknown = {name for name in found if name not in CACHED and name.rpartition(".")[0] not in CACHED}
    assert unknown == set()
    gone = {known for known in CACHED if not any(name == known or name.rpartition(".")[0] == known for name in found)}
    assert gone == set()


def main(what: str, *arguments: str) -> None:
    if what == "solve":
        given = as_torch if arguments[0] == "torch" else np.copy
        sys.stdout.write(json.dumps(solved(given, "float64", PROFILE)))
    else:
        fork_after(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
