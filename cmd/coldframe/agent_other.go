//go:build !linux

package main

import (
	"errors"
	"runtime"

	"github.com/coldframe/coldframe/upload"
)

// errNoAgent is what sampling a machine comes to where there is no eBPF.
var errNoAgent = errors.New("a machine is profiled by eBPF, which is Linux'; on " + runtime.GOOS + " profiles are scraped and pushed")

type agentCmd struct {
	Args []string `arg:"" optional:"" passthrough:"" hidden:""`
}

// Run is the command.
func (*agentCmd) Run() error { return errNoAgent }

func (*process) addMachine(*upload.Uploader) error { return errNoAgent }
