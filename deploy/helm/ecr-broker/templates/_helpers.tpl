{{- define "ecr-broker.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "ecr-broker.selector" -}}
app.kubernetes.io/name: ecr-broker
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "ecr-broker.valkeySelector" -}}
app.kubernetes.io/name: ecr-broker-valkey
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "ecr-broker.chartLabels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Namespace and labels of every object. */}}
{{- define "ecr-broker.metadata" -}}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "ecr-broker.selector" . | nindent 2 }}
  {{- include "ecr-broker.chartLabels" . | nindent 2 }}
{{- end }}

{{- define "ecr-broker.valkeyMetadata" -}}
name: {{ include "ecr-broker.name" . }}-valkey
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "ecr-broker.valkeySelector" . | nindent 2 }}
  {{- include "ecr-broker.chartLabels" . | nindent 2 }}
{{- end }}

{{- define "ecr-broker.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* Address of the parent, which is not a Service of this release: the broker would ask itself. */}}
{{- define "ecr-broker.parentAddress" -}}
{{- $host := (urlParse .Values.parent.address).hostname | lower | trimSuffix "." }}
{{- $name := include "ecr-broker.name" . | regexQuoteMeta }}
{{- $own := printf `^%s(-headless)?(\.%s(\.svc(\..+)?)?)?$` $name (regexQuoteMeta .Release.Namespace) }}
{{- if regexMatch $own $host }}{{ fail (printf "parent.address: %s is this broker itself; name another broker" $host) }}{{ end }}
{{- .Values.parent.address }}
{{- end }}

{{/* Variables of the chart, then those of the values, which replace them. Two of a name would not be merged on the server. */}}
{{- define "ecr-broker.env" -}}
{{- $chart := index . 0 }}
{{- $values := dict }}
{{- range index . 1 }}
{{- if hasKey $values .name }}{{ fail (printf "env: %s is set twice; keep one" .name) }}{{ end }}
{{- $_ := set $values .name . }}
{{- end }}
{{- $all := list }}
{{- range $chart }}{{ if not (hasKey $values .name) }}{{ $all = append $all . }}{{ end }}{{ end }}
{{- with concat $all (index . 1) }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* Security of a container. */}}
{{- define "ecr-broker.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* Security of a pod. */}}
{{- define "ecr-broker.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: { type: RuntimeDefault }
{{- end }}
