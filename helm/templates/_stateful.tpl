{{/* StatefulSet of a service that owns partitions. */}}

{{- /* exec, so that signals reach the program. The pod's name ends with its ordinal. */}}
{{- define "tidegate.stateful.command" -}}
command:
  - /bin/sh
  - -c
  - |
    set -e
    read -r count < /etc/tidegate/replicas
    exec tidegate-{{ .name }} --config /etc/tidegate/tidegate.yaml --replica "${POD_NAME##*-}/$count"
env:
  - name: POD_NAME
    valueFrom:
      fieldRef: {fieldPath: metadata.name}
{{- end -}}

{{- define "tidegate.stateful" -}}
{{- include "tidegate.validate" .root -}}
{{- $pod := merge (dict "command" (include "tidegate.stateful.command" .)) . -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ include "tidegate.pod.fullname" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "tidegate.pod.labels" . | nindent 4 }}
spec:
  {{- if .values.autoscaling.enabled }}
  {{- include "tidegate.scaledReplicas" (dict "kind" "StatefulSet" "pod" .) | nindent 2 }}
  {{- else }}
  replicas: {{ .values.stopped | ternary 0 (int .values.replicas) }}
  {{- end }}
  serviceName: {{ include "tidegate.pod.headless" . }}
  # Replicas do not wait for each other. In order, a start would take as many replays as there are
  # replicas, and a change of their number could stand still: a fenced pod is not ready.
  podManagementPolicy: Parallel
  updateStrategy:
    type: RollingUpdate
  minReadySeconds: {{ int .root.Values.minReadySeconds }}
  selector:
    matchLabels:
      {{- include "tidegate.pod.selector" . | nindent 6 }}
  template:
    metadata:
      {{- include "tidegate.pod.metadata" . | nindent 6 }}
    spec:
      {{- include "tidegate.pod.spec" $pod | nindent 6 }}
  {{- if .values.persistence.enabled }}
  volumeClaimTemplates:
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
        name: data
        labels:
          {{- include "tidegate.pod.selector" . | nindent 10 }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .values.persistence.storageClass }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ .values.persistence.size }}
  {{- end }}
{{- end -}}
