"""A full file system of 64 MiB under a running server."""

import os
import subprocess
import time

from book import Book, judge, verify
from server import Client, Server

OPTIONS = ("--segment-size", "4MiB")


class Disk:
    """A tmpfs with a data directory on it, and a file that takes the rest of the room."""

    def __init__(self, world):
        self.mount = world.directory()
        self.data = os.path.join(self.mount, "data")
        self.ballast = os.path.join(self.mount, "ballast")

    def __enter__(self):
        os.makedirs(self.mount)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", self.mount], check=True)
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.mount], check=True)

    def leave(self, mebibytes):
        """Takes all the room but so much."""
        free = os.statvfs(self.mount)
        blocks = free.f_bavail - (mebibytes << 20) // free.f_frsize
        with open(self.ballast, "ab") as file:
            file.write(b"\1" * (blocks * free.f_frsize))

    def fill(self):
        """Takes all of it, to the last byte."""
        with open(self.ballast, "ab", buffering=0) as file:
            try:
                while file.write(b"\1" * 4096):
                    pass
            except OSError:
                pass

    def give_back(self, mebibytes):
        os.truncate(self.ballast, max(0, os.path.getsize(self.ballast) - (mebibytes << 20)))


def full(world):
    """507 before anything is applied, reads go on, writes resume when there is room; and nothing is lost at the end."""
    book = Book(world.seed)
    counts = {"runs": 0, "refused": 0}
    with Disk(world) as disk:
        with Server(world.program, disk.data, *OPTIONS) as server:
            client = Client(server.address)
            disk.leave(mebibytes=8)
            for _ in range(2):
                until(book, client, 507)
                counts["refused"] += 1
                check_reads(book, client)
                disk.give_back(mebibytes=9)
                time.sleep(1.5)  # The ledger leaves a full disk alone for a second.
                until(book, client, 200)
                counts["runs"] += 1
            disk.fill()
            until(book, client, 507)
            server.kill()
        verify(world.program, disk.data, book)
        disk.give_back(mebibytes=64)
        world.attempt("a disk that was full", lambda: judge(world.program, disk.data, book, *OPTIONS))
    return counts | {"acknowledged": len(book.acknowledged)}


def check_reads(book, client):
    """A balance, and a repeat of what was acknowledged, which writes nothing."""
    path, body, transaction = next(iter(book.acknowledged.values()))
    status, balance = client.get(f"/balance?user_id={body['user_id']}")
    assert status == 200 and balance["total"] > 0, f"reads on a full disk: {status} {balance}"
    status, reply = client.post(path, body)
    assert status == 409 and reply["transaction"]["id"] == transaction, f"a repeat on a full disk: {status} {reply}"


def until(book, client, status):
    """Sends charges, with as much metadata as there may be, until one is answered so."""
    for _ in range(200_000):
        path, body = book.command()
        if path == "/charge" and book.send(client, path, body | {"metadata": {"note": "x" * 900}}) == status:
            return
    raise AssertionError(f"no charge was answered {status}")
