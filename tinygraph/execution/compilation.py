"""Compilation: C text becomes a function, by the compiler that is found, and is kept in a folder.

Nobody is asked to have a compiler: what is missing, broken, full or not to be trusted ends in
`Unsupported`, with a sentence that says what it was, and then NumPy computes.

What was compiled is kept, one folder per entry: the text, the library, and the library's digest.
An entry is made beside and renamed into its place, so that two processes at a time, an interrupted
compiler or a full disk leave a whole entry or none; a library that was damaged later does not have
its digest and is compiled again, for to load half a library ends the process. Entries are named
after all that the code depends on: text, flags, processor, the compiler and its version. And what
is loaded runs: the folder belongs to the user, and nobody else may write to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from tinygraph.execution.program import Unsupported

__all__ = ["FLAGS", "Compiler", "compiler", "folder", "loaded"]

COMMON = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd", "-fPIC", "-shared")
FLAGS = {
    # No product is fused with a sum, which would round once where NumPy rounds twice.
    "strict": (*COMMON, "-ffp-contract=off"),
    "fast": (*COMMON, "-ffp-contract=fast"),
}
"""What the compiler is told, by mode. Its SIMD pragmas ask for no runtime library."""

NATIVE = "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"
LIBRARIES = () if sys.platform == "win32" else ("-lm",)
ANSWERS, COMPILES = 20.0, 120.0
"""After how many seconds a compiler hangs that was asked its version, or to compile."""


class Compiler(NamedTuple):
    """A compiler that answers.

    Attributes
    ----------
    command : tuple of str
    version : str
        All that it says of itself.
    """

    command: tuple[str, ...]
    version: str


def compiler() -> Compiler:
    """Find a compiler: ``$CC``, or else cc, gcc, clang, or the one in the wheel `ziglang`.

    Raises
    ------
    Unsupported
        If none answers; of ``$CC``, if it does not.
    """
    refused = []
    for command in _candidates():
        version = _version(command)
        if not isinstance(version, Unsupported):
            return Compiler(command, version)
        refused.append(str(version))
    if refused:
        raise Unsupported(refused[0])
    raise Unsupported(
        "there is no C compiler: neither $CC nor cc, gcc or clang; "
        'pip install "tinygraph[compile]" brings one'
    )


def _candidates() -> Iterator[tuple[str, ...]]:
    chosen = os.environ.get("CC", "").strip()
    if chosen:
        try:
            program, *arguments = shlex.split(chosen, posix=sys.platform != "win32")
        except ValueError:
            raise Unsupported(f"$CC is {chosen!r}, which is no command") from None
        found = shutil.which(program)
        if found is None:
            raise Unsupported(f"$CC is {chosen!r}, and there is no such program")
        yield (found, *arguments)
        return
    yield from ((found,) for name in ("cc", "gcc", "clang") if (found := shutil.which(name)))
    if find_spec("ziglang") is not None:
        yield (sys.executable, "-m", "ziglang", "cc")


_versions: dict[tuple[str, ...], str | Unsupported] = {}


def _version(command: tuple[str, ...]) -> str | Unsupported:
    """Ask a compiler who it is, once; one that hangs is not waited for again."""
    if command not in _versions:
        try:
            _versions[command] = _run(command, ["--version"], ANSWERS)
        except Unsupported as refusal:
            _versions[command] = refusal
    return _versions[command]


def _run(command: tuple[str, ...], arguments: Sequence[str], seconds: float) -> str:
    """Run a compiler and give what it prints; with all that it started, it ends in time.

    Raises
    ------
    Unsupported
        If it cannot be run, fails, or takes longer.
    """
    name = f"the compiler {shlex.join(command)}"
    try:
        process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_in_english(),
            start_new_session=True,
        )
    except OSError as error:
        raise Unsupported(f"{name} does not start: {error}") from None
    try:
        said = process.communicate(timeout=seconds)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        _end(process)
        _versions[command] = hangs = Unsupported(f"{name} gave no answer in {seconds:g} s")
        raise hangs from None
    except BaseException:
        _end(process)
        raise
    if process.returncode:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        why = (*errors, *lines[-1:], f"it ended with {process.returncode}")[0]
        raise Unsupported(f"{name} fails: {why[:200]}")
    return said


def _in_english() -> dict[str, str]:
    """Give the environment of a compiler whose messages are read; its paths may have any letters.

    LC_ALL=C would take those for ASCII, of which Python itself does not start.
    """
    environment = dict(os.environ)
    letters = environment.pop("LC_ALL", "")
    return environment | {"LC_MESSAGES": "C"} | ({"LC_CTYPE": letters} if letters else {})


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a compiler, and the processes that it has started and that hold its pipe."""
    if sys.platform == "win32":
        process.kill()
    else:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


