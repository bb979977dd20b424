// Runs the tests of franz-go's packages, as compiled by setup.sh, and judges them by not-yet.txt.
//
//	franz LIST NAME=BINARY=FOLDER...   the list; of each package its name, its tests and the folder that they are run in
//
// One line a test, as every suite has them: what is on the list is skipped with its reason, and has to end as the list says; everything
// else has to pass. What fails may hang or leave goroutines behind, so it runs in a process of its own, beside the others. What the list
// says to be a matter of luck is run again when it fails.
// KGO_* goes to the tests; FRANZ_SECONDS bounds them.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	// These are named here for go.mod: only their tests are used.
	_ "github.com/twmb/franz-go/pkg/kadm"
	_ "github.com/twmb/franz-go/pkg/kgo"
)

const (
	passes    = "passes"
	skips     = "skips"
	fails     = "fails"
	varies    = "varies"
	unreached = "is not reached"
	unended   = "does not end"
)

const (
	limitDefault = 220 * time.Second
	// What is known to fail may hang until then, so it is given little to do: the first time that it passes must not take longer.
	limitOfFailing   = 60 * time.Second
	recordsOfFailing = "500"
	// One in ten is much for what varies.
	timesOfVarying = 5
	linesOfOutput  = 12
	bytesOfLine    = 300
)

// entry is a line of the list.
type entry struct {
	outcome, reason string
	seen            bool
}

// verdict is how a test ended, with those of its parts that did not pass and what it printed.
type verdict struct {
	outcome string
	parts   int
	bad     []string
	output  []string
}

func (it *verdict) passed() bool { return it.outcome == passes && len(it.bad) == 0 }

type pkg struct{ name, binary, folder string }

var failed bool

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: franz LIST NAME=BINARY=FOLDER...")
		os.Exit(2)
	}
	listed, err := readList(os.Args[1])
	if err != nil {
		fail("the list is read", err.Error())
		os.Exit(1)
	}
	for _, arg := range os.Args[2:] {
		words := strings.SplitN(arg, "=", 3)
		if len(words) != 3 {
			fmt.Fprintln(os.Stderr, "franz: not NAME=BINARY=FOLDER: "+arg)
			os.Exit(2)
		}
		judge(pkg{words[0], words[1], words[2]}, listed)
	}
	for name, entry := range listed {
		if !entry.seen {
			fail(name, "it is on the list, and there is no such test")
		}
	}
	if failed {
		os.Exit(1)
	}
}

// readList reads lines of PACKAGE TEST OUTCOME REASON.
func readList(path string) (map[string]*entry, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	listed := make(map[string]*entry)
	for at, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		if len(words) < 4 || !slices.Contains([]string{skips, fails, varies}, words[2]) {
			return nil, fmt.Errorf("line %d is not PACKAGE TEST %s|%s|%s REASON: %s", at+1, skips, fails, varies, line)
		}
		listed[words[0]+" "+words[1]] = &entry{outcome: words[2], reason: strings.Join(words[3:], " ")}
	}
	return listed, nil
}

func judge(p pkg, listed map[string]*entry) {
	names, err := namesOf(p)
	if err != nil {
		fail(p.name+": the tests are listed", err.Error())
		for name, entry := range listed {
			entry.seen = entry.seen || strings.HasPrefix(name, p.name+" ")
		}
		return
	}
	var usual []string
	verdicts := make(map[string]*verdict)
	var guard sync.Mutex
	var all sync.WaitGroup
	start := func(names []string, limit time.Duration, records string, ended *error) {
		all.Go(func() {
			found, err := run(p, names, limit, records)
			guard.Lock()
			defer guard.Unlock()
			maps.Copy(verdicts, found)
			*ended = err
		})
	}
	for _, name := range names {
		if entry := listed[p.name+" "+name]; entry != nil && entry.outcome == fails {
			start([]string{name}, limitOfFailing, recordsOfFailing, new(error))
		} else {
			usual = append(usual, name)
		}
	}
	var ended error
	start(usual, limitOfUsual(), "", &ended)
	all.Wait()

	var left, varying []string
	for _, name := range names {
		entry, it := listed[p.name+" "+name], verdicts[name]
		if entry != nil {
			entry.seen = true
		}
		switch {
		case it.outcome == unreached:
			left = append(left, name)
		case entry == nil:
			report(p, name, it, "")
		case entry.outcome == varies:
			varying = append(varying, name)
		default:
			reportListed(p, name, it, entry)
		}
	}
	if len(left) > 0 {
		fail(p.name+": all tests are run", fmt.Sprintf("%d are not: %s; %v", len(left), last(left), ended))
	}
	explains := func(name string) bool { return slices.Contains([]string{fails, unended}, verdicts[name].outcome) }
	if len(left) == 0 && ended != nil && !slices.ContainsFunc(usual, explains) {
		fail(p.name+": the tests end in order", ended.Error())
	}
	// Last of all, because it may take its time.
	for _, name := range varying {
		reportVarying(p, name, verdicts[name], listed[p.name+" "+name])
	}
}

func namesOf(p pkg) ([]string, error) {
	var errors bytes.Buffer
	cmd := exec.Command(p.binary, "-test.list", "^(Test|Example|Fuzz)")
	cmd.Dir, cmd.Stderr = p.folder, &errors
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, last(strings.Split(errors.String(), "\n")))
	}
	names := strings.Fields(string(out))
	if len(names) == 0 {
		return nil, fmt.Errorf("%s has none", p.binary)
	}
	return names, nil
}

