"""Faults of single calls: strace kills, fails or delays the first one, then in another run the second, and so on.

It counts the calls of each thread apart: the thread that makes the call most often decides how many runs there are. How often it
makes one differs from run to run, since commits are grouped as they come, so a run that ends before its Nth call is repeated, and
an N that none of them comes to is named. Of pwrite64 and fdatasync the log's thread makes the Nth before the thread of the
checkpoints does, so what a snapshot writes is disturbed only where the ledger goes on after that.
"""

import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from book import Book, judge
from server import Gone, Server

# How bytes reach the disk, and how names do: directories are synced by fsync, files by fdatasync.
CALLS = {
    "pwrite64": "pwrite64",
    "fdatasync": "fdatasync",
    "fsync": "fsync",
    "rename": "?rename,?renameat,?renameat2",
    "unlink": "?unlink,?unlinkat",
}
TRIES = 3
# Of each call at least so many are disturbed, however seldom it is made.
LEAST = 2
CHECKPOINT_EVERY = 15


def strace(log, call, *more):
    """strace of these calls alone, without --seccomp-bpf, under which it miscounts; -y names the files."""
    return ["strace", "-f", "-qq", "-y", "-s", "0", "-o", log, "-e", "signal=none", "-e", f"trace={call}", *more]


class Trace:
    """What strace wrote down: how often each thread made which call, and what was disturbed."""

    def __init__(self, log):
        self.threads = Counter()
        self.lines = []
        begun = {}
        with open(log) as lines:
            for line in lines:
                thread, _, text = line.strip().partition(" ")
                text = text.strip()
                if text.startswith("<..."):
                    self.lines[begun.pop(thread)] += text
                    continue
                if text.endswith("<unfinished ...>"):
                    begun[thread] = len(self.lines)
                self.threads[text.split("(")[0], thread] += 1
                self.lines.append(text)

    def busiest(self, call):
        """How often the thread makes it that makes it most often."""
        names = CALLS[call].replace("?", "").split(",")
        return max((count for (name, _), count in self.threads.items() if name in names), default=0)

    def disturbed(self):
        """Each disturbed call, and the same file's calls after it."""
        places = [n for n, line in enumerate(self.lines) if "(INJECTED)" in line or "(DELAYED)" in line]
        return [(self.lines[n], self.lines[n + 1 :]) for n in places]


class Run:
    """What became of one run."""

    def __init__(self, book, directory):
        self.book = book
        self.directory = directory
        self.code = None
        self.opened = self.whole = self.met = False
        self.trace = None


def at_every_call(world, what, end, *, onwards=False, options=(), mirrored=False):
    """Runs the same commands once for every Nth call (every `world.stride`th of them), with `what` happening there, or from there
    onwards. `end` is given each run and says what must hold."""
    counts, met, tried, unmet = Counter(runs=0, met=0, acknowledged=0, checkpoints=0), Counter(), Counter(), []
    where, usual = Counter(), undisturbed(world, options, mirrored)
    totals = {call: usual.busiest(call) for call in world.calls}
    assert all(totals.values()), f"a call is never made: {totals}"
    places = [(call, when) for call, total in totals.items() for when in chosen(total, world.stride, mirrored)]
    with ThreadPoolExecutor(world.jobs) as pool:
        asked = [pool.submit(disturbed, world, *place, what, end, onwards, options, mirrored) for place in places]
        for (call, when), future in zip(places, asked):
            runs = future.result()
            counts["runs"] += 1
            tried[call] += 1
            counts["acknowledged"] += sum(len(run.book.acknowledged) for run in runs)
            counts["checkpoints"] += sum(run.book.checkpoints for run in runs)
            if runs[-1].met:
                counts["met"] += 1
                met[call] += 1
                where[" and ".join(sorted(sides(runs[-1])))] += 1
            else:
                unmet.append(f"{call} {when}")
    counts = dict(counts) | {call: f"{met[call]}/{tried[call]}" for call in world.calls}
    if mirrored:
        counts |= {f"on the {which}": count for which, count in where.items()}
        assert where["first"] and where["second"], f"one side was never disturbed alone: {counts}"
    if unmet:
        counts["not reached"] = "; ".join(unmet)
    assert counts["met"] * 10 >= counts["runs"] * 9, f"the fault was met too rarely: {counts}"
    return counts


