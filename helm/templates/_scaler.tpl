{{/* Pods whose number a scaler sets. "scaling" is the section `autoscaling` of the service. */}}

{{/* Left out it would be 1 when the scaler is switched on. */}}
{{- define "tidegate.scaledReplicas" -}}
{{- $live := lookup "apps/v1" .kind .pod.root.Release.Namespace (include "tidegate.pod.fullname" .pod) -}}
{{- with $live -}}
replicas: {{ int .spec.replicas }}
{{- end -}}
{{- end -}}

{{- define "tidegate.scaler" -}}
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ include "tidegate.pod.fullname" .pod }}
  namespace: {{ .pod.root.Release.Namespace }}
  labels:
    {{- include "tidegate.pod.labels" .pod | nindent 4 }}
spec:
  scaleTargetRef:
    {{- if eq .pod.name "tagging" }}
    kind: StatefulSet
    {{- end }}
    name: {{ include "tidegate.pod.fullname" .pod }}
  minReplicaCount: {{ int .scaling.minReplicas }}
  maxReplicaCount: {{ int .scaling.maxReplicas }}
{{- end -}}
