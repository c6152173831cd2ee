import { setTimeout as sleep } from 'node:timers/promises'
import type { Task } from '../../../services/core/fleet/task.ts'
import type { Store } from '../../../services/core/store/store.ts'
import { agentOf, aliveAgents, allCompleted, begun, deal, verdictOf } from '../../rehearse/company.ts'
import { MailLoad } from '../../rehearse/mail.ts'
import { ROLES, workerOf } from '../../rehearse/stage.ts'
import { seconds, type Telling } from '../../rehearse/telling.ts'
import { until } from '../../until.ts'
import { accounts } from './accounts.ts'
import { type Cast, DEAF, HINTED, KILLED, LOSSY, MUTE, OURS, PARTITIONED, SUSPENDED } from './cast.ts'
import { hintedCredentials, hintedOnBadLine, rotated, unhintedCredentials } from './credentials.ts'
import type { Fleet } from './fleet.ts'
import type { Cut } from './network.ts'
import type { Table } from './table.ts'

/** Seldom enough for the rate that a session has by default. */
const SEND_EVERY_MS = 2_000
/**
 * One agent's tasks are moved in ten seconds and no more: who falls silent sooner after another waits for that. Silence counts
 * from the last beat, and that may be five seconds old.
 */
const APART_MS = 16_000
/** A beat may have come at the last moment before the fault, or be five seconds old, or ten where the machine stood still. */
const SILENT_S = 60
const BEAT_MOST_S = 10

/** Machines boot, and the fleet gathers on them. */
export async function gather(fleet: Fleet, telling: Telling, table: Table): Promise<Store> {
  telling.chapter('Nine machines and a git server boot, and share nothing but the network')
  const store = await fleet.raise()
  await joinAll(fleet, store, telling, table)
  await apartness(fleet, telling)
  return store
}

/** They are cut off, killed and suspended while they work. */
export async function play(fleet: Fleet, store: Store, telling: Telling, table: Table): Promise<void> {
  const conversations = await store.conversations()
  const mail = new MailLoad(conversations, (agent) => fleet.machineOf(agent).state, SEND_EVERY_MS)
  mail.start()
  const cast: Cast = { fleet, store, mail, telling, table, conversations, dealt: [] }
  try {
    await hintedCredentials(cast)
    await ordinaryDay(cast)
    await hintedOnBadLine(cast)
    await threeGo(cast)
    await twoHalfGo(cast)
    await bridgeAndGitGo(cast)
    await accounts(cast)
  } finally {
    await mail.stop()
  }
}

/** All machines join the fleet, and begin to work. */
async function joinAll(fleet: Fleet, store: Store, telling: Telling, table: Table): Promise<void> {
  const began = performance.now()
  for (const [index, role] of ROLES.entries()) await fleet.letJoin(index + 1, role)
  telling.say(`eight machines were invited and admitted in ${seconds(performance.now() - began)}`)
  const started = performance.now()
  for (const worker of fleet.workers) fleet.startWorker(worker)
  await until('all have their first credential', () => ROLES.every((_, at) => fleet.tokenOf(at + 1) !== null), 150_000)
  await until('all nine agents are alive', async () => (await aliveAgents(store)) === 9)
  const took = performance.now() - started
  telling.check(
    `all nine agents beat over TLS, ${seconds(took)} after the workers were started without any credential`,
    table.note('eight workers started: credentials fetched, all alive', took, null, 'recovery'),
  )
}

/** What is on one machine is not on another, and its network is its own. */
async function apartness(fleet: Fleet, telling: Telling): Promise<void> {
  const [one, other] = [fleet.worker(1), fleet.worker(2)]
  await one.run('sh', '-c', 'echo mine > /tmp/mine; echo mine > /var/lib/s2/mine')
  const seen = await other.run(
    'sh',
    '-c',
    'ls /tmp/mine /var/lib/s2/mine 2>/dev/null | wc -l; ls /proc | grep -c "^[0-9]"; hostname',
  )
  const [files, processes, name] = seen.trim().split('\n')
  const isApart = files === '0' && Number(processes) < 30 && name === other.name
  telling.check('they see neither files nor processes of one another', isApart, seen)
  const rootless = await one.run('sh', '-c', `ls ${fleet.git.disk} ${fleet.lead.disk} 2>/dev/null | wc -l`)
  telling.check('nor the disks of the others', rootless.trim() === '0', rootless)
}

