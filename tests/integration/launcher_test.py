"""The launcher: output, signals, exit codes, and that no process outlives another.

Each test starts launcher_program with a script per rank. Deadlines only guard against hangs.
"""

import os
import re
import signal
import subprocess

import pytest
from rank_run import DEADLINE, check, expect_gone, wait_for_state
from support import bin_dir, cases

PROGRAM = bin_dir() / "launcher_program"
# Short, so that what is ended by force ends soon; nothing else depends on it.
GRACE = "--grace-ms=500"


def test_ranks_and_prefixes(start):
    run = start(PROGRAM, "--ranks=3", "0:say zero", "1:say one;err trouble",
                "2:part unfinished").end(0)
    out, err = "".join(run.lines), "".join(run.errors)
    for line in ("zero\n", "[rank 1] one\n", "[rank 2] unfinished\n"):
        check(line in out, f"{line!r} is missing", run)
    check(err == "[rank 1] trouble\n", "stderr of rank 1", run)
    worlds = {m[0] for m in run.wait_for(r"world 3 port \d+ run \S+$", 3)}
    check(len(worlds) == 1, f"the ranks know different worlds: {worlds}", run)
    parents = {m[1] for m in run.wait_for(r"\[rank \d\] pid \d+ parent (\d+)", 2)}
    check(parents == {str(run.process.pid)}, f"parents {parents}", run)


def test_log_level(start):
    """What ranks write on stderr, how they ended and the error of rank 0 appear at every level."""
    run = start(PROGRAM, "--ranks=2", "0:child;lose", "1:err trouble;return 4",
                env={**os.environ, "LIGHTNING_LOG_LEVEL": "off"}).end(4)
    check("[rank 1] trouble\n" in run.errors, "stderr of rank 1", run)
    check("error: lost rank 7\n" in run.errors, "the error of rank 0", run)
    check(any(re.match(r"rank 1 \(pid \d+\) ended with exit code 4$", line) for line in run.errors),
          "the end of rank 1", run)


def test_arguments(start):
    """Arguments with spaces, empty ones and UTF-8 reach the ranks as they are."""
    run = start(PROGRAM, "--ranks=2", "", "1:say a  b 'ü';count", "").end(0)
    check("[rank 1] a  b 'ü'\n" in run.lines, "text", run)
    check("[rank 1] 5 arguments\n" in run.lines, "number of arguments", run)


def test_heavy_output(start):
    """Lines of several ranks and of any length stay whole and in order."""
    count = 3000
    run = start(PROGRAM, "--ranks=4",
                *(f"{rank}:lines {count} {length}"
                  for rank, length in ((1, 20), (2, 300), (3, 3500)))).end(0)
    for rank, length in ((1, 20), (2, 300), (3, 3500)):
        own = [line for line in run.lines if re.match(rf"\[rank {rank}\] \d+ ", line)]
        expected = [f"[rank {rank}] {i} {chr(97 + i % 26) * length}\n" for i in range(count)]
        check(own == expected, f"lines of rank {rank}: {len(own)}", run)


# What the ranks do, with a file that they share as {gate}, and the exit code: the first failure in
# time decides.
EXIT_CODES = {
    "all well": (["0:", "1:", "2:"], 0),
    "rank 0": (["0:return 3", "1:", "2:"], 3),
    "another": (["0:", "1:return 4", "2:"], 4),
    "another first": (["0:child;touch {gate};return 3", "1:return 5", "2:wait {gate};return 8"], 5),
    "rank 0 first": (["0:touch {gate};return 3", "1:wait {gate};sleep 1;return 5", "2:"], 3),
    # Those that others' failure ended don't count.
    "others are lost": (["0:child;return 6", "1:lose", "2:lose"], 6),
    "a failure after the lost": (["0:touch {gate};lose", "1:wait {gate};return 7", "2:lose"], 7),
    "all are lost": (["0:lose", "1:lose", "2:lose"], 75),
    "killed": (["0:child;touch {gate};lose", "1:raise 9", "2:wait {gate};lose"], 137),
    "crashed": (["0:child;touch {gate};lose", "1:raise 11", "2:wait {gate};lose"], 139),
    "ended by SIGTERM": (["0:", "1:raise 15", "2:"], 143),
}


@pytest.mark.parametrize(("scripts", "code"), cases(EXIT_CODES, exhaustive=("another",)))
def test_exit_codes(scripts, code, start, tmp_path):
    gate = tmp_path / "gate"
    run = start(PROGRAM, "--ranks=3", *(text.format(gate=gate) for text in scripts)).end(code)
    expect_gone(run.pids(3).values(), run)
    if code in (137, 139):
        name = {137: "9 (Killed)", 139: "11 (Segmentation fault)"}[code]
        pid = run.pids(3)[1]
        check(f"rank 1 (pid {pid}) ended by signal {name}\n" in run.errors, name, run)
        check(sum("ended" in line for line in run.errors) == 1, "only rank 1 is told", run)
    if code == 7:
        check("[rank 2] error: lost rank 7\n" in run.errors, "the text of a lost rank", run)


