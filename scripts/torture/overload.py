"""More than the server can bear, on a slow disk: charges come in an open loop at five times the rate at which they were answered
when each client waited for its answers. What is admitted is durable, what is refused never happened, and the memory grows by what
the charges take and by nothing else.

A server that does not read has its clients' requests waiting in the operating system; those that found no room on their
connection are counted as *not taken*.
"""

import collections
import json
import re
import selectors
import socket
import time

from book import Book, judge
from calls import strace
from server import Gone, Server
from soak import CHARGE_BYTES, EXACT, SLACK_BYTES

CONNECTIONS = 8
# More than the server begins on a connection before it has answered.
DEPTH = 300
TIMES = 5
SYNC = "inject=fdatasync:delay_enter=100000:when=1+"
# Of what is resident, besides what the charges take.
GROWTH = 0.05
ANSWER = re.compile(rb"HTTP/1\.1 (\d+) .*?content-length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL | re.IGNORECASE)


class Line:
    """One connection: what could not be sent yet, and the requests whose answers are still to come."""

    def __init__(self, address):
        host, port = address.split(":")
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
        self.socket.connect((host, int(port)))
        self.socket.setblocking(False)
        self.outgoing = b""
        self.incoming = b""
        self.waiting = collections.deque()

    def send(self, bytes_=b""):
        self.outgoing += bytes_
        try:
            while self.outgoing:
                self.outgoing = self.outgoing[self.socket.send(self.outgoing) :]
        except BlockingIOError:
            pass
        except OSError as fault:
            raise Gone(str(fault)) from fault

    def answers(self):
        """Those that are there: of each the request, the status and the body."""
        try:
            while part := self.socket.recv(1 << 16):
                self.incoming += part
            raise Gone("a connection was closed")
        except BlockingIOError:
            pass
        except OSError as fault:
            raise Gone(str(fault)) from fault
        at = 0
        while (head := ANSWER.match(self.incoming, at)) and head.end() + int(head[2]) <= len(self.incoming):
            at = head.end() + int(head[2])
            yield self.waiting.popleft(), int(head[1]), json.loads(self.incoming[head.end() : at])
        self.incoming = self.incoming[at:]


class Flood:
    """All connections, and the book of what was sent over them."""

    def __init__(self, address, seed):
        self.book = Book(seed)
        self.lines = [Line(address) for _ in range(CONNECTIONS)]
        self.selector = selectors.DefaultSelector()
        for line in self.lines:
            self.selector.register(line.socket, selectors.EVENT_READ, line)
        self.sent = self.not_taken = self.answered = 0

    def charge(self, line):
        self.book.number += 1
        number = self.book.number
        body = {"user_id": number % 5_000 + 1, "amount": 1, "idempotency_key": f"{self.book.prefix}-{number:08}"}
        self.book.unknown[body["idempotency_key"]] = ("/charge", body)
        text = json.dumps(body).encode()
        head = f"POST /charge HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
        line.waiting.append(body)
        line.send(head.encode() + text)
        self.sent += 1

    def look(self, seconds):
        """Takes down what was answered; the connections that it came on."""
        answered = []
        for key, _ in self.selector.select(seconds):
            for body, status, reply in key.data.answers():
                self.book.note("/charge", body, status, reply)
                self.answered += 1
                answered.append(key.data)
        return answered

    def closed_loop(self, seconds):
        """Each connection sends another as one is answered; how many came a second."""
        for line in self.lines * DEPTH:
            self.charge(line)
        stop, before = time.monotonic() + seconds, self.answered
        while time.monotonic() < stop:
            for line in self.look(0.05):
                self.charge(line)
            for line in self.lines:
                line.send()
        rate = (self.answered - before) / seconds
        self.drain()
        return rate

    def open_loop(self, rate, seconds, watch):
        """So many a second, whatever is answered. `watch` is called now and then."""
        begun = looked = time.monotonic()
        due = turn = 0
        while (now := time.monotonic()) < begun + seconds:
            while due < rate * (now - begun) and time.monotonic() < now + 0.05:
                line = self.lines[turn % CONNECTIONS]
                due, turn = due + 1, turn + 1
                if line.outgoing:
                    line.send()
                if line.outgoing:
                    self.not_taken += 1
                else:
                    self.charge(line)
            self.look(0.002)
            if now - looked > 0.25:
                looked = now
                watch()
        return due / (time.monotonic() - begun)

    def drain(self):
        """Until all is answered."""
        while any(line.waiting for line in self.lines):
            for line in self.lines:
                line.send()
            assert self.selector.select(60), "what was sent is not answered"
            self.look(0)


def resident(pid):
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS:"))


def overload(world):
    directory, looks = world.directory(), []
    wrapper = strace("/dev/null", "fdatasync", "-e", SYNC)
    with Server(world.program, directory, wrapper=wrapper, environment=EXACT) as server:
        flood, pid = Flood(server.address, world.seed), server.pid()
        book = flood.book

        def watch():
            looks.append((resident(pid), len(book.acknowledged)))

        bears = flood.closed_loop(max(2, world.seconds / 10))
        sent = flood.sent
        offered = flood.open_loop(TIMES * bears, 4 if world.short else world.seconds, watch)
        flood.drain()
        server.end()
        assert not book.halted, "it halted"
    counts = {"runs": 1, "a second borne": round(bears), "offered": round(offered), "sent": flood.sent - sent}
    counts |= {"not taken": flood.not_taken, "refused": len(book.refused), "acknowledged": len(book.acknowledged)}
    # What came first fills buffers and the allocator's pages: the second half is compared with the end of the first.
    half = len(looks) // 2
    base, first = looks[half]
    beside = [now - CHARGE_BYTES * (charges - first) - base for now, charges in looks[half:]]
    counts |= {"looks": len(looks), "MiB resident": base >> 20, "KiB more beside": max(beside) >> 10}
    assert offered >= 2 * bears and flood.not_taken + len(book.refused), f"too little was offered: {counts}"
    assert max(beside) <= GROWTH * base + SLACK_BYTES, f"the memory grows: {counts}"
    world.attempt("overload", lambda: judge(world.program, directory, book))
    return counts
