"""Code in Python on rows: what it can do, what each escape meets, limits of time, memory and output, refusals.

An escape returns something where it succeeds. The same code succeeds outside of the sandbox, where `control` says so.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
from support.recipes import MakeTask, dataset, recipe, task_in
from trex.errors import PlanError
from trex.training.data.build import build, preview
from trex.training.data.expressions.row_program import computed
from trex.training.data.models.model_access import ModelAccess
from trex.training.data.operators.python import Python
from trex.training.data.recipe_file import recipe_from_yaml
from trex.training.data.sandbox import row_sandbox
from trex.training.data.sandbox.row_sandbox import RowResult, run_rows

LOAD = "import sys, os\n"


@dataclass(frozen=True)
class Escape:
    """Code of a function's body that returns something if it gets out."""

    name: str
    code: str
    control: bool = False


ESCAPES = [
    Escape("read a file", "return open('/etc/hostname').read() or 'x'", True),
    Escape("read by os.open", "return os.open('/etc/passwd', os.O_RDONLY)", True),
    Escape("list the root", "return os.listdir('/')", True),
    Escape("list its folder", "return os.listdir('.') or 'x'", True),
    Escape("stat a file", "return os.stat('/etc/passwd').st_size", True),
    Escape("does a file exist", "return os.path.exists('/etc/passwd') or None", True),
    Escape("write a file", "open(row['folder'] + '/w', 'w').write('x'); return 1", True),
    Escape("make a folder", "os.mkdir(row['folder'] + '/d'); return 1", True),
    Escape("make a link", "os.symlink('/etc/passwd', row['folder'] + '/l'); return 1", True),
    Escape("read a link", "return os.readlink('/proc/self/exe')", True),
    Escape("remove a file", "os.remove(row['folder'] + '/mine'); return 1", True),
    Escape("rename a file", "os.rename(row['folder'] + '/other', row['folder'] + '/new'); return 1", True),
    Escape("truncate a file", "os.truncate(row['folder'] + '/cut', 0); return 1", True),
    Escape("change rights", "os.chmod(row['folder'] + '/cut', 0o777); return 1", True),
    Escape("change the folder", "os.chdir('/tmp'); return 1"),
    Escape("its own memory by /proc", "return open('/proc/self/mem', 'rb').fileno()", True),
    Escape("the parent's environment", "return open(f'/proc/{os.getppid()}/environ', 'rb').read()"),
    Escape("a secret of the environment", "return os.environ.get('TREX_TEST_SECRET')", True),
    Escape("the user's folder", "return os.environ.get('HOME')"),
    Escape("an inherited file", "return [os.fstat(n) for n in range(3, 50) if not _closed(n)] or None"),
    Escape("a socket", "import _socket; return _socket.socket()"),
    Escape("a socket by ctypes", "import ctypes\nn = ctypes.CDLL(None).socket(2, 1, 0)\nreturn n if n >= 0 else None",
           True),
    Escape("a Unix socket", "import ctypes\nn = ctypes.CDLL(None).socket(1, 1, 0)\nreturn n if n >= 0 else None", True),
    Escape("fork", "pid = os.fork()\nif pid == 0: os._exit(0)\nreturn pid", True),
    Escape("fork by ctypes", "import ctypes\nn = ctypes.CDLL(None).fork()\nif n == 0: os._exit(0)\n"
           "return n if n > 0 else None"),
    Escape("fork bomb", "while True: os.fork()"),
    Escape("a shell", "return os.system('true') == 0 or None", True),
    Escape("exec", "os.execv('/bin/true', ['true'])"),
    Escape("spawn", "return os.posix_spawn('/bin/true', ['true'], {})", True),
    Escape("a thread", "import _thread; return _thread.start_new_thread(print, ())"),
    Escape("a signal to the parent", "os.kill(os.getppid(), 0); return 1"),
    Escape("a signal to itself", "import ctypes; os.kill(os.getpid(), 9); return 1"),
    Escape("higher limits", "import resource; resource.setrlimit(resource.RLIMIT_CPU, (999, 999)); return 1"),
    Escape("a pipe", "return os.pipe()", True),
    Escape("ptrace", "import ctypes; return ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0 or None"),
    Escape("a namespace", "import ctypes; return ctypes.CDLL(None).unshare(0x10000000) == 0 or None"),
    Escape("io_uring", "import ctypes; n = ctypes.CDLL(None).syscall(425, 4, 0); return n if n >= 0 else None"),
    Escape("memfd", "return os.memfd_create('x')", True),
    Escape("change the filter", "import ctypes; return ctypes.CDLL(None).prctl(22, 0, 0) == 0 or None"),
    Escape("our package", "import trex; return trex.__file__", True),
    Escape("our modules by path", f"sys.path.insert(0, {str(Path(__file__).parents[2])!r}); import landlock; return 1"),
    Escape("numpy", "import numpy; return 1", True),
    Escape("subclasses", "return [c for c in ().__class__.__base__.__subclasses__() if c.__name__ == 'Popen'] or None"),
    Escape("file by a loader", "return ().__class__.__base__.__subclasses__() and "
           "__import__('importlib').machinery.SourceFileLoader('x', '/etc/passwd').get_data('/etc/passwd')", True),
    Escape("frames", "return sys._getframe(1).f_globals['sys'].modules['socket']"),
    Escape("memory", "return len('a' * 10**10)"),
    Escape("memory in small parts", "x = []\nwhile True: x.append('a' * 10**6)"),
    Escape("recursion", "f = lambda: f()\nreturn f()"),
]  # fmt: skip
STOPS = [
    ("endless loop", "while True: pass"),
    ("power tower", "return {'x': 9**9**9}"),
    ("regular expression", "import re; return {'x': bool(re.match('(a+)+$', 'a' * 60 + 'b'))}"),
    ("sleep", "import time; time.sleep(99)"),
    ("exit", "os._exit(0)"),
    ("closed output", "os.close(1); return {'x': 1}"),
    ("crash", "import ctypes; ctypes.string_at(0)"),
    ("endless output", "return {'x': 'a' * 5_000_000}"),
    ("raw output", "while True: os.write(1, b'a' * 65536)"),
]
EXPRESSIONS = [
    "__import__('os').listdir('/')",
    "open('/etc/passwd')",
    "().__class__",
    "text.__class__.__mro__",
    "''.join.__self__",
    "[].__class__.__base__.__subclasses__()",
    "(lambda: 1)()",
    "exec('1')",
    "eval('1')",
    "globals()",
    "getattr(text, 'upper')",
    "row.__init__",
    "f'{text.__class__}'",
    "'{0.__class__}'.format(text)",
    "[c for c in text.__dict__]",
    "(y := 1)",
    "print(1)",
    "[i async for i in text]",
    "9 ** 9 ** 9",
    "'a' * 10 ** 10",
    "repeat('a', 10000000000)",
    "range(1000000000)",
    "[[i for i in range(9999)] for j in range(9999)]",
    "int('9' * 99999)",
    "sum([i * j for i in range(5000) for j in range(5000)])",
    "sub('a' * 50000, '', 'b' * 50000)",
    "(" * 300 + "1" + ")" * 300,
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("mine", "other", "cut"):
        (tmp_path / name).write_text("x")
    return tmp_path


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TREX_TEST_SECRET", "a secret")
    with socket.socket():  # an open file that a child must not inherit
        yield


def program(escapes: list[Escape]) -> str:
    """One function that tries the escape of each row's number."""
    parts = [LOAD, "def _closed(n):\n    try: os.fstat(n)\n    except OSError: return True\n"]
    for number, escape in enumerate(escapes):
        parts.append(f"def try_{number}(row):\n{indent(escape.code, '    ')}\n")
    parts.append(
        "def row(row):\n"
        "    found = globals()[f\"try_{row['n']}\"](row)\n"
        "    return None if found is None else {'escaped': str(found)}\n"
    )
    return "\n".join(parts)


def test_no_escape_succeeds(folder: Path) -> None:
    assert len(ESCAPES) + len(STOPS) >= 30
    rows = [{"n": number, "folder": str(folder)} for number in range(len(ESCAPES))]
    found = run_rows(program(ESCAPES), rows)
    assert {
        escape.name: result.rows for escape, result in zip(ESCAPES, found, strict=True) if result.rows
    } == {}
    assert sorted(path.name for path in folder.iterdir()) == ["cut", "mine", "other"]
    assert (folder / "cut").read_text() == "x"


@pytest.mark.parametrize("escape", [each for each in ESCAPES if each.control], ids=lambda each: each.name)
def test_the_same_code_succeeds_outside(escape: Escape, folder: Path) -> None:
    """Else the table above would show nothing."""
    names: dict[str, Any] = {}
    exec(program([escape]), names)
    assert names["row"]({"n": 0, "folder": str(folder)}) is not None


@pytest.mark.parametrize(("name", "code"), STOPS, ids=[name for name, _ in STOPS])
def test_what_stops_the_process_costs_one_row(name: str, code: str) -> None:
    body = indent(f"if row['n'] != 1: return {{'y': row['n']}}\n{code}", "    ")
    found = run_rows(f"{LOAD}def row(row):\n{body}\n", [{"n": n} for n in range(3)], row_seconds=4)
    assert [result.rows for result in found[::2]] == [({"y": 0},), ({"y": 2},)]
    assert found[1].rows == () and found[1].fault


def test_several_rows_that_stop_the_process_end_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlanError, match="4 rows stopped the process; the last: the process ended"):
        run_rows(f"{LOAD}def row(row): os._exit(1)", [{"n": n} for n in range(9)])


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("def row(row): return 1/0", "ZeroDivisionError: division by zero"),
        ("def row(row): return 7", "`row` returned int"),
        ("def row(row): return {1: 2}", "`row` returned dict"),
        ("def row(row): return {'x': float('nan')}", "ValueError"),
        ("def row(row): return {'x': {1, 2}}", "TypeError"),
        ("class E(Exception):\n    def __str__(self): 1/0\ndef row(row): raise E", "an error without a text"),
        ("def row(row): raise SystemExit", "SystemExit"),
    ],
)
def test_an_error_costs_the_row(code: str, fault: str) -> None:
    [found] = run_rows(code, [{"n": 1}])
    assert found.rows == () and found.fault.startswith(fault)


