/**
 * A real fleet whose every program is killed by SIGKILL at instants of chance, and its commands with them, while mail, tasks and a
 * Python bridge go on. Then all of it lives once more, and what was acknowledged is looked for: each thing once, and whole.
 */

import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemChance, systemClock } from '../../services/core/runtime/clock.ts'
import { recordingLog } from '../../services/core/runtime/log.ts'
import { readCredentials } from '../../services/core/spool/credentials.ts'
import { Outbox } from '../../services/core/spool/outbox.ts'
import { openStore } from '../../services/core/store/open-store.ts'
import { checkFile } from '../../services/core/store/sqlite/backup/integrity-check.ts'
import type { Store } from '../../services/core/store/store.ts'
import { readFleet } from '../../services/local/parse-fleet-description.ts'
import { planPrograms } from '../../services/local/process-plan.ts'
import { Neighbour } from '../core/store/sqlite-ground.ts'
import { readOptions } from '../options.ts'
import { aliveAgents } from '../rehearse/company.ts'
import { MailLoad } from '../rehearse/mail.ts'
import { Stage, workerOf } from '../rehearse/stage.ts'
import { Telling } from '../rehearse/telling.ts'
import { Dice } from '../simulation/chance.ts'
import { until } from '../until.ts'
import { sayCommands } from './commands.ts'
import { FleetProgram } from './fleet-program.ts'
import { killAgainAndAgain, Toll } from './lives.ts'
import { Chores, Orders, PythonLoad, TaskLoad } from './work.ts'

const HELP = `usage: node test/kills/main.ts [options]

  --rounds N   so many kills; 1000 unless said
  --seed TEXT  draws the instants; the time of day unless said
  --help       this text
`
const values = readOptions(HELP, { rounds: { type: 'string', default: '1000' }, seed: { type: 'string' } })
const rounds = Number(values.rounds)
if (!Number.isSafeInteger(rounds) || rounds < 1) {
  console.error(`--rounds ${values.rounds} is no whole number from 1 on; for example --rounds 1000`)
  process.exit(64)
}
const seed = values.seed ?? String(Date.now())
/** How long it may take until all is at rest. Most of it is the pauses of tasks whose agents were killed under them. */
const REST_MS = 180_000

const telling = new Telling()
telling.say(`${rounds} kills; again with the same instants: make kills ROUNDS=${rounds} SEED=${seed}`)
const fleet = {
  workers: [{ role: 'backend' }, { role: 'tests' }],
  settings: { S2_ATTEMPTS_MAX: '50', S2_LOG_LEVEL: 'info' },
}
await using stage = new Stage(fleet)
const programs: FleetProgram[] = []
const endAll = (): void => {
  for (const each of programs) each.end()
  for (const { pid } of stage.family()) kill(pid)
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
process.once('exit', endAll)
try {
  await play()
} catch (error) {
  telling.check('the rounds come to their end', false, (error as Error).stack ?? String(error))
}
stage.keep = telling.failed > 0
if (stage.keep) console.log(`\nleft to look at: ${stage.folder}`)
telling.end()
if (telling.failed > 0) process.exitCode = 1

async function play(): Promise<void> {
  const first = await stage.raise()
  await until('all agents live', async () => (await aliveAgents(first)) === fleet.workers.length + 1)
  const conversations = await first.conversations()
  await stage.lower()

  const database = join(stage.state, 'bridge.db')
  const program = join(import.meta.dirname, '..', 'core', 'store', 'python-bridge.py')
  await using neighbour = new Neighbour(
    spawn('python3', [program, database], { stdio: ['pipe', 'pipe', 'inherit'], detached: true }),
  )
  await neighbour.hear()
  const python = new PythonLoad(neighbour)
  await python.start()
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('S2_')))
  const plans = planPrograms(readFleet(join(stage.folder, 'fleet.json')), {
    state: stage.state,
    folder: stage.folder,
    env,
  })
  const toll = new Toll(rounds)
  const mail = new MailLoad(conversations, (agent) => stage.stateOf(agent), 200)
  const told = conversations.find(({ agents }) => agents.b === workerOf(2))
  if (told === undefined) throw new Error(`${workerOf(2)} has no conversation`)
  const orders = new Orders(told)
  const shell = { ...env, S2_STATE: stage.state }
  const parts = { clock: systemClock, chance: systemChance, log: recordingLog() }
  const store = await openStore(`unix:${join(stage.state, 'run', 'admin.sock')}`, parts)
  await using _store = store
  const tasks = new TaskLoad(store, conversations)
  mail.start()
  tasks.start()
  programs.push(...plans.map((plan) => new FleetProgram(plan, stage.folder)))
  const killed = Promise.all([
    ...programs.map((each, index) => killAgainAndAgain(each, new Dice(`${seed} ${index}`), toll)),
    sayCommands(shell, orders, new Dice(`${seed} orders`), toll),
    sayCommands(shell, new Chores(told), new Dice(`${seed} chores`), toll),
  ])
  await Promise.race([killed, tellProgress(toll)])
  await killed
  telling.say(`killed: ${toll.inWords()}`)
  await Promise.all([mail.stopSending(), tasks.stop(), python.stop()])

  const rest = await atRest(store, mail)
  telling.check(`all is at rest${rest === null ? '' : ` after ${(rest / 1000).toFixed(1)} s`}`, rest !== null)
  await judge(store, { mail, tasks, python, orders, toll, plans: plans.map((plan) => plan.program) })
  await mail.stop()
  await Promise.all(programs.map((each) => each.stop()))
  await judgeFiles(
    database,
    plans.map(({ agent }) => agent),
  )
}

