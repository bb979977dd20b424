package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The three libraries in groups, and what they ask about groups.

const (
	sessionTimeout    = 6 * time.Second
	heartbeatInterval = 100 * time.Millisecond
)

// tellWhy puts a word beside each offset that is committed.
func tellWhy(request *kmsg.OffsetCommitRequest) error {
	why := "why: ключ"
	for i := range request.Topics {
		for j := range request.Topics[i].Partitions {
			request.Topics[i].Partitions[j].Metadata = &why
		}
	}
	return nil
}

type franzMember struct {
	client *kgo.Client
	// How many partitions were taken from it before it was closed.
	revoked *atomic.Int32
}

// franzConsumer is franz-go with members of the consumer protocol (KIP-848).
type franzConsumer struct{ franz }

func (franzConsumer) name() string { return "franz-go-consumer" }

// franzGroups is either of both.
type franzGroups interface {
	groupLibrary
	// join is a member with settings of its own.
	join(group, topic string, more ...kgo.Opt) (*franzMember, error)
}

func (l franz) newMember(group, topic string) (member, error)         { return l.join(group, topic) }
func (l franzConsumer) newMember(group, topic string) (member, error) { return l.join(group, topic) }

func (l franzConsumer) join(group, topic string, more ...kgo.Opt) (*franzMember, error) {
	return l.franz.join(group, topic, append([]kgo.Opt{kgo.ServerSideBalancer()}, more...)...)
}

func (franz) join(group, topic string, more ...kgo.Opt) (*franzMember, error) {
	revoked := new(atomic.Int32)
	options := []kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.Balancers(kgo.RangeBalancer()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50 * time.Millisecond),
		kgo.SessionTimeout(sessionTimeout), kgo.HeartbeatInterval(heartbeatInterval),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, taken map[string][]int32) {
			revoked.Add(int32(len(taken[topic])))
		}),
	}
	return &franzMember{newClient(append(options, more...)...), revoked}, nil
}

func (m *franzMember) poll(timeout time.Duration) ([]*record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	fetches := m.client.PollFetches(ctx)
	for _, failure := range fetches.Errors() {
		if !errors.Is(failure.Err, context.DeadlineExceeded) {
			return nil, failure.Err
		}
	}
	var all []*record
	for _, found := range fetches.Records() {
		all = append(all, &record{found.Partition, found.Key, found.Value, nil, found.Timestamp.UnixMilli(), found.Offset})
	}
	return all, nil
}

func (m *franzMember) commit() error {
	ctx, cancel := context.WithTimeout(context.Background(), groupSeconds)
	defer cancel()
	return m.client.CommitUncommittedOffsets(ctx)
}

func (m *franzMember) close() error {
	m.client.Close()
	return nil
}

// franzAdmin asks once.
func franzAdmin[T any](ask func(context.Context, *kadm.Client) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(context.Background(), groupSeconds)
	defer cancel()
	admin := kadm.NewClient(newClient())
	defer admin.Close()
	return ask(ctx, admin)
}

func (franz) committed(group, topic string) ([]int64, error) {
	return franzAdmin(func(ctx context.Context, admin *kadm.Client) ([]int64, error) {
		fetched, err := admin.FetchOffsetsForTopics(ctx, group, topic)
		if err != nil {
			return nil, err
		}
		var offsets []int64
		for _, each := range fetched.Sorted() {
			offsets = append(offsets, each.At)
		}
		return offsets, fetched.Error()
	})
}

func (franz) described(group string) (string, int, error) {
	described, err := describe(group)
	return described.state, len(described.shares), err
}

// described is a group's state, and how many partitions each member has.
type described struct {
	state  string
	shares []int
}

// describe asks about a group, whichever protocol it is of.
func describe(group string) (described, error) {
	return franzAdmin(func(ctx context.Context, admin *kadm.Client) (described, error) {
		consumers, err := admin.DescribeConsumerGroups(ctx, group)
		if err != nil {
			return described{}, err
		}
		if of := consumers[group]; !errors.Is(of.Err, kerr.GroupIDNotFound) {
			said := described{state: of.State}
			for _, m := range of.Members {
				count := 0
				m.Assignment.Each(func(string, int32) { count++ })
				said.shares = append(said.shares, count)
			}
			return said, of.Err
		}
		classics, err := admin.DescribeGroups(ctx, group)
		if err != nil {
			return described{}, err
		}
		said := described{state: classics[group].State}
		for _, m := range classics[group].Members {
			assigned, _ := m.Assigned.AsConsumer()
			count := 0
			for _, topic := range assigned.Topics {
				count += len(topic.Partitions)
			}
			said.shares = append(said.shares, count)
		}
		return said, classics[group].Err
	})
}

