"""A real server process, wrapped in strace or faketime where a fault asks for it, and a client that keeps its connection."""

import http.client
import json
import os
import signal
import subprocess


class Gone(Exception):
    """The server is no longer there, or did not come up (and this is its exit code); whether the last request was recorded is
    unknown."""

    def __init__(self, why, code=None):
        super().__init__(why)
        self.code = code


class Server:
    """One life of the built program on one data directory."""

    def __init__(self, program, directory, *options, wrapper=(), environment=None):
        command = [*wrapper, program, "--listen", "127.0.0.1:0", "--data-dir", directory]
        command += ["--bank-latency", "1ms..20ms", *(options or ("--segment-size", "1MiB"))]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "RUST_LOG": "error", **(environment or {})},
            text=True,
            start_new_session=True,
        )
        self.address = None
        for line in self.process.stdout:
            if line.startswith("listening on http://"):
                self.address = line.strip().removeprefix("listening on http://")
                return
        # It ended before it served: what it said is why.
        self.process.wait()
        raise Gone(self.process.stderr.read().strip(), self.process.returncode)

    def pid(self):
        """The server's own process: under strace it is the child."""
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(f"/proc/{self.process.pid}/comm") as comm:
            if comm.read().strip() != "strace":
                return self.process.pid
        with open(children) as text:
            return int(text.read().split()[0])

    def signal(self, number):
        try:
            os.kill(self.pid(), number)
        except (ProcessLookupError, FileNotFoundError, IndexError):
            pass

    def stop(self):
        """Asks it to end; its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def end(self):
        """Asks it to end, which it must do in good order."""
        code = self.stop()
        assert code == 0, f"a clean stop exits with {code}"

    def kill(self):
        """Kills it, which must be what it dies of."""
        self.signal(signal.SIGKILL)
        code = self.wait()
        assert code == -signal.SIGKILL, f"it had ended by itself, with {code}, before it was killed"

    def wait(self):
        try:
            self.process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
            raise AssertionError("the server does not stop") from None
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()


class Client:
    """One connection. A failure of any kind means that the server is gone."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address, timeout=60)

    def post(self, path, body=None):
        """A JSON document, or nothing at all."""
        if body is None:
            return self.request("POST", path)
        return self.request("POST", path, json.dumps(body), {"content-type": "application/json"})

    def get(self, path):
        return self.request("GET", path)

    def text(self, path):
        """What does not come as JSON."""
        status, text = self.read("GET", path)
        assert status == 200, f"{path}: {status}"
        return text.decode()

    def request(self, method, path, body=None, headers=None):
        status, reply = self.read(method, path, body, headers)
        try:
            return status, json.loads(reply)
        except ValueError as fault:
            raise Gone(str(fault)) from fault

    def read(self, method, path, body=None, headers=None):
        try:
            self.connection.request(method, path, body, headers or {})
            response = self.connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as fault:
            raise Gone(str(fault)) from fault
