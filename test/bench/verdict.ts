/**
 * How late verdicts are, and how soon work is another's. The watchdog runs here as its program runs it; the fleet beats in a
 * process of its own, through the database, as bridge and watchdog share it. Runs alone too:
 *
 *   node test/bench/verdict.ts [--json] [--quick]
 */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { INCIDENT_KINDS } from '#fleet/incident.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { runSmoothly } from '#runtime/memory-tuning.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import type { WatchConfig } from '../../services/watchdog/config.ts'
import { watch } from '../../services/watchdog/watchdog.ts'
import { quantile } from './figures.ts'
import { type FleetJob, type FleetOrder, type FleetReply, monotonicMs } from './load/fleet.ts'
import { describe } from './machine.ts'
import type { Bench, Figures, Row, Wish } from './row.ts'
import { ask, openStage, type Stage } from './stage.ts'
import { tableText } from './table.ts'

export const verdict: Bench = async (wish) => {
  const sizes = wish.isQuick ? [10_000] : [10_000, 100_000]
  const rows: Row[] = []
  for (const sessions of sizes) rows.push(await measureLag(sessions, wish))
  rows.push(await measureMoves(wish))
  return rows
}

/** As a fleet would have it, but that one waits less for a silence. */
const WATCH: WatchConfig = {
  lateAfterMs: 8_000,
  silentAfterMs: 13_000,
  roundMs: 60_000,
  watchMs: 250,
  leaseMs: 60_000,
  moveEveryMs: 10_000,
  restartAfterMs: 30_000,
  restartsMax: 0,
  pendingAfterMs: 60_000,
  takeWithinMs: 86_400_000,
  stallAfterMs: 86_400_000,
  onStall: { otherwise: 'move', byName: new Map() },
  attemptsMax: 5,
  fallback: new Map(),
  alertOn: new Set(INCIDENT_KINDS),
  alertExec: null,
  alertWebhook: null,
}

const THIN_PER_S = 20

interface Passed {
  readonly agent: string
  readonly to: string
  /** After its deadline, by the observer's clock. */
  readonly lagMs: number
  readonly passedAt: number
}

/** A watchdog in this process, and all verdicts that it passed. */
interface Watching extends AsyncDisposable {
  readonly passed: Passed[]
  /** Resolves with the first verdict from now on that is so. */
  next(isSo: (passed: Passed) => boolean): Promise<Passed>
}

async function openWatching(path: string, config: WatchConfig): Promise<Watching> {
  runSmoothly()
  const ending = new AbortController()
  const log = recordingLog()
  const store = await openSqliteStore(path, { clock: systemClock, chance: systemChance, log })
  const offset = monotonicMs() - systemClock.now()
  const passed: Passed[] = []
  const waiting = new Set<(passed: Passed) => void>()
  const watching = watch(config, {
    store,
    clock: systemClock,
    log,
    chance: systemChance,
    signal: ending.signal,
    sources: [],
    onLook: ({ changes }) => {
      for (const { agent, to, at, passedAt } of changes) {
        const one = { agent, to, lagMs: passedAt - at, passedAt: passedAt + offset }
        passed.push(one)
        for (const tell of waiting) tell(one)
      }
    },
  })
  return {
    passed,
    next: (isSo) => {
      return new Promise((resolve) => {
        const tell = (one: Passed): void => {
          if (!isSo(one)) return
          waiting.delete(tell)
          resolve(one)
        }
        waiting.add(tell)
      })
    },
    [Symbol.asyncDispose]: async () => {
      ending.abort()
      await watching
      await store[Symbol.asyncDispose]()
    },
  }
}

async function startFleet(stage: Stage, job: FleetJob): Promise<(order: FleetOrder) => Promise<FleetReply>> {
  const file = fileURLToPath(new URL('./load/fleet.ts', import.meta.url))
  const actor = stage.start('load', [process.execPath, file])
  const tell = (order: FleetOrder): Promise<FleetReply> => ask(actor, order)
  await tell({ t: 'job', job })
  return tell
}