def chosen(total, stride, mirrored):
    """Every call, or a sample of what every run comes to; with a mirror odd and even ones by turns, for either side."""
    step = max(1, min(stride, total // LEAST))
    if step == 1:
        return list(range(1, total + 1))
    sample = range(step // 2 + 1, total * 9 // 10 + 1, step)
    return [when + (turn + when) % 2 if mirrored else when for turn, when in enumerate(sample)]


def sides(run):
    """On which sides of a mirror the fault was; a kill does not say. Each thread has its Nth call, so it may be both."""
    disturbed = run.trace.disturbed() if run.trace else []
    return {"second" if mirror_of(run.directory) in line else "first" for line, _ in disturbed}


def mirror_of(directory):
    return f"{directory}-mirror"


def arguments(directory, options, mirrored):
    return ("--segment-size", "1MiB", *options, *(("--mirror-dir", mirror_of(directory)) if mirrored else ()))


def undisturbed(world, options, mirrored):
    """What is called when nothing is in the way."""
    directory, book = world.directory(), Book(world.seed, CHECKPOINT_EVERY)
    log = f"{directory}.calls"
    options = arguments(directory, options, mirrored)
    with Server(world.program, directory, *options, wrapper=strace(log, ",".join(CALLS.values()))) as server:
        assert book.work(server.address, world.commands) and book.troubles == 0, "a run without a fault had troubles"
        server.end()
    assert book.checkpoints, "no checkpoint was made"
    judge(world.program, directory, book, *options)
    world.done_with(directory)
    world.done_with(mirror_of(directory))
    return Trace(log)


def disturbed(world, call, when, what, end, onwards, options, mirrored):
    """The runs until one met the fault."""
    runs = []
    for _ in range(TRIES):
        runs.append(once(world, call, f"{when}{'+' if onwards else ''}", what, end, options, mirrored))
        if runs[-1].met:
            break
    return runs


def once(world, call, when, what, end, options, mirrored):
    directory = world.directory()
    log = f"{directory}.calls"
    run = Run(Book(world.seed, CHECKPOINT_EVERY), directory)
    options = arguments(directory, options, mirrored)

    def judged():
        wrapper = strace(log, CALLS[call], "-e", f"inject={CALLS[call]}:{what}:when={when}")
        try:
            with Server(world.program, directory, *options, wrapper=wrapper) as server:
                run.opened = True
                run.whole = run.book.work(server.address, world.commands)
                run.code = server.stop()
        except Gone as gone:
            run.code = gone.code
        run.trace = Trace(log)
        run.met = run.code == -signal.SIGKILL or bool(run.trace.disturbed())
        end(run)
        judge(world.program, directory, run.book, *options)

    world.attempt(f"{call} {what} {when}", judged)
    world.done_with(directory)
    world.done_with(mirror_of(directory))
    return run


def undone(run):
    """A run that ended before its Nth call: it ends as any other."""
    assert run.whole and run.book.troubles == 0 and run.code == 0, f"no fault, and it ends with {run.code}"


def failed(run):
    """A call that failed: the server refuses to open, or what concerns a commit halts it at once, or only a checkpoint or a spare
    segment came to nothing."""
    if not run.met:
        return undone(run)
    if not run.opened:
        assert run.code == 1, f"an opening that failed exits with {run.code}"
        return None
    assert run.whole, "the server is gone"
    expected = {1} if run.book.halted else {0, 1}
    assert run.code in expected, f"halted: {run.book.halted}, and it exits with {run.code}"
    return None


def halted(run):
    """The same, where nothing takes the log's place: a write or a sync of it that failed halts, which is exit 1, and is not tried
    again."""
    failed(run)
    for line, after in run.trace.disturbed():
        if ".segment>" not in line or line.split("(")[0] not in ("pwrite64", "fdatasync"):
            continue
        assert run.code == 1, f"the log failed, and it exits with {run.code}: {line}"
        name = line[line.index("<") : line.index(">") + 1]
        again = [later for later in after if name in later]
        assert not again, f"what failed was tried again: {line}, {again[0]}"


def killed(world):
    """kill -9 as the Nth call begins."""

    def end(run):
        if not run.met:
            undone(run)

    return at_every_call(world, "signal=KILL", end)


def eio(world):
    """The Nth call fails, and the next would succeed: a commit is not tried again, and nothing is acknowledged after it."""
    return at_every_call(world, "error=EIO", halted)


def enospc(world):
    """From the Nth call on there is no room: refused, or halted where room had been promised."""
    return at_every_call(world, "error=ENOSPC", halted, onwards=True)


def delayed(world):
    """The Nth call takes 50 ms more: everything is answered, and the end is a clean one."""
    return at_every_call(world, "delay_enter=50000", undone)
