package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	groupPartitions = 4
	groupSeconds    = 20 * time.Second
	// What a member that reads too much would have read by then.
	groupQuiet = 150 * time.Millisecond
)

// member is a consumer of one topic in a group, which reads on from what was committed, and else from the start.
type member interface {
	poll(timeout time.Duration) ([]*record, error)
	// commit keeps where it is behind all that poll has handed out.
	commit() error
	// close leaves the group.
	close() error
}

// groupLibrary is a library with groups, and with questions about them.
type groupLibrary interface {
	library
	newMember(group, topic string) (member, error)
	// committed says the offset of each partition, -1 without one.
	committed(group, topic string) ([]int64, error)
	// described says what state a group is in, and how many members it has.
	described(group string) (state string, members int, err error)
	listed() ([]string, error)
	deleteOffset(group, topic string, partition int32) error
	deleteGroup(group string) error
}

// groupLibraries is franz-go once for each protocol, and the others.
func groupLibraries() []groupLibrary {
	return []groupLibrary{franz{}, franzConsumer{}, saramaLibrary{}, kafkaGo{}}
}

func runGroups() {
	var running sync.WaitGroup
	for _, l := range groupLibraries() {
		running.Go(func() {
			report(l.name()+": groups: commit, close, go on where it was", goesOn(l))
			report(l.name()+": groups: two share, one leaves, the other takes all", twoShare(l))
			report(l.name()+": groups: list, describe, delete offsets, delete", groupAdmin(l))
		})
	}
	for _, l := range []franzGroups{franz{}, franzConsumer{}} {
		running.Go(func() { report(l.name()+": groups: alter offsets, and what is refused", alterOffsets(l)) })
		running.Go(func() { report(l.name()+": groups: a chosen offset is committed, with metadata", chosenOffset(l)) })
	}
	running.Go(func() {
		report("franz-go: groups: cooperative-sticky moves no more than it has to",
			movesLittle(franz{}, kgo.Balancers(kgo.CooperativeStickyBalancer())))
	})
	running.Go(func() {
		report("franz-go-consumer: groups: uniform moves no more than it has to",
			movesLittle(franzConsumer{}, kgo.Balancers(kgo.StickyBalancer())))
	})
	running.Go(func() { report("franz-go: groups: a static member comes back without a rebalance", staticMember()) })
	running.Go(func() {
		report("franz-go: groups: a static member is fenced by a second of its name", secondOfTheName(franz{}))
	})
	running.Go(func() {
		report("franz-go-consumer: groups: a static member is not driven out by a second of its name", secondOfTheName(franzConsumer{}))
	})
	running.Go(func() {
		report("franz-go-consumer: groups: an expression takes topics that come later", expression())
	})
	running.Wait()
}

// sendNumbers writes so many records to each partition, numbered on from `first`.
func sendNumbers(topic string, first, count int) error {
	s, err := franz{}.newSender(topic, "none", true)
	if err != nil {
		return err
	}
	var records []*record
	for partition := range groupPartitions {
		for number := first; number < first+count; number++ {
			value := fmt.Appendf(nil, "%d/%d", partition, number)
			records = append(records, &record{int32(partition), nil, value, nil, time.Now().UnixMilli(), -1})
		}
	}
	return errors.Join(writeAll(s, records), s.close())
}

