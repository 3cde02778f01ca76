{{/* What stands beside the pods of a service: its settings, its two services, its budget. */}}

{{- define "tidegate.config" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "tidegate.pod.fullname" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "tidegate.pod.labels" . | nindent 4 }}
data:
  {{- include "tidegate.configData" . | nindent 2 }}
{{- end -}}

{{- define "tidegate.services" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "tidegate.pod.fullname" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "tidegate.pod.labels" . | nindent 4 }}
spec:
  selector:
    {{- include "tidegate.pod.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: 7600, targetPort: grpc}
---
# Names the single pods, ready or not: a replica that replays already answers its peers. Only this
# service has the admin port, so that each pod is scraped once.
apiVersion: v1
kind: Service
metadata:
  name: {{ include "tidegate.pod.headless" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "tidegate.pod.labels" . | nindent 4 }}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- include "tidegate.pod.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: 7600, targetPort: grpc}
    - {name: admin, port: 7602, targetPort: admin}
{{- end -}}

{{- define "tidegate.budget" -}}
{{- with .values.podDisruptionBudget }}
{{- if .enabled }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "tidegate.pod.fullname" $ }}
  namespace: {{ $.root.Release.Namespace }}
  labels:
    {{- include "tidegate.pod.labels" $ | nindent 4 }}
spec:
  {{- if ne (toString .minAvailable) "<nil>" }}
  minAvailable: {{ int .minAvailable }}
  {{- else }}
  maxUnavailable: {{ int .maxUnavailable }}
  {{- end }}
  # A pod that crashes anyway does not keep a node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "tidegate.pod.selector" $ | nindent 6 }}
{{- end }}
{{- end }}
{{- end -}}
