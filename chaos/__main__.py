"""The chaos tool.

    python -m chaos run --faults kill-leader,partition --duration 5m --seed 7
    python -m chaos run                      all faults that this machine can have
    python -m chaos faults                   what there is, and what is missing for it here
    python -m chaos judge .data/chaos/RUN    judge a history again

Law: the last line on stdout is the verdict. The exit code is 0 when every promise was kept, 1 when one was broken or
never checked, 2 for a wrong command line or a machine that cannot do what was asked, 3 when a part of the history is
missing, whatever the rest says, 130 when it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from chaos import report
from chaos.arguments import checkout, positive
from chaos.checker.trail import TornError
from chaos.checker.verdict import judge
from chaos.history_file import History
from chaos.machine.grounds import missing
from chaos.machine.isolation import is_isolated, isolate, missing_for_isolation
from chaos.run import Options, Run
from chaos.strikes import catalogue

EXIT_BROKEN, EXIT_USAGE, EXIT_INCOMPLETE, EXIT_INTERRUPTED = 1, 2, 3, 130
KEPT = Path(".data/chaos")
_UNITS = {"s": 1, "m": 60, "h": 3600}
_ABOUT = ("repeat", "seed", "skipped", "when", "commit", "versions")
"""What a report says of how its run was made."""
_LIBRARIES = ("pika", "aio-pika", "lmdb", "trio", "msgspec")


def seconds(text: str) -> float:
    """`90`, `90s`, `5m`, `1h`."""
    number, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1)
    return positive(number) * unit


def count(text: str) -> int:
    """A number that is not negative."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def fault_names(text: str) -> tuple[str, ...]:
    """Names with commas between them; `all`."""
    names = tuple(catalogue.FAULTS) if text == "all" else tuple(dict.fromkeys(text.split(",")))
    strange = [name for name in names if name not in catalogue.FAULTS]
    if strange:
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(strange)} (python -m chaos faults)")
    return names


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos", description="Break a real cluster, judge what clients saw."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="a cluster under clients and faults, and a verdict")
    run.add_argument(
        "--faults", type=fault_names, default=fault_names("all"), help="names with commas, or all (default)"
    )
    run.add_argument(
        "--duration", type=seconds, default=300.0, help="time in which faults begin: 90, 90s, 5m (default)"
    )
    run.add_argument(
        "--count",
        type=count,
        default=0,
        help="stop after so many faults, two that overlap being one (default: by --duration)",
    )
    run.add_argument("--seed", type=int, default=None, help="of every choice (default: a new one)")
    run.add_argument("--rate", type=positive, default=300.0, help="messages a second that are published (default 300)")
    run.add_argument(
        "--gap-max", type=positive, default=10.0, help="seconds without a confirm that are allowed (default 10)"
    )
    run.add_argument(
        "--backlog", type=count, default=0, help="messages in a queue that nobody consumes before faults begin (none)"
    )
    run.add_argument("--other", type=checkout, default=None, help="checkout of another version: upgrade")
    run.add_argument("--report", type=Path, default=None, help=f"directory (default {KEPT}/TIME-SEED)")
    run.add_argument("--keep-data", action="store_true", help="keep the nodes' data and the whole history")
    commands.add_parser("faults", help="every fault, and what is missing for it here")
    again = commands.add_parser("judge", help="judge a history again")
    again.add_argument("report", type=Path)
    asked = parser.parse_args()
    if asked.command == "faults":
        return _list_faults()
    if asked.command == "judge":
        try:
            return _judge(asked.report, _about_again(asked.report))
        except NotADirectoryError:
            again.error(f"{asked.report} is no directory of a report")
        except FileNotFoundError as error:
            again.error(f"{error} (a run that passed keeps its history only with --keep-data)")
        except ValueError as error:
            again.error(f"this is no history: {error}")
    return _run(parser, asked)


def _list_faults() -> int:
    absent = catalogue.unavailable(tuple(catalogue.FAULTS), missing())
    for name in catalogue.FAULTS:
        print(f"{name:14} {catalogue.meaning(name)}" + (f"  [not here: {absent[name]}]" if name in absent else ""))
    return 0


