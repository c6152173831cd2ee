import { setTimeout as sleep } from 'node:timers/promises'
import { isOpen, type Task } from '../../../services/core/fleet/task.ts'
import type { Store } from '../../../services/core/store/store.ts'
import {
  agentOf,
  aliveAgents,
  allCompleted,
  begun,
  type Company,
  deal,
  verdictOf,
  wholeAudit,
} from '../../rehearse/company.ts'
import { MailLoad } from '../../rehearse/mail.ts'
import { ROLES, workerOf } from '../../rehearse/stage.ts'
import { seconds, type Telling } from '../../rehearse/telling.ts'
import { until } from '../../until.ts'
import { Fleet } from './fleet.ts'
import { type Cut, LOSS } from './network.ts'
import type { Table } from './table.ts'

/** What everybody in the story knows. */
interface Cast extends Company {
  readonly fleet: Fleet
  readonly mail: MailLoad
  readonly telling: Telling
  readonly table: Table
}

/** Whom what befalls. */
const PARTITIONED = 1
const KILLED = 2
const SUSPENDED = 3
const DEAF = 4
const MUTE = 5
const LOSSY = 6
const HINTED = 8
const REACHABLE = [4, 5, 6, 7, 8]

/** Seldom enough for the rate that a session has by default. */
const SEND_EVERY_MS = 2_000
/**
 * One agent's tasks are moved in ten seconds and no more: who falls silent sooner after another waits for that. Silence counts
 * from the last beat, and that may be five seconds old.
 */
const APART_MS = 16_000
/** What we promise, seconds. */
const OURS = { poll: 65, hint: 2, detect: 65, reassign: 1 } as const
/** A beat may have come at the last moment before the fault, or be five seconds old, or ten where the machine stood still. */
const SILENT_S = 60
const BEAT_MOST_S = 10

export async function play(work: string, telling: Telling, table: Table): Promise<void> {
  telling.chapter('Nine machines and a git server boot, and share nothing but the network')
  const fleet = new Fleet(work)
  const store = await fleet.raise()
  await gather(fleet, store, telling, table)
  await apartness(fleet, telling)
  const conversations = await store.conversations()
  const mail = new MailLoad(conversations, (agent) => fleet.machineOf(agent).state, SEND_EVERY_MS)
  mail.start()
  const cast: Cast = { fleet, store, mail, telling, table, conversations, dealt: [] }
  try {
    await ordinaryDay(cast)
    await hintedCredentials(cast)
    await threeGo(cast)
    await twoHalfGo(cast)
    await bridgeAndGitGo(cast)
    await accounts(cast)
  } finally {
    await mail.stop()
    await store[Symbol.asyncDispose]()
  }
}