# --------------------------------------------------------------------------- the folder


def folder() -> Path:
    """Give the folder of what was compiled, in the user's cache, and make it if need be.

    Raises
    ------
    Unsupported
        If it cannot be made, or others could put their code into it.
    """
    try:
        path = _cache() / "tinygraph"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.stat()
    except (OSError, RuntimeError) as error:
        raise Unsupported(
            f"compiled code has no folder to be kept in: {error}; set XDG_CACHE_HOME to one"
        ) from None
    if sys.platform != "win32":
        is_shared = stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
        if found.st_uid != os.geteuid() or is_shared:
            raise Unsupported(
                f"others may write to {path}, and what is in there would be run; "
                f"make it your own (chmod 700), or set XDG_CACHE_HOME to another folder"
            )
    return path


def _cache() -> Path:
    """Give the folder that this platform has for what can be made again."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(chosen):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")


@cache
def _processor() -> str:
    """Say what code for this processor is good for: the model and what it can do.

    Where the system does not say so, code is good for this machine alone.
    """
    known = [sys.platform, platform.machine(), str(struct.calcsize("P"))]
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0]
        lines = [line for line in text.splitlines() if line.startswith(("model", "flags", "Feat"))]
    except OSError:
        lines = []
    return "\n".join([*known, *(lines or [platform.processor(), platform.node()])])


def _entry(source: str, mode: str, by: Compiler) -> Path:
    known = (source, *FLAGS[mode], NATIVE, *LIBRARIES, _processor(), *by.command, by.version)
    return folder() / hashlib.sha256("\0".join(known).encode()).hexdigest()


def _is_whole(entry: Path) -> bool:
    """Whether a library is there, and is as it was compiled."""
    try:
        content = (entry / "kernel.so").read_bytes()
        return (entry / "sha256").read_text() == hashlib.sha256(content).hexdigest()
    except (OSError, ValueError):
        return False


# --------------------------------------------------------------------------- compiling


def loaded(source: str, *, mode: str, symbols: Sequence[str]) -> list[Any]:
    """Give functions of a C text, compiled unless it was before.

    Parameters
    ----------
    source : str
        The whole text; it may include headers of the standard library.
    mode : str
        ``strict`` or ``fast``, one of `FLAGS`.
    symbols : sequence of str
        The functions.

    Returns
    -------
    list of ctypes functions
        Of no types yet; calling one releases the interpreter lock.

    Raises
    ------
    Unsupported
        If there is no compiler that works, or no folder for what it makes.
    """
    by = compiler()
    entry = _entry(source, mode, by)
    for is_first in (True, False):
        if not (is_first and _is_whole(entry)):
            _build(source, mode, by, entry)
        try:
            library = ctypes.CDLL(str(entry / "kernel.so"))
            return [getattr(library, symbol) for symbol in symbols]
        except (OSError, AttributeError) as error:
            shutil.rmtree(entry, ignore_errors=True)
            why = " ".join(str(error).split())[:200]
    raise Unsupported(f"the compiler {by.command[0]} makes what cannot be loaded: {why}")


def _build(source: str, mode: str, by: Compiler, entry: Path) -> None:
    """Compile beside the entry, and rename into its place what has become whole."""
    try:
        with tempfile.TemporaryDirectory(
            dir=entry.parent, prefix="making-", ignore_cleanup_errors=True
        ) as scratch:
            made = Path(scratch, "entry")
            made.mkdir()
            text, library = made / "kernel.c", made / "kernel.so"
            text.write_text(source, encoding="utf-8")
            _compile(by, mode, text, library)
            if not library.is_file():
                raise Unsupported(f"the compiler {by.command[0]} makes nothing, and says no error")
            digest = hashlib.sha256(library.read_bytes()).hexdigest()
            (made / "sha256").write_text(digest)
            _place(made, entry, Path(scratch))
    except OSError as error:
        raise Unsupported(f"compiled code cannot be kept in {entry.parent}: {error}") from None


def _compile(by: Compiler, mode: str, text: Path, library: Path) -> None:
    """Compile for this processor; for any of its kind, where the compiler does not know how."""
    arguments = [*FLAGS[mode], str(text), "-o", str(library), *LIBRARIES]
    try:
        _run(by.command, [*arguments, NATIVE], COMPILES)
    except Unsupported as refusal:
        if refusal is _versions[by.command]:  # it hangs
            raise
        _run(by.command, arguments, COMPILES)


def _place(made: Path, entry: Path, scratch: Path) -> None:
    """Rename a whole entry into its place, unless another process was first."""
    try:
        made.rename(entry)
    except OSError:
        if _is_whole(entry):
            return
        entry.rename(scratch / "damaged")
        made.rename(entry)
