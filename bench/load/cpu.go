package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// clockTicks is USER_HZ, which Linux fixes at 100 for every architecture that Go and Bun run on.
const clockTicks = 100

// cpuSeconds is user plus system time of a process with all its threads, also those that have ended.
func cpuSeconds(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold spaces; fields are counted after it. utime and stime are fields 14 and 15.
	end := bytes.LastIndexByte(text, ')')
	fields := bytes.Fields(text[end+1:])
	if end < 0 || len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: unexpected form", pid)
	}
	user, err := strconv.ParseFloat(string(fields[11]), 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(string(fields[12]), 64)
	if err != nil {
		return 0, err
	}
	return (user + system) / clockTicks, nil
}

// cpuMeter remembers where each process stood when the window began.
type cpuMeter struct {
	pids  []int
	start []float64
}

func startCPU(pids []int) (*cpuMeter, error) {
	m := &cpuMeter{pids: pids}
	for _, pid := range pids {
		seconds, err := cpuSeconds(pid)
		if err != nil {
			return nil, err
		}
		m.start = append(m.start, seconds)
	}
	return m, nil
}

// spent is in the order the processes were named in.
func (m *cpuMeter) spent() ([]float64, error) {
	spent := make([]float64, 0, len(m.pids))
	for i, pid := range m.pids {
		seconds, err := cpuSeconds(pid)
		if err != nil {
			return nil, err
		}
		spent = append(spent, seconds-m.start[i])
	}
	return spent, nil
}
