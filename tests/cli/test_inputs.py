"""Reading files: exact values from good ones, one helpful line from every bad one."""

import csv
import math
import os
import pickle
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib import format as npy

from tinygraph.cli.inputs import InputError, describe_nonfinite, read_array, wine

# --- .csv: what is read ---------------------------------------------------------------------------

GOOD_CSV = {
    "no header": b"1,2\n3,4\n",
    "header": b"a,b\n1,2\n3,4\n",
    "header with an empty name": b"a,\n1,2\n3,4\n",
    "quoted header with a comma": b'"a, in m","b"\n1,2\n3,4\n',
    "header beyond ASCII": "größe,Σ\n1,2\n3,4\n".encode(),
    "BOM": b"\xef\xbb\xbf1,2\n3,4\n",
    "BOM and header": b"\xef\xbb\xbfa,b\n1,2\n3,4\n",
    "BOM and quoted header": b'\xef\xbb\xbf"a","b"\n1,2\n3,4\n',
    "CRLF": b"a,b\r\n1,2\r\n3,4\r\n",
    "CR": b"a,b\r1,2\r3,4\r",
    "no newline at the end": b"1,2\n3,4",
    "blank lines at the end": b"1,2\n3,4\n\n  \n\r\n",
    "spaces": b" 1 , 2\n3 ,\t4 \n",
    "quotes": b'"1","2"\n3, "4"\n',
    "signs and exponents": b"+1,.2e1\n3.,4E0\n",
}


@pytest.mark.parametrize("content", GOOD_CSV.values(), ids=GOOD_CSV)
def test_csv_forms_are_read(tmp_path, content):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    x = read_array(path)
    assert x.dtype == np.float64
    assert x.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert x.flags.writeable
    assert x.flags.c_contiguous


@pytest.mark.parametrize(
    ("content", "shape"),
    [(b"7", (1, 1)), (b"1\n2\n3\n", (3, 1)), (b"n\n1\n2\n", (2, 1)), (b"1,2,3", (1, 3))],
)
def test_csv_is_always_rows_by_columns(tmp_path, content, shape):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    assert read_array(path).shape == shape


@pytest.mark.parametrize("end", ["", "\n", "\n\n \n"])
def test_csv_nan_and_inf_text_is_read_as_such(tmp_path, end):
    path = tmp_path / "x.csv"
    path.write_text(f"a,b,c,d\nnan,inf,-Infinity,NaN{end}")
    row = read_array(path)[0]
    assert np.isnan(row[[0, 3]]).all()
    assert row[1:3].tolist() == [math.inf, -math.inf]


def test_csv_first_line_with_one_number_is_no_header(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,2\n3,4\n")
    with pytest.raises(InputError, match=r"line 1, column 1: 'a' is no number"):
        read_array(path)


def test_csv_values_are_the_nearest_floats(tmp_path):
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -2.2250738585072014e-308, 2.0**53 + 2]
    path = tmp_path / "x.csv"
    path.write_text("\n".join(map(repr, values)))
    assert list(map(repr, read_array(path)[:, 0].tolist())) == list(map(repr, values))


