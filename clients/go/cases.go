package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type testCase struct {
	name string
	run  func(ctx context.Context, admin *kadm.Client) error
}

func runCases() {
	cases := []testCase{
		{"versions: the broker lists the APIs that this client needs", apiVersions},
		{"metadata: one broker, at the address that was asked", brokerMetadata},
		{"topics: create, list, refuse a second and a bad one, delete", topics},
		{"topics: validate only creates nothing", validateOnly},
		{"topics: an unknown topic is created when the producer allows it, refused otherwise", autoCreate},
		{"records: null and empty keys, values and headers, unicode", nulls},
		{"records: 1 MiB, and MESSAGE_TOO_LARGE above the topic's limit", large},
		{"records: LogAppendTime of the topic replaces timestamps", logAppendTime},
		{"offsets: earliest, latest, max timestamp, by time, and tiering's two", listOffsets},
		{"offsets: of a leader epoch", leaderEpoch},
		{"consumer: from start, middle, end, time and back from the end", startingPoints},
		{"consumer: a record written during a long poll comes at once", longPoll},
		{"consumer: an offset out of range is said", outOfRange},
		{"consumer: a limit smaller than a batch still makes progress", smallLimits},
		{"sessions: create, increment, forget, refuse wrong epochs and ids", fetchSessions},
		{"sessions: 40 partitions with and without", manyPartitions},
		{"producer ids: each is new", producerIDs},
		{"producers: four idempotent ones on one partition keep their orders", concurrentProducers},
	}
	for _, codec := range codecs {
		for _, idempotent := range []bool{true, false} {
			name := fmt.Sprintf("round trip: codec=%s idempotent=%v", codec.name, idempotent)
			cases = append(cases, testCase{name, func(ctx context.Context, admin *kadm.Client) error {
				return roundTrip(ctx, admin, codec, idempotent)
			}})
		}
	}
	for name, acks := range map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()} {
		cases = append(cases, testCase{"producer: acks=" + name, func(ctx context.Context, admin *kadm.Client) error {
			return acksLevel(ctx, admin, name, acks)
		}})
	}

	admin := kadm.NewClient(newClient())
	defer admin.Close()
	for _, c := range cases {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		report(c.name, c.run(ctx, admin))
		cancel()
	}
}

// newTopic creates a topic for one case. `configs` are pairs of key and value.
func newTopic(ctx context.Context, admin *kadm.Client, name string, partitions int32, configs ...string) (string, error) {
	topic := run + "-" + name
	values := map[string]*string{}
	for i := 0; i < len(configs); i += 2 {
		values[configs[i]] = &configs[i+1]
	}
	_, err := admin.CreateTopic(ctx, partitions, 1, values, topic)
	if err != nil {
		return "", fmt.Errorf("creating %s: %w", topic, err)
	}
	return topic, nil
}

// produce sends records and waits for their acknowledgements.
func produce(ctx context.Context, records []*kgo.Record, opts ...kgo.Opt) error {
	client := newClient(opts...)
	defer client.Close()
	return client.ProduceSync(ctx, records...).FirstErr()
}

func numbered(topic string, partition int32, count int) []*kgo.Record {
	var records []*kgo.Record
	for i := range count {
		records = append(records, &kgo.Record{Topic: topic, Partition: partition, Value: fmt.Appendf(nil, "%d", i)})
	}
	return records
}

func expectError(what string, err error, want *kerr.Error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("%s: got %v, want %v", what, err, want)
	}
	return nil
}

func apiVersions(ctx context.Context, admin *kadm.Client) error {
	all, err := admin.ApiVersions(ctx)
	if err != nil {
		return err
	}
	for _, broker := range all {
		if broker.Err != nil {
			return broker.Err
		}
		for key, least := range map[int16]int16{0: 11, 1: 17, 2: 8, 3: 12, 18: 3, 19: 7, 20: 6, 22: 4, 23: 4, 60: 1} {
			if most, ok := broker.KeyMaxVersion(key); !ok || most < least {
				return fmt.Errorf("%s up to version %d, want %d", kmsg.NameForKey(key), most, least)
			}
		}
	}
	return nil
}

