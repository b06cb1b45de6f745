// Command csi-node-driver-registrar stands in for the sidecar of that name, which no Go module
// proxy serves. It takes the same flags, and does what kubelet needs: it queries the driver for its
// name and answers kubelet's plugin registration.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/kubernetes-csi/csi-lib-utils/connection"
	"github.com/kubernetes-csi/csi-lib-utils/rpc"
	"google.golang.org/grpc"
	"k8s.io/klog/v2"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"calf.invalid/e2e/sidecars/health"
)

var (
	csiAddress    = flag.String("csi-address", "/run/csi/socket", "path of the driver's socket in this container")
	kubeletPath   = flag.String("kubelet-registration-path", "", "path of the driver's socket on the node")
	registryPath  = flag.String("plugin-registration-path", "/registration", "directory of kubelet's registration sockets in this container")
	mode          = flag.String("mode", "registration", "registration, or kubelet-registration-probe: whether kubelet has accepted the driver")
	timeout       = flag.Duration("timeout", time.Second, "limit for a call to the driver")
	httpEndpoint  = flag.String("http-endpoint", "", "address to serve /healthz on")
	probeMode     = "kubelet-registration-probe"
	errNoEndpoint = errors.New("--kubelet-registration-path is missing")
)

func main() {
	klog.InitFlags(nil)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil {
		klog.ErrorS(err, "cannot go on")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
}

func run(ctx context.Context) error {
	if *kubeletPath == "" {
		return errNoEndpoint
	}
	if *mode == probeMode {
		_, err := os.Stat(acceptedPath())
		return err
	}
	name, err := driverName(ctx)
	if err != nil {
		return err
	}
	_ = os.Remove(acceptedPath())
	return serve(ctx, name)
}

// acceptedPath is the file that tells the probe that kubelet has accepted the driver.
func acceptedPath() string {
	return filepath.Join(filepath.Dir(*csiAddress), "registration")
}

// driverName waits for the driver and queries its name, then closes the connection: kubelet and
// livenessprobe watch the driver from then on.
func driverName(ctx context.Context) (string, error) {
	conn, err := connection.ConnectWithoutMetrics(ctx, *csiAddress)
	if err != nil {
		return "", fmt.Errorf("connect to %s: %w", *csiAddress, err)
	}
	defer conn.Close()
	if err := rpc.ProbeForever(ctx, conn, *timeout); err != nil {
		return "", fmt.Errorf("probe %s: %w", *csiAddress, err)
	}
	call, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	return rpc.GetDriverName(call, conn)
}

// serve answers kubelet on the registration socket until the context ends.
func serve(ctx context.Context, name string) error {
	path := filepath.Join(*registryPath, name+"-reg.sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	klog.InfoS("Waiting for kubelet", "driver", name, "socket", path)
	failed := make(chan error, 2)
	server := grpc.NewServer()
	registration.RegisterRegistrationServer(server, &registrar{name: name, failed: failed})
	go func() { failed <- server.Serve(listener) }()
	if *httpEndpoint != "" {
		go func() { failed <- health.Serve(*httpEndpoint, func() error { _, err := os.Stat(path); return err }) }()
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		server.Stop()
		return nil
	}
}

type registrar struct {
	registration.UnimplementedRegistrationServer
	name   string
	failed chan<- error
}

func (r *registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              r.name,
		Endpoint:          *kubeletPath,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (r *registrar) NotifyRegistrationStatus(_ context.Context, status *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		r.failed <- fmt.Errorf("kubelet refuses the driver: %s", status.Error)
		return &registration.RegistrationStatusResponse{}, nil
	}
	klog.InfoS("Kubelet has registered the driver", "driver", r.name)
	if err := os.WriteFile(acceptedPath(), nil, 0o600); err != nil {
		r.failed <- err
	}
	return &registration.RegistrationStatusResponse{}, nil
}
