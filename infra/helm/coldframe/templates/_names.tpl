{{/* The release's name, which all objects begin with. */}}
{{- define "coldframe.name" -}}
{{- if contains "coldframe" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-coldframe" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What tells a role's pods from all others. Takes {root, role}, as all that follow. */}}
{{- define "coldframe.selector" -}}
app.kubernetes.io/name: coldframe
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "coldframe.labels" -}}
{{ include "coldframe.selector" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "coldframe.metadata" -}}
name: {{ include "coldframe.name" .root }}-{{ .role }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "coldframe.labels" . | nindent 2 }}
{{- end -}}

{{- define "coldframe.account" -}}
{{- $of := (index .root.Values .role).serviceAccount -}}
{{- if $of.create -}}
{{- $of.name | default (printf "%s-%s" (include "coldframe.name" .root) .role) -}}
{{- else -}}
{{- $of.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The secret in which a role finds its bucket. */}}
{{- define "coldframe.bucket" -}}
{{- $values := .root.Values -}}
{{- $own := (index $values .role).bucketSecret -}}
{{- if $own -}}
{{- $own -}}
{{- else if $values.bucket.existingSecret -}}
{{- $values.bucket.existingSecret -}}
{{- else if $values.bucket.config -}}
{{- include "coldframe.name" .root }}-bucket
{{- else -}}
{{- fail (printf "%s has no bucket: set bucket.config, bucket.existingSecret or %s.bucketSecret" .role .role) -}}
{{- end -}}
{{- end -}}
