"""Runs tests against one mutant at a time: which of them reach it, and whether one fails."""

import concurrent.futures
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import time

# The mutant that is none, and the one that only writes down what is reached.
NONE, COVER = 0, 2**32 - 1
# A process of which all threads sleep nearly whenever it is looked at, for this long, waits for what never comes. (A thread
# that looks around now and then does not come nearer to it.)
ASLEEP_SECONDS, AWAKE_SHARE = 8, 0.2
# Tests that take less than this are run so many in one process: first a few, then more and more.
FAST_SECONDS, FAST_TESTS = 0.15, (6, 20, 60)
# Who takes so many times as long as without a mutant, and two seconds, is taken for one that never ends.
TIMES = 5


def sleeps(pid):
    """Whether all threads of the process sleep: none works, waits for a processor or for a disk."""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] != "S":
                    return False
    except OSError:
        return False
    return True


def run(command, mutant, seconds, directory, coverage=None):
    """Runs `command` with `mutant` for at most so many seconds of processor time.

    Not of the clock: on a busy machine that would call a slow test a failed one. Returns how it ended (0 if well) and
    the processor time that it took.
    """
    environment = dict(
        os.environ, MUTANT=str(mutant), TMPDIR=directory, RUST_BACKTRACE="0",
        # That it fails is all that is wanted to know; of several, that one does. (The variable lets stable tools do so.)
        RUSTC_BOOTSTRAP="1",
        PROPTEST_MAX_SHRINK_ITERS="0", PROPTEST_DISABLE_FAILURE_PERSISTENCE="1",
    )
    if coverage:
        environment["COVERAGE"] = coverage

    def limits():
        limit = int(seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
        resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))

    quiet = subprocess.DEVNULL
    child = subprocess.Popen(
        command, cwd=directory, env=environment, stdin=quiet, stdout=quiet, stderr=quiet,
        preexec_fn=limits, start_new_session=True,
    )
    since, looks, awake, ended, pause = time.monotonic(), 0, 0, None, 0.01
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            ended = ended or child.returncode
            if ended in (-signal.SIGKILL, -signal.SIGXCPU):
                ended = "time"
            return ended, usage.ru_utime + usage.ru_stime
        time.sleep(pause)
        pause = min(0.5, pause * 1.3)
        looks, awake = looks + 1, awake + (not sleeps(child.pid))
        if time.monotonic() - since > ASLEEP_SECONDS:
            if awake <= AWAKE_SHARE * looks:
                ended = "asleep"
                os.killpg(child.pid, signal.SIGKILL)
            since, looks, awake = time.monotonic(), 0, 0


def workplace(work, name):
    """An empty directory for one process after the other."""
    directory = os.path.join(work, "run", name)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    return directory


def killers(binaries, seeds):
    """Every command that may notice a mutant: the simulator with `seeds` seeds, then each test."""
    yield "simulate", [binaries["simulate"], "--seeds", str(seeds), "--seed", "1", "--jobs", "1", "--state", "state"]
    for name in ("lib", "it"):
        if name in binaries:
            listed = subprocess.run([binaries[name], "--list"], capture_output=True, text=True, check=True).stdout
            for line in listed.splitlines():
                test = line.removesuffix(": test")
                # What reads the sources would notice every mutant, as none of them is formatted.
                if test != line and "house" not in test:
                    yield f"{name} {test}", [binaries[name], "--exact", test, "--test-threads=1", "-q"]


