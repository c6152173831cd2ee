import { watch } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startBridge } from './bridge.ts'
import { quantile } from './figures.ts'
import { readAnswer, type Sender, signedSend, someText } from './load/signed.ts'
import type { Bench } from './row.ts'
import { openStage } from './stage.ts'
import { startWorkerHost } from './worker.ts'

/** From the first byte of a signed send to the file in the inbox of a worker's host, both ends in processes of their own. */
export const delivery: Bench = async ({ isQuick, say }) => {
  await using stage = await openStage()
  const bridge = await startBridge(stage, 'other')
  const [conversation] = await bridge.openConversations(1)
  if (conversation === undefined) throw new Error('no conversation')
  const { state } = await startWorkerHost(stage, bridge, conversation)
  const inbox = join(state, 'inbox', 'new')
  await mkdir(inbox, { recursive: true, mode: 0o700 })
  using arrivals = watchArrivals(inbox)
  const sender = openSender({ port: bridge.port, session: `${conversation.id}/a`, token: conversation.tokens.a })

  const count = isQuick ? 100 : 1_000
  say(`${count} messages, one after the other`)
  const latenciesMs: number[] = []
  for (let sent = -WARM_UP; sent < count; sent += 1) {
    const start = performance.now()
    const arrival = arrivals.next()
    await sender.send()
    const end = await arrival
    if (sent >= 0) latenciesMs.push(end - start)
    await sleep(Math.random() * PAUSE_MAX_MS)
  }
  sender.close()
  const files = (await readdir(inbox)).filter((name) => MESSAGE.test(name)).length
  return [
    {
      what: "worker's host over WebSocket: send → file in inbox",
      reach: { p50Ms: 3, p99Ms: 15, missed: 0 },
      ours: {
        p50Ms: quantile(latenciesMs, 0.5),
        p99Ms: quantile(latenciesMs, 0.99),
        missed: count + WARM_UP - files,
      },
      note: `${count} messages of ${TEXT} characters, at most one under way, on a connection that is open; the end is heard by inotify`,
    },
  ]
}

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

/** Sends over one connection. */
function openSender(sender: Sender): { send(): Promise<void>; close(): void } {
  const socket = createConnection({ host: '127.0.0.1', port: sender.port, noDelay: true })
  let answered = Promise.withResolvers<void>()
  let heard: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk) => {
    heard = Buffer.concat([heard, chunk])
    const answer = readAnswer(heard)
    if (answer === null) return
    if (answer.status === 200) answered.resolve()
    else answered.reject(new Error(heard.toString('utf8')))
    heard = heard.subarray(answer.end)
  })
  socket.on('error', (error) => answered.reject(error))
  return {
    send() {
      answered = Promise.withResolvers()
      socket.write(signedSend(sender, someText(TEXT)))
      return answered.promise
    },
    close: () => socket.destroy(),
  }
}
