package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/segmentio/kafka-go"
)

const mib = 1 << 20

// runOthers runs the cases that each library but franz-go has against one node.
func runOthers() {
	var running sync.WaitGroup
	for _, l := range libraries[1:] {
		running.Go(func() { runCasesOf(l) })
	}
	running.Wait()
}

func runCasesOf(l library) {
	for _, codec := range codecs {
		report(fmt.Sprintf("%s: round trip: codec=%s idempotent=false", l.name(), codec.name), roundTripOf(l, codec.name, false))
		if l.idempotent() {
			report(fmt.Sprintf("%s: round trip: codec=%s idempotent=true", l.name(), codec.name), roundTripOf(l, codec.name, true))
		}
	}
	report(l.name()+": records: 1 MiB, and one that is too large", largeOf(l))
	report(l.name()+": consumer: from an offset; ends", startingPointOf(l))
}

// runWide asks each library for a topic that exists.
func runWide(topic, partitions string) {
	suite = "fleet"
	want, err := strconv.Atoi(partitions)
	if err != nil {
		panic(err)
	}
	for _, l := range libraries {
		report(fmt.Sprintf("%s: metadata: a topic of %d partitions", l.name(), want), wideOf(l, topic, want))
	}
}

// writeAll waits until each record has its offset.
func writeAll(s sender, records []*record) error {
	var waiting sync.WaitGroup
	var mu sync.Mutex
	var first error
	for _, r := range records {
		waiting.Add(1)
		s.send(r, func(err error) {
			defer waiting.Done()
			mu.Lock()
			defer mu.Unlock()
			if first == nil {
				first = err
			}
		})
	}
	waiting.Wait()
	return first
}

// readAndCompare reads the topic's partitions from an offset; the records have to be these, in order by partition.
func readAndCompare(l library, topic string, partitions []int32, offset int64, want []*record) error {
	r, err := l.newReceiver(topic, partitions, offset)
	if err != nil {
		return err
	}
	defer r.close()
	left := map[int32][]*record{}
	for _, each := range want {
		left[each.partition] = append(left[each.partition], each)
	}
	deadline := time.Now().Add(30 * time.Second)
	for read := 0; read < len(want); {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d records of %d in 30 s", read, len(want))
		}
		records, err := r.poll(200 * time.Millisecond)
		if err != nil {
			return err
		}
		for _, got := range records {
			rest := left[got.partition]
			if len(rest) == 0 {
				return fmt.Errorf("partition %d has one more, at %d", got.partition, got.offset)
			}
			if err := difference(rest[0], got, tellsNulls(l)); err != nil {
				return fmt.Errorf("record %d: %w", read, err)
			}
			left[got.partition] = rest[1:]
			read++
		}
	}
	return nil
}

// tellsNulls says whether a library's consumer hands out a null as something else than an empty text. kafka-go's does not.
func tellsNulls(l library) bool { return l.name() != "kafka-go" }

// shapesOf has, in two partitions, all that a record can have.
func shapesOf() []*record {
	values := [][]byte{[]byte("plain"), nil, {}, []byte("日本語 é \x00\xff"), []byte(strings.Repeat("compressible ", 100))}
	keys := [][]byte{[]byte("key"), nil, {}}
	headers := [][]header{nil, {{"one", []byte("1")}, {"one", []byte("2")}, {"", nil}, {"empty", []byte{}}, {"ключ", []byte("\xff")}}}
	base := time.Now().Add(-time.Hour).UnixMilli()
	var records []*record
	for range 5 {
		for _, value := range values {
			for _, key := range keys {
				for _, h := range headers {
					n := len(records)
					records = append(records, &record{int32(n % 2), key, value, h, base + int64(n)*1000, -1})
				}
			}
		}
	}
	return append(records, &record{1, nil, noise(100_000), nil, base, -1})
}

// noise is bytes that no codec makes smaller.
func noise(size int) []byte {
	bytes := make([]byte, size)
	for i := range bytes {
		bytes[i] = byte(rand.Uint32())
	}
	return bytes
}

