"""Catches an outage of AWS behind the broker's ECR API as boto3's users do, at AWS_ENDPOINT_URL_ECR and _ECR_PUBLIC.

    python aws_outage.py
"""

import boto3
import botocore.config

RETRIES = botocore.config.Config(retries={"mode": "standard", "total_max_attempts": 2})

for service, region in (("ecr", "eu-central-1"), ("ecr-public", "us-east-1")):
    client = boto3.client(service, region_name=region, config=RETRIES)
    try:
        client.get_authorization_token()
    except client.exceptions.ServerException as error:
        answer = error.response
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 500, answer
        assert answer["ResponseMetadata"]["RetryAttempts"] == 1, answer
        assert "request id" in answer["Error"]["Message"], answer
    else:
        raise AssertionError(f"{service}: no error")

ecr = boto3.client("ecr", region_name="eu-central-1")
try:
    ecr.get_authorization_token(registryIds=["12"])
except ecr.exceptions.InvalidParameterException:
    print("caught")
