// Package cluster lets query processes share large queries.
//
// Members find each other by gossip ([github.com/hashicorp/memberlist]). A block belongs
// to the member that a weighted rendezvous hash of its key names, so that every member
// asks the same one for the same block, whose cache then has it; when members come and go
// only their own blocks move. There is no state to hand over, nothing to repair and
// nothing to forget: who is asked in vain costs a second question to the next in order,
// and what nobody answers, the asking process computes itself. Correctness never depends
// on gossip, and a frozen member costs no more than a hedge.
//
// Members speak one internal call over HTTP, [Cluster.Handler], beside the API. With a
// gossip key both are closed to whoever lacks it.
package cluster

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/coldframe/coldframe/profile"
)

// Version of what members say to each other. Those of another version are seen and not asked.
const Version = 2

// Config says who this member is and where the others are. Zero fields mean the defaults
// named here.
type Config struct {
	Name      string // unique in the cluster; required
	Label     string // members of a cluster with another label are refused; "coldframe"
	Bind      string // host:port for gossip, by UDP and TCP; "0.0.0.0:7946". Port 0 takes a free one
	Advertise string // host:port by which others reach Bind; found out
	URL       string // where others reach Handler: "http://10.0.0.7:7070". An empty host is taken from Advertise
	Zone      string // members of one's own zone are asked before all others; traffic between zones is billed
	Weight    int    // how much of the blocks, relative to the others; 1. From 1 to 1,000

	// Join are members to begin with, host or host:port, of whom one that lives is enough. A
	// name stands for all its addresses. They are looked up and joined again from time to
	// time, which heals a parted network.
	Join []string
	// Key encrypts gossip and authenticates the internal call: 16, 24 or 32 bytes, the
	// same for all. nil: none, for a network of one's own.
	Key []byte

	// Client makes the internal calls; one without a timeout of its own.
	Client *http.Client
	// HedgeAfter is how long a member may take, at first, until the next one is asked too; 250 ms.
	// Later it is the 95th percentile of the last calls.
	HedgeAfter time.Duration

	Observer Observer

	joinEvery time.Duration // 30 s, but in tests
}

// Observer is told of what happens. Its funcs may be nil and should return at once.
type Observer struct {
	Joined func(Member)
	Left   func(Member)
	// Asked: a member answered, or err says why not, after d.
	Asked func(member string, d time.Duration, err error)
	// Hedged: the second member was asked while the first one is silent.
	Hedged func(first, second string)
	// Said: a line that memberlist logs.
	Said func(line string)
}

// Member is a query process of the cluster.
type Member struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"` // of gossip; a process alone has none
	URL     string `json:"url,omitempty"`
	Zone    string `json:"zone,omitempty"`
	Weight  int    `json:"weight"`
	Version int    `json:"version"`
	Self    bool   `json:"self,omitempty"`
	// Refused says why the member is not asked, "" if it is.
	Refused string `json:"refused,omitempty"`
}

// meta is what members tell of themselves by gossip, in at most 512 bytes.
type meta struct {
	Version int    `json:"v"`
	URL     string `json:"u"`
	Zone    string `json:"z,omitempty"`
	Weight  int    `json:"w"`
}

// Cluster is this process as a member. It implements query.Remote.
type Cluster struct {
	config  Config
	list    *memberlist.Memberlist
	client  *http.Client
	token   string // of the internal call; "" when there is no key
	latency latency
	address string        // of gossip
	leave   time.Duration // at most, to tell the others

	mu      sync.RWMutex
	members []Member             // that may be asked or not, by name, this one included
	avoid   map[string]time.Time // members that failed just now, and until when they are not asked
	outrun  map[string]int       // how often in a row another member answered instead
}

const (
	defaultBind = "0.0.0.0:7946"
	rejoinAfter = 30 * time.Second
	leaveWithin = 2 * time.Second
	// avoidFor is how long a member that failed is not asked. Gossip needs 5 to 25 s to
	// notice that it is gone.
	avoidFor = 5 * time.Second
)

// Start begins to listen for gossip. Nobody is joined before [Cluster.Run].
func Start(config Config) (*Cluster, error) {
	config.Label = cmp.Or(config.Label, "coldframe")
	config.Bind = cmp.Or(config.Bind, defaultBind)
	config.Weight = cmp.Or(config.Weight, 1)
	config.HedgeAfter = cmp.Or(config.HedgeAfter, 250*time.Millisecond)
	config.joinEvery = cmp.Or(config.joinEvery, rejoinAfter)
	c := &Cluster{config: config, client: config.Client, avoid: map[string]time.Time{}, outrun: map[string]int{}, leave: leaveWithin}
	if c.client == nil {
		c.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32, IdleConnTimeout: time.Minute}}
	}
	c.latency.initial = config.HedgeAfter
	if config.Key != nil {
		mac := hmac.New(sha256.New, config.Key)
		mac.Write([]byte("coldframe internal call"))
		c.token = hex.EncodeToString(mac.Sum(nil))
	}
	gossip, err := c.gossip()
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if c.list, err = memberlist.Create(gossip); err != nil {
		return nil, fmt.Errorf("cluster: listen for gossip on %s: %w", config.Bind, err)
	}
	c.address = c.list.LocalNode().Address()
	return c, nil
}

