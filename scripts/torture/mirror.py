"""The same faults where everything is written into two directories, and what only two of them have to bear: the loss of one."""

import shutil

from book import Book, judge, verify
from calls import at_every_call, failed, halted, mirror_of, sides, undone
from faults import kill_once, merged


def kills(world):
    """kill -9 under the load of many clients. Of each three kills one takes the first directory with it, and one the second."""
    directory, everything = world.directory(), Book("all")
    options = ("--segment-size", "1MiB", "--mirror-dir", mirror_of(directory))
    counts = {"runs": 0, "sides lost": 0, "acknowledged": 0, "checkpoints": 0}

    def judged(now):
        judge(world.program, directory, now, *options)
        verify(world.program, mirror_of(directory), now)

    for loop in range(world.loops):
        now = merged(kill_once(world, directory, f"{world.seed}-{loop}", *options))
        if loop % 3:
            shutil.rmtree(directory if loop % 3 == 1 else mirror_of(directory))
            counts["sides lost"] += 1
        world.attempt(f"kill {loop}", lambda now=now: judged(now))
        everything.take(now)
        counts["runs"] += 1
        counts["acknowledged"] += len(now.acknowledged)
        counts["checkpoints"] += now.checkpoints
    world.attempt("after all", lambda: judged(everything))
    return counts


def eio(world):
    """The Nth call fails, on whichever side it is: halted at once, and the two are made one again at the next opening."""
    return at_every_call(world, "error=EIO", halted, mirrored=True)


def goes_on(world):
    """The same with --mirror-go-on: one side that fails while it runs is left behind, and everything is answered."""

    def end(run):
        # Every thread has an Nth call, so both sides may have failed.
        if run.met and (not run.opened or len(sides(run)) > 1):
            return failed(run)
        return undone(run)

    return at_every_call(world, "error=EIO", end, options=("--mirror-go-on",), mirrored=True)
