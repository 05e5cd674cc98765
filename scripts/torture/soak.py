"""Memory over a run: the tables take what a charge is said to take, and beside the tables nothing grows.

What is resident says little by itself: the allocator asks for huge pages, so memory comes 2 MiB at a time, used or not, and
what was freed goes back a while later. Here it is told to do neither, and the server says how much of its tables is filled.
What then is left over is the allocator's own. It rises when tables are cut in two, and falls again; what leaks never falls.
So the least that was left over is compared, of a later half with that of the earlier.

It is compared twice. Charges come in the first half of the time, until there are as many as stay in memory: beside their
tables the allocator may lose so much with each. Then come only requests that leave nothing, of every kind, and nothing may
grow but some buffers. What is lost may fill what the allocator has free already before it shows; each run tells with its counts
the least loss that shows even so. In an hour that is some ten bytes a charge and some tens a request; in the seconds of the short
form so little comes that it is hundreds or thousands: that shows only what is gross, and that the check runs.

A run of hours leaves the machine to others: server and client take a quarter of one core together.
"""

import doctest
import itertools
import json
import os
import random
import re
import socket
import struct
import sys
import time
from typing import NamedTuple

from book import Book, verify
from server import Client, Gone, Server

EXACT = {"RUST_LOG": "error", "MIMALLOC_ALLOW_THP": "0", "MIMALLOC_PURGE_DELAY": "0", "LEDGER_MEMORY_AHEAD": "0B"}
OPTIONS = ("--segment-size", "64MiB", "--checkpoint-size", "64MiB")
USERS = 10_000
# Operations of a batch; rounds between two looks at the memory, and between two batches of repeats.
BATCH, LOOK, REPEATS = 1_000, 10, 5
# Looks with charges, and without, however short the time is.
LEAST_LOOKS = 4
# Charges stay in memory for ever, so there is an end to them; after it come only requests that leave nothing.
MOST_CHARGES = 20_000_000
# What a charge takes; the tables of keys double at about the same time, which is a tenth more or less.
CHARGE_BYTES = 86
# What may come beside the tables between the two: the allocator's loss for each charge, and some buffers.
LOSS_BYTES, SLACK_BYTES = 8, 4 << 20
# Of one core, for server and client together. The short form takes what it gets.
SHARE = 0.25
# How many requests are under way at once, on a connection each.
DEPTHS = (1, 8, 64)
# After a silence of so many seconds, which a machine that was needed for other things may make of it, the server may close a
# connection at any moment (it has 75): another one is opened.
SILENCE = 60
JSON = "application/json"


def soak(world):
    """Charges and requests that leave nothing, and then only these, for as long as asked."""
    assert doctest.testmod(sys.modules[__name__]).failed == 0, "the judgement is wrong"
    directory, begun = world.directory(), time.monotonic()
    with Server(world.program, directory, *OPTIONS, environment=EXACT) as server:
        load, pace = Load(server.address, world.seed), Pace(server.pid(), None if world.short else SHARE)
        growing = load.look(pace, begun + world.seconds / 2, with_charges=True)
        still = load.look(pace, begun + world.seconds, with_charges=False)
        load.check_counts()
        server.end()
    verify(world.program, directory, Book(world.seed))
    counts = {"runs": 1} | load.counts | {"bytes a charge": round(load.bytes_a_charge, 1), "looks": len(growing + still)}
    for growth, what in ((compared(growing), "charges"), (compared(still), "requests")):
        shows = f"{growth.least_loss():.1f} bytes of each would show"
        counts[f"within {growth.charges or growth.requests} {what} KiB more beside"] = f"{growth.bytes >> 10} ({shows})"
        assert growth.is_allowed(), f"something grows beside the tables with {what}: {growth}, {counts}"
    return counts


class Look(NamedTuple):
    """What was left over beside the tables, in bytes, after so many charges and requests that leave nothing."""

    beside: int
    charges: int
    requests: int


