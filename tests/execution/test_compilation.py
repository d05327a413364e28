"""Compilers that are missing, broken, slow or wrong, and the folder of what they made."""

import ctypes
import os
import shutil
import stat
import subprocess
import sys
import threading

import pytest

from tinygraph.execution import compilation
from tinygraph.execution.compilation import FLAGS, compiler, folder, loaded
from tinygraph.execution.program import Unsupported

SOURCE = "int answer(void) { return 42; }\n"
REAL = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)

needs_compiler = pytest.mark.skipif(REAL is None, reason="no C compiler on PATH")
needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="fake compilers are sh scripts")
pytestmark = needs_posix


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Give every test an empty cache, and no memory of the compilers that others asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(compilation, "_versions", {})
    monkeypatch.delenv("CC", raising=False)
    return tmp_path / "cache" / "tinygraph"


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Make a compiler of a shell script, which knows ``$OUT``, its output; it becomes $CC."""

    def make(body, name="fake-cc", version="fake 1.0"):
        path = tmp_path / name
        path.write_text(
            "#!/bin/sh\n"
            f'if [ "$1" = --version ]; then echo "{version}"; exit 0; fi\n'
            'previous=; for word; do [ "$previous" = -o ] && OUT=$word; previous=$word; done\n'
            f'echo compiled >> "{tmp_path}/log"\n{body}\n'
        )
        path.chmod(0o755)
        monkeypatch.setenv("CC", str(path))
        return path

    return make


def answer(mode="strict", source=SOURCE):
    (function,) = loaded(source, mode=mode, symbols=["answer"])
    return function()


def compilations(tmp_path):
    log = tmp_path / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def refusal(source=SOURCE, mode="strict"):
    """Give the sentence with which compilation is refused."""
    with pytest.raises(Unsupported) as caught:
        loaded(source, mode=mode, symbols=["answer"])
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


@needs_compiler
@pytest.mark.parametrize("mode", FLAGS)
def test_a_text_becomes_a_function_and_is_compiled_once(fake, tmp_path, own_cache, mode):
    fake(f'exec {REAL} "$@"')
    assert answer(mode) == answer(mode) == 42
    assert compilations(tmp_path) == 1
    (entry,) = own_cache.iterdir()
    assert (entry / "kernel.c").read_text() == SOURCE
    assert stat.S_IMODE(own_cache.stat().st_mode) == 0o700


@needs_compiler
def test_what_code_depends_on_has_entries_of_its_own(fake, own_cache, monkeypatch):
    fake(f'exec {REAL} "$@"')
    answer()
    assert len(list(own_cache.iterdir())) == 1
    answer("fast")
    answer(source=SOURCE.replace("42", "43"))
    fake(f'exec {REAL} "$@"', version="fake 1.1")  # the same program, updated
    compilation._versions.clear()
    answer()
    fake(f'exec {REAL} "$@"', name="other-cc", version="fake 1.1")
    answer()
    monkeypatch.setattr(compilation, "_processor", lambda: "another processor")
    answer()
    assert len(list(own_cache.iterdir())) == 6


@needs_compiler
def test_fast_code_may_round_otherwise_and_strict_code_may_not():
    source = "double answer(double a, double b, double c) { return a * b + c; }\n"
    a = 1 + 2.0**-30
    for mode in FLAGS:
        (function,) = loaded(source, mode=mode, symbols=["answer"])
        function.argtypes, function.restype = [ctypes.c_double] * 3, ctypes.c_double
        assert mode == "fast" or function(a, a, -(1 + 2.0**-29)) == 0.0


def test_no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compilation, "find_spec", lambda name: None)
    assert 'pip install "tinygraph[compile]"' in refusal()


def test_a_compiler_in_a_wheel_is_the_last_resort(monkeypatch, tmp_path):
    package = tmp_path / "ziglang"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import locale, subprocess, sys\nassert sys.argv[1] == 'cc'\n"
        "if sys.argv[2] == '--version':\n"
        "    print('zig in a test,', locale.getencoding().lower())\n    sys.exit()\n"
        f"sys.exit(subprocess.call([{REAL!r}, *sys.argv[2:]]))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert compiler().command[1:] == ("-m", "ziglang", "cc")
    # folders may have any letters, also those that Python itself reads when it starts
    assert compiler().version == "zig in a test, utf-8\n"
    monkeypatch.setenv("PATH", path)
    if REAL:
        assert compiler().command == (REAL,)
        monkeypatch.setattr(compilation, "_candidates", lambda: [found])
        found = (sys.executable, "-m", "ziglang", "cc")
        assert answer() == 42


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("/no/such/cc", "no such program"),
        ("cc 'unclosed", "no command"),
        ("false", "the compiler {} fails"),
    ],
)
def test_a_chosen_compiler_that_does_not_answer_is_not_passed_over(monkeypatch, command, said):
    """Who says $CC wants this one."""
    monkeypatch.setenv("CC", command)
    assert said.format(shutil.which("false")) in refusal()


def test_a_file_that_is_no_program(tmp_path, monkeypatch):
    path = tmp_path / "text-cc"
    path.write_bytes(b"\x00\x01\x02 no program")
    path.chmod(0o755)
    monkeypatch.setenv("CC", str(path))
    assert "does not start" in refusal()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo 'k.c:3: error: no such thing'; echo context; exit 1", "k.c:3: error: no such thing"),
        ("exit 3", "it ended with 3"),
        ("kill -9 $$", "it ended with -9"),
        ("exit 0", "makes nothing"),
        ("echo garbage > $OUT", "makes what cannot be loaded"),
        (": > $OUT", "makes what cannot be loaded"),
        ("echo 'cannot write: No space left on device'; exit 1", "No space left on device"),
        ("head -c 100 /dev/zero > $OUT; exit 1", "it ended with 1"),
    ],
)
def test_a_broken_compiler_leaves_nothing(fake, own_cache, body, said):
    fake(body)
    assert said in refusal()
    assert list(own_cache.iterdir()) == []


def test_a_compiler_without_the_symbol(fake, own_cache):
    if REAL is None:
        pytest.skip("no C compiler on PATH")
    fake(f'echo "int other(void) {{ return 1; }}" | {REAL} -shared -fPIC -x c - -o "$OUT"')
    assert "answer" in refusal()
    assert list(own_cache.iterdir()) == []


def test_a_compiler_that_hangs_is_ended_with_its_children(fake, tmp_path, monkeypatch):
    """While a child lives that holds its output, the end of that output is waited for."""
    monkeypatch.setattr(compilation, "COMPILES", 0.2)
    fake("sleep 1000 & wait")
    assert "gave no answer in 0.2 s" in refusal()
    assert "gave no answer" in refusal(SOURCE + "\n")  # without waiting again
    assert compilations(tmp_path) == 1


def test_a_compiler_that_does_not_say_its_version(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation, "ANSWERS", 0.2)
    path = tmp_path / "mute-cc"
    path.write_text("#!/bin/sh\nexec sleep 1000\n")
    path.chmod(0o755)
    monkeypatch.setenv("CC", str(path))
    assert "gave no answer in 0.2 s" in refusal()


@needs_compiler
def test_a_compiler_that_does_not_know_this_processor(fake, tmp_path):
    fake(
        f'for word; do case $word in *=native) echo "error: $word"; exit 1;; esac; done\n'
        f'exec {REAL} "$@"'
    )
    assert answer() == 42
    assert compilations(tmp_path) == 2


@pytest.mark.parametrize("still_runs", [True, False])
def test_an_interrupted_compilation_leaves_nothing(fake, own_cache, monkeypatch, still_runs):
    fake("sleep 1000" if still_runs else "exit 0")

    class Interrupted(subprocess.Popen):
        def communicate(self, *arguments, timeout=None, **options):
            if timeout == compilation.COMPILES:
                if not still_runs:
                    self.wait()
                raise KeyboardInterrupt
            return super().communicate(*arguments, timeout=timeout, **options)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        answer()
    assert list(own_cache.iterdir()) == []


@needs_compiler
@pytest.mark.parametrize("damage", ["truncated", "changed", "no digest", "no library", "a file"])
def test_a_damaged_entry_is_compiled_again(fake, own_cache, tmp_path, damage):
    fake(f'exec {REAL} "$@"')
    by = compiler()
    entry = compilation._entry(SOURCE, "strict", by)
    compilation._build(SOURCE, "strict", by, entry)  # not loaded yet: a process loads it once
    library = entry / "kernel.so"
    whole = library.read_bytes()
    if damage == "truncated":
        library.write_bytes(whole[: len(whole) // 2])
    elif damage == "changed":
        library.write_bytes(whole[:-9] + b"\xff" + whole[-8:])
    elif damage == "no digest":
        (entry / "sha256").unlink()
    elif damage == "no library":
        library.unlink()
    else:
        shutil.rmtree(entry)
        entry.write_text("a file")
    assert answer() == 42
    assert compilations(tmp_path) == 2
    assert [path.name for path in own_cache.iterdir()] == [entry.name]
    assert compilation._is_whole(entry)


@needs_compiler
def test_two_at_once_both_have_it(fake, own_cache, tmp_path):
    """Both have seen no entry, and both compile; the second finds the first's in its place."""
    fake(
        f'{REAL} "$@"; echo >> "{tmp_path}/ready"\n'
        f'until [ $(wc -l < "{tmp_path}/ready") -ge 2 ]; do sleep 0.01; done'
    )
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(answer())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [42, 42]
    assert compilations(tmp_path) == 2
    (entry,) = own_cache.iterdir()
    assert compilation._is_whole(entry)


