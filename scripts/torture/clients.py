"""Slow clients: half a head, a body that comes a byte a second, answers that nobody reads. Others are served meanwhile, the
memory stays within what so many connections may hold, and each of them is closed in the end."""

import select
import socket
import time

from book import Book, judge
from overload import resident
from server import Client, Server
from soak import EXACT

EACH = 60
# What a connection may hold at most: what is kept for a client that does not read, a command's body, and buffers.
CONNECTION_BYTES = 128 << 10
SLACK_BYTES = 8 << 20
# Heads have 5 s, bodies 30 s, answers 30 s; a machine under load may be a good deal later.
PATIENCE = 180

HEAD = b"POST /charge HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 60000\r\n\r\n"
LONG = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"


def connected(address, small=False):
    host, port = address.split(":")
    it = socket.socket()
    if small:
        it.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    it.connect((host, int(port)))
    it.setblocking(False)
    return it


def push(it, bytes_):
    """Sends what goes, if anything does; whether the other side still takes it."""
    try:
        it.send(bytes_)
    except BlockingIOError:
        pass
    except OSError:
        return False
    return True


def is_closed(it):
    """Whether the server closed it: what it says before is read over."""
    try:
        while select.select([it], [], [], 0)[0]:
            if not it.recv(1 << 16):
                return True
    except BlockingIOError:
        pass
    except OSError:
        return True
    return False


class Slow:
    """One kind of slow client: what it sends at once, what it sends each second, and whether it reads."""

    def __init__(self, address, first, then, reads=True):
        self.then = then
        self.reads = reads
        self.open = [connected(address, small=not reads) for _ in range(EACH)]
        for it in self.open:
            push(it, first)

    def tick(self):
        """A second is over: sends its byte, and forgets who was closed."""
        alive = []
        for it in self.open:
            if push(it, self.then) and not (self.reads and is_closed(it)):
                alive.append(it)
            else:
                it.close()
        self.open = alive


def slow(world):
    directory, book = world.directory(), Book(world.seed)
    with Server(world.program, directory, environment=EXACT) as server:
        pid, client = server.pid(), Client(server.address)
        for _ in range(200):
            book.send(client, *book.command())
        before = most = resident(pid)
        kinds = {
            "silent heads": Slow(server.address, HEAD[:30], b""),
            "slow heads": Slow(server.address, HEAD[:30], b"x"),
            "slow bodies": Slow(server.address, HEAD + b'{"user_id":', b" "),
            "unread answers": Slow(server.address, LONG * 50, LONG, reads=False),
        }
        begun, served, closed = time.monotonic(), 0, {}
        # In the short form only those are waited for that have the least time.
        awaited = ["silent heads", "slow heads"] if world.short else list(kinds)
        while any(kinds[name].open for name in awaited) or time.monotonic() < begun + min(world.seconds, 60):
            second = time.monotonic() + 1
            while time.monotonic() < second:
                book.send(client, *book.command())
                served += 1
            for name, kind in kinds.items():
                kind.tick()
                if not kind.open:
                    closed.setdefault(name, round(time.monotonic() - begun))
            most = max(most, resident(pid))
            assert time.monotonic() < begun + PATIENCE, f"slow clients are not closed: {closed} of {awaited}"
        counts = {"runs": 1, "slow clients": EACH * len(kinds), "served meanwhile": served}
        counts |= {f"{name} closed by": f"{seconds} s" for name, seconds in closed.items()}
        counts |= {"MiB before": before >> 20, "at most": most >> 20}
        assert book.troubles == 0, f"others were refused: {counts}"
        for kind in kinds.values():
            for it in kind.open:
                it.close()
        most_allowed = before + EACH * len(kinds) * CONNECTION_BYTES + SLACK_BYTES
        assert most <= most_allowed, f"the memory grows with slow clients: {counts}"
        server.end()
    world.attempt("slow clients", lambda: judge(world.program, directory, book))
    return counts