// readNumbers lets the members read until all partitions have come from `first` on, in order, once; which partitions each read.
func readNumbers(members []member, first, count int) ([][]int32, error) {
	next := map[int32]int{}
	for partition := range groupPartitions {
		next[int32(partition)] = first
	}
	from := make([]map[int32]bool, len(members))
	var quiet time.Time
	deadline := time.Now().Add(groupSeconds)
	for read := 0; ; {
		for i, m := range members {
			if from[i] == nil {
				from[i] = map[int32]bool{}
			}
			records, err := m.poll(20 * time.Millisecond)
			if err != nil {
				return nil, err
			}
			for _, r := range records {
				want := fmt.Sprintf("%d/%d", r.partition, next[r.partition])
				if string(r.value) != want || r.offset != int64(next[r.partition]) {
					return nil, fmt.Errorf("member %d read %s at %d of partition %d, want %s", i, r.value, r.offset, r.partition, want)
				}
				from[i][r.partition] = true
				next[r.partition]++
				read++
			}
		}
		switch all := count * groupPartitions; {
		case read > all:
			return nil, fmt.Errorf("%d records, want %d", read, all)
		case read == all && quiet.IsZero():
			quiet = time.Now().Add(groupQuiet)
		case read == all && time.Now().After(quiet):
			var sorted [][]int32
			for _, partitions := range from {
				sorted = append(sorted, slices.Sorted(maps.Keys(partitions)))
			}
			return sorted, nil
		case time.Now().After(deadline):
			return nil, fmt.Errorf("%d records of %d in %s", read, all, groupSeconds)
		}
	}
}

// groupTopic is a new topic and a group of the same name.
func groupTopic(l library, name string) (string, error) {
	topic := fmt.Sprintf("%s-%s-%s", run, l.name(), name)
	return topic, l.create(topic, groupPartitions, 1, nil)
}

// otherAdmin is another library than this, which sees what this one did.
func otherAdmin(l library) groupLibrary {
	if _, isFranz := l.(franzGroups); isFranz {
		return saramaLibrary{}
	}
	return franz{}
}

// expectCommitted asks the library, and another one.
func expectCommitted(l groupLibrary, group, topic string, want []int64) error {
	for _, asked := range []groupLibrary{l, otherAdmin(l)} {
		if got, err := asked.committed(group, topic); err != nil || !slices.Equal(got, want) {
			return fmt.Errorf("committed, as %s is told: %v, want %v: %v", asked.name(), got, want, err)
		}
	}
	return nil
}

func allAt(offset int64) []int64 { return slices.Repeat([]int64{offset}, groupPartitions) }

func goesOn(l groupLibrary) error {
	topic, err := groupTopic(l, "goes-on")
	if err != nil {
		return err
	}
	for round := range 3 {
		if err := sendNumbers(topic, round*25, 25); err != nil {
			return err
		}
		m, err := l.newMember(topic, topic)
		if err != nil {
			return err
		}
		if _, err := readNumbers([]member{m}, round*25, 25); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		if err := errors.Join(m.commit(), m.close()); err != nil {
			return err
		}
		if err := expectCommitted(l, topic, topic, allAt(int64(round+1)*25)); err != nil {
			return err
		}
	}
	return nil
}

// awaitMembers waits until a group is stable and its members have so many partitions, as franz-go is told; the members are polled
// meanwhile.
func awaitMembers(group string, members []member, want ...int) error {
	deadline := time.Now().Add(groupSeconds)
	for {
		for _, m := range members {
			if records, err := m.poll(10 * time.Millisecond); err != nil || len(records) > 0 {
				return fmt.Errorf("%d records during a rebalance: %v", len(records), err)
			}
		}
		got, err := describe(group)
		if err == nil && got.state == "Stable" && slices.Equal(got.shares, want) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s the group is %s with %v partitions, want %v: %v", groupSeconds, got.state, got.shares, want, err)
		}
	}
}

func twoShare(l groupLibrary) error {
	topic, err := groupTopic(l, "share")
	if err != nil {
		return err
	}
	first, err := l.newMember(topic, topic)
	if err != nil {
		return err
	}
	if err := awaitMembers(topic, []member{first}, groupPartitions); err != nil {
		return err
	}
	second, err := l.newMember(topic, topic)
	if err != nil {
		return err
	}
	both := []member{first, second}
	if err := awaitMembers(topic, both, 2, 2); err != nil {
		return err
	}
	if err := sendNumbers(topic, 0, 10); err != nil {
		return err
	}
	from, err := readNumbers(both, 0, 10)
	if err != nil {
		return err
	}
	if len(from[0]) != 2 || len(from[1]) != 2 {
		return fmt.Errorf("the members read partitions %v", from)
	}
	if err := errors.Join(first.commit(), second.commit(), second.close()); err != nil {
		return err
	}
	if err := awaitMembers(topic, both[:1], groupPartitions); err != nil {
		return fmt.Errorf("after one has left: %w", err)
	}
	if err := sendNumbers(topic, 10, 10); err != nil {
		return err
	}
	if _, err := readNumbers(both[:1], 10, 10); err != nil {
		return fmt.Errorf("after one has left: %w", err)
	}
	if err := errors.Join(first.commit(), first.close()); err != nil {
		return err
	}
	return expectCommitted(l, topic, topic, allAt(20))
}

