"""Profile and record files as disks, other programs and other machines leave them: one typed error, or a fallback."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autonla.profiles import HardwareProfile, ProfileError, Run, records, store
from tests._support.damage import leaves, tampered

FULL = OSError(28, "No space left on device")


def sealed(payload: bytes) -> bytes:
    """A profile file whose checksum is right, whatever the payload."""
    return b'{"checksum":"%s","profile":%s}' % (hashlib.sha256(payload).hexdigest().encode(), payload)


def flipped(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Copies of data with one to eight bits flipped, or some bytes lost or repeated."""
    rng = random.Random(seed)
    for _ in range(count):
        mutant = bytearray(data)
        for _ in range(rng.choice([1, 1, 1, 2, 8])):
            at, how = rng.randrange(len(mutant)), rng.random()
            if how < 0.8:
                mutant[at] ^= 1 << rng.randrange(8)
            elif how < 0.9:
                del mutant[at : at + rng.randrange(1, 40)]
            else:
                mutant[at:at] = mutant[at : at + rng.randrange(1, 40)]
            if not mutant:
                break
        yield bytes(mutant)


def refusal(data: bytes) -> str | None:
    """What is said of bytes that are no profile, one line; None for those that are read."""
    try:
        store.loads(data)
    except ProfileError as error:
        said = str(error)
        assert "\n" not in said
        assert len(said) < 600
        return said
    return None


# Profiles.


def test_flipped_bits_of_a_profile_are_seen(profile):
    data = store.dumps(profile)
    read = [mutant for mutant in flipped(data, 1500, seed=0) if refusal(mutant) is None]
    assert len(read) < 30, "only white space around the profile is not under the checksum"
    assert all(store.loads(mutant) == profile for mutant in read)


def test_without_the_checksum_some_would_be_read_as_another_profile(profile, monkeypatch):
    class Known:
        def __init__(self, payload: bytes) -> None:
            pass

        def hexdigest(self) -> str:
            return stated

    stated = json.loads(store.dumps(profile))["checksum"]
    monkeypatch.setattr(store.hashlib, "sha256", Known)
    others = [mutant for mutant in flipped(store.dumps(profile), 1500, seed=0) if refusal(mutant) is None]
    assert sum(store.loads(mutant) != profile for mutant in others) > 30


def test_a_profile_cut_anywhere_is_refused(profile):
    data = store.dumps(profile)
    for end in range(len(data.rstrip())):
        assert refusal(data[:end]) is not None


def test_planning_falls_back_from_a_damaged_profile_whatever_the_damage(profile, shipped):
    data, path = store.dumps(profile), store.save(profile)
    rng = random.Random(3)
    cuts = [data[:end] for end in rng.sample(range(len(data) - 2), 40)]
    for mutant in [*flipped(data, 200, seed=1), *cuts]:
        path.write_bytes(mutant)
        store._kept.cache_clear()  # the clock of the file system may not tell two writes apart
        found = store.find()
        if found.source == "user":
            assert found.profile == profile
        else:
            assert found.profile is shipped
            assert str(path) in found.reasons[0]


NASTY: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, 10**400, 1e308, 5e-324, 1e-300, "", "x\ny", "\ud800", "a" * 10_000, "1", [], [1], {},
    {"a": 1}, [[]], 1.5, "NaN",
)  # fmt: skip


def test_whatever_stands_where_a_value_should_is_refused_or_a_profile(profile):
    document = json.loads(profile.model_dump_json())
    trials = [(path, value) for path in leaves(document, 2) for value in NASTY]
    assert len(trials) > 1000
    refused = 0
    for path, value in trials:
        data = sealed(json.dumps(tampered(document, path, value)).encode())
        if refusal(data) is not None:
            refused += 1
            continue
        found = store.loads(data)
        assert store.loads(store.dumps(found)) == found
    assert 0.5 * len(trials) < refused < len(trials)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "0", "-1", "1e-13", "1e10"])
def test_times_that_no_machine_has(profile, number):
    payload, count = re.subn(r'"seconds":[^,]*', f'"seconds":{number}', profile.model_dump_json(), count=1)
    assert count == 1
    said = refusal(sealed(payload.encode()))
    assert said is not None
    assert "not a valid profile" in said


@pytest.mark.parametrize("version", [2, 99, 10**100])
def test_a_profile_from_the_future_says_so(profile, version):
    document = json.loads(profile.model_dump_json()) | {"schema_version": version, "qubits": 17}
    said = refusal(sealed(json.dumps(document).encode()))
    assert said is not None
    assert "written by a newer autonla" in said


