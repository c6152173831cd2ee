/**
 * From a commit to whoever waits for it, in another process: foreign writers as they write and our own, our reader beside a
 * plain one, one in C, and the pipeline of the protocol.
 *
 *   node test/bench/push.ts [--quick]      the rows as JSON
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { quantile } from './figures.ts'
import { hasCommand } from './machine.ts'
import { Lane, type Manner, openWriter, READERS, type Rival, type Sent, Unavailable, WRITERS } from './push-lane.ts'
import type { Bench, Bounds, Figures, Row, Skipped } from './row.ts'
import { openStage, type Stage, until } from './stage.ts'

const FOREIGN = ['ours', 'ladder', 'each', 'c'] as const
const LANES: Readonly<Record<Manner, readonly Rival[]>> = {
  call: FOREIGN,
  lasting: FOREIGN,
  slow: FOREIGN,
  bridge: FOREIGN,
  ours: ['ours', 'plainBell', 'cBell'],
}
const MANNERS = Object.keys(LANES) as Manner[]
const GAPS_MS = [1, 20, 250] as const

/** How many times as long as the others' ours may be: their figures are measured in turn with ours, in the same minutes. */
const LADDER_BOUNDS: Bounds = { p50Ms: { [READERS.ladder]: 1.2, [READERS.c]: 3 }, p99Ms: { [READERS.c]: 2 } }
const BELL_BOUNDS: Bounds = { p50Ms: { [READERS.cBell]: 3 }, p99Ms: { [READERS.cBell]: 2 } }
const REACH_OF: Readonly<Record<Manner, Bounds>> = {
  call: LADDER_BOUNDS,
  lasting: LADDER_BOUNDS,
  slow: LADDER_BOUNDS,
  bridge: {},
  ours: BELL_BOUNDS,
}

/** Messages at each gap: for our reader, and for each of the others. */
const COUNTS: Readonly<Record<(typeof GAPS_MS)[number], readonly [ours: number, others: number]>> = {
  1: [9_000, 2_000],
  20: [800, 300],
  250: [200, 100],
}
const QUICK_COUNTS: typeof COUNTS = { 1: [100, 100], 20: [30, 30], 250: [10, 10] }
const ROUNDS = 10
const QUICK_ROUNDS = 2

const PIPELINE = 'inotifywait | python3'

export const push: Bench = async ({ isQuick, say }) => {
  await using stage = await openStage()
  await using stack = new AsyncDisposableStack()
  const lanes: Lane[] = []
  const skipped: Skipped[] = []
  const loadBefore = loadAverage()
  for (const manner of MANNERS) {
    for (const rival of LANES[manner]) {
      try {
        lanes.push(stack.use(await Lane.open(stage, manner, rival)))
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error
        skipped.push({ what: `push, ${WRITERS[manner]}, beside ${READERS[rival]}`, skipped: error.message })
      }
    }
  }
  await sleep(1_000) // what start-up leaves to be done is done by then

  const rows: Row[] = []
  for (const gapMs of GAPS_MS) rows.push(...(await latencies(lanes, gapMs, isQuick, say)))
  rows.push(...(await costs(lanes, isQuick, say)))
  if (hasCommand('inotifywait')) rows.push(...(await pipelines(stage, isQuick, say)))
  else skipped.push({ what: `push, ${PIPELINE}`, skipped: 'inotify-tools is not installed' })
  say('foreign commit → the wake command runs')
  rows.push(await wakes(stage, isQuick ? 10 : 100))
  const load = `load average ${loadBefore} before, ${loadAverage()} after: what else runs on the machine is measured too`
  return [...rows.map((row, at) => (at === 0 ? { ...row, note: `${row.note}; ${load}` } : row)), ...skipped]
}

/** One row for each writer, all lanes in turn. */
async function latencies(
  lanes: readonly Lane[],
  gapMs: (typeof GAPS_MS)[number],
  isQuick: boolean,
  say: (line: string) => void,
): Promise<Row[]> {
  const [ours, others] = (isQuick ? QUICK_COUNTS : COUNTS)[gapMs]
  const rounds = isQuick ? QUICK_ROUNDS : ROUNDS
  say(
    `gaps of ${gapMs} ms: ${rounds} rounds, ${ours} messages of each writer to our reader, ${others} to each other one`,
  )
  for (let round = 0; round < rounds; round += 1) {
    for (const lane of lanes) await lane.measure({ count: (lane.rival === 'ours' ? ours : others) / rounds, gapMs })
  }
  const figures = await Promise.all(lanes.map((lane) => lane.figures()))
  return rowsOf(lanes, figures, (manner) => ({
    what: `push, ${WRITERS[manner]}, every ${gapMs} ms: commit → row`,
    reach: { missed: 0 },
    reachOf: REACH_OF[manner],
    note: `messages of 200 bytes with gaps of ${gapMs / 2} to ${gapMs * 1.5} ms; the reader follows the store's traffic`,
  }))
}

