"""Map the five top-level folders onto one installed package, autonla; the rest is in pyproject.toml."""

from setuptools import find_packages, setup

FOLDERS = ("planner", "primitives", "cost_models", "probes", "profiles")
FACADE = "planner/_facade"  # becomes autonla/__init__.py

package_dir = {"autonla": FACADE} | {f"autonla.{folder}": folder for folder in FOLDERS}
packages = ["autonla"]
for folder in FOLDERS:
    # Discovered, not listed: a written list forgets new packages, and only the wheel shows it.
    nested = find_packages(folder, exclude=["_facade", "_facade.*"])
    packages += [f"autonla.{folder}", *(f"autonla.{folder}.{name}" for name in nested)]

if __name__ == "__main__":
    setup(package_dir=package_dir, packages=packages)
