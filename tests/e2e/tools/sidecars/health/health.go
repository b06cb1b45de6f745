// Package health serves /healthz for the sidecars.
package health

import (
	"net/http"
	"time"

	"k8s.io/klog/v2"
)

// Serve answers /healthz on the address: 200 while check succeeds, else 500 with its error. It
// returns only when it fails.
func Serve(address string, check func() error) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(response http.ResponseWriter, _ *http.Request) {
		if err := check(); err != nil {
			klog.ErrorS(err, "health check failed")
			http.Error(response, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = response.Write([]byte("ok"))
	})
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}
