import type { ClientSession } from '#agents/client-session.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { wakeText } from '#fleet/wake-text.ts'
import { Loop } from '#runtime/loop.ts'
import type { HeldTask, HeldTasks } from '#spool/held-tasks.ts'
import { hasClientEnded } from './choose-session.ts'
import { climbFor, type LadderParts, noteWorked } from './wake-by-ladder.ts'

export interface HolderParts extends LadderParts {
  readonly held: Pick<HeldTasks, 'list'>
}

/** How long a client may idle with a task in hand before it is woken: a person may be about to write. */
export const IDLE_MS = 300_000
const LOOK_MS = 15_000

/** An idle client, and the task that it took and has not ended. */
interface IdleHolder {
  readonly session: ClientSession
  readonly held: HeldTask
}

/** Wakes clients that idle with a task in hand, once for each time that they come to rest with it; until the signal aborts. */
export async function wakeIdleHolders(parts: HolderParts, signal: AbortSignal): Promise<void> {
  const told = new Set<string>()
  const loop = new Loop({
    clock: parts.clock,
    signal,
    step: async () => {
      const holders = idleHolders(await parts.sessions(), await parts.held.list(), parts.clock.wall())
      for (const each of [...told]) if (!holders.some((holder) => nameOf(holder) === each)) told.delete(each)
      for (const holder of holders.filter((each) => !told.has(nameOf(each)))) {
        told.add(nameOf(holder))
        await wakeHolder(holder, parts, signal)
      }
      return LOOK_MS
    },
    onError: (error) => {
      parts.log.warn('idle holders of tasks cannot be looked up', { error })
      return LOOK_MS
    },
  })
  await loop.done
}

/** The clients that have idled for a while with a task in hand. `now`: milliseconds since 1970. */
export function idleHolders(sessions: readonly ClientSession[], tasks: readonly HeldTask[], now: number): IdleHolder[] {
  const idle = sessions.filter(
    (each) => each.activity.state === 'idle' && now - each.since >= IDLE_MS && !hasClientEnded(each),
  )
  return tasks
    .filter(({ lost }) => lost === null)
    .flatMap((held) => {
      const session = idle.find((each) => holds(each, held))
      return session === undefined ? [] : [{ session, held }]
    })
}

function holds({ client, id, session }: ClientSession, held: HeldTask): boolean {
  return held.by === null ? session === held.session : held.by.client === client && held.by.id === id
}

/** A report of its holder, or the next time that the client comes to rest, makes it another one. */
function nameOf({ session, held }: IdleHolder): string {
  return [session.client, session.id, session.since, held.task, held.epoch, held.work].join(' ')
}

async function wakeHolder({ session, held }: IdleHolder, parts: HolderParts, signal: AbortSignal): Promise<void> {
  const isOver = async (): Promise<boolean> => {
    const tasks = await parts.held.list()
    return !tasks.some(({ task, epoch, work }) => task === held.task && epoch === held.epoch && work === held.work)
  }
  await wakeForTask({ session, of: held.session, assigned: [], task: held.task, isOver }, parts, signal)
}

/** Wakes an idle client for a task that was assigned to its agent, or that it holds. */
export interface TaskWake {
  readonly session: ClientSession
  /** The session of the fleet that the task is of. */
  readonly of: SessionId
  readonly assigned: readonly string[]
  readonly task: string | null
  readonly isOver: () => Promise<boolean>
}

export async function wakeForTask(
  { session, of, assigned, task, isOver }: TaskWake,
  parts: LadderParts,
  signal: AbortSignal,
): Promise<void> {
  const { source, log } = parts
  const target = source.targetOf(of) ?? of
  const look = async () => {
    const now = (await parts.sessions()).find(({ client, id }) => client === session.client && id === session.id)
    return { session: now ?? null, isTaken: now === undefined || (await isOver()) }
  }
  const messages = (await source.unread(target)).length
  const text = (id: string): string => wakeText(id, { from: [], messages, assigned, task })
  const end = await climbFor(target, { adapters: parts.adapters(null), look, text }, parts, signal)
  if (end.isRead) await noteWorked(target, end, parts)
  else log.warn('idle holder not woken', { target, task: task ?? assigned.join(', ') })
}
