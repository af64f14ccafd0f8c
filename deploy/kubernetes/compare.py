"""Compares rendered objects one by one: python3 compare.py HELM KUSTOMIZE. Prints each difference, and nothing if there is none.

What may differ: Helm's two labels, the order of volumes, mounts and variables, and the namespace, which the chart leaves to its user.
"""

import difflib
import sys

import yaml


def normal(item):
    """Returns an object without what only one of the two writes, as text."""
    for metadata in (item["metadata"], item.get("spec", {}).get("template", {}).get("metadata", {})):
        for label in ("helm.sh/chart", "app.kubernetes.io/managed-by"):
            metadata.get("labels", {}).pop(label, None)
    pod = item.get("spec", {}).get("template", {}).get("spec", {})
    for parent in (pod, *pod.get("containers", [])):
        for entries in ("volumes", "volumeMounts", "env"):
            parent.get(entries, []).sort(key=lambda entry: entry["name"])
    return yaml.safe_dump(item, width=200)


def objects(file):
    """Returns the objects of a file by kind, namespace and name."""
    with open(file, encoding="utf-8") as text:
        items = [item for item in yaml.safe_load_all(text) if item and item["kind"] != "Namespace"]
    return {" ".join((i["apiVersion"], i["kind"], i["metadata"].get("namespace", "-"), i["metadata"]["name"])): normal(i) for i in items}


def main():
    helm, kustomize = (objects(file) for file in sys.argv[1:])
    for name in sorted(helm.keys() | kustomize.keys()):
        if name not in kustomize:
            print(f"only Helm: {name}")
        elif name not in helm:
            print(f"only Kustomize: {name}")
        elif helm[name] != kustomize[name]:
            lines = [text[name].splitlines() for text in (kustomize, helm)]
            print("\n".join(difflib.unified_diff(*lines, f"kustomize {name}", f"helm {name}", lineterm="")))
    sys.exit(0 if helm == kustomize and helm else 1)


main()
