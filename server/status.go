package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"tunnel/admin/status"
	"tunnel/policy"
	"tunnel/server/peers"
)

// Status returns what this hub is and has now. It may be called at any time.
func (s *Server) Status() status.Hub {
	now := s.peers.Status(s.networks.Offered())
	hub := status.Hub{
		Dev: s.Device.Name(), Version: s.Version, Started: s.began, Address: s.own.Local,
		Network: s.Leases.Network(), Peers: now.Peers, Tokens: now.Tokens, Refused: s.refused.Counts(),
		Drops: s.drops.Counts(policy.HubReasons()), Defects: s.defects.Count(),
		Limits: []status.Limit{}, Delays: status.DelaysOf(now.Drops.Delays), Traffic: now.Traffic,
	}
	if err := s.Reachable(); err != nil {
		hub.Problem = err.Error()
	}
	queued := int64(0)
	for _, p := range hub.Peers {
		queued += p.Queued
	}
	now.Drops.Memory = s.budget.Dropped() // also of packets that are held for those who left
	status.AddDrops(hub.Drops, now.Drops)
	for _, l := range []status.Limit{
		{Name: "addresses", Used: int64(s.Leases.Taken()), Most: int64(s.Leases.Clients())},
		{Name: "connections", Used: int64(s.limiter.Len()), Most: int64(s.live.Load().MaxConnections)},
		{Name: "queue_bytes", Used: queued, Most: s.MaxMemory / queueShare},
	} {
		if l.Most > 0 {
			hub.Limits = append(hub.Limits, l)
		}
	}
	return hub
}

// Flows measures the flows through this hub for that time, or until ctx ends, which is an error.
func (s *Server) Flows(ctx context.Context, during time.Duration) (status.Flows, error) {
	flows, err := s.peers.Flows(ctx, during)
	flows.Dev = s.Device.Name()
	return flows, err
}

// ErrNotConnected means that no client of that name or address is connected.
var ErrNotConnected = errors.New("no such client is connected")

// Kick ends the sessions of a token's clients, or of the one client that has an address, and has
// them come back after that time. It returns how many there were; if none, the error is
// ErrNotConnected.
func (s *Server) Kick(who string, after time.Duration) (sessions int, err error) {
	named := func(p *peers.Peer) bool { return who != "" && p.Token.Name == who }
	sessions = s.peers.Kick(named, after)
	if address, err := netip.ParseAddr(who); sessions == 0 && err == nil { // a name may look like one
		sessions = s.peers.Kick(func(p *peers.Peer) bool { return p.Address == address }, after)
	}
	if sessions == 0 {
		return 0, fmt.Errorf("%w: %s", ErrNotConnected, who)
	}
	s.local.Info("sessions ended by `tunnel kick`", "client", who, "sessions", sessions, "for", after)
	return sessions, nil
}
