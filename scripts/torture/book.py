"""What was asked and acknowledged, and the judgement: whatever was acknowledged is there, once, and the books balance."""

import json
import random
import subprocess

from server import Client, Gone, Server

USERS = 20
FAR_FUTURE = "2100-01-01T00:00:00Z"
# A business "no", a full disk, a full queue, a halted ledger: none of these acknowledges anything.
REFUSALS = {422, 500, 503, 507}


class Book:
    """Acknowledged keys with their requests and transactions, keys of unknown fate, and the heads that were served."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.prefix = f"s{seed}"
        self.number = 0
        self.acknowledged = {}
        self.unknown = {}
        self.heads = {}
        self.troubles = 0

    def command(self):
        """The next command: its path and body."""
        self.number += 1
        key = f"{self.prefix}-{self.number}"
        user, amount = self.dice.randint(1, USERS), self.dice.randint(1, 500)
        kind = self.dice.random()
        if kind < 0.15:
            other = user % USERS + 1
            return "/transfer", {"from_user_id": user, "to_user_id": other, "amount": amount, "idempotency_key": key}
        if kind < 0.25:
            return "/withdraw", {"user_id": user, "amount": amount, "idempotency_key": key}
        charge = {"user_id": user, "amount": amount, "idempotency_key": key}
        return "/charge", charge | ({"release_at": FAR_FUTURE} if kind < 0.35 else {})

    def send(self, client, path, body):
        """Sends one command and notes what became of it; its status."""
        key = body["idempotency_key"]
        self.unknown[key] = (path, body)
        status, reply = client.post(path, body)
        if status in (200, 202):
            self.acknowledged[key] = (path, body, reply["transaction"]["id"])
        elif status not in REFUSALS:
            raise AssertionError(f"{path} {body}: {status} {reply}")
        elif status != 422:
            self.troubles += 1
        # A 500 is the one refusal that leaves it open.
        if status != 500:
            del self.unknown[key]
        return status

    def work(self, address, commands):
        """Sends commands one after the other until the server is gone; whether it was there to the end."""
        try:
            client = Client(address)
            for number in range(commands):
                self.send(client, *self.command())
                if number % 25 == 0:
                    self.keep_head(client)
        except Gone:
            return False
        return True

    def keep_head(self, client):
        status, head = client.get("/head")
        if status == 200:
            self.heads[head["seq"]] = head["head"]


def judge(program, directory, book, *options):
    """Opens the directory with no fault in the way and compares it with the book. Raises AssertionError."""
    with Server(program, directory, *options) as server:
        client = Client(server.address)
        for key, (path, body, transaction) in book.acknowledged.items():
            status, reply = client.post(path, body)
            assert status == 409 and reply["code"] == "duplicate_request", f"acknowledged {key}: {status} {reply}"
            assert reply["transaction"]["id"] == transaction, f"{key} was {transaction}, is {reply}"
        for key, (path, body) in book.unknown.items():
            status, reply = client.post(path, body)
            assert status in (200, 202, 409, 422), f"unknown {key}: {status} {reply}"
            if status != 422:
                book.acknowledged[key] = (path, body, reply["transaction"]["id"])
        book.unknown.clear()
        status, audit = client.get("/audit?deep=true")
        assert status == 200 and audit["balanced"] is True, f"{status} {audit}"
        book.keep_head(client)
        code = server.stop()
        assert code == 0, f"a clean stop exits with {code}"
    verify(program, directory, book)


def verify(program, directory, book):
    """Reads the directory without opening it; history leads from the first, the middle and the last head that was served."""
    heads = sorted(book.heads.items())
    chosen = {heads[0], heads[len(heads) // 2], heads[-1]} if heads else set()
    for expected in [[]] + [["--expect-head", f"{head}@{seq}"] for seq, head in sorted(chosen)]:
        checked = subprocess.run([program, "verify", *expected, directory], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, f"verify {expected}: {checked.stdout} {checked.stderr}"
        assert json.loads(checked.stdout)["ok"] is True, checked.stdout
