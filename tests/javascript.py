"""The explorer's scripts, run by Node or, where there is none, by Chromium."""

import base64
import json
import shutil
import subprocess
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from tinygraph.explorer.payload import ENGINE

HERE = files("tinygraph.explorer")
PACKED = """
function packed({ shape, dtype, data }) {
  let bytes = "";
  const doubles = Float64Array.from(data);
  for (const byte of new Uint8Array(doubles.buffer)) bytes += String.fromCharCode(byte);
  return { shape, dtype, base64: btoa(bytes) };
}
"""
SERVER = """
const asked = require("readline").createInterface({ input: process.stdin });
asked.on("line", (line) => {
  const { body, data } = JSON.parse(line);
  let answer;
  try {
    answer = { result: new Function("data", SCRIPT + body)(data) };
  } catch (error) {
    answer = { error: error.constructor.name + ": " + error.message };
  }
  console.log(JSON.stringify(answer));
});
"""
CHROMIUM = [Path("/usr/bin") / name for name in ("chromium", "chromium-browser", "google-chrome")]


class JavaScriptError(Exception):
    """What a script threw."""


@contextmanager
def scripts(names=ENGINE):
    """Give a function that runs the body of a function of `data`, after some of the scripts.

    Arrays come back by ``packed(array)`` here and `unpacked` there, because JSON has no nan.
    """
    text = "\n".join([*((HERE / f"{name}.js").read_text("utf-8") for name in names), PACKED])
    node = shutil.which("node")
    with _node(node, text) if node else _chromium(text) as ask:

        def run(body, data=None):
            answer = ask(body, data)
            if "error" in answer:
                raise JavaScriptError(answer["error"])
            return answer.get("result")

        yield run


@contextmanager
def _node(node, text):
    program = f"const SCRIPT = {json.dumps(text)};{SERVER}"
    with subprocess.Popen(
        [node, "-e", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:

        def ask(body, data):
            process.stdin.write(json.dumps({"body": body, "data": data}) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


@contextmanager
def _chromium(text):
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason='needs Node, or pip install -e ".[browser]" and a Chromium'
    )
    program = next((path for path in CHROMIUM if path.exists()), None)
    if program is None:
        pytest.skip("neither Node nor Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program), args=["--no-sandbox"])
        page = browser.new_page()
        page.evaluate("(script) => { globalThis.SCRIPT = script; }", text)
        call = """([body, data]) => {
          try {
            return { result: new Function("data", SCRIPT + body)(data) };
          } catch (error) {
            return { error: error.constructor.name + ": " + error.message };
          }
        }"""
        yield lambda body, data: page.evaluate(call, [body, data])
        browser.close()


def unpacked(form):
    """Give an array that ``packed`` wrote, as doubles."""
    return np.frombuffer(base64.b64decode(form["base64"]), "<f8").reshape(form["shape"])