// gossip is what memberlist is told.
func (c *Cluster) gossip() (*memberlist.Config, error) {
	if c.config.Name == "" {
		return nil, fmt.Errorf("a member needs a name: %w", profile.ErrInvalid)
	}
	if c.config.Weight < 1 || c.config.Weight > 1000 {
		return nil, fmt.Errorf("weight %d: want 1 to 1000: %w", c.config.Weight, profile.ErrInvalid)
	}
	if n := len(c.config.Key); c.config.Key != nil && n != 16 && n != 24 && n != 32 {
		return nil, fmt.Errorf("the gossip key has %d bytes, want 16, 24 or 32: %w", n, profile.ErrInvalid)
	}
	if _, err := url.Parse(c.config.URL); err != nil {
		return nil, fmt.Errorf("%w: %w", err, profile.ErrInvalid)
	}
	m := memberlist.DefaultLANConfig()
	m.Name, m.Label, m.SecretKey = c.config.Name, c.config.Label, c.config.Key
	m.DeadNodeReclaimTime = 30 * time.Second // one that was restarted may have another address
	m.Delegate, m.Events = delegate{c}, events{c}
	m.LogOutput = said(c.config.Observer.Said)
	var err error
	if m.BindAddr, m.BindPort, err = hostPort(c.config.Bind); err != nil {
		return nil, err
	}
	m.AdvertisePort = m.BindPort
	if c.config.Advertise != "" {
		if m.AdvertiseAddr, m.AdvertisePort, err = hostPort(c.config.Advertise); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func hostPort(text string) (string, int, error) {
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		var n int
		if n, err = strconv.Atoi(port); err == nil && (n < 0 || n > 65535) {
			err = errors.New("no such port")
		} else if err == nil {
			return cmp.Or(host, "0.0.0.0"), n, nil
		}
	}
	return "", 0, fmt.Errorf("%q is not host:port (%w): %w", text, err, profile.ErrInvalid)
}

// said makes a log of a func.
type said func(line string)

func (s said) Write(line []byte) (int, error) {
	if s != nil {
		s(string(line))
	}
	return len(line), nil
}

// Run joins the others, and again from time to time, until ctx is done; then it takes
// leave, so that nobody waits for this member. Failing to join is no error: others may
// join this one.
func (c *Cluster) Run(ctx context.Context) error {
	tick := time.NewTicker(c.config.joinEvery)
	defer tick.Stop()
	for {
		c.join()
		select {
		case <-ctx.Done():
			if err := c.list.Leave(c.leave); err != nil {
				c.say("leave: " + err.Error()) // the others find out by themselves
			}
			return c.list.Shutdown()
		case <-tick.C:
		}
	}
}

// join asks those of Config.Join whom this member does not know. Names are looked up by memberlist.
func (c *Cluster) join() {
	var unknown []string
	known := map[string]bool{}
	for _, m := range c.Members() {
		known[m.Address] = true
	}
	for _, seed := range c.config.Join {
		if !known[seed] {
			unknown = append(unknown, seed)
		}
	}
	if len(unknown) == 0 {
		return
	}
	if _, err := c.list.Join(unknown); err != nil {
		c.say("join: " + err.Error())
	}
}

func (c *Cluster) say(line string) {
	if c.config.Observer.Said != nil {
		c.config.Observer.Said(line)
	}
}

// GossipAddress is where this member listens for gossip, as the others reach it.
func (c *Cluster) GossipAddress() string { return c.address }

// Members are those that are believed to live, by name, this one included.
func (c *Cluster) Members() []Member {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Clone(c.members)
}

func (c *Cluster) member(n *memberlist.Node) Member {
	m := Member{Name: n.Name, Address: n.Address(), Self: n.Name == c.config.Name}
	var told meta
	if err := json.Unmarshal(n.Meta, &told); err != nil {
		m.Refused = "what it tells of itself cannot be read"
		return m
	}
	m.URL, m.Zone, m.Version, m.Weight = told.URL, told.Zone, told.Version, min(max(told.Weight, 1), 1000)
	where, err := url.Parse(told.URL)
	switch {
	case told.Version != Version:
		m.Refused = fmt.Sprintf("it speaks version %d, this member %d", told.Version, Version)
	case err != nil || where.Scheme != "http" && where.Scheme != "https":
		m.Refused = fmt.Sprintf("%q is not where an API is reached", told.URL)
	case where.Hostname() == "":
		where.Host = net.JoinHostPort(n.Addr.String(), where.Port())
		m.URL = where.String()
	}
	return m
}

// delegate tells the others of this member.
type delegate struct{ c *Cluster }

func (d delegate) NodeMeta(limit int) []byte {
	text, err := json.Marshal(meta{Version, d.c.config.URL, d.c.config.Zone, d.c.config.Weight})
	if err != nil || len(text) > limit {
		return nil
	}
	return text
}
func (delegate) NotifyMsg([]byte)                {}
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}

// events keeps [Cluster.members]. Memberlist calls it with its lock held, and only then may a
// node be read: it changes when the next message about it comes.
type events struct{ c *Cluster }

// NotifyJoin implements [memberlist.EventDelegate]; so do the two below.
func (e events) NotifyJoin(n *memberlist.Node) {
	m := e.c.member(n)
	e.c.replace(m.Name, m)
	tell(e.c.config.Observer.Joined, m)
}

func (e events) NotifyUpdate(n *memberlist.Node) { e.c.replace(n.Name, e.c.member(n)) }

func (e events) NotifyLeave(n *memberlist.Node) {
	e.c.replace(n.Name)
	tell(e.c.config.Observer.Left, e.c.member(n))
}

func tell(observe func(Member), m Member) {
	if observe != nil && !m.Self {
		observe(m)
	}
}

// replace makes what is known of the member of a name what is given: one member, or none.
func (c *Cluster) replace(name string, by ...Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, known := slices.BinarySearchFunc(c.members, name, func(m Member, name string) int { return cmp.Compare(m.Name, name) })
	end := at
	if known {
		end++
	}
	c.members = slices.Replace(c.members, at, end, by...)
	if len(by) == 0 {
		delete(c.outrun, name)
	}
}
