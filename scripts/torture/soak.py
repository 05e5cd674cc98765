"""Memory over a run: the tables take what a charge is said to take, and beside the tables nothing grows.

What is resident says little by itself: the allocator asks for huge pages, so memory comes 2 MiB at a time, used or not, and
what was freed goes back a while later. Here it is told to do neither, and the server says how much of its tables is filled.
What then is left over is the allocator's own. It rises when tables are cut in two, and falls again; what leaks never falls.
So the least that was left over is compared, of the second half of the run with that of the first: an allocation that is lost
with each charge is 16 bytes, and shows.
"""

import re
import time

from book import Book, verify
from server import Client, Server

EXACT = {"RUST_LOG": "error", "MIMALLOC_ALLOW_THP": "0", "MIMALLOC_PURGE_DELAY": "0"}
OPTIONS = ("--segment-size", "64MiB", "--checkpoint-size", "64MiB")
USERS = 10_000
BATCH, LOOK = 1_000, 50_000
# Charges stay in memory for ever, so there is an end to them; after it come only requests that leave nothing.
MOST_CHARGES = 20_000_000
# What a charge takes; the tables of keys double at about the same time, which is a tenth more or less.
CHARGE_BYTES = 86
# What may come beside the tables between the two: the allocator's loss for each charge, and some buffers.
LOSS_BYTES, SLACK_BYTES = 8, 4 << 20


def soak(world):
    """Looks at the memory after every 50,000 operations, for as long as asked."""
    directory = world.directory()
    counts = {"runs": 1, "charges": 0, "in vain": 0}
    looks = []  # Bytes left over, and after how many charges.
    with Server(world.program, directory, *OPTIONS, environment=EXACT) as server:
        client, stop = Client(server.address), time.monotonic() + world.seconds
        while len(looks) < 4 or time.monotonic() < stop:
            for _ in range(LOOK // BATCH // 2):
                counts["charges"] += charge(client, min(counts["charges"], MOST_CHARGES - BATCH))
                counts["in vain"] += ask_in_vain(client, counts["charges"])
            filled, resident = memory(client)
            looks.append((resident - filled, counts["charges"]))
            most = 1.1 * CHARGE_BYTES * counts["charges"] + 2 * SLACK_BYTES
            assert filled <= most, f"the tables take more than is said: {filled} bytes, {counts}"
        server.stop()
    verify(world.program, directory, Book(world.seed))
    half = len(looks) // 2
    (before, first), (after, last) = min(looks[:half]), min(looks[half:])
    counts |= {"looks": len(looks), "bytes a charge": round(filled / counts["charges"], 1)}
    counts |= {"KiB more beside": round((after - before) / 1024), "within": last - first}
    assert after - before <= SLACK_BYTES + LOSS_BYTES * (last - first), f"something grows beside the tables: {counts}"
    return counts


def charge(client, number):
    """One batch of charges, round about all users; how many of them are new."""
    charges = [
        {"type": "charge", "user_id": n % USERS + 1, "amount": 1, "idempotency_key": f"soak-{n:019}"}
        for n in range(number, number + BATCH)
    ]
    status, reply = client.post("/batch", {"operations": charges})
    assert status == 200, f"{status} {reply}"
    return reply["completed"]


def ask_in_vain(client, charges):
    """Repeats of what was charged, payouts of what nobody has, balances and pages; how many they were."""
    first = charges // 2 // BATCH * BATCH
    assert charge(client, first) == 0, "a repeat was charged again"
    for n in range(5):
        user = (charges // BATCH + n * 2_003) % USERS + 1
        request = {"user_id": user, "amount": 10**12, "idempotency_key": f"in-vain-{charges}-{n}"}
        status, reply = client.post("/withdraw", request)
        assert status == 422, f"{status} {reply}"
        for path in (f"/balance?user_id={user}", f"/transactions?user_id={user}&limit=100"):
            status, reply = client.get(path)
            assert status == 200, f"{path}: {status} {reply}"
    return BATCH + 15


def memory(client):
    """What of the tables is filled, and what the process holds, in bytes."""
    text = client.text("/metrics")

    def figure(name):
        return sum(float(found) for found in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))

    return figure("ledger_memory_bytes") - figure("ledger_memory_unfilled_bytes"), figure("ledger_memory_resident_bytes")
