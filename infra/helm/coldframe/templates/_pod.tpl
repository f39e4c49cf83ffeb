{{/* What the pods of all roles have alike, but for the agent's rights. Takes {root, role}. */}}
{{- define "coldframe.podMetadata" -}}
{{- $of := index .root.Values .role -}}
labels:
  {{- include "coldframe.labels" . | nindent 2 }}
  {{- with $of.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  {{- if not .root.Values.podMonitor.enabled }}
  prometheus.io/scrape: "true"
  prometheus.io/port: {{ include "coldframe.port" . | quote }}
  {{- end }}
  coldframe/config: {{ toJson (list .root.Values.bucket.config .root.Values.access.limits) | sha256sum | trunc 16 }}
  {{- with $of.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "coldframe.port" -}}
{{- if has .role (list "query" "ingest") -}}7070{{- else -}}7071{{- end -}}
{{- end -}}

{{- define "coldframe.scheduling" -}}
{{- $of := index .root.Values .role -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "coldframe.container" -}}
{{- $values := .root.Values -}}
{{- $of := index $values .role -}}
name: {{ .role }}
image: {{ printf "%s:%s" $values.image.repository ($values.image.tag | default .root.Chart.AppVersion) | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
resources:
  {{- toYaml $of.resources | nindent 2 }}
readinessProbe:
  httpGet: {path: /-/ready, port: http}
livenessProbe:
  httpGet: {path: /-/healthy, port: http}
{{- end -}}

{{/* The flags that all roles know. */}}
{{- define "coldframe.args" -}}
{{- $of := index .root.Values .role -}}
- {{ .role }}
- --bucket-config=/etc/coldframe/bucket/bucket.yaml
- --http-address=:{{ include "coldframe.port" . }}
- --log-level={{ .root.Values.log.level }}
- --log-format={{ .root.Values.log.format }}
{{- if .root.Values.access.tokensSecret }}
- --tokens-file=/etc/coldframe/tokens/tokens.yaml
{{- end }}
{{- end -}}

{{- define "coldframe.extraArgs" -}}
{{- range (index .root.Values .role).extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "coldframe.unprivileged" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "coldframe.mounts" -}}
- {name: bucket, mountPath: /etc/coldframe/bucket, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if .root.Values.access.tokensSecret }}
- {name: tokens, mountPath: /etc/coldframe/tokens, readOnly: true}
{{- end }}
{{- end -}}

{{- define "coldframe.volumes" -}}
- name: bucket
  secret: {secretName: {{ include "coldframe.bucket" . | quote }}}
- name: tmp
  emptyDir: {}
{{- with .root.Values.access.tokensSecret }}
- name: tokens
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- end -}}
