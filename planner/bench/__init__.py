"""The instrument that judges the planner: a suite of problems, what each way to solve them takes, and what follows.

autonla bench --daily                 # five minutes
autonla bench --kind eigenpairs       # one kind of problem
autonla bench --output results.json   # all of it; --ablations also leaves out parts of the planner
autonla bench --from results.json --pictures folder   # the report again
autonla bench --stability 5           # does it always choose the same
autonla bench --small 2000            # random small problems against the truth
"""

from .measuring import Row as Row
from .measuring import Timed as Timed
from .measuring import measure as measure
from .metrics import Summary as Summary
from .metrics import summarize as summarize
from .report import print_report as print_report
from .report import read as read
from .report import run_stability as run_stability
from .report import run_suite as run_suite
from .report import write as write
from .small import run_small as run_small
from .suite import Instance as Instance
from .suite import suite as suite
