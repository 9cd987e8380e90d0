package chaos

import (
	"os"
	"syscall"
)

// openFiles returns the number of open file descriptors.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// allowFiles raises the limit of file descriptors.
func allowFiles(n int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur >= uint64(n) {
		return err
	}
	limit.Cur = uint64(n)
	limit.Max = max(limit.Max, limit.Cur) // only root can raise it
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// smallSocket gives a socket small buffers before it connects, and segments that fit in.
func smallSocket(_, _ string, conn syscall.RawConn) (err error) {
	controlled := conn.Control(func(fd uintptr) {
		for _, option := range [][3]int{
			{syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400}, {syscall.SOL_SOCKET, syscall.SO_RCVBUF, socketRoom}, {syscall.SOL_SOCKET, syscall.SO_SNDBUF, socketRoom},
		} {
			if err == nil {
				err = syscall.SetsockoptInt(int(fd), option[0], option[1], option[2])
			}
		}
	})
	if err == nil {
		err = controlled
	}
	return err
}
