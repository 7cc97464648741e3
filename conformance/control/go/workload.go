package main

import (
	"context"
	"crypto/x509"
	"strings"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	workload "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func failure(err error) report {
	return report{"event": "error", "code": status.Code(err).String(), "message": status.Convert(err).Message()}
}

// Every update of the X.509 context, until the first error or the end of standard input's patience.
func watch(ctx context.Context, socket string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watcher := &contextWatcher{cancel: cancel}
	err := workloadapi.WatchX509Context(ctx, watcher, workloadapi.WithAddr(socket))
	if watcher.failed {
		return nil
	}
	return err
}

type contextWatcher struct {
	cancel context.CancelFunc
	failed bool
}

func (w *contextWatcher) OnX509ContextUpdate(update *workloadapi.X509Context) {
	var svids []report
	for _, svid := range update.SVIDs {
		svids = append(svids, describe(svid, update.Bundles))
	}
	say(report{"event": "svids", "svids": svids, "default": update.DefaultSVID().ID.String()})
}

func (w *contextWatcher) OnX509ContextWatchError(err error) {
	if w.failed {
		return
	}
	w.failed = true
	say(failure(err))
	w.cancel()
}

// go-spiffe has parsed the SVID and found the key to be the certificate's; whether the bundle vouches for it is said here.
func describe(svid *x509svid.SVID, bundles x509bundle.Source) report {
	problem := ""
	if _, _, err := x509svid.Verify(svid.Certificates, bundles); err != nil {
		problem = err.Error()
	}
	bundle, err := bundles.GetX509BundleForTrustDomain(svid.ID.TrustDomain())
	roots := 0
	if err == nil {
		roots = len(bundle.X509Authorities())
	}
	return report{
		"id": svid.ID.String(), "serial": svid.Certificates[0].SerialNumber.Text(16), "roots": roots,
		"certificates": len(svid.Certificates), "problem": problem, "hint": svid.Hint,
	}
}

func bundles(ctx context.Context, socket string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return workloadapi.WatchX509Bundles(ctx, &bundleWatcher{cancel: cancel}, workloadapi.WithAddr(socket))
}

type bundleWatcher struct{ cancel context.CancelFunc }

func (w *bundleWatcher) OnX509BundlesUpdate(set *x509bundle.Set) {
	line := report{"event": "bundles"}
	for _, bundle := range set.Bundles() {
		line[bundle.TrustDomain().Name()] = subjects(bundle.X509Authorities())
	}
	say(line)
}

func (w *bundleWatcher) OnX509BundlesWatchError(err error) {
	say(failure(err))
	w.cancel()
}

func subjects(certificates []*x509.Certificate) []string {
	var all []string
	for _, certificate := range certificates {
		all = append(all, certificate.Subject.String())
	}
	return all
}

func jwt(ctx context.Context, socket string) error {
	_, err := workloadapi.FetchJWTSVID(ctx, jwtsvid.Params{Audience: "somebody", Subject: spiffeid.ID{}}, workloadapi.WithAddr(socket))
	return err
}

// A call as a browser or a proxy could be tricked into making it: without the header of SPIFFE Workload Endpoint, section 6.1.
func headerless(ctx context.Context, socket string) error {
	target := "unix:" + strings.TrimPrefix(socket, "unix://")
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	stream, err := workload.NewSpiffeWorkloadAPIClient(connection).FetchX509SVID(ctx, &workload.X509SVIDRequest{})
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}