def cover(work, binaries, seeds, longest, jobs, chosen):
    """Runs each killer without a mutant and notes what it reaches and takes; those alone that are not known yet.

    Of all that there are those with one of the parts `chosen` in their names.
    """
    path = os.path.join(work, "killers.json")
    known = []
    if os.path.exists(path):
        with open(path) as stored:
            known = json.load(stored)
    names, since = {k["name"] for k in known}, 1 + max((k["since"] for k in known), default=0)
    todo = iter([(name, command) for name, command in killers(binaries, seeds)
                 if name not in names and any(part in name for part in chosen)])

    def worker(number):
        directory = workplace(work, str(number))
        # `next` of a list's iterator is one step of the interpreter: two threads never get the same killer.
        for name, command in todo:
            coverage = os.path.join(directory, "coverage")
            ended, seconds = run(command, COVER, 4 * longest, directory, coverage)
            reached = []
            if os.path.exists(coverage):
                with open(coverage) as lines:
                    reached = sorted({int(line) for line in lines if line.endswith("\n")})
                os.remove(coverage)
            known.append({"name": name, "since": since, "ended": ended, "seconds": seconds, "reached": reached})
            if ended != 0 or seconds > 1:
                print(f"{name}: {ended}, {seconds:.1f} s, reaches {len(reached)}", flush=True)

    work_together(worker, jobs)
    with open(path, "w") as out:
        json.dump(known, out)


def work_together(worker, jobs):
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for worked in [pool.submit(worker, number) for number in range(jobs)]:
            worked.result()


def kill(mutant, known, directory, longest, before):
    """Runs what reaches `mutant`, cheapest first, until something fails. What `before` says was run is not run again."""
    reaching = sorted((k for k in known if mutant in k["set"]), key=lambda k: k["seconds"])
    usable = [k for k in reaching if k["ended"] == 0 and k["seconds"] <= longest]
    left_out = [k["name"] for k in reaching if k not in usable]
    if before:
        usable = [k for k in usable if k["seconds"] > before["longest"] or k["since"] > before["cover"]]

    def attempt(command, seconds):
        ended, _ = run(command, mutant, 2 + TIMES * seconds, directory)
        return ended

    for name in ("lib", "it"):
        fast = [k for k in usable if k["name"].startswith(name + " ") and k["seconds"] < FAST_SECONDS]
        usable = [k for k in usable if k not in fast]
        # What reaches little else is most likely about this.
        fast.sort(key=lambda k: len(k["set"]))
        for size in itertools.chain(FAST_TESTS, itertools.repeat(FAST_TESTS[-1])):
            batch, fast = fast[:size], fast[size:]
            if not batch:
                break
            tests = [k["name"].split(" ", 1)[1] for k in batch]
            ended = attempt([batch[0]["command"][0], "--exact", *tests, "--test-threads=1", "-q", "-Z",
                             "unstable-options", "--fail-fast"], sum(k["seconds"] for k in batch))
            if ended != 0:
                return {"by": name, "ended": ended}
    for k in usable:
        ended = attempt(k["command"], k["seconds"])
        if ended != 0:
            return {"by": k["name"], "ended": ended}
    cover = max(k["since"] for k in known)
    return {"by": None, "reached": bool(reaching), "left_out": left_out, "longest": longest, "cover": cover}


def results(work):
    """What came of each mutant that was run, by its number: that it was killed, or else the last time."""
    found, path = {}, os.path.join(work, "results.jsonl")
    if os.path.exists(path):
        with open(path) as lines:
            for result in map(json.loads, lines):
                if not found.get(result["id"], {}).get("by"):
                    found[result["id"]] = result
    return found


def run_all(work, binaries, mutants, seeds, longest, jobs, again):
    """Kills what of `mutants` can be; appends each result to results.jsonl, and skips what is in it.

    With `again` those that survived are run too, against the tests that they have not met.
    """
    with open(os.path.join(work, "killers.json")) as stored:
        known = json.load(stored)
    commands = dict(killers(binaries, seeds))
    known = [dict(k, set=set(k["reached"]), command=commands[k["name"]]) for k in known if k["name"] in commands]
    done = results(work)
    chosen = [mutant for mutant in mutants if mutant not in done or again and not done[mutant]["by"]]
    print(f"{len(chosen)} mutants", flush=True)
    todo = iter(chosen)

    def worker(number):
        directory = workplace(work, str(number))
        for mutant in todo:
            result = {"id": mutant, **kill(mutant, known, directory, longest, done.get(mutant))}
            with open(os.path.join(work, "results.jsonl"), "a") as out:
                out.write(json.dumps(result) + "\n")

    work_together(worker, jobs)