async function measureLag(sessions: number, { isQuick, say }: Wish): Promise<Row> {
  const what = `verdict time − exact deadline, ${sessions.toLocaleString('en-US')} sessions`
  await using stage = await openStage()
  const path = join(await stage.room('store'), 'bridge.db')
  say(`${what}: opening conversations`)
  const fleet = await startFleet(stage, { path, conversations: sessions / 2, agents: 'one each', beatMs: 5_000 })
  await using watching = await openWatching(path, WATCH)
  await systemClock.sleep(WATCH.lateAfterMs)
  const before = watching.passed.length
  const cpu = process.cpuUsage()
  const beganAt = monotonicMs()
  say(`${what}: ${THIN_PER_S} agents a second fall silent`)
  await fleet({ t: 'thin out', perS: THIN_PER_S })
  await systemClock.sleep((isQuick ? 10_000 : 60_000) + WATCH.silentAfterMs)
  const { silenced = new Map(), beats = 0, ranMs = 1 } = await fleet({ t: 'stop thinning out' })
  const { user, system } = process.cpuUsage(cpu)
  const passed = watching.passed.slice(before).filter(({ to }) => to !== 'alive')
  const convicted = passed.filter(({ to }) => to === 'silent')
  const lags = passed.map(({ lagMs }) => lagMs)
  const fromBeat = convicted.map(({ agent, passedAt }) => {
    return passedAt - WATCH.silentAfterMs - (silenced.get(agent) ?? Number.NaN)
  })
  const ours: Figures = {
    p50Ms: quantile(lags, 0.5),
    p99Ms: quantile(lags, 0.99),
    mostMs: quantile(lags, 1),
    verdicts: passed.length,
    falseVerdicts: passed.filter(({ agent }) => !silenced.has(agent)).length,
    afterLastBeatP50Ms: quantile(fromBeat, 0.5),
    afterLastBeatP99Ms: quantile(fromBeat, 0.99),
    beatsPerS: (beats / ranMs) * 1000,
    cpuPercent: (user + system) / 10 / (monotonicMs() - beganAt),
  }
  return { what, reach: { p99Ms: 10, falseVerdicts: 0 }, ours, note: LAG_NOTE }
}

const LAG_NOTE = `the watchdog in one process, beats and the bridge’s upkeep in another, liveness.db between them; the deadline is the moment at which the watchdog read the last beat, and the silence after it; after last beat: from when the bridge took it, so with its ${50} ms group and the watch of ${WATCH.watchMs} ms`

const WORKERS = 8
const TASKS = 5

/** One of eight workers dies with five tasks, again and again. */
async function measureMoves({ isQuick, say }: Wish): Promise<Row> {
  const what = 'verdict → tasks moved and both told'
  await using stage = await openStage()
  const path = join(await stage.room('store'), 'bridge.db')
  const fleet = await startFleet(stage, { path, conversations: WORKERS, agents: 'one orchestrator', beatMs: 100 })
  const config = { ...WATCH, lateAfterMs: 500, silentAfterMs: 1_000, watchMs: 50, moveEveryMs: 0 }
  await using watching = await openWatching(path, config)
  await systemClock.sleep(1_000)
  const waits: number[] = []
  const rounds = isQuick ? 10 : 60
  for (let round = 0; round < rounds; round += 1) {
    const worker = round % WORKERS
    const tasks = Array.from({ length: TASKS }, (_, n) => `round-${round}-${n}`)
    await fleet({ t: 'give', worker, tasks })
    const convicted = watching.next(({ agent, to }) => agent === `b${worker}` && to === 'silent')
    const back = watching.next(({ agent, to }) => agent === `b${worker}` && to === 'alive')
    await fleet({ t: 'silence', worker })
    const { toldAt = [] } = await fleet({ t: 'told', tasks })
    const { passedAt } = await convicted
    for (const at of toldAt) waits.push(at - passedAt)
    await fleet({ t: 'heal', worker })
    await back
    if (round % 20 === 19) say(`${what}: ${round + 1} of ${rounds} rounds`)
  }
  const ours: Figures = {
    p50Ms: quantile(waits, 0.5),
    p99Ms: quantile(waits, 0.99),
    mostMs: quantile(waits, 1),
    tasks: waits.length,
  }
  return { what, reach: { p99Ms: 50 }, ours, note: MOVES_NOTE }
}

const MOVES_NOTE = `${TASKS} tasks of one of ${WORKERS} workers; from the verdict until another process has both letters in hand, the orchestrator’s and the successor’s, through the database with synchronous FULL`

if (import.meta.main) {
  const { values } = parseArgs({ options: { json: { type: 'boolean' }, quick: { type: 'boolean', default: false } } })
  await using stage = await openStage()
  const machine = describe(stage.folder)
  const rows = await verdict({ isQuick: values.quick, say: (line) => console.error(line) })
  console.log(values.json === true ? JSON.stringify({ machine, rows }, null, 2) : tableText(machine, rows))
}
