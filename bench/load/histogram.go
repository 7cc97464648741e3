package main

import "math/bits"

// histogram counts durations in log-linear buckets as HdrHistogram does: 128 steps in each power of two, so a
// percentile is at most 0.8 % off. Fixed size, no allocation, nanoseconds.
type histogram struct {
	counts [64 * steps]uint64
	total  uint64
	max    uint64
}

const (
	stepBits = 7
	steps    = 1 << stepBits
)

func bucketOf(ns uint64) int {
	if ns < steps {
		return int(ns)
	}
	exponent := bits.Len64(ns) - 1 - stepBits
	return (exponent+1)*steps + int(ns>>uint(exponent)) - steps
}

// valueOf is the highest duration that falls into the bucket, so a percentile is never flattered.
func valueOf(bucket int) uint64 {
	if bucket < steps {
		return uint64(bucket)
	}
	exponent := uint(bucket/steps - 1)
	return (uint64(bucket%steps+steps)+1)<<exponent - 1
}

func (h *histogram) add(ns uint64) {
	h.counts[bucketOf(ns)]++
	h.total++
	h.max = max(h.max, ns)
}

// quantileUs is 0 for an empty histogram.
func (h *histogram) quantileUs(q float64) float64 {
	if h.total == 0 {
		return 0
	}
	rank := uint64(q*float64(h.total-1)) + 1
	var seen uint64
	for bucket, count := range h.counts {
		seen += count
		if seen >= rank {
			return float64(min(valueOf(bucket), h.max)) / 1000
		}
	}
	return float64(h.max) / 1000
}