func groupAdmin(l groupLibrary) error {
	topic, err := groupTopic(l, "admin")
	if err != nil {
		return err
	}
	if err := sendNumbers(topic, 0, 5); err != nil {
		return err
	}
	m, err := l.newMember(topic, topic)
	if err != nil {
		return err
	}
	if _, err := readNumbers([]member{m}, 0, 5); err != nil {
		return err
	}
	if err := m.commit(); err != nil {
		return err
	}
	if state, members, err := l.described(topic); err != nil || state != "Stable" || members != 1 {
		return fmt.Errorf("a group of one is %s and has %d members: %v", state, members, err)
	}
	if err := l.deleteGroup(topic); err == nil || !strings.Contains(strings.ToLower(err.Error()), "not empty") {
		return fmt.Errorf("deleting a group that has a member: %v", err)
	}
	if err := m.close(); err != nil {
		return err
	}
	if state, members, err := l.described(topic); err != nil || state != "Empty" || members != 0 {
		return fmt.Errorf("a group without members is %s and has %d: %v", state, members, err)
	}
	if groups, err := l.listed(); err != nil || !slices.Contains(groups, topic) {
		return fmt.Errorf("listed are %v: %v", groups, err)
	}
	if err := l.deleteOffset(topic, topic, 1); err != nil {
		return err
	}
	if err := expectCommitted(l, topic, topic, []int64{5, -1, 5, 5}); err != nil {
		return err
	}
	if err := l.deleteGroup(topic); err != nil {
		return err
	}
	if groups, err := l.listed(); err != nil || slices.Contains(groups, topic) {
		return fmt.Errorf("listed after its deletion: %v: %v", groups, err)
	}
	return expectCommitted(l, topic, topic, allAt(-1))
}

// alterOffsets is what kadm can ask besides.
func alterOffsets(l franzGroups) error {
	topic, err := groupTopic(l, "alter")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), groupSeconds)
	defer cancel()
	admin := kadm.NewClient(newClient())
	defer admin.Close()
	if err := sendNumbers(topic, 0, 10); err != nil {
		return err
	}
	var offsets kadm.Offsets
	for partition := range groupPartitions {
		offsets.AddOffset(topic, int32(partition), 4, -1)
	}
	if err := admin.CommitAllOffsets(ctx, topic, offsets); err != nil {
		return err
	}
	m, err := l.newMember(topic, topic)
	if err != nil {
		return err
	}
	if _, err := readNumbers([]member{m}, 4, 6); err != nil {
		return err
	}
	err = admin.CommitAllOffsets(ctx, topic, offsets)
	if err := expectError("offsets of a group with members", err, kerr.UnknownMemberID); err != nil {
		return err
	}
	var set kadm.TopicsSet
	set.Add(topic, 0)
	deleted, err := admin.DeleteOffsets(ctx, topic, set)
	if err == nil {
		err = deleted.Error()
	}
	if err := expectError("deleting offsets of a topic that is read", err, kerr.GroupSubscribedToTopic); err != nil {
		return err
	}
	if err := m.close(); err != nil {
		return err
	}
	// kadm asks about groups of the classic protocol for this.
	if _, isConsumer := l.(franzConsumer); !isConsumer {
		lags, err := admin.Lag(ctx, topic)
		if err != nil || lags.Error() != nil {
			return errors.Join(err, lags.Error())
		}
		if lag := lags[topic].Lag.Total(); lag != 6*groupPartitions {
			return fmt.Errorf("the group is %d records behind", lag)
		}
	}
	missing, err := admin.DeleteGroup(ctx, topic+"-missing")
	if err == nil {
		err = missing.Err
	}
	if err := expectError("deleting a group that is not there", err, kerr.GroupIDNotFound); err != nil {
		return err
	}
	var away kadm.Offsets
	away.AddOffset(topic, groupPartitions, 1, -1)
	err = admin.CommitAllOffsets(ctx, topic, away)
	return expectError("an offset of a partition that is not there", err, kerr.UnknownTopicOrPartition)
}