async function ordinaryDay(cast: Cast): Promise<void> {
  const { telling, store, fleet } = cast
  telling.chapter('An ordinary day: each worker does a task of its role, and one line is bad from now on')
  const began = performance.now()
  fleet.router.worsen(LOSSY)
  const ids = await Promise.all(
    ROLES.map((_, index) => deal(cast, index + 1, `day-${index + 1}`, 'sleep 0.5; hostname')),
  )
  await until('the tasks are completed', () => allCompleted(store, ids))
  telling.say(`eight tasks completed in ${seconds(performance.now() - began)}`)
  const { result } = await store.task('day-1')
  telling.check('each on its own machine', result?.tail.trim() === workerOf(1), JSON.stringify(result))
}

/** One cut off, one without power, one suspended; meanwhile credentials spread by the poll alone. */
async function threeGo(cast: Cast): Promise<void> {
  const { fleet, telling } = cast
  telling.chapter(
    'One machine is cut off both ways, one loses its power, one is suspended; credentials spread by the poll',
  )
  const [killed, suspended] = [fleet.worker(KILLED), fleet.worker(SUSPENDED)]
  const spreading = unhintedCredentials(cast)
  const outcomes = await Promise.all([
    silence(cast, PARTITIONED, 0, 'cut off both ways', () => fleet.router.cut(PARTITIONED, 'both')),
    silence(cast, KILLED, APART_MS, 'without power', async () => {
      const ended = await killed.losePower()
      telling.check(`nothing is left of the ${ended} processes that ran there`, ended >= 5)
    }),
    silence(cast, SUSPENDED, 2 * APART_MS, 'suspended', async () => {
      const stopped = await suspended.suspend()
      telling.check('all of it stands still', stopped >= 5, `${stopped} processes`)
    }),
    spreading,
  ])
  telling.chapter('They come back')
  await Promise.all([
    recovery(cast, PARTITIONED, () => heal(cast, PARTITIONED, 'both')),
    recovery(cast, SUSPENDED, () => suspended.resume()),
    recovery(cast, KILLED, async () => {
      await killed.boot()
      fleet.startWorker(killed)
    }),
  ])
  await lateResult(cast, outcomes[0])
  await lateResult(cast, outcomes[2], () => gaveUpUnsure(suspended.said('work'), outcomes[2]))
}

async function twoHalfGo(cast: Cast): Promise<void> {
  const { fleet, telling } = cast
  telling.chapter('One machine hears nothing, one is heard by nobody')
  const outcomes = await Promise.all([
    silence(cast, DEAF, 0, 'deaf', () => fleet.router.cut(DEAF, 'inbound')),
    silence(cast, MUTE, APART_MS, 'mute', () => fleet.router.cut(MUTE, 'outbound')),
  ])
  telling.chapter('They come back')
  await Promise.all([
    recovery(cast, DEAF, () => heal(cast, DEAF, 'inbound')),
    recovery(cast, MUTE, () => heal(cast, MUTE, 'outbound')),
  ])
  for (const each of outcomes) await lateResult(cast, each)
}

/** Lets a fault befall a machine in the middle of a task, and follows what the watchdog makes of it. */
async function silence(
  cast: Cast,
  number: number,
  afterMs: number,
  what: string,
  befall: () => void | Promise<void>,
): Promise<Task> {
  const { store, telling, table } = cast
  const agent = workerOf(number)
  await sleep(afterMs)
  // It ends while nobody hears of it, well or not: by then its result is late.
  await deal(
    cast,
    number,
    `held-by-${number}`,
    'echo halfway; if [ "$S2_TASK_EPOCH" = 1 ]; then sleep 12; fi; echo finished',
  )
  const task = (): Promise<Task> => store.task(`held-by-${number}`)
  await until(`${agent} is at work`, async () => (await task()).progress === 'halfway')
  const before = await task()
  const began = performance.now()
  await befall()
  telling.say(`${agent} is ${what}`)
  let movedAt = Number.NaN
  let silentAt = Number.NaN
  await until(
    `${agent} is silent and its task moved`,
    async () => {
      if (Number.isNaN(silentAt) && (await verdictOf(store, agent)) === 'silent') silentAt = performance.now()
      if (Number.isNaN(movedAt) && (await task()).epoch > before.epoch) movedAt = performance.now()
      return !Number.isNaN(silentAt + movedAt)
    },
    150_000,
  )
  const detect = silentAt - began
  const holder = agentOf(cast, (await task()).holder)
  telling.check(
    `${agent} was found silent after ${seconds(detect)}, and not before its time`,
    table.note(`${what}: silent`, detect, OURS.detect, 'detect') && detect >= (SILENT_S - BEAT_MOST_S) * 1_000,
    seconds(detect),
  )
  telling.check(
    `its task went to ${holder} at once`,
    table.note(`${what}: task moved after the verdict`, Math.max(0, movedAt - silentAt), OURS.reassign, 'reassign') &&
      holder !== agent &&
      movedAt > began,
    seconds(movedAt - silentAt),
  )
  await until('another completes it', async () => (await task()).state === 'completed')
  return before
}

