package main

import "testing"

func TestExtremesOfConnections(t *testing.T) {
	for _, c := range []struct {
		answered    []uint64
		most, least uint64
	}{
		{nil, 0, 0},
		{[]uint64{7}, 7, 7},
		{[]uint64{0, 5, 9}, 9, 0},
		{[]uint64{3, 0, 0}, 3, 0},
		{[]uint64{4, 2, 3}, 4, 2},
	} {
		exchanges := map[int]*exchange{}
		for fd, answered := range c.answered {
			exchanges[fd] = &exchange{answered: answered}
		}
		if most, least := extremes(exchanges); most != c.most || least != c.least {
			t.Errorf("%v: most %d, least %d; not %d and %d", c.answered, most, least, c.most, c.least)
		}
	}
}
