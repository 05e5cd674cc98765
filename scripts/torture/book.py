"""What was asked and acknowledged, and the judgement: whatever was acknowledged is there, once, and the books balance."""

import json
import os
import random
import subprocess

from server import Client, Gone, Server

USERS = 20
FAR_FUTURE = "2100-01-01T00:00:00Z"
# A business "no", a full disk, a full queue, a halted ledger: none of these acknowledges anything.
REFUSALS = {422, 500, 503, 507}
# After these nothing is acknowledged any more.
HALTED = {"outcome_unknown", "halted"}
# So many acknowledged keys are asked for one by one, and the rest in batches.
SINGLES, BATCH = 300, 500


class Book:
    """Acknowledged keys with their requests and transactions, those that were refused, those of unknown fate, and the heads that
    were served."""

    def __init__(self, seed, checkpoint_every=None):
        self.dice = random.Random(seed)
        self.prefix = f"s{seed}"
        self.checkpoint_every = checkpoint_every
        self.number = 0
        self.acknowledged = {}
        self.refused = {}
        self.unknown = {}
        self.heads = {}
        self.checkpoints = 0
        self.troubles = 0
        self.halted = False
        self.gone = False
        self.fault = None

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
        self.unknown[body["idempotency_key"]] = (path, body)
        status, reply = client.post(path, body)
        self.note(path, body, status, reply)
        return status

    def note(self, path, body, status, reply):
        """Takes down the answer to a command that was sent."""
        key = body["idempotency_key"]
        if status in (200, 202):
            assert not self.halted, f"{path} {body}: acknowledged after the ledger had halted"
            self.acknowledged[key] = (path, body, reply["transaction"]["id"])
        elif status not in REFUSALS:
            raise AssertionError(f"{path} {body}: {status} {reply}")
        elif status != 422:
            self.troubles += 1
            self.halted |= reply["code"] in HALTED
        # A 500 is the one refusal that leaves it open.
        if status != 500:
            del self.unknown[key]
        if status in (503, 507):
            self.refused[key] = (path, body)

    def work(self, address, commands):
        """Sends commands one after the other until the server is gone; whether it was there to the end."""
        try:
            client = Client(address)
            for number in range(1, commands + 1):
                self.send(client, *self.command())
                if number % 25 == 1:
                    self.keep_head(client)
                if self.checkpoint_every and number % self.checkpoint_every == 0:
                    self.checkpoint(client)
        except Gone:
            return False
        return True

    def checkpoint(self, client):
        status, reply = client.post("/checkpoints")
        assert status == 200 or status in REFUSALS, f"a checkpoint: {status} {reply}"
        self.checkpoints += status == 200
        self.troubles += status != 200

    def keep_head(self, client):
        status, head = client.get("/head")
        if status == 200:
            self.heads[head["seq"]] = head["head"]

    def take(self, other):
        """What is in another one as well."""
        self.acknowledged |= other.acknowledged
        self.refused |= other.refused
        self.unknown |= other.unknown
        self.heads |= other.heads
        self.checkpoints += other.checkpoints


def judge(program, directory, book, *options):
    """Opens the directory with no fault in the way and compares it with the book. Raises AssertionError."""
    with Server(program, directory, *options) as server:
        client = Client(server.address)
        acknowledged = list(book.acknowledged.items())
        for key, (path, body, transaction) in acknowledged[:SINGLES]:
            status, reply = client.post(path, body)
            assert status == 409 and reply["code"] == "duplicate_request", f"acknowledged {key}: {status} {reply}"
            assert reply["transaction"]["id"] == transaction, f"{key} was {transaction}, is {reply}"
        for first in range(SINGLES, len(acknowledged), BATCH):
            check_batch(client, acknowledged[first : first + BATCH])
        for key, (path, body) in book.refused.items():
            status, reply = client.post(path, body)
            assert status != 409, f"refused {key}, and it happened: {reply}"
            if status in (200, 202):
                book.acknowledged[key] = (path, body, reply["transaction"]["id"])
        for key, (path, body) in book.unknown.items():
            status, reply = client.post(path, body)
            assert status in (200, 202, 409, 422), f"unknown {key}: {status} {reply}"
            if status != 422:
                book.acknowledged[key] = (path, body, reply["transaction"]["id"])
        book.refused.clear()
        book.unknown.clear()
        status, audit = client.get("/audit?deep=true")
        assert status == 200 and audit["balanced"] is True, f"{status} {audit}"
        book.keep_head(client)
        server.end()
    verify(program, directory, book)


def check_batch(client, acknowledged):
    """Asks for all of them at once."""
    operations = [{"type": path.removeprefix("/")} | body for _, (path, body, _) in acknowledged]
    status, reply = client.post("/batch", {"operations": operations})
    assert status == 200, f"{status} {reply}"
    for (key, (_, _, transaction)), result in zip(acknowledged, reply["results"], strict=True):
        found = result.get("transaction", {}).get("id")
        assert result["status"] == "duplicate" and found == transaction, f"acknowledged {key}: was {transaction}, is {result}"


def verify(program, directory, book):
    """Reads the directory without opening it; history leads from the first, the middle and the last head that was served and that
    the log still reaches back to."""
    begins = first_seq(directory)
    heads = sorted((seq, head) for seq, head in book.heads.items() if seq >= begins)
    chosen = {heads[0], heads[len(heads) // 2], heads[-1]} if heads else set()
    for expected in [[]] + [["--expect-head", f"{head}@{seq}"] for seq, head in sorted(chosen)]:
        checked = subprocess.run([program, "verify", *expected, directory], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, f"verify {expected}: {checked.stdout} {checked.stderr}"
        assert json.loads(checked.stdout)["ok"] is True, checked.stdout


def first_seq(directory):
    """Two snapshots are kept, with the log since the older one."""
    snapshots = sorted(int(name.removesuffix(".snapshot"), 16) for name in os.listdir(directory) if name.endswith(".snapshot"))
    return snapshots[-2] if len(snapshots) > 1 else 0
