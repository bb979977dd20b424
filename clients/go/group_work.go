package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a group's member, and one who watches the group, do while nodes go away.

// runMember reads until the file STOP is there: a line for each record, "PARTITION OFFSET VALUE". It commits behind each poll; what
// is refused meanwhile is read again by whoever gets the partition.
func runMember(group, topic, out, stop string) error {
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer file.Close()
	m, err := franz{}.newMember(group, topic)
	if err != nil {
		return err
	}
	for !exists(stop) {
		// Errors are those of nodes that are away.
		records, _ := m.poll(100 * time.Millisecond)
		for _, r := range records {
			fmt.Fprintln(file, r.partition, r.offset, string(r.value))
		}
		if len(records) > 0 {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			m.(*franzMember).client.CommitUncommittedOffsets(ctx)
			cancel()
		}
	}
	m.commit()
	return m.close()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// watchCommitted asks every node, until the file STOP is there, what a group has committed: whichever takes it upon itself to answer,
// no offset goes back or away.
func watchCommitted(group, stop string) error {
	type place struct {
		topic     kadm.TopicID
		partition int32
	}
	highest := map[place]int64{}
	answers, refusals := 0, 0
	longest, last := time.Duration(0), time.Now()
	client := newClient()
	defer client.Close()
	for !exists(stop) {
		for _, node := range []int{1, 2, 3} {
			offsets, err := committedAt(client.Broker(node), group)
			if err != nil {
				refusals++
				continue
			}
			answers++
			longest, last = max(longest, time.Since(last)), time.Now()
			got := map[place]int64{}
			for _, topic := range offsets {
				for _, each := range topic.Partitions {
					got[place{topic.TopicID, each.Partition}] = each.Offset
				}
			}
			for at, before := range highest {
				if now, ok := got[at]; !ok || now < before {
					return fmt.Errorf("partition %d: %d was committed, then node %d says %d (%v)", at.partition, before, node, now, ok)
				}
			}
			highest = got
		}
		time.Sleep(20 * time.Millisecond)
	}
	_, err := fmt.Printf("told %d times, not told %d times, the longest without an answer %d ms\n", answers, refusals, longest.Milliseconds())
	return err
}

// committedAt asks this node and no other.
func committedAt(node *kgo.Broker, group string) ([]kmsg.OffsetFetchResponseGroupTopic, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	asked := kmsg.NewOffsetFetchRequestGroup()
	asked.Group = group
	request := kmsg.NewPtrOffsetFetchRequest()
	request.Groups = append(request.Groups, asked)
	response, err := node.Request(ctx, request)
	if err != nil {
		return nil, err
	}
	found := response.(*kmsg.OffsetFetchResponse).Groups
	if len(found) != 1 {
		return nil, fmt.Errorf("%d groups", len(found))
	}
	return found[0].Topics, kerr.ErrorForCode(found[0].ErrorCode)
}

// printCoordinator says which node coordinates a group.
func printCoordinator(group string) error {
	coordinators, err := franzAdmin(func(ctx context.Context, admin *kadm.Client) (kadm.FindCoordinatorResponses, error) {
		return admin.FindGroupCoordinators(ctx, group), nil
	})
	if err == nil {
		err = coordinators.Error()
	}
	if err != nil {
		return err
	}
	nodes := slices.Collect(func(yield func(int32) bool) {
		coordinators.Each(func(each kadm.FindCoordinatorResponse) { yield(each.NodeID) })
	})
	_, err = fmt.Println(nodes[0])
	return err
}
