// kafkajs's members of groups, while nodes go away.
//
//     member.js TOPIC STOP kafkajs:GROUP:OUT...      $BOOTSTRAP names the nodes
//
// Each reads until the file STOP is there: a line of OUT for each record, "PARTITION OFFSET VALUE". It commits behind each batch; what
// is refused meanwhile is read again by whoever gets the partition.
'use strict'

const fs = require('fs')
const { sleep, packages } = require('./client')

const { Kafka, PartitionAssigners, logLevel } = packages('kafkajs')

async function read(topic, groupId, out) {
  const retry = { initialRetryTime: 50, maxRetryTime: 500, retries: 20 }
  const kafka = new Kafka({ brokers: process.env.BOOTSTRAP.split(','), logLevel: logLevel.NOTHING, retry, requestTimeout: 10_000 })
  const consumer = kafka.consumer({
    groupId, sessionTimeout: 6_000, heartbeatInterval: 100, rebalanceTimeout: 6_000, maxWaitTimeInMs: 50, metadataMaxAge: 10_000,
    partitionAssigners: [PartitionAssigners.roundRobin],
  })
  consumer.on(consumer.events.CRASH, ({ payload }) => console.error(groupId, payload.error.message, payload.restart))
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    eachBatch: async ({ batch, resolveOffset, heartbeat }) => {
      for (const { offset, value } of batch.messages) fs.writeSync(out, `${batch.partition} ${offset} ${value}\n`)
      resolveOffset(batch.lastOffset())
      await heartbeat()
    },
  })
  return consumer
}

async function main() {
  const [topic, stop, ...members] = process.argv.slice(2)
  const consumers = await Promise.all(members.map((member) => {
    const [, group, path] = member.split(':')
    return read(topic, group, fs.openSync(path, 'w'))
  }))
  while (!fs.existsSync(stop)) await sleep(100)
  await Promise.all(consumers.map((consumer) => consumer.disconnect()))
  // A consumer that the library has started again after an error may keep a timer or a connection of the one before it.
  process.exit(0)
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
