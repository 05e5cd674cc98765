"""Requests made up from the server's own OpenAPI document, right ones and wrong ones: no 5xx, and no answer that the document
does not have. (That a request which fits the document is accepted is not asked for: it cannot say that a key was used before.)"""

import os
import re
import shutil
import subprocess

from book import Book, judge
from server import Client, Server

UNASKED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "unasked.py")
# Only what a schema decides; and nothing is kept between runs.
OPTIONS = ("--exclude-checks", "positive_data_acceptance", "--phases", "examples,coverage,fuzzing", "--continue-on-failure")
OPTIONS += ("--generation-database", "none", "--no-color")


def contract(world):
    """For as long as asked; then everything acknowledged before is still there."""
    directory, book = world.directory(), Book(world.seed)
    secret = os.path.join(world.scratch, "secret")
    with open(secret, "w") as file:
        file.write("both sides know this one\n")
    with Server(world.program, directory, "--segment-size", "1MiB", "--bank-webhook-secret-file", secret) as server:
        client = Client(server.address)
        for _ in range(50):
            book.send(client, *book.command())
        asked = [shutil.which("schemathesis"), "run", f"http://{server.address}/openapi.json", *OPTIONS]
        asked += ["--seed", str(world.seed), "--max-time", str(int(world.seconds)), "--max-examples", str(world.examples)]
        environment = os.environ | {"SCHEMATHESIS_HOOKS": UNASKED}
        ended = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=world.scratch, env=environment)
        generated = re.search(r"(\d+) generated", ended.stdout)
        assert ended.returncode == 0 and generated, f"{ended.returncode}: {ended.stdout[-4000:]} {ended.stderr[-1000:]}"
        server.end()
    world.attempt("contract", lambda: judge(world.program, directory, book))
    return {"runs": 1, "requests": int(generated[1])}
