# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# Recipes of examples/ci and the GitHub action: each file by its own schema, grants by their expectations, the sidecar of ECS by running it.

need check-jsonschema "$pip_install"
need parliament "$pip_install"
need hadolint "$pip_install"
need zizmor "$pip_install"
actionlint=$(type -P actionlint || echo "$TOOLS/bin/actionlint")
need "$actionlint" 'go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12'
tekton_lint=$(type -P tekton-lint || echo "$TOOLS/node/node_modules/.bin/tekton-lint")
need "$tekton_lint" 'npm install @ibm/tekton-lint@1.1.0'
for python in python3 "$TOOLS/venv/bin/python3" ''; do
    [[ -n $python ]] || fail "kubernetes-validate is missing; install it with: $pip_install"
    if "$python" -c 'import botocore, kubernetes_validate, yaml' 2>/dev/null; then break; fi
done

recipes=examples/ci
checks_recipe() { # WHAT FILE…: recipes.py finds no mistake
    "$python" deploy/checks/recipes.py "$@"
}
of_schema() { # SCHEMA FILE…
    check-jsonschema --builtin-schema "vendor.$1" "${@:2}" >"$work/schema" || { cat "$work/schema"; return 1; }
}

passes 'github-action: shellcheck' shellcheck deploy/github-action/setup
replaced deploy/github-action/setup "\"\${hosts[@]}\"" "\${hosts[@]}" >"$work/setup"
catches 'an input that the shell splits' shellcheck "$work/setup"
passes 'github-action: schema' of_schema github-actions deploy/github-action/action.yml
replaced deploy/github-action/action.yml 'using: composite' 'using: composed' >"$work/action.yml"
catches 'an action that GitHub cannot run' of_schema github-actions "$work/action.yml"
audited() { # DIRECTORY: zizmor says what it did, too
    zizmor --offline --quiet --no-progress "$1" >"$work/zizmor" 2>&1 || { cat "$work/zizmor"; return 1; }
}
passes 'github-action: zizmor' audited deploy/github-action
mkdir "$work/injected"
replaced deploy/github-action/action.yml "'\"\$GITHUB_ACTION_PATH/setup\"'" "echo \${{ inputs.from }}" >"$work/injected/action.yml"
catches 'an input inside a script' audited "$work/injected"
passes 'github: schema' of_schema github-workflows "$recipes"/github/*.yml
replaced "$recipes/github/hosted.yml" 'id-token: write' 'id-tokens: write' >"$work/hosted.yml"
catches 'a misspelt permission' of_schema github-workflows "$work/hosted.yml"

# With the action as a local one, actionlint knows its inputs, too.
mkdir -p "$work/repository/.github/workflows" "$work/repository/deploy"
cp -R deploy/github-action "$work/repository/deploy/"
git -C "$work/repository" init --quiet
linted() { # WORKFLOW…
    local workflow
    for workflow in "$@"; do
        sed 's|OWNER/ecr-broker/\(.*\)@.*|./\1|' "$workflow" >"$work/repository/.github/workflows/push.yml"
        (cd "$work/repository" && "$actionlint" -no-color) || return 1
    done
}
passes 'github: actionlint' linted "$recipes"/github/*.yml
replaced "$recipes/github/hosted.yml" 'registries:' 'registry:' >"$work/hosted.yml"
catches 'an input that the action does not have' linted "$work/hosted.yml"
replaced "$recipes/github/hosted.yml" 'vars.ECR_BROKER_ADDRESS' 'var.ECR_BROKER_ADDRESS' >"$work/hosted.yml"
catches 'a context that GitHub does not have' linted "$work/hosted.yml"

passes 'gitlab: schema' of_schema gitlab-ci "$recipes/gitlab/gitlab-ci.yml"
replaced "$recipes/gitlab/gitlab-ci.yml" '{ aud:' '{ audience:' >"$work/gitlab-ci.yml"
catches 'an ID token without an audience' of_schema gitlab-ci "$work/gitlab-ci.yml"
passes 'buildkite: schema' of_schema buildkite "$recipes/buildkite/pipeline.yml"
replaced "$recipes/buildkite/pipeline.yml" 'command:' 'commend:' >"$work/pipeline.yml"
catches 'a step that Buildkite does not know' of_schema buildkite "$work/pipeline.yml"

for file in "$recipes"/{kaniko/job,tekton/task,actions-runner-controller/values}.yaml; do
    passes "$file: pods by Kubernetes' schema" checks_recipe pods "$file"
    replaced "$file" 'value:' 'valu:' >"$work/pods.yaml"
    catches 'a misspelt field of a pod' checks_recipe pods "$work/pods.yaml"
done
for file in "$recipes"/{kaniko/job,tekton/task}.yaml; do
    replaced "$file" 'mountPath: /etc/ecr-broker-ca,' 'mountPath: /ca,' >"$work/pods.yaml"
    catches "a CA that the pod of $file does not mount" checks_recipe pods "$work/pods.yaml"
    replaced "$file" '- name: ecr-broker-ca' '- name: ecr-broker-cas' >"$work/pods.yaml"
    catches "a volume that $file lacks" checks_recipe pods "$work/pods.yaml"
done
tekton() { # TASK: with the run of the recipe
    "$tekton_lint" --max-warnings 0 "$1" "$recipes/tekton/run.yaml"
}
passes 'tekton: tekton-lint' tekton "$recipes/tekton/task.yaml"
replaced "$recipes/tekton/task.yaml" '(params.repository)' '(params.repo)' >"$work/task.yaml"
catches 'a parameter that the task does not have' tekton "$work/task.yaml"
containerfile=$recipes/actions-runner-controller/Containerfile
passes "$containerfile: hadolint" hadolint "$containerfile"
replaced "$containerfile" '--from=broker /ecr-broker' '--from=brokers /ecr-broker' >"$work/Containerfile"
catches 'a stage that does not exist' hadolint "$work/Containerfile"

for file in "$recipes"/ecs/{central-broker,sidecar}.json; do
    passes "$file: model of the AWS SDK" checks_recipe task-definition "$file"
    replaced "$file" '"essential": true' '"essential": "true"' >"$work/task.json"
    catches 'a text in place of a truth value' checks_recipe task-definition "$work/task.json"
done
# parliament does not know this action yet, which is of 2025.
policy_of_task() { # POLICY
    parliament --string "$1" 2>&1 | grep -v 'Unknown action sts:GetWebIdentityToken ' || true
}
passes 'ecs: parliament' policy_of_task "$(<"$recipes/ecs/task-role.json")"
misspelt=$(replaced "$recipes/ecs/task-role.json" sts:GetWebIdentityToken sts:GetWebIdentityTokens)
catches 'a misspelt IAM action' policy_of_task "$misspelt"
# ForAllValues holds for a request without the key, which parliament does not say.
requires_keys() { # FILE
    jq --exit-status 'all(.Statement[].Condition; . as $all | to_entries | map(select(.key | startswith("ForAllValues:")).value | keys[]) |
        all($all.Null[.] == "false"))' "$1" >/dev/null || { echo "$1 allows requests without a key of ForAllValues"; return 1; }
}
passes 'ecs: conditions require their keys' requires_keys "$recipes/ecs/task-role.json"
replaced "$recipes/ecs/task-role.json" '"Null": { "sts:IdentityTokenAudience": "false" },' '' >"$work/task-role.json"
catches 'a condition that holds without its key' requires_keys "$work/task-role.json"
# In a network namespace, as the containers of a task share one. Without AWS a simulation has a role for it.
sidecar_serves() { # FILE
    local serve check
    serve=$(checks_recipe sidecar "$1" command)
    check=$(checks_recipe sidecar "$1" health)
    unshare --net bash -c "ip link set lo up
        export AWS_ENDPOINT_URL=http://127.0.0.1:4599 AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_REGION=eu-central-1
        $ECR_BROKER simulate-aws >'$work/aws' 2>&1 &
        aws=\$!
        $ECR_BROKER $serve >'$work/broker' 2>&1 &
        broker=\$!
        trap 'kill \$broker \$aws; wait' EXIT
        $ECR_BROKER $check --wait 30s &&
        ECR_BROKER_ADDRESS=http://127.0.0.1:50051 $ECR_BROKER get -o password 123456789012.dkr.ecr.eu-central-1.amazonaws.com" \
        >"$work/sidecar" 2>&1 || { cat "$work/sidecar" "$work/broker"; return 1; }
}
passes 'ecs: the sidecar serves by its command and its health check' sidecar_serves "$recipes/ecs/sidecar.json"
replaced "$recipes/ecs/sidecar.json" ', "--allow-loopback"' '' >"$work/task.json"
catches 'a sidecar that admits no container' sidecar_serves "$work/task.json"

lint_finds_nothing() { # BROKER
    "$ECR_BROKER" policy check --config "$1" >"$work/said" && [[ $(<"$work/said") = *', no findings' ]]
}
decides() { # SYSTEM BROKER
    lint_finds_nothing "$2" &&
        "$ECR_BROKER" config check --config "$2" >"$work/said" &&
        "$ECR_BROKER" policy test --config "$2" "$recipes/$1/expectations.toml" >"$work/said" && return
    cat "$work/said"
    return 1
}
for broker in "$recipes"/*/broker.toml; do
    system=$(basename "$(dirname "$broker")")
    passes "$broker: grants decide as expected" decides "$system" "$broker"
done
replaced "$recipes/github/broker.toml" ', event_name = "push", ref = "refs/heads/main"' '' >"$work/broker.toml"
catches 'a grant for pull requests of strangers' decides github "$work/broker.toml"
# An issuer that serves every customer of its platform.
replaced "$recipes/gitlab/broker.toml" https://gitlab.example https://gitlab.com >"$work/gitlab.toml"
passes 'gitlab.com: a grant with the ID of a project' lint_finds_nothing "$work/gitlab.toml"
replaced "$work/gitlab.toml" 'project_id = "456", ' '' >"$work/broker.toml"
catches 'a grant for every project of gitlab.com' lint_finds_nothing "$work/broker.toml"
replaced "$work/gitlab.toml" 'project_id = "456"' 'project_path = "team/app"' >"$work/broker.toml"
catches 'a grant for a path that others can register later' lint_finds_nothing "$work/broker.toml"
sed -E 's/(organization|pipeline)_id = "[^"]*", //g' "$recipes/buildkite/broker.toml" >"$work/broker.toml"
catches 'a grant for every organization of Buildkite' lint_finds_nothing "$work/broker.toml"
