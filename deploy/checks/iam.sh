# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# IAM policies: parliament.

need parliament "$pip_install"

for policy in deploy/iam/*.json; do
    # --file waits for stdin if stdin is not a terminal.
    passes "$policy: parliament" parliament --string "$(<"$policy")"
done
misspelt=$(replaced deploy/iam/mint.json ecr:GetAuthorizationToken ecr:GetAuthorisationToken)
catches 'a misspelt IAM action' parliament --string "$misspelt"
unscoped=$(replaced deploy/iam/pull.json :repository/ :registry/)
catches 'an IAM resource of the wrong kind' parliament --string "$unscoped"