def test_ends_by_force(start, tmp_path):
    """Ranks that continue after rank 0 has ended: by SIGTERM, and by SIGKILL what ignores it or is
    frozen."""
    ready = tmp_path / "ready"
    run = start(PROGRAM, "--ranks=4", GRACE, f"0:wait {ready};return 0", "1:sleep 1000",
                "2:handle;say deaf;sleep 1000;sleep 1000", "3:sleep 1000")
    pids = run.pids(4)
    run.wait_for("deaf")
    os.kill(pids[3], signal.SIGSTOP)
    wait_for_state(pids[3], "T", run)
    ready.touch()
    run.end(143)
    expect_gone(pids.values(), run)
    errors = "".join(run.errors)
    for rank, name in ((1, "SIGTERM"), (2, "SIGKILL"), (3, "SIGKILL")):
        text = f"rank {rank} (pid {pids[rank]}) is still running after rank 0 finished; sending {name}"
        check(text + "\n" in errors, f"rank {rank}, {name}", run)
    # Rank 0's own failure counts, not the ends that the launcher made.
    ready.unlink()
    run = start(PROGRAM, "--ranks=2", GRACE, f"0:wait {ready};return 9",
                f"1:touch {ready};sleep 1000").end(9)
    expect_gone(run.pids(2).values(), run)


def test_signals(start):
    # With handlers that rank 0 had before (chained) and the ranks have now.
    run = start(PROGRAM, "--ranks=3", GRACE, "--handle-first", "0:say up;sleep 1000;sleep 1000",
                *(f"{rank}:say up;sleep 1000" for rank in (1, 2)))
    pids = run.pids(3)
    run.wait_for("up", 3)
    os.kill(pids[0], signal.SIGUSR1)
    run.wait_for("^got 10"), run.wait_for(r"\[rank 1\] got 10"), run.wait_for(r"\[rank 2\] got 10")
    os.kill(pids[0], signal.SIGTERM)
    run.wait_for("got 15", 3)
    # INT has no handler: rank 0 ends as it would have alone, and the others with it.
    os.kill(pids[0], signal.SIGINT)
    run.end(-signal.SIGINT)
    expect_gone(pids.values(), run)

    # The Trainer's handlers come later and take the signal; they pass it on.
    run = start(PROGRAM, "--ranks=2", "0:signals;return 143", "1:signals;return 143")
    run.wait_for("watching", 2)
    os.kill(run.process.pid, signal.SIGTERM)
    run.wait_for("pending 15", 2)
    run.end(143)
    check(run.errors == [], "a forwarded signal is no failure to tell of", run)
    run = start(PROGRAM, "--ranks=2", "0:signals;return 130", "1:signals;return 130")
    run.wait_for("watching", 2)
    os.kill(run.process.pid, signal.SIGINT)
    run.end(130)
    check(sum("Press Ctrl-C again" in line for line in run.errors) == 1, "said once", run)

    # A rank that hears it before it has handlers of its own ends by it: no failure of its own.
    run = start(PROGRAM, "--ranks=2", "0:signals;return 0", "1:say up;sleep 1000")
    run.wait_for("watching"), run.wait_for("up")
    os.kill(run.process.pid, signal.SIGTERM)
    run.end(143)
    check(run.errors == [], "ended by a forwarded signal", run)


