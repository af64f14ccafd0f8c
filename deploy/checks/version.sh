# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# The version of Cargo.toml: the chart, manifests, pages and examples name the same one, and the changelog has its section.
# And the pages name its rust-version.

release=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
number='[0-9]+\.[0-9]+\.[0-9]+' other=0.0.1

others() { # FILE_OR_DIRECTORY...: names another version of the project
    local found
    found=$({
        # Images, packages, archives, addresses of releases, and the GitHub action.
        grep -rHnoE --binary-files=without-match "ecr-broker(/[a-z/-]+|-kubernetes)?[:_@/-]v?$number" "$@"
        grep -rHnoE --include='*.md' "newTag: $number" "$@"
        grep -rHnoE --include={Chart,kustomization}.yaml "^ *(newTag|version|appVersion): $number" "$@"
        grep -rHnE --include=Cargo.lock --after-context=1 '^name = "ecr-broker"$' "$@" | grep -oE "^.*version = \"$number"
    } | grep -vE "[^0-9.]${release//./\\.}\$" || true)
    [[ -n $found ]] || return 0
    printf '%s\nCargo.toml has %s\n' "$found" "$release"
    return 1
}
passes 'version: that of Cargo.toml everywhere' others deploy docs examples fuzz/Cargo.lock README.md

planted() { # FILE FROM TO: others on a copy of the file with a mistake
    mkdir -p "$work/planted"
    replaced "$1" "$2" "$3" >"$work/planted/${1##*/}"
    catches "another version in $1" others "$work/planted"
    rm -r "$work/planted"
}
planted deploy/helm/ecr-broker/Chart.yaml "version: $release" "version: $other"
planted deploy/helm/ecr-broker/Chart.yaml "appVersion: $release" "appVersion: $other"
planted deploy/kubernetes/base/kustomization.yaml "newTag: $release" "newTag: $other"
planted docs/kubernetes.md "newTag: $release" "newTag: $other"
planted docs/kubernetes.md "ecr-broker-kubernetes-$release" "ecr-broker-kubernetes-$other"
planted examples/compose/compose.yaml "ecr-broker:$release" "ecr-broker:$other"
planted docs/clients/kubelet.md "ecr-broker_$release-1" "ecr-broker_$other-1"
planted docs/ci/github.md "github-action@v$release" "github-action@v$other"
planted fuzz/Cargo.lock $'"ecr-broker"\nversion = "'"$release" $'"ecr-broker"\nversion = "'"$other"

has_section() { # CHANGELOG
    CHANGELOG=$1 deploy/release/notes "$release" >/dev/null
}
passes 'version: the changelog has its section' has_section CHANGELOG.md
replaced CHANGELOG.md "## $release " "## $other " >"$work/CHANGELOG.md"
catches 'a version without a section' has_section "$work/CHANGELOG.md"

# cargo refuses an older patch release, too.
same_rust() { # CARGO_TOML PAGE...
    local rust page
    rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$1")
    for page in "${@:2}"; do
        grep -qF "Rust $rust" "$page" || { printf '%s does not name Rust %s, the rust-version of Cargo.toml\n' "$page" "$rust"; return 1; }
    done
}
pages=(README.md docs/install.md docs/support.md)
passes 'version: the pages name the oldest Rust' same_rust Cargo.toml "${pages[@]}"
replaced Cargo.toml 'rust-version = "1.' 'rust-version = "2.' >"$work/Cargo.toml"
catches 'another oldest Rust' same_rust "$work/Cargo.toml" "${pages[@]}"
