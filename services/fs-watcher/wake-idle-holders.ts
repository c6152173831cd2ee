import type { ClientSession } from '#agents/client-session.ts'
import { Loop } from '#runtime/loop.ts'
import type { HeldTask, HeldTasks } from '#spool/held-tasks.ts'
import { hasClientEnded } from './choose-session.ts'
import type { WakeTarget } from './mail-source.ts'
import { endUnwokenRests, noteUnwoken } from './unwoken-agents.ts'
import type { LadderParts } from './wake-by-ladder.ts'
import { beginClimb, targetFor, wakeForTask } from './wake-for-task.ts'

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

/**
 * Wakes clients that idle with a task in hand, once for each time that they come to rest with it; until the signal aborts. An agent that
 * is being woken already is looked at again later.
 */
export async function wakeIdleHolders(parts: HolderParts, signal: AbortSignal): Promise<void> {
  const { climbs, source } = parts
  const told = new Set<string>()
  const loop = new Loop({
    clock: parts.clock,
    signal,
    step: async () => {
      const holders = idleHolders(await parts.sessions(), await parts.held.list(), parts.clock.wall())
      const rests = new Set(holders.map(nameOf))
      for (const each of [...told]) if (!rests.has(each)) told.delete(each)
      await endUnwokenRests(rests, parts)
      for (const holder of holders.filter((each) => !told.has(nameOf(each)))) {
        const target = await targetFor(holder.held.session, source)
        if (climbs.isBusy(target)) continue
        told.add(nameOf(holder))
        beginClimb(target, async () => await wakeHolder(target, holder, parts, signal), parts, signal)
      }
      return LOOK_MS
    },
    onError: (error) => {
      parts.log.warn('idle holders of tasks cannot be looked up', { error })
      return LOOK_MS
    },
  })
  await loop.done
  await climbs.idle()
}

/** The clients that have idled for a while with a task in hand. `now`: milliseconds since 1970. */
export function idleHolders(sessions: readonly ClientSession[], tasks: readonly HeldTask[], now: number): IdleHolder[] {
  const idle = sessions.filter(
    (each) => each.activity.state === 'idle' && now - each.since >= IDLE_MS && !hasClientEnded(each),
  )
  return tasks
    .filter(({ lost, ended }) => lost === null && ended === null)
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

async function wakeHolder(
  target: WakeTarget,
  holder: IdleHolder,
  parts: HolderParts,
  signal: AbortSignal,
): Promise<void> {
  const { session, held } = holder
  const isOver = async (): Promise<boolean> => {
    const tasks = await parts.held.list()
    return !tasks.some(({ task, epoch, work }) => task === held.task && epoch === held.epoch && work === held.work)
  }
  const { task } = held
  const end = await wakeForTask(target, { session, assigned: [], task, isOver }, parts, signal)
  if (end.isRead) return
  const idleWith = { task, rest: nameOf(holder) }
  await noteUnwoken({ target, sessions: [held.session], matter: { task }, idleWith }, end, parts)
}
