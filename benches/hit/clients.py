"""Loads: our own client over every transport, and h2load and ghz, which are not ours."""

import dataclasses
import json
import os
import re
import subprocess
import sys

METHOD = "ecrbroker.v1.RegistryCredentialsService/GetRegistryCredentials"
REGISTRY = "100000000001.dkr.ecr.eu-central-1.amazonaws.com"
# No answer is shorter.
SHORTEST = 500


@dataclasses.dataclass(frozen=True)
class Load:
    """Connections with as many calls at a time each; none: a new connection for each call."""

    connections: int
    streams: int
    # Calls of one round, which takes a few tenths of a second.
    calls: int
    # Calls of a round under strace, and under valgrind.
    traced: int


LOADS = {"1x1": Load(1, 1, 4_000, 1_000), "10x10": Load(10, 10, 20_000, 5_000), "one-shot": Load(0, 0, 200, 100)}


class OwnClient:
    """Our client. It connects once, so that rounds pay for calls alone."""

    def __init__(self, programs, server, load, registries=1, connect_only=False):
        shape = ["--connections", str(load.connections), "--streams", str(load.streams)]
        if not load.connections:
            shape = ["--one-shot"]
        command = [programs.helper, "load", *programs.peer(server), *shape, "--registries", str(registries)]
        self._process = programs.spawn(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not connect_only:
            self.call(1)

    def call(self, calls):
        """Makes calls, and returns their times in seconds."""
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            sys.exit("hit: a call failed; see the error above")
        return json.loads(line)

    def close(self):
        self._process.stdin.close()
        self._process.wait()


class H2load:
    """h2load of nghttp2: over TCP and Unix sockets, for it has no client certificates."""

    transports = ("tcp", "unix")
    calls = 20_000

    def __init__(self, programs, server, connections, streams):
        message = b"\x0a" + bytes([len(REGISTRY)]) + REGISTRY.encode()
        with open(f"{programs.work}/request", "wb") as file:
            file.write(b"\0" + len(message).to_bytes(4, "big") + message)
        authority = "localhost" if server.transport == "unix" else server.address
        self._command = ["h2load", "-t1", f"-c{connections}", f"-m{streams}", "-d", file.name]
        self._command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        self._command += ["-B", server.address] if server.transport == "unix" else []
        self._command += [f"http://{authority}/{METHOD}"]

    def call(self, calls):
        """Makes calls."""
        output = subprocess.run([*self._command, f"-n{calls}"], stdout=subprocess.PIPE, text=True).stdout
        size = re.search(r"\((\d+)\) data", output)
        # h2load does not read gRPC's status, but an error has no data.
        if f"{calls} succeeded, 0 failed" not in output or not size or int(size[1]) < calls * SHORTEST:
            sys.exit(f"hit: h2load failed:\n{output}")


class Ghz:
    """ghz, which calls by grpc-go."""

    transports = ("tcp", "unix", "mtls")
    calls = 10_000

    def __init__(self, programs, server, connections, streams):
        descriptors = f"{programs.work}/descriptors"
        with open(descriptors, "wb") as file:
            subprocess.run([programs.helper, "descriptors"], check=True, stdout=file)
        self._command = [ghz(), "--protoset", descriptors, "--call", METHOD.replace("/", ".")]
        self._command += ["-d", json.dumps({"registry": REGISTRY}), "--format", "json"]
        self._command += ["--connections", str(connections), "-c", str(connections * streams)]
        if server.transport == "mtls":
            work = programs.work
            self._command += ["--cacert", f"{work}/a.pem", "--cert", f"{work}/runner.crt", "--key", f"{work}/runner.key"]
        else:
            self._command += ["--insecure"]
        self._command += [server.address]

    def call(self, calls):
        """Makes calls."""
        run = subprocess.run([*self._command, "-n", str(calls)], stdout=subprocess.PIPE, text=True)
        if run.returncode or json.loads(run.stdout).get("statusCodeDistribution") != {"OK": calls}:
            sys.exit(f"hit: ghz failed:\n{run.stdout[:2000]}")


def ghz():
    """Returns the path of ghz, which `.ci/tools` installs."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return os.path.join(os.environ.get("TOOLS", f"{root}/target/tools"), "bin/ghz")


OTHERS = {"h2load": H2load, "ghz": Ghz}