func brokerMetadata(ctx context.Context, admin *kadm.Client) error {
	metadata, err := admin.BrokerMetadata(ctx)
	if err != nil {
		return err
	}
	if len(metadata.Brokers) != 1 || metadata.Cluster == "" || metadata.Controller != metadata.Brokers[0].NodeID {
		return fmt.Errorf("unexpected: %+v", metadata)
	}
	address := fmt.Sprintf("%s:%d", metadata.Brokers[0].Host, metadata.Brokers[0].Port)
	if address != bootstrap {
		return fmt.Errorf("the broker says %s, asked was %s", address, bootstrap)
	}
	return nil
}

func topics(ctx context.Context, admin *kadm.Client) error {
	topic, err := newTopic(ctx, admin, "topics", 7)
	if err != nil {
		return err
	}
	listed, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	detail := listed[topic]
	if len(detail.Partitions) != 7 || detail.ID == (kadm.TopicID{}) {
		return fmt.Errorf("listed as %+v", detail)
	}
	for _, partition := range detail.Partitions {
		if partition.Err != nil || partition.Leader < 0 || len(partition.Replicas) != 1 || len(partition.ISR) != 1 {
			return fmt.Errorf("partition %+v", partition)
		}
	}
	_, err = admin.CreateTopic(ctx, 1, 1, nil, topic)
	if err := expectError("a second topic of the name", err, kerr.TopicAlreadyExists); err != nil {
		return err
	}
	_, err = admin.CreateTopic(ctx, 1, 1, nil, "not/a/name")
	if err := expectError("a bad name", err, kerr.InvalidTopicException); err != nil {
		return err
	}
	_, err = admin.CreateTopic(ctx, 1, 5, nil, topic+"-5")
	if err := expectError("more replicas than brokers", err, kerr.InvalidReplicationFactor); err != nil {
		return err
	}
	_, err = admin.CreateTopic(ctx, 0, 1, nil, topic+"-0")
	if err := expectError("no partitions", err, kerr.InvalidPartitions); err != nil {
		return err
	}
	if _, err = admin.DeleteTopic(ctx, topic); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if err = awaitGone(ctx, admin, topic); err != nil {
		return err
	}
	_, err = admin.DeleteTopic(ctx, topic)
	if err := expectError("deleting an unknown topic", err, kerr.UnknownTopicOrPartition); err != nil {
		return err
	}
	// The name is free again, and the new topic is empty.
	if _, err := newTopic(ctx, admin, "topics", 1); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	return nil
}