class Growth(NamedTuple):
    """By how many bytes more is left over in the later half than in the earlier, which begins so many charges and requests before
    it, and how much that was at first."""

    bytes: int
    charges: int
    requests: int
    at_first: int

    def is_allowed(self):
        return self.bytes <= SLACK_BYTES + LOSS_BYTES * self.charges

    def least_loss(self):
        """What must show if it is lost with each charge, or with each request where there are no charges: though it fills
        first what was left over, as if all of that were free."""
        return (self.at_first + SLACK_BYTES) / (self.charges or self.requests) + (LOSS_BYTES if self.charges else 0)


def compared(looks):
    """The least that was left over in the later half, with the least of the earlier half.

    The allocator's own loss, and what comes and goes:

    >>> growing = [Look((9 << 20) + 3 * n * 50_000 + n % 7 * (8 << 20), n * 50_000, n * 5_000) for n in range(400)]
    >>> compared(growing).is_allowed()
    True
    >>> still = [Look((60 << 20) + n % 7 * (8 << 20), 20_000_000, n * 5_000) for n in range(400)]
    >>> compared(still).is_allowed()
    True

    Sixteen bytes that are lost with each charge, and eight of a request that fill at first what was free:

    >>> compared([look._replace(beside=look.beside + 16 * look.charges) for look in growing]).is_allowed()
    False
    >>> lost = [look._replace(beside=max(look.beside, (58 << 20) + 8 * look.requests)) for look in still]
    >>> compared(lost).is_allowed()
    False

    The slack of charges is none of the requests':

    >>> compared([look._replace(beside=look.beside + 3 * n * 50_000) for n, look in enumerate(still)]).is_allowed()
    False
    """
    half = len(looks) // 2
    before, after = (min(look.beside for look in looks) for looks in (looks[:half], looks[half:]))
    begun, later = looks[0], looks[half]
    return Growth(after - before, later.charges - begun.charges, later.requests - begun.requests, before)


class Kept(Client):
    """A client that is silent now and then."""

    used = 0

    def read(self, *asked):
        if time.monotonic() - self.used > SILENCE:
            self.connection.close()  # The next request opens it.
        answer = super().read(*asked)
        self.used = time.monotonic()
        return answer


class Load:
    """What is asked, by one client over a few connections, and how often."""

    def __init__(self, address, seed):
        self.address = address
        self.dice = random.Random(seed)
        self.client = Kept(address)
        self.lines = []
        self.rounds = itertools.count()
        self.counts = {"charges": 0, "repeats in batches": 0, "batches": 0, "requests that leave nothing": 0}
        self.counts |= {"connections": 0, "broken off": 0}
        self.bytes_a_charge = 0

    def look(self, pace, until, with_charges):
        """Looks at the memory every few rounds, until then or until no more charges may come."""
        looks = []
        while len(looks) < LEAST_LOOKS or time.monotonic() < until:
            for _ in range(LOOK):
                if with_charges and self.counts["charges"] + BATCH > MOST_CHARGES:
                    return looks
                self.round(with_charges)
                pace.keep()
            filled, resident = self.memory()
            looks.append(Look(resident - filled, self.counts["charges"], self.counts["requests that leave nothing"]))
            most = 1.1 * CHARGE_BYTES * self.counts["charges"] + 2 * SLACK_BYTES
            assert filled <= most, f"the tables take more than is said: {filled} bytes, {self.counts}"
            self.bytes_a_charge = filled / self.counts["charges"]
        return looks

    def round(self, with_charges):
        """A batch, every single request on every connection, one that is seldom made, and one that is broken off."""
        number, charges = next(self.rounds), self.counts["charges"]
        if with_charges:
            self.counts["charges"] += self.charge(charges)
        if number % REPEATS == REPEATS - 1:
            again = self.dice.randrange(charges // BATCH) * BATCH
            assert self.charge(again) == 0, "a repeat was charged again"
            self.counts["repeats in batches"] += BATCH
        for depth in DEPTHS[len(self.lines) :]:
            self.lines.append(Line(self.address, depth))
            self.ask(self.lines[-1])
        for line in self.lines:
            self.ask(line)
        line = Line(self.address, self.dice.choice(DEPTHS))
        self.ask(line)
        line.socket.close()
        expected, method, path, body, kind = SELDOM[number % len(SELDOM)]
        status, reply = self.client.read(method, path, body, {"content-type": kind} if body else {})
        assert status == expected, f"{method} {path}: {status} {reply[:200]}"
        break_off(self.address, number)
        self.counts["requests that leave nothing"] += 1
        self.counts["connections"] += 1
        self.counts["broken off"] += 1

    def charge(self, first):
        """One batch of charges, round about all users; how many of them are new."""
        charges = (
            f'{{"type":"charge","user_id":{n % USERS + 1},"amount":1,"idempotency_key":"{key(n)}"}}'
            for n in range(first, first + BATCH)
        )
        body = f'{{"operations":[{",".join(charges)}]}}'
        status, reply = self.client.read("POST", "/batch", body, {"content-type": JSON})
        found = re.search(rb'"completed":(\d+),"pending":0,"duplicates":(\d+),"rejected":0}$', reply)
        assert status == 200 and found and int(found[1]) + int(found[2]) == BATCH, f"{status} {reply[:200]} … {reply[-200:]}"
        self.counts["batches"] += 1
        return int(found[1])

    def ask(self, line):
        nonce = self.counts["requests that leave nothing"]
        self.counts["requests that leave nothing"] += line.ask(singles(self.dice.randrange(self.counts["charges"]), nonce))

    def memory(self):
        """What of the tables is filled, and what the process holds, in bytes."""
        figure = self.figures()
        filled = figure("ledger_memory_bytes") - figure("ledger_memory_unfilled_bytes")
        return int(filled), int(figure("ledger_memory_resident_bytes"))

    def figures(self):
        text = self.client.text("/metrics")
        self.counts["requests that leave nothing"] += 1

        def figure(name):
            return sum(float(found) for found in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))

        return figure

    def check_counts(self):
        """The server has counted as many, but for those that were broken off and the one that asks."""
        sure = self.counts["batches"] + self.counts["requests that leave nothing"]
        told = self.figures()("ledger_http_requests_total")
        assert sure <= told <= sure + self.counts["broken off"] + 1, f"the server counts {told} requests: {self.counts}"


