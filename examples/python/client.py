"""Requests credentials from a broker: with a deadline, retries and round robin, also over a Unix socket.

    python client.py TARGET SECONDS REGISTRY...

TARGET is unix:/run/ecr-broker/broker.sock, or dns:///broker.example:50051 for several brokers.
"""

import sys
import time

import grpc
from ecrbroker.v1 import registry_credentials_pb2 as pb
from ecrbroker.v1 import registry_credentials_pb2_grpc as stubs
from google.rpc.error_details_pb2 import RetryInfo
from grpc_status import rpc_status


def connect(target):
    """Beyond loopback it is grpc.secure_channel."""
    return grpc.insecure_channel(target, options=[("grpc.lb_policy_name", "round_robin")])


def credentials(broker, registry, timeout):
    request, deadline = pb.GetRegistryCredentialsRequest(registry=registry), time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        try:
            return broker.GetRegistryCredentials(request, timeout=left, wait_for_ready=True).credentials
        except grpc.RpcError as error:
            delay = retry_delay(error)
            if delay is None or delay > deadline - time.monotonic():
                raise
            time.sleep(delay)


def retry_delay(error):
    """Returns the delay before a retry, if one can help. A lost connection has no RetryInfo."""
    status, info = rpc_status.from_call(error), RetryInfo()
    if status and any(detail.Unpack(info) for detail in status.details):
        return info.retry_delay.ToTimedelta().total_seconds()
    return 0.2 if error.code() == grpc.StatusCode.UNAVAILABLE else None


if __name__ == "__main__":
    target, seconds, *registries = sys.argv[1:]
    with connect(target) as channel:
        broker = stubs.RegistryCredentialsServiceStub(channel)
        for registry in registries:
            found = credentials(broker, registry, float(seconds))
            print(found.registry, found.username, "until", found.expire_time.ToJsonString())