func (franz) listed() ([]string, error) {
	listed, err := franzAdmin(func(ctx context.Context, admin *kadm.Client) (kadm.ListedGroups, error) { return admin.ListGroups(ctx) })
	return listed.Groups(), err
}

func (franz) deleteOffset(group, topic string, partition int32) error {
	_, err := franzAdmin(func(ctx context.Context, admin *kadm.Client) (int, error) {
		set := kadm.TopicsSet{}
		set.Add(topic, partition)
		deleted, err := admin.DeleteOffsets(ctx, group, set)
		return 0, errors.Join(err, deleted.Error())
	})
	return err
}

func (franz) deleteGroup(group string) error {
	_, err := franzAdmin(func(ctx context.Context, admin *kadm.Client) (int, error) {
		deleted, err := admin.DeleteGroup(ctx, group)
		return 0, errors.Join(err, deleted.Err)
	})
	return err
}

// saramaMember consumes in the background; what it has handed out is marked in its session.
type saramaMember struct {
	inbox
	topic   string
	group   sarama.ConsumerGroup
	stop    context.CancelFunc
	over    sync.WaitGroup
	mu      sync.Mutex
	session sarama.ConsumerGroupSession
}

func (l saramaLibrary) newMember(group, topic string) (member, error) {
	config := l.config()
	config.Consumer.MaxWaitTime = 50 * time.Millisecond
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Session.Timeout = sessionTimeout
	config.Consumer.Group.Heartbeat.Interval = heartbeatInterval
	config.Consumer.Group.Rebalance.Retry.Backoff = 100 * time.Millisecond
	joined, err := sarama.NewConsumerGroup(seeds(), group, config)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &saramaMember{inbox: newInbox(), topic: topic, group: joined, stop: stop}
	m.over.Go(func() {
		for ctx.Err() == nil {
			if err := joined.Consume(ctx, []string{topic}, m); err != nil && !errors.Is(err, sarama.ErrClosedConsumerGroup) {
				m.fail(err)
			}
		}
	})
	return m, nil
}

func (m *saramaMember) Setup(session sarama.ConsumerGroupSession) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session = session
	return nil
}

func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *saramaMember) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			m.put(&record{message.Partition, message.Key, message.Value, nil, message.Timestamp.UnixMilli(), message.Offset})
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *saramaMember) poll(timeout time.Duration) ([]*record, error) {
	records, err := m.inbox.poll(timeout)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		m.session.MarkOffset(m.topic, r.partition, r.offset+1, "")
	}
	return records, err
}

func (m *saramaMember) commit() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session.Commit()
	return nil
}

func (m *saramaMember) close() error {
	close(m.done)
	m.stop()
	m.over.Wait()
	return m.group.Close()
}

func saramaAdmin[T any](ask func(sarama.ClusterAdmin) (T, error)) (T, error) {
	admin, err := sarama.NewClusterAdmin(seeds(), saramaLibrary{}.config())
	if err != nil {
		var none T
		return none, err
	}
	defer admin.Close()
	return ask(admin)
}

func (saramaLibrary) committed(group, topic string) ([]int64, error) {
	return saramaAdmin(func(admin sarama.ClusterAdmin) ([]int64, error) {
		var wanted []int32
		for partition := range groupPartitions {
			wanted = append(wanted, int32(partition))
		}
		fetched, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: wanted})
		if err != nil {
			return nil, err
		}
		var offsets []int64
		for _, partition := range wanted {
			block := fetched.GetBlock(topic, partition)
			if block == nil || block.Err != sarama.ErrNoError {
				return nil, fmt.Errorf("partition %d: %+v", partition, block)
			}
			offsets = append(offsets, block.Offset)
		}
		return offsets, nil
	})
}

func (saramaLibrary) described(group string) (string, int, error) {
	described, err := saramaAdmin(func(admin sarama.ClusterAdmin) ([]*sarama.GroupDescription, error) {
		return admin.DescribeConsumerGroups([]string{group})
	})
	if err != nil || len(described) != 1 {
		return "", 0, fmt.Errorf("%d groups: %w", len(described), err)
	}
	if described[0].Err != sarama.ErrNoError {
		return "", 0, described[0].Err
	}
	return described[0].State, len(described[0].Members), nil
}

func (saramaLibrary) listed() ([]string, error) {
	return saramaAdmin(func(admin sarama.ClusterAdmin) ([]string, error) {
		var groups []string
		listed, err := admin.ListConsumerGroups()
		for group := range listed {
			groups = append(groups, group)
		}
		return groups, err
	})
}

