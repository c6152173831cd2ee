import { setTimeout as sleep } from 'node:timers/promises'
import { type SessionId, sessionId } from '#fleet/session-id.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import { type FoundCredentials, readCredentials } from '#spool/credentials.ts'
import { Inbox } from '#spool/inbox.ts'
import { openStore } from '#store/open-store.ts'
import type { Store } from '#store/store.ts'
import { until } from '../until.ts'
import { allCompleted, begun, type Company, deal, verdictOf, wholeAudit } from './company.ts'
import { MailLoad } from './mail.ts'
import { workerOf } from './stage.ts'
import { seconds, type Telling } from './telling.ts'

/** Whoever was away is back in this time, once it reaches the bridge or the remote, seconds. */
const BACK_S = 60
/** Credentials that end at a moment have ended for every clock of the fleet so much later. */
const ENDED_MS = 2_000
/** What each end has to say while all are off. */
const OVERNIGHT = 25

/** A fleet that drills befall, wherever its programs run: processes of one machine, or machines of their own. */
export interface Ground extends Company {
  readonly telling: Telling
  readonly workers: number
  /** A folder as the tasks see it, which outlasts the night. */
  readonly keep: string
  /** PEM of the authority that a stranger's machine would trust; absent where there is none. */
  readonly authority?: string
  stateOf(agent: string): string
  /** The repository of the git remote, for somebody who writes to it as they like. */
  readonly remote: string
  /** Where they may work. */
  readonly folder: string
  /** Stops the issuer of credentials in its tracks, or lets it go on. */
  holdIssuer(isHeld: boolean): Promise<void>
  /** Runs a command of s2 on the orchestrator's host. */
  s2(...words: string[]): Promise<string>
  /** Notes how long something took; answers whether it took no longer than it may, seconds. */
  note(what: string, ms: number, most: number): boolean
  switchOff(): Promise<void>
  switchOn(): Promise<void>
  takeBridgeAway(): Promise<void>
  giveBridgeBack(): Promise<void>
  /** A worker's machine forgets all that is on its disk. */
  emptyDisk(worker: number): Promise<void>
  /** It joins by this line, and works. */
  joinAgain(worker: number, line: string): Promise<void>
}

/** Everything is off for longer than any token lives, with a task in hand, mail unread, and outboxes that fill. */
export async function sleepOverNight(ground: Ground): Promise<void> {
  const { telling, conversations } = ground
  telling.chapter('The whole fleet is switched off for longer than its tokens live')
  const mark = `${ground.keep}/woken`
  await deal(ground, 1, 'overnight', `test -e ${mark} || { touch ${mark}; sleep 300; }; echo done`)
  await until('the task is in hand', async () => (await begun(ground.store, ['overnight'])) === 1)
  const mail = new MailLoad(conversations, (agent) => ground.stateOf(agent))
  await mail.put()
  await until('mail lies unread', async () => (await unreadAt(ground)).every((count) => count > 0))
  await ground.switchOff()
  const ends = await endOfCredentials(ground)
  for (let times = 0; times < OVERNIGHT; times += 1) await mail.put()
  await sleep(Math.max(0, ends + ENDED_MS - Date.now()))
  telling.say(`all was off until ${seconds(Date.now() - ends)} after the last credential had ended`)
  const began = performance.now()
  await ground.switchOn()
  mail.startReading()
  try {
    await everybodyBack(ground, 'the whole fleet off past its tokens')
    await until('all mail has come', () => mail.read >= mail.sent, 2 * BACK_S * 1_000)
    const faults = mail.faults()
    telling.check(
      `${mail.sent} messages that were unread or not yet sent came, once and in order`,
      faults.length === 0 && ground.note('its mail is all read', performance.now() - began, 2 * BACK_S),
      faults.join('; '),
    )
  } finally {
    await mail.stop()
  }
  await until('the task is completed', () => allCompleted(ground.store, ['overnight']), 2 * BACK_S * 1_000)
  telling.check('the task that was in hand is completed, once', await areCompletedOnce(ground, ['overnight']))
  const same = (await ground.store.conversations()).map(({ id }) => id).sort()
  telling.check(
    'each worker has its conversation still',
    same.join() ===
      conversations
        .map(({ id }) => id)
        .sort()
        .join(),
  )
}

