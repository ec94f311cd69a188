"""Programs of several ranks on this machine: their output, their processes, their ends.

Deadlines only guard against hangs.
"""

import os
import pathlib
import re
import signal
import subprocess
import threading
import time

DEADLINE = 120.0


class Run:
    """One started program, its output line by line."""

    def __init__(self, program, *arguments, **options):
        self.lines, self.errors = [], []
        self.process = subprocess.Popen(
            [program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            **{"start_new_session": True, **options})
        self.readers = [threading.Thread(target=self._read, args=pair) for pair in (
            (self.process.stdout, self.lines), (self.process.stderr, self.errors))]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def _read(stream, lines):
        for line in stream:
            lines.append(line)

    def wait_for(self, what, count=1):
        """Waits until `count` lines of stdout match; returns their matches."""
        return self._wait_for(self.lines, what, count)

    def wait_for_error(self, what, count=1):
        """The same with stderr."""
        return self._wait_for(self.errors, what, count)

    def _wait_for(self, lines, what, count):
        end = time.monotonic() + DEADLINE
        while True:
            found = [m for line in list(lines) if (m := re.search(what, line))]
            if len(found) >= count:
                return found
            if time.monotonic() > end or not any(r.is_alive() for r in self.readers):
                fail(f"{what!r} appeared {len(found)} times, expected {count}", self)
            time.sleep(0.01)

    def pids(self, ranks):
        """By rank, once all have told theirs."""
        self.wait_for(r"pid (\d+)", ranks)
        return self.pids_told()

    def pids_told(self):
        result = {}
        for line in list(self.lines):
            if match := re.match(r"(?:\[rank (\d+)\] )?pid (\d+)", line):
                result[int(match[1] or 0)] = int(match[2])
        return result

    @property
    def text(self):
        """All that it has said so far."""
        return "".join([*self.lines, *self.errors])

    def kill(self):
        for pid in [self.process.pid, *self.pids_told().values()]:
            if running(pid):
                os.kill(pid, signal.SIGKILL)

    def end(self, expect):
        """Waits for the end of the program and of its output; checks the exit code: `expect`, or
        any but 0 when that is None."""
        try:
            code = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()
            fail("the program doesn't end", self)
        for reader in self.readers:
            reader.join(DEADLINE)
            if reader.is_alive():
                fail("a process still holds its output", self)
        if code == 0 if expect is None else code != expect:
            fail(f"exit code {code}, expected {'another' if expect is None else expect}", self)
        return self


def fail(text, run):
    raise AssertionError(f"{text}\nstdout:\n{''.join(run.lines[-40:])}\n"
                         f"stderr:\n{''.join(run.errors[-40:])}")


def check(condition, text, run):
    if not condition:
        fail(text, run)


def running(pid):
    """Whether a process is there that isn't just waiting to be reaped."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False


def processes_of(program, argument):
    """The pids of what runs a program with that argument, in whatever pid namespace."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended since
            continue
        if words[0].endswith(os.fsencode(program)) and os.fsencode(argument) in words[1:]:
            found.append(int(folder.name))
    return found


def expect_gone(pids, run):
    end = time.monotonic() + DEADLINE
    while left := [pid for pid in pids if running(pid)]:
        if time.monotonic() > end:
            fail(f"still running: {left}", run)
        time.sleep(0.01)


def wait_for_state(pid, states, run):
    end = time.monotonic() + DEADLINE
    while pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in states:
        if time.monotonic() > end:
            fail(f"process {pid} isn't in state {states}", run)
        time.sleep(0.01)
