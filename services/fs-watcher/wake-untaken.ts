import type { ClientSession } from '#agents/client-session.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { Loop } from '#runtime/loop.ts'
import { chooseSession, hasClientEnded } from './choose-session.ts'
import type { UntakenTask, UntakenTasks } from './untaken-tasks.ts'
import { triedText } from './unwoken-agents.ts'
import { beginClimb, targetFor, wakeForTask } from './wake-for-task.ts'
import { type HolderParts, IDLE_MS } from './wake-idle-holders.ts'

export interface UntakenParts extends HolderParts {
  readonly untaken: UntakenTasks
  /** Whether a program such as `s2 work` takes the tasks of a session. */
  readonly isWorkedFor: (session: SessionId) => Promise<boolean>
}

/** A task that is taken and ended between two looks counts as not taken. */
const LOOK_MS = 1_000

/**
 * Wakes clients that idle although their agents have read of a task that nobody took, once for each task and epoch; until the signal
 * aborts. What is unread is told by the wake for the mail.
 */
export async function wakeForUntaken(parts: UntakenParts, signal: AbortSignal): Promise<void> {
  const { clock, log, untaken, held } = parts
  const loop = new Loop({
    clock,
    signal,
    step: async () => {
      if (untaken.list().length === 0) return LOOK_MS
      untaken.see(await held.list())
      await settleWorkedFor(parts)
      for (const task of untaken.list()) await wakeIfIdle(task, parts, signal)
      return LOOK_MS
    },
    onError: (error) => {
      log.warn('tasks that were not taken cannot be looked up', { error })
      return LOOK_MS
    },
  })
  await loop.done
  await parts.climbs.idle()
}

/** What takes the tasks of a session by itself needs no client that is woken. */
async function settleWorkedFor({ untaken, isWorkedFor }: UntakenParts): Promise<void> {
  for (const session of new Set(untaken.list().map((each) => each.session))) {
    if (!(await isWorkedFor(session))) continue
    for (const each of untaken.list()) if (each.session === session) untaken.settle(each)
  }
}

async function wakeIfIdle(task: UntakenTask, parts: UntakenParts, signal: AbortSignal): Promise<void> {
  const { clock, source, untaken, held, climbs } = parts
  const session = idleClient(task, await parts.sessions(), clock.wall())
  if (session === null) return
  const target = await targetFor(task.session, source)
  if ((await source.unread(target)).length > 0 || climbs.isBusy(target)) return
  const isOver = async (): Promise<boolean> => {
    untaken.see(await held.list())
    return !untaken.has(task)
  }
  const wake = { session, assigned: [task.task], task: null, isOver }
  const climbing = async (): Promise<void> => {
    const end = await wakeForTask(target, wake, parts, signal).finally(() => untaken.settle(task))
    // the watchdog tells people of tasks that nobody takes
    if (!end.isRead) parts.log.warn('agent not woken', { target, assigned: task.task, tried: triedText(end) })
  }
  beginClimb(target, climbing, parts, signal)
}

function idleClient({ session }: UntakenTask, sessions: readonly ClientSession[], now: number): ClientSession | null {
  const covers = (each: SessionId): boolean => each === session
  const chosen = chooseSession(sessions, { covers, takesUnnamed: false })
  if (chosen === null || chosen.activity.state !== 'idle' || hasClientEnded(chosen)) return null
  return now - chosen.since >= IDLE_MS ? chosen : null
}
