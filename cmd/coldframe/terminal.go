package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/coldframe/coldframe/query"
)

// terminalWidth is how many columns the terminal has that w is, 0 when it is none.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// fitTerminal cuts lines that are longer than a terminal is wide, which would make a table
// hard to read. What is written to anything else stays whole.
func fitTerminal(w io.Writer) io.Writer {
	if width := terminalWidth(w); width > 20 {
		return &lineCutter{w: w, width: width}
	}
	return w
}

// lineCutter writes lines with at most width letters, the last of them "…" when some are cut.
type lineCutter struct {
	w     io.Writer
	width int
	line  []byte // not ended yet
}

// Write implements [io.Writer].
func (c *lineCutter) Write(p []byte) (int, error) {
	c.line = append(c.line, p...)
	for {
		end := bytes.IndexByte(c.line, '\n')
		if end < 0 {
			return len(p), nil
		}
		if _, err := c.w.Write(append(cutLine(c.line[:end], c.width), '\n')); err != nil {
			return 0, err
		}
		c.line = c.line[end+1:]
	}
}

func cutLine(line []byte, width int) []byte {
	if utf8.RuneCount(line) <= width {
		return bytes.Clone(line)
	}
	return append([]byte(string([]rune(string(line))[:width-1])), "…"...)
}

// Progress is shown when an answer takes longer than people wait without asking.
const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
)

// showProgress tells on a terminal how far a query is, until stop is called, which removes
// what it wrote. It writes nothing to anything else.
func showProgress(w io.Writer, p *query.Progress) (stop func()) {
	if terminalWidth(w) == 0 {
		return func() {}
	}
	done := make(chan struct{})
	var stopped sync.WaitGroup
	stopped.Go(func() { tellProgress(w, p, done) })
	return func() { close(done); stopped.Wait() }
}

func tellProgress(w io.Writer, p *query.Progress, done <-chan struct{}) {
	began, written := time.Now(), false
	wait := time.NewTimer(progressAfter)
	defer wait.Stop()
	for {
		select {
		case <-done:
			if written {
				fmt.Fprint(w, "\r\x1b[K")
			}
			return
		case <-wait.C:
		}
		written = true
		seconds := time.Since(began).Round(time.Second)
		if read, all := p.Objects(); all > 0 {
			fmt.Fprintf(w, "\r\x1b[K%s: %d of %d objects read", seconds, read, all)
		} else {
			fmt.Fprintf(w, "\r\x1b[K%s: waiting for the answer", seconds)
		}
		wait.Reset(progressEvery)
	}
}
