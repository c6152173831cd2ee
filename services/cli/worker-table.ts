import { table } from '#console/table.ts'
import { ago } from '#console/terminal-text.ts'
import type { Conversation } from '#fleet/conversation.ts'
import { fingerprint } from '#fleet/identity.ts'
import { sessionId } from '#fleet/session-id.ts'
import type { Worker } from '#fleet/worker.ts'

/** The lines of a table of workers; what a worker of S2 stands behind of another bridge is shown where there is such a one. */
export function workerTable(
  workers: readonly Worker[],
  conversations: readonly Conversation[],
  now: number,
  columns: number,
): string[] {
  const foreign = foreignLed(conversations)
  const isAdopted = ({ conversation }: Worker): boolean => conversation !== null && foreign.has(conversation)
  const showsBehind = workers.some(isAdopted)
  const rows = workers.map((worker) => [
    worker.agent,
    worker.role,
    stateOf(worker, now),
    ...(showsBehind ? [isAdopted(worker) ? (worker.conversation ?? '') : ''] : []),
    worker.host ?? '',
    worker.key === null ? '' : fingerprint(worker.key),
    worker.published === 0 ? '' : ago(now - worker.published),
  ])
  const behind = showsBehind ? ['BEHIND'] : []
  const titles = ['WORKER', 'ROLE', 'STATE', ...behind, 'HOST', 'KEY', 'CREDENTIAL MADE'].map((title) => ({ title }))
  return table(titles, rows, columns)
}

/** The conversations whose end a is an agent of another bridge. */
function foreignLed(conversations: readonly Conversation[]): ReadonlySet<string> {
  return new Set(conversations.filter(({ id, agents }) => agents.a === sessionId(id, 'a')).map(({ id }) => id))
}

function stateOf({ joinedAt, revokedAt, invitedUntil, refusal, serial, published }: Worker, now: number): string {
  const invited = invitedUntil !== null && invitedUntil > now ? `invited for ${ago(invitedUntil - now)} more` : null
  const then = invited === null ? '' : `, ${invited}`
  if (revokedAt !== null) return `revoked${then}`
  if (joinedAt === null) return invited ?? 'invitation ended'
  if (refusal !== null) return `refuses its credential${then}`
  return `${serial === published ? 'joined' : 'credential waits'}${then}`
}
