{{/* Name of all objects: the release's, with the chart's name if it is not in it. Short enough for `-peers` and a hash. */}}
{{- define "cluster-mq.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "cluster-mq.secret" -}}
{{- .Values.existingSecret | default (include "cluster-mq.name" .) -}}
{{- end -}}

{{- define "cluster-mq.tls" -}}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "cluster-mq.name" .)) -}}
{{- end -}}

{{/* What the pods are found by; never changes. */}}
{{- define "cluster-mq.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "cluster-mq.labels" -}}
{{ include "cluster-mq.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The node's configuration. A scalar of JSON is one of TOML. */}}
{{- define "cluster-mq.toml" -}}
{{- $name := include "cluster-mq.name" . -}}
[node]
data_dir = "/var/lib/cluster-mq"
drain_timeout_seconds = 15.0

[cluster]
name = {{ .Values.clusterName | default $name | toJson }}
peers = [
{{- range $ordinal := until (int .Values.replicas) }}
    "{{ $name }}-{{ $ordinal }}={{ $name }}-{{ $ordinal }}.{{ $name }}-peers:25672",
{{- end }}
]
secret_file = "/run/secrets/cluster-mq/cluster-secret"
{{- range $key, $value := merge (deepCopy (.Values.config.cluster | default dict)) (dict "rejoin" true) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- range $table, $options := omit .Values.config "cluster" }}

[{{ $table }}]
{{- range $key, $value := $options }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{ end -}}
