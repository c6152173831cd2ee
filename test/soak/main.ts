/**
 * A real fleet of nine agents that works for hours while faults befall it. What lasts is measured all the while, and must be flat:
 * memory, descriptors, threads, the logs of the databases, rows and files. At the end each thing that was acknowledged is there once.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemChance, systemClock } from '../../services/core/runtime/clock.ts'
import { recordingLog } from '../../services/core/runtime/log.ts'
import { openStore } from '../../services/core/store/open-store.ts'
import { checkFile } from '../../services/core/store/sqlite/backup/integrity-check.ts'
import type { Store } from '../../services/core/store/store.ts'
import { readFleet } from '../../services/local/parse-fleet-description.ts'
import { planPrograms } from '../../services/local/process-plan.ts'
import { FleetProgram } from '../kills/fleet-program.ts'
import { TaskLoad } from '../kills/work.ts'
import { readOptions } from '../options.ts'
import { aliveAgents } from '../rehearse/company.ts'
import { MailLoad } from '../rehearse/mail.ts'
import { Stage, workerOf } from '../rehearse/stage.ts'
import { Telling } from '../rehearse/telling.ts'
import { Dice } from '../simulation/chance.ts'
import { until } from '../until.ts'
import { befall } from './faults.ts'
import { type Figure, KINDS, Samples } from './samples.ts'
import { risesBy, type Trend, trendOf } from './trend.ts'

const HELP = `usage: node test/soak/main.ts [options]

  --hours N     for so long; 1 unless said. Below half an hour nothing is judged by its slope
  --every S     a fault each S seconds, on average; 30 unless said
  --seed TEXT   draws the faults; the time of day unless said
  --json FILE   the figures, as they were sampled
  --help        this text
`
const values = readOptions(HELP, {
  hours: { type: 'string', default: '1' },
  every: { type: 'string', default: '30' },
  seed: { type: 'string' },
  json: { type: 'string' },
})
const hours = positive('hours', values.hours)
const everyMs = positive('every', values.every) * 1_000
const seed = values.seed ?? String(Date.now())
const HOUR_MS = 3_600_000
const SAMPLE_MS = 10_000
/** A program stands still while it writes its heap down, for less than a second. */
const HEAPS_EVERY_MS = 300_000
/** What a program takes while it warms up says nothing of what it takes for ever. */
const WARM_UP_MS = Math.min(HOUR_MS / 4, (hours * HOUR_MS) / 3)
const JUDGED_FROM_HOURS = 0.5
/** Workers from this one on are killed; the others and the orchestrator's programs last, and are measured. */
const MORTAL_FROM = 5
const WORKERS = 8
const PRUNED_AFTER_MS = 120_000
const BACKUP_EVERY_MS = 300_000
const REST_MS = 180_000
/** What each program that lasts is measured by. */
const PROGRAM_KINDS = ['memory', 'descriptors', 'threads'] as const

const telling = new Telling()
telling.say(`${hours} h, a fault each ${everyMs / 1_000} s; again: make soak HOURS=${hours} SEED=${seed}`)
await using stage = new Stage({
  workers: Array.from({ length: WORKERS }, (_, index) => ({ role: `role-${index + 1}` })),
  settings: { S2_ATTEMPTS_MAX: '50', S2_SILENT_AFTER: '30s', S2_LATE_AFTER: '15s', S2_LEASE: '60s' },
})
const programs: FleetProgram[] = []
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
process.once('exit', () => {
  for (const each of programs) each.end()
})
try {
  await play()
} catch (error) {
  telling.check('the soak comes to its end', false, (error as Error).stack ?? String(error))
}
stage.keep = telling.failed > 0
if (stage.keep) console.log(`\nleft to look at: ${stage.folder}`)
telling.end()
if (telling.failed > 0) process.exitCode = 1

function positive(name: string, text: string): number {
  const number = Number(text)
  if (number > 0) return number
  console.error(`--${name} ${text} is no number above 0; for example --${name} 1`)
  process.exit(64)
}

