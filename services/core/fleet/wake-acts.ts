import type { AuditedAct } from './audit.ts'
import { textHead } from './cut-text.ts'
import type { NewIncident } from './incident.ts'

/** What a host has recorded of an agent that it could not wake, and that it reached again. */
export const WAKE_FAILED = 'wake_failed'
export const WAKE_READ = 'wake_read'

/** Characters of what a host says it tried. */
const TRIED_MAX = 1_000

/** What an act of a session does to the incidents: opens one, closes one, or nothing. */
export type IncidentChange =
  | { readonly open: NewIncident }
  | { readonly close: string; readonly outcome: string }
  | null

const TASK_MAX = 200

/** What follows of an act for the incidents. `agent`: the agent of the session that recorded it, as people call it. */
export function incidentChangeOf({ action, details }: AuditedAct, agent: string): IncidentChange {
  const cause = `not_woken:${agent}`
  const task = typeof details.task === 'string' ? JSON.stringify(textHead(details.task, TASK_MAX)) : null
  if (action === WAKE_READ) {
    const outcome = `${agent} was reached again`
    return { close: cause, outcome: task === null ? outcome : `${outcome}, or has task ${task} no more` }
  }
  if (action !== WAKE_FAILED) return null
  const tried = typeof details.tried === 'string' ? textHead(details.tried, TRIED_MAX) : 'nothing that is told'
  const has = task === null ? 'has unread mail' : `idles with task ${task} in hand`
  const summary = `${agent} ${has} and was not woken; its host tried: ${JSON.stringify(tried)}; see to its client there, and s2 wake-test on that host`
  return { open: { cause, kind: 'not_woken', agent, summary } }
}
