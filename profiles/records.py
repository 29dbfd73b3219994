"""The local records: what planned runs were forecast to take and what they took, one line of JSON each.

They stand in ``<home>/records``, one file per kind of processor, beside the profiles (see :mod:`.store` for the home
folder and ``AUTONLA_HOME``). A line is a :class:`.schema.Run` and its CRC-32: features of a problem and of a candidate,
seconds and bytes; nothing else of anybody's data. ``AUTONLA_RECORDS=0`` (or any value but 1) switches them off: nothing
is written, and what was written before is not used. `forget` deletes them.

Recording must never hurt a solve. Lines wait in memory and are written now and then and at exit; while another process
writes they wait on; where the folder cannot be written recording stops without a word. A process that is killed, or
ends without running `atexit` as the workers of `multiprocessing` do, loses the lines that waited. The file is bounded:
when it grows beyond `MAX_BYTES`, its older half is dropped. What is not a valid line, whoever wrote it, is skipped, and
so is one that changed after it was written.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import secrets
import stat
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from .errors import ProfileError
from .schema import HardwareProfile, Run
from .store import home, profile_path

MAX_BYTES = 2**20
EVERY = 32
"""Lines that are written at once."""

_MOST_WAITING = 8 * EVERY
_SEAL = b'{"crc32":"%08x",'


def identity(profile: HardwareProfile) -> str:
    """What tells the runs that were forecast with this profile, by this version of autonla, from others.

    The profile's scale and corrections do not count.
    """
    facts = _version(), profile.name, profile.created, profile.rigor, profile.fingerprint.processor
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=1)
def _version() -> str:
    """Another version's algorithms take other times. Asked of the installation: the package itself imports upwards."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("autonla")
    except PackageNotFoundError:  # run from the source tree, not installed
        return ""


def records_path() -> Path:
    """The file of this machine's records. Raises ProfileError where the user has no home folder."""
    return home() / "records" / f"{profile_path().stem}.jsonl"


@contextlib.contextmanager
def switched_off() -> Iterator[None]:
    """Nothing is recorded, and no record used, within."""
    before = os.environ.get("AUTONLA_RECORDS")
    os.environ["AUTONLA_RECORDS"] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["AUTONLA_RECORDS"]
        else:
            os.environ["AUTONLA_RECORDS"] = before


def recording() -> bool:
    """Whether the environment allows records."""
    return os.environ.get("AUTONLA_RECORDS", "1") in ("", "1")


def is_first(algorithm: str, backend: str) -> bool:
    """Whether the next run of an algorithm in a library is the first of this process."""
    records = _current()
    return records is not None and (algorithm, backend) not in records.seen


def append(run: Run) -> None:
    """Keep a run. Never fails, never waits."""
    records = _current()
    if records is not None:
        records.append(run)


def flush() -> None:
    """Write what waits, unless another process is writing."""
    records = _current()
    if records is not None:
        records.flush()


def runs_of(profile: HardwareProfile) -> list[Run]:
    """The runs on file that were forecast with this profile, oldest first; none where records are switched off."""
    records = _current()
    return [] if records is None else records.read(identity(profile))


def forget() -> Path | None:
    """Delete the records of this machine; the file, or None where there was none.

    Raises
    ------
    ProfileError
        Where it cannot be deleted.
    """
    path = records_path()
    waiting = _current()
    if waiting is not None:
        waiting.drop()
    try:
        path.unlink()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProfileError(f"{path}: cannot be deleted ({error.strerror or error})") from None
    return path


def _current() -> _Records | None:
    return _records_in(os.environ.get("AUTONLA_HOME")) if recording() else None


@functools.lru_cache(maxsize=8)
def _records_in(chosen: str | None) -> _Records | None:
    """The records of one home folder, kept because they hold what waits; None where there is no home."""
    del chosen  # part of the key only: `records_path` reads it
    try:
        return _Records(records_path())
    except ProfileError:
        return None


def _sealed(payload: bytes) -> bytes:
    """The line of a run in JSON: an object too, with the checksum of the rest as its first field."""
    return _SEAL % zlib.crc32(payload) + payload[1:]


def _unsealed(line: bytes) -> bytes | None:
    """The run of a line; None where it is not as it was written."""
    payload = b"{" + line[len(_SEAL % 0) :]
    return payload if _sealed(payload) == line else None


class _Records:
    """The records in one file, and what waits to be written to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: set[tuple[str, str]] = set()
        self._waiting: deque[Run] = deque(maxlen=_MOST_WAITING)
        self._process = os.getpid()
        self._stopped = False

    def append(self, run: Run) -> None:
        if self._process != os.getpid():  # forked: what waits is the parent's to write
            self._process = os.getpid()
            self.drop()
        if not self.seen:
            atexit.register(self.flush)
        self.seen.add((run.algorithm, run.backend))
        if not self._stopped:
            self._waiting.append(run)
            if len(self._waiting) % EVERY == 0:
                self.flush()

    def drop(self) -> None:
        self._waiting.clear()

    def flush(self) -> None:
        if self._stopped or not self._waiting or self._process != os.getpid():
            return
        from filelock import FileLock, Timeout

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=0):
                self._write()
        except Timeout:
            pass  # another process writes: next time
        except (OSError, NotImplementedError):  # read-only, full, or a file system without locks
            self._stopped = True
            self.drop()

    def _write(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise OSError(f"{self.path} is not a regular file")  # a pipe would block
        with self.path.open("a+b") as file:
            lines = []
            with contextlib.suppress(IndexError):  # what waits may be dropped by another thread
                for _ in range(len(self._waiting)):
                    lines.append(_sealed(self._waiting.popleft().model_dump_json().encode()))
            if not lines:
                return
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # torn by a process that was killed
                    lines.insert(0, b"")
            file.write(b"\n".join(lines) + b"\n")
            size = file.tell()
        if size > MAX_BYTES:
            self._halve()

    def _halve(self) -> None:
        with self.path.open("rb") as file:
            file.seek(-MAX_BYTES // 2, os.SEEK_END)
            file.readline()  # most likely cut
            newer = file.read()
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")
        try:
            temporary.write_bytes(newer)
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def read(self, profile: str) -> list[Run]:
        try:
            if not self.path.is_file():
                return []
            with self.path.open("rb") as file:
                data = file.read(2 * MAX_BYTES)
        except OSError:
            return []
        mine, runs = b'"%s"' % profile.encode(), []
        for line in data.split(b"\n"):
            if mine not in line or (payload := _unsealed(line)) is None:
                continue
            with contextlib.suppress(ValidationError):
                run = Run.model_validate_json(payload, strict=True)
                if run.profile == profile:
                    runs.append(run)
        return runs
