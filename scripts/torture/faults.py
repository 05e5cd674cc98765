"""The faults: each is a function that runs the server into one, judges what is left, and returns what it counted."""

import os
import subprocess
import threading
import time

from book import Book, judge, verify
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
    for call in CALLS:
        for when in range(1, busiest(world, call) + 1, world.stride):
            directory = world.directory()
            book = Book(world.seed)
            try:
                with Server(world.program, directory, wrapper=injected(call, what, when)) as server:
                    whole = book.work(server.address, world.commands) and book.troubles == 0
                    code = server.stop()
                    counts["hit"] += end(code, whole)
            except Gone:
                counts["hit"] += 1  # At an opening.
            world.attempt(f"{call} {what} {when}", lambda: judge(world.program, directory, book))
            counts["runs"] += 1
            counts["acknowledged"] += len(book.acknowledged)
            world.done_with(directory)
    assert counts["hit"] * 2 > counts["runs"], f"the fault was rarely met: {counts}"
    return counts


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


def full(world):
    """A file system of 64 MiB: 507 before anything is applied, reads go on, writes resume; then the same after a restart."""
    mount = os.path.join(world.scratch, "full")
    os.makedirs(mount, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", mount], check=True)
    try:
        return fill(world, mount)
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


def fill(world, mount):
    directory, ballast = os.path.join(mount, "data"), os.path.join(mount, "ballast")
    with open(ballast, "wb") as file:
        file.write(b"\1" * (54 << 20))
    book = Book(world.seed)
    options = ("--segment-size", "4MiB")
    counts = {"runs": 0, "refused": 0}
    with Server(world.program, directory, *options) as server:
        client = Client(server.address)
        for _ in range(2):
            until(book, client, 507)
            counts["refused"] += 1
            user = next(iter(book.acknowledged.values()))[1]["user_id"]
            status, balance = client.get(f"/balance?user_id={user}")
            assert status == 200 and balance["total"] > 0, f"reads on a full disk: {status} {balance}"
            os.truncate(ballast, max(0, os.path.getsize(ballast) - (9 << 20)))
            time.sleep(1.5)  # The ledger leaves a full disk alone for a second.
            until(book, client, 200)
            counts["runs"] += 1
        # Full again, to the last byte, when it is stopped.
        with open(ballast, "ab", buffering=0) as file:
            try:
                while file.write(b"\1" * 4096):
                    pass
            except OSError:
                pass
        until(book, client, 507)
        server.kill()
    verify(world.program, directory, book)
    os.truncate(ballast, 0)
    world.attempt("a disk that was full", lambda: judge(world.program, directory, book, *options))
    return counts | {"acknowledged": len(book.acknowledged)}


def until(book, client, status):
    """Sends charges, with as much metadata as there may be, until one is answered so."""
    for _ in range(200_000):
        path, body = book.command()
        if path == "/charge" and book.send(client, path, body | {"metadata": {"note": "x" * 900}}) == status:
            return
    raise AssertionError(f"no charge was answered {status}")


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


def soak(world):
    """Accepts charges for as long as asked. Memory grows by what a charge is said to take and by nothing else: within 5 %,
    or 48 MiB, which is what tables take in one piece."""
    directory = world.directory()
    counts = {"runs": 1, "accepted": 0, "drift_mib": 0.0, "drift_percent": 0.0}
    with Server(world.program, directory, "--segment-size", "64MiB", environment={"RUST_LOG": "error"}) as server:
        client, number, base = Client(server.address), 0, None
        begun = time.monotonic()
        while (spent := time.monotonic() - begun) < world.seconds:
            charges = [
                {"type": "charge", "user_id": n % 10_000 + 1, "amount": 1, "idempotency_key": f"soak-{n:019}"}
                for n in range(number, number + 1_000)
            ]
            status, reply = client.post("/batch", {"operations": charges})
            assert status == 200 and reply["completed"] == 1_000, f"{status} {reply}"
            number += 1_000
            # What it has after a quarter is the base; what it publishes for each charge comes on top.
            rest = resident(server.pid()) - world.charge_bytes * number
            if spent > world.seconds / 4:
                base = base or rest
                drift = abs(rest - base)
                counts["drift_mib"] = max(counts["drift_mib"], round(drift / 2**20, 1))
                counts["drift_percent"] = max(counts["drift_percent"], round(drift / (base + world.charge_bytes * number) * 100, 1))
                is_flat = drift <= max(48 << 20, 0.05 * (base + world.charge_bytes * number))
                assert is_flat, f"memory is not flat: {counts} after {number}"
        counts["accepted"] = number
        server.stop()
    verify(world.program, directory, Book(world.seed))
    return counts


def resident(pid):
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
