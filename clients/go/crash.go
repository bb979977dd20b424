package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	crashes         = 8
	crashPartitions = 3
	// Acknowledged records of every writer before each crash and after the last.
	ackedBetween = 300
	// What a writer may have sent without an answer. As many always wait, so that each crash meets some.
	unansweredMax = 200
	// Lets the other writers run, and keeps the whole amount of records readable in seconds.
	pause = 2 * time.Millisecond
	// A crash comes at any time after the progress that it waits for.
	delayMax = 100 * time.Millisecond
)

// writer is one producer of numbered records, and what it was told about each of them.
type writer struct {
	name       string
	topic      string
	idempotent bool
	client     *kgo.Client
	acked      atomic.Int64
	cutOff     atomic.Int64

	mu     sync.Mutex
	sent   int
	offset []int64 // of each record: unanswered, failed, or the offset of its acknowledgement
	failed error
}

const (
	unanswered = -2
	refused    = -3
)

// OnBrokerE2E counts how often a connection was cut off with a produce request written and not answered.
func (w *writer) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if key == kmsg.Produce.Int16() && e2e.WriteErr == nil && e2e.ReadErr != nil {
		w.cutOff.Add(1)
	}
}

func (w *writer) send(ctx context.Context) {
	w.mu.Lock()
	number := w.sent
	w.sent++
	w.offset = append(w.offset, unanswered)
	w.mu.Unlock()
	record := &kgo.Record{
		Topic:     w.topic,
		Partition: int32(number % crashPartitions),
		Value:     []byte(fmt.Sprintf("%010d %s", number, strings.Repeat("seedlog ", 12))),
	}
	w.client.Produce(ctx, record, func(r *kgo.Record, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			w.offset[number] = refused
			w.failed = err
			return
		}
		w.offset[number] = r.Offset
		w.acked.Add(1)
	})
}

func (w *writer) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent - int(w.acked.Load())
}

