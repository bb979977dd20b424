// kafkajs as the cases want it: producers to named partitions, and a reader of partitions.
//
// The library's consumer reads in groups only: groups.js has it. The reader sends its Fetch requests by the library's own connections,
// and what comes back is what its decoder makes of it; who leads is asked of the library's metadata.
'use strict'

const { createRequire } = require('module')
const packages = createRequire(`${process.env.CACHE}/kafkajs/package.json`)

const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = packages('kafkajs')
const Cluster = packages('kafkajs/src/cluster')
const { createLogger } = packages('kafkajs/src/loggers')
const LoggerConsole = packages('kafkajs/src/loggers/console')
const socketFactory = packages('kafkajs/src/network/socketFactory')
const SnappyCodec = packages('kafkajs-snappy')
const lz4 = packages('lz4-napi')
const zstd = packages('@mongodb-js/zstd')

const DELIVERY_MS_MAX = 100_000
const READ_MS_MAX = 60_000
const RETRY = { initialRetryTime: 50, maxRetryTime: 500, retries: 300 }

const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: (buffer) => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: (encoder) => zstd.compress(encoder.buffer),
  decompress: (buffer) => zstd.decompress(buffer),
})

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

class Client {
  static async connect(bootstrap) {
    const client = new Client()
    client.brokers = bootstrap.split(',')
    const options = { brokers: client.brokers, logLevel: logLevel.NOTHING, retry: RETRY, requestTimeout: 10_000 }
    client.kafka = new Kafka(options)
    client.admin = client.kafka.admin()
    await client.admin.connect()
    return client
  }

  async create(topic, numPartitions, replicationFactor, settings = {}) {
    const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }))
    await this.admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor, configEntries }], timeout: 20_000 })
  }

  async producer(idempotent) {
    // Records say where they go. One request at a time, so that a retry does not overtake what follows it.
    const createPartitioner = () => ({ message }) => message.partition
    const producer = this.kafka.producer({ idempotent, createPartitioner, maxInFlightRequests: 1, retry: RETRY, metadataMaxAge: 10_000 })
    await producer.connect()
    return producer
  }

  close() {
    return this.admin.disconnect()
  }
}

class Reader {
  static async open(client, topic, partitions, offset = 0) {
    const reader = new Reader()
    reader.topic = topic
    reader.next = new Map(partitions.map((partition) => [partition, offset]))
    const logger = createLogger({ level: logLevel.NOTHING, logCreator: LoggerConsole })
    reader.cluster = new Cluster({
      logger, brokers: client.brokers, retry: RETRY, offsets: new Map(), socketFactory: socketFactory(), metadataMaxAge: 1_000,
      connectionTimeout: 3_000, requestTimeout: 10_000, enforceRequestTimeout: true, allowAutoTopicCreation: false,
    })
    await reader.cluster.connect()
    await reader.cluster.addTargetTopic(topic)
    return reader
  }

  // What the leaders have next, each waiting a moment. Errors that pass (a leader that is gone) are asked again by the next poll.
  async poll() {
    const found = []
    try {
      await this.cluster.refreshMetadataIfNecessary()
      const leaders = this.cluster.findLeaderForPartitions(this.topic, [...this.next.keys()])
      for (const [nodeId, partitions] of Object.entries(leaders)) found.push(...(await this.fetch(nodeId, partitions)))
    } catch (error) {
      if (error.retriable === false && error.name !== 'KafkaJSConnectionError') throw error
      await sleep(50)
      await this.cluster.refreshMetadata().catch(() => {})
    }
    return found
  }

  async fetch(nodeId, partitions) {
    const broker = await this.cluster.findBroker({ nodeId })
    const asked = partitions.map((partition) => ({ partition, fetchOffset: String(this.next.get(partition)), maxBytes: 2 << 20 }))
    const topics = [{ topic: this.topic, partitions: asked }]
    const { responses } = await broker.fetch({ maxWaitTime: 20, minBytes: 1, maxBytes: 10 << 20, isolationLevel: 0, topics })
    const found = []
    for (const { partition, messages } of responses.flatMap((response) => response.partitions)) {
      for (const message of messages) {
        // A batch comes whole.
        if (Number(message.offset) < this.next.get(partition)) continue
        this.next.set(partition, Number(message.offset) + 1)
        found.push({ ...message, partition })
      }
    }
    return found
  }

  async read(count) {
    const records = []
    const deadline = Date.now() + READ_MS_MAX
    while (records.length < count) {
      if (Date.now() > deadline) throw new Error(`${records.length} records of ${count} in ${READ_MS_MAX} ms`)
      records.push(...(await this.poll()))
    }
    return records
  }

  close() {
    return this.cluster.disconnect()
  }
}

module.exports = { packages, Client, Reader, CODECS, DELIVERY_MS_MAX, READ_MS_MAX, sleep }