# --------------------------------------------------------------------------- the folder


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("CC", "true")
    assert "set XDG_CACHE_HOME" in refusal()


@needs_compiler
def test_a_folder_that_is_read_only_still_gives_what_it_has(own_cache, monkeypatch):
    assert answer() == 42

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", str(own_cache))

    monkeypatch.setattr(compilation.tempfile, "TemporaryDirectory", refuse)  # root may write
    assert answer() == 42
    assert "cannot be kept in" in refusal(SOURCE + "\n")


@needs_compiler
def test_a_full_disk(own_cache, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compilation, "_place", full)
    assert "No space left on device" in refusal()
    assert list(own_cache.iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_write_to_is_not_trusted(own_cache, monkeypatch, mode):
    monkeypatch.setenv("CC", "true")
    own_cache.mkdir(parents=True)
    own_cache.chmod(mode)
    assert "others may write" in refusal()
    own_cache.chmod(0o755)
    assert folder() == own_cache


def test_a_folder_of_somebody_else_is_not_trusted(own_cache, monkeypatch):
    own_cache.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: own_cache.stat().st_uid + 1)
    with pytest.raises(Unsupported, match="others may write"):
        folder()


def test_a_relative_cache_folder_is_none(monkeypatch, tmp_path):
    """As the XDG specification has it: such a path is to be ignored."""
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder().is_relative_to(tmp_path)
