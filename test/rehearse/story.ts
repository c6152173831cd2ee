import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { askHealth } from '#runtime/health-client.ts'
import { sessionId } from '../../services/core/fleet/session-id.ts'
import { isOpen, type Task } from '../../services/core/fleet/task.ts'
import { systemChance, systemClock } from '../../services/core/runtime/clock.ts'
import { recordingLog } from '../../services/core/runtime/log.ts'
import { openStore } from '../../services/core/store/open-store.ts'
import type { Store } from '../../services/core/store/store.ts'
import { until } from '../until.ts'
import { agentOf, aliveAgents, allCompleted, begun, type Company, deal, verdictOf, wholeAudit } from './company.ts'
import { MailLoad } from './mail.ts'
import { ROLES, type Stage, s2Command, TIMES, workerOf } from './stage.ts'
import { seconds, type Telling } from './telling.ts'

/** What everybody in the story knows. */
interface Cast extends Company {
  readonly stage: Stage
  readonly mail: MailLoad
  readonly telling: Telling
}

const FROZEN = 3
const KILLED = 5
const ROTATED = 2

export async function play(stage: Stage, telling: Telling): Promise<void> {
  telling.chapter(`Nine agents come up, by ${relative('.', s2Command()[1] ?? '')}`)
  const store = await stage.raise()
  const up = await until('all nine agents are heard', async () => (await heard(store)) === 2 * ROLES.length)
  telling.say(`all nine agents beat, ${stage.family().length} processes (${seconds(up)} after the bridge)`)
  await until('all nine agents are alive', async () => (await aliveAgents(store)) === 9)
  const conversations = await store.conversations()
  telling.check('eight conversations were opened', conversations.length === ROLES.length)
  telling.check(
    'every worker got its credential through git',
    credentialsOf(stage).every((count) => count === 1),
  )

  const mail = new MailLoad(conversations, (agent) => stage.stateOf(agent))
  mail.start()
  const cast: Cast = { stage, store, mail, telling, conversations, dealt: [] }
  try {
    await ordinaryDay(cast)
    const frozen = await freeze(cast)
    const killed = await kill(cast)
    await bridgeDies(cast)
    await rotate(cast)
    await everybodyBack(cast, frozen, killed)
    await accounts(cast)
  } finally {
    await mail.stop()
  }
  await end(cast)
}

async function ordinaryDay(cast: Cast): Promise<void> {
  const { telling, store } = cast
  const began = performance.now()
  telling.chapter('An ordinary day: each worker does a task of its role')
  const ids = await Promise.all(
    ROLES.map((_, index) => deal(cast, index + 1, `day-${index + 1}`, 'sleep 0.5; echo done')),
  )
  await cast.stage.s2('task', 'add', 'git --version', '--to', workerOf(1), '--id', 'by-hand')
  cast.dealt.push('by-hand')
  await until('the tasks are completed', () => allCompleted(store, [...ids, 'by-hand']))
  telling.say(`nine tasks completed in ${seconds(performance.now() - began)}`)
  const { result } = await store.task('by-hand')
  telling.check('real output came back', result?.tail.startsWith('git version') === true, JSON.stringify(result))
}

