{{/* config.toml: the same as that of the Kustomize overlay with the same name, which deploy/check compares. */}}
{{- define "ecr-broker.config" -}}
# `ecr-broker config example` explains every setting.

# Grants: each key grants-NAME.toml of the ConfigMap. Without one, every request is denied.
include = ["grants-*.toml"]
grants  = []

[server]
{{- if eq .Values.mode "central" }}
# The socket serves `kubectl exec` in the pod: `/ecr-broker status`.
listen = ["unix:/run/ecr-broker/broker.sock", "0.0.0.0:50051"]
# Time in which the Service's endpoints lose the pod, then time for requests in flight. Their sum and
# 10 s are the pod's terminationGracePeriodSeconds.
drain_delay   = "5s"
drain_timeout = "20s"
# Clients spread over the pods again when their connections end.
max_connection_age = "10m"
{{- else }}
# The socket is the node's: kubelet is uid 0 there.
listen        = ["unix:/run/ecr-broker/broker.sock", "0.0.0.0:50051"]
drain_timeout = "20s"
{{- end }}
# Probes and Prometheus, over the network of the cluster's pods.
ops_listen          = "0.0.0.0:9464"
ops_allow_plaintext = true

[server.tls]
certificate = "/etc/ecr-broker-tls/tls.crt"
key         = "/etc/ecr-broker-tls/tls.key"
{{- with .Values.issuer }}
{{- if .url }}

# Service accounts of this cluster. `kubectl get --raw /.well-known/openid-configuration` has the issuer.
[[authentication.jwt]]
name      = "cluster"
issuer    = {{ .url | quote }}
audience  = {{ .audience | quote }}
{{- with .jwksUri }}
jwks_uri  = {{ . | quote }}
{{- end }}
{{- if .clusterCa }}
ca_bundle = "/etc/ecr-broker-cluster/ca.crt"
{{- end }}
{{- end }}
{{- end }}

[audit]
# `kubectl logs` has a line for each released credential.
output = "stdout"

[aws]
region = {{ .Values.aws.region | quote }}
{{- if .Values.parent.enabled }}

# The central broker knows this one by the token of its service account.
[[parents]]
name       = "central"
addresses  = [{{ include "ecr-broker.parentAddress" . | quote }}]
tls_ca     = "/etc/ecr-broker-ca/ca.crt"
token_file = "/var/run/secrets/ecr-broker/token"
registries = [{ accounts = ["*"], regions = ["*"] }, { public = true }]
{{- end }}
{{- with .Values.extraConfig }}

{{ . | trim }}
{{- end }}
{{ end }}
