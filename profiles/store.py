"""Where profiles are kept, and how one is read without ever trusting the file.

A file is one line of JSON, ``{"checksum": <sha256 of the profile's bytes>, "profile": {...}}``. What
is wrong with it is said by one :class:`ProfileError`; what it holds is data and nothing else.

``AUTONLA_PROFILE`` names a profile file that is used instead of the user's; if it is broken or speaks
of another machine, that is an error, never a silent fallback. ``AUTONLA_HOME`` names the folder for the
library's files, instead of the user's data folder.

The user's profiles stand in ``<home>/profiles``, one file per kind of processor, so that machines
that share a home folder do not take each other's.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import ValidationError

from .atomic import replacing
from .errors import ProfileError
from .fingerprint import compare, core_counts, fingerprint, processor
from .schema import SCHEMA_VERSION, HardwareProfile

MAX_BYTES = 4 * 2**20
LOCK_SECONDS = 10.0

_HEAD = re.compile(rb'\s*\{\s*"checksum"\s*:\s*"([0-9a-f]{64})"\s*,\s*"profile"\s*:\s*')
_TAIL = re.compile(rb"\s*\}\s*\Z")
_DECIDE = ("HOME", "XDG_DATA_HOME", "USERPROFILE", "LOCALAPPDATA")  # variables that say where a user's data belong
_REMEDY = "run `autonla profile` to measure this machine"


class Found(NamedTuple):
    """A profile to plan with, where it comes from, and why not a better one (sentences for the user)."""

    profile: HardwareProfile
    source: Literal["user", "environment", "shipped"]
    reasons: tuple[str, ...]


def home() -> Path:
    """Folder of the library's files: ``AUTONLA_HOME``, else the user's data folder. Not created here."""
    chosen = os.environ.get("AUTONLA_HOME")
    if chosen and os.path.isabs(chosen):  # noqa: PTH117  this runs before every plan
        return Path(chosen)
    try:
        here = os.getcwd() if chosen else ""  # noqa: PTH109
    except OSError:
        raise ProfileError(
            f"AUTONLA_HOME={chosen}: the folder it is relative to is gone: write the whole path"
        ) from None
    return _home(chosen, *map(os.environ.get, _DECIDE), here)


@functools.lru_cache(maxsize=8)
def _home(chosen: str | None, *deciding: str | None) -> Path:
    del deciding  # part of the key only
    if chosen:
        return _expand(chosen).absolute()
    import platformdirs

    folder = platformdirs.user_data_path("autonla", appauthor=False)
    if not folder.is_absolute():  # an unset HOME leaves "~" as it is
        raise ProfileError("there is no home folder for this user: set AUTONLA_HOME to a folder")
    return folder


def _expand(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # "~" of a user without a home
        raise ProfileError(f"{path}: there is no home folder to expand it: write the whole path") from None


def profile_path() -> Path:
    """The file of the user's profile of this machine."""
    return home() / "profiles" / _file_name(processor(), core_counts()[0])


@functools.cache
def _file_name(processor: str, cores: int) -> str:
    machine = re.sub(r"[^a-z0-9]+", "-", f"{processor} {cores} cores".lower()).strip("-")
    return f"{machine[-100:]}.json"


def dumps(profile: HardwareProfile) -> bytes:
    """The bytes of a profile file."""
    payload = profile.model_dump_json().encode()
    return b'{"checksum":"%s","profile":%s}\n' % (hashlib.sha256(payload).hexdigest().encode(), payload)


def loads(data: bytes, origin: str = "profile") -> HardwareProfile:
    """Read the bytes of a profile file; `origin` names them in the error."""
    if len(data) > MAX_BYTES:
        raise ProfileError(f"{origin}: larger than {MAX_BYTES >> 20} MiB, no profile is; {_REMEDY}")
    head, tail = _HEAD.match(data), _TAIL.search(data)
    if head is None or tail is None:
        raise ProfileError(f"{origin}: {_damage(data) or 'not a profile file'}; {_REMEDY}")
    payload = data[head.end() : tail.start()]
    if hashlib.sha256(payload).hexdigest().encode() != head.group(1):
        raise ProfileError(f"{origin}: {_damage(data) or 'changed after it was written (checksum)'}; {_REMEDY}")
    try:
        return HardwareProfile.model_validate_json(payload, strict=True)
    except ValidationError as error:
        raise ProfileError(f"{origin}: {_complaint(payload, error)}; {_REMEDY}") from None


def _damage(data: bytes) -> str | None:
    """What makes these bytes no JSON at all, or None."""
    if not data.strip():
        return "empty"
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return "truncated or damaged" if _HEAD.match(data) else "not JSON"
    return None


def _complaint(payload: bytes, error: ValidationError) -> str:
    """One line for what pydantic says in many."""
    try:
        version = json.loads(payload)["schema_version"]
    except (ValueError, RecursionError, TypeError, LookupError):
        version = None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        return f"written by a newer autonla (schema {str(version)[:20]}, this one reads {SCHEMA_VERSION})"
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"])) or "profile"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    said = " ".join(f"{where}: {first['msg']}".split())  # names in the file may hold anything
    return f"not a valid profile: {said[:300]}{more}"


