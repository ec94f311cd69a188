"""README.md and docs/ show what the project has: their C++ is that of compiled sources, and their shell
lines run."""

import os
import re
import stat

import pytest
import support
from support import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Folders of sources that the build compiles.
COMPILED = ("examples", "tests/structure", "tests/package/consumer")

# Lines that aren't run, and what shows that they work.
EXCLUDED = {
    r"scripts/bootstrap\.sh": "installs packages: tests/scripts/bootstrap_test.py",
    r"cmake --(preset|build)": "the build that is tested is one",
    r"scripts/get_\w+\.sh": "downloads: tests/scripts/download_test.py",
    r"build/release/bin/bert_squad fit --config configs/bert_squad/baseline\.yaml":
        "needs the downloaded files; tests/examples/sample_li/sample_li_test.py loads the config",
    r"scripts/slurm_cluster\.sh|eval \"\$\(scripts/slurm_cluster": "tests/slurm",
    r"SBATCH_GRES=none sbatch|sbatch ": "tests/slurm/sbatch_test.py",
}
# Appended to the commands, so that they are short.
SHORT = {
    "fit": "--trainer.limit_train_batches 2 --trainer.limit_val_batches 2 --trainer.accelerator cpu",
    "validate": "--trainer.limit_val_batches 2 --trainer.accelerator cpu",
}
PROGRAM = """#!/bin/bash
case " $* " in
  *" --dry_run"* | *" --help "* | *" --print_config "*) exec {path} "$@" ;;
  *" fit "*) exec {path} "$@" {fit} ;;
  *" validate "*) exec {path} "$@" {validate} ;;
  *) exec {path} "$@" ;;
esac
"""
PASSAGE = "Augustin Fresnel designed the lens of the lighthouse in 1822, and it was lit a year later.\n"


def blocks(*languages):
    """The code of all documents in these languages, as parameters."""
    found = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            if match[1] in languages:
                found.append(pytest.param(match[2], id=f"{path.relative_to(ROOT)}:{line}"))
    return found


# ---- C++

def without_indents(text):
    return "\n".join(line.strip() for line in text.strip().splitlines())


def has_parts(source, parts):
    """Whether a source has these texts, in order."""
    at = 0
    for part in parts:
        at = source.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


@pytest.fixture(scope="module")
def sources():
    return {path: "\n" + without_indents(path.read_text(encoding="utf-8")) + "\n"
            for folder in COMPILED for path in sorted((ROOT / folder).rglob("*"))
            if path.suffix in (".h", ".cpp")}


@pytest.mark.parametrize("code", blocks("cpp"))
def test_cpp_is_compiled(code, sources):
    """Each block is a region of a compiled source, except for indents; `...` on a line of its own stands
    for lines that are left out."""
    parts = ["\n" + without_indents(part) + "\n" for part in re.split(r"(?m)^\s*\.\.\.\n", code)]
    assert any(has_parts(source, parts) for source in sources.values()), (
        "HINT: put this code into tests/structure/docs_code.cpp, or correct the document")


def test_the_program_of_the_readme():
    """It is examples/sample_li/sample_li.cpp, to the letter."""
    readme = (ROOT / "README.md").read_text()
    block = readme.split("```cpp\n", 1)[1].split("```", 1)[0]
    assert block == (ROOT / "examples/sample_li/sample_li.cpp").read_text()


# ---- shell

def commands(code):
    """The lines of a block, joined where they continue and cut at `&&`."""
    return [part.strip() for line in code.replace("\\\n", " ").splitlines()
            for part in line.split(" && ") if part.strip()]


def runs(command):
    return not any(re.match(pattern, command) for pattern in EXCLUDED)


@pytest.fixture
def checkout(tmp_path):
    """A folder that looks like the repository after a build, with programs that are short."""
    for name in ("configs", "examples", "scripts", "sbatch"):
        (tmp_path / name).symlink_to(ROOT / name)
    bin_dir = tmp_path / "build/release/bin"
    bin_dir.mkdir(parents=True)
    for path in support.bin_dir().iterdir():
        if path.is_file() and path.stat().st_mode & stat.S_IXUSR:
            program = bin_dir / path.name
            program.write_text(PROGRAM.format(path=path, **SHORT))
            program.chmod(0o755)
    (tmp_path / "passage.txt").write_text(PASSAGE)
    return tmp_path


@pytest.mark.parametrize("code", [block for block in blocks("sh", "bash")
                                  if any(map(runs, commands(block.values[0])))])
def test_shell_lines_run(code, checkout):
    if "bert_squad" in code:
        (checkout / "data").mkdir()
        (checkout / "data/minilm").symlink_to(support.minilm_folder())
    script = "\n".join(["set -euo pipefail", *filter(runs, commands(code))])
    search = f"{checkout}/build/release/bin:{os.environ['PATH']}"
    support.run("bash", "-c", script, cwd=checkout, env=os.environ | {"PATH": search}, timeout=300)


@pytest.mark.parametrize("code", blocks("sh", "bash"))
def test_named_files_exist(code):
    """Also of lines that aren't run."""
    names = re.findall(r"(?<![\w/.])((?:scripts|configs|sbatch|examples)/[\w/.-]+)", code)
    missing = [name for name in names if not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize("pattern", EXCLUDED)
def test_no_exclusion_is_left_over(pattern):
    lines = [line for block in blocks("sh", "bash") for line in commands(block.values[0])]
    assert any(re.match(pattern, line) for line in lines)