function heal({ fleet, telling }: Cast, number: number, cut: Cut): void {
  const lost = fleet.router.heal(number, cut)
  telling.check(
    `the cut of ${workerOf(number)} kept back ${lost.join(' + ')} packets`,
    lost.every((each) => each > 0),
  )
}

/** From the end of a fault until the machine lives, and has done new work. */
async function recovery(cast: Cast, number: number, undo: () => void | Promise<void>): Promise<void> {
  const { store, telling, table } = cast
  const agent = workerOf(number)
  const began = performance.now()
  await undo()
  await until(`${agent} is alive`, async () => (await verdictOf(store, agent)) === 'alive', 120_000)
  const took = performance.now() - began
  const id = await deal(cast, number, `again-${number}`, 'hostname')
  await until(`${agent} works again`, () => allCompleted(store, [id]), 120_000)
  const worked = performance.now() - began
  telling.check(
    `${agent} is alive ${seconds(took)} later, and has worked after ${seconds(worked)}`,
    table.note(`${agent}: alive and at work again`, worked, null, 'recovery') &&
      agentOf(cast, (await store.task(id)).holder) === agent,
  )
}

/**
 * What the former owner said of its task came too late, was refused, and is kept. A worker that wakes, and gives its command up
 * before an answer says that the lease is lost, has no result to report.
 */
async function lateResult({ store, telling }: Cast, before: Task, gaveUp = (): boolean => false): Promise<void> {
  const late = async () =>
    (await store.evidence(before.id)).find(({ report, holder }) => holder === before.holder && report.result !== null)
  await until(`the late result of ${before.id} is refused`, async () => gaveUp() || (await late()) !== undefined)
  const [evidence, { holder }] = [await late(), await store.task(before.id)]
  telling.check(
    evidence === undefined
      ? `the command of ${before.id} was given up when its machine woke`
      : `the late result of ${before.id} is refused and kept as evidence`,
    holder !== before.holder && (evidence === undefined || evidence.report.epoch === before.epoch),
  )
}

function gaveUpUnsure(said: string, { id, epoch }: Task): boolean {
  return said.split('\n').some((line) => {
    if (!line.includes('"lease_unsure"')) return false
    const { task, epoch: of } = JSON.parse(line) as { task?: string; epoch?: number }
    return task === id && of === epoch
  })
}

async function bridgeAndGitGo(cast: Cast): Promise<void> {
  const { fleet, store, telling, table, mail } = cast
  telling.chapter('The git server is away, and the bridge is killed under load')
  const tip = await fleet.tip()
  await fleet.git.kill('git')
  const meanwhile = await rotated(fleet, HINTED)
  telling.check(
    'a new credential comes by the bridge',
    table.note('credential while git is away', meanwhile, OURS.hint, 'credentials'),
    seconds(meanwhile),
  )
  const complaint = async (): Promise<string> =>
    await fleet.lead.s2('health', 'cred-sync').catch((error: { stdout?: string }) => error.stdout ?? String(error))
  await until('s2 health says what git lacks', async () => /git failed/.test(await complaint()), 120_000)
  const workers = ROLES.map((_, index) => index + 1)
  const ids = await Promise.all(
    workers.map((each) => deal(cast, each, `bridge-${each}`, 'echo halfway; sleep 8; echo done')),
  )
  await until('all are at work', async () => (await begun(store, ids)) === ids.length)
  const read = mail.read
  await fleet.lead.kill('bridge')
  const began = performance.now()
  await sleep(1_000)
  fleet.startBridge()
  await until('mail flows again', () => mail.read > read + 20)
  telling.check(
    'the bridge is back',
    table.note('bridge killed: mail flows again, a second of it away', performance.now() - began, null, 'recovery'),
  )
  await until('the tasks in hand are completed', () => allCompleted(store, ids))
  const epochs = await Promise.all(ids.map(async (id) => (await store.task(id)).epoch))
  telling.check(
    'no task was moved for it',
    epochs.every((epoch) => epoch === 1),
    epochs.join(),
  )
  await until('all nine are alive', async () => (await aliveAgents(store)) === 9)
  fleet.serveGit()
  const caughtUp = await until('git has what was published meanwhile', async () => (await fleet.tip()) !== tip, 120_000)
  telling.say(`git had it ${seconds(caughtUp)} after it was back`)
  const took = await rotated(fleet, HINTED)
  telling.check(
    'once git is back, a new credential needs no longer than ever',
    table.note('credential after git was away, with the hint of s2', took, OURS.hint, 'credentials'),
    seconds(took),
  )
}
