"""Runs rival programs in turn and prints medians, spread and ratios. Used by every run.py here.

  rate = harness.pattern(r"([\\d.]+) steps/s")
  contenders = [
      harness.Contender("ours", ["build/release/bin/x"], {"rate": rate}),
      harness.Contender("peer", [sys.executable, "peer.py"], {"rate": harness.json_key("rate")}),
  ]
  arguments = harness.argument_parser(__doc__).parse_args()
  results = harness.interleave(contenders, arguments)
  harness.report("Title", results, [harness.Comparison("rate", "peer", True)], arguments)

The contenders run one after the other, never at the same time, and the order rotates by one in each
repeat, so that slow drifts of the machine hit all of them. A ratio is the ratio of the medians; its
range is over the repeats, each repeat compared with itself.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import pty
import re
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BIN = ROOT / "build" / "release" / "bin"

# Measured by the harness for every run: from starting the process to its exit.
PROCESS_SECONDS = "process seconds"


@dataclasses.dataclass
class Contender:
    name: str
    command: list
    metrics: dict  # metric name -> function(output text) -> float or None; or PROCESS_SECONDS
    environment: dict = dataclasses.field(default_factory=dict)
    terminal: bool = False  # run on a pseudo-terminal, so that progress bars behave as for a user


@dataclasses.dataclass
class Comparison:
    metric: str
    against: str  # name of the contender that the ratios refer to
    higher_is_better: bool
    unit: str = ""


def pattern(regex):
    """Metric: the first group of the regex's last match in the output."""

    def read(output):
        found = re.findall(regex, output)
        return float(found[-1]) if found else None

    return read


def json_key(key):
    """Metric: a key of the last JSON object that stands alone on a line of the output."""

    def read(output):
        for line in reversed(re.split(r"[\r\n]+", output)):
            line = line.strip()
            if line.startswith("{") and line.endswith("}"):
                try:
                    return float(json.loads(line)[key])
                except (ValueError, KeyError, TypeError):
                    continue
        return None

    return read


def argument_parser(description):
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=None, help="names of the contenders to run")
    parser.add_argument("--out", default=None, help="JSON file for all samples")
    parser.add_argument("--verbose", action="store_true", help="show the output of each run")
    return parser


def run_once(contender, verbose=False):
    """Metrics of one run; ends the program with the output's tail when the run fails."""
    environment = {**os.environ, **contender.environment}
    command = [str(part) for part in contender.command]
    begin = time.perf_counter()
    if contender.terminal:
        code, output = _run_on_terminal(command, environment)
    else:
        done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        code, output = done.returncode, done.stdout.decode("utf-8", "replace")
    seconds = time.perf_counter() - begin
    if verbose or code != 0:
        print("\n".join(re.split(r"[\r\n]+", output)[-40:]), file=sys.stderr)
    if code != 0:
        raise SystemExit(f"{contender.name}: exit code {code} from: {' '.join(command)}")
    values = {PROCESS_SECONDS: seconds}
    for name, read in contender.metrics.items():
        values[name] = seconds if read == PROCESS_SECONDS else read(output)
        if values[name] is None:
            print("\n".join(re.split(r"[\r\n]+", output)[-40:]), file=sys.stderr)
            raise SystemExit(f"{contender.name}: no '{name}' in its output (above: the last lines)")
    return values


def _run_on_terminal(command, environment):
    master, slave = pty.openpty()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                               stdout=slave, stderr=slave)
    os.close(slave)
    chunks = []
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # Linux reports a closed terminal as EIO
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(master)
    return process.wait(), b"".join(chunks).decode("utf-8", "replace")


def interleave(contenders, arguments):
    """{contender: {metric: [one value per repeat]}} of all contenders that the arguments select."""
    if arguments.only:
        unknown = set(arguments.only) - {c.name for c in contenders}
        if unknown:
            raise SystemExit(f"--only {' '.join(sorted(unknown))}: unknown; "
                             f"known: {', '.join(c.name for c in contenders)}")
        contenders = [c for c in contenders if c.name in arguments.only]
    for contender in contenders:
        if shutil.which(str(ROOT / contender.command[0])) is None:
            raise SystemExit(f"{contender.name}: {contender.command[0]} does not exist. HINT: "
                             f"cmake --build --preset release, or leave it out with --only")
    results = {c.name: {} for c in contenders}
    for repeat in range(arguments.repeats):
        shift = repeat % len(contenders)
        for contender in contenders[shift:] + contenders[:shift]:
            values = run_once(contender, arguments.verbose)
            for metric, value in values.items():
                results[contender.name].setdefault(metric, []).append(value)
            shown = ", ".join(f"{metric} {value:.4g}" for metric, value in values.items())
            print(f"[{repeat + 1}/{arguments.repeats}] {contender.name}: {shown}",
                  file=sys.stderr, flush=True)
    return results


def ratio(results, metric, name, against, higher_is_better):
    """(of the medians, lowest, highest over the repeats); above 1 means name is better."""
    ours, theirs = results[name][metric], results[against][metric]
    of_medians = statistics.median(ours) / statistics.median(theirs)
    pairs = [a / b for a, b in zip(ours, theirs)]
    if not higher_is_better:
        of_medians, pairs = 1 / of_medians, [1 / p for p in pairs]
    return of_medians, min(pairs), max(pairs)


def machine():
    """One line: CPU, cores this process may use, system, load."""
    model = platform.processor() or "unknown CPU"
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return (f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.system()} "
            f"{platform.release().split('-')[0]}, load average {load}, "
            f"{datetime.date.today().isoformat()}")


def report(title, results, comparisons, arguments):
    """Prints one Markdown table per comparison; writes the samples to the file of --out."""
    print(f"\n### {title}\n\n{machine()}; {arguments.repeats} interleaved repeats.")
    for comparison in comparisons:
        _print_table(results, comparison)
    if arguments.out:
        path = pathlib.Path(arguments.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"title": title, "machine": machine(), "results": results},
                                   indent=1) + "\n", encoding="utf-8")


def _print_table(results, comparison):
    metric, unit = comparison.metric, f" ({comparison.unit})" if comparison.unit else ""
    print(f"\n| {metric}{unit} | median | lowest to highest | better than {comparison.against} |")
    print("|---|---|---|---|")
    for name, metrics in results.items():
        if metric not in metrics:
            continue
        values = metrics[metric]
        spread = f"{min(values):.4g} to {max(values):.4g}"
        row = f"| {name} | {statistics.median(values):.4g} | {spread} |"
        if name == comparison.against or comparison.against not in results:
            print(row + " |")
            continue
        middle, low, high = ratio(results, metric, name, comparison.against,
                                  comparison.higher_is_better)
        print(row + f" {middle:.2f}x ({low:.2f}x to {high:.2f}x) |")
