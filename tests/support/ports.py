"""Ports of this machine that are this test process's alone."""

import fcntl
import os
import pathlib
import socket
import tempfile

import pytest

# Below the ports that the kernel gives to outgoing connections.
FIRST, LAST, BLOCK = 16000, 32000, 16
FOLDER = pathlib.Path(tempfile.gettempdir()) / f"lightning_test_ports_{os.getuid()}"

_locks = []  # open files: a block is reserved as long as its file is locked
_left = []


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


def _lock_block() -> range:
    """The ports of a block that no other test process has, until this one ends."""
    FOLDER.mkdir(exist_ok=True)
    for first in range(FIRST, LAST, BLOCK):
        file = open(FOLDER / str(first), "w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        block = range(first, first + BLOCK)
        if all(map(_is_free, block)):
            _locks.append(file)
            return block
        file.close()
    pytest.fail(f"no {BLOCK} free ports in a row in {FIRST} to {LAST}", pytrace=False)


def free_port() -> int:
    """A port that no other test gets."""
    if not _left:
        _left.extend(_lock_block())
    return _left.pop(0)


def free_block() -> int:
    """The first of 16 such ports in a row."""
    return _lock_block().start
