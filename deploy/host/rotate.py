#!/usr/bin/env python3
"""Rotates the audit log of a broker under load with logrotate: rotate.py ECR_BROKER SNIPPET

Every release must have its record in one of the files. It prints what is wrong, and fails then.
"""

import collections
import grp
import gzip
import json
import os
import pathlib
import pwd
import subprocess
import sys
import tempfile
import threading

REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
ROTATIONS = 4
CALLERS = 3
# Requests between two rotations, and those after which a broker that still has no new file never will.
CALLS, PATIENCE = 5, 100


class Calls:
    """Requests of credentials; each that succeeds has a record."""

    def __init__(self, broker, address):
        self.command = [broker, "get", "--address", address, "--timeout", "60s", REGISTRY]
        self.released = collections.deque()
        self.stop = threading.Event()

    def one(self):
        subprocess.run(self.command, check=True, stdout=subprocess.DEVNULL)
        self.released.append(1)

    def until_stopped(self):
        while not self.stop.is_set():
            self.one()


def configure(snippet, directory, log):
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    text = snippet.replace("/var/log/ecr-broker", str(log)).replace("su ecr-broker ecr-broker", f"su {user} {group}")
    file = directory / "logrotate.conf"
    file.write_text(text)
    file.chmod(0o644)
    return ["logrotate", "--force", "--state", str(directory / "state"), str(file)]


def rotate(command, calls, audit):
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode or ended.stderr:
        raise SystemExit(f"logrotate: {ended.stderr}")
    # The next rotation waits until the broker has noticed this one, as days do.
    for call in range(PATIENCE):
        if audit.exists() and call >= CALLS:
            return
        calls.one()
    raise SystemExit("the broker made no new file")


def under_load(broker, rotation, directory, audit):
    """Returns the number of releases meanwhile."""
    socket = f"unix:{directory}/broker.sock"
    environment = {**os.environ, "ECR_BROKER_AUDIT_OUTPUT": str(audit)}
    serve = [broker, "serve", "--simulate", "--listen", socket]
    with subprocess.Popen(serve, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as serving:
        try:
            if "listening" not in serving.stdout.readline():
                raise SystemExit("the broker did not start")
            calls = Calls(broker, socket)
            calls.one()
            callers = [threading.Thread(target=calls.until_stopped) for _ in range(CALLERS)]
            for caller in callers:
                caller.start()
            try:
                for _ in range(ROTATIONS):
                    rotate(rotation, calls, audit)
            finally:
                calls.stop.set()
                for caller in callers:
                    caller.join()
            return len(calls.released)
        finally:
            serving.terminate()


def records(file):
    opened = gzip.open(file, "rt") if file.suffix == ".gz" else open(file, encoding="utf-8")
    with opened as lines:
        return [json.loads(line) for line in lines]


def problems(log, released):
    files = sorted(log.iterdir())
    names = {file.name for file in files}
    wanted = {"audit.jsonl", "audit.jsonl.1", *(f"audit.jsonl.{number}.gz" for number in range(2, ROTATIONS + 1))}
    if names != wanted:
        yield f"files: {sorted(names)}, not {sorted(wanted)}"
    found = [record["request_id"] for file in files for record in records(file) if record["outcome"] == "released"]
    if len(found) != released or len(set(found)) != released:
        yield f"{released} releases, {len(found)} records, {len(set(found))} requests"


def main():
    broker, snippet = sys.argv[1], pathlib.Path(sys.argv[2]).read_text()
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        log = directory / "log"
        log.mkdir(mode=0o700)
        audit = log / "audit.jsonl"
        released = under_load(broker, configure(snippet, directory, log), directory, audit)
        found = list(problems(log, released))
        total = f"{released} releases, {ROTATIONS} rotations"
    print("\n".join(found or [total]))
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
