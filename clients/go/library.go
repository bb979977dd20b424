package main

import (
	"bytes"
	"fmt"
	"time"
)

// library is a client of Kafka in Go, behind what the cases of others.go and a history need of one. franz-go has cases of its own,
// and takes part in the rest.
type library interface {
	name() string
	// idempotent says whether it has an idempotent producer.
	idempotent() bool
	create(topic string, partitions, replicas int, configs map[string]string) error
	partitions(topic string) (int, error)
	newSender(topic, codec string, idempotent bool) (sender, error)
	newReceiver(topic string, partitions []int32, offset int64) (receiver, error)
	// newReceiverOf asks for at most so many bytes of a partition at once; 0 for as many as usual.
	newReceiverOf(topic string, partitions []int32, offset int64, bytes int) (receiver, error)
	// isInvalidRecord says whether an error is INVALID_RECORD, as the library has it.
	isInvalidRecord(err error) bool
}

// sender is a producer with acks=all to one topic.
type sender interface {
	// send calls `done` once it is known what became of the record; without an error the record's offset is set then.
	send(r *record, done func(error))
	// close waits for what is under way.
	close() error
}

// receiver is a consumer of some partitions of one topic.
type receiver interface {
	// poll waits so long for a first record; none is no error.
	poll(timeout time.Duration) ([]*record, error)
	end(partition int32) (int64, error)
	close()
}

var libraries = []library{franz{}, saramaLibrary{}, kafkaGo{}}

// The longest that a record may be on its way, with everything that is tried again.
const deliveryMax = 100 * time.Second

type record struct {
	partition   int32
	key, value  []byte
	headers     []header
	timestampMs int64
	offset      int64
}

type header struct {
	key   string
	value []byte
}

// difference says what of `got` is not as in `want`. Some libraries cannot tell null from empty: `nulls` says whether this can.
func difference(want, got *record, nulls bool) error {
	sameBytes := func(a, b []byte) bool { return bytes.Equal(a, b) && (!nulls || (a == nil) == (b == nil)) }
	switch {
	case want.partition != got.partition || want.offset != got.offset:
		return fmt.Errorf("at %d/%d, acknowledged at %d/%d", got.partition, got.offset, want.partition, want.offset)
	case !sameBytes(want.key, got.key):
		return fmt.Errorf("the key is %q, want %q", got.key, want.key)
	case !sameBytes(want.value, got.value):
		return fmt.Errorf("the value has %d bytes, want %d", len(got.value), len(want.value))
	case want.timestampMs != got.timestampMs:
		return fmt.Errorf("the timestamp is %d, want %d", got.timestampMs, want.timestampMs)
	case len(want.headers) != len(got.headers):
		return fmt.Errorf("%d headers, want %d", len(got.headers), len(want.headers))
	}
	for i, h := range want.headers {
		if g := got.headers[i]; g.key != h.key || !sameBytes(g.value, h.value) {
			return fmt.Errorf("header %d is %q %q, want %q %q", i, g.key, g.value, h.key, h.value)
		}
	}
	return nil
}

// inbox is where the partitions of a receiver come together.
type inbox struct {
	records chan *record
	errors  chan error
	done    chan struct{}
}

func newInbox() inbox {
	return inbox{make(chan *record, 1000), make(chan error, 1), make(chan struct{})}
}

func (in inbox) put(r *record) {
	select {
	case in.records <- r:
	case <-in.done:
	}
}

func (in inbox) fail(err error) {
	select {
	case in.errors <- err:
	default:
	}
}

func (in inbox) poll(timeout time.Duration) ([]*record, error) {
	var all []*record
	select {
	case r := <-in.records:
		all = append(all, r)
	case err := <-in.errors:
		return nil, err
	case <-time.After(timeout):
		return nil, nil
	}
	for len(all) < 1000 {
		select {
		case r := <-in.records:
			all = append(all, r)
		default:
			return all, nil
		}
	}
	return all, nil
}

// again asks until there is an answer, as nodes come and go.
func again[T any](ask func() (T, error)) (T, error) {
	deadline := time.Now().Add(60 * time.Second)
	for {
		answer, err := ask()
		if err == nil || time.Now().After(deadline) {
			return answer, err
		}
		time.Sleep(200 * time.Millisecond)
	}
}
