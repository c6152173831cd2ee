import { AgentProcessTable } from '#fleet/agent-processes.ts'
import { S2Error } from '#fleet/errors.ts'
import { Roster } from '#fleet/failure-detector.ts'
import type { SessionId } from '#fleet/session-id.ts'
import type { Report, Task } from '#fleet/task.ts'
import { WorkObserver } from '#fleet/work-observer.ts'
import type { Worker } from '#fleet/worker.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'
import { ConversationRenewal } from '../../services/bridge/conversation-renewal.ts'
import { PlaceHealth } from '../../services/worker/place-health.ts'
import type { Dice } from './chance.ts'
import { put, type Streams, storeOf } from './network.ts'

/** Mistakes that can be made on purpose, to see whether the simulation finds them. */
export const BUGS = [
  'no epoch check',
  'no grace',
  'read once per event',
  'no brake',
  'unknown is dead',
  'new key per try',
  'no revival',
  'no renewal',
  'timers by the wall clock',
  'incidents end with conversations',
  'a crash is no attempt',
  'processor time is no sign',
  'untaken tasks are not looked at',
  'no deadlines',
  'roles are ignored',
  'a sick place is asked at once',
] as const
export type Bug = (typeof BUGS)[number]

/** Makes the mistake in the programs themselves, where it can be made nowhere else; undone on disposal. */
export function plant(bug: Bug | null): Disposable {
  const undo = new DisposableStack()
  const replace = (name: 'grace' | 'massSilence', broken: PropertyDescriptor): void => {
    const sound = Object.getOwnPropertyDescriptor(Roster.prototype, name) as PropertyDescriptor
    Object.defineProperty(Roster.prototype, name, { ...sound, ...broken })
    undo.defer(() => Object.defineProperty(Roster.prototype, name, sound))
  }
  if (bug === 'no grace') replace('grace', { value: () => undefined })
  if (bug === 'no brake') replace('massSilence', { get: () => false })
  if (bug === 'no renewal') {
    const { round } = ConversationRenewal.prototype
    ConversationRenewal.prototype.round = async () => 60_000
    undo.defer(() => {
      ConversationRenewal.prototype.round = round
    })
  }
  if (bug === 'untaken tasks are not looked at') {
    const { untakenSince } = WorkObserver.prototype
    WorkObserver.prototype.untakenSince = () => null
    undo.defer(() => {
      WorkObserver.prototype.untakenSince = untakenSince
    })
  }
  if (bug === 'a sick place is asked at once') {
    const { waitMs } = PlaceHealth.prototype
    PlaceHealth.prototype.waitMs = () => 0
    undo.defer(() => {
      PlaceHealth.prototype.waitMs = waitMs
    })
  }
  if (bug === 'unknown is dead') {
    const { lose } = AgentProcessTable.prototype
    AgentProcessTable.prototype.lose = function takeForDead(source) {
      this.take(source, [], 0)
    }
    undo.defer(() => {
      AgentProcessTable.prototype.lose = lose
    })
  }
  return undo
}

/** A watchdog that takes the time before its start for silence; with it goes what it does after a pause. */
export function withoutGrace(clock: Clock, silentAfterMs: number): Clock {
  const begun = clock.now()
  return { ...clock, now: () => (clock.now() === begun ? begun - silentAfterMs : clock.now()) }
}

/** Timers that end when the wall clock says so: where it is put back they last longer by that. */
export function byTheWallClock(clock: Clock): Clock {
  const sleep = async (ms: number, signal?: AbortSignal): Promise<void> => {
    const due = clock.wall() + ms
    await clock.sleep(ms, signal)
    for (let left = due - clock.wall(); left > 1; left = due - clock.wall()) await clock.sleep(left, signal)
  }
  return { ...clock, sleep }
}

/** Workers, as one has them who takes an end of a conversation for a farewell. */
export async function withoutTheUnnamed(store: Pick<Store, 'conversations' | 'workers'>): Promise<Worker[]> {
  const live = new Set((await store.conversations()).map(({ id }) => id))
  const workers = await store.workers()
  return workers.map((worker) => (live.has(worker.conversation ?? '') ? worker : { ...worker, revokedAt: 1 }))
}

/** The store with a mistake in it. */
export function spoil(store: Store, bug: Bug | null, dice: Dice): Store {
  if (bug === null) return store
  const streams = bug === 'read once per event' ? readingOnce(store, dice) : store
  let tries = 0
  return storeOf(async (verb, args) => {
    if (bug === 'no epoch check' && verb === 'report') {
      const [, report] = args as [SessionId, Report]
      const { holder, epoch } = await store.task(report.task)
      if (holder !== null) return await put(store, verb, [holder, { ...report, epoch }])
    }
    if (bug === 'no revival' && verb === 'issueTokens') {
      const live = await store.conversations()
      if (!live.some(({ agents }) => agents.b === args[0])) throw new S2Error('expired', 'its conversation has ended')
    }
    const misread = MISREAD[bug]
    if (misread !== undefined && verb === 'tasks') return (await store.tasks(args[0] as never)).map(misread)
    if (bug === 'processor time is no sign' && verb === 'report') {
      const [holder, report] = args as [SessionId, Report]
      return await put(store, verb, [holder, { ...report, work: 1 }])
    }
    // keepalive asks for what a stream left out: this mistake is to have the hint and nothing else
    if (bug === 'read once per event' && verb === 'unacked') return []
    if (bug === 'new key per try' && verb === 'send') {
      tries += 1
      return await put(store, verb, [args[0], `${args[1]} ${tries}`, args[2]])
    }
    return await put(store, verb, args)
  }, streams)
}

/** Tasks as one reads them who does not look at something. */
const MISREAD: Readonly<Partial<Record<Bug, (task: Task) => Task>>> = {
  'a crash is no attempt': (task) => ({ ...task, attempts: task.attempts.filter(({ end }) => end !== 'interrupted') }),
  'no deadlines': (task) => ({ ...task, deadline: null }),
  'roles are ignored': (task) => ({ ...task, role: null, otherRoles: [] }),
}

/**
 * An event tells of frames that are written before their commit can be seen. Who reads once at the event, and not again
 * until the next, misses what was not to be seen yet.
 */
function readingOnce(store: Store, dice: Dice): Streams {
  return {
    traffic: (after, signal) => store.traffic(after, signal),
    credentialHints: (signal) => store.credentialHints(signal),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    mail: async function* mail(reader, after, signal) {
      let cursor = after
      for await (const batch of store.mail(reader, after, signal)) {
        for (const { id } of batch) {
          const last = dice.chance(0.5) ? id : id - 1
          const seen = (await store.unacked(reader, cursor, 10_000)).filter((message) => message.id <= last)
          cursor = seen.at(-1)?.id ?? cursor
          if (seen.length > 0) yield seen
        }
      }
    },
  }
}
