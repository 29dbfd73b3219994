from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest
import threadpoolctl

from autonla.profiles import BlasLibrary, Device, Fingerprint, compare, fingerprint
from autonla.profiles.fingerprint import _devices_of, _processor_of, _stem


def severities(measured: Fingerprint, here: Fingerprint) -> set[tuple[str, str]]:
    return {(mismatch.field, mismatch.severity) for mismatch in compare(measured, here)}


def alter(fingerprint: Fingerprint, **fields) -> Fingerprint:
    return Fingerprint.model_validate(dict(fingerprint) | fields)


def test_this_machine_fits_itself(here):
    assert compare(here, fingerprint()) == []
    assert Fingerprint.model_validate_json(here.model_dump_json(), strict=True) == here


def test_it_says_what_is_here(here):
    assert here.processor
    assert 1 <= here.usable_cores <= here.logical_cores
    assert here.physical_cores <= here.logical_cores
    assert here.libraries["numpy"] == np.__version__
    assert here.libraries["torch"] == metadata.version("torch")
    assert here.memory_bytes > 2**28
    for blas in here.blas:
        assert "/" not in blas.library, "no paths: they name people"


def test_thread_limits_in_force_show():
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert {blas.threads for blas in fingerprint().blas} <= {1}


def test_pools_of_loaded_libraries_are_listed(monkeypatch):
    config = SimpleNamespace(NUMBA_NUM_THREADS=5)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(get_num_threads=lambda: 3))
    monkeypatch.setitem(sys.modules, "numba", SimpleNamespace(config=config))
    assert fingerprint().threads.items() >= {"torch": 3, "numba": 5}.items()
    monkeypatch.delitem(sys.modules, "torch")
    assert "torch" not in fingerprint().threads


