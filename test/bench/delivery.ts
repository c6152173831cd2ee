import { once } from 'node:events'
import { watch } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { compileC } from '../compile-c.ts'
import { startBridge } from './bridge.ts'
import { quantile } from './figures.ts'
import type { Bench, Figures, Row, Skipped } from './row.ts'
import { openSender } from './sender.ts'
import { openStage, type Stage } from './stage.ts'
import { startWorkerHost } from './worker.ts'

/**
 * From the first byte of a signed send to the file in the inbox of a worker's host, both ends in processes of their own; beside
 * two in C that do no more than what durability demands, in turn with ours.
 */
export const delivery: Bench = async ({ isQuick, say }) => {
  await using stage = await openStage()
  using stack = new DisposableStack()
  const lanes = [stack.use(await openOurs(stage))]
  const limit = await openLimit(stage)
  if (typeof limit !== 'string') lanes.push(stack.use(limit))
  for (const lane of lanes) await sendRound(lane, WARM_UP, 0)
  const rows: (Row | Skipped)[] = []
  for (const [gapMs, count] of [
    [0, isQuick ? 100 : 1_000],
    [250, isQuick ? 10 : 100],
  ] as const) {
    say(
      `${count} messages to each of ${lanes.length}, one after the other, with pauses of ${gapMs} to ${gapMs + PAUSE_MAX_MS} ms`,
    )
    const latencies = lanes.map((): number[] => [])
    const round = Math.min(ROUND, count)
    for (let sent = 0; sent < count; sent += round) {
      for (const [at, lane] of lanes.entries()) latencies[at]?.push(...(await sendRound(lane, round, gapMs)))
    }
    const [ours = {}, theirs] = latencies.map(figuresOf)
    rows.push({
      what: `worker's host over WebSocket: send → file in inbox, pauses of ${gapMs} to ${gapMs + PAUSE_MAX_MS} ms`,
      reach: {},
      reachOf: { p50Ms: { [LIMIT]: 3 }, p99Ms: { [LIMIT]: 2 } },
      ours,
      ...(theirs === undefined ? {} : { beside: { [LIMIT]: theirs } }),
      note: `${count} messages of ${TEXT} characters, at most one under way, on a connection that is open; the end is heard by inotify, and one that does not come ends the bench`,
    })
  }
  if (typeof limit === 'string') rows.push({ what: `send → file in inbox, beside ${LIMIT}`, skipped: limit })
  return rows
}

/** Somebody who takes messages, and the folder in which their files appear. */
interface Lane extends Disposable {
  readonly arrivals: { next(): Promise<number> }
  send(): Promise<void>
}

async function sendRound(lane: Lane, count: number, gapMs: number): Promise<number[]> {
  const latenciesMs: number[] = []
  for (let sent = 0; sent < count; sent += 1) {
    await sleep(gapMs + Math.random() * PAUSE_MAX_MS)
    const start = performance.now()
    const arrival = lane.arrivals.next()
    await lane.send()
    latenciesMs.push((await Promise.race([arrival, tooLate()])) - start)
  }
  return latenciesMs
}

async function tooLate(): Promise<never> {
  await sleep(MISSED_MS, undefined, { ref: false })
  throw new Error('a message did not come')
}

function figuresOf(latenciesMs: readonly number[]): Figures {
  return {
    p50Ms: quantile(latenciesMs, 0.5),
    p90Ms: quantile(latenciesMs, 0.9),
    p99Ms: quantile(latenciesMs, 0.99),
    messages: latenciesMs.length,
  }
}

async function openOurs(stage: Stage): Promise<Lane> {
  const bridge = await startBridge(stage, 'other')
  const [conversation] = await bridge.openConversations(1)
  if (conversation === undefined) throw new Error('no conversation')
  const { state } = await startWorkerHost(stage, bridge, conversation)
  const inbox = join(state, 'inbox', 'new')
  await mkdir(inbox, { recursive: true, mode: 0o700 })
  const from = { port: bridge.port, session: `${conversation.id}/a`, token: conversation.tokens.a } as const
  const sender = openSender(from, TEXT)
  const arrivals = watchArrivals(inbox)
  return {
    arrivals,
    send: async () => void (await sender.send()),
    [Symbol.dispose]() {
      arrivals[Symbol.dispose]()
      sender[Symbol.dispose]()
    },
  }
}

/** The same in C; why there is none, where there is no compiler. */
async function openLimit(stage: Stage): Promise<Lane | string> {
  const program = compileC(fileURLToPath(new URL('delivery-limit.c', import.meta.url)))
  if (program === null) return 'there is no C compiler here'
  const folder = await stage.room('delivery-limit')
  await mkdir(join(folder, 'inbox'))
  const { child } = stage.start('other', [program, folder])
  const [port] = (await once(child.stdout as Readable, 'data')) as [Buffer]
  const socket = createConnection({ host: '127.0.0.1', port: Number(port.toString()), noDelay: true })
  await once(socket, 'connect')
  const arrivals = watchArrivals(join(folder, 'inbox'))
  return {
    arrivals,
    async send() {
      const answer = once(socket, 'data')
      socket.write(Buffer.alloc(LIMIT_BYTES, 'x'))
      await answer
    },
    [Symbol.dispose]() {
      arrivals[Symbol.dispose]()
      socket.destroy()
    },
  }
}

const LIMIT = 'C that only syncs'
/** What `delivery-limit.c` takes for a message. */
const LIMIT_BYTES = 400
/** A message whose file has not come by then is missed. */
const MISSED_MS = 30_000
/** Messages to one before it is the other's turn. */
const ROUND = 50
const TEXT = 200
const WARM_UP = 20
/** Messages come when nobody expects them: everybody has gone to sleep between two. */
const PAUSE_MAX_MS = 10
const MESSAGE = /^\d+\.json$/

/** Hears each message file once, when it gets its name; answers when that was. */
function watchArrivals(folder: string): Disposable & { next(): Promise<number> } {
  const seen = new Set<string>()
  let waiting = Promise.withResolvers<number>()
  const watcher = watch(folder, (_, name) => {
    if (name === null || !MESSAGE.test(name) || seen.has(name)) return
    seen.add(name)
    waiting.resolve(performance.now())
  })
  return {
    next() {
      waiting = Promise.withResolvers()
      return waiting.promise
    },
    [Symbol.dispose]: () => watcher.close(),
  }
}
