"""Checks of examples/ci that need more than a schema of the whole file. Prints each mistake.

usage: recipes.py pods FILE             pods of Kubernetes objects, Tekton tasks and values of ARC's chart, by Kubernetes' schema
       recipes.py task-definition FILE  an ECS task definition, by the AWS SDK's model
       recipes.py sidecar FILE WHAT     words that ECS runs in the container `broker`: its command or its health check
"""

import json
import shlex
import sys

KUBERNETES = "1.36.0"


def pods(path):
    import kubernetes_validate
    import yaml

    with open(path) as file:
        documents = list(yaml.safe_load_all(file))
    checked = [found for document in documents for found in objects(document)]
    if not checked:
        print(f"{path}: has no object that can be checked")
    for found in checked:
        for mistake in mounts(found):
            print(f"{path}: {mistake}")
        try:
            kubernetes_validate.validate(found, KUBERNETES, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            print(f"{path}: {found['kind']}: {error}")


def mounts(item):
    """What the schema does not see: mounts without a volume, and a CA of the broker that is not mounted."""
    spec = item.get("spec", {})
    spec = spec.get("template", {}).get("spec", spec)
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for container in spec.get("initContainers", []) + spec.get("containers", []):
        mounted = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])}
        for name in mounted.keys() - volumes:
            yield f"{container['name']} mounts {name}, which is not a volume"
        for variable in container.get("env", []):
            if variable["name"] == "ECR_BROKER_TLS_CA" and not any(variable["value"].startswith(f"{at}/") for at in mounted.values()):
                yield f"{container['name']} does not mount {variable['value']}"


def objects(document):
    """Kubernetes' own kinds in a document; of others the pods that they make."""
    kind = document.get("kind")
    if kind == "Task":
        spec = document["spec"]
        yield pod({"volumes": spec.get("volumes", []), "containers": spec["steps"] + spec.get("sidecars", [])})
    elif kind is None:
        yield pod(document["template"]["spec"])
    elif not document["apiVersion"].startswith("tekton.dev/"):
        yield document


def pod(spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "job"}, "spec": spec}


def task_definition(path):
    from botocore.session import Session
    from botocore.validate import ParamValidator

    shape = Session().get_service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
    print(ParamValidator().validate(read(path), shape).generate_report(), end="")


def sidecar(path, what):
    broker = next(one for one in read(path)["containerDefinitions"] if one["name"] == "broker")
    words = broker["command"] if what == "command" else broker["healthCheck"]["command"]
    print(shlex.join(words[2:] if words[0] == "CMD" else words))


def read(path):
    with open(path) as file:
        return json.load(file)


{"pods": pods, "task-definition": task_definition, "sidecar": sidecar}[sys.argv[1]](*sys.argv[2:])