@pytest.mark.parametrize(
    "code", ["def row(row) return 1", "x = 1", "import nothing_like_this", "1/0", "row = 3"]
)
def test_code_without_the_function_is_one_line(code: str) -> None:
    with pytest.raises(PlanError, match="the code cannot be run"):
        run_rows(code, [{"n": 1}])


def test_what_it_can_do() -> None:
    code = """
import json, re, math, statistics, hashlib, datetime, random, collections
print("what is printed is no answer")
def row(row):
    print(row)
    words = re.findall(r"[a-zà-ü]+", row["text"].lower())
    return [{"word": w, "n": n} for w, n in sorted(collections.Counter(words).items())]
"""
    assert run_rows(code, [{"text": "Ça va, ça va"}, {"text": ""}]) == [
        RowResult(({"word": "va", "n": 2}, {"word": "ça", "n": 2})),
        RowResult(),
    ]
    hashes = "def row(row): return {'x': list({'a', 'b', 'c', 'd'}), 'y': hash('a')}"
    assert run_rows(hashes, [{}]) == run_rows(hashes, [{}])


def test_random_numbers_follow_from_the_seed_and_the_row() -> None:
    body = "if row['stop']: os._exit(0)\nreturn {'x': random()}"
    code = f"{LOAD}from random import random\ndef row(row):\n{indent(body, '    ')}"
    rows = [{"stop": n == 1} for n in range(4)]
    drawn, again, other = (run_rows(code, rows, seed) for seed in (0, 0, 1))
    assert drawn == again and len({result.rows[0]["x"] for result in drawn + other if result.rows}) == 6
    unstopped = run_rows(code, [{"stop": False}] * 4)
    assert unstopped[2:] == drawn[2:]