async function freeze(cast: Cast): Promise<Task> {
  const { stage, store, telling } = cast
  const agent = workerOf(FROZEN)
  telling.chapter(`${agent} freezes in the middle of a task`)
  await deal(cast, FROZEN, 'frozen', `echo halfway; ${firstTime('sleep 15')}; echo finished`)
  await until('it is at work', async () => (await store.task('frozen')).progress === 'halfway')
  const before = await store.task('frozen')
  const began = performance.now()
  await stage.s2('freeze', agent)
  const stopped = stage.family(agent)
  telling.check(
    'all its processes stand still, its command too',
    stopped.length >= 5 && stopped.every(({ state }) => state === 'T'),
    JSON.stringify(stopped),
  )
  await until('it is silent', async () => (await verdictOf(store, agent)) === 'silent')
  const silent = performance.now() - began
  telling.say(`verdict silent after ${seconds(silent)} (set to ${seconds(TIMES.silentMs)} without a beat)`)
  // Its last beat may be as old as a beat's time and a stall of the machine together.
  telling.check('not judged before its time', silent >= TIMES.silentMs / 2, seconds(silent))
  const moved = await until('its task is moved', async () => (await store.task('frozen')).epoch > before.epoch)
  const after = await store.task('frozen')
  telling.say(`task moved ${seconds(moved)} later, to ${agentOf(cast, after.holder)}`)
  telling.check('it has another owner', after.holder !== before.holder && after.holder !== null)
  telling.check(
    'it is urgent now, and its first owner is remembered',
    after.priority === 'P0' && after.originalAssignee === before.holder,
  )
  const incidents = async (): Promise<number> =>
    (await store.incidents({ open: true })).filter((each) => each.agent === agent).length
  await until('an incident is open', async () => (await incidents()) > 0)
  telling.check('one incident is open for it', (await incidents()) === 1)
  const took = await until('another completes it', async () => (await store.task('frozen')).state === 'completed')
  telling.say(`completed by ${agentOf(cast, (await store.task('frozen')).holder)} ${seconds(took)} later`)
  return before
}

async function kill(cast: Cast): Promise<Task> {
  const { stage, store, telling } = cast
  const agent = workerOf(KILLED)
  telling.chapter(`${agent} is killed in the middle of a task`)
  await deal(cast, KILLED, 'killed', `echo halfway; ${firstTime('sleep 30')}; echo finished`)
  await until('it is at work', async () => (await store.task('killed')).progress === 'halfway')
  const before = await store.task('killed')
  const pids = stage.family(agent).map(({ pid }) => pid)
  await stage.s2('kill', agent)
  telling.check('nothing of it is left, its command neither', pids.length >= 5 && stage.family(agent).length === 0)
  const moved = await until('its task is moved', async () => (await store.task('killed')).epoch > before.epoch)
  const after = await store.task('killed')
  telling.say(`task moved after ${seconds(moved)}, to ${agentOf(cast, after.holder)}`)
  telling.check('not to the frozen one', agentOf(cast, after.holder) !== workerOf(FROZEN))
  const took = await until('another completes it', async () => (await store.task('killed')).state === 'completed')
  telling.say(`completed ${seconds(took)} later`)
  const { began, ended } = stage.ledgerOf('killed')
  telling.check('it began twice and ended once', began === 2 && ended === 1, `began ${began}, ended ${ended}`)
  return before
}

async function bridgeDies(cast: Cast): Promise<void> {
  const { stage, store, telling, mail } = cast
  telling.chapter('The bridge is killed under load')
  const workers = ROLES.map((_, index) => index + 1).filter((number) => number !== FROZEN && number !== KILLED)
  const ids = await Promise.all(workers.map((number) => deal(cast, number, `bridge-${number}`, 'sleep 4; echo done')))
  await until('they are at work', async () => (await begun(store, ids)) === ids.length)
  const pid = await stage.pidOf('orchestrator', 'bridge')
  const read = mail.read
  if (pid === null) throw new Error('the bridge has no pid')
  process.kill(pid, 'SIGKILL')
  const health = join(stage.state, 'run', 'bridge.sock')
  const isOther = async (): Promise<boolean> => ![null, pid].includes(await stage.pidOf('orchestrator', 'bridge'))
  const back = await until(
    'another bridge is there',
    async () => (await isOther()) && (await askHealth('bridge', { path: health }, systemClock)).ready,
  )
  telling.say(`another bridge answers ${seconds(back)} later`)
  const flows = await until('mail flows again', () => mail.read > read + 30)
  telling.say(`mail flows again after ${seconds(flows)}`)
  const took = await until('the tasks in hand are completed', () => allCompleted(store, ids))
  telling.say(`the ${ids.length} tasks that were in hand are completed ${seconds(took)} later`)
  const epochs = await Promise.all(ids.map(async (id) => (await store.task(id)).epoch))
  telling.check(
    'none of them was moved for it',
    epochs.every((epoch) => epoch === 1),
    JSON.stringify(epochs),
  )
}

