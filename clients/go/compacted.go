package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Topics that the node has cleaned, which every library then reads. Of one the tombstones are gone, of the other they stay.
var compactedTopics = []compactedTopic{{"compacted-brief", "1"}, {"compacted-long", "3600000"}}

const (
	compactedRounds  = 12
	compactedKeys    = "compacted-keys"
	compactedSeconds = 40 * time.Second
	// A fetch of so many bytes has one batch.
	tinyFetchBytes = 1
)

type compactedTopic struct {
	name              string
	deleteRetentionMs string
}

// cleaned says what is left of a topic after cleaning, of partition 0, its only one.
type cleaned struct {
	topic string
	left  []*record
	end   int64
	// Offsets of which nothing is left: far from the end, and right before what has not been cleaned yet.
	gap, lastGap int64
}

// from is what is left from an offset on.
func (c *cleaned) from(offset int64) []*record {
	for at, r := range c.left {
		if r.offset >= offset {
			return c.left[at:]
		}
	}
	return nil
}

// printCompacted prepares the topics for another suite. What is left of each is written into a file of its name: a line "END GAP
// LASTGAP", then a line of each record, "OFFSET TIMESTAMP KEY VALUE", with "-" for null. Each group reads from GAP on.
func printCompacted(folder string, groups []string) error {
	all, err := prepareAllCompacted()
	if err != nil {
		return err
	}
	for _, c := range all {
		var text strings.Builder
		fmt.Fprintln(&text, c.end, c.gap, c.lastGap)
		for _, r := range c.left {
			value := "-"
			if r.value != nil {
				value = string(r.value)
			}
			fmt.Fprintln(&text, r.offset, r.timestampMs, string(r.key), value)
		}
		if err := os.WriteFile(filepath.Join(folder, c.topic), []byte(text.String()), 0o644); err != nil {
			return err
		}
		for _, group := range groups {
			if err := commitAt(group+"-"+c.topic, c.topic, c.gap); err != nil {
				return err
			}
		}
	}
	return nil
}

func printCommit(group, topic, offset string) error {
	at, err := strconv.ParseInt(offset, 10, 64)
	if err != nil {
		return err
	}
	return commitAt(group, topic, at)
}

// commitAt gives a group without members its offset in partition 0.
func commitAt(group, topic string, offset int64) error {
	_, err := franzAdmin(func(ctx context.Context, admin *kadm.Client) (int, error) {
		var offsets kadm.Offsets
		offsets.AddOffset(topic, 0, offset, -1)
		return 0, admin.CommitAllOffsets(ctx, group, offsets)
	})
	return err
}

// prepareAllCompacted prepares the topics, and one more for records without keys.
func prepareAllCompacted() ([]*cleaned, error) {
	if err := (franz{}).create(compactedKeys, 1, 1, map[string]string{"cleanup.policy": "compact"}); err != nil {
		return nil, err
	}
	all := make([]*cleaned, len(compactedTopics))
	problems := make([]error, len(compactedTopics))
	var running sync.WaitGroup
	for at, topic := range compactedTopics {
		running.Go(func() {
			if all[at], problems[at] = prepareCompacted(topic); problems[at] != nil {
				problems[at] = fmt.Errorf("%s: %w", topic.name, problems[at])
			}
		})
	}
	running.Wait()
	return all, errors.Join(problems...)
}

// prepareCompacted writes rounds of values of few keys, a batch and a segment each, and waits until the node has cleaned all
// but the last.
func prepareCompacted(topic compactedTopic) (*cleaned, error) {
	settings := map[string]string{
		"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": topic.deleteRetentionMs,
	}
	if err := (franz{}).create(topic.name, 1, 1, settings); err != nil {
		return nil, err
	}
	c := &cleaned{topic: topic.name}
	w := &compactedWriter{c: c, began: time.Now().Add(-time.Hour).UnixMilli()}
	for round := range compactedRounds {
		if round == 2 {
			c.gap = c.end + 3
		}
		if err := w.write(roundOf(round), round, round%2 == 0); err != nil {
			return nil, err
		}
	}
	deadline := time.Now().Add(compactedSeconds)
	for tick := 0; ; tick++ {
		// A topic that becomes compacted may have records without keys: the cleaner drops them.
		c.lastGap = c.end + 1
		nobody := []byte(strings.Repeat("nobody wants it ", 10))
		keyless := []*record{{value: nobody}, {value: nobody}, {value: nobody}}
		if err := w.writeUncompacted(keyless); err != nil {
			return nil, err
		}
		// The last segment takes appends and stays as it is: the values before it stay too.
		last := c.end
		if err := w.write(append(roundOf(tick)[:3], &record{key: []byte("last"), value: []byte("of-all")}), tick, true); err != nil {
			return nil, err
		}
		// A tombstone goes in a pass behind the one that found it, and a pass wants something new.
		c.left = w.leftOf(last, topic.deleteRetentionMs == "1")
		problem := awaitRecords(c, 2*time.Second)
		if problem == nil {
			return c, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("not as a cleaned topic is after %v: %w", compactedSeconds, problem)
		}
	}
}