def test_nothing_heavy_is_imported():
    code = """
import sys, autonla.profiles as profiles
profiles.fingerprint()
try: profiles.find()
except profiles.ProfileError: pass
print({"torch", "numba", "cupy", "sklearn", "optuna", "matplotlib"} & sys.modules.keys())
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert run.stdout.strip() == "set()", run.stderr


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (
            "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nstepping\t: 2\n\n"
            "processor\t: 1\nmodel name\t: another\n",
            "AMD EPYC (family 25, model 1, stepping 2)",
        ),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n", "ARM implementer 0x41, part 0xd40"),
        ("processor\t: 0\ncpu\t\t: POWER9\nclock\t\t: 3800MHz\n", "POWER9"),
        ("", None),
    ],
)
def test_the_processor_is_read_from_cpuinfo(cpuinfo, expected):
    assert _processor_of(cpuinfo) == expected


def test_devices_are_read_from_the_driver():
    version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\nGCC version: 12.2.0\n"
    information = "Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ:   \t\t 44\nGPU UUID: \t GPU-0\n"
    a100 = Device(name="NVIDIA A100-SXM4-40GB", driver="550.54.15")
    assert _devices_of(version, [information, information]) == (a100, a100)
    assert _devices_of("", [""]) == (Device(name="unknown", driver=None),)


@pytest.mark.parametrize(
    ("file", "stem"),
    [
        ("/a b/numpy.libs/libscipy_openblas64_-32a4b2a6.so", "libscipy_openblas64_"),
        ("/usr/lib/libopenblasp-r0.3.28.so", "libopenblasp-r0"),
        ("/usr/lib/libmkl_rt.so.2", "libmkl_rt"),
    ],
)
def test_a_library_is_named_without_path_and_hash(file, stem):
    assert _stem({"filepath": file, "prefix": "prefix"}) == stem


BLAS = BlasLibrary(library="openblas", internal_api="openblas", version="0.3.30", architecture="Zen", threads=2)


@pytest.fixture
def plain(here) -> Fingerprint:
    """A fingerprint in which nothing depends on what this test session has loaded."""
    libraries = dict.fromkeys(here.libraries, "1.2.3")
    return alter(here, blas=[BLAS], threads={"openblas": 2}, environment={}, devices=[], libraries=libraries)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"processor": "another"}, {("processor", "refuse")}),
        ({"architecture": "riscv64"}, {("architecture", "refuse")}),
        ({"logical_cores": 512}, {("logical_cores", "refuse")}),
        ({"usable_cores": 511}, {("usable_cores", "refuse")}),
        ({"threads": {"openblas": 7}}, {("threads", "refuse")}),
        ({"threads": {"openblas": 2, "torch": 9}}, set()),
        ({"blas": [BLAS.model_copy(update={"version": "0.3.31"})]}, {("blas", "refuse")}),
        ({"blas": [BLAS.model_copy(update={"architecture": "Haswell"})]}, {("blas", "refuse")}),
        ({"blas": [BLAS.model_copy(update={"threads": 1})]}, {("blas", "refuse")}),
        ({"blas": [BLAS.model_copy(update={"library": "mkl_rt"})]}, {("blas", "refuse")}),
        ({"blas": []}, {("blas", "refuse")}),
        ({"environment": {"OPENBLAS_CORETYPE": "Haswell"}}, {("environment", "refuse")}),
        ({"environment": {"OMP_NUM_THREADS": "513"}}, {("environment", "refuse")}),
        ({"python": "3.11.99"}, {("python", "warn")}),
        ({"operating_system": "Plan 9"}, {("operating_system", "warn")}),
        ({"memory_bytes": 2**60}, {("memory_bytes", "warn")}),
        ({"devices": [Device(name="NVIDIA A100", driver="550.1")]}, {("devices", "warn")}),
    ],
    ids=str,
)
def test_each_difference_has_its_severity(plain, fields, expected):
    assert severities(plain, alter(plain, **fields)) == expected


@pytest.mark.parametrize(
    ("library", "version", "severity"),
    [
        ("torch", "1.3.0", "refuse"),
        ("torch", "1.2.4", "warn"),
        ("torch", "1.2.3+cpu", "warn"),
        ("torch", None, "warn"),
        ("cupy", "2.0.0", "refuse"),
        ("numpy", "2.0.0", "warn"),
        ("numba", "2.0.0", "warn"),
    ],
)
def test_a_library_with_kernels_of_its_own_refuses(plain, library, version, severity):
    changed = alter(plain, libraries=plain.libraries | {library: version})
    assert severities(plain, changed) == {("libraries", severity)}


def test_a_thread_variable_that_says_the_default_is_no_difference(plain):
    named = alter(plain, environment={"OMP_NUM_THREADS": str(plain.usable_cores)})
    assert compare(plain, named) == []
    assert compare(named, plain) == []


def test_a_small_change_of_memory_is_no_difference(plain):
    assert compare(plain, alter(plain, memory_bytes=plain.memory_bytes - 2**20)) == []


def test_a_blas_that_came_with_torch_is_no_difference(plain):
    mkl = BlasLibrary(library="mkl_rt", internal_api="mkl", version="2025", architecture=None, threads=2)
    loaded = alter(plain, blas=[BLAS, mkl], threads={"openblas": 2, "mkl_rt": 2, "torch": 2})
    assert compare(loaded, plain) == []
    assert compare(plain, loaded) == []
    without_torch = alter(loaded, threads={"openblas": 2, "mkl_rt": 2})
    assert severities(plain, without_torch) == {("blas", "refuse")}


def test_a_device_that_is_gone_refuses_and_a_new_driver_warns(plain):
    a = alter(plain, devices=[Device(name="NVIDIA A100", driver="550.1")])
    assert severities(a, plain) == {("devices", "refuse")}
    assert severities(a, alter(plain, devices=[Device(name="NVIDIA A100", driver="560.1")])) == {("devices", "warn")}


def test_the_sentence_names_both_sides(plain):
    (mismatch,) = compare(plain, alter(plain, environment={"OPENBLAS_CORETYPE": "Haswell"}))
    assert str(mismatch) == "OPENBLAS_CORETYPE: unset when the profile was measured, Haswell here"