def test_all_rows_together_have_a_limit_of_time() -> None:
    code = "import time\ndef row(row):\n    time.sleep(row['s'])\n    return {}"
    with pytest.raises(PlanError, match=r"did \d+ of 1,000 rows in the 2 s .* use fewer rows"):
        run_rows(f"{LOAD}{code}", [{"s": 0.2}] * 1000, step_seconds=2)


def test_a_step_takes_no_more_than_the_run_has_left(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(movies=[{"text": "good", "label": "positive"}])
    models = ModelAccess(task, tmp_path / "answers", seconds_left=lambda: 0.0)
    with pytest.raises(PlanError, match="python: the code did 0 of 1 rows in the 0 s"):
        preview(recipe(Python(code="def row(row): return {}")), task, models=models, allow_python=True)


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        ("{'n': 10**30}", "column 'n' cannot have the value 1000000"),
        ("{'\\ud800': 1}", r"a column cannot be called '\\ud800'"),
        ("{'n': '\\ud800'}", "column 'n' cannot have the value"),
        ("{'n': deep(70)}", r"column 'n' cannot have the value .*\[\[\[.* of row 2"),
        ("{'n': deep(400)}", "column 'n' cannot have the value"),
        ("{'n': row['text'] if int(row['text']) else 1}", "column 'n' cannot have the value '1' of row 1"),
    ],
)
def test_values_that_no_table_holds_are_one_line(make_task: MakeTask, made: str, fault: str) -> None:
    task = make_task(movies=[{"text": str(n), "label": "a"} for n in range(3)])
    code = f"def deep(n): return [deep(n - 1)] if n else 1\ndef row(row):\n    return {made}"
    if "deep" in made:
        code += " if row['text'] == '2' else {'n': None}"
    with pytest.raises(PlanError, match=rf"steps\[0\] python: {fault}") as raised:
        preview(recipe(Python(code=code)), task, allow_python=True)
    assert str(raised.value).isprintable()


