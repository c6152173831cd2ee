import { agentNames } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { END_REASONS, type Report, type Task } from '#fleet/task.ts'
import { lastEnded } from '#fleet/task-attempts.ts'
import { cleanReport } from '#fleet/task-reports.ts'
import type { Store } from '#store/store.ts'
import type { ReportedTask } from './member.ts'

/**
 * What a holder is answered that ends a task again. The same words are heard already. Other ones throw `conflict`: the store would
 * take a second result for the first one repeated, and nobody would see it. A report that contradicts the end is kept as a late one.
 */
export async function endAgain(
  task: Task,
  session: SessionId,
  report: Report,
  store: Pick<Store, 'conversations' | 'report'>,
): Promise<ReportedTask> {
  const isOwn = task.holder === session
  if (isOwn && isSameEnd(report, { state: task.state, tail: task.result?.tail ?? '' })) return told(session, report)
  const isLate = isOwn && report.state !== task.state && (await isKeptAsLate(store, session, report))
  const by = await enderOf(task, store)
  throw endedAlready(report, task.state, `${by} at ${new Date(endOf(task)).toISOString()}`, isLate)
}

/** The same while the first report waits in the outbox of this host. */
export function endAgainUnheard(session: SessionId, report: Report, waiting: Report, why: string | null): ReportedTask {
  const before = { state: waiting.state, tail: waiting.result?.tail ?? '' }
  if (isSameEnd(report, before)) return { ...told(session, report), state: 'waiting', why }
  throw endedAlready(report, waiting.state, 'a report that waits in the outbox of this host', false)
}

/** An end without words adds nothing to the one that was said. */
function isSameEnd(report: Report, before: { readonly state: string; readonly tail: string }): boolean {
  const tail = cleanReport(report).result?.tail ?? ''
  return report.state === before.state && (tail === '' || tail === before.tail)
}

function told(session: SessionId, { task, epoch }: Report): ReportedTask {
  return { task, epoch, session, state: 'carried', why: null }
}

async function isKeptAsLate(store: Pick<Store, 'report'>, session: SessionId, report: Report): Promise<boolean> {
  try {
    await store.report(session, report)
    return false
  } catch (error) {
    return error instanceof S2Error && error.code === 'conflict'
  }
}

async function enderOf(task: Task, store: Pick<Store, 'conversations'>): Promise<string> {
  const end = lastEnded(task)?.end ?? null
  if ((END_REASONS as readonly unknown[]).includes(end)) return 'the watchdog'
  if (task.state === 'cancelled' || task.holder === null) return 'whoever gave it'
  return agentNames(await store.conversations().catch(() => []))(task.holder)
}

function endOf(task: Task): number {
  return lastEnded(task)?.endedAt ?? task.updatedAt
}

function endedAlready({ task, state }: Report, ended: string, by: string, isLate: boolean): S2Error {
  const lost = state === 'completed' ? 'that it is completed' : 'that it failed'
  const what = isLate ? `${lost} changes nothing, and is kept as a late report` : 'this result was not stored'
  return new S2Error('conflict', `task ${task} is ${ended} already, by ${by}: ${what}`, {
    next: `s2 task show ${task} shows how it ended; tell the orchestrator what is to be added by send_to_partner or s2 send orchestrator '…'`,
  })
}
