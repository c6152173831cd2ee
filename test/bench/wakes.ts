import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { OpenedConversation } from '#fleet/conversation.ts'
import { Inbox } from '#spool/inbox.ts'
import { isReady, startBridge } from './bridge.ts'
import { quantile } from './figures.ts'
import { type Bench, type Figures, type Row, ratios } from './row.ts'
import { openSender } from './sender.ts'
import { type Actor, openStage, type Stage, until } from './stage.ts'
import { healthSocket, startWorkerHost } from './worker.ts'

/**
 * From the first byte of a signed send until the watcher has called a way to wake the reader, on the bridge's host and on a
 * worker's; beside a Node that hands each message on, and one that syncs it before it does. What of it the send takes is told apart.
 */
export const wakes: Bench = async ({ isQuick, say }) => {
  await using stage = await openStage()
  await using stack = new AsyncDisposableStack()
  const called = stack.use(await openCalled())
  const lanes = {
    local: stack.use(await openLocal(stage, called)),
    worker: stack.use(await openWorker(stage, called)),
    bare: stack.use(await openRelay(stage, called, 'unsynced')),
    synced: stack.use(await openRelay(stage, called, 'synced')),
  }
  const rounds = isQuick ? 2 : WAKES_OF_AGENT - 1
  say(`${rounds * AGENTS} wakes by each of ${Object.keys(lanes).length}, in turn`)
  const waits: Record<keyof typeof lanes, Wait[]> = { local: [], worker: [], bare: [], synced: [] }
  for (let round = 0; round <= rounds; round += 1) {
    for (let agent = 0; agent < AGENTS; agent += 1) {
      for (const name of ['local', 'worker', 'bare', 'synced'] as const) {
        const wait = await timed(called, lanes[name], agent)
        if (round > 0) waits[name].push(wait) // the first one warms each of them up
      }
    }
  }
  const beside = { [SYNCED]: percentiles(waits.synced), [RELAY]: percentiles(waits.bare) }
  const row = (where: string, p50Ms: number, reach: Figures): Row => {
    const ours = percentiles(where === LOCAL ? waits.local : waits.worker)
    return {
      what: `message sent → wake called, ${where}`,
      reach: { p50Ms, ...reach },
      ours,
      beside,
      ratio: ratios('p50Ms', ours, beside),
      note: NOTE,
    }
  }
  return [row(LOCAL, 5, {}), row("worker's host", 20, {}), sendRow(waits.local)]
}

/** How much of a wake on the bridge's host is the send itself. The wake begins at the commit, a moment before the answer leaves. */
function sendRow(waits: readonly Wait[]): Row {
  const answered = waits.map(({ answeredMs }) => answeredMs)
  const ours = { p50Ms: quantile(answered, 0.5), p99Ms: quantile(answered, 0.99), wakes: answered.length }
  return { what: `of that, ${LOCAL}: sent → answered (signed, written, synced)`, reach: {}, ours }
}

const LOCAL = "bridge's host"
const RELAY = 'Node that hands it on'
const SYNCED = 'Node that syncs and hands it on'
const NOTE = `signed, audited and synced sends; the watcher calls a webhook on this machine, the only way to wake that needs no client; an agent is sent 12 wakes an hour, so there are several; ${RELAY}: takes the message by HTTP and posts it, without a disk, a signature or a look at who reads; ${SYNCED}: the same, after it has appended the message to a file and synced that`

/** So many agents, since the budget of one allows so many wakes within an hour. */
const AGENTS = 12
const WAKES_OF_AGENT = 12
const TEXT = 200
/** Nobody expects a message: all have gone to sleep between two, and the wake before has been seen to be over. */
const PAUSE_MS = 30
const PAUSE_MAX_MS = 30
/** A wake that has not come by then is missed. */
const MISSED_MS = 20_000

/** Somebody who wakes the reader of a message. */
interface Lane extends Disposable {
  /** Sends a message to an agent. Answers what its reader does once it is woken. */
  wake(agent: number): Promise<() => Promise<void>>
}

/** The place that wakes go to. */
interface Called extends AsyncDisposable {
  readonly url: string
  /** When the next wake comes, by `performance.now`. */
  next(): Promise<number>
}

/** How long a wake took from the first byte of the send, and from its answer: zero where it came sooner than that. */
interface Wait {
  readonly ms: number
  /** From the first byte until the send was answered. */
  readonly answeredMs: number
  readonly afterAnswerMs: number
}

async function timed(called: Called, lane: Lane, agent: number): Promise<Wait> {
  await sleep(PAUSE_MS + Math.random() * PAUSE_MAX_MS)
  const arrival = called.next()
  const began = performance.now()
  const read = await lane.wake(agent)
  const answered = performance.now()
  const at = await Promise.race([arrival, tooLate()])
  await read()
  return { ms: at - began, answeredMs: answered - began, afterAnswerMs: Math.max(0, at - answered) }
}

