# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# The bootstrap of Kubernetes nodes: what it writes below a root for both ways of kubelet to get its flags, twice, and the examples.

node=deploy/kubernetes/node
decoder=$TOOLS/bin/kubelet-decoder
[[ -x $decoder ]] || fail "$decoder is missing; run .ci/tools"

bootstrap() { # SCRIPT KIND: runs the script below $work/node
    ECR_BROKER=$(realpath "$ECR_BROKER") "$1" --kubelet "$2" --config "$node/config.toml" --audience ecr-broker --root "$work/node" 2>&1
}
# Prints nothing if a script twice leaves what kubelet needs below $work/node.
sets_up() { # SCRIPT
    local kind said
    rm -rf "$work/node"
    mkdir -p "$work/node/etc/default"
    printf 'KUBELET_EXTRA_ARGS="--node-ip=10.0.0.1"\n' >"$work/node/etc/default/kubelet"
    for kind in nodeadm kubeadm kubeadm; do
        said=$(bootstrap "$1" "$kind") || { printf '%s\n' "$said"; return 1; }
    done
    "$decoder" <"$work/node/etc/ecr-broker/credential-provider.yaml" >"$work/decoded" || return 1
    grep -q '"serviceAccountTokenAudience":"ecr-broker"' "$work/decoded" || echo 'kubelet sends no tokens'
    local flags='--image-credential-provider-bin-dir=/usr/libexec/ecr-broker/credential-providers --image-credential-provider-config=/etc/ecr-broker/credential-provider.yaml'
    diff <(printf 'KUBELET_EXTRA_ARGS="--node-ip=10.0.0.1 %s"\n' "$flags") "$work/node/etc/default/kubelet"
    diff <(tr ' ' '\n' <<<"$flags") <(sed -n 's/^ *- //p' "$work/node/etc/eks/nodeadm.d/50-ecr-broker.yaml")
    [[ -L $work/node/usr/libexec/ecr-broker/credential-providers/ecr-broker ]] || echo 'kubelet finds no provider'
}
passes "$node/bootstrap: shellcheck" shellcheck "$node/bootstrap"
passes 'node: bootstrap for nodeadm and kubeadm, twice' sets_up "$node/bootstrap"
replaced "$node/bootstrap" '/^--image-credential-provider-/d; ' '' >"$work/bootstrap"
chmod +x "$work/bootstrap"
catches 'a bootstrap that repeats its flags' sets_up "$work/bootstrap"

# nodeadm reads each part of the user data; the fields are those of the drop-in above.
sed -n '/^#!/,/^--PART--/p' "$node/user-data.mime" | sed '$d' >"$work/user-data.sh"
passes 'node: the script of the user data' shellcheck "$work/user-data.sh"
