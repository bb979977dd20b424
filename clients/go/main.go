// Seedlog's suite for clients in Go, franz-go, sarama and kafka-go: what each does against a broker, case by case.
//
//	go run . cases   every case that needs a running broker only
//	go run . groups  those of them that are about groups
//	go run . crash   producers across SIGKILL: $CRASH_HOOK kills the broker and starts it again
//	go run . wide TOPIC PARTITIONS   a topic with very many partitions, which exists
//	go run . history LIBRARY TOPIC HISTORY STOP   writes and reads until the file STOP is there; see history.go
//	go run . codecs TOPIC   which codecs the batches of a topic have, for the other suites
//	go run . compacted FOLDER [GROUP]...   prepares compacted topics for the other suites; see compacted.go
//	go run . read-compacted   those of the cases that are about compacted topics
//	go run . commit GROUP TOPIC OFFSET   gives a group without members its offset in partition 0
//	go run . committed GROUP TOPIC   what a group has committed in each partition of a topic, for the other suites
//	go run . coordinator GROUP   which node coordinates a group
//	go run . member TOPIC STOP LIBRARY:GROUP:OUT...   reads in groups until the file STOP is there; see group_work.go
//	go run . watch STOP GROUP...                      what they have committed meanwhile
//	go run . group GROUP   a group's state, and how many partitions each member has, for the other suites
//
// The broker is $BOOTSTRAP. Each case is one line: "pass NAME", "FAIL NAME: why". The exit code is 1 when a case failed.
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	bootstrap = os.Getenv("BOOTSTRAP")
	// Names of one run do not meet those of an earlier run against the same broker.
	run   = fmt.Sprintf("go-%x", time.Now().UnixNano()&0xffffffffff)
	suite = "go"
	// Cases of several libraries run at once.
	reporting sync.Mutex
	failed    = false
)

func main() {
	if bootstrap == "" || len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: BOOTSTRAP=host:port clients VERB ...")
		os.Exit(2)
	}
	switch os.Args[1] {
	case "cases":
		runCases()
		runOthers()
		runGroups()
		runCompacted()
	case "crash":
		runCrash()
	case "wide":
		runWide(os.Args[2], os.Args[3])
	case "coordinator":
		endWith(printCoordinator(os.Args[2]))
	case "member":
		endWith(runMembers(os.Args[2], os.Args[3], os.Args[4:]))
	case "watch":
		endWith(watchGroups(os.Args[2], os.Args[3:]))
	case "history":
		endWith(runHistory(os.Args[2], os.Args[3], os.Args[4], os.Args[5]))
	case "codecs":
		printCodecs(os.Args[2])
	case "groups":
		runGroups()
	case "read-compacted":
		runCompacted()
	case "compacted":
		endWith(printCompacted(os.Args[2], os.Args[3:]))
	case "commit":
		endWith(printCommit(os.Args[2], os.Args[3], os.Args[4]))
	case "committed":
		printCommitted(os.Args[2], os.Args[3])
	case "group":
		printGroup(os.Args[2])
	default:
		fmt.Fprintln(os.Stderr, "unknown verb", os.Args[1])
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

// endWith says what went wrong.
func endWith(err error) {
	if err != nil {
		fmt.Println(err)
		failed = true
	}
}

// report prints the line of one case. Notes are told with a pass.
func report(name string, err error, notes ...string) {
	reporting.Lock()
	defer reporting.Unlock()
	if err != nil {
		failed = true
		fmt.Printf("FAIL %s: %s: %s\n", suite, name, strings.ReplaceAll(err.Error(), "\n", " | "))
		return
	}
	if len(notes) > 0 {
		name += " (" + strings.Join(notes, "; ") + ")"
	}
	fmt.Printf("pass %s: %s\n", suite, name)
}

// seeds is the nodes' addresses.
func seeds() []string { return strings.Split(bootstrap, ",") }

// newClient connects with what every case wants; $KGO_DEBUG=1 logs everything that the client does.
func newClient(opts ...kgo.Opt) *kgo.Client {
	all := []kgo.Opt{
		kgo.SeedBrokers(seeds()...),
		kgo.RetryTimeout(20 * time.Second),
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}
	if os.Getenv("KGO_DEBUG") != "" {
		all = append(all, kgo.WithLogger(kgo.BasicLogger(os.Stderr, kgo.LogLevelDebug, nil)))
	}
	client, err := kgo.NewClient(append(all, opts...)...)
	if err != nil {
		panic(err)
	}
	return client
}

type codec struct {
	name   string
	number uint8
	option kgo.CompressionCodec
}

var codecs = []codec{
	{"none", 0, kgo.NoCompression()},
	{"gzip", 1, kgo.GzipCompression()},
	{"snappy", 2, kgo.SnappyCompression()},
	{"lz4", 3, kgo.Lz4Compression()},
	{"zstd", 4, kgo.ZstdCompression()},
}

// readUntil reads the given partitions from their starts until `want` records have come.
func readUntil(ctx context.Context, topic string, partitions int32, want int, opts ...kgo.Opt) ([]*kgo.Record, error) {
	from := map[int32]kgo.Offset{}
	for p := int32(0); p < partitions; p++ {
		from[p] = kgo.NewOffset().AtStart()
	}
	return readFrom(ctx, topic, from, want, opts...)
}

func readFrom(ctx context.Context, topic string, from map[int32]kgo.Offset, want int, opts ...kgo.Opt) ([]*kgo.Record, error) {
	client := newClient(append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))...)
	defer client.Close()
	var records []*kgo.Record
	for len(records) < want {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return records, fmt.Errorf("%d of %d records, then: %w", len(records), want, err)
		}
		for _, failure := range fetches.Errors() {
			return records, fmt.Errorf("%d of %d records, then: %w", len(records), want, failure.Err)
		}
		records = append(records, fetches.Records()...)
	}
	return records, nil
}

func printCodecs(topic string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	records, err := readUntil(ctx, topic, 1, 1)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	seen := map[string]bool{}
	for _, record := range records {
		seen[codecs[record.Attrs.CompressionType()].name] = true
	}
	var names []string
	for name := range seen {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Println(strings.Join(names, " "))
}
