"""A server at its memory limit: new commands are refused before anything is applied, reads and repeats go on, the process stays within
the limit but for what comes between two looks, and a server with a higher limit has everything that was acknowledged."""

from book import Book, verify
from server import Client, Server

LIMIT_MIB, SHORT_MIB = 96, 64
# The limit is looked at ten times a second, and what holds a batch, its answers and a checkpoint comes and goes: what may be taken on top.
SLACK_MIB = 48
BATCH = 1_000
USERS = 10_000
# Batches that are sent to a server that is full.
PRESSED, SHORTLY_PRESSED = 200, 20
OPTIONS = ("--segment-size", "4MiB", "--checkpoint-size", "16MiB")


def limit(world):
    """Fills a server up to its limit, presses on, and opens the directory with more."""
    directory = world.directory()
    limit_mib, presses = (SHORT_MIB, SHORTLY_PRESSED) if world.short else (LIMIT_MIB, PRESSED)
    acknowledged, refused = [], []
    with Server(world.program, directory, *OPTIONS, "--memory-max", f"{limit_mib}MiB") as server:
        client, number, pressed = Client(server.address), 0, 0
        while pressed < presses:
            results = charge(client, range(number, number + BATCH))
            for n, result in zip(range(number, number + BATCH), results, strict=True):
                if result["status"] == "completed":
                    acknowledged.append((n, result["transaction_id"]))
                else:
                    assert result["error"]["code"] == "overloaded", f"{n}: {result}"
                    refused.append(n)
            pressed += bool(refused)
            number += BATCH
            assert number < 20_000_000, f"{number} charges did not reach the limit"
        total = audit(client)
        assert total == len(acknowledged), f"{len(acknowledged)} charges of 1 are acknowledged, and the accounts have {total}"
        check_repeats(client, acknowledged[:: max(1, len(acknowledged) // BATCH)][:BATCH])
        peak = peak_mib(server.pid())
        assert peak <= limit_mib + SLACK_MIB, f"the process held {peak} MiB, the limit is {limit_mib}"
        server.end()
    with Server(world.program, directory, *OPTIONS) as server:
        client = Client(server.address)
        for first in range(0, len(acknowledged), BATCH):
            check_repeats(client, acknowledged[first : first + BATCH])
        total = audit(client)
        assert total == len(acknowledged), f"after it {total} of {len(acknowledged)} are there"
        again = charge(client, refused[:BATCH])
        assert all(result["status"] == "completed" for result in again), "what was refused had happened"
        server.end()
    verify(world.program, directory, Book(world.seed))
    return {"runs": 1, "acknowledged": len(acknowledged), "refused": len(refused), "peak MiB": peak}


def charge(client, numbers):
    """One batch of charges of 1; its results."""
    charges = [
        {"type": "charge", "user_id": n % USERS + 1, "amount": 1, "idempotency_key": f"memory-{n:010}"} for n in numbers
    ]
    status, reply = client.post("/batch", {"operations": charges})
    assert status == 200, f"{status} {reply}"
    return reply["results"]


def check_repeats(client, acknowledged):
    """Each of them is there, under its own id."""
    results = charge(client, [n for n, _ in acknowledged])
    for (n, transaction), result in zip(acknowledged, results, strict=True):
        found = result.get("transaction", {}).get("id")
        assert result["status"] == "duplicate" and found == transaction, f"acknowledged {n} as {transaction}: {result}"


def audit(client):
    """The sum of all accounts."""
    status, reply = client.get("/audit?deep=true")
    assert status == 200 and reply["balanced"] is True, f"{status} {reply}"
    return sum(currency["total"] for currency in reply["currencies"])


def peak_mib(pid):
    """The most that a process has held."""
    with open(f"/proc/{pid}/status") as text:
        (line,) = [line for line in text if line.startswith("VmHWM:")]
    return int(line.split()[1]) >> 10