def test_a_machine_that_cannot_confine_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, text, fault in (
        ("landlock", "def restrict(grants): return 0", "no Landlock"),
        ("privileges", "def drop_capabilities(): pass\ndef compute_only(): return False", "no seccomp"),
    ):
        with monkeypatch.context() as patch:
            (tmp_path / f"{name}.py").write_text(text)
            patch.setattr(getattr(row_sandbox, name), "__file__", str(tmp_path / f"{name}.py"))
            with pytest.raises(PlanError, match=f"cannot be confined: .*{fault}"):
                run_rows("def row(row): return row", [{"n": 1}])


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_no_expression_gets_out(text: str) -> None:
    try:
        [row] = computed(dataset([{"text": "a"}]), {"x": text})
    except (PlanError, ValueError):
        return
    assert row.fault is not None


@pytest.fixture
def make_task(tmp_path: Path) -> MakeTask:
    return task_in(tmp_path)


def test_in_a_recipe(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(movies=[{"text": f"{n} good", "label": "positive"} for n in range(6)])
    code = "def row(row):\n    n = int(row['text'][0])\n    return None if n % 2 else [{'label': 'a'}, {'label': 'b'}]"
    plan = recipe(Python(code=code))
    with pytest.raises(PlanError, match="Python code is not allowed here"):
        preview(plan, task)
    found = build(plan, task, tmp_path / "sets", allow_python=True)
    assert found.rows == 6 == found.report.contents.synthetic
    assert found.report.steps[1].dropped == {"dropped by the code": 3}
    assert found.report.contents.answers == {"a": 3, "b": 3}
    with pytest.raises(PlanError, match="no row is left; the first error: KeyError"):
        preview(recipe(Python(code="def row(row): return row['x']")), task, allow_python=True)
    with pytest.raises(PlanError, match="such names are reserved"):
        preview(recipe(Python(code="def row(row): return {'__key': 1}")), task, allow_python=True)
    text = "streams: [{source: movies, steps: [{op: python, code: 'def row(row): return {}'}]}]"
    assert len(preview(recipe_from_yaml(text), task, allow_python=True).rows) == 6