func awaitGone(ctx context.Context, admin *kadm.Client, topic string) error {
	for {
		listed, err := admin.ListTopics(ctx)
		if err != nil {
			return err
		}
		if !listed.Has(topic) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is still listed after its deletion", topic)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func validateOnly(ctx context.Context, admin *kadm.Client) error {
	topic := run + "-validate"
	responses, err := admin.ValidateCreateTopics(ctx, 1, 1, nil, topic)
	if err != nil {
		return err
	}
	if err := responses[topic].Err; err != nil {
		return err
	}
	return awaitGone(ctx, admin, topic)
}

func autoCreate(ctx context.Context, admin *kadm.Client) error {
	topic := run + "-auto"
	refused := produce(ctx, numbered(topic, 0, 1), kgo.UnknownTopicRetries(1))
	if err := expectError("without permission", refused, kerr.UnknownTopicOrPartition); err != nil {
		return err
	}
	return produce(ctx, numbered(topic, 0, 1), kgo.AllowAutoTopicCreation())
}

func nulls(ctx context.Context, admin *kadm.Client) error {
	topic, err := newTopic(ctx, admin, "nulls", 1)
	if err != nil {
		return err
	}
	texts := [][]byte{nil, {}, []byte("plain"), []byte("日本語 é \x00\xff")}
	var records []*kgo.Record
	for _, key := range texts {
		for _, value := range texts {
			records = append(records, &kgo.Record{Topic: topic, Key: key, Value: value, Headers: []kgo.RecordHeader{
				{Key: "twice", Value: key}, {Key: "twice", Value: value}, {Key: "", Value: nil}, {Key: "ключ", Value: []byte{}},
			}})
		}
	}
	if err := produce(ctx, records); err != nil {
		return err
	}
	read, err := readUntil(ctx, topic, 1, len(records))
	if err != nil {
		return err
	}
	for i, record := range records {
		if err := same(record, read[i]); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
	}
	return nil
}

func same(sent, read *kgo.Record) error {
	sameBytes := func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }
	if !sameBytes(sent.Key, read.Key) {
		return fmt.Errorf("key %q, want %q", read.Key, sent.Key)
	}
	if !sameBytes(sent.Value, read.Value) {
		return fmt.Errorf("value of %d bytes, want %d", len(read.Value), len(sent.Value))
	}
	if len(sent.Headers) != len(read.Headers) {
		return fmt.Errorf("%d headers, want %d", len(read.Headers), len(sent.Headers))
	}
	for i, header := range sent.Headers {
		if header.Key != read.Headers[i].Key || !sameBytes(header.Value, read.Headers[i].Value) {
			return fmt.Errorf("header %d is %v, want %v", i, read.Headers[i], header)
		}
	}
	if !sent.Timestamp.IsZero() && sent.Timestamp.UnixMilli() != read.Timestamp.UnixMilli() {
		return fmt.Errorf("timestamp %v, want %v", read.Timestamp, sent.Timestamp)
	}
	if sent.Partition != read.Partition || sent.Offset != read.Offset {
		return fmt.Errorf("at %d/%d, acknowledged at %d/%d", read.Partition, read.Offset, sent.Partition, sent.Offset)
	}
	return nil
}

func roundTrip(ctx context.Context, admin *kadm.Client, codec codec, idempotent bool) error {
	topic, err := newTopic(ctx, admin, fmt.Sprintf("%s-%v", codec.name, idempotent), 2)
	if err != nil {
		return err
	}
	opts := []kgo.Opt{kgo.ProducerBatchCompression(codec.option)}
	if !idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	base := time.Now().Add(-time.Hour)
	var records []*kgo.Record
	for i := range 400 {
		records = append(records, &kgo.Record{
			Topic:     topic,
			Partition: int32(i % 2),
			Key:       fmt.Appendf(nil, "key-%d", i),
			Value:     fmt.Appendf(nil, "%d %s", i, strings.Repeat("compressible ", i)),
			Headers:   []kgo.RecordHeader{{Key: "number", Value: fmt.Appendf(nil, "%d", i)}},
			Timestamp: base.Add(time.Duration(i) * time.Second),
		})
	}
	// Bytes that no codec makes smaller.
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	records = append(records, &kgo.Record{Topic: topic, Value: noise})
	if err := produce(ctx, records, opts...); err != nil {
		return err
	}
	read, err := readUntil(ctx, topic, 2, len(records))
	if err != nil {
		return err
	}
	var parts [2][]*kgo.Record
	for _, record := range read {
		parts[record.Partition] = append(parts[record.Partition], record)
	}
	compressed := false
	for i, record := range records {
		part := &parts[record.Partition]
		if len(*part) == 0 {
			return fmt.Errorf("record %d is missing", i)
		}
		got := (*part)[0]
		*part = (*part)[1:]
		if err := same(record, got); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		if (got.ProducerID >= 0) != idempotent {
			return fmt.Errorf("record %d has producer id %d", i, got.ProducerID)
		}
		compressed = compressed || got.Attrs.CompressionType() == codec.number
	}
	if !compressed {
		return errors.New("no batch has the codec")
	}
	return nil
}

