"""Runs the steps of a Buildkite pipeline as an agent does: by bash, with the environment of the pipeline and of the step."""

import os
import subprocess
import sys

import yaml

with open(sys.argv[1]) as file:
    pipeline = yaml.safe_load(file)
for step in pipeline["steps"]:
    environment = os.environ | pipeline.get("env", {}) | step.get("env", {})
    subprocess.run(["bash", "-e", "-c", step["command"]], env=environment, check=True)
