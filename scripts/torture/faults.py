"""Faults of the process, of the whole disk and of the clock: each is a function that runs the server into one, judges what is
left, and returns what it counted."""

import os
import threading
import time

from book import Book, judge
from calls import strace
from night import Night
from server import Client, Gone, Server

CLIENTS = 16

def load(address, books, seconds):
    """As many clients as there are books, each with keys of its own, until the time is over or the server is gone."""
    stop = time.monotonic() + seconds

    def run(book):
        try:
            while time.monotonic() < stop and not book.gone:
                book.gone = not book.work(address, 20)
        except Exception as fault:
            book.fault = fault

    threads = [threading.Thread(target=run, args=[book]) for book in books]
    for thread in threads:
        thread.start()
    return threads


def merged(books):
    whole = Book("all")
    for book in books:
        assert book.fault is None, f"a client failed: {book.fault!r}"
        whole.take(book)
    return whole


def kill_loops(world):
    """kill -9 under the load of many clients and of checkpoints, over and over on one directory; goes on where an earlier night
    was broken off, if that is asked for."""
    directory, everything = world.directory(), Book("all")
    night = Night(world, "kill-loops")
    for loop in night:
        now = merged(kill_once(world, directory, f"{world.seed}-{loop}"))
        world.attempt(f"kill {loop}", lambda now=now: judge(world.program, directory, now))
        everything.take(now)
        night.count(acknowledged=len(now.acknowledged), checkpoints=now.checkpoints)
    world.attempt("after all", lambda: judge(world.program, directory, everything))
    return night.counts()


def kill_once(world, directory, seed, *options):
    """One life of the server, at work until it is killed; the books of its clients, one of whom asks for checkpoints."""
    books = [Book(f"{seed}-{client}", None if client else 3) for client in range(CLIENTS)]
    with Server(world.program, directory, *options) as server:
        threads = load(server.address, books, 60)
        time.sleep(books[0].dice.uniform(0.02, 0.6))
        server.kill()
        for thread in threads:
            thread.join()
    return books


def slow(world):
    """Every sync takes 20 ms more under many clients: refused or answered, nothing is lost."""
    directory = world.directory()
    books = [Book(f"{world.seed}-{client}") for client in range(64)]
    wrapper = strace("/dev/null", "fdatasync", "-e", "inject=fdatasync:delay_enter=20000:when=1+")
    with Server(world.program, directory, wrapper=wrapper) as server:
        for thread in load(server.address, books, world.seconds):
            thread.join()
        server.end()
    whole = merged(books)
    assert not any(book.gone for book in books), "the server left a client without an answer"
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
            server.end()
        if years > 0:
            # An opening under a clock that is years ahead is refused until someone says that it is right.
            set_clock(stamp, "+10y")
            try:
                with Server(world.program, directory, environment=environment):
                    raise AssertionError("a clock ten years ahead was believed at an opening")
            except Gone as gone:
                assert gone.code == 2 and "clock" in str(gone), f"it does not open, with {gone.code}: {gone}"
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
