#!/usr/bin/env python3
"""Checks the modules that need hashicorp/aws, which Terraform cannot plan without the provider.

verify.py modules DIRECTORY: below it, every file parses; every reference has a declaration; calls of modules and resources have
known arguments, and none is missing; every variable and output has a description; the objects that modules pass on to
modules/documents have its types.
verify.py policies OUTPUTS: prints the documents in `terraform output -json` as a list of policies for parliament, which does not
know trust policies: their principal becomes a resource, and the OIDC provider one whose condition keys AWS lists.
verify.py trust OUTPUTS ROLES: the trust policy in OUTPUTS is the last one that `ecr-broker config check --roles` printed into ROLES.
"""

import json
import re
import sys
from pathlib import Path

# Arguments of hashicorp/aws 6.2 to 6.25 that the modules use, and those that must be there.
RESOURCES = {
    "aws_cloudwatch_metric_alarm": (
        {"alarm_name", "comparison_operator", "evaluation_periods"},
        {"alarm_actions", "alarm_description", "metric_query", "ok_actions", "tags", "threshold", "treat_missing_data"},
    ),
    "aws_eks_pod_identity_association": (
        {"cluster_name", "namespace", "role_arn", "service_account"},
        {"disable_session_tags", "tags"},
    ),
    "aws_iam_instance_profile": (set(), {"name", "path", "role", "tags"}),
    "aws_iam_role": ({"assume_role_policy"}, {"description", "name", "path", "permissions_boundary", "tags"}),
    "aws_iam_role_policy": ({"policy", "role"}, {"name"}),
}
META = {"source", "for_each", "count", "depends_on", "providers", "provider", "lifecycle"}
REFERENCE = re.compile(r"(?<![\w.])(var|local|module|aws_\w+)\.(\w+)(?:\[[^\]]*\])?(?:\.(\w+))?")
# Variables of modules/documents that other modules take under these names.
PASSED_ON = {"assume": "assume", "images": "images", "mint": "mint", "runs_on": "broker_trust"}
OIDC = re.compile(r"^(?!aws:|sts:).*:(aud|sub)$")


class Module:
    def __init__(self, directory):
        import hcl2  # Not needed for `policies`.

        self.directory = directory
        self.text = ""
        self.blocks = {"variable": {}, "output": {}, "module": {}, "resource": {}}
        self.locals = set()
        for path in sorted(directory.glob("*.tf")):
            text = path.read_text(encoding="utf-8")
            self.text += re.sub(r"(?m)^\s*#.*$", "", text) + "\n"
            parsed = hcl2.loads(text)
            for kind, blocks in self.blocks.items():
                for block in parsed.get(kind, []):
                    blocks.update(labelled(block, 2 if kind == "resource" else 1))
            for block in parsed.get("locals", []):
                self.locals.update(name for name in block if not name.startswith("__"))

    def required(self):
        return {name for name, body in self.blocks["variable"].items() if "default" not in body}


def labelled(block, labels):
    """Returns the bodies of a block by their labels, which python-hcl2 keeps in quotes."""
    bodies = {name.strip('"'): body for name, body in block.items() if not name.startswith("__")}
    if labels == 1:
        return bodies
    return {(kind, name): body for kind, block in bodies.items() for name, body in labelled(block, 1).items()}


def arguments(what, given, needed, known):
    given = {name for name in given if name not in META and not name.startswith("__")}
    yield from (f"{what}: {name} is not an argument" for name in sorted(given - known))
    yield from (f"{what}: {name} is missing" for name in sorted(needed - given))


def source(module, name):
    return (module.directory / module.blocks["module"][name]["source"].strip('"')).resolve()


def references(module, modules):
    declared = {"var": set(module.blocks["variable"]), "local": module.locals, "module": set(module.blocks["module"])}
    for kind, name in module.blocks["resource"]:
        declared.setdefault(kind, set()).add(name)
    for kind, name, attribute in REFERENCE.findall(module.text):
        if name not in declared.get(kind, set()):
            yield f"{kind}.{name} is not declared"
        elif kind == "module" and attribute not in modules[source(module, name)].blocks["output"]:
            yield f"module.{name}.{attribute} is not an output"


def problems(module, modules):
    for kind in ("variable", "output"):
        for name, body in module.blocks[kind].items():
            if not body.get("description"):
                yield f"{kind} {name} has no description"
    for name, body in module.blocks["module"].items():
        called = modules.get(source(module, name))
        if called is None:
            yield f"module {name}: its source is not a module here"
            return
        yield from arguments(f"module {name}", body, called.required(), set(called.blocks["variable"]))
    for (kind, name), body in module.blocks["resource"].items():
        if kind not in RESOURCES:
            yield f"{kind} {name}: not in the list of resources of verify.py"
            continue
        needed, further = RESOURCES[kind]
        yield from arguments(f"{kind} {name}", body, needed, needed | further)
    yield from references(module, modules)


def passed_on(module, documents):
    for name, of_documents in PASSED_ON.items():
        if name in module.blocks["variable"]:
            here, there = module.blocks["variable"][name]["type"], documents.blocks["variable"][of_documents]["type"]
            if here != there:
                yield f"variable {name} has another type than {of_documents} of modules/documents"


def check(root):
    directories = sorted({path.parent.resolve() for path in root.rglob("*.tf") if "tests" not in path.parts})
    modules = {directory: Module(directory) for directory in directories}
    documents = modules[(root / "modules/documents").resolve()]
    for directory, module in modules.items():
        for problem in [*problems(module, modules), *passed_on(module, documents)]:
            yield f"{directory.relative_to(root.resolve())}: {problem}"


def as_policy(document):
    for statement in document["Statement"]:
        if statement.pop("Principal", None):
            statement["Resource"] = ["arn:aws:iam::123456789012:role/x"]
        for operator, keys in statement.get("Condition", {}).items():
            statement["Condition"][operator] = {OIDC.sub(r"accounts.google.com:\1", key): value for key, value in keys.items()}
    return document


def same_trust(document):
    """Returns the statements without their names, and lists in place of single principals."""
    statements = [{key: value for key, value in one.items() if key != "Sid"} for one in document["Statement"]]
    for statement in statements:
        principal = statement["Principal"]["AWS"]
        statement["Principal"] = principal if isinstance(principal, list) else [principal]
    return statements


def trust(outputs, roles):
    ours = same_trust(json.loads(json.loads(outputs)["trust"]["value"]))
    printed = re.findall(r"(?ms)^\{$.*?^\}$", roles)
    brokers = same_trust(json.loads(printed[-1]))
    if ours != brokers:
        yield f"the module trusts {ours}, the broker needs {brokers}"


def main():
    if sys.argv[1:2] == ["policies"]:
        outputs = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
        print(json.dumps([as_policy(json.loads(output["value"])) for output in outputs.values()]))
        return
    if sys.argv[1:2] == ["trust"]:
        found = list(trust(*(Path(path).read_text(encoding="utf-8") for path in sys.argv[2:4])))
    else:
        found = list(check(Path(sys.argv[2])))
    print("\n".join(found), end="\n" if found else "")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
