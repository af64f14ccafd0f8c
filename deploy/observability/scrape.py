#!/usr/bin/env python3
"""Prints a scrape with every metric that a broker can have: scrape.py ECR_BROKER

It starts the broker on loopback with TLS, a revocation list, an issuer of tokens, an identity that expires and a shared cache
that is down, in front of a simulated AWS, and asks it for one credential.
"""

import contextlib
import functools
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
# The public key of RFC 7517, appendix A.1.
KEY = {
    "kty": "EC",
    "kid": "1",
    "use": "sig",
    "alg": "ES256",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}
SHARED_CONFIG = """[default]
region = eu-central-1
credential_process = {process}
"""
CONFIG = """
[server]
listen = ["unix:{directory}/broker.sock", "127.0.0.1:0"]
ops_listen = "127.0.0.1:0"
tls = {{ certificate = "{directory}/server.crt", key = "{directory}/server.key" }}

[authentication]
client_dns = {{ "job.example" = "{directory}/ca.crt" }}
client_crl = {{ "job.example" = "{directory}/ca.crl" }}

[[authentication.jwt]]
name = "jobs"
issuer = "{issuer}"
audience = "ecr-broker"

[[grants]]
id = "local"
callers = [{{ uid = {uid} }}]
registries = [{{ accounts = ["*"], regions = ["*"] }}]

[audit]
output = "{directory}/audit.jsonl"

[metrics]
per_key = true

[shared_cache]
url = "redis://127.0.0.1:1"
keys_file = "{directory}/cache-keys"
identity = "scrape"
"""
# An expiry far ahead: no scrape has to wait for a renewal.
IDENTITY = {
    "Version": 1,
    "AccessKeyId": "AKIAIOSFODNN7EXAMPLE",
    "SecretAccessKey": "none",
    "SessionToken": "none",
    "Expiration": "2099-01-01T00:00:00Z",
}
OPENSSL_CA = """[ca]
default_ca = one
[one]
database = {directory}/index.txt
crlnumber = {directory}/crlnumber
default_md = sha256
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the issuer's documents."""

    def log_message(self, *_):
        pass


def openssl(directory, *arguments):
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def certificates(directory):
    key = ["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "90"]
    leaf = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=DNS:localhost"]
    openssl(directory, *key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.crt", *leaf)
    openssl(directory, *key, "-subj", "/CN=roots", "-keyout", "ca.key", "-out", "ca.crt", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    (directory / "index.txt").touch()
    (directory / "crlnumber").write_text("01\n")
    (directory / "ca.cnf").write_text(OPENSSL_CA.format(directory=directory))
    openssl(directory, *"ca -config ca.cnf -keyfile ca.key -cert ca.crt -gencrl -crldays 30 -out ca.crl".split())


def issuer(directory, stack):
    """Serves an issuer's documents, and returns its URL."""
    handler = functools.partial(Quiet, directory=directory / "issuer")
    server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack.callback(server.shutdown)
    url = f"http://127.0.0.1:{server.server_port}"
    (directory / "issuer/.well-known").mkdir(parents=True)
    (directory / "issuer/keys").write_text(json.dumps({"keys": [KEY]}))
    discovery = {"issuer": url, "jwks_uri": f"{url}/keys"}
    (directory / "issuer/.well-known/openid-configuration").write_text(json.dumps(discovery))
    return url


def start(command, stack, directory, environment=None):
    """Starts a program, and ends it with the stack."""
    log = stack.enter_context(open(directory / f"{pathlib.Path(command[0]).name}.log", "ab"))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def address(process, scheme):
    """Returns what follows the scheme in the line that names a listener."""
    for line in process.stdout:
        if found := line.strip().partition(f"listening on {scheme}://")[2]:
            return found
    raise SystemExit(f"{process.args[0]} ended before it listened on {scheme}")


def answer(url, until):
    """Returns the first answer with every text of `until`. Some figures are there only after a task of the broker has run."""
    # As Prometheus asks.
    request = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    for _ in range(200):
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read().decode()
        if all(one in text for one in until):
            return text
        time.sleep(0.1)
    raise SystemExit(f"{[one for one in until if one not in text]} is not in {url}")


def scrape(broker, directory, stack):
    certificates(directory)
    process = directory / "identity"
    process.write_text(f"#!/bin/sh\necho '{json.dumps(IDENTITY)}'\n")
    process.chmod(0o700)
    (directory / "cache-keys").touch(mode=0o600)
    (directory / "cache-keys").write_bytes(subprocess.run([broker, "keygen"], check=True, capture_output=True).stdout)
    (directory / "aws").write_text(SHARED_CONFIG.format(process=process))
    (directory / "config.toml").write_text(CONFIG.format(directory=directory, uid=os.getuid(), issuer=issuer(directory, stack)))
    aws = start([broker, "simulate-aws", "--listen", "127.0.0.1:0"], stack, directory)
    files = {"AWS_CONFIG_FILE": str(directory / "aws"), "AWS_SHARED_CREDENTIALS_FILE": str(directory / "none")}
    environment = {"PATH": os.environ["PATH"], "AWS_ENDPOINT_URL": f"http://{address(aws, 'http')}", **files}
    serve = start([broker, "serve", "--config", str(directory / "config.toml")], stack, directory, environment)
    url = f"http://{address(serve, 'ops+http')}/metrics"
    serve.send_signal(1)
    get = [broker, "get", REGISTRY, "--address", f"unix:{directory}/broker.sock"]
    subprocess.run(get, check=True, capture_output=True)
    return answer(url, ["ecr_broker_jwks_age_seconds{", "ecr_broker_config_last_reload_timestamp_seconds "])


def main():
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        directory = pathlib.Path(directory)
        try:
            print(scrape(sys.argv[1], directory, stack), end="")
        except (SystemExit, subprocess.CalledProcessError):
            for log in directory.glob("*.log"):
                sys.stderr.write(log.read_text())
            raise


if __name__ == "__main__":
    main()
