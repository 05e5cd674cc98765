"""Faults of calls, of the process and of the clock: each is a function that runs the server into one, judges what is left, and
returns what it counted."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from book import Book, judge
from server import Client, Gone, Server

# The calls through which bytes reach the disk.
CALLS = ("pwrite64", "fdatasync")


def injected(call, what, when):
    """strace, injecting into this call alone (and without --seccomp-bpf, under which it miscounts). It counts the calls of each thread apart: the log's own thread has the most."""
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{what}:when={when}"]


def busiest(world, call):
    """How often the thread that makes the call most often makes it in an undisturbed run."""
    log = os.path.join(world.scratch, f"calls-{call}")
    directory = world.directory()
    book = Book(world.seed)
    wrapper = ["strace", "-f", "-qq", "-o", log, "-e", f"trace={call}"]
    with Server(world.program, directory, wrapper=wrapper) as server:
        book.work(server.address, world.commands)
        server.stop()
    threads = {}
    with open(log) as lines:
        for line in lines:
            if f" {call}(" in line:
                thread = line.split()[0]
                threads[thread] = threads.get(thread, 0) + 1
    judge(world.program, directory, book)
    return max(threads.values())


def at_every_call(world, what, end):
    """Runs the same commands once for every Nth call (every `world.stride`th of them), with `what` happening there."""
    counts = {"runs": 0, "hit": 0, "acknowledged": 0}
    places = [(call, when) for call in CALLS for when in range(1, busiest(world, call) + 1, world.stride)]
    with ThreadPoolExecutor(world.jobs) as pool:
        runs = [pool.submit(disturbed, world, call, what, when, end) for call, when in places]
        for run in runs:
            hit, acknowledged = run.result()
            counts["runs"] += 1
            counts["hit"] += hit
            counts["acknowledged"] += acknowledged
    assert counts["hit"] * 2 > counts["runs"], f"the fault was rarely met: {counts}"
    return counts


def disturbed(world, call, what, when, end):
    """One run; whether it met the fault, and how many commands were acknowledged."""
    directory, book = world.directory(), Book(world.seed)
    hit = True
    try:
        with Server(world.program, directory, wrapper=injected(call, what, when)) as server:
            whole = book.work(server.address, world.commands) and book.troubles == 0
            hit = end(server.stop(), whole)
    except Gone:
        pass  # It met the fault at the opening.
    world.attempt(f"{call} {what} {when}", lambda: judge(world.program, directory, book))
    world.done_with(directory)
    return hit, len(book.acknowledged)


def killed(world):
    """kill -9 as the Nth write or sync begins."""
    return at_every_call(world, "signal=KILL", lambda code, whole: not whole)


def eio(world):
    """The Nth write or sync fails: halted at once, nothing acknowledged is lost, exit code 1."""

    def end(code, whole):
        assert whole or code == 1, f"a halted server exits with {code}"
        return not whole

    return at_every_call(world, "error=EIO", end)


def enospc(world):
    """From the Nth write on there is no room: refused, or halted where room had been promised."""
    return at_every_call(world, "error=ENOSPC", lambda code, whole: not whole)


def delayed(world):
    """The Nth write or sync takes 50 ms more: everything is answered, and the end is a clean one."""

    def end(code, whole):
        assert whole and code == 0, f"a slow call was taken for a fault: exit code {code}"
        return True

    return at_every_call(world, "delay_enter=50000", end)


def load(address, books, seconds):
    """As many clients as there are books, each with keys of its own, until the time is over or the server is gone."""
    stop = time.monotonic() + seconds

    def run(book):
        while time.monotonic() < stop and book.work(address, 20):
            pass

    threads = [threading.Thread(target=run, args=[book]) for book in books]
    for thread in threads:
        thread.start()
    return threads


def merged(books):
    whole = Book("all")
    for book in books:
        whole.acknowledged |= book.acknowledged
        whole.unknown |= book.unknown
        whole.heads |= book.heads
    return whole


def kill_loops(world):
    """kill -9 under the load of many clients, over and over on one directory."""
    directory = world.directory()
    everything = Book("all")
    for loop in range(world.loops):
        books = [Book(f"{world.seed}-{loop}-{client}") for client in range(16)]
        with Server(world.program, directory) as server:
            threads = load(server.address, books, 60)
            time.sleep(books[0].dice.uniform(0.02, 0.6))
            server.kill()
            for thread in threads:
                thread.join()
        now = merged(books)
        world.attempt(f"kill {loop}", lambda: judge(world.program, directory, now))
        everything.acknowledged |= now.acknowledged
        everything.heads |= now.heads
    world.attempt("after all kills", lambda: judge(world.program, directory, everything))
    return {"runs": world.loops, "acknowledged": len(everything.acknowledged)}


def slow(world):
    """Every sync takes 20 ms more, and 64 clients want more than that gives: refused or answered, nothing lost."""
    directory = world.directory()
    books = [Book(f"{world.seed}-{client}") for client in range(64)]
    wrapper = injected("fdatasync", "delay_enter=20000", "1+")
    with Server(world.program, directory, wrapper=wrapper) as server:
        for thread in load(server.address, books, world.seconds):
            thread.join()
        server.stop()
    whole = merged(books)
    world.attempt("slow syncs", lambda: judge(world.program, directory, whole))
    return {"runs": 1, "acknowledged": len(whole.acknowledged)}


def clock(world):
    """The wall clock leaps ten years ahead and back under a running server: no hold is released, time never goes back."""
    stamp = os.path.join(world.scratch, "clock")
    library = faketime_library()
    environment = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": stamp,
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    counts = {"runs": 0, "leaps": 0}
    for years in (10, -10):
        set_clock(stamp, "+0")
        directory = world.directory()
        book = Book(world.seed)
        with Server(world.program, directory, environment=environment) as server:
            client = Client(server.address)
            hold = {"user_id": 99, "amount": 70, "release_at": in_a_day(), "idempotency_key": "hold"}
            book.send(client, "/charge", hold)
            last = ""
            for offset in (0, years, 0, years):
                set_clock(stamp, f"{offset:+}y")
                for _ in range(20):
                    status, reply = client.post(*plain(book))
                    assert status == 200, f"{status} {reply}"
                    created = reply["transaction"]["created_at"]
                    assert created >= last, f"time went back: {last}, then {created}"
                    last = created
                status, balance = client.get("/balance?user_id=99")
                assert balance["held"] == 70, f"a leap of {offset} years released a hold: {balance}"
                counts["leaps"] += 1
            server.stop()
        if years > 0:
            # An opening under a clock that is years ahead is refused until someone says that it is right.
            set_clock(stamp, "+10y")
            try:
                with Server(world.program, directory, environment=environment):
                    raise AssertionError("a clock ten years ahead was believed at an opening")
            except Gone:
                pass
        set_clock(stamp, "+0")
        world.attempt(f"leaps of {years} years", lambda: judge(world.program, directory, book))
        counts["runs"] += 1
    return counts


def plain(book):
    book.number += 1
    return "/charge", {"user_id": 1, "amount": 1, "idempotency_key": f"{book.prefix}-{book.number}"}


def in_a_day():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86_400))


def set_clock(stamp, offset):
    with open(stamp + ".new", "w") as file:
        file.write(offset + "\n")
    os.replace(stamp + ".new", stamp)


def faketime_library():
    for root, _, files in os.walk("/usr/lib"):
        if "libfaketime.so.1" in files:
            return os.path.join(root, "libfaketime.so.1")
    raise FileNotFoundError("libfaketime.so.1")
