"""Calls brokers with grpcio's round robin and retry policy until SIGINT, then prints how many calls were answered and which errors
the others had, as JSON.

    TOKEN=… python grpc_calls.py TARGET CA

TARGET is a gRPC target such as dns:///broker.example:50051, CA the file with the roots of the brokers, whose name is broker.example.
"""

import collections
import json
import os
import random
import signal
import sys
import threading

import grpc
from grpc_client import pb, stubs

SERVICE = "ecrbroker.v1.RegistryCredentialsService"
POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.2s",
    "maxBackoff": "5s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}
CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [{"name": [{"service": SERVICE}], "waitForReady": True, "retryPolicy": POLICY}],
}
OPTIONS = [
    ("grpc.service_config", json.dumps(CONFIG)),
    ("grpc.ssl_target_name_override", "broker.example"),
    ("grpc.use_local_subchannel_pool", 1),
]
CALLERS = 8

answered, lost, stopped = collections.Counter(), collections.Counter(), threading.Event()


def call_until_stopped(target, roots):
    metadata = [("authorization", "Bearer " + os.environ["TOKEN"])]
    with grpc.secure_channel(target, grpc.ssl_channel_credentials(roots), OPTIONS) as channel:
        broker = stubs.RegistryCredentialsServiceStub(channel)
        while not stopped.wait(0.1):
            registry = f"{random.randrange(10**11, 10**11 + 1000)}.dkr.ecr.eu-central-1.amazonaws.com"
            try:
                broker.GetRegistryCredentials(pb.GetRegistryCredentialsRequest(registry=registry), timeout=20, metadata=metadata)
                answered["calls"] += 1
            except grpc.RpcError as error:
                lost[f"{error.code().name}: {error.details()}"] += 1


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[2], "rb") as file:
        roots = file.read()
    signal.signal(signal.SIGINT, lambda *_: stopped.set())
    callers = [threading.Thread(target=call_until_stopped, args=(sys.argv[1], roots)) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    print(json.dumps({"answered": answered["calls"], "lost": lost}))


if __name__ == "__main__":
    main()
