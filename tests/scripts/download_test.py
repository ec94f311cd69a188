"""scripts/get_squad.sh and get_bert.sh with files of this machine: right, wrong, cut off, missing.

The scripts are run in a copy whose pinned sizes and checksums are those of small files; the true
pins are checked by their form, and the vocabulary's with the same file of MiniLM.
"""

import hashlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

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


def run(root, script, url):
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment[SCRIPTS[script][0]] = url
    return subprocess.run(["bash", root / "scripts" / script], env=environment,
                          capture_output=True, text=True, timeout=120)


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check(scratch, script):
    _, target, names = SCRIPTS[script]
    server = make_server(scratch / "server", script)
    url = server.as_uri()

    root = make_copy(scratch / "right", script)
    done = run(root, script, url)
    assert done.returncode == 0, done.stderr
    for name in names:
        assert (root / target / name).read_bytes() == content(name)
        assert f"{target}/{name}: downloaded and checked" in done.stdout
    assert sorted(p.name for p in (root / target).iterdir()) == sorted(names)

    # A second run only checks, and finds a changed file.
    done = run(root, script, "file:///nowhere")
    assert done.returncode == 0 and done.stdout.count("already there") == len(names), done.stdout
    (root / target / names[-1]).write_bytes(content(names[-1])[:-1] + b"x")
    done = run(root, script, url)
    assert done.returncode == 1 and f"{target}/{names[-1]} is not the published file" in done.stderr
    assert "HINT" in done.stderr

    # What was interrupted goes on where it was.
    root = make_copy(scratch / "interrupted", script)
    (root / target).mkdir(parents=True)
    (root / target / (names[0] + ".part")).write_bytes(content(names[0])[:1234])
    done = run(root, script, url)
    assert done.returncode == 0, done.stderr
    assert (root / target / names[0]).read_bytes() == content(names[0])

    # Another file under the same name, of the same size: nothing of it is kept.
    root = make_copy(scratch / "wrong", script)
    wrong = make_server(scratch / "wrong_server", script)
    (wrong / names[0]).write_bytes(content(names[0])[:-1] + b"x")
    done = run(root, script, wrong.as_uri())
    assert done.returncode == 1, done.stdout
    assert "SHA-256" in done.stderr and "HINT" in done.stderr and names[0] in done.stderr
    assert not (root / "data").exists(), list((root / "data").rglob("*"))

    # No network: what to do without, and nothing left behind.
    root = make_copy(scratch / "offline", script)
    done = run(root, script, f"http://127.0.0.1:{closed_port()}")
    assert done.returncode == 1, done.stdout
    assert "Without it:" in done.stderr and "HINT" in done.stderr, done.stderr
    assert "cannot download http://127.0.0.1" in done.stderr, done.stderr
    assert not (root / "data").exists(), list((root / "data").rglob("*"))
    print(f"{script}: ok")


def check_pins(script):
    text = (support.ROOT / "scripts" / script).read_text()
    for name in SCRIPTS[script][2]:
        size, sha256 = re.search(PIN.format(re.escape(name)), text).groups()
        assert int(size) > 0 and re.fullmatch("[0-9a-f]{64}", sha256), (script, name)
        # MiniLM has the vocabulary of bert-base-uncased.
        same = support.ROOT / "data/minilm" / name
        if name == "vocab.txt" and same.exists():
            data = same.read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (int(size), sha256)


def main():
    for command in ("bash", "curl", "sha256sum"):
        if not shutil.which(command):
            support.skip(f"{command} is not installed")
    for script in SCRIPTS:
        check_pins(script)
        with tempfile.TemporaryDirectory() as scratch:
            check(pathlib.Path(scratch), script)


if __name__ == "__main__":
    main()
