"""Calls the broker's ECR API with boto3, at AWS_ENDPOINT_URL_ECR and AWS_ENDPOINT_URL_ECR_PUBLIC.

    python aws_api.py

Prints the digests of the private and the public token's password, to compare them with those of other programs.
"""

import base64
import hashlib
import os
import time

import boto3
import botocore.config
import botocore.exceptions

ACCOUNTS = ["123456789012", "210987654321"]


def client(service, region, **more):
    return boto3.client(service, region_name=region, **more)


def digest(token):
    user, _, password = base64.b64decode(token, validate=True).decode().partition(":")
    assert user == "AWS", user
    return hashlib.sha256(password.encode()).hexdigest()


def is_fresh(expires):
    assert 11 * 3600 < expires.timestamp() - time.time() <= 12 * 3600, expires
    assert expires.microsecond % 1000 == 0, expires


def fails(code, call, text, attempts=1, **parameters):
    try:
        call(**parameters)
    except botocore.exceptions.ClientError as error:
        found = error.response["Error"]
        assert found["Code"] == code and text in found["Message"], found
        assert error.response["ResponseMetadata"]["RetryAttempts"] == attempts - 1, error.response["ResponseMetadata"]
    else:
        raise AssertionError(f"no {code}")


ecr = client("ecr", "eu-central-1")
answer = ecr.get_authorization_token(registryIds=ACCOUNTS)
data = answer["authorizationData"]
endpoints = [entry["proxyEndpoint"] for entry in data]
assert endpoints == [f"https://{account}.dkr.ecr.eu-central-1.amazonaws.com" for account in ACCOUNTS], endpoints
is_fresh(data[0]["expiresAt"])
assert len(answer["ResponseMetadata"]["RequestId"]) == 32, answer["ResponseMetadata"]
(again,) = ecr.get_authorization_token(registryIds=ACCOUNTS[:1])["authorizationData"]
assert again["authorizationToken"] == data[0]["authorizationToken"]

public = client("ecr-public", "us-east-1").get_authorization_token()["authorizationData"]
is_fresh(public["expiresAt"])
assert "proxyEndpoint" not in public, public.keys()

fails("InvalidParameterException", ecr.get_authorization_token, "registryIds", registryIds=["12"])
fails("UnknownOperationException", ecr.describe_repositories, "unset AWS_ENDPOINT_URL_ECR")
wrong = client("ecr", "eu-central-1", endpoint_url=os.environ["AWS_ENDPOINT_URL_ECR"][:-1])
fails("AccessDeniedException", wrong.get_authorization_token, "no valid secret in the path")

print(digest(data[0]["authorizationToken"]), digest(public["authorizationToken"]))