def test_ignored_signals(start, tmp_path):
    """nohup: what rank 0 ignores, the ranks ignore."""
    run = start(PROGRAM, "--ranks=2", *(f"{rank}:say up;wait {tmp_path}/go" for rank in range(2)),
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    pids = run.pids(2)
    run.wait_for("up", 2)
    for pid in pids.values():
        os.kill(pid, signal.SIGHUP)
    (tmp_path / "go").touch()
    run.end(0)


def test_suspend(start, tmp_path):
    """Ctrl-Z stops all ranks, fg continues all."""
    go = tmp_path / "go"
    scripts = [f"{rank}:say up;wait {go}" for rank in range(3)]
    # A process group of this session, as a shell would start it.
    run = start(PROGRAM, "--ranks=3", *scripts, start_new_session=False, process_group=0)
    pids = run.pids(3)
    run.wait_for("up", 3)
    os.kill(pids[0], signal.SIGTSTP)
    for pid in pids.values():
        wait_for_state(pid, "T", run)
    os.kill(pids[0], signal.SIGCONT)
    for pid in pids.values():
        wait_for_state(pid, "SR", run)
    go.touch()
    run.end(0)

    # Without a shell above it SIGTSTP has no effect on rank 0, so that the others continue too.
    go.unlink()
    run = start(PROGRAM, "--ranks=3", *scripts)
    run.wait_for("up", 3)
    os.kill(run.process.pid, signal.SIGTSTP)
    go.touch()
    run.end(0)


@pytest.mark.parametrize("frozen", [False, True])
def test_death_of_rank_0(frozen, start, tmp_path):
    """SIGKILL of rank 0: the others say so on its stderr and end, also one that is stopped; what
    they had written before isn't lost, and neither is what they write then."""
    killed = tmp_path / "killed"
    run = start(PROGRAM, "--ranks=3", "--grace-ms=3000", "0:say up;sleep 1000",
                f"1:say up;wait {killed};err after;sleep 1000", "2:say up;sleep 1000")
    pids = run.pids(3)
    run.wait_for("up", 3)
    if frozen:
        os.kill(pids[2], signal.SIGSTOP)
        wait_for_state(pids[2], "T", run)
    os.kill(pids[0], signal.SIGKILL)
    killed.touch()
    run.end(-signal.SIGKILL)
    expect_gone(pids.values(), run)
    for rank in (1, 2):
        text = (f"[rank {rank}] rank 0 (pid {pids[0]}) has exited; "
                f"terminating this rank (pid {pids[rank]})\n")
        check(text in run.errors, f"last words of rank {rank}", run)
    check(any("after" in line for line in run.errors), "written after the death", run)


@pytest.mark.parametrize(("action", "code"), [("leave 3", 3), ("raise 6", -6)])
def test_rank_0_leaves_no_time(action, code, start, tmp_path):
    up = tmp_path / "up"
    run = start(PROGRAM, "--ranks=2", GRACE, f"0:wait {up};{action}", "1:sleep 1000")
    # What rank 0 hasn't passed on when it leaves, rank 1 writes to stderr.
    pids = run.pids(2)
    up.touch()
    run.end(code)
    expect_gone(pids.values(), run)


def test_rank_0_leaves_at_once(start):
    """Before a rank has reached the library it is simply killed with its parent."""
    run = start(PROGRAM, "--ranks=2", "0:leave 0").end(0)
    expect_gone(run.pids(1).values(), run)


def test_frozen_rank_0(start, tmp_path):
    """Rank 0 is stopped: its output with it, but not the others' last words. Who is lost because of
    it ends it."""
    go = tmp_path / "frozen"
    run = start(PROGRAM, "--ranks=2", "0:say up;sleep 1000",
                f"1:say up;wait {go};say unheard;last is heard;lose")
    pids = run.pids(2)
    run.wait_for("up", 2)
    os.kill(pids[0], signal.SIGSTOP)
    wait_for_state(pids[0], "T", run)
    go.touch()
    run.end(-signal.SIGKILL)
    expect_gone(pids.values(), run)
    errors = "".join(run.errors)
    for text in ("is heard", "error: lost rank 7", f"rank 0 (pid {pids[0]}) is stopped; sending"):
        check(f"[rank 1] {text}" in errors, text, run)


def test_other_programs(start, tmp_path):
    # The thread that launched may end.
    go = tmp_path / "thread"
    run = start(PROGRAM, "--ranks=2", "--from-thread", f"0:sleep 0.3;touch {go};sleep 0.3",
                f"1:wait {go};say alive").end(0)
    check("[rank 1] alive\n" in run.lines, "rank 1 outlives the launching thread", run)
    # Without run_main: the program waits at its exit, and ends what doesn't end.
    run = start(PROGRAM, "--no-run-main", "0:return 2", "1:sleep 0.2;say done").end(2)
    check("[rank 1] done\n" in run.lines, "rank 1 may finish", run)
    up = tmp_path / "up"
    run = start(PROGRAM, "--no-run-main", GRACE, f"0:wait {up};return 2",
                f"1:touch {up};sleep 1000").end(2)
    expect_gone(run.pids(2).values(), run)
    # A second launch starts nothing; one of another size is an error.
    run = start(PROGRAM, "--ranks=2", "0:again 2").end(0)
    check(len(run.wait_for(r"pid \d+", 2)) == 2, "two processes in all", run)
    run = start(PROGRAM, "--ranks=2", "0:again 3").end(2)
    check("error: launcher: this program runs with 2 ranks, a later Trainer asks for 3. HINT: give "
          "all Trainers of a program the same number of devices\n" in run.errors, "error", run)


def test_closed_output(start, tmp_path):
    """Rank 0's output isn't read any more: the run itself continues."""
    go, done = tmp_path / "go", tmp_path / "done"
    process = subprocess.Popen([PROGRAM, "--ranks=2", f"0:wait {done}",
                                f"1:wait {go};lines 5000 100;touch {done}"], stdout=subprocess.PIPE)
    for _ in range(4):
        process.stdout.readline()
    process.stdout.close()
    go.touch()
    code = process.wait(DEADLINE)
    assert code == 0, code