func acksLevel(ctx context.Context, admin *kadm.Client, name string, acks kgo.Acks) error {
	topic, err := newTopic(ctx, admin, "acks-"+name, 1)
	if err != nil {
		return err
	}
	records := numbered(topic, 0, 500)
	if err := produce(ctx, records, kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite()); err != nil {
		return err
	}
	read, err := readUntil(ctx, topic, 1, len(records))
	if err != nil {
		return err
	}
	for i, record := range read {
		if record.Offset != int64(i) || !bytes.Equal(record.Value, records[i].Value) {
			return fmt.Errorf("offset %d has %s, want %s", record.Offset, record.Value, records[i].Value)
		}
	}
	return nil
}

func large(ctx context.Context, admin *kadm.Client) error {
	topic, err := newTopic(ctx, admin, "large", 1, "max.message.bytes", "1100000")
	if err != nil {
		return err
	}
	value := make([]byte, 1<<20)
	for i := range value {
		value[i] = byte(i * 7 >> 3)
	}
	uncompressed := func(batchBytes int32) []kgo.Opt {
		return []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(batchBytes)}
	}
	var records []*kgo.Record
	for range 12 {
		records = append(records, &kgo.Record{Topic: topic, Value: value})
	}
	if err := produce(ctx, records, uncompressed(1_100_000)...); err != nil {
		return err
	}
	read, err := readUntil(ctx, topic, 1, len(records))
	if err != nil {
		return err
	}
	for i, record := range records {
		if err := same(record, read[i]); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
	}
	refused := produce(ctx, []*kgo.Record{{Topic: topic, Value: make([]byte, 1_200_000)}}, uncompressed(2_000_000)...)
	return expectError("1.2 MB", refused, kerr.MessageTooLarge)
}

func logAppendTime(ctx context.Context, admin *kadm.Client) error {
	topic, err := newTopic(ctx, admin, "append-time", 1, "message.timestamp.type", "LogAppendTime")
	if err != nil {
		return err
	}
	before := time.Now().UnixMilli()
	record := &kgo.Record{Topic: topic, Value: []byte("x"), Timestamp: time.UnixMilli(1)}
	if err := produce(ctx, []*kgo.Record{record}); err != nil {
		return err
	}
	read, err := readUntil(ctx, topic, 1, 1)
	if err != nil {
		return err
	}
	if read[0].Attrs.TimestampType() != 1 || read[0].Timestamp.UnixMilli() < before {
		return fmt.Errorf("type %d, time %v", read[0].Attrs.TimestampType(), read[0].Timestamp)
	}
	return nil
}

func listOffsets(ctx context.Context, admin *kadm.Client) error {
	topic, err := newTopic(ctx, admin, "offsets", 1)
	if err != nil {
		return err
	}
	// One batch a record, the largest time in the middle.
	times := []int64{1000, 3000, 9000, 4000, 5000}
	for _, millis := range times {
		record := &kgo.Record{Topic: topic, Value: []byte("x"), Timestamp: time.UnixMilli(millis)}
		if err := produce(ctx, []*kgo.Record{record}); err != nil {
			return err
		}
	}
	client := newClient()
	defer client.Close()
	for _, c := range []struct{ timestamp, offset, found int64 }{
		{-1, 5, -1},   // latest
		{-2, 0, -1},   // earliest
		{-3, 2, 9000}, // max timestamp
		{-4, 0, -1},   // earliest local
		{-5, -1, -1},  // latest tiered
		{0, 0, 1000},  // by time: the first record that is not older
		{1000, 0, 1000},
		{1001, 1, 3000},
		{3001, 2, 9000},
		{9000, 2, 9000},
		{9001, -1, -1},
	} {
		request := kmsg.NewPtrListOffsetsRequest()
		request.ReplicaID = -1
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Timestamp = c.timestamp
		part := kmsg.NewListOffsetsRequestTopic()
		part.Topic = topic
		part.Partitions = append(part.Partitions, partition)
		request.Topics = append(request.Topics, part)
		shards := client.RequestSharded(ctx, request)
		if len(shards) != 1 || shards[0].Err != nil {
			return fmt.Errorf("timestamp %d: %+v", c.timestamp, shards)
		}
		got := shards[0].Resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
		if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
			return fmt.Errorf("timestamp %d: %w", c.timestamp, err)
		}
		if got.Offset != c.offset || got.Timestamp != c.found {
			return fmt.Errorf("timestamp %d: offset %d at %d, want %d at %d", c.timestamp, got.Offset, got.Timestamp, c.offset, c.found)
		}
	}
	return nil
}

