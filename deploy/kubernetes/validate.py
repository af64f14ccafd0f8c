"""Validates the objects on stdin: python3 validate.py CRDS <OBJECTS. CRDS is the directory of deploy/kubernetes/programs.

Kubernetes' own kinds by the schemas of kubernetes-validate, others by their CRDs. An unknown field is a mistake, and so is an unknown kind.
"""

import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml

VERSION = "1.36"


def close(schema):
    """Refuses fields that the schema does not name, as the API server does with strict validation."""
    if isinstance(schema, list):
        for item in schema:
            close(item)
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        schema.pop("type", None)
    for value in schema.values():
        close(value)


def custom(directory):
    """Returns the schema of each kind of the CRDs by its apiVersion and kind."""
    schemas = {}
    for file in sorted(pathlib.Path(directory).glob("*-crds/*.yaml")):
        definition = yaml.safe_load(file.read_text())["spec"]
        for version in definition["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            close(schema)
            schema["properties"]["metadata"] = {"type": "object"}
            schemas[f"{definition['group']}/{version['name']}", definition["names"]["kind"]] = schema
    return schemas


def problem(item, schemas):
    """Returns what is wrong with an object."""
    schema = schemas.get((item["apiVersion"], item["kind"]))
    try:
        if schema:
            jsonschema.validate(item, schema)
        else:
            kubernetes_validate.validate(item, VERSION, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError:
        return f"{item['apiVersion']} has no such kind"
    return None


def main():
    schemas = custom(sys.argv[1])
    if not schemas:
        sys.exit(f"no CRDs in {sys.argv[1]}; run deploy/kubernetes/programs")
    items = [item for item in yaml.safe_load_all(sys.stdin) if item]
    wrong = [(item, said) for item in items if (said := problem(item, schemas))]
    for item, said in wrong:
        print(f"{item['kind']} {item['metadata']['name']}: {said}")
    sys.exit(1 if wrong or not items else 0)


main()
