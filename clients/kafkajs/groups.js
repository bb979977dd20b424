// kafkajs in groups, and what it asks about them.
'use strict'

const { execFileSync } = require('child_process')
const { sleep, packages } = require('./client')

const { AssignerProtocol, Kafka, PartitionAssigners, logLevel } = packages('kafkajs')

const PARTITIONS = 4
const MS_MAX = 20_000
// What a member that reads too much would have read by then.
const QUIET_MS = 150

// A consumer in a group. What it is given is kept until a case takes it; offsets are committed when a case says so.
class Member {
  static async open(client, topic, options = {}) {
    const member = new Member()
    Object.assign(member, { client, topic, records: [], assigned: [], read: new Map(), crashed: undefined })
    const kafka = new Kafka({ brokers: client.brokers, logLevel: logLevel.NOTHING, retry: { initialRetryTime: 50, retries: 20 } })
    member.consumer = kafka.consumer({
      groupId: topic, sessionTimeout: 6_000, heartbeatInterval: 100, rebalanceTimeout: 6_000, maxWaitTimeInMs: 50,
      partitionAssigners: [PartitionAssigners.roundRobin], ...options,
    })
    const { GROUP_JOIN, REBALANCING, CRASH } = member.consumer.events
    member.consumer.on(GROUP_JOIN, ({ payload }) => (member.assigned = payload.memberAssignment[topic] ?? []))
    member.consumer.on(REBALANCING, () => (member.assigned = []))
    member.consumer.on(CRASH, ({ payload }) => (member.crashed = payload.error))
    await member.consumer.connect()
    await member.consumer.subscribe({ topics: [topic], fromBeginning: true })
    await member.consumer.run({
      autoCommit: options.autoCommit ?? false,
      eachMessage: async ({ partition, message }) => {
        member.records.push({ partition, offset: Number(message.offset), value: String(message.value) })
        member.read.set(partition, Number(message.offset) + 1)
      },
    })
    return member
  }

  take() {
    if (this.crashed) throw this.crashed
    return this.records.splice(0)
  }

  async commit() {
    const offsets = [...this.read].map(([partition, offset]) => ({ topic: this.topic, partition, offset: String(offset) }))
    await this.consumer.commitOffsets(offsets)
  }

  close() {
    return this.consumer.disconnect()
  }
}

async function newTopic(client, name) {
  const topic = `kafkajs-group-${name}`
  await client.create(topic, PARTITIONS, 1)
  return topic
}

// Each number to each partition, at the offset that it is.
async function send(client, topic, from, to) {
  const producer = await client.producer(true)
  const messages = []
  for (let number = from; number < to; number++) {
    for (let partition = 0; partition < PARTITIONS; partition++) messages.push({ partition, value: String(number) })
  }
  await producer.send({ topic, acks: -1, messages })
  await producer.disconnect()
}

// Waits until each partition has given these numbers, in order, once. Returns which partitions each member read.
async function read(members, from, to) {
  const next = Array(PARTITIONS).fill(from)
  const readBy = members.map(() => new Set())
  const deadline = Date.now() + MS_MAX
  for (let quiet = Infinity; Date.now() < quiet; await sleep(5)) {
    for (const [at, member] of members.entries()) {
      for (const { partition, offset, value } of member.take()) {
        const want = next[partition]++
        if (offset !== want || value !== String(want)) throw new Error(`read ${value} at ${offset} of partition ${partition}, want ${want}`)
        readBy[at].add(partition)
      }
    }
    if (quiet === Infinity && next.every((each) => each === to)) quiet = Date.now() + QUIET_MS
    if (Date.now() > deadline) throw new Error(`read up to ${next} in ${MS_MAX} ms, want ${to}`)
  }
  if (next.some((each) => each !== to)) throw new Error(`read up to ${next}, want ${to}`)
  return readBy
}

async function awaitShares(members, ...want) {
  const deadline = Date.now() + MS_MAX
  for (;;) {
    const shares = members.map((member) => member.assigned)
    const all = new Set(shares.flat())
    if (all.size === PARTITIONS && shares.every((share, at) => share.length === want[at])) return
    if (Date.now() > deadline) throw new Error(`the members have ${JSON.stringify(shares)} after ${MS_MAX} ms, want ${want}`)
    await sleep(10)
  }
}

// What the group has committed, as this client and another one are told; "-" where there is nothing.
async function committedProblem(client, topic, want) {
  const [{ partitions } = { partitions: [] }] = await client.admin.fetchOffsets({ groupId: topic, topics: [topic] })
  const offsets = partitions.sort((a, b) => a.partition - b.partition).map(({ offset }) => (offset === '-1' ? '-' : offset))
  if (offsets.join(' ') !== want) return `committed are ${offsets.join(' ')}, want ${want}`
  if (!process.env.COMMITTED_OF) return
  const [command, ...words] = process.env.COMMITTED_OF.split(' ')
  const told = execFileSync(command, [...words, topic, topic], { encoding: 'utf8' }).trim()
  if (told !== want) return `committed, as another client is told: ${told}, want ${want}`
}