/** All machines join the fleet, and begin to work. */
async function gather(fleet: Fleet, store: Store, telling: Telling, table: Table): Promise<void> {
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

async function hintedCredentials(cast: Cast): Promise<void> {
  const { fleet, telling, table } = cast
  telling.chapter('New credentials, with a hint')
  const all = ROLES.map((_, index) => index + 1)
  const took = await Promise.all(all.map((each) => rotated(fleet, each)))
  const good = took.filter((_, index) => index + 1 !== LOSSY)
  const bad = took[LOSSY - 1] ?? Number.NaN
  telling.check(
    'all of them asked at once',
    table.note(
      `credentials on ${good.length} machines at once, after a hint`,
      Math.max(...good),
      OURS.hint,
      'credentials',
    ),
    good.map(seconds).join(),
  )
  telling.check(
    `and the one whose line loses ${LOSS * 100} % each way not much later`,
    table.note(`the same on the line that loses ${LOSS * 100} %`, bad, null, 'credentials'),
    seconds(bad),
  )
}

/** How long a worker had not its new credential after it was published, milliseconds. */
async function rotated(fleet: Fleet, number: number): Promise<number> {
  const before = fleet.tokenOf(number)
  const has = until(`worker ${number} has its new credential`, () => fleet.tokenOf(number) !== before, 150_000)
  const hadAt = has.then(() => performance.now())
  await fleet.lead.s2('credential', 'rotate', workerOf(number))
  const publishedAt = performance.now()
  return Math.max(0, (await hadAt) - publishedAt)
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
  await lateResult(cast, outcomes[2])
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

async function unhintedCredentials({ fleet, telling, table }: Cast): Promise<void> {
  await Promise.all(REACHABLE.map((each) => fleet.loseHints(each, true)))
  // Whose folder has become another looks once: what is published after that is found by the poll alone.
  await sleep(5_000)
  const took = await Promise.all(REACHABLE.map((each) => rotated(fleet, each)))
  await Promise.all(REACHABLE.map((each) => fleet.loseHints(each, false)))
  const good = took.filter((_, index) => REACHABLE[index] !== LOSSY)
  telling.check(
    'credentials spread by the poll alone',
    table.note(`credentials on ${good.length} machines without a hint`, Math.max(...good), OURS.poll, 'credentials'),
    good.map(seconds).join(),
  )
  telling.check(
    'which is no hint',
    good.some((each) => each > OURS.hint * 1_000),
    good.map(seconds).join(),
  )
  // A fetch over this line may be lost whole, and is tried again: how soon is chance, and only that it comes is promised.
  table.note(
    `the same on the line that loses ${LOSS * 100} %`,
    took[REACHABLE.indexOf(LOSSY)] ?? Number.NaN,
    null,
    null,
  )
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

/** What the former owner said of its task came too late, was refused, and is kept. */
async function lateResult({ store, telling }: Cast, before: Task): Promise<void> {
  const late = async () =>
    (await store.evidence(before.id)).find(({ report, holder }) => holder === before.holder && report.result !== null)
  await until(`the late result of ${before.id} is refused`, async () => (await late()) !== undefined)
  telling.check(
    `the late result of ${before.id} is refused and kept as evidence`,
    (await late())?.report.epoch === before.epoch && (await store.task(before.id)).holder !== before.holder,
  )
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

async function accounts(cast: Cast): Promise<void> {
  const { fleet, store, telling, table, mail, dealt } = cast
  telling.chapter('The accounts')
  await mail.stopSending()
  const took = await until('all mail has come', () => mail.read >= mail.sent, 120_000).catch(() => Number.NaN)
  telling.say(`${mail.sent} messages were sent all the while; the last came ${seconds(took)} after the end`)
  const faults = mail.faults()
  telling.check('every message came exactly once and in order', faults.length === 0, faults.join('; '))
  telling.check('there were enough of them to prove something', mail.sent >= 1_000, `${mail.sent}`)
  table.note('last message after the last one was sent', took, null, null)
  const tasks = await Promise.all(dealt.map((id) => store.task(id)))
  const open = tasks.filter(({ state }) => isOpen(state))
  telling.check(`all ${dealt.length} tasks have ended`, open.length === 0, open.map(({ id }) => id).join(', '))
  const audit = await wholeAudit(store)
  const wrong = dealt.filter(
    (id) => audit.filter((each) => each.action === 'task_completed' && each.details.task === id).length !== 1,
  )
  telling.check('each was completed exactly once, by the audit chain', wrong.length === 0, wrong.join(', '))
  const held = [PARTITIONED, KILLED, SUSPENDED, DEAF, MUTE].map((each) => `held-by-${each}`)
  const twice = dealt.filter((id) => !held.includes(id) && fleet.ledgerOf(id).ended !== 1)
  telling.check('and done once, save those whose owner was not heard', twice.length === 0, twice.join(', '))
  const moves = audit.filter((each) => each.action === 'task_moved').map((each) => String(each.details.task))
  telling.check('only theirs were moved, once each', moves.toSorted().join() === held.toSorted().join(), moves.join())
  const convicted = (await store.incidents({ open: false })).filter(({ agent }) => agent === workerOf(LOSSY))
  const lost = fleet.router.lostAt(LOSSY)
  telling.check(
    `the bad line lost ${lost.join(' + ')} packets, and nobody was convicted for it`,
    convicted.length === 0 && lost.every((each) => each > 50),
    convicted.map(({ summary }) => summary).join('; '),
  )
  for (const machine of [fleet.lead, fleet.worker(KILLED), fleet.worker(7)]) {
    const wakes = fleet.wakesOf(machine)
    telling.check(
      `${machine.name} was woken for ${wakes.length} messages, never twice for one`,
      wakes.length >= mail.readAt(machine.name) / 2 && new Set(wakes).size === wakes.length,
      `${new Set(wakes).size} different ones`,
    )
  }
  const closed = await until('no incident is open', async () => (await store.incidents({ open: true })).length === 0)
  telling.say(`all incidents are closed (${seconds(closed)})`)
  const fallen = [fleet.lead, fleet.git, ...fleet.workers].flatMap((machine) => machine.fallen())
  telling.check('no program ended that nobody killed', fallen.length === 0, fallen.join('; '))
}
