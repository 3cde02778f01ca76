{{/* Names, labels, images. "pod" stands for a dict of root, name and values of one service. */}}

{{- define "tidegate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 38 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough that "-segmentation-headless" and the label of a revision still fit. */}}
{{- define "tidegate.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 38 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 38 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 38 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tidegate.pod.fullname" -}}
{{- printf "%s-%s" (include "tidegate.fullname" .root) .name -}}
{{- end -}}

{{- define "tidegate.pod.headless" -}}
{{- printf "%s-headless" (include "tidegate.pod.fullname" .) -}}
{{- end -}}

{{- define "tidegate.release.selector" -}}
app.kubernetes.io/name: {{ include "tidegate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Without the version, which changes: a selector must not. */}}
{{- define "tidegate.pod.selector" -}}
{{ include "tidegate.release.selector" .root }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "tidegate.release.labels" -}}
{{- with .Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: tidegate
{{ include "tidegate.release.selector" . }}
{{- end -}}

{{- define "tidegate.pod.labels" -}}
{{ include "tidegate.release.labels" .root }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{/* Of the pods themselves: without the chart's version, which would restart them for nothing. */}}
{{- define "tidegate.pod.podLabels" -}}
{{- with .root.Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tidegate
{{ include "tidegate.pod.selector" . }}
{{- end -}}

{{- define "tidegate.pod.image" -}}
{{- $image := .root.Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end -}}
{{- $image.repository }}/{{ .name }}:{{ default .root.Chart.AppVersion $image.tag -}}
{{- end -}}

{{- define "tidegate.serviceAccountName" -}}
{{- $own := .Values.serviceAccount.create | ternary (include "tidegate.fullname" .) "default" -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end -}}

{{/* The exec of preStop: time for callers to notice that the pod leaves. */}}
{{- define "tidegate.preStopSeconds" -}}5{{- end -}}

{{- define "tidegate.graceSeconds" -}}
{{- add (include "tidegate.preStopSeconds" .) .Values.drainSeconds 10 -}}
{{- end -}}

{{/* Restricted pod security; the same for every container of every pod. */}}
{{- define "tidegate.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "tidegate.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65534
runAsGroup: 65534
fsGroup: 65534
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}