/** What readers cost at a hundred messages a second, and at none. */
async function costs(lanes: readonly Lane[], isQuick: boolean, say: (line: string) => void): Promise<Row[]> {
  say('the same at 100 messages a second, for what it costs; then nothing at all')
  const count = isQuick ? 100 : 1_000
  const loads: number[] = []
  for (const lane of lanes) loads.push(await lane.cpuPercentWhile(() => lane.measure({ count, everyMs: 10 })))
  await sleep(1_000)
  const idles = await Promise.all(lanes.map((lane) => lane.cpuPercentWhile(() => sleep(isQuick ? 2_000 : 10_000))))
  const missed = (await Promise.all(lanes.map((lane) => lane.figures()))).map(({ missed = 0 }) => missed)
  const figures = lanes.map((_, at) => ({
    cpuAt100PerSecPercent: loads[at] ?? Number.NaN,
    cpuIdlePercent: idles[at] ?? Number.NaN,
    missed: missed[at] ?? Number.NaN,
  }))
  return rowsOf(lanes, figures, (manner) => ({
    what: `push, ${WRITERS[manner]}: CPU of the reader`,
    reach: manner === 'bridge' ? {} : { missed: 0, cpuAt100PerSecPercent: 4, cpuIdlePercent: 0.3 },
    reachOf: {},
    note: 'of one core, all of the process; a nap of 50 µs costs 0.04 ms of CPU in any language, so slow commits cost more',
  }))
}

/** A row for each writer: our reader, and the others beside it. */
function rowsOf(
  lanes: readonly Lane[],
  figures: readonly Figures[],
  about: (manner: Manner) => Omit<Row, 'ours' | 'beside'>,
): Row[] {
  return MANNERS.flatMap((manner) => {
    const own = new Map(lanes.flatMap((lane, at) => (lane.manner === manner ? [[lane.rival, figures[at] ?? {}]] : [])))
    const { ours, ...others } = Object.fromEntries(own) as Partial<Record<Rival, Figures>>
    if (ours === undefined) return []
    const beside = Object.fromEntries(Object.entries(others).map(([rival, one]) => [READERS[rival as Rival], one]))
    return [{ ...about(manner), ours, beside }]
  })
}

/** The one-minute load average, proc(5). */
function loadAverage(): string {
  return readFileSync('/proc/loadavg', 'latin1').split(' ', 1)[0] ?? '?'
}

/** The way of the protocol's scripts, on its own: inotifywait on the folder, and for each event a Python that looks and marks read. */
async function pipelines(stage: Stage, isQuick: boolean, say: (line: string) => void): Promise<Row[]> {
  const rows: Row[] = []
  for (const manner of ['call', 'lasting'] as const) {
    say(`${PIPELINE}, ${WRITERS[manner]}`)
    const path = join(await stage.room(`piped-${manner}`), 'bridge.db')
    await using writer = await openWriter(path, manner)
    await using pipeline = openPipeline(path)
    await sleep(500)
    const sent = await writer.ask<Sent[]>({ count: isQuick ? 5 : 50, gapMs: 150 })
    await sleep(1_000)
    const late = sent.flatMap(([id, committedAt]) => {
      const arrivedAt = pipeline.arrivals.get(id)
      return arrivedAt === undefined ? [] : [Number(arrivedAt - BigInt(committedAt)) / 1e6]
    })
    rows.push({
      what: `push, ${WRITERS[manner]}: ${PIPELINE}`,
      reach: {},
      ours: { p50Ms: quantile(late, 0.5), p99Ms: quantile(late, 0.99), missed: sent.length - late.length },
      note: 'not ours: what the protocol has where S2 is not',
    })
  }
  return rows
}

function openPipeline(path: string): { readonly arrivals: ReadonlyMap<number, bigint> } & AsyncDisposable {
  const watch = 'inotifywait -m -q -e modify --format %f "$(dirname "$1")"'
  const loop = `${watch} | while read -r name; do case $name in "$(basename "$1")"*) python3 "$2" "$1";; esac; done`
  const script = fileURLToPath(new URL('push-check.py', import.meta.url))
  const child = spawn('sh', ['-c', loop, 'sh', path, script], { detached: true, stdio: ['ignore', 'pipe', 'inherit'] })
  const arrivals = new Map<number, bigint>()
  createInterface(child.stdout).on('line', (line) => {
    const [id, ns] = line.split(' ')
    if (!arrivals.has(Number(id))) arrivals.set(Number(id), BigInt(ns ?? 0))
  })
  return {
    arrivals,
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const left = once(child, 'exit')
      process.kill(-(child.pid as number), 'SIGKILL')
      await left
    },
  }
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
    const [[, committed] = [0, '0']] = await writer.ask<Sent[]>({ count: 1, gapMs: 20 })
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