func chosenOffset(l franzGroups) error {
	topic, err := groupTopic(l, "chosen")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), groupSeconds)
	defer cancel()
	if err := sendNumbers(topic, 0, 10); err != nil {
		return err
	}
	m, err := l.newMember(topic, topic)
	if err != nil {
		return err
	}
	if _, err := readNumbers([]member{m}, 0, 10); err != nil {
		return err
	}
	admin := kadm.NewClient(newClient())
	defer admin.Close()
	var chosen []*kgo.Record
	for partition := range groupPartitions {
		chosen = append(chosen, &kgo.Record{Topic: topic, Partition: int32(partition), Offset: 6, LeaderEpoch: 0})
	}
	tell := kgo.PreCommitFnContext(ctx, tellWhy)
	if err := m.(*franzMember).client.CommitRecords(tell, chosen...); err != nil {
		return err
	}
	if err := m.close(); err != nil {
		return err
	}
	fetched, err := admin.FetchOffsets(ctx, topic)
	if err != nil {
		return err
	}
	for _, each := range fetched.Sorted() {
		if each.Err != nil || each.At != 7 || each.Metadata != "why: ключ" || each.LeaderEpoch != 0 {
			return fmt.Errorf("committed is %+v", each)
		}
	}
	if again, err := l.newMember(topic, topic); err != nil {
		return err
	} else if _, err := readNumbers([]member{again}, 7, 3); err != nil {
		return err
	} else {
		return again.close()
	}
}

// movesLittle: of two members each keeps what it has, and hands over no more than the other one lacks.
func movesLittle(l franzGroups, balancer kgo.Opt) error {
	topic, err := groupTopic(l, "cooperative")
	if err != nil {
		return err
	}
	first, err := l.join(topic, topic, balancer)
	if err != nil {
		return err
	}
	if err := awaitMembers(topic, []member{first}, groupPartitions); err != nil {
		return err
	}
	second, err := l.join(topic, topic, balancer)
	if err != nil {
		return err
	}
	if err := awaitMembers(topic, []member{first, second}, 2, 2); err != nil {
		return err
	}
	if err := sendNumbers(topic, 0, 5); err != nil {
		return err
	}
	if _, err := readNumbers([]member{first, second}, 0, 5); err != nil {
		return err
	}
	if revoked := first.revoked.Load(); revoked != 2 {
		return fmt.Errorf("%d partitions were taken from the first member", revoked)
	}
	if err := errors.Join(first.commit(), first.close()); err != nil {
		return err
	}
	if err := awaitMembers(topic, []member{second}, groupPartitions); err != nil {
		return err
	}
	if revoked := second.revoked.Load(); revoked != 0 {
		return fmt.Errorf("%d partitions were taken from the second member", revoked)
	}
	return second.close()
}

// staticMember: one that was away comes back, and nobody is called together for it.
func staticMember() error {
	l := franz{}
	topic, err := groupTopic(l, "static")
	if err != nil {
		return err
	}
	var generation int32
	for restart := range 3 {
		if err := sendNumbers(topic, restart*5, 5); err != nil {
			return err
		}
		m, err := l.join(topic, topic, kgo.InstanceID("one"))
		if err != nil {
			return err
		}
		if _, err := readNumbers([]member{m}, restart*5, 5); err != nil {
			return fmt.Errorf("restart %d: %w", restart, err)
		}
		_, now := m.client.GroupMetadata()
		if restart > 0 && now != generation {
			return fmt.Errorf("restart %d: generation %d, before it %d", restart, now, generation)
		}
		generation = now
		// A static member does not leave when it is closed.
		if err := errors.Join(m.commit(), m.close()); err != nil {
			return err
		}
	}
	return takeOut(topic)
}