// roundOf is what a round writes: most keys again, some twice; two are deleted for good, one for a while, one is written once.
func roundOf(round int) []*record {
	var records []*record
	add := func(key, value string) {
		r := &record{key: []byte(key)}
		if value != "" {
			r.value = []byte(value)
		}
		records = append(records, r)
	}
	for number := range 7 {
		add(fmt.Sprintf("key-%d", number), fmt.Sprintf("%d.%s", round, strings.Repeat("compressible.", 10)))
	}
	switch round {
	case 0:
		add("once", "0")
		add("gone-1", "0")
		add("gone-2", "0")
	case 5:
		add("gone-1", "")
		add("back", "")
		add("key-3", "5.again")
	case 6:
		add("gone-2", "")
	case 8:
		add("back", "8")
	}
	return records
}

// compactedWriter remembers all that it writes.
type compactedWriter struct {
	c     *cleaned
	began int64
	all   []*record
}

// write sends a batch that begins a segment. `round` chooses the codec.
func (w *compactedWriter) write(records []*record, round int, idempotent bool) error {
	time.Sleep(150 * time.Millisecond)
	var options []kgo.Opt
	if !idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	// All go in one batch.
	options = append(options, kgo.ProducerLinger(20*time.Millisecond), kgo.ProducerBatchCompression(codecs[round%len(codecs)].option))
	client := newClient(options...)
	defer client.Close()
	s := franzSender{w.c.topic, client}
	for _, r := range records {
		r.timestampMs = w.began + int64(len(w.all))*10
		w.all = append(w.all, r)
	}
	err := writeAll(s, records)
	if err == nil && records[len(records)-1].offset != records[0].offset+int64(len(records))-1 {
		err = errors.New("the round's offsets are not in a row")
	}
	w.c.end = records[len(records)-1].offset + 1
	return err
}

// writeUncompacted sends a batch while the topic is not compacted.
func (w *compactedWriter) writeUncompacted(records []*record) error {
	if err := setPolicy(w.c.topic, "delete"); err != nil {
		return err
	}
	if err := w.write(records, 1, false); err != nil {
		return err
	}
	return setPolicy(w.c.topic, "compact")
}

func setPolicy(topic, policy string) error {
	_, err := franzAdmin(func(ctx context.Context, admin *kadm.Client) (int, error) {
		set := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: kadm.StringPtr(policy)}}
		answers, err := admin.AlterTopicConfigs(ctx, set, topic)
		for _, answer := range answers {
			err = errors.Join(err, answer.Err)
		}
		return 0, err
	})
	return err
}

// leftOf is what a node leaves that has cleaned everything before `last`.
func (w *compactedWriter) leftOf(last int64, tombstonesGo bool) []*record {
	lastOf := map[string]int64{}
	for _, r := range w.all {
		if r.offset < last && r.key != nil {
			lastOf[string(r.key)] = r.offset
		}
	}
	var left []*record
	for _, r := range w.all {
		isLeft := r.key != nil && lastOf[string(r.key)] == r.offset && (r.value != nil || !tombstonesGo)
		if r.offset >= last || isLeft {
			left = append(left, r)
		}
	}
	return left
}

