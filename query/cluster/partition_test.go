package cluster

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// wire is the network in front of a member: what others send to it by UDP and TCP goes
// through, unless the network is parted.
type wire struct {
	udp  *net.UDPConn
	tcp  net.Listener
	to   atomic.Pointer[net.UDPAddr] // where the member listens
	from atomic.Pointer[sync.Map]    // ports of members whose packets are dropped; nil: of none
	cut  atomic.Bool                 // nothing goes through at all
}

func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{}
	w.tcp, w.udp = listenBoth(t)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(w.packets)
	running.Go(func() { w.streams(ctx, &running) })
	t.Cleanup(func() {
		cancel()
		_ = w.udp.Close()
		_ = w.tcp.Close()
		running.Wait()
	})
	return w
}

// listenBoth takes a port for TCP and UDP.
func listenBoth(t *testing.T) (net.Listener, *net.UDPConn) {
	t.Helper()
	var lc net.ListenConfig
	for range 20 {
		tcp, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: tcp.Addr().(*net.TCPAddr).Port})
		if err == nil {
			return tcp, udp
		}
		_ = tcp.Close()
	}
	t.Fatal("no port is free for TCP and UDP")
	return nil, nil
}

func (w *wire) address() string { return w.tcp.Addr().String() }

func (w *wire) packets() {
	packet := make([]byte, 64<<10)
	for {
		n, sender, err := w.udp.ReadFromUDP(packet)
		if err != nil {
			return
		}
		if dropped := w.from.Load(); dropped != nil {
			if _, drop := dropped.Load(sender.Port); drop {
				continue
			}
		}
		if to := w.to.Load(); to != nil && !w.cut.Load() {
			_, _ = w.udp.WriteToUDP(packet[:n], to) // packets may be lost
		}
	}
}

// streams lets none through while the network is parted anywhere: who opens one is not known.
func (w *wire) streams(ctx context.Context, running *sync.WaitGroup) {
	for {
		in, err := w.tcp.Accept()
		if err != nil {
			return
		}
		to := w.to.Load()
		if to == nil || w.cut.Load() || w.from.Load() != nil {
			_ = in.Close()
			continue
		}
		var d net.Dialer
		out, err := d.DialContext(ctx, "tcp", to.String())
		if err != nil {
			_ = in.Close()
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = in.Close(); _ = out.Close() })
		running.Go(func() { _, _ = io.Copy(out, in); _ = out.(*net.TCPConn).CloseWrite() })
		running.Go(func() { _, _ = io.Copy(in, out); _ = in.Close(); _ = out.Close(); stop() })
	}
}

// startBehind starts a member that others reach through a wire, and tells its port.
func startBehind(t *testing.T, w *wire, config Config) (*member, int) {
	t.Helper()
	tcp, udp := listenBoth(t) // a port that was free a moment ago
	to := udp.LocalAddr().(*net.UDPAddr)
	_, _ = tcp.Close(), udp.Close()
	w.to.Store(to)
	config.Bind, config.Advertise, config.HedgeAfter = to.String(), w.address(), 20*time.Millisecond
	return startMember(t, config), to.Port
}

// A parted network leaves two clusters that each answer, and one again when it has healed, without
// anybody doing anything.
func TestPartitionHeals(t *testing.T) {
	t.Parallel()
	var wires []*wire
	var all []*member
	port := 0 // of the last one
	for i, name := range []string{"m0", "m1", "m2"} {
		wires = append(wires, newWire(t))
		config := Config{Name: name, joinEvery: 500 * time.Millisecond}
		if i > 0 {
			config.Join = []string{wires[0].address()}
		}
		m, bound := startBehind(t, wires[i], config)
		all, port = append(all, m), bound
	}
	for _, m := range all {
		m.waitFor(t, 3)
	}
	key, lost := "", all[2]
	for _, k := range keys(100) {
		if all[0].Assign([]string{k})[0] == lost.name {
			key = k
			break
		}
	}

	divide := func(on bool) {
		wires[2].cut.Store(on)
		for _, w := range wires[:2] {
			w.from.Store(nil)
			if on {
				dropped := new(sync.Map)
				dropped.Store(port, true)
				w.from.Store(dropped)
			}
		}
	}
	silent := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	divide(true)
	lost.behave(silent) // its answers do not arrive either
	for _, m := range all[:2] {
		partial, err := m.Cluster.Compute(t.Context(), lost.name, part(key))
		if err != nil || string(partial.Block) == lost.name {
			t.Errorf("%s, of a member that is away: %v, %v", m.name, partial, err)
		}
	}
	lost.waitFor(t, 1)
	all[0].waitFor(t, 2)
	all[1].waitFor(t, 2)
	if worker := lost.Assign([]string{key})[0]; worker != "" {
		t.Errorf("a member alone asks %q", worker)
	}

	divide(false)
	lost.do.Store(nil)
	for _, m := range all {
		m.waitFor(t, 3)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) { // it is avoided for some seconds after it was silent
		if all[0].Assign([]string{key})[0] == lost.name && all[1].Assign([]string{key})[0] == lost.name {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a member that is back is not asked")
		}
	}
	if partial, err := all[0].Cluster.Compute(t.Context(), lost.name, part(key)); err != nil {
		t.Errorf("%v, %v", partial, err)
	}
}