def _read(path: Path) -> HardwareProfile:
    try:
        if not path.exists():
            raise ProfileError(f"{path}: no such file; {_REMEDY}")
        if not path.is_file():  # a pipe would block, a device never end
            raise ProfileError(f"{path}: not a regular file; {_REMEDY}")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read ({error.strerror or error}); {_REMEDY}") from None
    return loads(data, str(path))


def _unfit(profile: HardwareProfile) -> tuple[list[str], list[str]]:
    """Sentences that refuse the profile here, and sentences that only warn."""
    if profile.rigor == "generic":  # measured elsewhere by intent: a spot check scales it
        return [], []
    found = compare(profile.fingerprint, fingerprint())
    return (
        [mismatch.sentence for mismatch in found if mismatch.severity == "refuse"],
        [mismatch.sentence for mismatch in found if mismatch.severity == "warn"],
    )


def load(path: str | os.PathLike[str] | None = None, *, any_machine: bool = False) -> HardwareProfile:
    """Read a profile that fits this machine.

    Parameters
    ----------
    path : path or None
        None is ``AUTONLA_PROFILE`` where set, else the user's profile of this machine.
    any_machine : bool
        Accept a profile of another machine, to look at it.

    Raises
    ------
    ProfileError
        With one reason: missing, unreadable, too big, not JSON, truncated, changed, of a newer
        schema, invalid, or of another machine.
    """
    if path is None:
        path = os.environ.get("AUTONLA_PROFILE") or profile_path()
    path = _expand(path)
    profile = _read(path)
    refusals = [] if any_machine else _unfit(profile)[0]
    if refusals:
        more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
        raise ProfileError(f"{path}: does not fit this machine: {refusals[0]}{more}; {_REMEDY}")
    return profile


def save(profile: HardwareProfile, path: str | os.PathLike[str] | None = None) -> Path:
    """Write a profile, whole or not at all; the default path is the user's profile of this machine.

    What stood there is replaced, be it a file, a link or a pipe: what a link points to is left alone.

    Raises
    ------
    ProfileError
        Where the folder cannot be written. The profile in memory is as good as before: hand it to
        ``solve(..., profile=)``.
    """
    from filelock import FileLock, Timeout

    data = dumps(profile)
    if len(data) > MAX_BYTES:
        raise ProfileError(f"the profile takes {len(data)} bytes, the limit is {MAX_BYTES}: measure fewer points")
    path = profile_path() if path is None else _expand(path)
    try:
        lock = path.with_name(f".{path.name}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=LOCK_SECONDS), replacing(path) as file:
            file.write(data)
    except Timeout:
        raise ProfileError(f"{path}: another process has kept it locked for {LOCK_SECONDS:.0f} s") from None
    except (OSError, ValueError, NotImplementedError) as error:  # no name, or no locks in the file system
        why = getattr(error, "strerror", None) or error
        raise ProfileError(
            f"{path}: cannot be written ({why}); choose another file, set AUTONLA_HOME, "
            "or use the profile from memory with profile="
        ) from None
    return path


def generic() -> HardwareProfile:
    """The profile that ships with the library, of another machine: a spot check gives its scale."""
    return _generic()


@functools.lru_cache(maxsize=1)
def _generic() -> HardwareProfile:
    try:
        data = (resources.files("autonla.profiles") / "data" / "generic.json").read_bytes()
    except OSError:
        raise ProfileError(f"this installation ships no generic profile; {_REMEDY}") from None
    return loads(data, "the shipped generic profile")


def find() -> Found:
    """The profile to plan with when the caller names none.

    ``AUTONLA_PROFILE`` if set (an error if it cannot be used), else the user's profile of this
    machine if there is one and it fits, else the shipped generic profile with the reasons why. The
    answer is kept until a file or a variable changes; a thread limit that the process sets later is
    not looked at again here: tables carry their number of threads.

    Raises
    ------
    ProfileError
        Where ``AUTONLA_PROFILE`` cannot be used, or nothing is left to fall back to.
    """
    if named := os.environ.get("AUTONLA_PROFILE"):
        path = _expand(named)
        return _named(path, _stamp(path))
    try:
        path = profile_path()
    except ProfileError as error:
        return Found(generic(), "shipped", (str(error),))
    return _kept(path, _stamp(path))


_Stamp = tuple[int, ...] | None


def _stamp(path: Path) -> _Stamp:
    """What changes whenever the content of a file does, or who may read it; None where there is no file."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # reading it is going to say why
        return (error.errno or 0,)
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


@functools.lru_cache(maxsize=4)
def _named(path: Path, stamp: _Stamp) -> Found:
    del stamp  # part of the key only
    return _found(path, "environment")


@functools.lru_cache(maxsize=4)
def _kept(path: Path, stamp: _Stamp) -> Found:
    if stamp is None:
        return Found(generic(), "shipped", (f"this machine has not been profiled: {_REMEDY}",))
    try:
        return _found(path, "user")
    except ProfileError as error:
        return Found(generic(), "shipped", (str(error),))


def _found(path: Path, source: Literal["user", "environment"]) -> Found:
    profile = load(path)
    reasons = _unfit(profile)[1]
    if not profile.complete:
        reasons.append("the time limit cut the measurement of this profile: some kernels are missing")
    return Found(profile, source, tuple(reasons))