async function rotate(cast: Cast): Promise<void> {
  const { stage, store, telling, conversations, mail } = cast
  const agent = workerOf(ROTATED)
  telling.chapter(`The credential of ${agent} is rotated in git`)
  const conversation = conversations.find(({ agents }) => agents.b === agent)
  if (conversation === undefined) throw new Error(`${agent} has no conversation`)
  const session = sessionId(conversation.id, 'b')
  const old = tokenOf(stage, agent)
  const pid = await stage.pidOf(agent, 'keepalive')
  await stage.s2('credential', 'rotate', agent, '--overlap', '4s')
  const took = await until('the worker has the new one', () => tokenOf(stage, agent) !== old)
  telling.say(`the new credential came through git in ${seconds(took)}`)
  const parts = { clock: systemClock, chance: systemChance, log: recordingLog() }
  await using stranger = await openStore(bridgeUrlOf(stage, agent), parts, {
    token: () => old,
    sessions: () => [session],
  })
  const isRefused = async (): Promise<boolean> =>
    await stranger.unacked(session, 0, 1).then(
      () => false,
      (error: { code?: string }) => error.code === 'unauthenticated',
    )
  await until('the old token is refused once its overlap is over', isRefused)
  telling.check('the same keepalive goes on', (await stage.pidOf(agent, 'keepalive')) === pid)
  const read = mail.readBy(session)
  await until('mail comes with the new token', () => mail.readBy(session) > read + 2)
  const id = await deal(cast, ROTATED, 'rotated', 'echo with the new token')
  await until('it works with the new token', () => allCompleted(store, [id]))
  await until('it is alive', async () => (await verdictOf(store, agent)) === 'alive')
}

async function everybodyBack(cast: Cast, frozen: Task, killed: Task): Promise<void> {
  const { stage, store, telling } = cast
  telling.chapter('The frozen one thaws, the killed one is started again')
  const done = await store.task('frozen')
  await stage.s2('thaw', workerOf(FROZEN))
  const late = await until('its late result is refused', async () =>
    (await store.evidence('frozen')).some(({ report }) => report.state === 'completed'),
  )
  const evidence = (await store.evidence('frozen')).find(({ report }) => report.state === 'completed')
  telling.say(`its late result was refused ${seconds(late)} after the thaw, and kept as evidence`)
  telling.check(
    'the evidence is the former owner’s word at the old epoch',
    evidence?.holder === frozen.holder &&
      evidence.report.epoch === frozen.epoch &&
      evidence.report.result?.exitCode === 0,
    JSON.stringify(evidence),
  )
  const now = await store.task('frozen')
  telling.check('it had no effect', now.holder === done.holder && now.updatedAt === done.updatedAt)
  const { ended } = stage.ledgerOf('frozen')
  telling.check('the work itself was done twice, and only one of them counts', ended === 2, `ended ${ended} times`)

  await stage.s2('thaw', workerOf(KILLED))
  const back = await until('all nine are alive', async () => (await aliveAgents(store)) === 9)
  telling.say(`all nine are alive again after ${seconds(back)}`)
  const closed = await until('no incident is open', async () => (await store.incidents({ open: true })).length === 0)
  telling.say(`all incidents are closed ${seconds(closed)} later`)
  const ids = await Promise.all([FROZEN, KILLED].map((number) => deal(cast, number, `again-${number}`, 'echo back')))
  await until('both work again', () => allCompleted(store, ids))
  telling.check('the killed one lost its task for good', (await store.task('killed')).holder !== killed.holder)
}

