// kafkajs: its cases, and what it does while nodes go away.
//
//     main.js cases                                every case that needs one node
//     main.js groups                               those of them that are about groups
//     main.js wide TOPIC PARTITIONS                a topic with very many partitions, which exists
//     main.js history kafkajs TOPIC HISTORY STOP   writes and reads until the file STOP is there; see history.js
//
// $BOOTSTRAP names the nodes. Each case is one line, "pass SUITE: NAME" or "FAIL ...: WHY". $CODECS_OF, when set, is a command
// that prints the codecs of a topic's batches, $COMMITTED_OF one that prints what a group has committed. The packages are in
// $CACHE/kafkajs, where setup.sh has put them.
'use strict'

const { randomBytes } = require('crypto')
const { execFileSync } = require('child_process')
const { Client, Reader, CODECS } = require('./client')
const { compactedCases } = require('./compacted')
const { groupCases } = require('./groups')
const { writeHistory } = require('./history')

const MIB = 1 << 20
let anyFailed = false

async function check(suite, name, run) {
  let problem
  try {
    problem = await run()
  } catch (error) {
    problem = `${error.name}: ${error.message}`
  }
  if (problem) anyFailed = true
  const line = problem ? `FAIL ${suite}: ${name}: ${problem}` : `pass ${suite}: ${name}`
  console.log(line.replaceAll('\n', ' | '))
}

// Records of two partitions with all that a record can have; timestamps are texts, as kafkajs has them.
function shapes() {
  const values = ['plain', null, '', '日本語 é', Buffer.from([0, 255]), 'compressible '.repeat(100)]
  const keys = ['key', null, '']
  const headers = [{}, { one: ['1', '2'], empty: '', ключ: Buffer.from([255]) }]
  const began = Date.now() - 3_600_000
  const records = []
  for (let round = 0; round < 5; round++) {
    for (const value of values) {
      for (const key of keys) {
        for (const header of headers) {
          const number = records.length
          records.push({ partition: number % 2, key, value, headers: header, timestamp: String(began + number * 1_000) })
        }
      }
    }
  }
  // Bytes that no codec makes smaller.
  records.push({ partition: 1, key: null, value: randomBytes(100_000), headers: {}, timestamp: String(began) })
  return records
}

const bytes = (text) => (text === null || text === undefined ? null : Buffer.from(text))
const sameBytes = (a, b) => (a === null || b === null ? a === b : a.equals(b))

// What of `got` is not as it was sent: the records of each partition have to come in order, from an offset on.
function difference(sent, got, offset = 0) {
  if (got.length !== sent.length) return `${got.length} records, want ${sent.length}`
  for (const partition of new Set(sent.map((record) => record.partition))) {
    const wanted = sent.filter((record) => record.partition === partition)
    const found = got.filter((record) => record.partition === partition)
    for (const [index, want] of wanted.entries()) {
      const problem = differenceOf(want, found[index], offset + index)
      if (problem) return `partition ${partition}, record ${index}: ${problem}`
    }
  }
}

function differenceOf(want, got, offset) {
  if (!got) return 'it is missing'
  if (Number(got.offset) !== offset) return `it is at ${got.offset}, want ${offset}`
  if (!sameBytes(got.key, bytes(want.key))) return `the key is ${got.key}, want ${want.key}`
  if (!sameBytes(got.value, bytes(want.value))) return `the value has ${got.value?.length} bytes, want ${want.value?.length}`
  if (got.timestamp !== want.timestamp) return `the timestamp is ${got.timestamp}, want ${want.timestamp}`
  const plain = (headers) =>
    Object.entries(headers).flatMap(([key, value]) => [value].flat().map((each) => `${key}=${bytes(each)?.toString('hex')}`))
  const [found, wanted] = [plain(got.headers).join(), plain(want.headers).join()]
  if (found !== wanted) return `the headers are ${found}, want ${wanted}`
}

function codecProblem(topic, codec) {
  if (!process.env.CODECS_OF) return
  const [command, ...words] = process.env.CODECS_OF.split(' ')
  const found = execFileSync(command, [...words, topic], { encoding: 'utf8' }).trim()
  if (found !== codec) return `the codec in the log is ${found}`
}