func (saramaLibrary) deleteOffset(group, topic string, partition int32) error {
	_, err := saramaAdmin(func(admin sarama.ClusterAdmin) (int, error) {
		return 0, admin.DeleteConsumerGroupOffset(group, topic, partition)
	})
	return err
}

func (saramaLibrary) deleteGroup(group string) error {
	_, err := saramaAdmin(func(admin sarama.ClusterAdmin) (int, error) { return 0, admin.DeleteConsumerGroup(group) })
	return err
}

// kafkaGoMember is a reader in a group.
type kafkaGoMember struct {
	inbox
	topic  string
	reader *kafka.Reader
	// Where each partition is behind what was handed out.
	read map[int32]int64
}

func (l kafkaGo) newMember(group, topic string) (member, error) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: seeds(), GroupID: group, Topic: topic, MinBytes: 1, MaxBytes: 10_000_000, MaxWait: 50 * time.Millisecond,
		ReadBackoffMax: 500 * time.Millisecond, StartOffset: kafka.FirstOffset, SessionTimeout: sessionTimeout,
		HeartbeatInterval: heartbeatInterval, JoinGroupBackoff: 100 * time.Millisecond, Dialer: &kafka.Dialer{Timeout: 3 * time.Second},
	})
	m := &kafkaGoMember{newInbox(), topic, reader, map[int32]int64{}}
	go func() {
		for {
			message, err := reader.FetchMessage(context.Background())
			if err != nil {
				m.fail(err)
				return
			}
			m.put(&record{int32(message.Partition), message.Key, message.Value, nil, message.Time.UnixMilli(), message.Offset})
		}
	}()
	return m, nil
}

func (m *kafkaGoMember) poll(timeout time.Duration) ([]*record, error) {
	records, err := m.inbox.poll(timeout)
	for _, r := range records {
		m.read[r.partition] = r.offset
	}
	return records, err
}

func (m *kafkaGoMember) commit() error {
	var messages []kafka.Message
	for partition, offset := range m.read {
		messages = append(messages, kafka.Message{Topic: m.topic, Partition: int(partition), Offset: offset})
	}
	m.read = map[int32]int64{}
	return m.reader.CommitMessages(context.Background(), messages...)
}

func (m *kafkaGoMember) close() error {
	close(m.done)
	return m.reader.Close()
}

func kafkaGoAdmin() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(seeds()...), Timeout: groupSeconds}
}

func (kafkaGo) committed(group, topic string) ([]int64, error) {
	var wanted []int
	for partition := range groupPartitions {
		wanted = append(wanted, partition)
	}
	asked := &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: wanted}}
	fetched, err := kafkaGoAdmin().OffsetFetch(context.Background(), asked)
	if err != nil || fetched.Error != nil {
		return nil, errors.Join(err, fetched.Error)
	}
	partitions := fetched.Topics[topic]
	slices.SortFunc(partitions, func(a, b kafka.OffsetFetchPartition) int { return a.Partition - b.Partition })
	var offsets []int64
	for _, partition := range partitions {
		offsets = append(offsets, partition.CommittedOffset)
	}
	return offsets, nil
}

func (kafkaGo) described(group string) (string, int, error) {
	described, err := kafkaGoAdmin().DescribeGroups(context.Background(), &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err != nil || len(described.Groups) != 1 {
		return "", 0, fmt.Errorf("not one group: %w", err)
	}
	return described.Groups[0].GroupState, len(described.Groups[0].Members), described.Groups[0].Error
}

func (kafkaGo) listed() ([]string, error) {
	listed, err := kafkaGoAdmin().ListGroups(context.Background(), &kafka.ListGroupsRequest{})
	if err != nil {
		return nil, err
	}
	var groups []string
	for _, group := range listed.Groups {
		groups = append(groups, group.GroupID)
	}
	return groups, listed.Error
}

func (kafkaGo) deleteOffset(group, topic string, partition int32) error {
	asked := &kafka.OffsetDeleteRequest{GroupID: group, Topics: map[string][]int{topic: {int(partition)}}}
	deleted, err := kafkaGoAdmin().OffsetDelete(context.Background(), asked)
	if err != nil {
		return err
	}
	for _, each := range deleted.Topics[topic] {
		err = errors.Join(err, each.Error)
	}
	return errors.Join(deleted.Error, err)
}

func (kafkaGo) deleteGroup(group string) error {
	deleted, err := kafkaGoAdmin().DeleteGroups(context.Background(), &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return err
	}
	return deleted.Errors[group]
}