// secondOfTheName: the classic protocol gives a static member's place to the one who comes, the consumer protocol leaves it with the
// one who is there. There is no coming back in the latter: the library leaves without the name of its place, which is refused.
func secondOfTheName(l franzGroups) error {
	topic, err := groupTopic(l, "second")
	if err != nil {
		return err
	}
	first, err := l.join(topic, topic, kgo.InstanceID("one"))
	if err != nil {
		return err
	}
	if err := awaitMembers(topic, []member{first}, groupPartitions); err != nil {
		return err
	}
	second, err := l.join(topic, topic, kgo.InstanceID("one"))
	if err != nil {
		return err
	}
	loses, stays, want := first, second, kerr.FencedInstanceID
	if _, isConsumer := l.(franzConsumer); isConsumer {
		loses, stays, want = second, first, kerr.UnreleasedInstanceID
	}
	deadline := time.Now().Add(groupSeconds)
	for {
		_, err := loses.poll(50 * time.Millisecond)
		if errors.Is(err, want) {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("of two with one name none is told %v: %v", want, err)
		}
	}
	loses.client.Close()
	if err := sendNumbers(topic, 0, 5); err != nil {
		return err
	}
	if _, err := readNumbers([]member{stays}, 0, 5); err != nil {
		return err
	}
	if err := takeOut(topic); err != nil {
		return err
	}
	return stays.close()
}

// takeOut removes the static member of a group, as an operator does.
func takeOut(group string) error {
	_, err := franzAdmin(func(ctx context.Context, admin *kadm.Client) (int, error) {
		left, err := admin.LeaveGroup(ctx, kadm.LeaveGroup(group).InstanceIDs("one").Reason("the case is over"))
		if err != nil {
			return 0, err
		}
		return 0, left.Error()
	})
	return err
}

// expression: the coordinator finds the topics; one that is created later is found as well.
func expression() error {
	l := franzConsumer{}
	topic, err := groupTopic(l, "expression-1")
	if err != nil {
		return err
	}
	m, err := l.join(topic, fmt.Sprintf("^%s-%s-expression-[0-9]$", run, l.name()), kgo.ConsumeRegex(),
		// It joins once it knows of a topic itself.
		kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(time.Second))
	if err != nil {
		return err
	}
	if err := awaitMembers(topic, []member{m}, groupPartitions); err != nil {
		return err
	}
	later, err := groupTopic(l, "expression-2")
	if err != nil {
		return err
	}
	if err := awaitMembers(topic, []member{m}, 2*groupPartitions); err != nil {
		return err
	}
	if err := sendNumbers(later, 0, 5); err != nil {
		return err
	}
	_, err = readNumbers([]member{m}, 0, 5)
	return errors.Join(err, m.close())
}

// printCommitted says a group's offset of each partition of a topic, for the other suites; "-" where there is none.
func printCommitted(group, topic string) {
	offsets, err := franzAdmin(func(ctx context.Context, admin *kadm.Client) (kadm.OffsetResponses, error) {
		return admin.FetchOffsetsForTopics(ctx, group, topic)
	})
	var words []string
	for _, each := range offsets.Sorted() {
		switch {
		case each.Err != nil:
			words = append(words, each.Err.Error())
		case each.At < 0:
			words = append(words, "-")
		default:
			words = append(words, fmt.Sprint(each.At))
		}
	}
	if err != nil {
		words = []string{err.Error()}
	}
	fmt.Println(strings.Join(words, " "))
}

// printGroup says a group's state and how many partitions each member has, for the other suites.
func printGroup(group string) {
	said, err := describe(group)
	if err != nil {
		fmt.Println(err)
		return
	}
	slices.Sort(said.shares)
	words := []string{said.state}
	for _, share := range said.shares {
		words = append(words, fmt.Sprint(share))
	}
	fmt.Println(strings.Join(words, " "))
}
