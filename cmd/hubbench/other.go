//go:build !linux

package main

import (
	"errors"
	"time"
)

type load struct {
	kind                           kind
	connections, depth, perMessage int
	rate                           float64
	lazy                           time.Duration
}

type kind int

const (
	broadcast kind = iota
	echo
	idle
)

var errLinux = errors.New("hubbench reads /proc and uses epoll: it needs Linux")

func measure(server, load) (figures, error) { return figures{}, errLinux }

func serveBaseline(string, string) error { return errLinux }
