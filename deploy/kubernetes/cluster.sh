# shellcheck shell=bash disable=SC2154 # variables of deploy/kubernetes/try
# A Kubernetes of one node, for deploy/kubernetes/try. It expects separate namespaces for mounts, processes and the network, so nothing
# of it is left when the first process ends. Functions: cluster_up, k (kubectl).

service_network=10.96.0.0/24 issuer=https://kubernetes.default.svc.cluster.local

# daemon NAME COMMAND…: runs it in the background, its output in NAME.log
daemon() {
    local name=$1
    shift
    "$@" >"$cluster/$name.log" 2>&1 &
    echo $! >"$cluster/$name.pid"
}

# until_true SECONDS WHAT COMMAND…
until_true() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || fail "$what: not within the time limit"
        sleep 0.1
    done
}

k() {
    kubectl --kubeconfig "$cluster/admin.kubeconfig" "$@"
}

network_up() {
    ip link set lo up
    # kubelet refuses a loopback address as its node's. The other end of the pair goes nowhere.
    ip link add eth0 type veth peer name nowhere
    ip address add "$node_address/24" dev eth0
    ip link set eth0 up
    ip link set nowhere up
    ip route add default via 10.99.0.1
    sysctl -qw net.ipv4.ip_forward=1
}

sign() { # NAME SUBJECT EXTENSION
    local key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
    openssl req "${key[@]}" -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out "$1.crt" -extfile <(echo "$3") 2>/dev/null
}

kubeconfig() { # USER
    cat <<END
{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
 clusters: [{name: c, cluster: {server: "https://$node_address:6443", certificate-authority: $cluster/ca.crt}}],
 users: [{name: u, user: {client-certificate: $cluster/$1.crt, client-key: $cluster/$1.key}}]}
END
}

identities() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.crt -subj /CN=cluster 2>/dev/null
    local names=DNS:localhost,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
    sign apiserver /CN=kube-apiserver "subjectAltName=$names,IP:127.0.0.1,IP:$node_address,IP:10.96.0.1"
    sign admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
    sign kubelet /O=system:nodes/CN=system:node:node extendedKeyUsage=clientAuth
    openssl genrsa -out accounts.key 2048 2>/dev/null
    openssl rsa -in accounts.key -pubout -out accounts.pub 2>/dev/null
    kubeconfig admin >admin.kubeconfig
    kubeconfig kubelet >kubelet.kubeconfig
}

control_plane() {
    daemon etcd etcd --data-dir "$cluster/etcd" --unsafe-no-fsync --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
    daemon apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --advertise-address="$node_address" --secure-port=6443 \
        --tls-cert-file=apiserver.crt --tls-private-key-file=apiserver.key --client-ca-file=ca.crt --authorization-mode=Node,RBAC \
        --service-account-issuer=$issuer --service-account-signing-key-file=accounts.key --service-account-key-file=accounts.pub \
        --service-cluster-ip-range=$service_network --enable-admission-plugins=NodeRestriction \
        --kubelet-preferred-address-types=InternalIP --kubelet-client-certificate=admin.crt --kubelet-client-key=admin.key
    until_true 120 'the API server is ready' k get --raw /readyz
    daemon controllers kube-controller-manager --kubeconfig=admin.kubeconfig --service-account-private-key-file=accounts.key --root-ca-file=ca.crt \
        --use-service-account-credentials --leader-elect=false --bind-address=127.0.0.1
    daemon scheduler kube-scheduler --kubeconfig=admin.kubeconfig --leader-elect=false --bind-address=127.0.0.1
}

# A link for each pod, and none between pods: so every packet to a Service passes the node's rules.
pod_network() {
    mkdir -p cni
    cat >cni/pods.conflist <<END
{"cniVersion": "0.4.0", "name": "pods", "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "dataDir": "$cluster/ipam",
  "ranges": [[{"subnet": "10.98.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
END
}

containers() { # REGISTRY-HOST REGISTRY-URL: pulls of that host go to the URL
    cat >containerd.toml <<END
version = 2
root = "$cluster/containerd"
state = "$cluster/containerd-state"
[grpc]
  address = "$cluster/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "pause:1"
  # Some machines give their root no right to a lower oom_score_adj than its own; sandboxes would not start.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$cluster/cni"
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."$1"]
    endpoint = ["$2"]
END
    daemon containerd containerd --config "$cluster/containerd.toml"
    until_true 60 'containerd answers' ctr --address "$cluster/containerd.sock" version
}

node() { # KUBELET-FLAG…
    cat >kubelet.yaml <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
# Cgroups of version 1 are refused otherwise, and cgroups are not what is tested.
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
containerRuntimeEndpoint: unix://$cluster/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $cluster/ca.crt}}
authorization: {mode: Webhook}
clusterDNS: [$node_address]
clusterDomain: cluster.local
resolvConf: ""
podLogsDir: $cluster/pods
# The disk and memory of the machine are shared with builds.
evictionHard: {memory.available: 50Mi, nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
imageGCHighThresholdPercent: 100
END
    daemon kubelet kubelet --config=kubelet.yaml --kubeconfig=kubelet.kubeconfig --hostname-override=node --node-ip="$node_address" \
        --root-dir="$cluster/kubelet" --cert-dir="$cluster/kubelet-certificates" "$@"
    # Sysctls of the machine are not this namespace's to set.
    cat >proxy.yaml <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
hostnameOverride: node
clientConnection: {kubeconfig: $cluster/admin.kubeconfig}
clusterCIDR: 10.98.0.0/24
conntrack: {maxPerCore: 0, min: 0}
END
    daemon proxy kube-proxy --config=proxy.yaml
    cat >Corefile <<END
.:53 {
    bind $node_address
    errors
    kubernetes cluster.local {
        kubeconfig $cluster/admin.kubeconfig
    }
}
END
    daemon coredns coredns -conf Corefile
    until_true 60 'the node registers' k get node node
    k wait --for=condition=Ready node/node --timeout=60s >/dev/null
    until_true 60 'namespaces get a service account' k get serviceaccount default
}

# cluster_up REGISTRY-HOST REGISTRY-URL KUBELET-FLAG…: $cluster is its directory; images go into containerd before this returns, by `images`.
cluster_up() {
    local host=$1 url=$2
    shift 2
    pushd "$cluster" >/dev/null || return
    identities
    pod_network
    containers "$host" "$url"
    control_plane
    images
    node "$@"
    popd >/dev/null || return
}