def test_csv_keeps_the_sign_of_zero(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("-0.0,0.0")
    assert np.signbit(read_array(path)).tolist() == [[True, False]]


@pytest.mark.slow
def test_csv_with_a_hundred_thousand_rows(tmp_path):
    x = np.random.default_rng(3).normal(size=(100_000, 10))
    path = tmp_path / "x.csv"
    path.write_text("\n".join(",".join(map(repr, row)) for row in x.tolist()))
    tracemalloc.start()
    try:
        result = read_array(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.array_equal(result, x)
    # The flat array over-allocates by an eighth while it grows; the text is never held whole.
    assert peak < 3 * x.nbytes


@settings(deadline=None)
@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
def test_csv_round_trip(x, with_header, end):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.csv")
        with open(path, "w", newline="") as file:
            writer = csv.writer(file, lineterminator=end)
            if with_header:
                writer.writerow([f"x{i}" for i in range(x.shape[1])])
            writer.writerows(x.tolist())
        result = read_array(path)
    assert result.tobytes() == x.tobytes()
    assert result.shape == x.shape


# --- .csv: what is refused ------------------------------------------------------------------------

NO = "is no number that fits float64; separate numbers by commas, and write nan where there is none"
NOT_UTF8 = "has bytes that are not UTF-8; save it as UTF-8 text"
NUL = "has NUL bytes; save it as UTF-8 text"
BAD_CSV = {
    "empty file": (b"", "the file is empty; write numbers into it"),
    "one byte": (b"\n", "has no rows of numbers; write one row a line"),
    "only a BOM": (b"\xef\xbb\xbf", "has no rows of numbers"),
    "only blank lines": (b"\n\n  \n", "has no rows of numbers"),
    "header only": (b"a,b\n", "has no rows of numbers"),
    "ragged, short": (b"a,b\n1,2\n3\n", "line 3, the number of columns changed from 2 to 1; give"),
    "ragged, long": (b"1,2\n3,4\n5,6,7\n", "line 3, the number of columns changed from 2 to 3"),
    "empty cell": (b"a,b\n1,2\n3,\n", "line 3, column 2 (b): is empty; separate"),
    "blank cell": (b"1,2\n  ,4\n", "line 2, column 1: is empty"),
    "only commas": (b",,\n", "line 1, column 1: is empty"),
    "commas at the end": (b"1,2\n,\n", "line 2, column 1: is empty"),
    "text": (b"a,b\n1,2\n3,x9\n", f"line 3, column 2 (b): 'x9' {NO}"),
    "missing as NA": (b"1,2\nNA,4\n", f"'NA' {NO}"),
    "unit": (b"1,2\n3 mg,4\n", f"line 2, column 1: '3 mg' {NO}"),
    "hexadecimal": (b"1,2\n0x10,4\n", f"line 2, column 1: '0x10' {NO}"),
    "long text": (b"1,2\n3," + b"y" * 500, "'" + "y" * 40 + f"' {NO}"),
    "text with a line break": (
        b'1,2\n3,"4\n5x"\n',
        "line 2, unexpected end of data; close every quote",
    ),
    "underscore": (b"1,2\n3,1_000\n", f"line 2, column 2: '1_000' {NO}"),
    "underscores in the first line": (b"1_0,2_0\n3,4\n", f"line 1, column 1: '1_0' {NO}"),
    "other digits": ("1,2\n٣,4\n".encode(), f"line 2, column 1: '٣' {NO}"),
    "minus sign of print": ("1,2\n−3,4\n".encode(), f"line 2, column 1: '−3' {NO}"),
    "beyond float64": (b"a\n1\n-1e999\n", f"line 3, column 1 (a): '-1e999' {NO}"),
    "semicolons": (b"1;2\n3;4\n", "line 1, '1;2' holds several numbers; separate them"),
    "semicolons, header": (b"a;b\n1;2\n", f"line 2, column 1 (a;b): '1;2' {NO}"),
    "decimal commas": (b"1,5;2,5\n3,5;4,5\n", f"line 1, column 2: '5;2' {NO}"),
    "decimal commas, header": (b"a;b\n1,5;2,5\n", f"line 2, column 2: '5;2' {NO}"),
    "tabs": (b"1\t2\n3\t4\n", r"line 1, '1\t2' holds several numbers; separate them by"),
    "tabs, header": (b"a\tb\n1\t2\n", rf"'1\t2' {NO}"),
    "bars": (b"a|b\n1|2\n", f"'1|2' {NO}"),
    "spaces": (b"1 2\n3 4\n", "line 1, '1 2' holds several numbers; separate them by"),
    "blank line between": (b"1,2\n\n3,4\n", "line 3, stands below a blank line; delete that one"),
    "blank line first": (b"\n1,2\n", "line 2, stands below a blank line"),
    "second header": (b"a,b\nm,s\n1,2\n", f"line 2, column 1 (a): 'm' {NO}"),
    "UTF-16, little-endian": ("1,2\n".encode("utf-16"), NOT_UTF8),
    "UTF-16, big-endian": (
        b"\xfe\xff" + "1,2\n".encode("utf-16-be"),
        NOT_UTF8,
    ),
    "UTF-32, little-endian": ("1,2\n".encode("utf-32"), NOT_UTF8),
    "UTF-32, big-endian": (b"\0\0\xfe\xff" + "1,2".encode("utf-32-be"), NOT_UTF8),
    "UTF-16 without BOM": ("1,2\n".encode("utf-16-le"), NUL),
    "NUL in a cell": (b"a,b\n1,2\n3,4\0\n", NUL),
    "NUL in the header": (b"a,b\0\n1,2\n", NUL),
    "Latin-1 header": ("größe,b\n1,2\n".encode("latin-1"), NOT_UTF8),
    "Latin-1 cell": (
        b"1,2\n3,4\xb5\n",
        NOT_UTF8,
    ),
    "zip": (b"PK\x03\x04\x14\x00\x06\x00\x08\x00", NUL),
    "gzip": (b"\x1f\x8b\x08\x08\xff\xfe", NOT_UTF8),
    "open quote": (b'1,2\n"3,4\n5,6\n', "line 2, unexpected end of data; close every quote"),
    "text after a quote": (b'1,2\n"3"4,5\n', "line 2, ',' expected after '\"'; close every quote"),
    "over-long cell": (b"1,2\n3," + b"4" * 200_000, "line 2, column 2: '" + "4" * 40 + f"' {NO}"),
    "over-long quoted cell": (b'1\n"' + b"2\n" * 100_000, "line 2, unexpected end of data"),
}


@pytest.mark.parametrize(("content", "words"), BAD_CSV.values(), ids=BAD_CSV)
def test_bad_csv_is_explained_in_one_line(tmp_path, content, words):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_array(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert words in message
    assert message.isprintable()
    assert len(message) < len(str(path)) + 200


def test_long_column_names_are_cut_and_made_printable(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text('"a\nb",' + "c" * 99 + "\n1,2\n3,x\n")
    with pytest.raises(InputError, match=r"line 4, column 2 \(c{40}\): 'x'"):
        read_array(path)
    path.write_text('"a\nb"\nx\n')
    with pytest.raises(InputError, match=r"line 3, column 1 \(a\\nb\): 'x'"):
        read_array(path)


def array_or_message(path):
    """Read the file; any error but an InputError gets through and fails the test."""
    try:
        return read_array(path)
    except InputError as error:
        return str(error)


@settings(deadline=None)
@given(st.binary(max_size=50) | st.text('01.,;-e_ \t\r\n"nafi\0é', max_size=50).map(str.encode))
def test_any_bytes_as_csv_give_numbers_or_an_input_error(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.csv")
        path.write_bytes(content)
        x = array_or_message(path)
    if isinstance(x, str):
        assert x.isprintable()
    else:
        assert x.ndim == 2
        assert x.size > 0


# --- .npy: what is read ---------------------------------------------------------------------------

REAL_DTYPES = st.sampled_from(["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])


@settings(deadline=None)
@given(
    REAL_DTYPES.flatmap(
        lambda dtype: hnp.arrays(
            np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
        )
    ),
    st.booleans(),
)
def test_npy_round_trip(x, fortran):
    x = np.asfortranarray(x) if fortran and x.ndim else x
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.npy")
        np.save(path, x)
        result = read_array(path)
    assert result.dtype == x.dtype.newbyteorder("=")
    assert result.dtype.isnative
    assert result.shape == x.shape
    assert np.array_equal(result, x, equal_nan=True)
    assert result.flags.writeable


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", ">i2", "int32", "uint64", "int64"])
def test_npy_of_exact_numbers_becomes_float64(tmp_path, dtype):
    x = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    np.save(tmp_path / "x.npy", x)
    result = read_array(tmp_path / "x.npy")
    assert result.dtype == np.float64
    assert result.tolist() == [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]


def test_npy_keeps_longdouble(tmp_path):
    x = np.array([1, 3], np.longdouble) / 7
    np.save(tmp_path / "x.npy", x)
    result = read_array(tmp_path / "x.npy")
    assert result.dtype == np.longdouble
    assert np.array_equal(result, x)


def test_npy_of_version_2_and_of_python_2(tmp_path):
    x = np.arange(6.0).reshape(2, 3)
    path = tmp_path / "x.npy"
    with open(path, "wb") as file:
        npy.write_array(file, x, version=(2, 0))
    assert np.array_equal(read_array(path), x)
    path.write_bytes(npy_bytes("{'descr': '<f8', 'fortran_order': False, 'shape': (2L, 3L)}", x))
    assert np.array_equal(read_array(path), x)


def test_suffix_may_be_in_upper_case(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(3))
    (tmp_path / "x.npy").rename(tmp_path / "X.NPY")
    (tmp_path / "X.CSV").write_text("1,2")
    assert read_array(tmp_path / "X.NPY").tolist() == [1.0, 1.0, 1.0]
    assert read_array(str(tmp_path / "X.CSV")).tolist() == [[1.0, 2.0]]


# --- .npy: what is refused ------------------------------------------------------------------------


def npy_bytes(header: str, data: np.ndarray | bytes = b"") -> bytes:
    """Return a .npy file of version 1 with any text as its header."""
    text = (header + "\n").encode("latin-1")
    body = data if isinstance(data, bytes) else data.tobytes()
    return npy.magic(1, 0) + len(text).to_bytes(2, "little") + text + body


def header_of(shape: str, descr: str = "'<f8'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


def saved(array: np.ndarray) -> bytes:
    with tempfile.TemporaryFile() as file:
        np.save(file, array)
        file.seek(0)
        return file.read()


TEN = saved(np.arange(10.0))

DAMAGED = "is no .npy file, or a damaged one; save an array of real numbers again"
BAD_NPY = {
    "empty file": (b"", "the file is empty; write numbers into it"),
    "junk": (b"junk" * 100, DAMAGED),
    "text": (b"1,2\n3,4\n", DAMAGED),
    "npz": (b"PK\x03\x04" + b"\0" * 50, DAMAGED),
    "cut in the magic": (TEN[:4], DAMAGED),
    "cut in the version": (TEN[:7], DAMAGED),
    "cut in the header": (TEN[:40], DAMAGED),
    "cut in the data": (TEN[:-1], "its header declares 80 bytes, but 79 are there; save"),
    "no data": (TEN[:-80], "its header declares 80 bytes, but 0 are there"),
    "bytes after the data": (TEN + b"\0", "declares 80 bytes, but 81 are there"),
    "two arrays": (TEN + TEN, f"80 bytes, but {80 + len(TEN)} are there"),
    "unknown version": (TEN[:6] + b"\x09\x00" + TEN[8:], DAMAGED),
    "header length beyond the file": (npy.magic(2, 0) + b"\xff" * 4 + b"{}", DAMAGED),
    "header is no literal": (npy_bytes("__import__('os')"), DAMAGED),
    "header is nested": (npy_bytes("(" * 5000), DAMAGED),
    "header lacks keys": (npy_bytes("{}"), DAMAGED),
    "unknown descr": (npy_bytes(header_of("(2,)", "'zz'")), DAMAGED),
    "shape is no tuple": (npy_bytes(header_of("7")), DAMAGED),
    "fractional shape": (npy_bytes(header_of("(2.5,)")), DAMAGED),
    "negative shape": (
        npy_bytes(header_of("(-1,)"), b"\0" * 8),
        "declares -8 bytes, but 8 are there",
    ),
    "two negative axes": (npy_bytes(header_of("(-1, -1)"), b"\0" * 8), DAMAGED),
    "too many axes": (npy_bytes(header_of(str((1,) * 65)), b"\0" * 8), DAMAGED),
    "huge axes": (npy_bytes(header_of("(1" + "0" * 4000 + ",)")), DAMAGED),
    "huge and empty": (npy_bytes(header_of(f"(0, {10**18}, 9)")), DAMAGED),
    "objects": (saved(np.array([1, "a"], object)), "objects are never unpickled"),
    "complex": (saved(np.ones(2, complex)), "holds complex128, not real numbers"),
    "text array": (saved(np.array(["a", "b"])), "holds <U1, not real"),
    "bytes array": (saved(np.array([b"a"])), "holds |S1, not real"),
    "dates": (saved(np.zeros(2, "M8[s]")), "holds datetime64[s], not real"),
    "durations": (saved(np.zeros(2, "m8[s]")), "holds timedelta64[s], not real"),
    "named fields": (saved(np.zeros(2, "f8,i4")), "holds [('f0', '<f8'), ('f1', '<i4')], not"),
    "void": (saved(np.zeros(2, "V8")), "holds |V8, not real"),
}


@pytest.mark.parametrize(("content", "words"), BAD_NPY.values(), ids=BAD_NPY)
def test_bad_npy_is_explained_in_one_line(tmp_path, content, words):
    path = tmp_path / "bad.npy"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_array(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert words in message
    assert message.isprintable()


class _Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_pickles_are_never_loaded(tmp_path):
    trap = tmp_path / "trap"
    payload = _Payload(str(trap))
    objects = np.empty(1, object)
    objects[0] = payload
    np.save(tmp_path / "objects.npy", objects, allow_pickle=True)
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(payload))
    for name in ("objects.npy", "bare.npy"):
        with pytest.raises(InputError):
            read_array(tmp_path / name)
        assert not trap.exists()
    # The trap works: loading the same file on purpose springs it.
    np.load(tmp_path / "objects.npy", allow_pickle=True)
    assert trap.exists()


@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6), (2**40, 0)])
def test_a_huge_declared_shape_takes_no_memory(tmp_path, shape):
    path = tmp_path / "x.npy"
    path.write_bytes(npy_bytes(header_of(str(shape)), b"\0" * 800))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="bytes"):
            read_array(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


@settings(deadline=None)
@given(st.integers(0, len(TEN) - 1), st.binary(min_size=1, max_size=8))
def test_any_damage_to_npy_gives_numbers_or_an_input_error(place, junk):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.npy")
        path.write_bytes(TEN[:place] + junk + TEN[place + len(junk) :])
        x = array_or_message(path)
    if isinstance(x, str):
        assert x.isprintable()
    else:
        assert x.dtype.kind == "f"
        assert x.nbytes <= 8 * len(TEN)


# --- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.txt", "x.npz", "x.pkl", "x.csv.gz", "x", ".npy"])
def test_other_suffixes_are_refused(tmp_path, name):
    (tmp_path / name).write_text("1,2")
    with pytest.raises(InputError, match=r"\.npy .* and \.csv files are read") as caught:
        read_array(tmp_path / name)
    assert f"ends in {Path(name).suffix!r}" in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(
        InputError, match=r"gone\.csv: cannot be read \(No such file .*\); check its name"
    ):
        read_array(tmp_path / "gone.csv")


def test_directory(tmp_path):
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(InputError, match=r"x\.csv: is a directory, .*; name a \.npy or \.csv file"):
        read_array(tmp_path / "x.csv")


def test_file_taken_for_a_directory(tmp_path):
    (tmp_path / "x.csv").write_text("1")
    with pytest.raises(InputError, match="cannot be read"):
        read_array(tmp_path / "x.csv" / "y.csv")


def test_path_with_nul_is_an_input_error():
    with pytest.raises(InputError, match=r"cannot be read .*; check its name"):
        read_array("a\0b.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.csv")
    with pytest.raises(InputError, match="a pipe or a device; name a"):
        read_array(tmp_path / "x.csv")


@pytest.mark.parametrize("name", ["x.csv", "x.npy"])
def test_no_permission(tmp_path, monkeypatch, name):
    path = tmp_path / name
    path.write_text("1")

    # An administrator may read any file, so the refusal is made here.
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(
        InputError, match=r"cannot be read \(Permission denied\); check its name and"
    ):
        read_array(path)


@pytest.mark.skipif(sys.platform == "win32", reason="the name is not allowed on Windows")
def test_message_stays_one_line_for_any_file_name(tmp_path):
    with pytest.raises(InputError) as caught:
        read_array(tmp_path / "a\nb\x1b[31m.csv")
    assert str(caught.value).isprintable()
    assert r"a\nb\x1b" in str(caught.value)


# --- dtype ----------------------------------------------------------------------------------------


def test_dtype_converts(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("0.1,nan\ninf,1e-50\n")
    x = read_array(path, dtype="float32")
    assert x.dtype == np.float32
    assert x[0, 0] == np.float32(0.1)
    assert np.isnan(x[0, 1])
    assert x[1].tolist() == [math.inf, 0.0]


def test_dtype_is_native_and_widens(tmp_path):
    np.save(tmp_path / "x.npy", np.array([0.1], ">f4"))
    x = read_array(tmp_path / "x.npy", dtype="f8")
    assert x.dtype == np.float64
    assert x.dtype.isnative
    assert x.tolist() == [float(np.float32(0.1))]


@pytest.mark.parametrize(
    ("dtype", "text", "words"),
    [
        ("float32", "1,2\n3,-1e39\n", "-1e+39 at [1, 1] overflows float32"),
        ("float16", "inf,2\n70000,1e9\n", "70000.0 at [1, 0] overflows float16"),
    ],
)
def test_dtype_overflow_names_the_first_position(tmp_path, dtype, text, words):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_array(path, dtype=dtype)
    assert words in str(caught.value)
    assert "use a wider dtype or rescale" in str(caught.value)


def test_dtype_overflow_in_npy_of_any_axes(tmp_path):
    x = np.zeros((2, 3, 4), order="F")
    x[1, 2, 3] = 1e300
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(InputError, match=r"1e\+300 at \[1, 2, 3\] overflows float32"):
        read_array(tmp_path / "x.npy", dtype="float32")
    np.save(tmp_path / "x.npy", np.array(1e300))
    with pytest.raises(InputError, match=r"1e\+300 at \[\] overflows float32"):
        read_array(tmp_path / "x.npy", dtype="float32")


# --- the packaged data ----------------------------------------------------------------------------


def test_wine_is_the_data_set():
    x = wine()
    assert x.shape == (178, 13)
    assert x.dtype == np.float64
    assert np.isfinite(x).all()
    assert x[0].tolist() == [
        14.23,
        1.71,
        2.43,
        15.6,
        127,
        2.8,
        3.06,
        0.28,
        2.29,
        5.64,
        1.04,
        3.92,
        1065,
    ]
    assert x[-1].tolist() == [
        14.13,
        4.1,
        2.74,
        24.5,
        96,
        2.05,
        0.76,
        0.56,
        1.35,
        9.2,
        0.61,
        1.6,
        560,
    ]
    # The means that scikit-learn's description of the set prints.
    printed = [13.0, 2.34, 2.36, 19.5, 99.7, 2.29, 2.03, 0.36, 1.59, 5.1, 0.96, 2.61, 746]
    assert np.allclose(x.mean(axis=0), printed, rtol=0.01)


def test_wine_scales_are_those_that_its_page_gives():
    x = wine()
    spread = x.std(axis=0)
    assert round(x.max() / x.min()) == 12923
    assert round(spread.max() / spread.min()) == 2530
    assert round((spread.max() / spread.min()) ** 2 / 1e6, 1) == 6.4


def test_wine_is_new_each_time():
    first = wine()
    first[:] = 0
    assert wine()[0, 0] == 14.23


def test_wine_in_float32():
    x = wine("float32")
    assert x.dtype == np.float32
    assert np.array_equal(x, wine().astype(np.float32))


# --- describe_nonfinite ---------------------------------------------------------------------------


def test_describe_nonfinite_counts_each_kind():
    x = np.zeros((5, 8), np.float32)
    x[4, 7] = np.nan
    assert describe_nonfinite("x", x) == (
        "x has values that are not finite (1 nan), the first at [4, 7]"
    )
    x[2, 3] = np.inf
    x[3, 0] = -np.inf
    x[3, 1] = -np.inf
    assert describe_nonfinite("x", x) == (
        "x has values that are not finite (1 inf, 2 -inf, 1 nan), the first at [2, 3]"
    )
    assert describe_nonfinite("x", x.T).endswith("the first at [0, 3]")


@pytest.mark.parametrize(
    "array", [np.ones((2, 3)), np.ones(3, np.float16), np.finfo(np.float64).max, np.zeros((0, 3))]
)
def test_describe_nonfinite_is_silent_when_all_is_finite(array):
    assert describe_nonfinite("x", array) is None
