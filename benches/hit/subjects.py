"""What is compared: bare tonic, raw hyper, and the broker in its configurations."""

import dataclasses
import os

TRANSPORTS = {"tcp": "loopback", "unix": "Unix socket", "mtls": "mTLS"}
# Wide limits, and time limits of AWS that valgrind keeps.
CONFIG = """
[server]
listen = ["{listen}"]
max_connection_age = "7days"
{server}
[limits]
requests_per_second = 1000000
local_requests_per_second = 1000000
[aws]
connect_timeout = "10s"
attempt_timeout = "30s"
operation_timeout = "60s"
"""
GRANT = """
[[grants]]
id = "{name}"
callers = [{caller}]
registries = [{{ accounts = [{account}], regions = ["*"] }}]
"""
CALLERS = {
    "tcp": "{ loopback = true }",
    "unix": f"{{ uid = {os.getuid()} }}",
    "mtls": '{ spiffe = "spiffe://a.example/ns/ci/sa/*" }',
}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A program to measure. `grants` concern the caller, and the last of them matches; `answers` are those of raw hyper."""

    label: str
    program: str = "broker"
    grants: int = 0
    audit: bool = False
    sampled: str = ""
    fast_path: bool = True
    answers: int = 1

    def config(self, transport, listen, work, name):
        """Returns the broker's configuration."""
        server = "" if self.fast_path else "fast_path = false\n"
        if self.sampled:
            server += 'ops_listen = "127.0.0.1:0"\n'
        text = CONFIG.format(listen=listen, server=server)
        if transport == "mtls":
            text += f'[server.tls]\ncertificate = "{work}/server.crt"\nkey = "{work}/server.key"\n'
            text += f'[authentication]\nclient_ca = {{ "a.example" = "{work}/a.pem" }}\n'
        elif transport == "tcp":
            text += "[authentication]\nloopback = true\n"
        if self.audit:
            text += f'[audit]\noutput = "{work}/{name}.jsonl"\n'
        return text + "".join(self._grant(transport, number) for number in range(1, self.grants + 1))

    def _grant(self, transport, number):
        account = '"*"' if number == self.grants else f'"{number:012}"'
        return GRANT.format(name=f"grant-{number}", caller=CALLERS[transport], account=account)


RAW = Subject("raw hyper", "raw")
NOTHING = Subject("the broker, nothing on")
GRANTED = Subject("with a grant", grants=1)
AUDITED = Subject("with a grant and audit", grants=1, audit=True)
ALL = Subject("everything on, 1 % of spans", grants=1, audit=True, sampled="0.01")
ALL_SAMPLED = Subject("everything on, 100 % of spans", grants=1, audit=True, sampled="1")
SUBJECTS = {
    "tonic": Subject("bare tonic", "tonic"),
    "raw": RAW,
    "off": NOTHING,
    "grant": GRANTED,
    "audit": AUDITED,
    "all": ALL,
    "all-sampled": ALL_SAMPLED,
}


def _ordinary(subject):
    return dataclasses.replace(subject, label=f"{subject.label}; no fast path", fast_path=False)


# Each configuration of the broker also without the fast path.
SUBJECTS |= {f"{name}-ordinary": _ordinary(SUBJECTS[name]) for name in SUBJECTS if name not in ("tonic", "raw")}
BASELINE = "tonic"