/** The bridge is away for longer than any token lives, and all others go on: they write, and end the tasks that they have. */
export async function bridgeAway(ground: Ground, mail: MailLoad): Promise<void> {
  const { telling, store } = ground
  telling.chapter('The bridge is away for longer than tokens live, while all others run')
  const ids = await Promise.all(
    everyWorker(ground).map((each) => deal(ground, each, `away-${each}`, 'echo halfway; sleep 6; echo done')),
  )
  await until('all are at work', async () => (await begun(store, ids)) === ids.length)
  await ground.takeBridgeAway()
  await sleep(Math.max(0, (await endOfCredentials(ground)) + ENDED_MS - Date.now()))
  const written = mail.sent - mail.read
  await ground.giveBridgeBack()
  telling.say(`${written} messages wait`)
  await everybodyBack(ground, 'the bridge away past the tokens')
  await until('the tasks are completed', () => allCompleted(ground.store, ids), BACK_S * 1_000)
  telling.check('what ended while it was away was told, and counts once', await areCompletedOnce(ground, ids))
}

/** A token of each end is known to a stranger. */
export async function tokenLeaks(ground: Ground, worker: number, mail: MailLoad): Promise<void> {
  const { telling, store } = ground
  const sides = (['a', 'b'] as const).map((side) => sessionId(conversationOf(ground, worker), side))
  const leaked = await Promise.all(sides.map((session) => strangerAs(ground, session)))
  try {
    const known = await Promise.all(leaked.map((each) => each.code()))
    telling.check(
      'what leaked counts, for a stranger too',
      known.every((code) => code === null),
      known.join(),
    )
    await ground.s2('credential', 'rotate', workerOf(worker), '--overlap', '0s')
    const began = performance.now()
    const codes = await Promise.all(leaked.map((each) => each.code()))
    telling.check(
      'it is refused at both ends once it was rotated',
      codes.every((code) => code === 'unauthenticated'),
      codes.join(),
    )
    const before = mail.readFrom
    await until('its host speaks by the new one', () => speaks(ground, worker))
    await until('mail flows both ways', () =>
      sides.every((session) => (mail.readFrom.get(session) ?? 0) > (before.get(session) ?? 0) + 1),
    )
    telling.check(
      `${workerOf(worker)} goes on with new tokens under load`,
      ground.note('tokens leaked and rotated: mail flows by the new ones', performance.now() - began, BACK_S),
    )
    telling.check(
      'the old ones stay refused',
      (await Promise.all(leaked.map((each) => each.code()))).every((code) => code === 'unauthenticated') &&
        (await store.tokens(sides[1] ?? ('' as SessionId))).length > 0,
    )
  } finally {
    for (const each of leaked) await each.leave()
  }
}

/** The disk of a worker's machine is empty. */
export async function newMachine(ground: Ground, worker: number): Promise<void> {
  const { telling, store } = ground
  const agent = workerOf(worker)
  const known = async () => (await store.workers()).find((each) => each.agent === agent)
  const before = await known()
  const unread = await store.send(sessionId(conversationOf(ground, worker), 'a'), `unread-${worker}`, {
    text: 'unread when the disk was lost',
  })
  const inbox = new Inbox(ground.stateOf(agent))
  const hasIt = async (): Promise<boolean> => (await inbox.list('new')).includes(unread.id)
  await until('mail lies unread there', hasIt)
  await ground.emptyDisk(worker)
  const line = (await ground.s2('worker', 'invite', String(worker)))
    .split('\n')
    .find((each) => each.startsWith('s2-join-'))
  const began = performance.now()
  await ground.joinAgain(worker, line ?? '')
  await until(`${agent} speaks by its new credential`, () => speaks(ground, worker), 2 * BACK_S * 1_000)
  telling.check(
    `${agent} is back on an emptied machine`,
    ground.note('a machine made anew: joined by its invitation, and speaks', performance.now() - began, BACK_S),
  )
  const after = await known()
  telling.check(
    'by new keys, in its old conversation',
    after?.key !== before?.key && after?.conversation === before?.conversation,
  )
  await until('what was unread comes again', hasIt, BACK_S * 1_000)
  const id = await deal(ground, worker, `anew-${worker}`, 'echo anew')
  await until('it works', () => allCompleted(store, [id]), BACK_S * 1_000)
  telling.check('its unread mail came again, and it works', await areCompletedOnce(ground, [id]))
}

