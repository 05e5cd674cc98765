"""Memory over a run."""

import time

from book import Book, verify
from server import Client, Server


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
