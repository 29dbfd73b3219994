"""The demo: real problems under different budgets, beside the calls that are made today."""

from __future__ import annotations

from .run import run_demo as run_demo
