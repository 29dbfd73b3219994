"""python -m autonla.planner.autospec TASK --out FOLDER: train an engine anew (`--help` says more)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import eigenproblems, functions, linear_systems
from .training import Settings

TASKS = {"linear_systems": linear_systems.train, "functions": functions.train, "eigenproblems": eigenproblems.train}


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments, train, and write weights, settings with figures, and curves to the folder."""
    parser = argparse.ArgumentParser(
        prog="python -m autonla.planner.autospec",
        description="Train an AutoSpec engine. Writes TASK.npz (weights), TASK.json (settings, figures), TASK.csv and"
        " TASK.png (curves), and checkpoints, from which an interrupted training goes on.",
    )
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--out", type=Path, required=True, help="folder for what is written")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=24000, help="spectra to train on")
    parser.add_argument("--epochs", type=int, default=Settings.epochs)
    parser.add_argument("--trials", type=int, default=0, help="short runs in which Optuna chooses the settings first")
    given = parser.parse_args(arguments)
    TASKS[given.task](
        given.out,
        seed=given.seed,
        samples=given.samples,
        trials=given.trials,
        settings=Settings(epochs=given.epochs),
        say=_say,
    )


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