func leaderEpoch(ctx context.Context, admin *kadm.Client) error {
	topic, err := newTopic(ctx, admin, "epoch", 1)
	if err != nil {
		return err
	}
	if err := produce(ctx, numbered(topic, 0, 10)); err != nil {
		return err
	}
	listed, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	epoch := listed[topic].Partitions[0].LeaderEpoch
	var request kadm.OffsetForLeaderEpochRequest
	request.Add(topic, 0, epoch)
	answers, err := admin.OffsetForLeaderEpoch(ctx, request)
	if err != nil {
		return err
	}
	answer := answers[topic][0]
	if answer.Err != nil || answer.LeaderEpoch != epoch || answer.EndOffset != 10 {
		return fmt.Errorf("epoch %d answers %+v", epoch, answer)
	}
	return nil
}

func startingPoints(ctx context.Context, admin *kadm.Client) error {
	topic, err := newTopic(ctx, admin, "starts", 1)
	if err != nil {
		return err
	}
	var records []*kgo.Record
	for i := range 100 {
		records = append(records, &kgo.Record{Topic: topic, Value: []byte("x"), Timestamp: time.UnixMilli(int64(i+1) * 1000)})
	}
	if err := produce(ctx, records); err != nil {
		return err
	}
	for name, c := range map[string]struct {
		from kgo.Offset
		want int64
	}{
		"start":         {kgo.NewOffset().AtStart(), 0},
		"offset 37":     {kgo.NewOffset().At(37), 37},
		"time":          {kgo.NewOffset().AfterMilli(50_001), 50},
		"end minus ten": {kgo.NewOffset().AtEnd().Relative(-10), 90},
	} {
		read, err := readFrom(ctx, topic, map[int32]kgo.Offset{0: c.from}, int(100-c.want))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if read[0].Offset != c.want || len(read) != int(100-c.want) {
			return fmt.Errorf("%s: %d records from offset %d, want from %d", name, len(read), read[0].Offset, c.want)
		}
	}
	return nil
}

func longPoll(ctx context.Context, admin *kadm.Client) error {
	topic, err := newTopic(ctx, admin, "poll", 1)
	if err != nil {
		return err
	}
	client := newClient(kgo.FetchMaxWait(20*time.Second), kgo.FetchMinBytes(1),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	defer client.Close()
	// The first record shows that the consumer is polling; the second comes into the poll that waits.
	for i := range 2 {
		started := time.Now()
		failure := make(chan error, 1)
		go func() {
			time.Sleep(300 * time.Millisecond)
			failure <- produce(ctx, numbered(topic, 0, 1))
		}()
		fetches := client.PollFetches(ctx)
		if err := errors.Join(<-failure, fetches.Err()); err != nil {
			return err
		}
		if fetches.NumRecords() != 1 || time.Since(started) > 5*time.Second {
			return fmt.Errorf("poll %d: %d records after %v", i, fetches.NumRecords(), time.Since(started))
		}
	}
	return nil
}

func outOfRange(ctx context.Context, admin *kadm.Client) error {
	topic, err := newTopic(ctx, admin, "range", 1)
	if err != nil {
		return err
	}
	if err := produce(ctx, numbered(topic, 0, 5)); err != nil {
		return err
	}
	_, err = readFrom(ctx, topic, map[int32]kgo.Offset{0: kgo.NewOffset().At(1000)}, 1,
		kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	return expectError("offset 1000 of 5", err, kerr.OffsetOutOfRange)
}

func smallLimits(ctx context.Context, admin *kadm.Client) error {
	topic, err := newTopic(ctx, admin, "limits", 2)
	if err != nil {
		return err
	}
	var records []*kgo.Record
	for i := range 40 {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: make([]byte, 5000)})
	}
	if err := produce(ctx, records, kgo.ProducerBatchCompression(kgo.NoCompression())); err != nil {
		return err
	}
	_, err = readUntil(ctx, topic, 2, len(records), kgo.FetchMaxBytes(100), kgo.FetchMaxPartitionBytes(100))
	return err
}

