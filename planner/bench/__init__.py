"""The instrument that judges the planner: a suite of problems, what each way to solve them takes, and what follows.

autonla bench --daily                 # two minutes
autonla bench --output results.json   # all of it
"""

from .measuring import Row as Row
from .measuring import Timed as Timed
from .measuring import measure as measure
from .metrics import Summary as Summary
from .metrics import summarize as summarize
from .report import read as read
from .report import run_suite as run_suite
from .report import write as write
from .suite import Instance as Instance
from .suite import suite as suite
