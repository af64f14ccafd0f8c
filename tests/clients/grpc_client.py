"""Calls a broker with grpcio, by code that grpcio-tools generates from proto/.

    python grpc_client.py ADDRESS...

ADDRESS is HOST:PORT or unix:/PATH of a broker with a simulated AWS. Prints one line per check, and exits with 1 if one fails.
"""

import sys
import tempfile
from pathlib import Path

import google.rpc
import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[2] / "proto"
SERVICE = "ecrbroker.v1.RegistryCredentialsService"
PRIVATE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


def generate():
    """Generates and returns the message and service classes of proto/."""
    out = tempfile.mkdtemp(prefix="grpc-client-")
    # google/rpc/*.proto come with googleapis-common-protos.
    includes = [str(PROTO), str(Path(next(iter(google.rpc.__path__))).parents[1]), protoc.__file__[: -len("protoc.py")] + "_proto"]
    arguments = [f"-I{include}" for include in includes]
    arguments += [f"--python_out={out}", f"--grpc_python_out={out}", "ecrbroker/v1/registry_credentials.proto"]
    assert protoc.main(["protoc", *arguments]) == 0
    sys.path.insert(0, out)
    from ecrbroker.v1 import registry_credentials_pb2, registry_credentials_pb2_grpc

    return registry_credentials_pb2, registry_credentials_pb2_grpc


pb, stubs = generate()


def private_credentials(channel):
    stub = stubs.RegistryCredentialsServiceStub(channel)
    request = pb.GetRegistryCredentialsRequest(registry=f"https://{PRIVATE}/team/app:1", min_validity=Duration(seconds=3600))
    first = stub.GetRegistryCredentials(request, timeout=10).credentials
    assert (first.registry, first.username, first.account_id) == (PRIVATE, "AWS", "123456789012"), first
    assert first.registry_type == pb.REGISTRY_TYPE_PRIVATE and first.auth_scheme == pb.AUTH_SCHEME_BASIC
    assert len(first.password) > 1500
    lifetime = first.expire_time.ToSeconds() - first.issue_time.ToSeconds()
    assert abs(lifetime - 12 * 3600) < 60, lifetime
    assert 0 < first.valid_for.ToSeconds() <= lifetime, first.valid_for
    again = stub.GetRegistryCredentials(request, timeout=10).credentials
    assert again.cache_status == pb.CACHE_STATUS_HIT and again.password == first.password


def batch(channel):
    stub = stubs.RegistryCredentialsServiceStub(channel)
    requests = [pb.GetRegistryCredentialsRequest(registry=name) for name in ("public.ecr.aws", "ghcr.io")]
    results = stub.BatchGetRegistryCredentials(pb.BatchGetRegistryCredentialsRequest(requests=requests), timeout=10).results
    assert [result.WhichOneof("result") for result in results] == ["credentials", "error"]
    assert results[0].credentials.auth_scheme == pb.AUTH_SCHEME_BEARER
    assert reason(results[1].error) == "REGISTRY_NOT_ECR"


def list_registries(channel):
    listed = stubs.RegistryCredentialsServiceStub(channel).ListRegistries(pb.ListRegistriesRequest(page_size=2), timeout=10)
    assert len(listed.registries) == 2 and listed.next_page_token


def error_details(channel):
    stub = stubs.RegistryCredentialsServiceStub(channel)
    try:
        stub.GetRegistryCredentials(pb.GetRegistryCredentialsRequest(), timeout=10)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        status = status_pb2.Status.FromString(details)
        assert reason(status) == "REQUEST_INVALID"
        violation = unpacked(status, error_details_pb2.BadRequest).field_violations[0]
        assert violation.field == "target", violation
        assert unpacked(status, error_details_pb2.RequestInfo).request_id
    else:
        raise AssertionError("no error")


def reason(status):
    info = unpacked(status, error_details_pb2.ErrorInfo)
    assert info.domain == "ecr-broker", info
    return info.reason


def unpacked(status, kind):
    message = kind()
    assert any(detail.Unpack(message) for detail in status.details), status
    return message


def health(channel):
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING, answer


def reflection_v1alpha(channel):
    assert SERVICE in ProtoReflectionDescriptorDatabase(channel).get_services()


def watch(channel):
    """Checks the snapshot, its end, and that known credentials are not sent again."""
    requests = [pb.GetRegistryCredentialsRequest(registry=host) for host in (PRIVATE, "public.ecr.aws")]
    stub = stubs.RegistryCredentialsServiceStub(channel)
    events = stub.WatchRegistryCredentials(pb.WatchRegistryCredentialsRequest(requests=requests), timeout=60)
    first = [next(events) for _ in range(3)]
    assert {event.index: event.credentials.registry for event in first[:2]} == {0: PRIVATE, 1: "public.ecr.aws"}, first
    assert first[2].HasField("snapshot_complete"), first
    events.cancel()
    known = [event.credentials.credential_id for event in first[:2]]
    request = pb.WatchRegistryCredentialsRequest(requests=requests, known_credential_ids=known)
    again = stub.WatchRegistryCredentials(request, timeout=60)
    assert {next(again).unchanged_credential_id for _ in range(2)} == set(known)
    again.cancel()


CHECKS = [private_credentials, batch, watch, list_registries, error_details, health, reflection_v1alpha]


def passes(check, address):
    try:
        with grpc.insecure_channel(address) as channel:
            check(channel)
    except Exception as error:  # one failed check must not hide the others
        print(f"FAIL {address} {check.__name__}: {error!r}", flush=True)
        return False
    print(f"ok   {address} {check.__name__}", flush=True)
    return True


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    results = [passes(check, address) for address in sys.argv[1:] for check in CHECKS]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
