"""How the profile is made that ships with the library: `python -m autonla.cost_models.generic FILE` on a quiet machine.

It is measured like any other, and then everything that names the machine is taken out: it speaks of no machine in
particular, and a spot check scales it to the one where it is used.
"""

from __future__ import annotations

import sys

from ..profiles import HardwareProfile, save
from .measure import measure_profile

_MINUTES = 10.0


def generic_profile(profile: HardwareProfile) -> HardwareProfile:
    """The same times, of no machine in particular."""
    here = profile.fingerprint
    fingerprint = here.model_copy(
        update={
            "processor": f"generic {here.architecture}",
            "operating_system": here.operating_system.split()[0],
            "environment": {},
            "devices": (),
        }
    )
    return profile.model_copy(
        update={
            "name": f"generic {here.architecture}, {here.usable_cores} cores",
            "rigor": "generic",
            "fingerprint": fingerprint,
            "corrections": {},
            "calibration": (),
            "scale": 1.0,
        }
    )


def main(file: str) -> HardwareProfile:
    """Measure at "standard" and write the generic profile to `file`."""
    profile = generic_profile(measure_profile("standard", time_limit=60.0 * _MINUTES))
    save(profile, file)
    return profile


if __name__ == "__main__":
    main(sys.argv[1])
