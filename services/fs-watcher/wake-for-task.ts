import type { ClientSession } from '#agents/client-session.ts'
import type { Climb } from '#agents/wake/climb.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { wakeText } from '#fleet/wake-text.ts'
import type { MailSource, WakeTarget } from './mail-source.ts'
import { noteReached } from './unwoken-agents.ts'
import { climbFor, type LadderParts, noteWorked } from './wake-by-ladder.ts'

/** Who is woken for the tasks of a session. */
export async function targetFor(session: SessionId, source: Pick<MailSource, 'targetOf'>): Promise<WakeTarget> {
  return (await source.targetOf(session)) ?? session
}

/** Begins a climb beside those of other agents. */
export function beginClimb(
  target: WakeTarget,
  climb: () => Promise<void>,
  { climbs, log }: Pick<LadderParts, 'climbs' | 'log'>,
  signal: AbortSignal,
): void {
  climbs.inTurn(target, climb, signal).catch((error: unknown) => {
    if (!signal.aborted) log.warn('wake for a task failed', { target, error })
  })
}

/** A wake of an idle client for a task that was assigned to its agent, or that it holds. */
interface TaskWake {
  readonly session: ClientSession
  readonly assigned: readonly string[]
  readonly task: string | null
  readonly isOver: () => Promise<boolean>
}

/** Climbs the ladder for a task. Where the client goes on meanwhile, by itself or by what it read, no more is sent. */
export async function wakeForTask(
  target: WakeTarget,
  { session, assigned, task, isOver }: TaskWake,
  parts: LadderParts,
  signal: AbortSignal,
): Promise<Climb> {
  const { source } = parts
  const look = async () => {
    const now = (await parts.sessions()).find(({ client, id }) => client === session.client && id === session.id)
    const isTaken = now === undefined || (await isOver())
    return { session: now ?? null, isTaken, goesOn: now?.since !== session.since }
  }
  const messages = (await source.unread(target)).length
  const text = (id: string): string => wakeText(id, { from: [], messages, assigned, task })
  const end = await climbFor(target, { adapters: parts.adapters(null), look, text }, parts, signal)
  if (end.rung !== null) await noteReached(target, parts)
  await noteWorked(target, end, parts)
  return end
}
