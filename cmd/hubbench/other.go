//go:build !linux

package main

import "errors"

var errLinux = errors.New("hubbench reads /proc and uses epoll: it needs Linux")

func measure(server, load) (figures, error) { return figures{}, errLinux }

func serveBaseline(string, string) error { return errLinux }