@pytest.mark.parametrize("version", [0, -1, None, "1", 1.5])
def test_a_profile_of_no_version(profile, version):
    document = json.loads(profile.model_dump_json()) | {"schema_version": version}
    assert refusal(sealed(json.dumps(document).encode())) is not None


# Homes and paths.


def test_a_home_that_must_not_be_read(profile, shipped, monkeypatch):
    """As another user's: the reason is the real one."""
    path = store.save(profile)
    stat, refused = Path.stat, PermissionError(13, "Permission denied")

    def closed(self: Path, **how: Any) -> os.stat_result:
        if self == path:
            raise refused
        return stat(self, **how)

    monkeypatch.setattr(Path, "stat", closed)
    with pytest.raises(ProfileError, match=r"cannot be read \(Permission denied\)"):
        store.load()
    found = store.find()
    assert found.source == "shipped"
    assert "Permission denied" in found.reasons[0]


def test_a_file_that_must_not_be_read_until_it_may(profile, shipped, monkeypatch):
    path = store.save(profile)
    opened = Path.open

    def closed(self: Path, *how: Any, **more: Any) -> Any:
        if self == path:
            raise PermissionError(13, "Permission denied")
        return opened(self, *how, **more)

    monkeypatch.setattr(Path, "open", closed)
    found = store.find()
    assert (found.source, found.profile) == ("shipped", shipped)
    assert "Permission denied" in found.reasons[0]
    monkeypatch.setattr(Path, "open", opened)
    path.chmod(0o600)  # what makes it readable changes its status
    time.sleep(0.02)
    path.chmod(0o644)
    assert store.find().source == "user"


ALONE = """
import numpy as np, autonla as nla
from autonla.profiles import records, store
A = np.diag(np.arange(1.0, 31.0)) + 0.1
solution = nla.solve(nla.LinearSystem(A, np.ones(30)), rng=0)
assert solution.status == "certified"
plan = nla.plan(nla.LinearSystem(A, np.ones(30)), rng=0, rigor="estimate")
print(store.find().source)
"""


