{{/* What platform/udair_platform/deploy/render.py does to the objects, step by step in its order; a test compares the two. */}}
{{- define "udair.settings" -}}
{{- $v := .v -}}
{{- $jobs := $v.jobs -}}
{{- $common := (get .objects "ConfigMap/udair/udair-settings").data -}}
{{- $scheduler := (get .objects "ConfigMap/udair/udair-scheduler").data -}}
{{- $_ := set $common "UDAIR_STORE_URI" $v.store.uri -}}
{{- $_ := set $common "UDAIR_BASE_URI" $v.base_uri -}}
{{- $_ := set $common "UDAIR_SERVE_URL" (printf "https://%s" $v.serve_host) -}}
{{- $_ := set $common "UDAIR_SERVE_MIN_REPLICAS" (toString $v.serving.min_replicas) -}}
{{- $_ := set $common "UDAIR_SERVE_MAX_REPLICAS" (toString $v.serving.max_replicas) -}}
{{- $_ := set $common "UDAIR_SERVE_GPUS" (toString $v.serving.gpus) -}}
{{- if not (int $v.serving.min_replicas) }}{{ $_ := set $common "UDAIR_SERVE_INGRESS_ON_HEAD" "true" }}{{ end -}}
{{- if $v.store.endpoint_url -}}
{{- $_ := set $common "UDAIR_REQUIRE_SOURCE_ROLE" "false" -}}
{{- $_ := set $common "UDAIR_STORE_ENDPOINT_URL" $v.store.endpoint_url -}}
{{- $_ := set $common "UDAIR_S3_ENDPOINT_URL" $v.store.endpoint_url -}}
{{- end -}}
{{- $_ := set $scheduler "UDAIR_MAX_CONCURRENT_JOBS" (toString $jobs.max_concurrent) -}}
{{- $_ := set $scheduler "UDAIR_JOB_GPUS" (toString $jobs.gpus) -}}
{{- $_ := set $scheduler "UDAIR_KUBE_IMAGE" $v.images.worker -}}
{{- $_ := set $scheduler "UDAIR_KUBE_WORKERS" (toString $jobs.workers) -}}
{{- $_ := set $scheduler "UDAIR_KUBE_WORKER_RESOURCES" (toRawJson $jobs.resources) -}}
{{- $_ := set $scheduler "UDAIR_KUBE_WORKERS_ON_SPOT" (toString $jobs.on_spot) -}}
{{- $_ := set $scheduler "UDAIR_KUBE_WORKER_NODE_SELECTOR" (toRawJson $jobs.node_selector) -}}
{{- $_ := set $scheduler "UDAIR_KUBE_WORKER_TOLERATIONS" (toRawJson $jobs.tolerations) -}}
{{- $_ := set $scheduler "UDAIR_KUBE_IMAGE_PULL_SECRETS" (toRawJson $v.images.pull_secrets) -}}
{{- $_ := set $scheduler "UDAIR_KUBE_NAMESPACE_PER_TENANT" (toString (not (empty $jobs.tenants))) -}}
{{- if ne $v.gpu_resource "nvidia.com/gpu" }}{{ $_ := set $scheduler "UDAIR_KUBE_GPU_RESOURCE" $v.gpu_resource }}{{ end -}}
{{- with $jobs.runtime_class }}{{ $_ := set $scheduler "UDAIR_KUBE_RUNTIME_CLASS" . }}{{ end -}}
{{- with $v.settings.AWS_REGION }}{{ $_ := set $scheduler "UDAIR_KUBE_ENV" (toRawJson (dict "AWS_REGION" .)) }}{{ end -}}
{{- if not $v.roles.job }}{{ $_ := set $scheduler "UDAIR_KUBE_ENV_SECRET" $jobs.env_secret }}{{ end -}}
{{- range $name, $value := $v.settings -}}
{{- $_ := set (ternary $scheduler $common (hasPrefix "UDAIR_KUBE_" $name)) $name $value -}}
{{- end -}}
{{- end -}}

