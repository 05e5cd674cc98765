"""Runs the built server into real faults: real processes, a real kernel, a real file system.

    python3 scripts/torture --server target/release/ledger-server            # every fault, at length
    python3 scripts/torture --server target/debug/ledger-server --short      # what every change affords
    python3 scripts/torture --server … --only killed --stride 1 --commands 300
    python3 scripts/torture --server … --only overload --minutes 10
    python3 scripts/torture --server … --only kill-loops --loops 1000 --resume     # a night of kills, or the rest of one

After each fault the server is opened again without one: every acknowledged key must be answered 409 with its transaction,
the audit balance, `verify` agree, and history lead from every head that had been served. A fault whose tool is missing is
reported as not run, and so is the rest of a night of another build, and the exit code says so: 0 all held, 1 something was
lost, 3 something was not run.
"""

import argparse
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import calls  # noqa: E402
import clients  # noqa: E402
import contract  # noqa: E402
import faults  # noqa: E402
import full  # noqa: E402
import memory  # noqa: E402
import mirror  # noqa: E402
import overload  # noqa: E402
import soak  # noqa: E402
from night import AnotherNight  # noqa: E402
from server import Gone  # noqa: E402

STATES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "target", "torture")

# What each fault needs besides the server: a program, or the right to mount.
FAULTS = {
    "killed": (calls.killed, "strace"),
    "eio": (calls.eio, "strace"),
    "enospc": (calls.enospc, "strace"),
    "delayed": (calls.delayed, "strace"),
    "slow": (faults.slow, "strace"),
    "overload": (overload.overload, "strace"),
    "slow-clients": (clients.slow, None),
    "kill-loops": (faults.kill_loops, None),
    "mirror-kills": (mirror.kills, None),
    "mirror-eio": (mirror.eio, "strace"),
    "mirror-goes-on": (mirror.goes_on, "strace"),
    "full": (full.full, "mount"),
    "memory": (memory.limit, None),
    "clock": (faults.clock, "faketime"),
    "soak": (soak.soak, None),
    "contract": (contract.contract, "schemathesis"),
}
# Those that are run only where they are named: `pip install schemathesis` first.
NAMED = {"contract"}


class World:
    """Where a fault happens and how long it takes; counts what did not hold."""

    def __init__(self, arguments, scratch):
        self.short = short = arguments.short
        self.program = os.path.abspath(arguments.server)
        self.scratch = scratch
        self.seed = arguments.seed
        self.commands = arguments.commands or (60 if short else 300)
        self.calls = arguments.calls or list(calls.CALLS)
        self.stride = arguments.stride or (29 if short else 1)
        self.loops = arguments.loops or (5 if short else 100)
        minutes = arguments.minutes or arguments.hours and arguments.hours * 60
        self.seconds = minutes * 60 if minutes else (8 if short else 300)
        self.examples = 100 if short else 1_000
        self.jobs = arguments.jobs
        self.states = os.path.normpath(STATES)
        self.resumes = arguments.resume
        self.made = itertools.count(1)
        self.lost = []

    def directory(self):
        return os.path.join(self.scratch, f"data-{next(self.made)}")

    def done_with(self, directory):
        shutil.rmtree(directory, ignore_errors=True)

    def attempt(self, what, judged):
        try:
            judged()
        except Exception as fault:
            print(f"LOST  {what}: {told(fault)}", flush=True)
            self.lost.append(what)


def told(fault):
    """What did not hold; of what was not foreseen, also where."""
    if isinstance(fault, (AssertionError, Gone)):
        return str(fault)
    traceback.print_exception(fault)
    return repr(fault)


def lacks(tool):
    """Whether a tool is missing here; on a machine of one's own it is installed."""
    if tool is None:
        return False
    if tool == "mount":
        return not may_mount()
    if shutil.which(tool) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-qq", "-y", tool], stdout=subprocess.DEVNULL, check=False)
    return shutil.which(tool) is None


def may_mount():
    """Root in a container need not be allowed to."""
    with tempfile.TemporaryDirectory(prefix="ledger-torture-") as place:
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place]
        allowed = shutil.which("mount") and subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode == 0
        if allowed:
            subprocess.run(["umount", place], check=True)
        return allowed


def main():
    parser = argparse.ArgumentParser(prog="torture", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--server", required=True, help="the built program")
    parser.add_argument("--short", action="store_true", help="a few minutes in place of hours")
    parser.add_argument("--only", choices=FAULTS, action="append", help="this fault (can be repeated)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commands", type=int, help="commands of a run that is disturbed at every Nth call")
    parser.add_argument("--stride", type=int, help="disturb at every so many calls")
    parser.add_argument("--calls", choices=calls.CALLS, action="append", help="disturb this call (can be repeated)")
    parser.add_argument("--jobs", type=int, default=2, help="how many such runs at a time")
    parser.add_argument("--loops", type=int, help="how often kill-loops and mirror-kills kill")
    parser.add_argument("--resume", action="store_true", help="kill-loops goes on as target/torture/ says, with this build")
    long = parser.add_mutually_exclusive_group()
    long.add_argument("--hours", type=float, help="how long slow, overload, soak and contract take each")
    long.add_argument("--minutes", type=float, help="the same in minutes")
    arguments = parser.parse_args()
    # As at an interrupt: what runs is ended, and what is on disk is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows, lost, missing = [], 0, []
    for name in arguments.only or [name for name in FAULTS if name not in NAMED]:
        run, tool = FAULTS[name]
        if lacks(tool):
            missing.append(name)
            rows.append((name, f"NOT RUN: {tool} is missing or not allowed"))
            continue
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="ledger-torture-") as scratch:
            world = World(arguments, scratch)
            try:
                counts = run(world)
            except AnotherNight as why:
                counts = {"NOT RUN:": str(why)}
                missing.append(name)
            except Exception as fault:
                counts, world.lost = {"failed": told(fault)[:300]}, world.lost + [name]
            lost += len(world.lost)
        counts |= {"lost": len(world.lost), "seconds": round(time.monotonic() - begun)}
        rows.append((name, ", ".join(f"{what} {count}" for what, count in counts.items())))
        print(f"{name:14} {rows[-1][1]}", flush=True)
    print(f"\nseed {arguments.seed}, {len(rows) - len(missing)} faults run, {len(missing)} not run, {lost} lost")
    for name, row in rows:
        print(f"  {name:14} {row}")
    return 1 if lost else 3 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
