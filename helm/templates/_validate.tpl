{{/* What the schema cannot say: values that need each other or contradict each other. All faults
     are told at once, each with what to write instead. */}}

{{- define "tidegate.faults.tls" -}}
{{- $tls := .Values.tls -}}
{{- range $name, $use := dict "grpc" "the listener of gRPC" "peers" "calls between replicas" "callback" "the listener of callbacks" "kafka" "the brokers" }}
{{- $section := index $tls $name }}
{{- if and $section.enabled (not $section.existingSecret) }}
- tls.{{ $name }}.enabled is true, but tls.{{ $name }}.existingSecret is empty; write the name of the secret with the PEM files for {{ $use }}
{{- end }}
{{- if and $section.enabled (ne (empty $section.certKey) (empty $section.keyKey)) }}
- tls.{{ $name }} has only one of certKey and keyKey; write both, or neither
{{- end }}
{{- end }}
{{- range $name := list "peers" "kafka" }}
{{- $section := index $tls $name }}
{{- if and $section.enabled (not $section.caKey) }}
- tls.{{ $name }}.caKey is empty, so there is nothing to check certificates against; write the key of the authorities in the secret
{{- end }}
{{- end }}
{{- range $name := list "grpc" "callback" }}
{{- $section := index $tls $name }}
{{- if and $section.enabled (not $section.certKey) }}
- tls.{{ $name }}.certKey is empty, and a listener needs a certificate; write the keys of certificate and private key in the secret
{{- end }}
{{- if and (not $section.enabled) (not $.Values.allowPlaintext) }}
- {{ $name }} would listen beyond loopback without TLS; set tls.{{ $name }}.enabled and tls.{{ $name }}.existingSecret, or allowPlaintext: true behind a proxy that encrypts
{{- end }}
{{- end }}
{{- if and $tls.grpc.enabled (not $tls.peers.enabled) }}
- tls.grpc is on and tls.peers is off, so replicas could not call each other; set tls.peers.enabled and tls.peers.existingSecret too
{{- end }}
{{- if and $tls.peers.enabled (not $tls.grpc.enabled) }}
- tls.peers is on and tls.grpc is off, so replicas would ask for TLS where there is none; set tls.grpc.enabled and tls.grpc.existingSecret too
{{- end }}
{{- $asks := and $tls.grpc.enabled (not (empty $tls.grpc.caKey)) }}
{{- if and $asks (not $tls.peers.certKey) }}
- tls.grpc.caKey asks every caller for a certificate, and tls.peers.certKey is empty; write the keys of the replicas' own certificate
{{- end }}
{{- if and $asks (not .Values.callers) }}
- tls.grpc.caKey asks callers for certificates, and callers is empty, so none may use a corp; list the identities, first that of the replicas' own certificate with corps ["*"], or set tls.grpc.caKey: ""
{{- end }}
{{- if and .Values.callers (not $asks) }}
- callers are known by their certificates, and none are asked for; set tls.grpc.enabled and tls.grpc.caKey, or remove callers
{{- end }}
{{- if and $asks .Values.callers }}
{{- $own := false }}
{{- range .Values.callers }}{{ if has "*" .corps }}{{ $own = true }}{{ end }}{{ end }}
{{- if not $own }}
- callers has no entry with corps ["*"], so replicas may not call each other; add the identity of the certificate in tls.peers with it
{{- end }}
{{- end }}
{{- end -}}

{{- define "tidegate.faults.sizes" -}}
{{- if gt (int .Values.kafka.minInsyncReplicas) (int .Values.kafka.replication) }}
- kafka.minInsyncReplicas is {{ .Values.kafka.minInsyncReplicas }} and kafka.replication is {{ .Values.kafka.replication }}; write at most as many in-sync replicas as there are replicas
{{- end }}
{{- range $name := list "tagging" "segmentation" }}
{{- $service := index $.Values $name }}
{{- if and (not $service.autoscaling.enabled) (gt (int $service.replicas) (int $.Values.partitions)) }}
- {{ $name }}.replicas is {{ $service.replicas }}, more than partitions ({{ $.Values.partitions }}), so some would own nothing; write at most {{ $.Values.partitions }}
{{- end }}
{{- end }}
{{- if and .Values.egress (ne (len .Values.egress) (int .Values.lanes)) }}
- egress has {{ len .Values.egress }} addresses and lanes is {{ .Values.lanes }}; write one for each lane, "any" where it does not matter
{{- end }}
{{- if gt (int .Values.dispatch.replicas) (int .Values.lanes) }}
- dispatch.replicas is {{ .Values.dispatch.replicas }}, more than lanes ({{ .Values.lanes }}), so some would own nothing; write at most {{ .Values.lanes }}
{{- end }}
{{- if lt (int .Values.drainSeconds) 12 }}
- drainSeconds is {{ .Values.drainSeconds }}, and the program drains for up to 12 s; write at least 12, or pods are killed while answers of WeCom are on their way
{{- end }}
{{- if lt (int .Values.startupSeconds) 630 }}
- startupSeconds is {{ .Values.startupSeconds }}, and a start may replay for 600 s; write at least 630, or kubelet ends a start that would succeed
{{- end }}
{{- end -}}

