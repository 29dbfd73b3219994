"""All tables of the AutoSpec paper (arXiv:2602.09530) that the matrices of a folder allow, beside its figures.

python benchmarks/paper.py FOLDER [--quick]

Runs, one after the other: polynomials.py (table 3a: matrices as they are, scaled to a unit diagonal, with incomplete
Cholesky), filters.py (tables 3b, 4b and 1), whitening.py (figure 4), synthetic.py (appendix F). An hour; with --quick
one right-hand side, fewer samples, and no matrix beyond 20 000 with incomplete Cholesky.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMED = ("nos5", "wathen100")
SLOW = ("G2_circuit",)
ICHOL = ("gyro_m", *SLOW)
GAP = ("494_bus", "1138_bus", "nos5", "wathenSmall", "lsc_F_2")


def main() -> None:
    """Run them all; the exit code is that of the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    folder, seeds = str(given.folder), ["--seeds", "1" if given.quick else "5"]
    ichol = [name for name in ICHOL if not (given.quick and name in SLOW)]
    counts = next(given.folder.glob("*9mer*.npz"), None)
    runs = [
        ["polynomials.py", folder, "--only", *NAMED, *seeds],
        ["polynomials.py", folder, "--jacobi", *seeds],
        ["polynomials.py", folder, "--ichol", "--only", *ichol, *seeds],
        ["filters.py", folder, "--seeds", "1" if given.quick else "3"],
        ["filters.py", folder, "--minimax-gap", "--only", *GAP],
        ["whitening.py", *([] if counts is None else [str(counts)])],
        ["synthetic.py", "--samples", "20" if given.quick else "100"],
    ]
    for name, *arguments in runs:
        print(f"\n=== {name} {' '.join(arguments)}", flush=True)
        subprocess.run([sys.executable, str(HERE / name), *arguments], check=True)


if __name__ == "__main__":
    main()