// runCrash writes with every codec, idempotent and not, while the broker is killed, and reads everything back.
func runCrash() {
	hook := os.Getenv("CRASH_HOOK")
	if hook == "" {
		fmt.Println("skip go: crash: no CRASH_HOOK")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 150*time.Second)
	defer cancel()
	writers, err := openWriters(ctx)
	if err != nil {
		report("crash: topics", err)
		return
	}
	tail := startTail(ctx, writers)

	stop := make(chan struct{})
	var writing sync.WaitGroup
	for _, w := range writers {
		writing.Add(1)
		go func() {
			defer writing.Done()
			for {
				select {
				case <-stop:
					return
				case <-time.After(pause):
					for w.waiting() < unansweredMax {
						w.send(ctx)
					}
				}
			}
		}()
	}
	for range crashes {
		err = awaitProgress(ctx, writers)
		if err == nil {
			time.Sleep(rand.N(delayMax))
			err = crash(ctx, hook)
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = awaitProgress(ctx, writers)
	}
	close(stop)
	writing.Wait()
	if err != nil {
		report("crash: the run", err)
		return
	}
	var cutOff int64
	for _, w := range writers {
		line, err := w.judge(ctx, tail)
		report("crash: "+w.name, err, line)
		w.client.Close()
		cutOff += w.cutOff.Load()
	}
	tail.stop()
	if cutOff < crashes {
		err = fmt.Errorf("%d crashes cut off %d requests", crashes, cutOff)
	}
	report("crash: the kills met requests on their way", err, fmt.Sprintf("%d crashes, cut off %d times", crashes, cutOff))
}

func openWriters(ctx context.Context) ([]*writer, error) {
	admin := kadm.NewClient(newClient())
	defer admin.Close()
	var writers []*writer
	for _, codec := range codecs {
		for _, idempotent := range []bool{true, false} {
			w := &writer{
				name:       fmt.Sprintf("idempotent=%v codec=%s", idempotent, codec.name),
				topic:      fmt.Sprintf("%s-crash-%s-%v", run, codec.name, idempotent),
				idempotent: idempotent,
			}
			if _, err := admin.CreateTopic(ctx, crashPartitions, 1, nil, w.topic); err != nil {
				return nil, err
			}
			opts := []kgo.Opt{
				kgo.ProducerBatchCompression(codec.option),
				kgo.RequiredAcks(kgo.AllISRAcks()),
				kgo.RetryTimeout(120 * time.Second),
				kgo.WithHooks(w),
				// Small batches, so that several are on their way at once.
				kgo.ProducerBatchMaxBytes(3000),
			}
			if !idempotent {
				// One request in flight, so that a retry does not overtake what follows it.
				opts = append(opts, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
			}
			w.client = newClient(opts...)
			writers = append(writers, w)
		}
	}
	return writers, nil
}

// awaitProgress returns when every writer has ackedBetween more acknowledgements.
func awaitProgress(ctx context.Context, writers []*writer) error {
	start := make([]int64, len(writers))
	for i, w := range writers {
		start[i] = w.acked.Load()
	}
	deadline := time.Now().Add(60 * time.Second)
	for i, w := range writers {
		for w.acked.Load() < start[i]+ackedBetween {
			if time.Now().After(deadline) || ctx.Err() != nil {
				w.mu.Lock()
				defer w.mu.Unlock()
				return fmt.Errorf("%s: %d acknowledged in 60 s, wanted %d; last error: %v",
					w.name, w.acked.Load()-start[i], ackedBetween, w.failed)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

func crash(ctx context.Context, hook string) error {
	out, err := exec.CommandContext(ctx, "sh", "-c", hook).CombinedOutput()
	if err != nil {
		return fmt.Errorf("the hook failed: %w: %s", err, out)
	}
	return nil
}

// place is where a record was read, and its number.
type place struct {
	offset int64
	number int
}

// judge compares what was acknowledged with what is in the log.
func (w *writer) judge(ctx context.Context, tail *tail) (string, error) {
	if err := w.client.Flush(ctx); err != nil {
		return "", fmt.Errorf("flush: %w", err)
	}
	read, err := readAll(ctx, w.topic)
	if err != nil {
		return "", fmt.Errorf("reading back: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var acked, records, lost, duplicated, disordered, misplaced, invented, gaps, refusals int
	times := make([]int, w.sent)
	at := make([]map[int64]int, crashPartitions)
	for p, places := range read {
		at[p] = map[int64]int{}
		last := -1
		for i, place := range places {
			records++
			if place.offset != int64(i) {
				gaps++
			}
			if place.number < 0 || place.number >= w.sent || place.number%crashPartitions != p {
				invented++
				continue
			}
			at[p][place.offset] = place.number
			times[place.number]++
			if times[place.number] > 1 {
				duplicated++
			} else if place.number < last {
				disordered++
			} else {
				last = place.number
			}
		}
	}
	for number, offset := range w.offset {
		switch {
		case offset == unanswered || offset == refused:
			refusals++
			continue
		case times[number] == 0:
			lost++
		case offset >= 0:
			if found, ok := at[number%crashPartitions][offset]; !ok || found != number {
				misplaced++
			}
		}
		acked++
	}
	unstable, unseen := tail.differences(w.topic, read)
	line := fmt.Sprintf("sent %d, acknowledged %d, read %d, lost %d, duplicated %d, out of order %d, misplaced %d, "+
		"invented %d, gaps %d, not acknowledged %d, seen and changed %d, not seen %d, cut off %d times",
		w.sent, acked, records, lost, duplicated, disordered, misplaced, invented, gaps, refusals, unstable, unseen, w.cutOff.Load())
	if lost+disordered+misplaced+invented+gaps+refusals+unstable+unseen > 0 || (w.idempotent && duplicated > 0) {
		if w.failed != nil {
			return "", fmt.Errorf("%s; last error: %w", line, w.failed)
		}
		return "", errors.New(line)
	}
	return line, nil
}

// readAll reads a topic from its start to its end, and the numbers of its records.
func readAll(ctx context.Context, topic string) ([][]place, error) {
	admin := kadm.NewClient(newClient())
	defer admin.Close()
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	want := 0
	ends.Each(func(end kadm.ListedOffset) { want += int(end.Offset) })
	records, err := readUntil(ctx, topic, crashPartitions, want)
	if err != nil {
		return nil, err
	}
	read := make([][]place, crashPartitions)
	for _, record := range records {
		read[record.Partition] = append(read[record.Partition], placeOf(record))
	}
	return read, nil
}

func placeOf(record *kgo.Record) place {
	number := -1
	fmt.Sscanf(string(record.Value), "%d", &number)
	return place{record.Offset, number}
}

// tail is a consumer that reads along while the broker dies: what it saw must stay.
type tail struct {
	client *kgo.Client
	cancel context.CancelFunc
	done   chan struct{}
	mu     sync.Mutex
	seen   map[string][][]place
}

func startTail(ctx context.Context, writers []*writer) *tail {
	ctx, cancel := context.WithCancel(ctx)
	from := map[string]map[int32]kgo.Offset{}
	t := &tail{cancel: cancel, done: make(chan struct{}), seen: map[string][][]place{}}
	for _, w := range writers {
		from[w.topic] = map[int32]kgo.Offset{}
		t.seen[w.topic] = make([][]place, crashPartitions)
		for p := int32(0); p < crashPartitions; p++ {
			from[w.topic][p] = kgo.NewOffset().AtStart()
		}
	}
	t.client = newClient(kgo.ConsumePartitions(from))
	go func() {
		defer close(t.done)
		for ctx.Err() == nil {
			fetches := t.client.PollFetches(ctx)
			t.mu.Lock()
			fetches.EachRecord(func(r *kgo.Record) {
				t.seen[r.Topic][r.Partition] = append(t.seen[r.Topic][r.Partition], placeOf(r))
			})
			t.mu.Unlock()
		}
	}()
	return t
}

func (t *tail) stop() {
	t.cancel()
	<-t.done
	t.client.Close()
}

// differences waits until the tail has reached the end, and counts where it saw something else than the log has, and
// what it did not see.
func (t *tail) differences(topic string, read [][]place) (changed, unseen int) {
	deadline := time.Now().Add(20 * time.Second)
	for p := range read {
		for {
			t.mu.Lock()
			reached := len(t.seen[topic][p]) >= len(read[p])
			t.mu.Unlock()
			if reached || time.Now().After(deadline) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range read {
		seen := t.seen[topic][p]
		unseen += max(0, len(read[p])-len(seen))
		for i := range seen {
			if i >= len(read[p]) || seen[i] != read[p][i] {
				changed++
			}
		}
	}
	return changed, unseen
}
