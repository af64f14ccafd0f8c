"""Builds programs, starts them on free ports and ends them by their process IDs."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Symbols count allocations; they change no code.
PROFILE = {"CARGO_PROFILE_DIST_STRIP": "none"}
START_TIMEOUT = 120


def build(*target):
    """Builds a target as it is shipped, and returns the path of its program."""
    command = ["cargo", "build", "--quiet", "--locked", "--profile", "dist", "--message-format", "json", *target]
    output = subprocess.run(command, cwd=ROOT, env=os.environ | PROFILE, stdout=subprocess.PIPE, text=True)
    if output.returncode:
        sys.exit("hit: the build failed; see its errors")
    messages = map(json.loads, output.stdout.splitlines())
    return [message["executable"] for message in messages if message.get("executable")][-1]


@dataclasses.dataclass(frozen=True)
class Server:
    """A running server. `address` is `IP:PORT` or `unix:/PATH`."""

    process: subprocess.Popen
    address: str
    transport: str
    # The file that has what it printed.
    output: str

    @property
    def pid(self):
        return self.process.pid


class Programs:
    """The programs of a run, their files in `work`, and the processes that are still to end."""

    def __init__(self, work, broker, helper):
        self.work, self.broker, self.helper = work, broker, helper
        self._processes, self._names = [], 0
        certificates = [f"{ROOT}/tests/clients/certificates.sh", work]
        subprocess.run(certificates, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.aws = self._listening([helper, "aws"], {}, "aws")[1]
        self._write("empty", b"")
        self.collector = self._listening([helper, "raw", "127.0.0.1:0", f"{work}/empty"], {}, "collector")[1]

    def save_answer(self, server):
        """Keeps what a broker answers, for the servers with constant answers."""
        command = [self.helper, "answer", *self.peer(server)]
        self._write("answer", subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    def peer(self, server):
        """Returns the arguments of the client of a server."""
        return [server.address, *(["--certificates", self.work] if server.transport == "mtls" else [])]

    def serve(self, subject, transport, prefix=(), aws=None):
        """Starts a server. `prefix` is the command that runs it, such as valgrind, and `aws` the URL of another AWS."""
        self._names += 1
        name = f"{subject.program}-{self._names}"
        listen = f"unix:{self.work}/{name}.sock" if transport == "unix" else "127.0.0.1:0"
        variables = {}
        if subject.program == "broker":
            self._write(f"{name}.toml", subject.config(transport, listen, self.work, name).encode())
            command = [self.broker, "serve", "--config", f"{self.work}/{name}.toml"]
            variables = self._variables(subject, aws or self.aws, is_slow=bool(prefix))
        else:
            command = [self.helper, subject.program, listen, f"{self.work}/answer"]
            command += ["--certificates", self.work] if transport == "mtls" else []
            command += ["--answers", str(subject.answers)] if subject.answers > 1 else []
        process, url = self._listening([*prefix, *command], variables, name)
        return Server(process, re.sub(r"^\w+://", "", url), transport, f"{self.work}/{name}.out")

    def simulated_aws(self, latency):
        """Starts the simulated AWS and returns its URL."""
        command = [self.broker, "simulate-aws", "--listen", "127.0.0.1:0", "--latency", latency]
        return self._listening(command, {}, "simulated-aws")[1]

    def spawn(self, command, **options):
        """Starts another process, which ends with the run."""
        process = subprocess.Popen(command, **options)
        self._processes.append(process)
        return process

    def end(self, process):
        """Ends a process and waits for it."""
        process.terminate()
        process.wait()

    def close(self):
        """Ends every process of the run."""
        for process in self._processes:
            process.kill()
            process.wait()

    def _variables(self, subject, url, is_slow):
        aws = {"AWS_ENDPOINT_URL": url, "AWS_REGION": "eu-central-1"}
        aws |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        if not subject.sampled:
            return aws
        # Spans are exported within the round that made them, and none is dropped, so that it pays for them.
        traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{self.collector}", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
        traces |= {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": subject.sampled}
        # An export has as many spans under valgrind, where calls are ten times as rare at least.
        return aws | traces | {"OTEL_BSP_SCHEDULE_DELAY": "1000" if is_slow else "100", "OTEL_BSP_MAX_QUEUE_SIZE": "100000"}

    def _listening(self, command, variables, name):
        """Starts a command and waits for the first address that it prints."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "ECR_BROKER_", "AWS_"))}
        output, errors = f"{self.work}/{name}.out", f"{self.work}/{name}.err"
        with open(output, "w") as out, open(errors, "w") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, env=kept | variables)
        self._processes.append(process)
        for _ in range(START_TIMEOUT * 20):
            if found := re.search(r"^listening on (.+)\n", open(output).read()):
                return process, found[1]
            if process.poll() is not None:
                break
            time.sleep(0.05)
        sys.exit(f"hit: {name} did not start: {open(errors).read()[-2000:]}")

    def _write(self, name, contents):
        with open(f"{self.work}/{name}", "wb") as file:
            file.write(contents)
