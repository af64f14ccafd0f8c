"""Checks IAM policies with parliament: policies.py FILE, where FILE is a JSON list of policies.

Prints each finding with its policy, and fails if there is one.
"""

import json
import sys

from parliament import analyze_policy_string

# parliament's copy of AWS's service authorization reference is older than the resources of this action: the reference
# lists `repository*` for it (docs.aws.amazon.com/service-authorization, Amazon Elastic Container Registry).
OUTDATED = {
    ("RESOURCE_MISMATCH", "ecr:BatchImportUpstreamImage"),
    # Of the model of AWS Sign-In in botocore 1.44.8, which is newer than the reference.
    ("UNKNOWN_ACTION", "Unknown action signin:CreateBearerToken"),
}


def wildcards(policy):
    """The services of which a statement allows every action. On repositories, those of the registry do nothing."""
    actions = [action for statement in policy["Statement"] for action in statement["Action"]]
    return {action.removesuffix("*") for action in actions if action.endswith(":*")}


def is_of_wildcard(issue, action, policy):
    explicit = any(action in statement["Action"] for statement in policy["Statement"] if "*" not in statement["Resource"])
    return issue == "RESOURCE_MISMATCH" and not explicit and any(action.startswith(one) for one in wildcards(policy))


def findings(policy):
    for finding in analyze_policy_string(json.dumps(policy)).findings:
        details = finding.detail if isinstance(finding.detail, list) else [finding.detail]
        for detail in details:
            issue, action = finding.issue, detail.get("action", "") if isinstance(detail, dict) else str(detail)
            if (issue, action) not in OUTDATED and not is_of_wildcard(issue, action, policy):
                yield f"{issue}: {detail}"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        policies = json.load(file)
    found = [(finding, policy) for policy in policies for finding in findings(policy)]
    for finding, policy in found:
        print(finding, json.dumps(policy))
    print(f"{len(policies)} policies, {len(found)} findings")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