async function accounts(cast: Cast): Promise<void> {
  const { stage, store, telling, mail, dealt } = cast
  telling.chapter('The accounts')
  await mail.stopSending()
  const took = await until('all mail has come', () => mail.read >= mail.sent).catch(() => Number.NaN)
  telling.say(`${mail.sent} messages were sent all the while; the last came ${seconds(took)} after the end`)
  const faults = mail.faults()
  telling.check('every message came exactly once and in order', faults.length === 0, faults.join('; '))
  telling.check('there were enough of them to prove something', mail.sent >= 160, `${mail.sent}`)
  const tasks = await Promise.all(dealt.map((id) => store.task(id)))
  const open = tasks.filter(({ state }) => isOpen(state))
  for (const agent of ['orchestrator', workerOf(1)]) {
    const calls = stage.wakes(agent)
    const woken = calls.flatMap(({ session, messages }) => messages.map(({ id }) => `${session} ${id}`))
    telling.say(`${agent} was woken ${calls.length} times for ${woken.length} messages`)
    telling.check(
      'it was woken, and never twice for one message',
      woken.length >= mail.readAt(agent) / 2 && new Set(woken).size === woken.length,
      `${woken.length} wakes, ${new Set(woken).size} messages`,
    )
  }
  telling.check(`all ${dealt.length} tasks have ended`, open.length === 0, open.map(({ id }) => id).join(', '))
  const audit = await wholeAudit(store)
  const completions = dealt.map(
    (id) => audit.filter((each) => each.action === 'task_completed' && each.details.task === id).length,
  )
  telling.check(
    'each was completed exactly once, by the audit chain',
    completions.every((count) => count === 1),
    JSON.stringify(completions),
  )
  const twice = dealt.filter((id) => id !== 'frozen' && stage.ledgerOf(id).ended !== 1)
  telling.check('and by what the commands wrote, save the frozen one', twice.length === 0, twice.join(', '))
  const moves = audit.filter((each) => each.action === 'task_moved').map((each) => String(each.details.task))
  telling.check(
    'only the frozen and the killed worker’s tasks were moved',
    moves.toSorted().join() === 'frozen,killed',
    moves.join(),
  )
  const waiting = stage.family().length
  telling.check('the fleet is whole', waiting >= 29, `${waiting} processes`)
}

async function end({ stage, telling }: Cast): Promise<void> {
  telling.chapter('The end')
  const began = performance.now()
  const code = await stage.lower()
  telling.say(`drained in ${seconds(performance.now() - began)}`)
  telling.check('s2 up ended in order', code === 0, `exit code ${code}`)
  const left = stage.family()
  telling.check('no process is left', left.length === 0, JSON.stringify(left))
}

/** A part of a task that takes long for whoever has it first: long enough for a command of s2 on a busy machine. */
function firstTime(script: string): string {
  return `if [ "$S2_TASK_EPOCH" = 1 ]; then ${script}; fi`
}

/** How many sessions have beaten. */
async function heard(store: Store): Promise<number> {
  return (await store.pulses(0)).pulses.length
}

function credentialsOf(stage: Stage): number[] {
  return ROLES.map((_, index) => credentialFiles(stage, workerOf(index + 1)).length)
}

function credentialFiles(stage: Stage, agent: string): string[] {
  const folder = join(stage.stateOf(agent), 'credentials')
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => join(folder, name))
}

function credential(stage: Stage, agent: string): { token: string; bridgeUrl: string } {
  const [file] = credentialFiles(stage, agent)
  if (file === undefined) throw new Error(`${agent} has no credential`)
  return JSON.parse(readFileSync(file, 'utf8')) as { token: string; bridgeUrl: string }
}

function tokenOf(stage: Stage, agent: string): string {
  return credential(stage, agent).token
}

function bridgeUrlOf(stage: Stage, agent: string): string {
  return credential(stage, agent).bridgeUrl
}
