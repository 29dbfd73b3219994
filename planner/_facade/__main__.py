"""``python -m autonla``: the command line."""

from __future__ import annotations

from autonla.planner.cli import main

if __name__ == "__main__":
    main()