{{- define "udair.pods" -}}
{{- $v := .v -}}
{{- $secrets := $v.images.pull_secrets -}}
{{- range $name, $part := dict "udair-api" $v.api "udair-scheduler" $v.scheduler -}}
{{- $spec := (get $.objects (printf "Deployment/udair/%s" $name)).spec -}}
{{- $_ := set $spec "replicas" $part.replicas -}}
{{- include "udair.image" (dict "spec" $spec.template.spec "image" $v.images.platform "secrets" $secrets) -}}
{{- end -}}
{{- $job := get .objects "Job/udair/udair-migrate" -}}
{{- include "udair.image" (dict "spec" $job.spec.template.spec "image" $v.images.platform "secrets" $secrets) -}}
{{- /* What it needs is there from the release before; at the first install the API makes the schema. */ -}}
{{- $_ := set $job.metadata "annotations" (dict "helm.sh/hook" "pre-upgrade" "helm.sh/hook-delete-policy" "before-hook-creation") -}}
{{- $cluster := (get .objects "RayService/udair/udair").spec.rayClusterConfig -}}
{{- range prepend $cluster.workerGroupSpecs $cluster.headGroupSpec -}}
{{- include "udair.image" (dict "spec" .template.spec "image" $v.images.worker "secrets" $secrets) -}}
{{- end -}}
{{- range $object := .objects -}}
{{- range $pod := list (dig "spec" "template" "spec" dict $object) -}}
{{- range $container := $pod.containers -}}
{{- range $variable := $container.env -}}
{{- $ref := dig "valueFrom" "secretKeyRef" dict $variable -}}
{{- if eq (default "" $ref.name) "udair-database" }}{{ $_ := set $ref "name" $v.database_secret }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "udair.entrance" -}}
{{- $v := .v -}}
{{- $hosts := list $v.host $v.serve_host -}}
{{- if $v.gateway -}}
{{- $_ := unset .objects "Ingress/udair/udair" -}}
{{- $gateway := get .objects "Gateway/udair/udair" -}}
{{- if $v.gateway.class_name -}}
{{- $_ := set $gateway.spec "gatewayClassName" $v.gateway.class_name -}}
{{- range $at, $listener := $gateway.spec.listeners -}}
{{- $_ := set $listener "hostname" (index $hosts $at) -}}
{{- $_ := set $listener "tls" (dict "certificateRefs" (list (dict "name" $v.tls_secret))) -}}
{{- end -}}
{{- else }}{{ $_ := unset .objects "Gateway/udair/udair" }}{{ end -}}
{{- range $at, $name := list "udair-api" "udair-restore" -}}
{{- $spec := (get $.objects (printf "HTTPRoute/udair/%s" $name)).spec -}}
{{- $_ := set $spec "hostnames" (list (index $hosts $at)) -}}
{{- if $v.gateway.name }}{{ $_ := set $spec "parentRefs" (list (dict "name" $v.gateway.name "namespace" $v.gateway.namespace)) }}{{ end -}}
{{- end -}}
{{- else -}}
{{- $ingress := get .objects "Ingress/udair/udair" -}}
{{- $needed := dig $v.ingress_class dict (fromYaml (.files.Get "files/ingress-classes.yaml")) -}}
{{- $annotations := mergeOverwrite (dict) $needed $v.ingress_annotations -}}
{{- if $annotations }}{{ $_ := set $ingress.metadata "annotations" $annotations }}{{ end -}}
{{- $_ := set $ingress.spec "ingressClassName" $v.ingress_class -}}
{{- $tls := dict "hosts" $hosts -}}
{{- with $v.tls_secret }}{{ $_ := set $tls "secretName" . }}{{ end -}}
{{- $_ := set $ingress.spec "tls" (list $tls) -}}
{{- range $at, $rule := $ingress.spec.rules }}{{ $_ := set $rule "host" (index $hosts $at) }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "udair.limits" -}}
{{- $v := .v -}}
{{- $hard := (get .objects "ResourceQuota/udair-jobs/jobs").spec.hard -}}
{{- range $kind := list "requests" "limits" -}}
{{- $_ := set $hard (printf "%s.cpu" $kind) $v.jobs.quota.cpu -}}
{{- $_ := set $hard (printf "%s.memory" $kind) $v.jobs.quota.memory -}}
{{- end -}}
{{- $_ := unset $hard "requests.nvidia.com/gpu" -}}
{{- $_ := set $hard (printf "requests.%s" $v.gpu_resource) (toString $v.jobs.quota.gpus) -}}
{{- if $v.storage_class -}}
{{- range $object := .objects }}{{ range $claim := dig "spec" "volumeClaimTemplates" list $object -}}
{{- $_ := set $claim.spec "storageClassName" $v.storage_class -}}
{{- end }}{{ end -}}
{{- end -}}
{{- $accounts := dict "udair-api" $v.roles.api "udair-scheduler" $v.roles.scheduler "udair-serving" $v.roles.serving "udair-serving-head" $v.roles.serving "udair-job" $v.roles.job -}}
{{- range $object := .objects -}}
{{- $role := get $accounts $object.metadata.name -}}
{{- if and (eq $object.kind "ServiceAccount") $role -}}
{{- $_ := set $object.metadata "annotations" (dict "eks.amazonaws.com/role-arn" $role) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "udair.policies" -}}
{{- $v := .v -}}
{{- $key := "kubernetes.io/metadata.name" -}}
{{- $elsewhere := dict "ingress-nginx" $v.namespaces.ingress "kuberay-operator" $v.namespaces.operator "monitoring" $v.namespaces.monitoring -}}
{{- $ports := dict "00443" true -}}
{{- range $v.egress_ports }}{{ $_ := set $ports (printf "%05d" (int .)) true }}{{ end -}}
{{- range $url := append (values $v.settings) $v.store.endpoint_url -}}
{{- if hasPrefix "http" (toString $url) -}}
{{- $host := (urlParse $url).host -}}
{{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" -}}
{{- $port = default (ternary "443" "80" (hasPrefix "https://" $url)) $port -}}
{{- $_ := set $ports (printf "%05d" (atoi $port)) true -}}
{{- end -}}
{{- end -}}
{{- $out := list -}}
{{- range $ports | keys | sortAlpha }}{{ $out = append $out (dict "protocol" "TCP" "port" (atoi .)) }}{{ end -}}
{{- range $object := .objects }}{{ if eq $object.kind "NetworkPolicy" -}}
{{- range $rule := concat (default list $object.spec.ingress) (default list $object.spec.egress) -}}
{{- range $peer := concat (default list $rule.from) (default list $rule.to) -}}
{{- $labels := dig "namespaceSelector" "matchLabels" dict $peer -}}
{{- $there := get $labels $key -}}
{{- if hasKey $elsewhere $there }}{{ $_ := set $labels $key (get $elsewhere $there) }}{{ end -}}
{{- if and (eq $there "ingress-nginx") $v.ingress_cidr -}}
{{- $_ := unset $peer "namespaceSelector" -}}
{{- $_ := set $peer "ipBlock" (dict "cidr" $v.ingress_cidr) -}}
{{- end -}}
{{- end }}{{ end -}}
{{- range $rule := $object.spec.egress -}}
{{- $anywhere := false -}}
{{- range $peer := $rule.to }}{{ if eq (dig "ipBlock" "cidr" "" $peer) "0.0.0.0/0" }}{{ $anywhere = true }}{{ end }}{{ end -}}
{{- if and $anywhere (eq (toRawJson $rule.ports) `[{"port":443,"protocol":"TCP"}]`) }}{{ $_ := set $rule "ports" $out }}{{ end -}}
{{- end -}}
{{- end }}{{ end -}}
{{- end -}}

{{/* A namespace of jobs for each tenant in place of the one for all, and a watch over all of them. */}}
{{- define "udair.tenants" -}}
{{- $v := .v -}}
{{- $objects := .objects -}}
{{- $shared := list -}}
{{- range $name, $object := $objects -}}
{{- if or (eq (default "" $object.metadata.namespace) "udair-jobs") (eq $name "Namespace//udair-jobs") }}{{ $shared = append $shared $name }}{{ end -}}
{{- end -}}
{{- range $tenant := $v.jobs.tenants -}}
{{- $space := printf "%s-t-%s" $v.namespace $tenant -}}
{{- if or (gt (len $space) 63) (contains "." $tenant) }}{{ fail (printf "jobs.tenants: %s makes a namespace %s; at most 63 letters, digits and hyphens" $tenant $space) }}{{ end -}}
{{- range $name := $shared -}}
{{- $object := mustDeepCopy (get $objects $name) -}}
{{- if eq $object.kind "Namespace" -}}
{{- $_ := set $object.metadata "name" $space -}}
{{- $_ := set $object.metadata.labels "udair/tenant" $tenant -}}
{{- else -}}
{{- $_ := set $object.metadata "namespace" $space -}}
{{- end -}}
{{- if eq $object.kind "Role" -}}
{{- $rules := list -}}
{{- range $rule := $object.rules -}}
{{- $verbs := $rule.verbs -}}
{{- if has (first $rule.resources) (list "rayjobs" "pods") }}{{ $verbs = without $verbs "list" "watch" }}{{ end -}}
{{- if $verbs }}{{ $rules = append $rules (set $rule "verbs" $verbs) }}{{ end -}}
{{- end -}}
{{- $_ := set $object "rules" $rules -}}
{{- end -}}
{{- $_ := set $objects (printf "%s/%s/%s" $object.kind $space $object.metadata.name) $object -}}
{{- end -}}
{{- end -}}
{{- range $name := $shared }}{{ $_ := unset $objects $name }}{{ end -}}
{{- $rules := list (dict "apiGroups" (list "ray.io") "resources" (list "rayjobs") "verbs" (list "list" "watch")) (dict "apiGroups" (list "") "resources" (list "pods") "verbs" (list "list" "watch")) -}}
{{- $api := "rbac.authorization.k8s.io" -}}
{{- $labels := dict "app.kubernetes.io/part-of" "udair" -}}
{{- $role := dict "apiVersion" (printf "%s/v1" $api) "kind" "ClusterRole" "metadata" (dict "name" "udair-launcher" "labels" (deepCopy $labels)) "rules" $rules -}}
{{- $_ := set $objects "ClusterRole//udair-launcher" $role -}}
{{- $binding := dict "apiVersion" (printf "%s/v1" $api) "kind" "ClusterRoleBinding" "metadata" (dict "name" "udair-launcher" "labels" $labels) -}}
{{- $_ := set $binding "roleRef" (dict "apiGroup" $api "kind" "ClusterRole" "name" "udair-launcher") -}}
{{- $_ := set $binding "subjects" (list (dict "kind" "ServiceAccount" "name" "udair-scheduler" "namespace" "udair")) -}}
{{- $_ := set $objects "ClusterRoleBinding//udair-launcher" $binding -}}
{{- end -}}

{{- define "udair.move" -}}
{{- $v := .v -}}
{{- $names := dict "udair" $v.namespace "udair-jobs" (printf "%s-jobs" $v.namespace) -}}
{{- $scheduler := (get .objects "ConfigMap/udair/udair-scheduler").data -}}
{{- $_ := set $scheduler "UDAIR_KUBE_NAMESPACE" (get $names "udair-jobs") -}}
{{- $_ := set $scheduler "UDAIR_KUBE_INSTANCE" $v.namespace -}}
{{- range $object := .objects -}}
{{- $metadata := $object.metadata -}}
{{- if $metadata.namespace -}}
{{- $_ := set $metadata "namespace" (dig $metadata.namespace $metadata.namespace $names) -}}
{{- else if eq $object.kind "Namespace" -}}
{{- $_ := set $metadata "name" (dig $metadata.name $metadata.name $names) -}}
{{- else -}}
{{- $_ := set $metadata "name" (printf "%s-%s" $v.namespace (trimPrefix "udair-" $metadata.name)) -}}
{{- if $object.roleRef }}{{ $_ := set $object.roleRef "name" $metadata.name }}{{ end -}}
{{- end -}}
{{- range $subject := $object.subjects }}{{ $_ := set $subject "namespace" (get $names $subject.namespace) }}{{ end -}}
{{- if and (eq $object.kind "PodMonitor") (eq $metadata.name "udair-jobs") -}}
{{- $_ := set $object.spec.selector.matchLabels "app.kubernetes.io/instance" $v.namespace -}}
{{- end -}}
{{- $labels := default dict $metadata.labels -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" "Helm" -}}
{{- $_ := set $labels "app.kubernetes.io/instance" $v.namespace -}}
{{- $_ := set $metadata "labels" $labels -}}
{{- end -}}
{{- end -}}

{{- define "udair.restarts" -}}
{{- $v := .v -}}
{{- $common := (get .objects "ConfigMap/udair/udair-settings").data -}}
{{- $scheduler := (get .objects "ConfigMap/udair/udair-scheduler").data -}}
{{- range $name, $read := dict "udair-api" (list $common) "udair-scheduler" (list $common $scheduler) -}}
{{- $metadata := (get $.objects (printf "Deployment/udair/%s" $name)).spec.template.metadata -}}
{{- $annotations := default dict $metadata.annotations -}}
{{- $_ := set $annotations "udair/settings" (include "udair.digest" (append $read $v.secrets_version)) -}}
{{- $_ := set $metadata "annotations" $annotations -}}
{{- end -}}
{{- end -}}

{{/* As platform/udair_platform/deploy/serving.py. */}}
{{- define "udair.serving" -}}
{{- $v := .v -}}
{{- $serving := $v.serving -}}
{{- $service := get .objects "RayService/udair/udair" -}}
{{- $environment := (get .objects "ConfigMap/udair/udair-settings").data -}}
{{- $cluster := $service.spec.rayClusterConfig -}}
{{- $group := first $cluster.workerGroupSpecs -}}
{{- $_ := set $group "replicas" $serving.min_replicas -}}
{{- $_ := set $group "minReplicas" $serving.min_replicas -}}
{{- $_ := set $group "maxReplicas" $serving.max_replicas -}}
{{- $pod := $group.template.spec -}}
{{- $amounts := dict "cpu" $serving.resources.cpu "memory" $serving.resources.memory -}}
{{- if $serving.gpus }}{{ $_ := set $amounts $v.gpu_resource (toString $serving.gpus) }}{{ end -}}
{{- $_ := set (first $pod.containers) "resources" (dict "requests" $amounts "limits" $amounts) -}}
{{- with $serving.node_selector }}{{ $_ := set $pod "nodeSelector" . }}{{ end -}}
{{- with $serving.tolerations }}{{ $_ := set $pod "tolerations" . }}{{ end -}}
{{- with $serving.runtime_class }}{{ $_ := set $pod "runtimeClassName" . }}{{ end -}}
{{- if $serving.head_fault_tolerance -}}
{{- $password := dict "valueFrom" (dict "secretKeyRef" (dict "name" "udair-redis" "key" "password")) -}}
{{- $_ := set $cluster "gcsFaultToleranceOptions" (dict "redisAddress" "udair-redis:6379" "redisPassword" $password) -}}
{{- end -}}
{{- if eq (int $serving.min_replicas) (int $serving.max_replicas) -}}
{{- $_ := set $cluster "enableInTreeAutoscaling" false -}}
{{- $_ := unset $cluster "autoscalerOptions" -}}
{{- $_ := set $cluster.headGroupSpec.template.spec "automountServiceAccountToken" false -}}
{{- end -}}
{{- if not (int $serving.min_replicas) -}}
{{- $_ := set $service.spec "excludeHeadPodFromServeSvc" false -}}
{{- $_ := set $cluster.headGroupSpec.rayStartParams "resources" "\"{\\\"ingress\\\": 100}\"" -}}
{{- end -}}
{{- $atStart := dict -}}
{{- range $name, $value := $environment -}}
{{- if or (hasPrefix "OTEL_" $name) (hasPrefix "AWS_" $name) }}{{ $_ := set $atStart $name $value }}{{ end -}}
{{- end -}}
{{- range $template := list $cluster.headGroupSpec.template $group.template -}}
{{- $annotations := default dict $template.metadata.annotations -}}
{{- $_ := set $annotations "udair/settings" (include "udair.digest" (list $atStart $v.secrets_version)) -}}
{{- $_ := set $template.metadata "annotations" $annotations -}}
{{- end -}}
{{- $config := fromYaml $service.spec.serveConfigV2 -}}
{{- $arguments := dict -}}
{{- range $name := fromYamlArray (.files.Get "files/applied-live.yaml") -}}
{{- $variable := printf "UDAIR_%s" (upper $name) -}}
{{- if hasKey $environment $variable }}{{ $_ := set $arguments $name (get $environment $variable) }}{{ end -}}
{{- end -}}
{{- $_ := set (first $config.applications) "args" $arguments -}}
{{- $_ := set $service.spec "serveConfigV2" (toYaml $config) -}}
{{- $_ := set $service.metadata "annotations" (dict "udair/settings" (include "udair.digest" $service.spec)) -}}
{{- end -}}