def key(n):
    """The key of a charge that was made."""
    return f"soak-{n:019}"


def singles(n, nonce):
    """Requests about the nth charge and whom it was for, none of which leaves anything; of each the status it must have."""
    user, old, new = n % USERS + 1, key(n), f"in-vain-{nonce}"
    too_much, largest = 10**12, 2**53 - 1
    repeat = {"user_id": user, "amount": 1, "idempotency_key": old}
    transfer = {"from_user_id": user, "to_user_id": USERS + 1 + n % 7}
    return [
        (409, post("/charge", repeat)),
        (422, post("/charge", repeat | {"amount": 2})),
        (422, post("/charge", repeat | {"amount": largest, "idempotency_key": new})),
        (422, post("/withdraw", repeat | {"amount": too_much, "idempotency_key": new})),
        (422, post("/transfer", transfer | {"amount": too_much, "idempotency_key": new})),
        (400, post("/charge", repeat | {"amount": 0})),
        (400, wire("POST", "/charge", '{"user_id":', JSON)),
        (415, wire("POST", "/charge", "user_id=1", "application/x-www-form-urlencoded")),
        (405, wire("DELETE", "/charge")),
        (404, wire("GET", f"/in/vain/{nonce}")),
        (404, wire("GET", f"/transactions/{n + 10**9}")),
        (404, wire("GET", f"/withdrawals/{n + 1}")),
        (404, post(f"/withdrawals/{n + 1}/cancel", {"idempotency_key": new})),
        (400, wire("GET", f"/balance?user_id={user}&at=never")),
        (200, wire("GET", f"/balance?user_id={user}")),
        (200, wire("GET", f"/balance?user_id={user}&at=2100-01-01T00:00:00Z")),
        (200, wire("GET", f"/transactions/{n + 1}")),
        (200, wire("GET", f"/transactions?user_id={user}&limit=10")),
        (200, wire("GET", f"/transactions?user_id={user}&limit=100&type=charge&page=2")),
        (200, wire("GET", "/withdrawals?limit=10")),
        (200, wire("GET", "/head")),
        (200, wire("GET", "/health")),
        (200, wire("GET", "/audit")),
    ]


def post(path, body):
    return wire("POST", path, json.dumps(body), JSON)