export function everyWorker({ workers }: Ground): number[] {
  return Array.from({ length: workers }, (_, index) => index + 1)
}

export function conversationOf({ conversations }: Company, worker: number): string {
  const found = conversations.find(({ agents }) => agents.b === workerOf(worker))
  if (found === undefined) throw new Error(`${workerOf(worker)} has no conversation`)
  return found.id
}

/** Whether a worker is alive, and has a credential that counts. */
export async function speaks(ground: Ground, worker: number): Promise<boolean> {
  return (await holds(ground, worker)) && (await verdictOf(ground.store, workerOf(worker))) === 'alive'
}

/** Whether a credential that counts lies on a worker's host. */
export async function holds(ground: Ground, worker: number): Promise<boolean> {
  const session = sessionId(conversationOf(ground, worker), 'b')
  const inForce = await ground.store.tokens(session)
  const { credentials } = await credentialsAt(ground, workerOf(worker))
  return credentials.some(
    (each) => each.session === session && inForce.includes(each.token) && each.expiresAt > Date.now(),
  )
}

/** Everybody is back by a token that counts, within a minute of when the bridge can be reached. */
async function everybodyBack(ground: Ground, what: string): Promise<void> {
  const { telling } = ground
  await until('the bridge answers', async () => (await ground.store.workers()).length === ground.workers)
  const began = performance.now()
  for (const worker of everyWorker(ground))
    await until(`${workerOf(worker)} speaks again`, () => speaks(ground, worker), 3 * BACK_S * 1_000)
  const back = performance.now() - began
  const isInTime = ground.note(`${what}: all speak again`, back, BACK_S)
  telling.check(`all are back by themselves after ${seconds(back)}`, isInTime, seconds(back))
}

/** How many messages lie unread on each worker's host. */
async function unreadAt(ground: Ground): Promise<number[]> {
  const count = async (worker: number): Promise<number> =>
    (await new Inbox(ground.stateOf(workerOf(worker))).list('new')).length
  return await Promise.all(everyWorker(ground).map(count))
}

/** When the last credential on any worker's host ends. */
async function endOfCredentials(ground: Ground): Promise<number> {
  const found = await Promise.all(everyWorker(ground).map((each) => credentialsAt(ground, workerOf(each))))
  return Math.max(...found.flatMap(({ credentials }) => credentials.map(({ expiresAt }) => expiresAt)))
}

async function credentialsAt(ground: Ground, agent: string): Promise<FoundCredentials> {
  return await readCredentials(ground.stateOf(agent))
}

async function areCompletedOnce({ store }: Ground, ids: readonly string[]): Promise<boolean> {
  const audit = await wholeAudit(store)
  return ids.every(
    (id) => audit.filter((each) => each.action === 'task_completed' && each.details.task === id).length === 1,
  )
}

interface Stranger {
  /** What the bridge has against a request by the stolen token; null: nothing. */
  code(): Promise<string | null>
  leave(): Promise<void>
}

/** Somebody who has read the credential of a session. */
async function strangerAs(ground: Ground, session: SessionId): Promise<Stranger> {
  const conversation = ground.conversations.find(({ id }) => session.startsWith(id))
  const holder = session.endsWith('/a') ? conversation?.agents.a : conversation?.agents.b
  const { credentials } = await credentialsAt(ground, holder ?? '')
  const stolen = credentials.find((each) => each.session === session)
  if (stolen === undefined) throw new Error(`no credential of ${session} lies there`)
  const store: Store = await openStore(
    stolen.bridgeUrl,
    { clock: systemClock, chance: systemChance, log: recordingLog() },
    {
      token: () => stolen.token,
      sessions: () => [session],
      authority: () => stolen.bridgeCa ?? ground.authority,
      pin: () => stolen.bridgePin,
    },
  )
  return {
    code: async () =>
      await store.unacked(session, 0, 1).then(
        () => null,
        (error: { code?: string }) => error.code ?? String(error),
      ),
    leave: async () => await store[Symbol.asyncDispose](),
  }
}