// fetch sends one fetch request as it stands.
func fetch(ctx context.Context, client *kgo.Client, id, epoch int32, partitions []kmsg.FetchRequestTopic, forget []kmsg.FetchRequestForgottenTopic) (*kmsg.FetchResponse, error) {
	request := kmsg.NewPtrFetchRequest()
	request.MaxWaitMillis = 100
	request.MinBytes = 1
	request.MaxBytes = 1 << 20
	request.SessionID = id
	request.SessionEpoch = epoch
	request.Topics = partitions
	request.ForgottenTopics = forget
	metadata, err := kadm.NewClient(client).BrokerMetadata(ctx)
	if err != nil {
		return nil, err
	}
	response, err := client.Broker(int(metadata.Controller)).Request(ctx, request)
	if err != nil {
		return nil, err
	}
	return response.(*kmsg.FetchResponse), nil
}

func fetchSessions(ctx context.Context, admin *kadm.Client) error {
	topic, err := newTopic(ctx, admin, "session", 2)
	if err != nil {
		return err
	}
	listed, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	asks := func(offsets map[int32]int64) []kmsg.FetchRequestTopic {
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.TopicID = topic, listed[topic].ID
		for number, offset := range offsets {
			p := kmsg.NewFetchRequestTopicPartition()
			p.Partition, p.FetchOffset, p.CurrentLeaderEpoch, p.PartitionMaxBytes = number, offset, -1, 1<<20
			t.Partitions = append(t.Partitions, p)
		}
		return []kmsg.FetchRequestTopic{t}
	}
	client := newClient()
	defer client.Close()
	count := func(response *kmsg.FetchResponse) (partitions, withRecords int) {
		for _, t := range response.Topics {
			for _, p := range t.Partitions {
				partitions++
				if len(p.RecordBatches) > 0 {
					withRecords++
				}
			}
		}
		return
	}
	check := func(what string, response *kmsg.FetchResponse, wantPartitions, wantRecords int) error {
		if err := kerr.ErrorForCode(response.ErrorCode); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if partitions, records := count(response); partitions != wantPartitions || records != wantRecords {
			return fmt.Errorf("%s: %d partitions, %d with records; want %d and %d", what, partitions, records, wantPartitions, wantRecords)
		}
		return nil
	}

	first, err := fetch(ctx, client, 0, 0, asks(map[int32]int64{0: 0, 1: 0}), nil)
	if err != nil {
		return err
	}
	if err := check("full", first, 2, 0); err != nil {
		return err
	}
	id := first.SessionID
	if id == 0 {
		return errors.New("no session was made")
	}
	second, err := fetch(ctx, client, id, 1, nil, nil)
	if err != nil {
		return err
	}
	if err := check("increment without news", second, 0, 0); err != nil {
		return err
	}
	if err := produce(ctx, numbered(topic, 1, 3)); err != nil {
		return err
	}
	third, err := fetch(ctx, client, id, 2, nil, nil)
	if err != nil {
		return err
	}
	if err := check("increment with records in one partition", third, 1, 1); err != nil {
		return err
	}
	// Partition 1 leaves the session; its records no longer come.
	forgotten := kmsg.NewFetchRequestForgottenTopic()
	forgotten.Topic, forgotten.TopicID, forgotten.Partitions = topic, listed[topic].ID, []int32{1}
	fourth, err := fetch(ctx, client, id, 3, nil, []kmsg.FetchRequestForgottenTopic{forgotten})
	if err != nil {
		return err
	}
	if err := check("increment after forgetting", fourth, 0, 0); err != nil {
		return err
	}
	wrong, err := fetch(ctx, client, id, 9, nil, nil)
	if err != nil {
		return err
	}
	if err := expectError("a wrong epoch", kerr.ErrorForCode(wrong.ErrorCode), kerr.InvalidFetchSessionEpoch); err != nil {
		return err
	}
	unknown, err := fetch(ctx, client, id^0x55555, 1, nil, nil)
	if err != nil {
		return err
	}
	return expectError("an unknown id", kerr.ErrorForCode(unknown.ErrorCode), kerr.FetchSessionIDNotFound)
}