func roundTripOf(l library, codec string, idempotent bool) error {
	topic := fmt.Sprintf("%s-%s-%s-%v", run, l.name(), codec, idempotent)
	if err := l.create(topic, 2, 1, nil); err != nil {
		return err
	}
	s, err := l.newSender(topic, codec, idempotent)
	if err != nil {
		return err
	}
	records := shapesOf()
	if err := errors.Join(writeAll(s, records), s.close()); err != nil {
		return err
	}
	// franz-go tells what is in the log, nulls and codecs.
	for _, reader := range []library{l, franz{}} {
		if err := readAndCompare(reader, topic, []int32{0, 1}, 0, records); err != nil {
			return fmt.Errorf("read by %s: %w", reader.name(), err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	read, err := readUntil(ctx, topic, 2, len(records))
	if err != nil {
		return err
	}
	for _, r := range read {
		if stored := codecs[r.Attrs.CompressionType()].name; stored != codec {
			return fmt.Errorf("the codec of the batch with offset %d is %s", r.Offset, stored)
		}
		if (r.ProducerID >= 0) != idempotent {
			return fmt.Errorf("the producer id at offset %d is %d", r.Offset, r.ProducerID)
		}
	}
	return nil
}

func largeOf(l library) error {
	topic := run + "-" + l.name() + "-large"
	if err := l.create(topic, 1, 1, map[string]string{"max.message.bytes": strconv.Itoa(3 * mib)}); err != nil {
		return err
	}
	s, err := l.newSender(topic, "none", l.idempotent())
	if err != nil {
		return err
	}
	base := time.Now().UnixMilli()
	var records []*record
	for i := range 3 {
		records = append(records, &record{0, []byte("large"), noise(mib), nil, base + int64(i), -1})
	}
	for _, r := range records {
		// Each is a batch: together they are above the limit.
		if err := writeAll(s, []*record{r}); err != nil {
			return err
		}
	}
	refused := writeAll(s, []*record{{0, nil, noise(3 * mib), nil, base, -1}})
	if !errors.Is(refused, sarama.ErrMessageSizeTooLarge) && !errors.Is(refused, kafka.MessageSizeTooLarge) {
		return fmt.Errorf("a record above the topic's limit: %v", refused)
	}
	if err := s.close(); err != nil {
		return err
	}
	return readAndCompare(l, topic, []int32{0}, 0, records)
}

func startingPointOf(l library) error {
	topic := run + "-" + l.name() + "-start"
	if err := l.create(topic, 2, 1, nil); err != nil {
		return err
	}
	s, err := l.newSender(topic, "none", l.idempotent())
	if err != nil {
		return err
	}
	base := time.Now().UnixMilli()
	var records []*record
	for i := range 100 {
		records = append(records, &record{1, nil, fmt.Appendf(nil, "%d", i), nil, base + int64(i), -1})
	}
	if err := errors.Join(writeAll(s, records), s.close()); err != nil {
		return err
	}
	r, err := l.newReceiver(topic, []int32{0, 1}, 0)
	if err != nil {
		return err
	}
	defer r.close()
	for partition, want := range []int64{0, 100} {
		if end, err := r.end(int32(partition)); err != nil || end != want {
			return fmt.Errorf("partition %d ends at %d, want %d: %v", partition, end, want, err)
		}
	}
	return readAndCompare(l, topic, []int32{1}, 37, records[37:])
}

func wideOf(l library, topic string, want int) error {
	if known, err := l.partitions(topic); err != nil || known != want {
		return fmt.Errorf("%d partitions with a leader, want %d: %v", known, want, err)
	}
	s, err := l.newSender(topic, "none", l.idempotent())
	if err != nil {
		return err
	}
	last := &record{int32(want - 1), nil, []byte(l.name()), nil, time.Now().UnixMilli(), -1}
	if err := errors.Join(writeAll(s, []*record{last}), s.close()); err != nil {
		return err
	}
	return readAndCompare(l, topic, []int32{last.partition}, last.offset, []*record{last})
}
