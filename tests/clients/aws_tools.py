"""Runs the real AWS CLI and boto3 against the simulated AWS.

    python aws_tools.py http://127.0.0.1:4599

Needs boto3, and the AWS CLI beside this Python or on PATH. Prints one line per check, and exits with 1 if one fails.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROLE = "arn:aws:iam::210987654321:role/team/puller"
KEYS = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "example"}
HOME = tempfile.mkdtemp(prefix="aws-tools-")

# The AWS configuration of this machine must not replace the simulator.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ.update(
    AWS_ACCESS_KEY_ID=KEYS["aws_access_key_id"],
    AWS_SECRET_ACCESS_KEY=KEYS["aws_secret_access_key"],
    AWS_CONFIG_FILE=os.path.join(HOME, "config"),
    AWS_SHARED_CREDENTIALS_FILE=os.path.join(HOME, "credentials"),
    AWS_EC2_METADATA_DISABLED="true",
    AWS_MAX_ATTEMPTS="1",
    AWS_PAGER="",
    NO_PROXY="127.0.0.1,localhost,::1",
)

import boto3  # noqa: E402 (reads the environment on import)
import botocore.exceptions  # noqa: E402


def is_token(token, lifetime=12 * 3600, expires=None):
    """Checks that a token is AWS:<opaque password>, with the size and the lifetime of AWS's tokens."""
    user, _, password = base64.b64decode(token, validate=True).decode().partition(":")
    assert user == "AWS", user
    assert 2048 <= len(token) <= 5120, len(token)
    assert b"simulated" in base64.b64decode(password, validate=True)
    if expires is not None:
        assert abs(expires - time.time() - lifetime) < 60, expires
    return password