func manyPartitions(ctx context.Context, admin *kadm.Client) error {
	topic, err := newTopic(ctx, admin, "many", 40)
	if err != nil {
		return err
	}
	for round, opts := range [][]kgo.Opt{nil, {kgo.DisableFetchSessions()}} {
		var records []*kgo.Record
		for p := int32(round); p < 40; p += 3 {
			records = append(records, numbered(topic, p, 20)...)
		}
		before, err := admin.ListEndOffsets(ctx, topic)
		if err != nil {
			return err
		}
		from := map[int32]kgo.Offset{}
		before.Each(func(end kadm.ListedOffset) { from[end.Partition] = kgo.NewOffset().At(end.Offset) })
		failure := make(chan error, 1)
		go func() {
			time.Sleep(200 * time.Millisecond)
			failure <- produce(ctx, records)
		}()
		read, err := readFrom(ctx, topic, from, len(records), opts...)
		if err := errors.Join(<-failure, err); err != nil {
			return err
		}
		if len(read) != len(records) {
			return fmt.Errorf("%d records, want %d", len(read), len(records))
		}
	}
	return nil
}

func producerIDs(ctx context.Context, _ *kadm.Client) error {
	client := newClient()
	defer client.Close()
	seen := map[int64]bool{}
	for range 5 {
		request := kmsg.NewPtrInitProducerIDRequest()
		request.ProducerID, request.ProducerEpoch = -1, -1
		response, err := request.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(response.ErrorCode); err != nil {
			return err
		}
		if response.ProducerID < 0 || response.ProducerEpoch != 0 || seen[response.ProducerID] {
			return fmt.Errorf("id %d with epoch %d", response.ProducerID, response.ProducerEpoch)
		}
		seen[response.ProducerID] = true
	}
	return nil
}

func concurrentProducers(ctx context.Context, admin *kadm.Client) error {
	topic, err := newTopic(ctx, admin, "concurrent", 1)
	if err != nil {
		return err
	}
	const producers, each = 4, 2000
	var group sync.WaitGroup
	failures := make([]error, producers)
	for number := range producers {
		group.Add(1)
		go func() {
			defer group.Done()
			var records []*kgo.Record
			for i := range each {
				records = append(records, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d %d", number, i)})
			}
			failures[number] = produce(ctx, records, kgo.ProducerBatchMaxBytes(4000))
		}()
	}
	group.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	read, err := readUntil(ctx, topic, 1, producers*each)
	if err != nil {
		return err
	}
	next := [producers]int{}
	for _, record := range read {
		var number, i int
		if _, err := fmt.Sscanf(string(record.Value), "%d %d", &number, &i); err != nil {
			return err
		}
		if next[number] != i {
			return fmt.Errorf("producer %d: %d at offset %d, want %d", number, i, record.Offset, next[number])
		}
		next[number]++
	}
	return nil
}
