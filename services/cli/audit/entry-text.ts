import { oneLine } from '#console/terminal-text.ts'
import type { AuditEntry } from '#fleet/audit.ts'

/** An entry as a line for a person. */
export function entryInWords(entry: AuditEntry): string {
  const { seq, at, actor, action, what, result, latencyMs, request, details } = entry
  const parts = [String(seq), new Date(at).toISOString(), actor, action, what ?? '-', result]
  const how = [
    ...(latencyMs === null ? [] : [`${latencyMs} ms`]),
    ...(request === null ? [] : [`request ${request}`]),
    JSON.stringify(details),
  ]
  return oneLine([...parts, ...how].join(' '))
}

/** An entry as a line of an export: with the id to cite it by, and the hash that it follows, so that it proves itself. */
export function entryAsLine(entry: AuditEntry, store: string, previous: string): string {
  return JSON.stringify({ id: `if://s2/audit/${store}/${entry.seq}`, previous, ...entry })
}

/** What a search asks for. */
export interface EntryFilter {
  readonly who?: string
  readonly what?: string
  readonly action?: string
  readonly result?: string
  readonly since?: number
  readonly until?: number
  readonly text?: string
}

export function matches(entry: AuditEntry, filter: EntryFilter): boolean {
  const { who, what, action, result, since = 0, until = Number.POSITIVE_INFINITY, text } = filter
  return (
    entry.at >= since &&
    entry.at < until &&
    (who === undefined || entry.actor === who || entry.actor.startsWith(`${who}/`)) &&
    (what === undefined || entry.what === what) &&
    (action === undefined || entry.action === action) &&
    (result === undefined || entry.result === result) &&
    (text === undefined || JSON.stringify(entry).includes(text))
  )
}
