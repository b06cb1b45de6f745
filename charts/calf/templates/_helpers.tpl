{{/* Base of the names of all objects. */}}
{{- define "calf.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimAll "-." -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimAll "-." -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimAll "-." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "calf.instanceLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels that select the driver's pods, and no other pod of the release. They must never change. */}}
{{- define "calf.selectorLabels" -}}
{{ include "calf.instanceLabels" . }}
app.kubernetes.io/component: driver
{{- end -}}

{{/* Base of the names of a group's objects. */}}
{{- define "calf.groupName" -}}
{{ include "calf.fullname" . }}{{ with .group }}-{{ . }}{{ end }}
{{- end -}}

{{/* Labels that select a group's pods. They must never change. */}}
{{- define "calf.groupSelectorLabels" -}}
{{ include "calf.selectorLabels" . }}
{{- with .group }}
calf.csi.dev/node-group: {{ . }}
{{- end }}
{{- end -}}

{{- define "calf.labels" -}}
{{ include "calf.instanceLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "calf.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "calf.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: name an account, or let the chart make one (serviceAccount.create)" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "calf.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The resizers of all nodes elect one by this lease, whose name external-resizer makes. */}}
{{- define "calf.resizerLease" -}}
external-resizer-{{ regexReplaceAll "[^a-zA-Z0-9-]" .Values.driverName "-" }}
{{- end -}}

{{/*
The file for `calf serve --templates`. Refuses combinations of values that the schema cannot check.
*/}}
{{- define "calf.templatesFile" -}}
{{- $names := list -}}
{{- range .Values.templates -}}
{{- if has .name $names -}}
{{- fail (printf "templates: %s is listed twice" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- if hasPrefix "/image-volumes/" (.source | default "") -}}
{{- $template := . -}}
{{- $image := index (splitList "/" .source) 2 -}}
{{- $listed := list -}}
{{- range $.Values.templateImages.volumes }}{{ $listed = append $listed .name }}{{ end -}}
{{- if not (has $image $listed) -}}
{{- fail (printf "templates: the source of %s, %s, is in no image of templateImages.volumes" $template.name $template.source) -}}
{{- end -}}
{{- else if hasPrefix "/" (.source | default "") -}}
{{- $directory := required (printf "templateImages.path: required, as template %s names a path" .name) $.Values.templateImages.path -}}
{{- if not (hasPrefix (printf "%s/" (trimSuffix "/" $directory)) .source) -}}
{{- fail (printf "templates: the source of %s, %s, is not below templateImages.path (%s)" .name .source $directory) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{ dict "templates" .Values.templates | toPrettyJson }}
{{- end -}}

{{/* Sidecars connect to a socket that only root may open, and need no other privilege of root. */}}
{{- define "calf.sidecarSecurity" -}}
runAsUser: 0
runAsGroup: 0
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* A plain level applies to calf only, since its libraries log a lot that is of little use. */}}
{{- define "calf.logFilter" -}}
{{- if has .Values.log.level (list "error" "warn" "info" "debug" "trace") -}}
warn,calf={{ .Values.log.level }}
{{- else -}}
{{ .Values.log.level }}
{{- end -}}
{{- end -}}

{{/* Where the kubelet of a node finds calf's socket. */}}
{{- define "calf.socketDir" -}}
{{ .Values.kubeletDir }}/plugins/{{ .Values.driverName }}
{{- end -}}

{{/*
The cluster's distribution and the file with values for it, if the cluster's version or its API tells and the
values lack what that file sets; else nothing.
*/}}
{{- define "calf.missingDistribution" -}}
{{- $version := .Capabilities.KubeVersion.Version -}}
{{- if .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- if not .Values.rbac.openshiftPrivileged -}}
OpenShift, whose values are in distributions/openshift.yaml
{{- end -}}
{{- else if contains "-gke." $version -}}
{{- if not .Values.priorityClassQuota.create -}}
GKE, whose values are in distributions/gke-ubuntu.yaml
{{- end -}}
{{- else if not .Values.seLinuxType -}}
{{- if contains "+k3s" $version -}}
k3s, whose values are in distributions/k3s.yaml
{{- else if contains "-eks-" $version -}}
EKS, whose values are in distributions/eks-al2023.yaml (for Bottlerocket: bottlerocket.yaml)
{{- end -}}
{{- end -}}
{{- end -}}
