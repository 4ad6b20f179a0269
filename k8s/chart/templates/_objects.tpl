{{/* The manifests of k8s/base and k8s/components as they are shipped, by kind, namespace and name: `objects` is filled. */}}
{{- define "udair.read" -}}
{{- $objects := .objects -}}
{{- $files := .files -}}
{{- range $pattern := .patterns -}}
{{- range $path, $content := $files.Glob $pattern -}}
{{- range $document := regexSplit "(?m)^---$" ($content | toString) -1 -}}
{{- $object := fromYaml $document -}}
{{- if $object.kind -}}
{{- $_ := set $objects (printf "%s/%s/%s" $object.kind (default "" $object.metadata.namespace) $object.metadata.name) $object -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Dashboards as ConfigMaps, as the component's kustomization generates them. */}}
{{- define "udair.dashboards" -}}
{{- $objects := .objects -}}
{{- range $path, $content := .files.Glob "files/components/monitoring/dashboards/*.json" -}}
{{- $file := base $path -}}
{{- $name := printf "udair-dashboard-%s" (trimSuffix ".json" $file) -}}
{{- $labels := dict "app.kubernetes.io/part-of" "udair" "grafana_dashboard" "1" -}}
{{- $metadata := dict "name" $name "namespace" "udair" "labels" $labels -}}
{{- $object := dict "apiVersion" "v1" "kind" "ConfigMap" "metadata" $metadata "data" (dict (printf "udair-%s" $file) ($content | toString)) -}}
{{- $_ := set $objects (printf "ConfigMap/udair/%s" $name) $object -}}
{{- end -}}
{{- end -}}

{{- define "udair.image" -}}
{{- $_ := set (first .spec.containers) "image" .image -}}
{{- if .secrets -}}
{{- $named := list -}}
{{- range .secrets }}{{ $named = append $named (dict "name" .) }}{{ end -}}
{{- $_ := set .spec "imagePullSecrets" $named -}}
{{- end -}}
{{- end -}}

{{- define "udair.digest" -}}
{{- toRawJson . | sha256sum | trunc 16 -}}
{{- end -}}