// awaitRecords waits until franz-go reads what is to be left.
func awaitRecords(c *cleaned, patience time.Duration) error {
	deadline := time.Now().Add(patience)
	for {
		err := readCleaned(franz{}, c, 0, 0)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// readCleaned reads from an offset to the end, in fetches of at most `bytes`, 0 for as many as usual.
func readCleaned(l library, c *cleaned, offset int64, bytes int) error {
	r, err := l.newReceiverOf(c.topic, []int32{0}, offset, bytes)
	if err != nil {
		return err
	}
	defer r.close()
	if end, err := r.end(0); err != nil || end != c.end {
		return fmt.Errorf("the end is %d, want %d: %v", end, c.end, err)
	}
	var got []*record
	deadline := time.Now().Add(groupSeconds)
	for next := offset; next < c.end; {
		if time.Now().After(deadline) {
			return fmt.Errorf("from %d on, %d records up to %d in %v, the end is %d", offset, len(got), next, groupSeconds, c.end)
		}
		records, err := r.poll(200 * time.Millisecond)
		if err != nil {
			return err
		}
		for _, r := range records {
			if r.offset < next {
				return fmt.Errorf("offset %d comes, want %d or more", r.offset, next)
			}
			next = r.offset + 1
		}
		got = append(got, records...)
	}
	return compareCleaned(l, c.from(offset), got)
}

func compareCleaned(l library, want, got []*record) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d records, want %d", len(got), len(want))
	}
	for at := range want {
		if err := difference(want[at], got[at], tellsNulls(l)); err != nil {
			return fmt.Errorf("record %d: %w", at, err)
		}
	}
	return nil
}

// runCompacted has each library read cleaned topics.
func runCompacted() {
	all, err := prepareAllCompacted()
	report("a compacted topic: the node cleans it", err)
	if err != nil {
		return
	}
	for _, l := range libraries {
		report(l.name()+": a compacted topic: read from the start, and from where nothing is left", readAllCleaned(l, all, 0))
		report(l.name()+": a compacted topic: fetches of a batch each", readAllCleaned(l, all, tinyFetchBytes))
		report(l.name()+": a compacted topic: a group goes on where nothing is left, commits the end", cleanedGroup(l.(groupLibrary), all))
		report(l.name()+": a compacted topic: a record without a key is refused", keylessRefused(l))
	}
}

func readAllCleaned(l library, all []*cleaned, bytes int) error {
	for _, c := range all {
		for _, offset := range []int64{0, c.gap, c.lastGap} {
			if err := readCleaned(l, c, offset, bytes); err != nil {
				return fmt.Errorf("%s from %d: %w", c.topic, offset, err)
			}
		}
	}
	return nil
}

func cleanedGroup(l groupLibrary, all []*cleaned) error {
	for _, c := range all {
		group := c.topic + "-" + l.name()
		if err := commitAt(group, c.topic, c.gap); err != nil {
			return err
		}
		want := c.from(c.gap)
		for range 2 {
			got, err := readInGroup(l, group, c.topic, len(want))
			if err == nil {
				err = compareInGroup(want, got)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", c.topic, err)
			}
			committed, err := franzAdmin(func(ctx context.Context, admin *kadm.Client) (kadm.OffsetResponses, error) {
				return admin.FetchOffsetsForTopics(ctx, group, c.topic)
			})
			if err != nil {
				return err
			}
			if at, _ := committed.Lookup(c.topic, 0); at.At != c.end {
				return fmt.Errorf("%s: committed is %d, want the end, %d", c.topic, at.At, c.end)
			}
			// The next one finds nothing new.
			want = nil
		}
	}
	return nil
}

func readInGroup(l groupLibrary, group, topic string, count int) ([]*record, error) {
	m, err := l.newMember(group, topic)
	if err != nil {
		return nil, err
	}
	var got []*record
	deadline := time.Now().Add(groupSeconds)
	quiet := time.Time{}
	for quiet.IsZero() || time.Now().Before(quiet) {
		records, err := m.poll(50 * time.Millisecond)
		if err == nil && time.Now().After(deadline) {
			err = fmt.Errorf("%d records in %v, want %d", len(got), groupSeconds, count)
		}
		if err != nil {
			return nil, errors.Join(err, m.close())
		}
		got = append(got, records...)
		if len(got) >= count && quiet.IsZero() {
			quiet = time.Now().Add(groupQuiet)
		}
	}
	if count > 0 {
		err = m.commit()
	}
	return got, errors.Join(err, m.close())
}

func compareInGroup(want, got []*record) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d records, want %d", len(got), len(want))
	}
	for at := range want {
		if want[at].offset != got[at].offset || string(want[at].value) != string(got[at].value) {
			return fmt.Errorf("record %d is at %d, want %d", at, got[at].offset, want[at].offset)
		}
	}
	return nil
}

func keylessRefused(l library) error {
	s, err := l.newSender(compactedKeys, "none", l.idempotent())
	if err != nil {
		return err
	}
	err = writeAll(s, []*record{{value: []byte("no key"), timestampMs: time.Now().UnixMilli()}})
	s.close()
	if err == nil {
		return errors.New("it is acknowledged")
	}
	if !l.isInvalidRecord(err) {
		return fmt.Errorf("it is refused otherwise: %w", err)
	}
	return nil
}
