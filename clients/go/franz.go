package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// franz is franz-go.
type franz struct{}

func (franz) name() string     { return "franz-go" }
func (franz) idempotent() bool { return true }

func (franz) create(topic string, partitions, replicas int, configs map[string]string) error {
	admin := kadm.NewClient(newClient())
	defer admin.Close()
	values := map[string]*string{}
	for key, value := range configs {
		values[key] = &value
	}
	_, err := admin.CreateTopic(context.Background(), int32(partitions), int16(replicas), values, topic)
	return err
}

func (franz) partitions(topic string) (int, error) {
	admin := kadm.NewClient(newClient())
	defer admin.Close()
	listed, err := admin.ListTopics(context.Background(), topic)
	if err != nil {
		return 0, err
	}
	led := 0
	for _, partition := range listed[topic].Partitions {
		if partition.Err == nil && partition.Leader >= 0 {
			led++
		}
	}
	return led, nil
}

type franzSender struct {
	topic  string
	client *kgo.Client
}

func (franz) newSender(topic, codec string, idempotent bool) (sender, error) {
	options := []kgo.Opt{kgo.RecordDeliveryTimeout(deliveryMax), kgo.ProducerLinger(5 * time.Millisecond)}
	for _, known := range codecs {
		if known.name == codec {
			options = append(options, kgo.ProducerBatchCompression(known.option))
		}
	}
	if !idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	return franzSender{topic, newClient(options...)}, nil
}

func (s franzSender) send(r *record, done func(error)) {
	sent := &kgo.Record{Topic: s.topic, Partition: r.partition, Key: r.key, Value: r.value, Timestamp: time.UnixMilli(r.timestampMs)}
	for _, h := range r.headers {
		sent.Headers = append(sent.Headers, kgo.RecordHeader{Key: h.key, Value: h.value})
	}
	s.client.Produce(context.Background(), sent, func(placed *kgo.Record, err error) {
		r.offset = placed.Offset
		done(err)
	})
}

func (s franzSender) close() error {
	err := s.client.Flush(context.Background())
	s.client.Close()
	return err
}

type franzReceiver struct {
	topic  string
	client *kgo.Client
}

func (l franz) newReceiver(topic string, partitions []int32, offset int64) (receiver, error) {
	return l.newReceiverOf(topic, partitions, offset, 0)
}

func (franz) isInvalidRecord(err error) bool { return errors.Is(err, kerr.InvalidRecord) }

func (franz) newReceiverOf(topic string, partitions []int32, offset int64, bytes int) (receiver, error) {
	from := map[int32]kgo.Offset{}
	for _, partition := range partitions {
		from[partition] = kgo.NewOffset().At(offset)
	}
	options := []kgo.Opt{
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxWait(50 * time.Millisecond),
	}
	if bytes > 0 {
		options = append(options, kgo.FetchMaxPartitionBytes(int32(bytes)))
	}
	return franzReceiver{topic, newClient(options...)}, nil
}

func (r franzReceiver) poll(timeout time.Duration) ([]*record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var all []*record
	for _, found := range r.client.PollFetches(ctx).Records() {
		read := &record{found.Partition, found.Key, found.Value, nil, found.Timestamp.UnixMilli(), found.Offset}
		for _, h := range found.Headers {
			read.headers = append(read.headers, header{h.Key, h.Value})
		}
		all = append(all, read)
	}
	return all, nil
}

func (r franzReceiver) end(partition int32) (int64, error) {
	return again(func() (int64, error) {
		ends, err := kadm.NewClient(r.client).ListEndOffsets(context.Background(), r.topic)
		if err != nil {
			return 0, err
		}
		end, ok := ends.Lookup(r.topic, partition)
		if !ok || end.Err != nil {
			return 0, fmt.Errorf("no end of partition %d: %w", partition, end.Err)
		}
		return end.Offset, nil
	})
}

func (r franzReceiver) close() { r.client.Close() }
