package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a group's member, and one who watches the group, do while nodes go away.

// runMembers lets members "LIBRARY:GROUP:OUT" read until the file STOP is there.
func runMembers(topic, stop string, members []string) error {
	var running sync.WaitGroup
	problems := make([]error, len(members))
	for i, each := range members {
		words := strings.Split(each, ":")
		at := slices.IndexFunc(groupLibraries(), func(l groupLibrary) bool { return l.name() == words[0] })
		if at < 0 || len(words) != 3 {
			return fmt.Errorf("%s is no LIBRARY:GROUP:OUT", each)
		}
		running.Go(func() { problems[i] = runMember(groupLibraries()[at], words[1], topic, words[2], stop) })
	}
	running.Wait()
	return errors.Join(problems...)
}

// runMember reads: a line of the file for each record, "PARTITION OFFSET VALUE". It commits behind each poll; what is refused meanwhile
// is read again by whoever gets the partition.
func runMember(l groupLibrary, group, topic, out, stop string) error {
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer file.Close()
	m, err := l.newMember(group, topic)
	if err != nil {
		return err
	}
	for !exists(stop) {
		// Errors are those of nodes that are away.
		records, err := m.poll(100 * time.Millisecond)
		if err != nil {
			fmt.Fprintln(os.Stderr, group, err)
		}
		for _, r := range records {
			fmt.Fprintln(file, r.partition, r.offset, string(r.value))
		}
		if len(records) == 0 {
			continue
		}
		if err := m.commit(); err != nil {
			fmt.Fprintln(os.Stderr, group, err)
		}
	}
	m.commit()
	return m.close()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// watchGroups watches them all, and says what it was told of all of them together.
func watchGroups(stop string, groups []string) error {
	var running sync.WaitGroup
	problems := make([]error, len(groups))
	watches := make([]watch, len(groups))
	for i, group := range groups {
		running.Go(func() {
			if err := watches[i].committed(group, stop, time.Duration(len(groups))*20*time.Millisecond); err != nil {
				problems[i] = fmt.Errorf("%s: %w", group, err)
			}
		})
	}
	running.Wait()
	var all watch
	for _, each := range watches {
		all.answers, all.refusals, all.longest = all.answers+each.answers, all.refusals+each.refusals, max(all.longest, each.longest)
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	_, err := fmt.Printf("told %d times, not told %d times, the longest without an answer %d ms\n", all.answers, all.refusals, all.longest.Milliseconds())
	return err
}

// watch is how often a group's committed offsets were told.
type watch struct {
	answers, refusals int
	longest           time.Duration
}

// committed asks every node, until the file STOP is there, what a group has committed: whichever takes it upon itself to answer, no
// offset goes back or away.
func (w *watch) committed(group, stop string, pause time.Duration) error {
	type place struct {
		topic     kadm.TopicID
		partition int32
	}
	highest := map[place]int64{}
	last := time.Now()
	client := newClient()
	defer client.Close()
	for !exists(stop) {
		for _, node := range []int{1, 2, 3} {
			offsets, err := committedAt(client.Broker(node), group)
			if err != nil {
				w.refusals++
				continue
			}
			w.answers++
			w.longest, last = max(w.longest, time.Since(last)), time.Now()
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
		time.Sleep(pause)
	}
	return nil
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
