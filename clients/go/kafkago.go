package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// kafkaGo is segmentio's kafka-go.
type kafkaGo struct{}

func (kafkaGo) name() string     { return "kafka-go" }
func (kafkaGo) idempotent() bool { return false }

func (kafkaGo) client() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(seeds()...), Timeout: 20 * time.Second}
}

func (l kafkaGo) create(topic string, partitions, replicas int, configs map[string]string) error {
	config := kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: replicas}
	for key, value := range configs {
		config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: key, ConfigValue: value})
	}
	answer, err := l.client().CreateTopics(context.Background(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (l kafkaGo) partitions(topic string) (int, error) {
	answer, err := l.client().Metadata(context.Background(), &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, err
	}
	if len(answer.Topics) != 1 || answer.Topics[0].Error != nil {
		return 0, fmt.Errorf("the answer is %+v", answer.Topics)
	}
	led := 0
	for _, partition := range answer.Topics[0].Partitions {
		if partition.Error == nil && partition.Leader.Host != "" {
			led++
		}
	}
	return led, nil
}

var kafkaGoCodecs = map[string]kafka.Compression{
	"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
}

// toItsPartition sends a record where it is to go: the library has no other way to say it.
type toItsPartition struct{}

func (toItsPartition) Balance(message kafka.Message, _ ...int) int {
	return int(message.WriterData.(kafkaGoSent).record.partition)
}

type kafkaGoSent struct {
	record *record
	done   func(error)
}

type kafkaGoSender struct{ writer *kafka.Writer }

func (l kafkaGo) newSender(topic, codec string, _ bool) (sender, error) {
	return kafkaGoSender{&kafka.Writer{
		Addr: kafka.TCP(seeds()...), Topic: topic, Balancer: toItsPartition{}, RequiredAcks: kafka.RequireAll,
		Compression: kafkaGoCodecs[codec], BatchTimeout: 5 * time.Millisecond, BatchBytes: 4_000_000,
		MaxAttempts: 1000, WriteBackoffMax: 200 * time.Millisecond, Async: true,
		// A leader that has moved is looked for soon.
		Transport: &kafka.Transport{MetadataTTL: time.Second, DialTimeout: 3 * time.Second},
		Completion: func(messages []kafka.Message, err error) {
			for _, message := range messages {
				sent := message.WriterData.(kafkaGoSent)
				sent.record.offset = message.Offset
				sent.done(err)
			}
		},
	}}, nil
}

func (s kafkaGoSender) send(r *record, done func(error)) {
	message := kafka.Message{Key: r.key, Value: r.value, Time: time.UnixMilli(r.timestampMs), WriterData: kafkaGoSent{r, done}}
	for _, h := range r.headers {
		message.Headers = append(message.Headers, kafka.Header{Key: h.key, Value: h.value})
	}
	ctx, cancel := context.WithTimeout(context.Background(), deliveryMax)
	defer cancel()
	for {
		// The library asks for the partitions here, and does not try that again.
		err := s.writer.WriteMessages(ctx, message)
		if err == nil {
			return
		}
		if ctx.Err() != nil || !isTransient(err) {
			done(err)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// isTransient says whether the library refused a record for a reason that passes; it has not been sent then.
func isTransient(err error) bool {
	_, isTooLarge := err.(kafka.MessageTooLargeError)
	return !isTooLarge
}

func (s kafkaGoSender) close() error { return s.writer.Close() }

type kafkaGoReceiver struct {
	inbox
	topic   string
	readers []*kafka.Reader
}

func (l kafkaGo) newReceiver(topic string, partitions []int32, offset int64) (receiver, error) {
	return l.newReceiverOf(topic, partitions, offset, 0)
}

func (kafkaGo) isInvalidRecord(err error) bool { return errors.Is(err, kafka.Error(87)) }

func (l kafkaGo) newReceiverOf(topic string, partitions []int32, offset int64, bytes int) (receiver, error) {
	if bytes == 0 {
		bytes = 10_000_000
	}
	r := &kafkaGoReceiver{newInbox(), topic, nil}
	for _, partition := range partitions {
		reader := kafka.NewReader(kafka.ReaderConfig{
			Brokers: seeds(), Topic: topic, Partition: int(partition), MinBytes: 1, MaxBytes: bytes,
			MaxWait: 50 * time.Millisecond, ReadBackoffMax: 500 * time.Millisecond, MaxAttempts: 1000,
			Dialer: &kafka.Dialer{Timeout: 3 * time.Second},
		})
		if err := reader.SetOffset(offset); err != nil {
			return nil, err
		}
		r.readers = append(r.readers, reader)
		go r.read(reader)
	}
	return r, nil
}

func (r *kafkaGoReceiver) read(reader *kafka.Reader) {
	for {
		message, err := reader.ReadMessage(context.Background())
		// The library tells what it does not get over at once, and goes on when it is asked again.
		if code := kafka.Error(0); errors.As(err, &code) && code.Temporary() {
			continue
		}
		if err != nil {
			r.fail(err)
			return
		}
		read := &record{int32(message.Partition), message.Key, message.Value, nil, message.Time.UnixMilli(), message.Offset}
		for _, h := range message.Headers {
			read.headers = append(read.headers, header{h.Key, h.Value})
		}
		r.put(read)
	}
}

func (r *kafkaGoReceiver) end(partition int32) (int64, error) {
	return again(func() (int64, error) {
		var last error
		for _, seed := range seeds() {
			conn, err := kafka.DialLeader(context.Background(), "tcp", seed, r.topic, int(partition))
			if err != nil {
				last = err
				continue
			}
			defer conn.Close()
			return conn.ReadLastOffset()
		}
		return 0, last
	})
}

func (r *kafkaGoReceiver) close() {
	close(r.done)
	for _, reader := range r.readers {
		reader.Close()
	}
}
