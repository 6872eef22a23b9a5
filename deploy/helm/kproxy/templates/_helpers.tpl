{{- define "kproxy.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "kproxy.selector" -}}
k8s-app: {{ .Release.Name }}
{{- end -}}

{{- define "kproxy.labels" -}}
app.kubernetes.io/name: kproxy
app.kubernetes.io/component: service-proxy
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "kproxy.metadata" -}}
name: {{ .Release.Name }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "kproxy.labels" . | nindent 2 }}
{{- end -}}

{{- define "kproxy.metricsPort" -}}
{{ regexFind "[0-9]+$" .Values.metrics.bindAddress }}
{{- end -}}

{{- define "kproxy.arguments" -}}
- --config=/var/lib/kproxy/config.conf
- --node-name=$(NODE_NAME)
{{- if .Values.backend }}
- --backend={{ .Values.backend }}
{{- end }}
{{- end -}}

{{- define "kproxy.mounts" -}}
- name: config
  mountPath: /var/lib/kproxy
  readOnly: true
- name: xtables-lock
  mountPath: /run/xtables.lock
- name: tmp
  mountPath: /tmp
{{- end -}}

{{- define "kproxy.environment" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- end -}}
