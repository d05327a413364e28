"""Files that are written whole or not at all, and marks that no change survives."""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import tinygraph
from tinygraph.files import is_ours, marked, replacing

PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0IEND\xaeB`\x82"
CONTENTS = {
    "dot": b"digraph {}\n",
    "svg": b"<svg/>\n",
    "png": PNG,
    "pdf": b"%PDF-1.4\n%%EOF\n",
    "json": b'{\n  "objects": []\n}\n',
    "python": b"x = 1\n",
    "markdown": "# Σ\n".encode(),
    "html": b"<!doctype html>\n",
    "latex": b"\\sum\n",
    "text": b"words\n",
}


@pytest.mark.parametrize("format", CONTENTS)
def test_a_mark_holds_for_these_bytes_and_no_others(format):
    content, rng = CONTENTS[format], np.random.default_rng(0)
    made = marked(content, format)
    assert is_ours(made)
    assert is_ours(marked(made, format))  # a file that holds one of ours, and was made by us
    assert not is_ours(content)
    assert not is_ours(made + b"mine")
    assert not is_ours(b" " + made)
    assert not is_ours(made + made)
    assert not is_ours(content + content + made[len(content) :])
    for _ in range(100):
        changed = bytearray(made)
        changed[rng.integers(len(made))] ^= 1 << int(rng.integers(8))
        assert not is_ours(bytes(changed))


def test_a_mark_is_a_comment_of_its_format():
    assert json.loads(marked(CONTENTS["json"], "json"))["objects"] == []
    compile(marked(CONTENTS["python"], "python"), "made.py", "exec")
    chunk = marked(PNG, "png")[8 : -len(PNG) + 8]
    length = int.from_bytes(chunk[:4], "big")
    assert chunk[4:8] == b"tEXt"
    assert len(chunk) == length + 12
    assert zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_is_interrupted_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "kept.txt"
    path.write_text("old")

    def write():
        with replacing(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(type(error)) as caught:
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["kept.txt"]
    if isinstance(error, OSError):
        assert caught.value.filename == str(path)


@pytest.mark.skipif(os.name == "nt", reason="file modes and links are those of POSIX")
def test_modes_links_and_pipes_stay(tmp_path):
    path, link, pipe = tmp_path / "one", tmp_path / "link", tmp_path / "pipe"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)
    with replacing(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with replacing(pipe) as file:
        file.write(b"sent")
    assert os.read(reading, 10) == b"sent"
    os.close(reading)
    assert pipe.is_fifo()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"), replacing(tmp_path / "loop"):
        pass
    assert (tmp_path / "loop").is_symlink()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "no" / "x.txt"):
        pass
    assert caught.value.filename == str(tmp_path / "no" / "x.txt")


LIMITED = """
import resource
from tinygraph.files import replacing
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    with replacing("kept.txt") as file:
        file.write(bytes(1000))
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere this limit is not enforced")
def test_a_file_that_may_not_grow_leaves_the_old_one(tmp_path):
    (tmp_path / "kept.txt").write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(tinygraph.__file__).parents[1])},
        capture_output=True,
        encoding="utf-8",
    )
    assert (done.stdout, done.stderr) == ("[Errno 27] File too large: 'kept.txt'\n", "")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("kept.txt", "old")]