def _run(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> int:
    if not missing_for_isolation() and not is_isolated():
        isolate("chaos", sys.argv[1:])
    lacking = missing(asked.other)
    absent = catalogue.unavailable(asked.faults, lacking)
    faults = tuple([name for name in asked.faults if name not in absent])
    for name, why in absent.items():
        print(f"SKIPPED {name}: {why}", flush=True)
    if not faults:
        parser.error("this machine can have none of these faults")
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1 << 32)
    directory = asked.report or KEPT / f"{time.strftime('%Y%m%d-%H%M%S')}-{seed}"
    directory = directory.absolute()
    if directory.exists():
        parser.error(f"{directory} is there already")
    began = time.monotonic()

    def tell(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {line}", flush=True)

    options = Options(faults, asked.duration, seed, asked.rate, asked.gap_max, asked.count, asked.backlog, asked.other)
    repeat = f"python -m chaos run --faults {','.join(faults)} --duration {asked.duration:g} --seed {seed}"
    repeat += f" --rate {asked.rate:g} --gap-max {asked.gap_max:g}" + (f" --count {asked.count}" if asked.count else "")
    repeat += f" --backlog {asked.backlog}" if asked.backlog else ""
    repeat += f" --other {asked.other}" if asked.other else ""
    print(f"seed {seed}; again: {repeat}", flush=True)
    # Told to stop, it takes everything with it that it has started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        Run(options, directory, tell).run()
    except KeyboardInterrupt:
        print("interrupted; what was seen so far is judged", flush=True)
        _judge(directory, _about(repeat, seed, absent))
        return EXIT_INTERRUPTED
    code = _judge(directory, _about(repeat, seed, absent))
    if not asked.keep_data and code == 0:
        _tidy(directory)
    return code


def _tidy(directory: Path) -> None:
    """After a run that passed, its histories and the nodes' data are of no interest."""
    import shutil

    for name in ("history", "nodes"):
        shutil.rmtree(directory / name)


def _about(repeat: str, seed: int, skipped: dict[str, str]) -> dict[str, Any]:
    """How a run was made."""
    return {
        "repeat": repeat,
        "seed": seed,
        "skipped": skipped,
        "when": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "commit": _commit(),
        "versions": {
            "python": platform.python_version(),
            "kernel": platform.release(),
            "processors": os.cpu_count(),
            **{name: version(name) for name in _LIBRARIES},
        },
    }


def _about_again(directory: Path) -> dict[str, Any]:
    """How a run was made, from the report that is there, if one is."""
    try:
        told = json.loads((directory / "verdict.json").read_bytes())
    except FileNotFoundError:
        return {"repeat": f"python -m chaos judge {directory}"}
    return {name: told[name] for name in _ABOUT if name in told}


def _commit() -> str:
    """Of the checkout that ran, with a star if it was changed; empty outside of one."""
    command = ["git", "describe", "--always", "--dirty=*", "--abbrev=12"]
    where = Path(__file__).parent
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False).stdout.strip()


def _judge(directory: Path, about: dict[str, Any]) -> int:
    """Write the report of a history, print where it is and the verdict."""
    rates = report.Rates()
    history = History(directory / "history")
    try:
        trail, verdict = judge(map(rates.take, history.records()))
    except TornError as error:
        print(f"INCOMPLETE: {error}", flush=True)
        return EXIT_INCOMPLETE
    verdict = replace(verdict, missing=tuple(history.missing()))
    page = report.write(directory, trail, verdict, rates, about)
    for finding in verdict.findings:
        claimed = "" if finding.name in verdict.claims else "  (not claimed)"
        print(f"  {finding.name:14} {finding.checks:9,} checks  {finding.broken:6,} broken{claimed}")
        for example in finding.examples[:3]:
            print(f"      {example}")
    print(f"report in {page}")
    print(verdict.line(), flush=True)
    if verdict.missing:
        return EXIT_INCOMPLETE
    return 0 if verdict.passed else EXIT_BROKEN


if __name__ == "__main__":
    sys.exit(main())
