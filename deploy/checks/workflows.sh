# shellcheck shell=bash disable=SC2016,SC2154 # expressions of workflows, variables of deploy/check
# The workflows: actionlint reads syntax, expressions and scripts, zizmor permissions, pins and injections. And what the release workflow
# prints as its notes.

PATH=$PATH:$(realpath --canonicalize-missing "$TOOLS")/bin
need actionlint 'go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12'
need zizmor "$pip_install"

workflows=(.github/workflows/*.yml)
passes 'workflows: actionlint' actionlint "${workflows[@]}"
# It also says what it did.
audited() {
    zizmor --offline --quiet --no-progress "$@" >"$work/zizmor" 2>&1 || { cat "$work/zizmor"; return 1; }
}
passes 'workflows: zizmor' audited "${workflows[@]}" .github/actions/*/action.yml
one_compiler() { # WORKFLOW...: containers have the compiler that a release pins
    local image toolchain
    toolchain=$(<deploy/release/toolchain)
    while read -r image; do
        [[ $image == "rust:$toolchain-"* ]] || { echo "$image has another compiler than deploy/release/toolchain"; return 1; }
    done < <(sed -n 's/^ *image: //p' "$@")
}
passes 'workflows: the compiler of a release' one_compiler "${workflows[@]}"
mkdir "$work/compiler"
replaced .github/workflows/ci.yml 'image: rust:1' 'image: rust:2' >"$work/compiler/ci.yml"
catches 'a container with another compiler' one_compiler "$work/compiler/ci.yml"
apart() { # WORKFLOW: the tools of CI, hundreds of packages, cannot change what a release ships
    awk '/^  [a-z]+:$/ { tools = programs = 0 } /run: \.ci\/tools/ { tools = 1 } /run: deploy\/release\/compile/ { programs = 1 }
        tools && programs { print "a job compiles programs beside the tools of CI"; exit 1 }' "$1"
}
passes 'workflows: a release is compiled without the tools of CI' apart .github/workflows/release.yml
mistake() { # FROM TO: the release workflow with a mistake
    mkdir -p "$work/.github/workflows"
    replaced .github/workflows/release.yml "$1" "$2" >"$work/.github/workflows/release.yml"
}
mistake 'needs: [test, build]' 'needs: [tests, build]'
catches 'a job that needs a missing one' actionlint "$work/.github/workflows/release.yml"
mistake '- run: deploy/release/tools' $'- run: .ci/tools\n      - run: deploy/release/tools'
catches 'the tools of CI beside the compiler' apart "$work/.github/workflows/release.yml"
mistake '${{ github.server_url }}' '${{ github.server }}'
catches 'an unknown value' actionlint "$work/.github/workflows/release.yml"
mistake 'deploy/release/notes "${GITHUB_REF_NAME#v}" >notes.md' 'deploy/release/notes "${{ github.ref_name }}" >notes.md'
catches 'an injection by the name of a tag' audited "$work/.github/workflows/release.yml"
mistake $'permissions:\n      contents: read\n' $'permissions: write-all\n'
catches 'a job with all permissions' audited "$work/.github/workflows/release.yml"
mistake 'checkout@93cb6efe18208431cddfb8368fd83d5badbf9bfd' 'checkout@v5'
catches 'an action that is not pinned' audited "$work/.github/workflows/release.yml"

version=$("$ECR_BROKER" --version | cut --delimiter=' ' --fields=2)
export CHANGELOG=$work/CHANGELOG.md
notes() { # TEXT VERSION
    printf '%s' "$1" >"$CHANGELOG"
    deploy/release/notes "$2"
}
text=$'# Changelog\n\n## Unreleased\n\n- next\n\n## '$version$' - 2026-12-02\n\n- a change\n\n## 0.0.1\n\n- an old change\n'
[[ $(notes "$text" "$version") == '- a change' ]] || fail "the notes of a release are: $(notes "$text" "$version")"
echo 'ok  release: its section of the changelog'
catches 'a release of another version' notes "$text" 0.0.1
catches 'a release without a section' notes $'# Changelog\n\n## Unreleased\n\n- next\n' "$version"
unset CHANGELOG
# A person sets them before the first release.
printf 'repository = "https://git.example/ecr-broker"\n' >"$work/placeholder.toml"
replaced "$work/placeholder.toml" git.example git.corp.invalid >"$work/Cargo.toml"
named() { # MAINTAINER FILE
    MAINTAINER=$1 deploy/release/placeholders "$2"
}
passes 'release: an address and a maintainer' named 'A Name <name@corp.invalid>' "$work/Cargo.toml"
catches 'a release from a placeholder' named 'A Name <name@corp.invalid>' "$work/placeholder.toml"
catches 'a release without a maintainer' named '' "$work/Cargo.toml"
