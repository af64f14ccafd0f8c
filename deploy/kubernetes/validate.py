"""Validates objects: python3 validate.py CRDS FILE... CRDS is the directory of deploy/kubernetes/programs.

Kubernetes' own kinds by the schemas of kubernetes-validate, others by their CRDs. An unknown field is a mistake, and so is an unknown kind.
"""

import functools
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml

VERSION = "1.36"
# That of libyaml reads the CRDs ten times as fast.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def close(schema):
    """Refuses fields that the schema does not name, as the API server does with strict validation, and writes it in Python's dialect."""
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
    if "(?i)" in str(schema.get("pattern")):
        # Go takes flags anywhere in a pattern, Python at its start.
        schema["pattern"] = "(?i)" + schema["pattern"].replace("(?i)", "")
    for value in schema.values():
        close(value)


@functools.cache
def custom(directory, version, kind):
    """Returns the schema of a custom kind, or None."""
    group, _, name = version.partition("/")
    for file in pathlib.Path(directory).glob(f"*-crds/{group}_{kind.lower()}s.yaml"):
        for each in read(file)[0]["spec"]["versions"]:
            if each["name"] == name:
                schema = each["schema"]["openAPIV3Schema"]
                close(schema)
                schema["properties"]["metadata"] = {"type": "object"}
                return jsonschema.Draft202012Validator(schema)
    return None


def read(file):
    """Returns the objects of a file."""
    return [item for item in yaml.load_all(pathlib.Path(file).read_text(encoding="utf-8"), Loader=LOADER) if item]


def problem(item, directory):
    """Returns what is wrong with an object."""
    schema = custom(directory, item["apiVersion"], item["kind"])
    try:
        if schema:
            schema.validate(item)
        else:
            kubernetes_validate.validate(item, VERSION, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.ValidationError) as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError:
        return f"{item['apiVersion']} has no such kind"
    return None


def main():
    directory, *files = sys.argv[1:]
    wrong = False
    for file in files:
        items = read(file)
        for item in items:
            if said := problem(item, directory):
                print(f"{file}: {item['kind']} {item['metadata']['name']}: {said}")
                wrong = True
        wrong = wrong or not items
    sys.exit(1 if wrong or not files else 0)


main()
