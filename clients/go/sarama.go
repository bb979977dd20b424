package main

import (
	"errors"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// saramaLibrary is sarama.
type saramaLibrary struct{}

func (saramaLibrary) name() string     { return "sarama" }
func (saramaLibrary) idempotent() bool { return true }

func (saramaLibrary) config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Metadata.Retry.Max = 100
	config.Metadata.Retry.Backoff = 100 * time.Millisecond
	config.Net.DialTimeout = 3 * time.Second
	return config
}

func (l saramaLibrary) create(topic string, partitions, replicas int, configs map[string]string) error {
	admin, err := sarama.NewClusterAdmin(seeds(), l.config())
	if err != nil {
		return err
	}
	defer admin.Close()
	detail := &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: int16(replicas), ConfigEntries: map[string]*string{}}
	for key, value := range configs {
		detail.ConfigEntries[key] = &value
	}
	return admin.CreateTopic(topic, detail, false)
}

func (l saramaLibrary) partitions(topic string) (int, error) {
	client, err := sarama.NewClient(seeds(), l.config())
	if err != nil {
		return 0, err
	}
	defer client.Close()
	numbers, err := client.WritablePartitions(topic)
	return len(numbers), err
}

var saramaCodecs = map[string]sarama.CompressionCodec{
	"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
	"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

type saramaSender struct {
	topic    string
	producer sarama.AsyncProducer
	readers  sync.WaitGroup
}

func (l saramaLibrary) newSender(topic, codec string, idempotent bool) (sender, error) {
	config := l.config()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Compression = saramaCodecs[codec]
	config.Producer.Idempotent = idempotent
	// One request at a time: for idempotence the library asks for it, without it a retry could overtake what follows it.
	config.Net.MaxOpenRequests = 1
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Return.Successes = true
	config.Producer.MaxMessageBytes = 4_000_000
	config.Producer.Flush.Frequency = 5 * time.Millisecond
	config.Producer.Retry.Max = 1000
	config.Producer.Retry.Backoff = 100 * time.Millisecond
	producer, err := sarama.NewAsyncProducer(seeds(), config)
	if err != nil {
		return nil, err
	}
	s := &saramaSender{topic: topic, producer: producer}
	s.readers.Add(2)
	go func() {
		defer s.readers.Done()
		for message := range producer.Successes() {
			sent := message.Metadata.(saramaSent)
			sent.record.offset = message.Offset
			sent.done(nil)
		}
	}()
	go func() {
		defer s.readers.Done()
		for failure := range producer.Errors() {
			failure.Msg.Metadata.(saramaSent).done(failure.Err)
		}
	}()
	return s, nil
}

type saramaSent struct {
	record *record
	done   func(error)
}

func (s *saramaSender) send(r *record, done func(error)) {
	message := &sarama.ProducerMessage{
		Topic: s.topic, Partition: r.partition, Timestamp: time.UnixMilli(r.timestampMs), Metadata: saramaSent{r, done},
	}
	if r.key != nil {
		message.Key = sarama.ByteEncoder(r.key)
	}
	if r.value != nil {
		message.Value = sarama.ByteEncoder(r.value)
	}
	for _, h := range r.headers {
		message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(h.key), Value: h.value})
	}
	s.producer.Input() <- message
}

func (s *saramaSender) close() error {
	s.producer.AsyncClose()
	s.readers.Wait()
	return nil
}

type saramaReceiver struct {
	inbox
	topic    string
	client   sarama.Client
	consumer sarama.Consumer
	readers  []sarama.PartitionConsumer
}

func (l saramaLibrary) newReceiver(topic string, partitions []int32, offset int64) (receiver, error) {
	return l.newReceiverOf(topic, partitions, offset, 0)
}

func (saramaLibrary) isInvalidRecord(err error) bool { return errors.Is(err, sarama.ErrInvalidRecord) }

func (l saramaLibrary) newReceiverOf(topic string, partitions []int32, offset int64, bytes int) (receiver, error) {
	config := l.config()
	config.Consumer.MaxWaitTime = 50 * time.Millisecond
	config.Consumer.Retry.Backoff = 100 * time.Millisecond
	if bytes > 0 {
		config.Consumer.Fetch.Default = int32(bytes)
	}
	client, err := sarama.NewClient(seeds(), config)
	if err != nil {
		return nil, err
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return nil, err
	}
	r := &saramaReceiver{newInbox(), topic, client, consumer, nil}
	for _, partition := range partitions {
		reader, err := again(func() (sarama.PartitionConsumer, error) { return consumer.ConsumePartition(topic, partition, offset) })
		if err != nil {
			return nil, err
		}
		r.readers = append(r.readers, reader)
		go r.read(reader)
	}
	return r, nil
}

func (r *saramaReceiver) read(reader sarama.PartitionConsumer) {
	for message := range reader.Messages() {
		read := &record{message.Partition, message.Key, message.Value, nil, message.Timestamp.UnixMilli(), message.Offset}
		for _, h := range message.Headers {
			read.headers = append(read.headers, header{string(h.Key), h.Value})
		}
		r.put(read)
	}
	r.fail(errors.New("sarama has given up a partition"))
}

func (r *saramaReceiver) end(partition int32) (int64, error) {
	return again(func() (int64, error) {
		end, err := r.client.GetOffset(r.topic, partition, sarama.OffsetNewest)
		if err != nil {
			r.client.RefreshMetadata(r.topic)
		}
		return end, err
	})
}

func (r *saramaReceiver) close() {
	close(r.done)
	for _, reader := range r.readers {
		reader.AsyncClose()
	}
	r.consumer.Close()
	r.client.Close()
}
