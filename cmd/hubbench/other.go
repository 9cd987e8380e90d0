//go:build !linux

package main

import (
	"errors"
	"time"
)

var errLinux = errors.New("hubbench reads /proc and uses epoll: it needs Linux")

func (s *server) start() error { return errLinux }

func (s *server) settle() {}

func memory(int) int { return 1 }

func measure(*server, load, time.Duration) (figures, error) { return figures{}, errLinux }

func serveBaseline(string, string) error { return errLinux }