async function play(): Promise<void> {
  const first = await stage.raise()
  await until('all agents live', async () => (await aliveAgents(first)) === WORKERS + 1)
  const conversations = await first.conversations()
  await stage.lower()

  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('S2_')))
  const around = { state: stage.state, folder: stage.folder, env }
  const plans = planPrograms(readFleet(join(stage.folder, 'fleet.json')), around)
  const heaps = join(stage.folder, 'heaps')
  mkdirSync(heaps)
  const options = { NODE_OPTIONS: `--heapsnapshot-signal=SIGUSR2 --diagnostic-dir=${heaps}` }
  programs.push(...plans.map((plan) => new FleetProgram({ ...plan, env: { ...plan.env, ...options } }, stage.folder)))
  const over = new AbortController()
  const restarts: string[] = []
  const running = programs.map((program) => keepRunning(program, over.signal, restarts))
  const mortalAgents = Array.from({ length: WORKERS - MORTAL_FROM + 1 }, (_, index) => workerOf(index + MORTAL_FROM))
  const mortal = programs.filter(({ plan }) => mortalAgents.includes(plan.agent))
  const lasting = programs.filter((program) => !mortal.includes(program))

  const parts = { clock: systemClock, chance: systemChance, log: recordingLog() }
  await using store = await openStore(`unix:${join(stage.state, 'run', 'admin.sock')}`, parts)
  const mail = new MailLoad(conversations, (agent) => stage.stateOf(agent), 500, true)
  const tasks = new TaskLoad(store, conversations, 10_000 / WORKERS)
  mail.start()
  tasks.start()
  const states = plans.map(({ agent }) => stage.stateOf(agent))
  const samples = new Samples(lasting, [stage.state, ...new Set(states.filter((state) => state !== stage.state))])
  const repeated = [
    repeat(() => samples.take(), SAMPLE_MS, over.signal),
    repeat(() => samples.takeHeaps(heaps), HEAPS_EVERY_MS, over.signal),
    repeat(() => store.prune(PRUNED_AFTER_MS), 60_000, over.signal),
    repeat(() => stage.s2('backup', '--keep', '3'), BACKUP_EVERY_MS, over.signal),
    repeat(() => telling.say(progress(samples, mail, tasks)), (hours * HOUR_MS) / 12, over.signal),
  ]
  const ground = { state: stage.state, mortal, lasting, spools: mortalAgents.map((agent) => stage.stateOf(agent)) }
  const befalling = { everyMs, dice: new Dice(seed), tell: (what: string) => telling.say(what) }
  const faults = befall(ground, befalling, over.signal)
  await sleep(hours * HOUR_MS)
  over.abort()
  const befell = await faults
  await Promise.all([...repeated, mail.stopSending(), tasks.stop()])

  telling.chapter('what is left of it')
  telling.check(`${befell} faults befell it`, befell > 0)
  await judge(store, mail, tasks)
  const fell = restarts.filter((end) => lasting.some(({ name }) => end.startsWith(`${name} (`)))
  telling.check('no program that lasts ended by itself', fell.length === 0, fell.join(', '))
  await mail.stop()
  await Promise.all(programs.map((program) => program.stop()))
  await Promise.all(running)
  telling.check('the database is sound', isSound(join(stage.state, 'bridge.db')))
  const trail = await stage.s2('audit', 'verify').catch((error: Error) => error)
  telling.check('the audit trail is one chain', typeof trail === 'string', String(trail))

  const figures = samples.since(WARM_UP_MS)
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(samples.since(0))}\n`)
  telling.chapter(`what it took, after the first ${Math.round(WARM_UP_MS / 60_000)} min; ± is twice the standard error`)
  for (const figure of figures) showTrend(figure)
  const unmeasured = PROGRAM_KINDS.flatMap((kind) =>
    lasting.filter(({ name }) => !figures.some((each) => each.kind === kind && each.of === name && isTrend(each))),
  )
  if (hours < JUDGED_FROM_HOURS) return
  telling.check(
    'every program that lasts was measured',
    unmeasured.length === 0,
    unmeasured.map(({ name }) => name).join(),
  )
}

function isTrend({ points }: Figure): boolean {
  return trendOf(points) !== null
}

function progress(samples: Samples, mail: MailLoad, tasks: TaskLoad): string {
  const minutes = Math.round(samples.elapsedMs / 60_000)
  return `${minutes} of ${hours * 60} min; ${mail.sent} letters sent, ${mail.read} read, ${tasks.dealt.length} tasks dealt`
}

/** Starts a program again after each end, as systemd would; notes each: the kernel kills what takes too much memory. */
async function keepRunning(program: FleetProgram, signal: AbortSignal, restarts: string[]): Promise<void> {
  while (!signal.aborted) {
    const end = await program.start()
    if (!signal.aborted) restarts.push(`${program.name} (${end})`)
    await sleep(500)
  }
}

async function repeat(step: () => unknown, everyMs: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sleep(everyMs, undefined, { signal }).catch(() => undefined)
    if (signal.aborted) return
    try {
      await step()
    } catch (error) {
      telling.say(`again later: ${(error as Error).message.slice(0, 200)}`) // the bridge may stand still just now
    }
  }
}

async function judge(store: Store, mail: MailLoad, tasks: TaskLoad): Promise<void> {
  const isAtRest = async (): Promise<boolean> =>
    mail.read >= mail.sent && (await store.tasks({ open: true })).length === 0
  const rest = await until('all is at rest', isAtRest, REST_MS).catch(() => null)
  telling.check(`all is at rest${rest === null ? '' : ` after ${(rest / 1_000).toFixed(1)} s`}`, rest !== null)
  const faults = mail.faults()
  telling.check(
    `${mail.sent} letters came, each once and in order`,
    faults.length === 0,
    faults.join('\n').slice(0, 2_000),
  )
  const undone = tasks.dealt.filter((id) => stage.ledgerOf(id).ended === 0)
  telling.check(`${tasks.dealt.length} tasks were done`, undone.length === 0, String(undone))
}

/** Judges a figure, or shows it where nothing can be judged. One that never moves is worth no line of its own. */
function showTrend({ kind, of, points }: Figure): void {
  const trend = trendOf(points)
  if (trend === null) return
  const { unit, risesPerHour, ...limits } = KINDS[kind]
  const most = 'most' in limits ? limits.most : Number.POSITIVE_INFINITY
  const text = `${kind} of ${of}: ${inWords(trend, unit)}`
  const isFlat = risesPerHour === null || (!risesBy(trend, risesPerHour) && trend.most <= most)
  if (risesPerHour === null || hours < JUDGED_FROM_HOURS) {
    if (trend.perHour !== 0) telling.say(text)
    return
  }
  const limit = `≤ ${risesPerHour} ${unit}/h${most === Number.POSITIVE_INFINITY ? '' : `, ≤ ${most} ${unit}`}`
  telling.check(`${text} (${limit})`, isFlat)
}

function inWords({ first, last, most, perHour, off }: Trend, unit: string): string {
  const figures = [first, last, most, perHour, off].map((value) => value.toFixed(Math.abs(value) < 100 ? 2 : 0))
  const [begin, end, top, slope, error] = figures
  return `${begin} → ${end} ${unit}, at most ${top}, ${slope} ± ${error} ${unit}/h`
}

function isSound(path: string): boolean {
  try {
    checkFile(path)
    return true
  } catch {
    return false
  }
}