func limitOfUsual() time.Duration {
	if given, err := strconv.Atoi(os.Getenv("FRANZ_SECONDS")); err == nil && given > 0 {
		return time.Duration(given) * time.Second
	}
	return limitDefault
}

// run runs tests of a package and gives back how each ended.
func run(p pkg, names []string, limit time.Duration, records string) (map[string]*verdict, error) {
	verdicts := make(map[string]*verdict)
	quoted := make([]string, len(names))
	for at, name := range names {
		quoted[at] = regexp.QuoteMeta(name)
		verdicts[name] = &verdict{outcome: unreached}
	}
	// The tests end themselves, and say who was late; this is for those that cannot.
	ctx, cancel := context.WithTimeout(context.Background(), limit+10*time.Second)
	defer cancel()
	tests := exec.CommandContext(ctx, p.binary, "-test.v=test2json", "-test.timeout", limit.String(),
		"-test.run", "^("+strings.Join(quoted, "|")+")$")
	tests.Dir = p.folder
	if records != "" {
		tests.Env = append(os.Environ(), "KGO_TEST_RECORDS="+records)
	}
	converter := exec.Command("go", "tool", "test2json", "-t")
	converter.Stderr = os.Stderr
	into, err := converter.StdinPipe()
	if err != nil {
		return verdicts, err
	}
	from, err := converter.StdoutPipe()
	if err != nil {
		return verdicts, err
	}
	if err := converter.Start(); err != nil {
		return verdicts, err
	}
	tests.Stdout, tests.Stderr = into, into
	ended := make(chan error, 1)
	go func() {
		err := tests.Run()
		into.Close()
		ended <- err
	}()
	events := json.NewDecoder(from)
	var panicked panicking
	for {
		var it event
		if err := events.Decode(&it); err != nil {
			break
		}
		if !panicked.takes(it) {
			it.note(verdicts)
		}
	}
	err = <-ended
	if wait := converter.Wait(); err == nil {
		err = wait
	}
	if len(panicked.said) > 0 {
		err = fmt.Errorf("%w: %s", err, last(panicked.said))
	}
	return verdicts, err
}

// panicking is what a process says in the end that panics, the time being over for example; what the goroutines were at is left out.
type panicking struct {
	said []string
	done bool
}

// takes is true of what belongs to a panic, whatever test was running.
func (it *panicking) takes(event event) bool {
	if event.Action != "output" {
		return false
	}
	if len(it.said) == 0 && !strings.HasPrefix(event.Output, "panic: ") && !strings.HasPrefix(event.Output, "fatal error: ") {
		return false
	}
	it.done = it.done || strings.HasPrefix(event.Output, "goroutine ")
	if line := strings.TrimSpace(event.Output); line != "" && !it.done {
		it.said = append(it.said, line)
	}
	return true
}

// event is what test2json says.
type event struct{ Action, Test, Output string }

func (it event) note(verdicts map[string]*verdict) {
	name, part, isPart := strings.Cut(it.Test, "/")
	noted := verdicts[name]
	if noted == nil {
		return
	}
	outcome := map[string]string{
		"run": unended, "pause": unreached, "cont": unended, "pass": passes, "skip": skips, "fail": fails,
	}[it.Action]
	switch {
	case it.Action == "output":
		if line := strings.TrimSpace(it.Output); line != "" && !strings.HasPrefix(line, "=== ") {
			noted.output = append(noted.output, line)
		}
	case outcome == "":
	case !isPart:
		noted.outcome = outcome
	case it.Action == "run":
		noted.parts++
	case outcome == fails, outcome == skips:
		noted.bad = append(noted.bad, part+" "+outcome)
	}
}

// report tells how a test ended that has to pass, with all of its parts.
func report(p pkg, name string, it *verdict, remark string) {
	title := p.name + " " + name
	if it.passed() {
		if it.parts > 0 {
			title += fmt.Sprintf(" (%d parts)", it.parts)
		}
		fmt.Println("pass franz: " + title + remark)
		return
	}
	why := "it " + it.outcome
	if len(it.bad) > 0 {
		why += ": " + strings.Join(it.bad, ", ")
	}
	fail(title, why+" | "+last(it.output))
}

// reportVarying has a test pass once.
func reportVarying(p pkg, name string, it *verdict, entry *entry) {
	remark := ""
	for time := 2; !it.passed() && time <= timesOfVarying; time++ {
		found, _ := run(p, []string{name}, limitOfFailing, "")
		it, remark = found[name], fmt.Sprintf(" (run %d times: %s)", time, entry.reason)
	}
	report(p, name, it, remark)
}

// reportListed tells how a test ended that is on the list. What hangs has failed.
func reportListed(p pkg, name string, it *verdict, entry *entry) {
	title := p.name + " " + name
	outcome := it.outcome
	if outcome == unended {
		outcome = fails
	}
	if outcome == entry.outcome {
		fmt.Println("skip franz: " + title + ": it " + outcome + ": " + entry.reason)
		return
	}
	fail(title, "by the list it "+entry.outcome+", and it "+outcome+" | "+last(it.output))
}

func fail(title, why string) {
	failed = true
	fmt.Println("FAIL franz: " + title + ": " + why)
}

// last is the end of an output, in one line.
func last(lines []string) string {
	if len(lines) > linesOfOutput {
		lines = lines[len(lines)-linesOfOutput:]
	}
	cut := make([]string, len(lines))
	for at, line := range lines {
		cut[at] = strings.TrimSpace(line[:min(len(line), bytesOfLine)])
	}
	return strings.Join(cut, " | ")
}