def alone(code: str = ALONE, environment: dict[str, str] | None = None, cwd: Path | None = None, **how: Any) -> str:
    """What a process prints that starts with nothing but what it needs to import the library."""
    needed = {key: value for key, value in os.environ.items() if key in ("PATH", "PYTHONPATH", "NUMBA_CACHE_DIR")}
    needed["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    found = subprocess.run(
        [sys.executable, "-c", code], env=needed | (environment or {}), cwd=cwd, capture_output=True, text=True,
        timeout=120, **how,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


@pytest.mark.skipif(os.name == "nt", reason="homes are elsewhere on Windows")
def test_without_HOME_there_is_a_home_or_none_is_needed(tmp_path):
    assert alone(environment={"XDG_DATA_HOME": str(tmp_path)}) == "shipped"


@pytest.mark.skipif(os.name == "nt", reason="a folder in use cannot be removed on Windows")
def test_a_relative_home_in_a_folder_that_is_gone(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os, shutil; os.chdir({str(gone)!r}); shutil.rmtree({str(gone)!r})\n"
    assert alone(code + ALONE, {"AUTONLA_HOME": "here"}) == "shipped"


@pytest.mark.parametrize("what", ["a file", "in a file", "a pipe", "a loop", "a very long name"])
def test_a_home_that_is_none(tmp_path, shipped, profile, monkeypatch, what):
    path = tmp_path / "odd"
    if what in ("a file", "in a file"):
        path.write_text("no folder")
        path = path / "deeper" if what == "in a file" else path
    elif what == "a pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes here")
        os.mkfifo(path)
    elif what == "a loop":
        path.symlink_to(path)
    else:
        path = tmp_path / ("x" * 300)
    monkeypatch.setenv("AUTONLA_HOME", str(path))
    assert store.find().source == "shipped"
    with pytest.raises(ProfileError):
        store.load()
    with pytest.raises(ProfileError, match="cannot be written"):
        store.save(profile)
    records.append(run())
    records.flush()
    assert records.runs_of(profile) == []


@pytest.mark.parametrize("name", ["", ".", "/", "a\0b", "x" * 300])
def test_names_that_no_file_has(profile, name):
    with pytest.raises(ProfileError):
        store.save(profile, name)
    with pytest.raises(ProfileError):
        store.load(name or ".")


def test_links(profile, make_profile, tmp_path):
    """Read through; what is written takes the place of the link, and leaves alone what it points to."""
    target, link = store.save(profile, tmp_path / "target.json"), tmp_path / "link.json"
    link.symlink_to(target)
    assert store.load(link) == profile
    newer = make_profile(name="newer")
    assert store.save(newer, link) == link
    assert store.load(link) == newer
    assert store.load(target) == profile
    assert not link.is_symlink()
    for odd, to in (("nothing", "nowhere"), ("loop", "loop"), ("folder", ".")):
        path = tmp_path / odd
        path.symlink_to(tmp_path / to)
        with pytest.raises(ProfileError, match=r"no such file|not a regular file"):
            store.load(path)
        assert store.load(store.save(profile, path)) == profile


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device here")
def test_a_device_without_an_end(tmp_path):
    (tmp_path / "endless").symlink_to("/dev/zero")
    with pytest.raises(ProfileError, match="not a regular file"):
        store.load(tmp_path / "endless")


def test_a_huge_file_is_not_read(profile, tmp_path):
    path = store.save(profile, tmp_path / "huge.json")
    with path.open("r+b") as file:
        file.truncate(2**36)  # sparse: it takes no room on the disk
    tracemalloc.start()
    try:
        with pytest.raises(ProfileError, match="larger than 4 MiB"):
            store.load(path)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_a_folder_where_the_file_should_be(profile, shipped):
    path = store.profile_path()
    path.mkdir(parents=True)
    assert store.find().source == "shipped"
    with pytest.raises(ProfileError, match="not a regular file"):
        store.load()
    with pytest.raises(ProfileError, match="cannot be written"):
        store.save(profile)
    assert {entry.name for entry in path.parent.iterdir()} <= {path.name, f".{path.name}.lock"}


# Disks that are full, and people who press Ctrl-C.


class Failing:
    """A file of which one call fails, after half of what it was given was written."""

    def __init__(self, file: Any, call: str, error: BaseException) -> None:
        self._file, self._call, self._error = file, call, error

    def __enter__(self) -> Failing:
        return self

    def __exit__(self, *how: object) -> None:
        self._file.close()
        if self._call == "close":
            raise self._error

    def write(self, data: bytes) -> int:
        if self._call == "write":
            self._file.write(data[: len(data) // 2])
            self._file.flush()
            raise self._error
        return self._file.write(data)

    def flush(self) -> None:
        if self._call == "flush":
            raise self._error
        self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


CALLS = ("mkdir", "open", "write", "flush", "fsync", "close", "replace")


def failing(monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException) -> None:
    """Let one of the calls that writing takes fail."""

    def fail(*args: Any, **how: Any) -> None:
        raise error

    opened = Path.open

    def half(self: Path, mode: str = "r", *args: Any, **how: Any) -> Any:
        file = opened(self, mode, *args, **how)
        return Failing(file, call, error) if "b" in mode and mode != "rb" else file

    if call == "mkdir":
        monkeypatch.setattr(Path, "mkdir", fail)
    elif call == "open":
        monkeypatch.setattr(Path, "open", fail)
    elif call == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    elif call == "fsync":
        monkeypatch.setattr(store.os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "open", half)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("before", [True, False], ids=["over an old file", "a first file"])
def test_a_full_disk_leaves_the_profile_as_it_was(profile, make_profile, tmp_path, monkeypatch, call, before):
    path = tmp_path / "profile.json"
    if before:
        store.save(profile, path)
    with monkeypatch.context() as patch:
        failing(patch, call, FULL)
        with pytest.raises(ProfileError, match="No space left on device"):
            store.save(make_profile(name="newer"), path)
    assert {entry.name for entry in tmp_path.iterdir()} <= {".profile.json.lock"} | ({path.name} if before else set())
    if before:
        assert store.load(path) == profile
    assert store.load(store.save(make_profile(name="newer"), path)).name == "newer"


@pytest.mark.parametrize("call", CALLS)
def test_an_interruption_leaves_the_profile_as_it_was(profile, make_profile, tmp_path, monkeypatch, call):
    path = store.save(profile, tmp_path / "profile.json")
    with monkeypatch.context() as patch:
        failing(patch, call, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            store.save(make_profile(name="newer"), path)
    assert store.load(path) == profile
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, ".profile.json.lock"}
    assert store.load(store.save(make_profile(name="newer"), path)).name == "newer", "the lock was given back"


LIMITED = """
import resource, sys
from autonla.profiles import HardwareProfile, ProfileError, Run, records, store
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
profile = HardwareProfile.model_validate_json(sys.argv[1])
try:
    store.save(profile.model_copy(update={"name": "newer"}))
except ProfileError as error:
    print("refused", error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits on Windows")
@pytest.mark.parametrize("limit", [1, 100, 1000])
def test_a_file_system_that_takes_only_the_first_bytes(profile, home, limit):
    """No fault is injected: the kernel refuses what is beyond the limit."""
    path = store.save(profile)
    found = subprocess.run(
        [sys.executable, "-c", LIMITED, profile.model_dump_json(), str(limit)], capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("refused")
    assert store.load(path) == profile
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, f".{path.name}.lock"}


def test_a_file_system_without_locks_is_said(profile, tmp_path, monkeypatch):
    def none(self: Any, *args: Any, **how: Any) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", none)
    with pytest.raises(ProfileError, match="does not appear to support flock"):
        store.save(profile, tmp_path / "p.json")
    records.append(run())
    records.flush()
    assert not records.records_path().exists()


# Several at once.


def killed(program: str, *arguments: str, after: float) -> None:
    """Run a program until it says that it is ready and so many seconds [s] longer, then kill it."""
    child = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    time.sleep(after)
    os.kill(child.pid, signal.SIGKILL)
    child.wait(60)
    child.stdout.close()


WRITER = """
import sys
from autonla.profiles import HardwareProfile, store
profile = HardwareProfile.model_validate_json(sys.argv[1])
print("ready", flush=True)
while True:
    store.save(profile, sys.argv[2])
"""


@pytest.mark.skipif(os.name == "nt", reason="processes end otherwise on Windows")
def test_a_writer_that_is_killed_leaves_a_whole_file_and_no_lock(profile, make_profile, tmp_path):
    path = store.save(profile, tmp_path / "profile.json")
    large = make_profile(name="large", notes=["x" * 100_000])
    for delay in (0.0, 0.003, 0.01, 0.02):
        killed(WRITER, large.model_dump_json(), str(path), after=delay)
        assert store.load(path).name in ("synthetic", "large")
        assert store.load(store.save(profile, path)) == profile


def test_threads_that_write_and_read_at_once(make_profile, tmp_path):
    path = tmp_path / "profile.json"
    profiles = [make_profile(name=f"number {i}", notes=["x" * 1000 * i]) for i in range(3)]
    store.save(profiles[0], path)
    faults: list[BaseException] = []

    def work(action: Callable[[int], Any]) -> None:
        try:
            for i in range(30):
                action(i)
        except BaseException as error:
            faults.append(error)

    def write(i: int) -> None:
        store.save(profiles[i % 3], path)

    def read(i: int) -> None:
        assert store.load(path) in profiles

    threads = [threading.Thread(target=work, args=(action,)) for action in (write, write, read, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, ".profile.json.lock"}


# Records.


def run(n: int = 100, profile: str = "me", **fields: Any) -> Run:
    default = {
        "profile": profile, "kind": "linear_system", "algorithm": "lu", "backend": "scipy", "dtype": "float64",
        "label": "lu[scipy float64]", "m": n, "n": n, "nrhs": 1, "rank": None, "order": "C",
        "forecast_run": 0.01, "forecast_certify": 0.001, "run": 0.012, "certify": 0.0011,
        "forecast_bytes": 8.0 * n * n, "peak_bytes": None,
    }  # fmt: skip
    return Run.model_validate(default | fields)


@pytest.fixture
def twenty(profile: HardwareProfile) -> list[Run]:
    """Runs that are on file."""
    runs = [run(1000 + n, records.identity(profile), run=0.01 * n) for n in range(20)]
    for each in runs:
        records.append(each)
    records.flush()
    assert records.runs_of(profile) == runs
    return runs


def test_of_a_damaged_record_file_only_whole_lines_are_used(profile, twenty):
    path = records.records_path()
    data = path.read_bytes()
    lost = []
    for mutant in flipped(data, 1200, seed=4):
        path.write_bytes(mutant)
        found = records.runs_of(profile)
        assert all(each in twenty for each in found)
        lost.append(20 - len({each.n for each in found}))
    assert sum(lost) > 1000
    assert max(lost) <= 16, "each damage costs the lines that it is in"


def test_without_their_checksum_changed_records_would_be_used(profile, twenty, monkeypatch):
    def unchecked(line: bytes) -> bytes:
        return b"{" + line.partition(b",")[2]

    monkeypatch.setattr(records, "_unsealed", unchecked)
    path = records.records_path()
    data, changed = path.read_bytes(), 0
    for mutant in flipped(data, 300, seed=4):
        path.write_bytes(mutant)
        changed += any(each not in twenty for each in records.runs_of(profile))
    assert changed > 30


def test_records_cut_anywhere(profile, twenty):
    path = records.records_path()
    data = path.read_bytes()
    for end in range(0, len(data), 7):
        path.write_bytes(data[:end])
        found = records.runs_of(profile)
        assert found == twenty[: len(found)]
        assert len(found) >= data[:end].count(b"\n")


def test_recording_goes_on_after_any_damage(profile, twenty):
    path, mine = records.records_path(), records.identity(profile)
    data = path.read_bytes()
    for i, mutant in enumerate(flipped(data, 60, seed=5)):
        path.write_bytes(mutant)
        records.append(run(5000 + i, mine))
        records.flush()
        assert records.runs_of(profile)[-1].n == 5000 + i


def test_records_from_the_future_are_left_to_it(profile, twenty):
    mine = records.identity(profile)
    future = json.loads(run(1, mine).model_dump_json()) | {"version": 2, "qubits": 17}
    path = records.records_path()
    with path.open("ab") as file:
        file.write(records._sealed(json.dumps(future, separators=(",", ":")).encode()) + b"\n")
    assert records.runs_of(profile) == twenty
    records.append(run(7, mine))
    records.flush()
    assert b"qubits" in path.read_bytes()
    assert len(records.runs_of(profile)) == 21


def test_records_of_another_machine_are_not_used(make_profile, profile, twenty):
    assert records.runs_of(make_profile(name="another")) == []
    assert records.runs_of(profile) == twenty


def test_a_huge_record_file_is_read_in_part_and_cut(profile, twenty):
    path = records.records_path()
    with path.open("r+b") as file:
        file.truncate(2**36)  # sparse
    tracemalloc.start()
    try:
        assert records.runs_of(profile) == twenty
        records.append(run(7, records.identity(profile)))
        records.flush()
        assert tracemalloc.get_traced_memory()[1] < 16 * records.MAX_BYTES
    finally:
        tracemalloc.stop()
    assert path.stat().st_size <= records.MAX_BYTES
    assert [each.n for each in records.runs_of(profile)] == [7]


@pytest.mark.parametrize("call", ["mkdir", "open", "write", "close"])
@pytest.mark.parametrize("error", [FULL, PermissionError(13, "Permission denied")], ids=["full", "closed"])
def test_where_records_cannot_be_written_recording_stops_without_a_word(profile, twenty, monkeypatch, call, error):
    path, mine = records.records_path(), records.identity(profile)
    with monkeypatch.context() as patch:
        failing(patch, call, error)
        for n in range(3 * records.EVERY):
            records.append(run(n + 1, mine))
        records.flush()
    size = path.stat().st_size
    records.append(run(7, mine))
    records.flush()
    assert path.stat().st_size == size, "not tried again in this process"
    records._records_in.cache_clear()  # as in the next one
    assert records.runs_of(profile)[:20] == twenty
    records.append(run(7, mine))
    records.flush()
    assert records.runs_of(profile)[-1].n == 7
    records._records_in.cache_clear()


def test_a_full_disk_while_the_file_is_cut_leaves_it(profile, twenty, monkeypatch):
    path, mine = records.records_path(), records.identity(profile)
    with monkeypatch.context() as patch:
        patch.setattr(records, "MAX_BYTES", 1000)
        failing(patch, "replace", FULL)
        records.append(run(7, mine))
        records.flush()
    assert [each.n for each in records.runs_of(profile)] == [each.n for each in twenty] + [7]
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, f".{path.name}.lock"}
    records._records_in.cache_clear()


@pytest.mark.parametrize("what", ["nowhere", "loop", "folder", "device"])
def test_links_in_place_of_the_records(profile, what):
    path = records.records_path()
    path.parent.mkdir(parents=True)
    path.symlink_to({"nowhere": "there", "loop": path.name, "folder": ".", "device": os.devnull}[what])
    records.append(run(7, records.identity(profile)))
    records.flush()
    assert [each.n for each in records.runs_of(profile)] == ([7] if what == "nowhere" else [])


def test_what_waits_may_be_dropped_while_it_is_written(profile, monkeypatch):
    mine, dumped = records.identity(profile), Run.model_dump_json
    for n in range(1, 6):
        records.append(run(n, mine))

    def dump(self: Run) -> str:
        records.forget()  # as another thread may
        return dumped(self)

    monkeypatch.setattr(Run, "model_dump_json", dump)
    records.flush()
    monkeypatch.setattr(Run, "model_dump_json", dumped)
    records.append(run(9, mine))
    records.flush()
    assert [each.n for each in records.runs_of(profile)][-1:] == [9]


def test_threads_that_record_write_and_forget_at_once(profile):
    mine = records.identity(profile)
    faults: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for n in range(first, first + 300):
                records.append(run(n, mine))
                if n % 5 == 0:
                    records.flush()
                if n % 97 == 0:
                    with contextlib.suppress(ProfileError):
                        records.forget()
                if n % 31 == 0:
                    records.runs_of(profile)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(1 + 1000 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    records.append(run(9999, mine))
    records.flush()
    found = [each.n for each in records.runs_of(profile)]
    assert len(found) == len(set(found))
    assert all(records._unsealed(line) for line in records.records_path().read_bytes().splitlines())


RECORDER = """
import sys
from autonla.profiles import Run, records
run = Run.model_validate_json(sys.argv[1])
print("ready", flush=True)
while True:
    records.append(run)
"""


@pytest.mark.skipif(os.name == "nt", reason="processes end otherwise on Windows")
def test_a_recorder_that_is_killed_costs_at_most_its_last_line(profile, twenty):
    path, mine = records.records_path(), records.identity(profile)
    for delay in (0.0, 0.01, 0.05):
        killed(RECORDER, run(7, mine).model_dump_json(), after=delay)
        records.append(run(8, mine))
        records.flush()
        assert records.runs_of(profile)[-1].n == 8
        torn = [line for line in path.read_bytes().splitlines() if line and records._unsealed(line) is None]
        assert len(torn) <= 3


# Nothing in a file is ever run.

ROOMS = ("planner", "primitives", "probes", "cost_models", "profiles")
LOADERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "dbm"}
TORCH = ("torch.load", "torch.jit.load", "torch.hub.load")
RUNNERS = {"eval", "exec", "compile", "__import__", "execfile"}


def dangers(source: str) -> list[str]:
    """What in a module could run code that stands in a file: loaders of objects, and what executes text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [f"import {name.name}" for name in node.names if name.name.partition(".")[0] in LOADERS]
        elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] in LOADERS:
            found.append(f"from {node.module} import")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            named = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if (
                called in RUNNERS
                or called in ("builtins.eval", "builtins.exec")
                or called in ("torch.jit.load", "torch.hub.load")
                or (called == "torch.load" and named.get("weights_only") != "True")
            ):
                found.append(called)
            elif called in ("np.load", "numpy.load") and named.get("allow_pickle") != "False":
                found.append(f"{called} without allow_pickle=False")
            elif "allow_pickle" in named and named["allow_pickle"] != "False":
                found.append(f"{called} with allow_pickle")
            elif called.endswith("read_array") and named.get("allow_pickle") != "False" and "format" in called:
                found.append(f"{called} without allow_pickle=False")
    return found


def modules() -> list[Path]:
    """The files of every room, as they are imported here."""
    rooms = [Path(importlib.import_module(f"autonla.{room}").__path__[0]).resolve() for room in ROOMS]
    return sorted(path for room in rooms for path in room.rglob("*.py"))


def test_no_module_runs_what_stands_in_a_file():
    assert {str(path): found for path in modules() if (found := dangers(path.read_text(encoding="utf-8")))} == {}
    assert len(modules()) > 100


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "import joblib.memory as m", "from pickle import loads", "from shelve import open",
        "def f():\n    import marshal", "x = eval(text)", "exec(text)", "torch.load(path)", "np.load(path)",
        "torch.load(path, weights_only=False)",
        "numpy.load(path, allow_pickle=True)", "np.lib.format.read_array(file)", "np.save(p, a, allow_pickle=True)",
        "f = __import__(name)", "code = compile(text, 'f', 'exec')",
    ],
)  # fmt: skip
def test_the_search_finds_each_way_to_run_a_file(source):
    assert len(dangers(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "np.load(path, allow_pickle=False)",
        "torch.load(path, weights_only=True)",
        "import json",
        "re.compile('x')",
        "from . import marshal",
    ],
)
def test_the_search_leaves_the_harmless_alone(source):
    assert dangers(source) == []