async function tooLate(): Promise<never> {
  await sleep(MISSED_MS, undefined, { ref: false })
  throw new Error('nobody was woken for a message')
}

function percentiles(waits: readonly Wait[]): Figures {
  const whole = waits.map(({ ms }) => ms)
  const afterAnswerP50Ms = quantile(
    waits.map(({ afterAnswerMs }) => afterAnswerMs),
    0.5,
  )
  return { p50Ms: quantile(whole, 0.5), p99Ms: quantile(whole, 0.99), afterAnswerP50Ms, wakes: waits.length }
}

async function openCalled(): Promise<Called> {
  let waiting = Promise.withResolvers<number>()
  const server = createServer((asked, answer) => {
    waiting.resolve(performance.now())
    asked.resume().on('end', () => answer.end('{}'))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    next() {
      waiting = Promise.withResolvers()
      return waiting.promise
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

async function startWatcher(stage: Stage, state: string, settings: Record<string, string>): Promise<Actor> {
  const own = { S2_STATE: state, S2_WAKE_BY: 'webhook', S2_LOG_LEVEL: 'warn' }
  const watcher = stage.start('other', stage.program('fs-watcher'), { ...own, ...settings })
  await until('the watcher is ready', () => isReady(healthSocket(state, 'fs-watcher')), watcher)
  return watcher
}

/** The bridge and a watcher of its database; the readers are the ends `a`. */
async function openLocal(stage: Stage, { url }: Called): Promise<Lane> {
  const bridge = await startBridge(stage, 'other', 'local-bridge')
  const conversations = await bridge.openConversations(AGENTS)
  const readers = conversations.map(({ id }) => `${id}/a` as const)
  const settings = { S2_SOURCE: 'database', S2_WAKE_FOR: readers.join(), S2_WAKE_WEBHOOK: url }
  await startWatcher(stage, bridge.state, settings)
  const senders = sendersOf(conversations, 'b', bridge.port)
  return {
    async wake(agent) {
      const sent = await senders[agent]?.send()
      return async () => void (await bridge.ask('mark', { reader: readers[agent], ids: [sent?.id], mark: 'acked' }))
    },
    [Symbol.dispose]: () => closeAll(senders),
  }
}

/** A bridge, and a worker's host with keepalive and a watcher of its inbox; the readers are the ends `b`. */
async function openWorker(stage: Stage, { url }: Called): Promise<Lane> {
  const bridge = await startBridge(stage, 'other', 'distant-bridge')
  const conversations = await bridge.openConversations(AGENTS)
  const { state } = await startWorkerHost(stage, bridge, ...conversations)
  await startWatcher(stage, state, { S2_SOURCE: 'inbox', S2_WAKE_WEBHOOK: url })
  const inbox = new Inbox(state)
  const senders = sendersOf(conversations, 'a', bridge.port)
  return {
    async wake(agent) {
      await senders[agent]?.send()
      return async () => void (await inbox.ack((await inbox.take(1)).map(({ id }) => id)))
    },
    [Symbol.dispose]: () => closeAll(senders),
  }
}

/** The least that wakes somebody for a message. */
const HANDS_ON = `const { createServer, request } = require('node:http')
const { fsyncSync, openSync, writeSync } = require('node:fs')
const file = process.argv[2] === undefined ? null : openSync(process.argv[2], 'a')
createServer((asked, answer) => {
  const chunks = []
  asked.on('data', (chunk) => chunks.push(chunk)).on('end', () => {
    if (file !== null) {
      writeSync(file, Buffer.concat(chunks))
      fsyncSync(file)
    }
    request(process.argv[1], { method: 'POST' }, (taken) => taken.resume()).end(Buffer.concat(chunks))
    answer.end('{}')
  })
}).listen(0, '127.0.0.1', function () { console.log(this.address().port) })`

async function openRelay(stage: Stage, { url }: Called, how: 'synced' | 'unsynced'): Promise<Lane> {
  const file = how === 'synced' ? [join(await stage.room('relay'), 'messages')] : []
  const { child } = stage.start('other', [stage.node, '-e', HANDS_ON, url, ...file])
  const [port] = (await once(child.stdout as Readable, 'data')) as [Buffer]
  const text = 'x'.repeat(TEXT)
  return {
    async wake() {
      const asked = request({ host: '127.0.0.1', port: Number(String(port)), method: 'POST' }).end(text)
      const [answer] = (await once(asked, 'response')) as [Readable]
      answer.resume()
      return async () => undefined
    },
    [Symbol.dispose]: () => undefined,
  }
}

type Senders = readonly ReturnType<typeof openSender>[]

function sendersOf(conversations: readonly OpenedConversation[], side: 'a' | 'b', port: number): Senders {
  return conversations.map(({ id, tokens }) =>
    openSender({ port, session: `${id}/${side}`, token: tokens[side] }, TEXT),
  )
}

function closeAll(senders: Senders): void {
  for (const sender of senders) sender[Symbol.dispose]()
}
