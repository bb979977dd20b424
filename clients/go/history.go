package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

const (
	historyPartitions = 3
	// As many records wait for their acknowledgements at most.
	historyUnanswered = 300
	historyPause      = 20 * time.Millisecond
	readMax           = 60 * time.Second
)

// history writes what a library was asked for and saw, as seedlog-checker reads it: one event a line, in the order in which
// they happened.
type history struct {
	mu      sync.Mutex
	file    *os.File
	started time.Time
}

type event struct {
	TimeUs   int64  `json:"time_us"`
	Process  int    `json:"process"`
	Phase    string `json:"type"`
	Function string `json:"f"`
	Value    any    `json:"value,omitempty"`
	Error    string `json:"error,omitempty"`
}

type historyRecord struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Key       string `json:"key,omitempty"`
	Value     string `json:"value,omitempty"`
	Offset    *int64 `json:"offset,omitempty"`
	// The library sends again what was not answered, and is not idempotent.
	Repeats bool `json:"repeats,omitempty"`
}

func (h *history) write(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e.TimeUs = time.Since(h.started).Microseconds()
	line, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	if _, err := h.file.Write(append(line, '\n')); err != nil {
		panic(err)
	}
}

// historyWriter is a producer of numbered records.
type historyWriter struct {
	topic   string
	library library
	history *history
	sender  sender
	sent    int

	mu       sync.Mutex
	answered sync.WaitGroup
	acked    int
	givenUp  []error
}

func (w *historyWriter) writeSome() {
	for range 2 {
		w.mu.Lock()
		waiting := w.sent - w.acked - len(w.givenUp)
		w.mu.Unlock()
		if waiting >= historyUnanswered {
			return
		}
		w.writeOne()
	}
}

func (w *historyWriter) writeOne() {
	at := historyRecord{Topic: w.topic, Partition: int32(w.sent % historyPartitions), Key: "k", Value: fmt.Sprint(w.sent)}
	w.sent++
	// Before it leaves.
	at.Repeats = !w.library.idempotent()
	w.history.write(event{Phase: "invoke", Function: "send", Value: []historyRecord{at}})
	at.Repeats = false
	w.answered.Add(1)
	r := &record{at.Partition, []byte(at.Key), []byte(at.Value), nil, time.Now().UnixMilli(), -1}
	w.sender.send(r, func(err error) {
		defer w.answered.Done()
		w.mu.Lock()
		defer w.mu.Unlock()
		if err != nil {
			w.givenUp = append(w.givenUp, err)
			w.history.write(event{Phase: "info", Function: "send", Value: []historyRecord{at}, Error: err.Error()})
			return
		}
		w.acked++
		// A producer whose batch was there already may not be told where.
		if r.offset >= 0 {
			at.Offset = &r.offset
		}
		w.history.write(event{Phase: "ok", Function: "send", Value: []historyRecord{at}})
	})
}

// historyReader is a consumer of all partitions from their starts.
type historyReader struct {
	process  int
	topic    string
	history  *history
	receiver receiver
	next     [historyPartitions]int64
}

func newHistoryReader(l library, process int, topic string, h *history) (*historyReader, error) {
	var starts []historyRecord
	var all []int32
	zero := int64(0)
	for p := range int32(historyPartitions) {
		starts = append(starts, historyRecord{Topic: topic, Partition: p, Offset: &zero})
		all = append(all, p)
	}
	h.write(event{Process: process, Phase: "ok", Function: "assign", Value: starts})
	receiver, err := l.newReceiver(topic, all, 0)
	return &historyReader{process: process, topic: topic, history: h, receiver: receiver}, err
}

func (r *historyReader) read(timeout time.Duration) error {
	records, err := r.receiver.poll(timeout)
	if err != nil || len(records) == 0 {
		return err
	}
	var places []historyRecord
	for _, got := range records {
		r.next[got.partition] = got.offset + 1
		places = append(places, historyRecord{r.topic, got.partition, string(got.key), string(got.value), &got.offset, false})
	}
	r.history.write(event{Process: r.process, Phase: "ok", Function: "poll", Value: places})
	return nil
}

func (r *historyReader) readToEnds() error {
	deadline := time.Now().Add(readMax)
	for partition := range int32(historyPartitions) {
		end, err := r.receiver.end(partition)
		if err != nil {
			return err
		}
		for r.next[partition] < end {
			if time.Now().After(deadline) {
				return fmt.Errorf("read up to %v in %v, partition %d ends at %d", r.next, readMax, partition, end)
			}
			if err := r.read(100 * time.Millisecond); err != nil {
				return err
			}
		}
	}
	r.history.write(event{Process: r.process, Phase: "ok", Function: "final"})
	return nil
}

// runHistory writes and reads until the file `stop` is there, then reads all to the end.
func runHistory(name, topic, path, stop string) error {
	var chosen library
	for _, l := range libraries {
		if l.name() == name {
			chosen = l
		}
	}
	if chosen == nil {
		return fmt.Errorf("no library is called %s", name)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	h := &history{file: file, started: time.Now()}
	if err := chosen.create(topic, historyPartitions, 3, map[string]string{"min.insync.replicas": "2"}); err != nil {
		return err
	}
	s, err := chosen.newSender(topic, "none", chosen.idempotent())
	if err != nil {
		return err
	}
	w := &historyWriter{topic: topic, library: chosen, history: h, sender: s}
	tail, err := newHistoryReader(chosen, 1, topic, h)
	if err != nil {
		return err
	}
	for {
		if _, err := os.Stat(stop); err == nil {
			break
		}
		w.writeSome()
		if err := tail.read(historyPause); err != nil {
			return fmt.Errorf("the reader ends: %w", err)
		}
	}
	w.answered.Wait()
	last, err := newHistoryReader(chosen, 2, topic, h)
	if err != nil {
		return err
	}
	for _, reader := range []*historyReader{tail, last} {
		if err := reader.readToEnds(); err != nil {
			return err
		}
	}
	for _, err := range w.givenUp[:min(3, len(w.givenUp))] {
		fmt.Println("given up:", err)
	}
	fmt.Printf("note: %d records, %d acknowledged\n", w.sent, w.acked)
	if w.acked < w.sent {
		return fmt.Errorf("%d records are not acknowledged", w.sent-w.acked)
	}
	return nil
}
