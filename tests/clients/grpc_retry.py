"""Exhausts the rate of a caller, and calls a broker with grpcio's own retry policy.

    python grpc_retry.py ADDRESS

ADDRESS is HOST:PORT of a broker with a simulated AWS that lets a caller make 10 requests per second, with a burst of 100. The policy's
own backoff is far too short: only the delay that the broker asks for leads to an answer.
"""

import json
import sys
import time

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_client import PRIVATE, pb, stubs, unpacked

SERVICE = "ecrbroker.v1.RegistryCredentialsService"
POLICY = {
    "maxAttempts": 3,
    "initialBackoff": "0.001s",
    "maxBackoff": "0.001s",
    "backoffMultiplier": 1,
    "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
}
WITH_POLICY = json.dumps({"methodConfig": [{"name": [{"service": SERVICE}], "retryPolicy": POLICY}]})
# A batch costs its number of registries: the burst, and what takes two seconds to refill.
BURST = [pb.GetRegistryCredentialsRequest(registry=PRIVATE)] * 100
FIFTH = BURST[:20]


def call(channel, requests):
    """Returns the results, and the time that the call took."""
    stub = stubs.RegistryCredentialsServiceStub(channel)
    start = time.monotonic()
    results = stub.BatchGetRegistryCredentials(pb.BatchGetRegistryCredentialsRequest(requests=requests), timeout=30).results
    return results, time.monotonic() - start


def delay(channel):
    """Uses the burst up, and returns the delay after which the broker has room for another batch."""
    call(channel, BURST)
    try:
        call(channel, FIFTH)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
        trailers = dict(error.trailing_metadata())
        wait = unpacked(status_pb2.Status.FromString(trailers["grpc-status-details-bin"]), error_details_pb2.RetryInfo)
        milliseconds = int(trailers["grpc-retry-pushback-ms"])
        assert milliseconds - 1 < wait.retry_delay.ToNanoseconds() / 1e6 <= milliseconds, (milliseconds, wait)
        return milliseconds / 1000
    raise AssertionError("the burst is not used up")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with grpc.insecure_channel(sys.argv[1]) as channel:
        wait = delay(channel)
    with grpc.insecure_channel(sys.argv[1], options=[("grpc.service_config", WITH_POLICY)]) as channel:
        results, took = call(channel, FIFTH)
    assert [result.credentials.registry for result in results] == [PRIVATE] * 20, results
    print(f"ok   answered after {took:.2f} s; the broker asked for {wait:.2f} s before")


if __name__ == "__main__":
    main()