def wire(method, path, body=None, kind=None):
    """A request as it is sent."""
    told = f"content-type: {kind}\r\ncontent-length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\n{told}\r\n{body or ''}".encode()


# What takes longer or answers much: one of them each round. Two more batches: one that is refused as a whole, one in lines.
REPEAT = f'{{"type":"charge","user_id":1,"amount":1,"idempotency_key":"{key(0)}"}}'
REFUSED = '{"type":"withdraw","user_id":1,"amount":1000000000000,"idempotency_key":"in-vain"}'
UNTOUCHED = REPEAT.replace(key(0), "in-vain-too")
SELDOM = [
    (200, "GET", "/audit?deep=true", None, None),
    (200, "GET", "/metrics", None, None),
    (200, "GET", "/openapi.json", None, None),
    (200, "GET", "/docs", None, None),
    (422, "POST", "/batch", f'{{"atomic":true,"operations":[{UNTOUCHED},{REFUSED}]}}', JSON),
    (200, "POST", "/batch", f"{REPEAT}\n{REFUSED}\n" * 20, "application/x-ndjson"),
    (
        200,
        "POST",
        "/reconciliations?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z",
        "bank_reference,amount,currency,status\nnobody-1,1,USD,settled\n",
        "text/csv",
    ),
]


class Line:
    """One connection, on which so many requests are under way at once. Only a used one may be silent for long."""

    def __init__(self, address, depth):
        self.address = address
        self.socket = connected(address)
        self.depth = depth
        self.used = time.monotonic()

    def ask(self, requests):
        """Sends them and reads their answers; how many they were."""
        for first in range(0, len(requests), self.depth):
            together = requests[first : first + self.depth]
            if time.monotonic() - self.used > SILENCE:
                self.socket.close()
                self.socket = connected(self.address)
            try:
                self.socket.sendall(b"".join(request for _, request in together))
                self.read(together)
                self.used = time.monotonic()
            except OSError as fault:
                raise Gone(str(fault)) from fault
        return len(requests)

    def read(self, requests):
        incoming, at = b"", 0
        for expected, request in requests:
            while (end := incoming.find(b"\r\n\r\n", at)) < 0 or len(incoming) < (over := body_end(incoming, at, end)):
                part = self.socket.recv(1 << 18)
                if not part:
                    raise Gone("a connection was closed")
                incoming += part
            answer = incoming[at:over]
            assert answer.startswith(b"HTTP/1.1 %d " % expected), f"{request}: not {expected}, {answer[:600]}"
            at = over
        assert at == len(incoming), f"an answer too many: {incoming[at:]}"


def body_end(incoming, begin, head_end):
    """Where the answer ends whose head is there."""
    length = re.compile(rb"\ncontent-length: (\d+)\r").search(incoming, begin, head_end + 2)
    return head_end + 4 + int(length[1])


def connected(address):
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def break_off(address, turn):
    """Connects and goes, at one of the moments at which a client may: before it said anything, within a head, within a body, or
    before it has read a long answer."""
    head, body = post("/charge", {"user_id": 1, "amount": 1, "idempotency_key": "broken-off"}).split(b"\r\n\r\n")
    said = [b"", head, head + b"\r\n\r\n" + body[:-1], wire("GET", "/openapi.json")]
    with connected(address) as it:
        it.sendall(said[turn % len(said)])
        if turn % len(said) == len(said) - 1:
            it.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Pace:
    """Keeps two processes, the server and this one, at a share of one core."""

    def __init__(self, pid, share):
        self.pid = pid
        self.share = share
        self.begun = time.monotonic() - self.used() / share if share else 0

    def used(self):
        """Seconds of a processor that they took."""
        with open(f"/proc/{self.pid}/stat") as text:
            fields = text.read().rpartition(")")[2].split()
        return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def keep(self):
        """Sleeps off what was taken, a second at most: a long checkpoint of the server must not silence its connections. What was
        not taken when it could have been is not made up for."""
        if self.share:
            due, now = self.begun + self.used() / self.share, time.monotonic()
            self.begun += max(0, now - 1 - due)
            time.sleep(min(max(0, due - now), 1))
