"""Mutation run over the certificates and the choice: how many small errors in their code the tests notice.

Hours, if every mutant is tried; a random sample of each module by default. Needs `pip install -e ".[mutation]"`:

    python .ci/mutate.py                                   # 40 mutants of each module
    python .ci/mutate.py --sample 0 planner/certify/linear_system.py

Prints each survivor, and the share that was killed by module. Ends with status 1 below `--least`.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLANNER = "tests/planner/"
# Tests of a module, the most telling first: the first failure ends a run.
MODULES = {
    "planner/certify/linear_system.py": ["test_certificates_linear_system.py"],
    "planner/certify/forward_error.py": ["test_certificates_forward_error.py"],
    "planner/certify/least_squares.py": [
        "test_certificates_least_squares_by_hand.py",
        "test_certificates_least_squares.py",
        "test_certificates_least_squares_metrics.py",
    ],
    "planner/certify/low_rank.py": ["test_certificates_low_rank.py"],
    "planner/certify/products.py": ["test_certificates_products.py", "test_certificates_linear_system.py"],
    "planner/certify/sparse_linear_system.py": ["test_sparse_linear_system.py", "test_sparse_faults.py"],
    "planner/certify/eigenpairs.py": ["test_eigenpairs.py"],
    "planner/candidates.py": ["test_candidates.py", "test_execution.py", "test_planning.py"],
    "planner/planning.py": ["test_planning.py", "test_execution.py", "test_rare_paths.py", "test_api_errors.py"],
    "planner/attempts.py": ["test_attempts.py", "test_execution.py", "test_faults.py"],
    "planner/execution.py": ["test_execution.py", "test_rare_paths.py", "test_plan_json.py", "test_faults.py"],
}
TIMEOUT = 300.0  # of the tests of one mutant [s]


def copy(where: Path) -> None:
    """The checkout, as git knows it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, where / name
        if source.is_symlink() or source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)


def mutants(module: str) -> list:
    """Every mutant of a module, but those of what does not decide anything: annotations, docstrings, `strict=` of zip,
    and the declarations of dataclasses."""
    import ast

    from cosmic_ray.commands import init
    from cosmic_ray.work_db import WorkDB, use_db

    tree = ast.parse((ROOT / module).read_text())
    dead: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for node in ast.walk(tree):
        notes: list = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.keyword) and node.arg in ("strict", "frozen", "slots"):
            notes.append(node)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            notes.append(node)
        dead += [((a.lineno, a.col_offset), (a.end_lineno, a.end_col_offset)) for a in notes if a is not None]
    with use_db(":memory:", WorkDB.Mode.create) as found:
        init([Path(module)], found, {})
        items = list(found.work_items)
    alive = []
    for item in items:
        mutation = item.mutations[0]
        inside = any(start <= mutation.start_pos and mutation.end_pos <= end for start, end in dead)
        if not inside:
            alive.append(mutation)
    return alive


def try_all(where: Path, module: str, chosen: list) -> list[tuple[str, str]]:
    """(outcome, diff) of mutants, in a copy of the checkout."""
    from cosmic_ray.mutating import mutate_and_test

    os.chdir(where)
    os.environ["PYTHONPATH"] = str(where / ".link")
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # two mutants within a second look alike to the cache
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    tests = " ".join(PLANNER + name for name in MODULES[module] if (where / PLANNER / name).exists())
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider -m 'not slow' --timeout 120 {tests}"
    results = []
    for mutation in chosen:
        result = mutate_and_test([mutation], command, TIMEOUT)
        results.append((str(getattr(result.test_outcome, "value", result.test_outcome)), result.diff or result.output))
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", choices=[*MODULES, []], help="default: all of them")
    parser.add_argument("--sample", type=int, default=40, help="mutants of each module; 0: every one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=max(1, (os.cpu_count() or 2)))
    parser.add_argument("--least", type=float, default=0.9, help="share that must be killed")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    killed = tried = 0
    with tempfile.TemporaryDirectory() as folder:
        copies = [Path(folder) / str(i) for i in range(arguments.processes)]
        for where in copies:
            copy(where)
        with ProcessPoolExecutor(arguments.processes) as pool:
            for module in arguments.modules or MODULES:
                every = mutants(module)
                chosen = list(every)
                if arguments.sample and arguments.sample < len(every):
                    chosen = random.Random(f"{arguments.seed} {module}").sample(every, arguments.sample)
                parts = [chosen[i :: arguments.processes] for i in range(arguments.processes)]
                outcomes = [
                    outcome for found in pool.map(try_all, copies, [module] * len(copies), parts) for outcome in found
                ]
                survivors = [diff for outcome, diff in outcomes if outcome == "survived"]
                tried += len(outcomes)
                killed += len(outcomes) - len(survivors)
                for diff in survivors:
                    print(diff, "\n", flush=True)
                print(f"{module}: {len(outcomes) - len(survivors)} of {len(outcomes)} killed ({len(every)} in all)\n")
                sys.stdout.flush()
    print(f"{killed} of {tried} killed: {killed / max(1, tried):.1%}")
    return int(killed < arguments.least * tried)


if __name__ == "__main__":
    sys.exit(main())