{{- define "tidegate.faults.pods" -}}
{{- range $name := list "ingestion" "tagging" }}
{{- with (index $.Values $name).autoscaling }}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) }}
- {{ $name }}.autoscaling.minReplicas is above maxReplicas; write at most {{ .maxReplicas }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.tagging }}
{{- if .autoscaling.enabled }}
{{- if gt (int .autoscaling.maxReplicas) (int $.Values.partitions) }}
- tagging.autoscaling.maxReplicas is {{ .autoscaling.maxReplicas }}, more than partitions ({{ $.Values.partitions }}), so some would own nothing; write at most {{ $.Values.partitions }}
{{- end }}
{{- if not .autoscaling.prometheusUrl }}
- tagging.autoscaling.prometheusUrl is empty, so KEDA could not know the lag; write the address of the Prometheus that scrapes this release, as http://prometheus-operated.monitoring:9090
{{- end }}
{{- if .stopped }}
- tagging.stopped is true and tagging.autoscaling is on, so KEDA would start pods again; set tagging.autoscaling.enabled: false too
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.segmentation.autoscaling.enabled }}
- segmentation is not scaled by KEDA: dispatch knows its replicas by number; set segmentation.replicas and run helm upgrade
{{- end }}
{{- if .Values.dispatch.autoscaling.enabled }}
- dispatch is never scaled by KEDA: the quota of WeCom bounds what is sent, so more pods only idle; set dispatch.replicas, up to lanes, and run helm upgrade
{{- end }}
{{- range $name := list "ingestion" "tagging" "segmentation" "dispatch" }}
{{- $service := index $.Values $name }}
{{- $least := int $service.replicas }}
{{- if and (has $name (list "ingestion" "tagging")) $service.autoscaling.enabled }}{{ $least = int $service.autoscaling.minReplicas }}{{ end }}
{{- with $service.podDisruptionBudget }}
{{- if and .enabled (ne (toString .minAvailable) "<nil>") }}
{{- if ge (int .minAvailable) $least }}
- {{ $name }}.podDisruptionBudget.minAvailable is {{ .minAvailable }} of {{ $least }} replicas, so no node could ever be drained; write less, or leave it out for maxUnavailable: 1
{{- end }}
{{- else if and .enabled (lt (int .maxUnavailable) 1) }}
- {{ $name }}.podDisruptionBudget.maxUnavailable is 0, so no node could ever be drained; write at least 1, or enabled: false
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tidegate.faults.network" -}}
{{- with .Values.networkPolicy }}
{{- if .enabled }}
{{- $policy := . }}
{{- range splitList "," $.Values.kafka.bootstrapServers }}
{{- $port := splitList ":" . | last }}
{{- if and (regexMatch "^[0-9]+$" $port) (not (has $port ($policy.kafkaPorts | toStrings))) }}
- networkPolicy.kafkaPorts lacks {{ $port }} of kafka.bootstrapServers, so the brokers could not be reached; add it, and the ports that they advertise
{{- end }}
{{- end }}
{{- if and $.Values.send (not .wecomCidrs) }}
- networkPolicy.wecomCidrs is empty, so dispatch could not reach WeCom; list its address ranges, or set send: false
{{- end }}
{{- if and $.Values.metrics.serviceMonitor.enabled (not .adminFrom) }}
- metrics.serviceMonitor is on and networkPolicy.adminFrom is empty, so Prometheus could not scrape; add a namespaceSelector of its namespace
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tidegate.faults" -}}
{{- if not .Values.kafka.bootstrapServers }}
- kafka.bootstrapServers is empty; write host:port,host:port of a Kafka that is there: the chart brings none
{{- end }}
{{- if not .Values.corps.existingSecret }}
- corps.existingSecret is empty; make a secret of the corps file and the files that it names, and write the secret's name
{{- end }}
{{- if .Values.limitsJson }}
{{- if hasKey (fromJson .Values.limitsJson) "Error" }}
- limitsJson is no JSON object; write the text of a limits file, or leave it out
{{- end }}
{{- end }}
{{- include "tidegate.faults.tls" . }}
{{- include "tidegate.faults.sizes" . }}
{{- include "tidegate.faults.pods" . }}
{{- include "tidegate.faults.network" . }}
{{- end -}}

{{- define "tidegate.validate" -}}
{{- with include "tidegate.faults" . | trim }}
{{- fail (printf "these values cannot work:\n%s" .) }}
{{- end }}
{{- end -}}