async function roundTrip(client, codec, idempotent) {
  const topic = `kafkajs-${codec}-${idempotent}`
  await client.create(topic, 2, 1)
  const records = shapes()
  const producer = await client.producer(idempotent)
  await producer.send({ topic, acks: -1, compression: CODECS[codec], messages: records })
  await producer.disconnect()
  const reader = await Reader.open(client, topic, [0, 1])
  const got = await reader.read(records.length)
  await reader.close()
  return difference(records, got) || codecProblem(topic, codec)
}

async function large(client) {
  const topic = 'kafkajs-large'
  await client.create(topic, 1, 1, { 'max.message.bytes': String(3 * MIB) })
  const producer = await client.producer(true)
  const record = () => ({ partition: 0, key: 'large', value: randomBytes(MIB), headers: {}, timestamp: '1000' })
  const records = [record(), record(), record()]
  for (const each of records) await producer.send({ topic, acks: -1, messages: [each] })
  let refusal
  try {
    await producer.send({ topic, acks: -1, messages: [{ ...record(), value: randomBytes(3 * MIB) }] })
  } catch (error) {
    refusal = error.type ?? error.cause?.type ?? error.message
  }
  if (refusal !== 'MESSAGE_TOO_LARGE') return `a record above the topic's limit: ${refusal}`
  await producer.disconnect()
  const reader = await Reader.open(client, topic, [0])
  const got = await reader.read(records.length)
  await reader.close()
  return difference(records, got)
}

async function startingPoints(client) {
  const topic = 'kafkajs-starts'
  await client.create(topic, 2, 1)
  const producer = await client.producer(true)
  const messages = Array.from({ length: 100 }, (_, number) => ({
    partition: 1, key: null, value: `${number}`, headers: {}, timestamp: String(1_000 + number * 10),
  }))
  await producer.send({ topic, acks: -1, messages })
  await producer.disconnect()
  const ends = (await client.admin.fetchTopicOffsets(topic)).map((each) => `${each.partition}: ${each.low} to ${each.high}`).sort()
  if (ends.join() !== '0: 0 to 0,1: 0 to 100') return `the ends are ${ends}`
  const found = await client.admin.fetchTopicOffsetsByTimestamp(topic, 1_335)
  const byTime = found.find((each) => each.partition === 1).offset
  if (byTime !== '34') return `the offset by time is ${byTime}`
  const reader = await Reader.open(client, topic, [1], 37)
  const got = await reader.read(63)
  await reader.close()
  return difference(messages.slice(37), got, 37)
}

async function wide(client, topic, partitions) {
  const metadata = await client.admin.fetchTopicMetadata({ topics: [topic] })
  const led = metadata.topics[0].partitions.filter((partition) => partition.leader >= 0).length
  if (led !== partitions) return `${led} partitions with a leader, want ${partitions}`
  const record = { partition: partitions - 1, key: null, value: 'kafkajs', headers: {}, timestamp: '1000' }
  const producer = await client.producer(true)
  const [{ baseOffset }] = await producer.send({ topic, acks: -1, messages: [record] })
  await producer.disconnect()
  const reader = await Reader.open(client, topic, [record.partition], Number(baseOffset))
  const got = await reader.read(1)
  await reader.close()
  return difference([record], got, Number(baseOffset))
}

async function cases(client) {
  for (const codec of Object.keys(CODECS)) {
    for (const idempotent of [true, false]) {
      await check('kafkajs', `round trip: codec=${codec} idempotent=${idempotent}`, () => roundTrip(client, codec, idempotent))
    }
  }
  await check('kafkajs', 'records: 1 MiB, and one that is too large', () => large(client))
  await check('kafkajs', 'consumer: from an offset; ends; offsets by time', () => startingPoints(client))
}

async function main() {
  const [verb, ...words] = process.argv.slice(2)
  const client = await Client.connect(process.env.BOOTSTRAP)
  if (verb === 'history') {
    const [, topic, path, stop] = words
    process.exit(await writeHistory(client, topic, path, stop))
  }
  if (verb === 'wide') {
    const [topic, partitions] = words
    await check('fleet', `kafkajs: metadata: a topic of ${partitions} partitions`, () => wide(client, topic, Number(partitions)))
  } else {
    if (verb === 'cases') await cases(client)
    for (const [name, run] of Object.entries(groupCases)) await check('kafkajs', `groups: ${name}`, () => run(client))
    if (verb === 'cases') {
      for (const [name, run] of Object.entries(compactedCases())) await check('kafkajs', `a compacted topic: ${name}`, () => run(client))
    }
  }
  await client.close()
  process.exit(anyFailed ? 1 : 0)
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
