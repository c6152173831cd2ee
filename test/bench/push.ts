/**
 * From a commit to whoever waits for it, in another process: our writer and foreign ones, our reader and the pipeline of
 * the protocol. All clocks are CLOCK_MONOTONIC, which Node's hrtime and Python's monotonic_ns both read.
 *
 *   node test/bench/push.ts [--quick]      the rows as JSON
 */
import { type ChildProcess, fork, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { quantile } from './figures.ts'
import { hasCommand } from './machine.ts'
import { type Bench, type Figures, type Row, ratios, type Skipped } from './row.ts'
import { openStage, type Stage, until } from './stage.ts'

/** When each message was committed or had come, by its id. */
type Times = ReadonlyMap<number, bigint>
type Manner = keyof typeof WRITERS

const WRITERS = {
  ours: 'push, writer is the bridge: commit → another process has the row',
  lasting: "push, foreign writer (Python's sqlite3, WAL, FULL; long-lived): commit → row",
  call: "push, foreign writer (Python's sqlite3, WAL, FULL; connection per call): commit → row",
} as const
const REACH: Readonly<Record<Manner, Figures>> = {
  ours: { p50Ms: 0.12, p99Ms: 1, missed: 0 },
  lasting: { p50Ms: 0.25, p99Ms: 2, missed: 0, cpuAt100PerSecPercent: 5, cpuIdlePercent: 0.5 },
  call: { p50Ms: 0.25, p99Ms: 2, missed: 0, cpuAt100PerSecPercent: 5, cpuIdlePercent: 0.5 },
}
const MANNERS = Object.keys(WRITERS) as Manner[]
const PIPELINE = 'inotifywait | python3'
/** The last message must not be saved by a poll of ours, nor counted as missed before it could come. */
const LAST_MS = 1_000

export const push: Bench = async ({ isQuick, say }) => {
  await using stage = await openStage()
  const rounds = isQuick ? 2 : 10
  const perRound = isQuick ? 100 : 1_000
  await using lanes = new Lanes()
  for (const manner of MANNERS) await lanes.open(stage, manner)
  const piped = hasCommand('inotifywait')
  if (piped) for (const manner of ['lasting', 'call'] as const) await lanes.openPiped(stage, manner)
  await sleep(1_000) // what start-up leaves to be done is done by then

  say(`${rounds} rounds of ${perRound} messages for each of ${MANNERS.length} writers, with small random gaps`)
  for (let round = 0; round < rounds; round += 1) {
    for (const lane of lanes.ours) await lane.measure(perRound, 1)
    for (const lane of lanes.piped) await lane.measure(isQuick ? 3 : 10, 150)
  }
  say('the same at 100 messages a second, for what it costs; then nothing at all')
  const loads = new Map<Lane, number>()
  for (const lane of lanes.ours) loads.set(lane, await lane.cpuWhile(() => lane.send(isQuick ? 200 : 1_000, 10)))
  const idles = new Map<Lane, number>()
  for (const lane of lanes.ours) idles.set(lane, await lane.cpuWhile(() => sleep(isQuick ? 1_000 : 5_000)))

  const rows: (Row | Skipped)[] = []
  for (const lane of lanes.ours) {
    const ours: Figures = {
      ...(await lane.figures()),
      cpuAt100PerSecPercent: loads.get(lane) ?? Number.NaN,
      cpuIdlePercent: idles.get(lane) ?? Number.NaN,
    }
    const rival = lanes.piped.find(({ manner }) => manner === lane.manner)
    const beside = rival === undefined ? {} : { [PIPELINE]: await rival.figures() }
    rows.push({
      what: WRITERS[lane.manner],
      reach: REACH[lane.manner],
      ours,
      beside,
      ratio: ratios('p50Ms', ours, beside),
      note: `${rounds * perRound} messages of 200 bytes, about 500 a second; the reader follows the store's traffic, and its CPU is all of it`,
    })
  }
  if (!piped) rows.push({ what: `push, beside ${PIPELINE}`, skipped: 'inotify-tools is not installed' })
  say('foreign commit → the wake command runs')
  rows.push(await wakes(stage, isQuick ? 10 : 100))
  return rows
}

/** One writer and one reader over a database of their own, at work in turn with the others. */
interface Lane {
  readonly manner: Manner
  send(count: number, gapMs: number): Promise<void>
  measure(count: number, gapMs: number): Promise<void>
  cpuWhile(act: () => Promise<unknown>): Promise<number>
  figures(): Promise<Figures>
}

class Lanes implements AsyncDisposable {
  readonly ours: Lane[] = []
  readonly piped: Lane[] = []
  readonly #stack = new AsyncDisposableStack()

  async open(stage: Stage, manner: Manner): Promise<void> {
    const path = join(await stage.room(`push-${manner}`), 'bridge.db')
    const writer = this.#stack.use(await openWriter(path, manner))
    const reader = this.#stack.use(await openReader(path))
    this.ours.push(lane(manner, writer, reader))
  }

  async openPiped(stage: Stage, manner: Manner): Promise<void> {
    const path = join(await stage.room(`piped-${manner}`), 'bridge.db')
    const writer = this.#stack.use(await openWriter(path, manner))
    const reader = this.#stack.use(await openPipeline(path))
    this.piped.push(lane(manner, writer, reader))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync()
  }
}

interface Writer extends AsyncDisposable {
  /** Commits so many messages with random gaps, and answers when each COMMIT had returned. */
  send(count: number, gapMs: number): Promise<[id: number, ns: string][]>
}

interface Reader extends AsyncDisposable {
  readonly arrivals: Promise<Times>
  /** CPU time so far, microseconds. */
  cpuUs(): Promise<number>
}

function lane(manner: Manner, writer: Writer, reader: Reader): Lane {
  const measured = new Map<number, bigint>()
  return {
    manner,
    send: async (count, gapMs) => void (await writer.send(count, gapMs)),
    measure: async (count, gapMs) => {
      for (const [id, ns] of await writer.send(count, gapMs)) measured.set(id, BigInt(ns))
    },
    cpuWhile: async (act) => {
      const [cpu, start] = [await reader.cpuUs(), performance.now()]
      await act()
      const tookMs = performance.now() - start
      return ((await reader.cpuUs()) - cpu) / 1_000 / tookMs / 0.01
    },
    figures: async () => {
      await sleep(LAST_MS)
      return latencies(measured, await reader.arrivals)
    },
  }
}

function latencies(commits: Times, arrivals: Times): Figures {
  const late = [...commits].flatMap(([id, at]) => {
    const arrived = arrivals.get(id)
    return arrived === undefined ? [] : [Number(arrived - at) / 1e6]
  })
  return {
    p50Ms: quantile(late, 0.5),
    p99Ms: quantile(late, 0.99),
    maxMs: quantile(late, 1),
    missed: commits.size - late.length,
  }
}

function here(name: string): string {
  return fileURLToPath(new URL(name, import.meta.url))
}

async function openWriter(path: string, manner: Manner): Promise<Writer> {
  if (manner === 'ours') {
    const child = fork(new URL('./push-sender.ts', import.meta.url), [path])
    await once(child, 'message')
    return {
      send: async (count, gapMs) => await ask(child, { count, gapMs }),
      [Symbol.asyncDispose]: () => leave(child, () => child.disconnect()),
    }
  }
  const child = spawn('python3', [here('./push-sender.py'), path, manner], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  await lines.next()
  return {
    send: async (count, gapMs) => {
      child.stdin.write(`${JSON.stringify({ count, gapMs })}\n`)
      const line = await lines.next()
      return JSON.parse(line.value as string)
    },
    [Symbol.asyncDispose]: () => leave(child, () => child.stdin.end()),
  }
}

/** Our reader: a process that follows the traffic of the store. */
async function openReader(path: string): Promise<Reader> {
  const child = fork(new URL('./push-reader.ts', import.meta.url), [path])
  await once(child, 'message')
  return {
    get arrivals() {
      return ask<[number, string][]>(child, 'arrivals').then((all) => new Map(all.map(([id, ns]) => [id, BigInt(ns)])))
    },
    cpuUs: () => ask<number>(child, 'cpu'),
    [Symbol.asyncDispose]: () => leave(child, () => child.send('end')),
  }
}

/** The way of the protocol's scripts: inotifywait on the folder, and for each event a Python that looks and marks read. */
async function openPipeline(path: string): Promise<Reader> {
  const watch = 'inotifywait -m -q -e modify --format %f "$(dirname "$1")"'
  const loop = `${watch} | while read -r name; do case $name in "$(basename "$1")"*) python3 "$2" "$1";; esac; done`
  const child = spawn('sh', ['-c', loop, 'sh', path, here('./push-check.py')], {
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const arrivals = new Map<number, bigint>()
  createInterface(child.stdout).on('line', (line) => {
    const [id, ns] = line.split(' ')
    if (!arrivals.has(Number(id))) arrivals.set(Number(id), BigInt(ns ?? 0))
  })
  await sleep(500)
  return {
    arrivals: Promise.resolve(arrivals),
    cpuUs: () => Promise.resolve(Number.NaN),
    [Symbol.asyncDispose]: () => leave(child, () => process.kill(-(child.pid as number), 'SIGKILL')),
  }
}

async function ask<T>(child: ChildProcess, question: string | object): Promise<T> {
  const answer = once(child, 'message')
  child.send(question)
  return (await answer)[0] as T
}

async function leave(child: ChildProcess, bye: () => void): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const left = once(child, 'exit')
  bye()
  await left
}

/** The real watcher with a wake command that does nothing but say that it runs. */
async function wakes(stage: Stage, count: number): Promise<Row> {
  const state = await stage.room('push-wake')
  const path = join(state, 'bridge.db')
  await using writer = await openWriter(path, 'call')
  const saying = join(state, 'saying')
  if (spawnSync('sh', ['-c', 'mkfifo "$1"', 'sh', saying]).status !== 0) throw new Error('no fifo can be made')
  const watcher = stage.start('other', stage.program('fs-watcher'), {
    S2_STATE: state,
    S2_SOURCE: 'database',
    S2_WAKE: JSON.stringify(['/bin/sh', '-c', 'echo up > "$1"', 'sh', saying]),
  })
  const late: number[] = []
  const heard = stage.start('other', ['sh', '-c', 'exec cat <> "$1"', 'sh', saying])
  await until('the watcher is ready', () => watcher.words().includes('"ready"'), watcher)
  for (let each = 0; each < count; each += 1) {
    const said = once(heard.child.stdout as Readable, 'data')
    const [[, committed] = [0, '0']] = await writer.send(1, 20)
    await said
    late.push(Number(process.hrtime.bigint() - BigInt(committed)) / 1e6)
    await sleep(30) // until the command has ended
  }
  return {
    what: "the same, → the wake command's process runs",
    reach: {},
    ours: { p50Ms: quantile(late, 0.5), p99Ms: quantile(late, 0.99), missed: count - late.length },
    note: `${count} messages; noted on disk (two syncs) before the command is started; a shell that says so ends the measure`,
  }
}

if (import.meta.main) {
  const rows = await push({ isQuick: process.argv.includes('--quick'), say: (line) => console.error(line) })
  console.log(JSON.stringify(rows, null, 2))
}
