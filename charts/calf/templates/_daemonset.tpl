{{/*
The driver on the nodes of one group, or on all nodes. Its context is the chart's, with the group's
values in place of the chart's, and the group's name as `group`.
*/}}
{{- define "calf.daemonset" -}}
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ include "calf.groupName" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "calf.labels" . | nindent 4 }}
spec:
  selector:
    matchLabels:
      {{- include "calf.groupSelectorLabels" . | nindent 6 }}
  updateStrategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: {{ .Values.updateStrategy.maxUnavailable }}
  template:
    metadata:
      labels:
        {{- include "calf.labels" . | nindent 8 }}
        app.kubernetes.io/component: driver
        {{- with .group }}
        calf.csi.dev/node-group: {{ . }}
        {{- end }}
        {{- with .Values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        kubectl.kubernetes.io/default-container: calf
        {{- if .Values.templates }}
        # The driver reads the list when it starts.
        checksum/templates: {{ include "calf.templatesFile" . | sha256sum }}
        {{- end }}
        {{- with .Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "calf.serviceAccountName" . }}
      priorityClassName: {{ .Values.priorityClassName }}
      terminationGracePeriodSeconds: {{ add .Values.drainTimeoutSeconds 10 }}
      {{- if .Values.hostPID }}
      hostPID: true
      {{- end }}
      {{- with .Values.seLinuxType }}
      securityContext:
        seLinuxOptions:
          type: {{ . }}
      {{- end }}
      {{- with .Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if or .Values.kernelModules.load .Values.udevRules.install }}
      initContainers:
        {{- if .Values.kernelModules.load }}
        - name: kernel-modules
          image: {{ include "calf.image" . | quote }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          command: [modprobe, --all, loop, dm-snapshot]
          securityContext:
            runAsUser: 0
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
              add: [SYS_MODULE]
          volumeMounts:
            - name: kernel-modules
              mountPath: /lib/modules
              readOnly: true
        {{- end }}
        {{- if .Values.udevRules.install }}
        - name: udev-rules
          image: {{ include "calf.image" . | quote }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args: [udev-rules, --install, /etc/udev/rules.d]
          securityContext:
            {{- include "calf.sidecarSecurity" . | nindent 12 }}
          volumeMounts:
            - name: udev-rules
              mountPath: /etc/udev/rules.d
        {{- end }}
      {{- end }}
      containers:
        - name: calf
          image: {{ include "calf.image" . | quote }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          args:
            - serve
            # The kubelet sees its directory at the same path.
            - --endpoint=unix://{{ include "calf.socketDir" . }}/csi.sock
            - --driver-name={{ .Values.driverName }}
            - --max-volumes-per-node={{ .Values.maxVolumesPerNode }}
            {{- with .Values.maxVolumeSize }}
            - --max-volume-size={{ . }}
            {{- end }}
            {{- with .Values.inlineVolumes }}
            {{- if .enabled }}
            - --inline-volumes
            {{- with .maxSize }}
            - --inline-max-size={{ . }}
            {{- end }}
            {{- with .maxCowLimit }}
            - --inline-max-cow-limit={{ . }}
            {{- end }}
            {{- with .allow }}
            - --inline-allow={{ join "," . }}
            {{- end }}
            {{- with .templates }}
            - --inline-templates={{ join "," . }}
            {{- end }}
            {{- end }}
            {{- end }}
            {{- with .Values.pool.guard.low }}
            - --guard-low={{ . }}
            {{- end }}
            {{- with .Values.pool.guard.resume }}
            - --guard-resume={{ . }}
            {{- end }}
            - --kubelet-dir={{ .Values.kubeletDir }}
            {{- if not .Values.registrar.enabled }}
            - --register
            {{- end }}
            - --drain-timeout={{ .Values.drainTimeoutSeconds }}s
            {{- with .Values.reconcileInterval }}
            - --reconcile-interval={{ . }}
            {{- end }}
            - --log-format={{ .Values.log.format }}
            - --metrics-address={{ .Values.metrics.bindAddress }}:{{ .Values.metrics.port }}
            - --probe-address={{ .Values.probes.bindAddress }}:{{ .Values.probes.port }}
            {{- if .Values.templates }}
            - --templates=/etc/calf/templates.json
            - --parallel-imports={{ .Values.parallelImports }}
            {{- end }}
            {{- if .Values.pool.create }}
            - --create-pool
            {{- end }}
            {{- with .Values.pool.kcopydSubjobSize }}
            - --kcopyd-subjob-size={{ . }}
            {{- end }}
            {{- if .Values.kubernetesEvents }}
            - --kubernetes-events
            {{- end }}
          env:
            - name: KUBE_NODE_NAME
              valueFrom:
                fieldRef:
                  fieldPath: spec.nodeName
            # Settings that all processes on a pool must share, including commands
            # that `kubectl exec` runs.
            - name: CALF_POOL
              value: {{ .Values.pool.path | quote }}
            - name: CALF_RESERVE
              value: {{ .Values.pool.reserve | quote }}
            {{- with .Values.pool.overcommitRatio }}
            - name: CALF_OVERCOMMIT_RATIO
              value: {{ . | quote }}
            {{- end }}
            {{- with .Values.pool.maxKernelMemory }}
            - name: CALF_MAX_KERNEL_MEMORY
              value: {{ . | quote }}
            {{- end }}
            {{- if .Values.pool.requireMount }}
            - name: CALF_REQUIRE_MOUNT
              value: "true"
            {{- end }}
            {{- with .Values.pool.fallback }}
            - name: CALF_FALLBACK
              value: {{ . | quote }}
            {{- end }}
            - name: CALF_MIN_DOWNLOAD_RATE
              value: {{ .Values.minDownloadRate | quote }}
            {{- if .Values.tlsCa.configMap }}
            - name: CALF_TLS_CA
              value: "/etc/calf-tls/{{ .Values.tlsCa.key }}"
            {{- end }}
            {{- if .Values.registryAuth.secret }}
            - name: CALF_REGISTRY_AUTH_FILE
              value: "/etc/calf-registry/{{ .Values.registryAuth.key }}"
            {{- end }}
            {{- if .Values.kata.enabled }}
            - name: CALF_KATA_DIRECT_VOLUMES
              value: {{ .Values.kata.directVolumesDir | quote }}
            {{- end }}
            - name: RUST_LOG
              value: {{ include "calf.logFilter" . | quote }}
            {{- with .Values.extraEnv }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
          ports:
            - name: metrics
              containerPort: {{ .Values.metrics.port }}
            - name: probes
              containerPort: {{ .Values.probes.port }}
            {{- if .Values.livenessProbe.enabled }}
            - name: healthz
              containerPort: {{ .Values.livenessProbe.port }}
            {{- end }}
          {{- if .Values.livenessProbe.enabled }}
          # The driver repairs what a crash left behind before it answers its first call.
          startupProbe:
            httpGet:
              path: /healthz
              port: healthz
            periodSeconds: 2
            timeoutSeconds: 5
            failureThreshold: 150
          {{- end }}
          livenessProbe:
            httpGet:
              path: /healthz
              port: {{ .Values.livenessProbe.enabled | ternary "healthz" "probes" }}
            periodSeconds: 20
            timeoutSeconds: 10
            failureThreshold: 5
          readinessProbe:
            httpGet:
              path: /readyz
              port: probes
            periodSeconds: 5
            timeoutSeconds: 5
          securityContext:
            # Kubernetes allows Bidirectional mount propagation only for privileged containers. calf
            # drops the privileges that it does not need (docs/security.md).
            privileged: true
            readOnlyRootFilesystem: true
          {{- with .Values.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          volumeMounts:
            # calf mounts volumes here for pods that run outside of this container.
            - name: kubelet
              mountPath: {{ .Values.kubeletDir }}
              mountPropagation: Bidirectional
            - name: pool
              mountPath: {{ .Values.pool.path }}
            # Device nodes come and go; a container's own /dev would not show new ones.
            - name: dev
              mountPath: /dev
            {{- if .Values.templates }}
            - name: templates
              mountPath: /etc/calf
              readOnly: true
            {{- end }}
            {{- with .Values.templateImages.path }}
            - name: template-images
              mountPath: {{ . }}
              readOnly: true
            {{- end }}
            {{- range .Values.templateImages.volumes }}
            - name: image-{{ .name }}
              mountPath: /image-volumes/{{ .name }}
              readOnly: true
            {{- end }}
            {{- if .Values.tlsCa.configMap }}
            - name: tls-ca
              mountPath: /etc/calf-tls
              readOnly: true
            {{- end }}
            {{- if .Values.registryAuth.secret }}
            - name: registry-auth
              mountPath: /etc/calf-registry
              readOnly: true
            {{- end }}
            {{- if .Values.kata.enabled }}
            - name: kata
              mountPath: {{ .Values.kata.directVolumesDir }}
            {{- end }}
            {{- if .Values.udevRules.install }}
            # For `calf doctor`.
            - name: udev-rules
              mountPath: /etc/udev/rules.d
              readOnly: true
            - name: udev
              mountPath: /run/udev
              readOnly: true
            {{- end }}
        {{- if .Values.registrar.enabled }}
        - name: registrar
          image: "{{ .Values.registrar.image.repository }}:{{ .Values.registrar.image.tag }}"
          imagePullPolicy: {{ .Values.registrar.image.pullPolicy }}
          args:
            - --v={{ .Values.registrar.logLevel }}
            - --csi-address=/csi/csi.sock
            - --kubelet-registration-path={{ include "calf.socketDir" . }}/csi.sock
          securityContext:
            {{- include "calf.sidecarSecurity" . | nindent 12 }}
          {{- with .Values.registrar.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          volumeMounts:
            - name: socket
              mountPath: /csi
            - name: registration
              mountPath: /registration
        {{- end }}
        - name: provisioner
          image: "{{ .Values.provisioner.image.repository }}:{{ .Values.provisioner.image.tag }}"
          imagePullPolicy: {{ .Values.provisioner.image.pullPolicy }}
          args:
            - --v={{ .Values.provisioner.logLevel }}
            - --csi-address=/csi/csi.sock
            - --node-deployment
            - --strict-topology
            - --immediate-topology=false
            - --enable-capacity
            # A pod owns the capacity objects of its node, so they go with the pod, and so with the node.
            - --capacity-ownerref-level=0
            - --capacity-poll-interval={{ .Values.provisioner.capacityPollInterval }}
            - --timeout={{ .Values.provisioner.timeout }}
            - --worker-threads={{ .Values.provisioner.workerThreads }}
            - --kube-api-qps={{ .Values.provisioner.kubeApiQps }}
            - --kube-api-burst={{ mul .Values.provisioner.kubeApiQps 2 }}
            {{- if not .Values.snapshots.enabled }}
            # Nothing here uses VolumeSnapshots, and the account may not list them.
            - --snapshot-orphan-sweep-interval=0
            {{- end }}
          env:
            - name: NODE_NAME
              valueFrom:
                fieldRef:
                  fieldPath: spec.nodeName
            - name: NAMESPACE
              valueFrom:
                fieldRef:
                  fieldPath: metadata.namespace
            - name: POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
          securityContext:
            {{- include "calf.sidecarSecurity" . | nindent 12 }}
          {{- with .Values.provisioner.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          volumeMounts:
            - name: socket
              mountPath: /csi
        - name: resizer
          image: "{{ .Values.resizer.image.repository }}:{{ .Values.resizer.image.tag }}"
          imagePullPolicy: {{ .Values.resizer.image.pullPolicy }}
          # Only one resizer of all nodes is active. It only writes the new size into the
          # PersistentVolume: the kubelet of the volume's node has calf grow the volume
          # (docs/adr/0015).
          args:
            - --v={{ .Values.resizer.logLevel }}
            - --csi-address=/csi/csi.sock
            - --leader-election
            - --leader-election-namespace=$(NAMESPACE)
            - --leader-election-lease-duration={{ .Values.resizer.leaderElection.leaseDuration }}
            - --leader-election-renew-deadline={{ .Values.resizer.leaderElection.renewDeadline }}
            - --leader-election-retry-period={{ .Values.resizer.leaderElection.retryPeriod }}
            # Volumes grow while in use, so the resizer needs no information about pods.
            - --handle-volume-inuse-error=false
            - --feature-gates=VolumeAttributesClass=false
          env:
            - name: NAMESPACE
              valueFrom:
                fieldRef:
                  fieldPath: metadata.namespace
          securityContext:
            {{- include "calf.sidecarSecurity" . | nindent 12 }}
          {{- with .Values.resizer.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          volumeMounts:
            - name: socket
              mountPath: /csi
        {{- if .Values.snapshots.enabled }}
        - name: snapshotter
          image: "{{ .Values.snapshotter.image.repository }}:{{ .Values.snapshotter.image.tag }}"
          imagePullPolicy: {{ .Values.snapshotter.image.pullPolicy }}
          # Each node takes the snapshots of its own volumes.
          args:
            - --v={{ .Values.snapshotter.logLevel }}
            - --csi-address=/csi/csi.sock
            - --node-deployment
            - --timeout={{ .Values.snapshotter.timeout }}
            - --worker-threads={{ .Values.snapshotter.workerThreads }}
            - --kube-api-qps={{ .Values.snapshotter.kubeApiQps }}
            - --kube-api-burst={{ mul .Values.snapshotter.kubeApiQps 2 }}
            - --feature-gates=CSIVolumeGroupSnapshot=false
          env:
            - name: NODE_NAME
              valueFrom:
                fieldRef:
                  fieldPath: spec.nodeName
          securityContext:
            {{- include "calf.sidecarSecurity" . | nindent 12 }}
          {{- with .Values.snapshotter.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          volumeMounts:
            - name: socket
              mountPath: /csi
        {{- end }}
        {{- if .Values.livenessProbe.enabled }}
        - name: liveness-probe
          image: "{{ .Values.livenessProbe.image.repository }}:{{ .Values.livenessProbe.image.tag }}"
          imagePullPolicy: {{ .Values.livenessProbe.image.pullPolicy }}
          args:
            - --v={{ .Values.livenessProbe.logLevel }}
            - --csi-address=/csi/csi.sock
            - --health-port={{ .Values.livenessProbe.port }}
            - --probe-timeout=5s
          securityContext:
            {{- include "calf.sidecarSecurity" . | nindent 12 }}
          {{- with .Values.livenessProbe.resources }}
          resources:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          volumeMounts:
            - name: socket
              mountPath: /csi
        {{- end }}
      volumes:
        - name: socket
          hostPath:
            path: {{ include "calf.socketDir" . }}
            type: DirectoryOrCreate
        {{- if .Values.registrar.enabled }}
        - name: registration
          hostPath:
            path: {{ .Values.kubeletDir }}/plugins_registry
            type: DirectoryOrCreate
        {{- end }}
        - name: kubelet
          hostPath:
            path: {{ .Values.kubeletDir }}
            type: Directory
        - name: pool
          hostPath:
            path: {{ .Values.pool.path }}
            type: DirectoryOrCreate
        - name: dev
          hostPath:
            path: /dev
            type: Directory
        {{- if .Values.kernelModules.load }}
        - name: kernel-modules
          hostPath:
            path: {{ .Values.kernelModules.path }}
            type: Directory
        {{- end }}
        {{- if .Values.udevRules.install }}
        - name: udev-rules
          hostPath:
            path: {{ .Values.udevRules.path }}
            type: DirectoryOrCreate
        - name: udev
          hostPath:
            path: /run/udev
            type: DirectoryOrCreate
        {{- end }}
        {{- if .Values.templates }}
        - name: templates
          configMap:
            name: {{ include "calf.groupName" . }}-templates
        {{- end }}
        {{- with .Values.templateImages.path }}
        - name: template-images
          hostPath:
            path: {{ . }}
            type: Directory
        {{- end }}
        {{- range .Values.templateImages.volumes }}
        - name: image-{{ .name }}
          image:
            reference: {{ .reference | quote }}
            pullPolicy: {{ default "IfNotPresent" .pullPolicy }}
        {{- end }}
        {{- if .Values.tlsCa.configMap }}
        - name: tls-ca
          configMap:
            name: {{ .Values.tlsCa.configMap }}
        {{- end }}
        {{- if .Values.registryAuth.secret }}
        - name: registry-auth
          secret:
            secretName: {{ .Values.registryAuth.secret }}
        {{- end }}
        {{- if .Values.kata.enabled }}
        - name: kata
          hostPath:
            path: {{ .Values.kata.directVolumesDir }}
            type: DirectoryOrCreate
        {{- end }}
{{- end -}}
