{{/* The settings file of one service. Only what the service needs, so that a change restarts only
     those that it concerns. */}}

{{- define "tidegate.tlsFiles" -}}
{{- $folder := printf "/run/tidegate/tls/%s" .name -}}
{{- with .tls.certKey }}
cert_file: {{ printf "%s/%s" $folder . | quote }}
{{- end }}
{{- with .tls.keyKey }}
key_file: {{ printf "%s/%s" $folder . | quote }}
{{- end }}
{{- with .tls.caKey }}
ca_file: {{ printf "%s/%s" $folder . | quote }}
{{- end }}
{{- end -}}

{{/* Each replica by name, in the order of ordinals; with a scaler, all that there may ever be. */}}
{{- define "tidegate.peers" -}}
{{- $domain := printf "%s.%s.svc.%s" (include "tidegate.pod.headless" .) .root.Release.Namespace .root.Values.clusterDomain -}}
{{- $most := .values.autoscaling.enabled | ternary .values.autoscaling.maxReplicas .values.replicas }}
{{- range $ordinal := until (int $most) }}
- {{ printf "%s-%d.%s:7600" (include "tidegate.pod.fullname" $) $ordinal $domain | quote }}
{{- end }}
{{- end -}}

{{- define "tidegate.settings" -}}
{{- $values := .root.Values -}}
{{- $root := .root -}}
{{- $ingestion := eq .name "ingestion" -}}
partitions: {{ int $values.partitions }}
lanes: {{ int $values.lanes }}
corps_file: {{ printf "/run/tidegate/corps/%s" $values.corps.key | quote }}
{{- if and $values.limitsJson (eq .name "dispatch") }}
limits_file: /etc/tidegate/limits.json
{{- end }}
wecom:
  url: {{ $values.wecom.url | quote }}
{{- if and $values.egress (eq .name "dispatch") }}
egress:
  {{- toYaml $values.egress | nindent 2 }}
{{- end }}
log:
  kind: kafka
  kafka:
    bootstrap_servers: {{ $values.kafka.bootstrapServers | quote }}
    topic_prefix: {{ $values.kafka.topicPrefix | quote }}
    replication: {{ int $values.kafka.replication }}
    min_insync_replicas: {{ int $values.kafka.minInsyncReplicas }}
    append_timeout_ms: {{ int $values.kafka.appendTimeoutMs }}
    {{- if $values.tls.kafka.enabled }}
    tls:
      {{- include "tidegate.tlsFiles" (dict "name" "kafka" "tls" $values.tls.kafka) | trim | nindent 6 }}
    {{- end }}
listen:
  grpc: {{ printf "%s:7600" $values.listenHost | quote }}
  {{- if $ingestion }}
  callback: {{ printf "%s:7601" $values.listenHost | quote }}
  {{- end }}
  admin: {{ printf "%s:7602" $values.listenHost | quote }}
  {{- if or (not $values.tls.grpc.enabled) (and $ingestion (not $values.tls.callback.enabled)) }}
  plaintext_beyond_loopback: {{ $values.allowPlaintext }}
  {{- end }}
  {{- if $values.tls.grpc.enabled }}
  tls:
    {{- include "tidegate.tlsFiles" (dict "name" "grpc" "tls" $values.tls.grpc) | trim | nindent 4 }}
  {{- end }}
  {{- if and $ingestion $values.tls.callback.enabled }}
  callback_tls:
    {{- include "tidegate.tlsFiles" (dict "name" "callback" "tls" $values.tls.callback) | trim | nindent 4 }}
  {{- end }}
{{- /* Ingestion asks nobody. Dispatch also asks segmentation, for previews of audiences. */}}
{{- if not $ingestion }}
peers:
  {{- $asked := eq .name "dispatch" | ternary (list "segmentation" "dispatch") (list .name) }}
  {{- range $name := $asked }}
  {{ $name }}:
    {{- include "tidegate.peers" (dict "root" $root "name" $name "values" (index $values $name)) | trim | nindent 4 }}
  {{- end }}
  {{- if $values.tls.peers.enabled }}
  tls:
    {{- include "tidegate.tlsFiles" (dict "name" "peers" "tls" $values.tls.peers) | trim | nindent 4 }}
  {{- end }}
{{- end }}
{{- with $values.callers }}
callers:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if eq .name "dispatch" }}
former_owner:
  # A pod's host name is its own name, and no two pods of one name run.
  policy: same_host
{{- end }}
send: {{ $values.send }}
{{- end -}}

{{/* The data of its ConfigMap. `replicas` is a file and not an argument: a pod of the old
     revision that was fenced and starts again reads the new number, so that a change of the number
     comes to an end. */}}
{{- define "tidegate.configData" -}}
tidegate.yaml: |
  {{- include "tidegate.settings" . | nindent 2 }}
{{- if ne .name "ingestion" }}
{{- $scaling := .values.autoscaling }}
replicas: |
  {{ $scaling.enabled | ternary (printf "%v-%v" $scaling.minReplicas $scaling.maxReplicas) (int .values.replicas) }}
{{- end }}
{{- if and .root.Values.limitsJson (eq .name "dispatch") }}
limits.json: |
  {{- .root.Values.limitsJson | trim | nindent 2 }}
{{- end }}
{{- end -}}