class Cli:
    def __init__(self, endpoint):
        beside = Path(sys.executable).with_name("aws")
        self.program = str(beside) if beside.exists() else shutil.which("aws")
        assert self.program, "aws is neither beside this Python nor on PATH"
        self.endpoint = endpoint

    def run(self, *words, region="eu-central-1"):
        command = [self.program, *words, "--endpoint-url", self.endpoint, "--region", region, "--output", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.strip()
        return done.stdout


def cli_get_authorization_token(cli):
    (entry,) = json.loads(cli.run("ecr", "get-authorization-token"))["authorizationData"]
    is_token(entry["authorizationToken"])
    assert entry["proxyEndpoint"] == "https://123456789012.dkr.ecr.eu-central-1.amazonaws.com", entry["proxyEndpoint"]


def cli_get_authorization_token_in_china(cli):
    (entry,) = json.loads(cli.run("ecr", "get-authorization-token", region="cn-north-1"))["authorizationData"]
    assert entry["proxyEndpoint"] == "https://123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", entry["proxyEndpoint"]


def cli_get_login_password(cli):
    password = cli.run("ecr", "get-login-password").strip()
    is_token(base64.b64encode(f"AWS:{password}".encode()).decode())


def cli_public_get_authorization_token(cli):
    data = json.loads(cli.run("ecr-public", "get-authorization-token", region="us-east-1"))["authorizationData"]
    is_token(data["authorizationToken"])
    assert "proxyEndpoint" not in data


def cli_public_get_login_password(cli):
    password = cli.run("ecr-public", "get-login-password", region="us-east-1").strip()
    is_token(base64.b64encode(f"AWS:{password}".encode()).decode())


def cli_get_caller_identity(cli):
    identity = json.loads(cli.run("sts", "get-caller-identity"))
    assert identity["Account"] == "123456789012", identity
    assert identity["Arn"] == "arn:aws:iam::123456789012:user/simulated", identity


def client(endpoint, service, region="eu-west-1", **keys):
    return boto3.client(service, endpoint_url=endpoint, region_name=region, **keys)


def boto3_ecr(endpoint):
    answer = client(endpoint, "ecr").get_authorization_token()
    (entry,) = answer["authorizationData"]
    is_token(entry["authorizationToken"], expires=entry["expiresAt"].timestamp())
    assert entry["expiresAt"].microsecond % 1000 == 0, entry["expiresAt"]
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36, answer["ResponseMetadata"]


def boto3_ecr_with_registry_ids(endpoint):
    ids = ["111111111111", "222222222222"]
    data = client(endpoint, "ecr").get_authorization_token(registryIds=ids)["authorizationData"]
    endpoints = [entry["proxyEndpoint"] for entry in data]
    assert endpoints == [f"https://{id}.dkr.ecr.eu-west-1.amazonaws.com" for id in ids], endpoints
    assert len({is_token(entry["authorizationToken"])[:72] for entry in data}) == 2


def boto3_ecr_public(endpoint):
    data = client(endpoint, "ecr-public", "us-east-1").get_authorization_token()["authorizationData"]
    is_token(data["authorizationToken"], expires=data["expiresAt"].timestamp())


def boto3_assume_role(endpoint):
    answer = client(endpoint, "sts").assume_role(RoleArn=ROLE, RoleSessionName="me", DurationSeconds=900)
    uses_the_session(endpoint, answer)


def boto3_assume_role_with_tags(endpoint):
    tags = {"Tags": [{"Key": "team", "Value": "a/b"}, {"Key": "repo", "Value": "c"}], "TransitiveTagKeys": ["team"]}
    sts = client(endpoint, "sts")
    answer = sts.assume_role(RoleArn=ROLE, RoleSessionName="me", DurationSeconds=900, **tags)
    assert 0 < answer["PackedPolicySize"] <= 100, answer["PackedPolicySize"]
    uses_the_session(endpoint, answer)
    large = {"Tags": [{"Key": key, "Value": "v" * 250} for key in "abc"]}
    fails("PackedPolicyTooLarge", 400, sts.assume_role, RoleArn=ROLE, RoleSessionName="me", **large)


def boto3_assume_role_with_web_identity(endpoint):
    answer = client(endpoint, "sts").assume_role_with_web_identity(
        RoleArn=ROLE, RoleSessionName="me", DurationSeconds=900, WebIdentityToken="head.claims.signature"
    )
    uses_the_session(endpoint, answer)


def uses_the_session(endpoint, answer):
    session = "arn:aws:sts::210987654321:assumed-role/puller/me"
    assert answer["AssumedRoleUser"]["Arn"] == session, answer["AssumedRoleUser"]
    assert abs(answer["Credentials"]["Expiration"].timestamp() - time.time() - 900) < 60
    keys = {
        "aws_access_key_id": answer["Credentials"]["AccessKeyId"],
        "aws_secret_access_key": answer["Credentials"]["SecretAccessKey"],
        "aws_session_token": answer["Credentials"]["SessionToken"],
    }
    assert client(endpoint, "sts", **keys).get_caller_identity()["Arn"] == session
    (entry,) = client(endpoint, "ecr", **keys).get_authorization_token()["authorizationData"]
    assert entry["proxyEndpoint"] == "https://210987654321.dkr.ecr.eu-west-1.amazonaws.com", entry["proxyEndpoint"]


def fails(code, status, call, **parameters):
    try:
        call(**parameters)
    except botocore.exceptions.ClientError as error:
        found = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert found == (code, status), found
    else:
        raise AssertionError(f"no {code}")


def boto3_decodes_invalid_parameter(endpoint):
    ecr = client(endpoint, "ecr")
    fails("InvalidParameterException", 400, ecr.get_authorization_token, registryIds=["12"])
    try:
        ecr.get_authorization_token(registryIds=["12"])
    except ecr.exceptions.InvalidParameterException as error:
        assert "registryIds" in str(error), error


def boto3_decodes_unsupported_command(endpoint):
    public = client(endpoint, "ecr-public", "eu-west-1")
    fails("UnsupportedCommandException", 400, public.get_authorization_token)


def boto3_decodes_unknown_operation(endpoint):
    fails("UnknownOperationException", 404, client(endpoint, "ecr").describe_repositories)


def boto3_decodes_sts_errors(endpoint):
    sts = client(endpoint, "sts")
    fails("InvalidAction", 400, sts.get_session_token)
    fails("ValidationError", 400, sts.assume_role, RoleArn="arn:aws:iam::1:role/puller", RoleSessionName="me")
    parameters = {"RoleArn": ROLE, "RoleSessionName": "me", "Policy": "allow me"}
    fails("MalformedPolicyDocument", 400, sts.assume_role, **parameters)


CLI_CHECKS = [
    cli_get_authorization_token,
    cli_get_authorization_token_in_china,
    cli_get_login_password,
    cli_public_get_authorization_token,
    cli_public_get_login_password,
    cli_get_caller_identity,
]
BOTO3_CHECKS = [
    boto3_ecr,
    boto3_ecr_with_registry_ids,
    boto3_ecr_public,
    boto3_assume_role,
    boto3_assume_role_with_tags,
    boto3_assume_role_with_web_identity,
    boto3_decodes_invalid_parameter,
    boto3_decodes_unsupported_command,
    boto3_decodes_unknown_operation,
    boto3_decodes_sts_errors,
]


def passes(check, subject):
    try:
        check(subject)
    except Exception as error:  # one failed check must not hide the others
        print(f"FAIL {check.__name__}: {error!r}", flush=True)
        return False
    print(f"ok   {check.__name__}", flush=True)
    return True


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    endpoint = sys.argv[1].rstrip("/")
    cli = Cli(endpoint)
    results = [passes(check, cli) for check in CLI_CHECKS] + [passes(check, endpoint) for check in BOTO3_CHECKS]
    shutil.rmtree(HOME, ignore_errors=True)
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
