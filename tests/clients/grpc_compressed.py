"""Calls a broker with grpcio, with compressed requests on every service.

    python grpc_compressed.py ADDRESS

ADDRESS is HOST:PORT of a broker with a simulated AWS.
"""

import sys

import grpc
from grpc_client import batch, health, list_registries, pb, private_credentials, reflection_v1alpha, stubs, watch

ADDRESS = sys.argv[1]


def bomb(channel):
    """A request that is small on the wire and above 64 KiB in memory."""
    stub = stubs.RegistryCredentialsServiceStub(channel)
    try:
        stub.GetRegistryCredentials(pb.GetRegistryCredentialsRequest(registry="a" * 8_000_000), timeout=10)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
        assert "size limit, of 65536 bytes" in error.details(), error
    else:
        raise AssertionError("no error")


for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
    with grpc.insecure_channel(ADDRESS, compression=compression) as channel:
        # grpcio sends a message uncompressed if that is shorter, so a long request comes first.
        requests = [pb.GetRegistryCredentialsRequest(registry="public.ecr.aws")] * 100
        stub = stubs.RegistryCredentialsServiceStub(channel)
        results = stub.BatchGetRegistryCredentials(pb.BatchGetRegistryCredentialsRequest(requests=requests), timeout=10).results
        assert all(result.WhichOneof("result") == "credentials" for result in results), results
        for check in (private_credentials, batch, list_registries, health, reflection_v1alpha, watch, bomb):
            check(channel)
            print(f"ok   {compression.name} {check.__name__}", flush=True)
