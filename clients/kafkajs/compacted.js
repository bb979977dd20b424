// kafkajs and compacted topics: $COMPACTED is a folder with a file for each topic that the node has cleaned; without it there are no
// cases. Its first line is "END GAP LASTGAP": where the topic ends, and offsets of which nothing is left, far from the end and close
// to it. Then comes a line of each record, "OFFSET TIMESTAMP KEY VALUE", with "-" for null. The group kafkajs-TOPIC is to go on at
// GAP.
'use strict'

const { execFileSync } = require('child_process')
const { readFileSync } = require('fs')
const { Kafka, logLevel } = require('./client').packages('kafkajs')
const { sleep } = require('./client')

const TOPICS = ['compacted-brief', 'compacted-long']
const MS_MAX = 20_000
const QUIET_MS = 150
// A fetch of so many bytes has one batch.
const TINY_FETCH_BYTES = 1

function load(topic) {
  const [bounds, ...left] = readFileSync(`${process.env.COMPACTED}/${topic}`, 'utf8').trim().split('\n')
  const [end, gap, lastGap] = bounds.split(' ').map(Number)
  const since = (offset) => left.filter((line) => Number(line.split(' ')[0]) >= offset)
  return { topic, end, gap, lastGap, since }
}

const lineOf = ({ offset, timestamp, key, value }) => `${offset} ${timestamp} ${key} ${value === null ? '-' : value}`

function difference(want, got) {
  if (want.length !== got.length) return `${got.length} records, want ${want.length}`
  const at = want.findIndex((line, index) => line !== got[index])
  if (at >= 0) return `read ${got[at]}, want ${want[at]}`
}

// Reads in a group, whose member has this to say of itself, up to the end and a moment more.
async function readInGroup(client, cleaned, groupId, options, count) {
  const kafka = new Kafka({ brokers: client.brokers, logLevel: logLevel.NOTHING, retry: { initialRetryTime: 50, retries: 20 } })
  const consumer = kafka.consumer({ groupId, sessionTimeout: 6_000, heartbeatInterval: 100, maxWaitTimeInMs: 50, ...options })
  const got = []
  let joined = false
  consumer.on(consumer.events.GROUP_JOIN, () => (joined = true))
  await consumer.connect()
  await consumer.subscribe({ topics: [cleaned.topic], fromBeginning: true })
  await consumer.run({ autoCommit: false, eachMessage: async ({ message }) => void got.push(lineOf(message)) })
  const deadline = Date.now() + MS_MAX
  while ((!joined || got.length < count) && Date.now() < deadline) await sleep(10)
  await sleep(QUIET_MS)
  if (count > 0 && got.length > 0) {
    const offset = String(Number(got[got.length - 1].split(' ')[0]) + 1)
    await consumer.commitOffsets([{ topic: cleaned.topic, partition: 0, offset }])
  }
  await consumer.disconnect()
  return got
}

// A group reads as many records as are left, from where it is put; that is how the library's own consumer reads.
async function readAll(client, name, options) {
  for (const cleaned of TOPICS.map(load)) {
    for (const offset of [0, cleaned.gap, cleaned.lastGap]) {
      const groupId = `kafkajs-${name}-${cleaned.topic}-${offset}`
      execFileSync(process.env.COMMITTED_OF.split(' ')[0], ['commit', groupId, cleaned.topic, String(offset)])
      const want = cleaned.since(offset)
      const problem = difference(want, await readInGroup(client, cleaned, groupId, options, want.length))
      if (problem) return `${cleaned.topic} from ${offset}: ${problem}`
    }
  }
}

async function inGroup(client) {
  for (const cleaned of TOPICS.map(load)) {
    const { topic, end } = cleaned
    const groupId = `kafkajs-${topic}`
    // The second one finds nothing new.
    for (const want of [cleaned.since(cleaned.gap), []]) {
      const problem = difference(want, await readInGroup(client, cleaned, groupId, {}, want.length))
      if (problem) return `${topic}: ${problem}`
      const [{ partitions }] = await client.admin.fetchOffsets({ groupId, topics: [topic] })
      if (partitions[0].offset !== String(end)) return `${topic}: committed is ${partitions[0].offset}, want the end, ${end}`
    }
  }
}

async function keyless(client) {
  const producer = await client.producer(false)
  try {
    await producer.send({ topic: 'compacted-keys', acks: -1, messages: [{ partition: 0, value: 'no key' }] })
    return 'it is acknowledged'
  } catch (error) {
    const said = error.type ?? error.cause?.type ?? error.message
    if (said !== 'INVALID_RECORD' && error.code !== 87) return `it is refused otherwise: ${said}`
  } finally {
    await producer.disconnect()
  }
}

function compactedCases() {
  if (!process.env.COMPACTED) return {}
  return {
    'read from the start, and from where nothing is left': (client) => readAll(client, 'usual', {}),
    'fetches of a batch each': (client) => readAll(client, 'tiny', { maxBytesPerPartition: TINY_FETCH_BYTES }),
    'a group goes on where nothing is left, commits the end': inGroup,
    'a record without a key is refused': keyless,
  }
}

module.exports = { compactedCases }
