# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# The Terraform modules: Terraform for those without a provider, parliament for their documents, python-hcl2 for the rest.

for python in python3 "$TOOLS/venv/bin/python3" ''; do
    [[ -n $python ]] || fail "python-hcl2 or parliament is missing; install it with: $pip_install"
    if "$python" -c 'import hcl2, parliament' 2>/dev/null; then break; fi
done
modules=deploy/terraform

# planted FILE FROM TO: a copy of the modules with a mistake in one file.
planted() {
    rm -rf "$work/planted"
    mkdir -p "$work/planted/deploy"
    cp --recursive "$modules" deploy/iam "$work/planted/deploy"
    replaced "$modules/$1" "$2" "$3" >"$work/planted/$modules/$1"
}
# catches_each CHECK MISTAKE…: the check of a copy finds each mistake, which is FILE|FROM|TO.
catches_each() {
    local check=$1 mistake file from to
    for mistake in "${@:2}"; do
        IFS='|' read -r file from to <<<"$mistake"
        planted "$file" "$from" "$to"
        catches "${file%/*}: '$to' for '$from'" "$check" "$work/planted"
    done
}
verified() { # COPY
    "$python" "$1/$modules/verify.py" modules "$1/$modules"
}
passes 'terraform: references, arguments and types fit' verified .
catches_each verified \
    'modules/broker-role/main.tf|module.documents.broker_trust|module.documents.broker_trusts' \
    'modules/broker-role/main.tf|var.permissions_boundary|var.permission_boundary' \
    'modules/account-roles/main.tf|assume_role_policy |assume_role_polcy ' \
    'modules/account-roles/variables.tf|public      = optional(bool)|public      = optional(string)' \
    'examples/alarm/main.tf|quota  |quotas ' \
    'examples/account/main.tf|roles = {|roles = ('

# Package indexes do not have it. The workflow of CI installs it, and fails if this line is printed.
if ! command -v terraform >/dev/null; then
    printf 'SKIPPED  terraform is not in PATH: fmt, validate, test and the rendered documents of %s were not checked\n' "$modules"
    return 0
fi
export TF_CLI_CONFIG_FILE=/dev/null TF_DATA_DIR=$work/terraform.d CHECKPOINT_DISABLE=1
passes 'terraform fmt' terraform fmt -check -recursive "$modules"
planted modules/quota-alarm/main.tf 'alarm_name          =' 'alarm_name ='
catches 'a file that is not formatted' terraform fmt -check -recursive "$work/planted/$modules"

# in_documents COPY ARGUMENT…: runs Terraform in modules/documents of a copy, which needs no provider. It speaks when it succeeds.
in_documents() {
    terraform -chdir="$1/$modules/modules/documents" "${@:2}" -no-color >"$work/terraform" 2>&1 || { cat "$work/terraform"; return 1; }
}
tested() { # COPY
    in_documents "$1" init -backend=false && in_documents "$1" validate && in_documents "$1" test
}
mkdir -p "$work/whole/deploy"
cp --recursive "$modules" deploy/iam "$work/whole/deploy"
passes 'modules/documents: terraform init, validate, test' tested "$work/whole"
catches_each tested \
    'modules/documents/permissions.tf|"ecr:PutImage", |' \
    'modules/documents/trust.tf|"sts:ExternalId"|"sts:ExternalID"' \
    'modules/documents/variables.tf|[a-z0-9._/-]*\\*?|[a-z0-9._/*-]*' \
    'modules/documents/variables.tf|"aws-eusc", |' \
    'modules/documents/outputs.tf|local.mint|local.mints'

# rendered COPY FILE: the documents, made from the values of checked/all.tfvars.
rendered() {
    in_documents "$1" apply -auto-approve -state="$work/$2.state" -var-file="$PWD/$modules/checked/all.tfvars" || fail "$(<"$work/terraform")"
    terraform output -state="$work/$2.state" -json >"$work/$2"
}
parliament_reads() { # FILE
    "$python" "$modules/verify.py" policies "$1" >"$work/policies" &&
        { "$python" tests/clients/policies.py "$work/policies" >"$work/findings" || { cat "$work/findings"; return 1; }; }
}
rendered "$work/whole" outputs
passes 'modules/documents: parliament' parliament_reads "$work/outputs"
planted modules/documents/trust.tf '"aws:SourceAccount"' '"aws:SourceAcount"'
rendered "$work/planted" misspelt
catches 'a misspelt condition key' parliament_reads "$work/misspelt"
planted modules/documents/permissions.tf '"ecr:CompleteLayerUpload"' '"ecr:CompleteLayersUpload"'
rendered "$work/planted" misspelt
catches 'a misspelt action' parliament_reads "$work/misspelt"

"$ECR_BROKER" config check --roles --config "$modules/checked/profile.toml" >"$work/roles" || fail "config check --roles: $(<"$work/roles")"
passes 'modules/documents: the trust policy that the broker prints' "$python" "$modules/verify.py" trust "$work/outputs" "$work/roles"
sed 's/"sts:SetSourceIdentity"/"sts:SetContext"/' "$work/roles" >"$work/other-roles"
catches 'a trust policy that the broker does not need' "$python" "$modules/verify.py" trust "$work/outputs" "$work/other-roles"
