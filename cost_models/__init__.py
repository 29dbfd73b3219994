"""What work costs on a machine: seconds, bytes, joules and error, with intervals.

measure     kernels timed into a `HardwareProfile`
price       seconds and joules of `Work` on a profile
forecast    both, with memory and error, of a candidate: the run and its certificate
energy      counters where they can be read, a labelled model elsewhere
memory      peak of resident memory during a run
"""

from __future__ import annotations
