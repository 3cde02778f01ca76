{{/* The pod of one service, but for its command. */}}

{{- define "tidegate.pod.metadata" -}}
labels:
  {{- include "tidegate.pod.podLabels" . | nindent 2 }}
annotations:
  checksum/config: {{ include "tidegate.configData" . | sha256sum }}
  {{- with .values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Which sections of `tls` a service reads. */}}
{{- define "tidegate.pod.tls" -}}
{{- $all := eq .name "ingestion" | ternary (list "grpc" "callback" "kafka") (list "grpc" "peers" "kafka") -}}
{{- $tls := .root.Values.tls -}}
{{- $used := list -}}
{{- range $name := $all -}}
{{- if (index $tls $name).enabled }}{{ $used = append $used $name }}{{ end -}}
{{- end -}}
{{- $used | toJson -}}
{{- end -}}

{{- define "tidegate.pod.scheduling" -}}
{{- with .root.Values.topologySpread }}
{{- if .keys }}
topologySpreadConstraints:
  {{- range .keys }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $.root.Values.topologySpread.whenUnsatisfiable }}
    # A node that pods cannot go to is no place without pods.
    nodeTaintsPolicy: Honor
    labelSelector:
      matchLabels:
        {{- include "tidegate.pod.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* The admin listener is plaintext on purpose: kubelet's probes cannot show a certificate. It
     opens before the replay, so /livez answers during it; /readyz only after it. */}}
{{- define "tidegate.pod.probes" -}}
startupProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: {{ ceil (divf .root.Values.startupSeconds 5) }}
livenessProbe:
  httpGet: {path: /livez, port: admin}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end -}}

{{- define "tidegate.pod.ports" -}}
- {name: grpc, containerPort: 7600}
{{- if eq .name "ingestion" }}
- {name: callback, containerPort: 7601}
{{- end }}
- {name: admin, containerPort: 7602}
{{- end -}}

{{- define "tidegate.pod.spec" -}}
serviceAccountName: {{ include "tidegate.serviceAccountName" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "tidegate.podSecurity" . | nindent 2 }}
terminationGracePeriodSeconds: {{ include "tidegate.graceSeconds" .root }}
{{- include "tidegate.pod.scheduling" . }}
{{- /* The program refuses a corps file that its group may read, and kubelet gives every file of a
       secret to the group fsGroup. So the files are copied, in memory. */}}
initContainers:
  - name: corps
    image: {{ include "tidegate.pod.image" . }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: [/bin/sh, -c, exec install -m 0600 -t /run/tidegate/corps /secret/*]
    securityContext:
      {{- include "tidegate.containerSecurity" . | nindent 6 }}
    resources:
      requests: {cpu: 10m, memory: 16Mi}
      limits: {cpu: 100m, memory: 32Mi}
    volumeMounts:
      - {name: corps-secret, mountPath: /secret, readOnly: true}
      - {name: corps, mountPath: /run/tidegate/corps}
containers:
  - name: {{ .name }}
    image: {{ include "tidegate.pod.image" . }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    {{- .command | nindent 4 }}
    ports:
      {{- include "tidegate.pod.ports" . | nindent 6 }}
    {{- include "tidegate.pod.probes" . | nindent 4 }}
    lifecycle:
      preStop:
        exec: {command: [sleep, {{ include "tidegate.preStopSeconds" . | quote }}]}
    securityContext:
      {{- include "tidegate.containerSecurity" . | nindent 6 }}
    resources:
      {{- toYaml .values.resources | nindent 6 }}
    volumeMounts:
      - {name: config, mountPath: /etc/tidegate, readOnly: true}
      - {name: corps, mountPath: /run/tidegate/corps, readOnly: true}
      - {name: tmp, mountPath: /tmp}
      {{- range include "tidegate.pod.tls" . | fromJsonArray }}
      - {name: tls-{{ . }}, mountPath: /run/tidegate/tls/{{ . }}, readOnly: true}
      {{- end }}
      {{- if (.values.persistence).enabled }}
      - {name: data, mountPath: /var/lib/tidegate}
      {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "tidegate.pod.fullname" . }}
  - name: corps-secret
    secret:
      secretName: {{ .root.Values.corps.existingSecret }}
      defaultMode: 0440
      {{- /* These two call nobody at WeCom and read no secret of an app. */}}
      {{- if has .name (list "tagging" "segmentation") }}
      items:
        - {key: {{ .root.Values.corps.key | quote }}, path: {{ .root.Values.corps.key | quote }}}
      {{- end }}
  - name: corps
    emptyDir: {medium: Memory, sizeLimit: 1Mi}
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
  {{- range include "tidegate.pod.tls" . | fromJsonArray }}
  - name: tls-{{ . }}
    secret:
      secretName: {{ (index $.root.Values.tls .).existingSecret }}
      defaultMode: 0440
  {{- end }}
{{- end -}}
