package main

import (
	"fmt"
	"net"
	"time"
)

// bulkBlock is what iperf3 reads and writes at a time.
const bulkBlock = 128 << 10

type bulkResult struct {
	Direction  string    `json:"direction"`
	Bytes      uint64    `json:"bytes"`
	Seconds    float64   `json:"seconds"`
	CPUSeconds []float64 `json:"cpuSeconds"`
}

// measureBulk moves one stream. The client counts: at both edges of the window every buffer on the way is as full as it
// gets, so what it wrote in the window is what was delivered in it.
func measureBulk(o options, direction string) (*bulkResult, error) {
	conn, err := net.Dial("tcp", o.target)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	buffer := make([]byte, bulkBlock)
	buffer[0] = 'U'
	move := conn.Write
	if direction == "down" {
		buffer[0] = 'D'
		move = conn.Read
	} else if direction != "up" {
		return nil, fmt.Errorf("-direction is up or down")
	}
	if _, err := conn.Write(buffer[:1]); err != nil {
		return nil, err
	}
	until := func(end time.Time) (uint64, error) {
		var moved uint64
		_ = conn.SetDeadline(end.Add(5 * time.Second))
		for time.Now().Before(end) {
			n, err := move(buffer)
			moved += uint64(n)
			if err != nil {
				return moved, fmt.Errorf("after %d bytes: %w", moved, err)
			}
		}
		return moved, nil
	}
	if _, err := until(time.Now().Add(o.warmUp)); err != nil {
		return nil, err
	}
	meter, err := startCPU(o.pids)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	moved, err := until(start.Add(o.window))
	if err != nil {
		return nil, err
	}
	seconds := time.Since(start).Seconds()
	spent, err := meter.spent()
	return &bulkResult{direction, moved, seconds, spent}, err
}
