// Command livenessprobe stands in for the sidecar of that name, which no Go module proxy serves.
// It takes the same flags, and turns kubelet's HTTP probe into a Probe call to the driver.
package main

import (
	"context"
	"errors"
	"flag"
	"net"
	"time"

	"github.com/kubernetes-csi/csi-lib-utils/connection"
	"github.com/kubernetes-csi/csi-lib-utils/rpc"
	"k8s.io/klog/v2"

	"calf.invalid/e2e/sidecars/health"
)

var (
	csiAddress   = flag.String("csi-address", "/run/csi/socket", "path of the driver's socket in this container")
	probeTimeout = flag.Duration("probe-timeout", time.Second, "limit for a call to the driver")
	healthPort   = flag.String("health-port", "9808", "port of all addresses to serve /healthz on")
	httpEndpoint = flag.String("http-endpoint", "", "address to serve /healthz on, instead of --health-port")
	errNotReady  = errors.New("the driver says that it is not ready")
)

func main() {
	klog.InitFlags(nil)
	flag.Parse()
	address := *httpEndpoint
	if address == "" {
		address = net.JoinHostPort("", *healthPort)
	}
	klog.InfoS("Serving /healthz", "address", address, "driver", *csiAddress)
	if err := health.Serve(address, probe); err != nil {
		klog.ErrorS(err, "cannot go on")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
}

func probe() error {
	ctx, cancel := context.WithTimeout(context.Background(), *probeTimeout)
	defer cancel()
	conn, err := connection.ConnectWithoutMetrics(ctx, *csiAddress)
	if err != nil {
		return err
	}
	defer conn.Close()
	ready, err := rpc.Probe(ctx, conn)
	if err != nil {
		return err
	}
	if !ready {
		return errNotReady
	}
	return nil
}
