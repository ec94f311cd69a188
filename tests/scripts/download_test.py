"""scripts/get_squad.sh and get_bert.sh with files of this machine: right, wrong, cut off, missing.

The scripts are run in a copy whose pinned sizes and checksums are those of small files; the true
pins are checked by their form, and the vocabulary's with the same file of MiniLM.
"""

import hashlib
import os
import re
import shutil

import pytest
import support

SCRIPTS = {
    "get_squad.sh": ("SQUAD_URL", "data/squad", ("train-v2.0.json", "dev-v2.0.json")),
    "get_bert.sh": ("BERT_URL", "data/bert-base-uncased",
                    ("config.json", "tokenizer_config.json", "vocab.txt", "model.safetensors")),
}
PIN = r'/{}" (\d+) \\\n  (\w+)'  # size and SHA-256 of a file


def content(name):
    return (f"what {name} holds\n" * 1000).encode()


def make_copy(folder, script):
    """The scripts with the pins of content()."""
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(support.ROOT / "scripts/fetch_lib.sh", folder / "scripts")
    text = (support.ROOT / "scripts" / script).read_text()
    for name in SCRIPTS[script][2]:
        data = content(name)
        pin = re.compile(f'(/{re.escape(name)}" )\\d+( \\\\\n  )\\w+')
        text, count = pin.subn(
            lambda m, d=data: f"{m[1]}{len(d)}{m[2]}{hashlib.sha256(d).hexdigest()}", text)
        assert count == 1, (script, name)
    (folder / "scripts" / script).write_text(text)
    return folder


def make_server(folder, script):
    folder.mkdir(parents=True)
    for name in SCRIPTS[script][2]:
        (folder / name).write_bytes(content(name))
    return folder


class Case:
    """One script, and a server that has its files."""

    def __init__(self, folder, script):
        self.folder = folder
        self.script = script
        _, self.target, self.names = SCRIPTS[script]
        self.server = make_server(folder / "server", script)

    def root(self, name):
        return make_copy(self.folder / name, self.script)

    def run(self, root, url, expect=0):
        environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        environment[SCRIPTS[self.script][0]] = url
        return support.run("bash", root / "scripts" / self.script, env=environment, expect=expect)


@pytest.fixture(params=SCRIPTS)
def case(request, tmp_path):
    return Case(tmp_path, request.param)


@pytest.fixture(scope="module", autouse=True)
def commands():
    for command in ("bash", "curl", "sha256sum"):
        if not shutil.which(command):
            support.skip(f"{command} is not installed")


def test_downloads(case):
    root = case.root("right")
    done = case.run(root, case.server.as_uri())
    for name in case.names:
        assert (root / case.target / name).read_bytes() == content(name)
        assert f"{case.target}/{name}: downloaded and checked" in done.stdout
    assert sorted(p.name for p in (root / case.target).iterdir()) == sorted(case.names)

    # A second run only checks, and finds a changed file.
    done = case.run(root, "file:///nowhere")
    assert done.stdout.count("already there") == len(case.names), done.stdout
    last = case.names[-1]
    (root / case.target / last).write_bytes(content(last)[:-1] + b"x")
    done = case.run(root, case.server.as_uri(), expect=1)
    assert f"{case.target}/{last} is not the published file" in done.stderr
    assert "HINT" in done.stderr


def test_continues_an_interrupted_download(case):
    root, first = case.root("interrupted"), case.names[0]
    (root / case.target).mkdir(parents=True)
    (root / case.target / (first + ".part")).write_bytes(content(first)[:1234])
    case.run(root, case.server.as_uri())
    assert (root / case.target / first).read_bytes() == content(first)


def test_another_file_of_the_same_size(case):
    """Nothing of it is kept."""
    root, first = case.root("wrong"), case.names[0]
    (case.server / first).write_bytes(content(first)[:-1] + b"x")
    done = case.run(root, case.server.as_uri(), expect=1)
    assert "SHA-256" in done.stderr and "HINT" in done.stderr and first in done.stderr
    assert not (root / "data").exists(), list((root / "data").rglob("*"))


def test_no_network(case, free_port):
    """What to do without, and nothing left behind."""
    root = case.root("offline")
    done = case.run(root, f"http://127.0.0.1:{free_port()}", expect=1)
    assert "Without it:" in done.stderr and "HINT" in done.stderr, done.stderr
    assert "cannot download http://127.0.0.1" in done.stderr, done.stderr
    assert not (root / "data").exists(), list((root / "data").rglob("*"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_pins(script):
    text = (support.ROOT / "scripts" / script).read_text()
    for name in SCRIPTS[script][2]:
        size, sha256 = re.search(PIN.format(re.escape(name)), text).groups()
        assert int(size) > 0 and re.fullmatch("[0-9a-f]{64}", sha256), name
        # MiniLM has the vocabulary of bert-base-uncased.
        same = support.ROOT / "data/minilm" / name
        if name == "vocab.txt" and same.exists():
            data = same.read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (int(size), sha256)