async function goesOn(client) {
  const topic = await newTopic(client, 'goes-on')
  for (const from of [0, 25, 50]) {
    await send(client, topic, from, from + 25)
    const member = await Member.open(client, topic)
    await read([member], from, from + 25)
    await member.commit()
    await member.close()
    const problem = await committedProblem(client, topic, Array(PARTITIONS).fill(from + 25).join(' '))
    if (problem) return problem
  }
}

async function twoShare(client) {
  const topic = await newTopic(client, 'share')
  const first = await Member.open(client, topic)
  await awaitShares([first], PARTITIONS)
  const second = await Member.open(client, topic)
  await awaitShares([first, second], 2, 2)
  await send(client, topic, 0, 10)
  const readBy = await read([first, second], 0, 10)
  if (readBy.some((partitions) => partitions.size !== 2)) return `the members read ${readBy.map((each) => [...each].join()).join(' and ')}`
  await first.commit()
  await second.commit()
  await second.close()
  await awaitShares([first], PARTITIONS)
  await send(client, topic, 10, 20)
  await read([first], 10, 20)
  await first.commit()
  await first.close()
  return committedProblem(client, topic, '20 20 20 20')
}

async function chosenOffset(client) {
  const topic = await newTopic(client, 'chosen')
  await send(client, topic, 0, 10)
  const member = await Member.open(client, topic)
  await read([member], 0, 10)
  const offsets = [0, 1, 2, 3].map((partition) => ({ topic, partition, offset: '7', metadata: 'why: ключ' }))
  await member.consumer.commitOffsets(offsets)
  const [{ partitions }] = await client.admin.fetchOffsets({ groupId: topic, topics: [topic] })
  if (partitions.some(({ metadata }) => metadata !== 'why: ключ')) return `committed is ${JSON.stringify(partitions)}`
  for (const { partition, offset } of partitions) member.consumer.seek({ topic, partition, offset })
  await read([member], 7, 10)
  await member.close()
  const again = await Member.open(client, topic)
  await read([again], 7, 10)
  await again.close()
  return committedProblem(client, topic, '7 7 7 7')
}

async function autoCommit(client) {
  const topic = await newTopic(client, 'auto')
  for (const from of [0, 10]) {
    await send(client, topic, from, from + 10)
    const member = await Member.open(client, topic, { autoCommit: true })
    await read([member], from, from + 10)
    await member.close()
  }
  return committedProblem(client, topic, '20 20 20 20')
}

async function refusalProblem(what, want, asked) {
  try {
    await asked
  } catch (error) {
    const said = error.groups?.[0]?.error?.type ?? error.type ?? error.message
    return said === want ? undefined : `${what}: ${said}, want ${want}`
  }
  return `${what}: it is not refused`
}

async function admin(client) {
  const topic = await newTopic(client, 'admin')
  const described = async () => {
    const [{ state, members }] = (await client.admin.describeGroups([topic])).groups
    return `${state} ${members.map(({ memberAssignment }) => AssignerProtocol.MemberAssignment.decode(memberAssignment).assignment[topic].length)}`
  }
  const isListed = async () => (await client.admin.listGroups()).groups.some(({ groupId }) => groupId === topic)
  await send(client, topic, 0, 10)
  const member = await Member.open(client, topic)
  await read([member], 0, 10)
  await member.commit()
  if ((await described()) !== 'Stable 4') return `described with a member: ${await described()}`
  // The library asks again what was refused for good.
  const once = client.kafka.admin({ retry: { retries: 0 } })
  await once.connect()
  const refused = await refusalProblem('deleting a group that has a member', 'NON_EMPTY_GROUP', once.deleteGroups([topic]))
  if (refused) return refused
  await member.close()
  if ((await described()) !== 'Empty ') return `described without members: ${await described()}`
  if (!(await isListed())) return 'it is not listed'
  // The library joins the group for it, and waits for a fetch that has nothing to fetch: 5 s.
  await client.admin.setOffsets({ groupId: topic, topic, partitions: [{ partition: 1, offset: '3' }, { partition: 2, offset: '0' }] })
  const altered = await committedProblem(client, topic, '10 3 0 10')
  if (altered) return altered
  await client.admin.deleteGroups([topic])
  if (await isListed()) return 'it is listed after its deletion'
  const missing = await refusalProblem('deleting it again', 'GROUP_ID_NOT_FOUND', once.deleteGroups([topic]))
  await once.disconnect()
  return missing ?? committedProblem(client, topic, '- - - -')
}

const groupCases = {
  'commit, close, go on where it was': goesOn,
  'two share, one leaves, the other takes all': twoShare,
  'a chosen offset is committed, and gone back to': chosenOffset,
  'commits on their own, as the client does by itself': autoCommit,
  'list, describe, alter offsets, delete': admin,
}

module.exports = { groupCases }
