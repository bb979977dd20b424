// What kafkajs was asked for and saw while nodes go away, as seedlog-checker reads it: one event a line, in the order in which they
// happened (everything happens on one thread).
'use strict'

const fs = require('fs')
const { Reader, READ_MS_MAX, sleep } = require('./client')

const PARTITIONS = 3
// Records of one send, which the library keeps together until it is answered.
const RECORDS_AT_ONCE = 3
const PAUSE_MS = 10

class History {
  constructor(path) {
    this.file = fs.openSync(path, 'w')
    this.started = process.hrtime.bigint()
  }

  write(process_, type, f, value, more = {}) {
    const time_us = Number((process.hrtime.bigint() - this.started) / 1000n)
    fs.writeSync(this.file, JSON.stringify({ time_us, process: process_, type, f, value, ...more }) + '\n')
  }
}

// An idempotent producer of numbered records. It sends to one partition at a time and waits: the library does not keep the order of
// sends that are under way together.
class Writer {
  constructor(producer, topic, history) {
    Object.assign(this, { producer, topic, history, sent: 0, acked: 0, givenUp: [] })
  }

  async writeSome() {
    const partition = (this.sent / RECORDS_AT_ONCE) % PARTITIONS
    const records = Array.from({ length: RECORDS_AT_ONCE }, () => ({ topic: this.topic, partition, key: 'k', value: `${this.sent++}` }))
    this.history.write(0, 'invoke', 'send', records)
    try {
      const messages = records.map(({ key, value }) => ({ partition, key, value }))
      const [{ baseOffset }] = await this.producer.send({ topic: this.topic, acks: -1, timeout: 10_000, messages })
      this.acked += records.length
      // A producer whose batch was there already may not be told where.
      const first = Number(baseOffset)
      const placed = first < 0 ? records : records.map((record, index) => ({ ...record, offset: first + index }))
      this.history.write(0, 'ok', 'send', placed)
    } catch (error) {
      this.givenUp.push(error)
      this.history.write(0, 'info', 'send', records, { error: String(error) })
    }
  }
}

// A consumer of all partitions from their starts.
class Tail {
  static async open(client, process_, topic, history) {
    const tail = new Tail()
    Object.assign(tail, { client, process: process_, topic, history })
    const all = [...Array(PARTITIONS).keys()]
    history.write(process_, 'ok', 'assign', all.map((partition) => ({ topic, partition, offset: 0 })))
    tail.reader = await Reader.open(client, topic, all)
    return tail
  }

  async poll() {
    const records = (await this.reader.poll()).map(({ partition, offset, key, value }) => ({
      topic: this.topic, partition, offset: Number(offset), key: String(key), value: String(value),
    }))
    if (records.length > 0) this.history.write(this.process, 'ok', 'poll', records)
  }

  async readToEnds() {
    const deadline = Date.now() + READ_MS_MAX
    const ends = await this.client.admin.fetchTopicOffsets(this.topic)
    while (ends.some(({ partition, high }) => this.reader.next.get(partition) < Number(high))) {
      if (Date.now() > deadline) throw new Error(`not read to the ends in ${READ_MS_MAX} ms: ${JSON.stringify(ends)}`)
      await this.poll()
    }
    this.history.write(this.process, 'ok', 'final')
  }
}

// Writes and reads until the file `stop` is there, then reads all to the end. Returns the exit code.
async function writeHistory(client, topic, path, stop) {
  const history = new History(path)
  await client.create(topic, PARTITIONS, 3, { 'min.insync.replicas': '2' })
  const writer = new Writer(await client.producer(true), topic, history)
  const tail = await Tail.open(client, 1, topic, history)
  const until = async (step) => {
    while (!fs.existsSync(stop)) {
      await step()
      await sleep(PAUSE_MS)
    }
  }
  await Promise.all([until(() => writer.writeSome()), until(() => tail.poll())])
  for (const reader of [tail, await Tail.open(client, 2, topic, history)]) await reader.readToEnds()
  for (const error of writer.givenUp.slice(0, 3)) console.log(`given up: ${error}`)
  console.log(`note: ${writer.sent} records, ${writer.acked} acknowledged`)
  return writer.acked < writer.sent ? 1 : 0
}

module.exports = { writeHistory }
