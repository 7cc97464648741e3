package main

import (
	"math/rand"
	"sort"
	"testing"
)

func TestBucketsCoverEveryValueOnce(t *testing.T) {
	last := -1
	for ns := uint64(0); ns < 1<<20; ns++ {
		b := bucketOf(ns)
		if b != last && b != last+1 {
			t.Fatalf("bucket of %d is %d after %d", ns, b, last)
		}
		if valueOf(b) < ns {
			t.Fatalf("bucket %d holds %d but ends at %d", b, ns, valueOf(b))
		}
		last = b
	}
}

func TestQuantilesAgreeWithSorting(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	var h histogram
	var all []float64
	for range 100_000 {
		ns := uint64(random.ExpFloat64() * 200_000)
		h.add(ns)
		all = append(all, float64(ns)/1000)
	}
	sort.Float64s(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[int(q*float64(len(all)-1))]
		got := h.quantileUs(q)
		if got < want-0.001 || got > want*1.01+0.002 {
			t.Errorf("q%v: got %v want %v", q, got, want)
		}
	}
}