async function tellProgress(toll: Toll): Promise<never> {
  for (let told = 0; ; ) {
    await sleep(1_000)
    const tenth = Math.floor((10 * toll.sum) / rounds)
    if (tenth > told) telling.say(`${toll.sum} killed`)
    told = Math.max(told, tenth)
    if (toll.isFull) await new Promise(() => undefined)
  }
}

/** Answers how long it took until all mail was read and all tasks ended; null where it did not. */
async function atRest(store: Store, mail: MailLoad): Promise<number | null> {
  try {
    return await until(
      'all mail is read, and all tasks have ended',
      async () => mail.read >= mail.sent && (await store.tasks({ open: true })).length === 0,
      REST_MS,
    )
  } catch {
    return null
  }
}

interface Loads {
  readonly mail: MailLoad
  readonly tasks: TaskLoad
  readonly python: PythonLoad
  readonly orders: Orders
  readonly toll: Toll
  readonly plans: readonly string[]
}

async function judge(store: Store, { mail, tasks, python, orders, toll, plans }: Loads): Promise<void> {
  const faults = mail.faults()
  telling.check(`${mail.sent} letters of agents came, each once and in order`, faults.length === 0, faults.join('\n'))
  const ids = [...tasks.dealt, ...orders.tasks]
  const found = await Promise.all(ids.map(async (id) => await store.task(id).catch(() => null)))
  const lost = ids.filter((_, index) => found[index]?.state !== 'completed')
  const states = found.map((task) => (task === null ? 'lost' : task.state)).filter((state) => state !== 'completed')
  telling.check(`${ids.length} answered tasks are there and completed`, lost.length === 0, `${lost}: ${states}`)
  const undone = ids.filter((id) => stage.ledgerOf(id).ended === 0)
  telling.check('each was done by a command', undone.length === 0, String(undone))

  const texts = await unread(store, python.reader)
  const wanted = Array.from({ length: python.sent }, (_, index) => String(index + 1))
  const isWhole = texts.length === wanted.length && texts.every((text, index) => text === wanted[index])
  telling.check(
    `${python.sent} messages of the Python bridge are there, each once`,
    isWhole,
    `${texts.length} are there`,
  )
  telling.check(
    'the Python bridge was never refused',
    python.refused.length === 0,
    python.refused.slice(0, 3).join('; '),
  )

  const said = await unread(store, readerOf(await store.conversations()))
  const counts = orders.messages.map((key) => said.filter((text) => text === key).length)
  telling.check(
    `${orders.messages.length} messages of s2 send are there, each once`,
    counts.every((count) => count === 1),
    String(counts),
  )
  const done = { letters: mail.sent, tasks: ids.length, python: python.sent, messages: orders.messages.length }
  const isEnough =
    done.letters > rounds / 10 && done.tasks > rounds / 50 && done.python > rounds / 20 && done.messages > 0
  telling.check('enough was done to be lost', isEnough, JSON.stringify(done))
  const rare = plans.filter((program) => toll.of(program) < rounds / 60)
  telling.check('every program was killed', rare.length === 0, String(rare))
  telling.check('no program ended by itself', toll.odd.length === 0, toll.odd.slice(0, 5).join('; '))
}

function readerOf(conversations: Awaited<ReturnType<Store['conversations']>>): `${string}/b` {
  return `${conversations.find(({ agents }) => agents.b === workerOf(2))?.id ?? ''}/b`
}

/** The texts of all messages to a session that nobody has acked. */
async function unread(store: Store, reader: `${string}/b`): Promise<string[]> {
  const texts: string[] = []
  for (let after = 0; ; ) {
    const page = await store.unacked(reader as never, after, 500)
    const last = page.at(-1)
    if (last === undefined) return texts
    texts.push(...page.map(({ text }) => text))
    after = last.id
  }
}

async function judgeFiles(database: string, agents: readonly string[]): Promise<void> {
  const trail = await stage.s2('audit', 'verify').catch((error: Error) => error)
  telling.check('the audit trail is one chain', typeof trail === 'string', String(trail))
  telling.check(
    'the database is sound',
    reads(() => checkFile(database)),
  )
  const folder = join(stage.state, 'backups')
  const backups = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.db')) : []
  const bad = backups.filter((name) => !reads(() => checkFile(join(folder, name))))
  telling.check(`${backups.length} backups are sound`, bad.length === 0, String(bad))
  for (const agent of new Set(agents)) {
    const state = stage.stateOf(agent)
    const { faults } = await readCredentials(state)
    const left = await new Outbox(state).names()
    const aside = ['inbox', 'outbox'].flatMap((spool) => namesIn(join(state, spool, 'bad')))
    const faultsOf = [...faults, ...left.map((name) => `in the outbox: ${name}`), ...aside]
    telling.check(`the files of ${agent} are whole`, faultsOf.length === 0, faultsOf.slice(0, 5).join('; '))
  }
}

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : []
}

function reads(check: () => unknown): boolean {
  try {
    check()
    return true
  } catch {
    return false
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has ended
  }
}
