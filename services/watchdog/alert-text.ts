import type { Incident, IncidentKind } from '#fleet/incident.ts'
import { redact } from '#fleet/redact.ts'
import { RETOLD_AFTER_MS } from './lasting-incidents.ts'

/** What a channel tells people: an alert of an incident, or a test of the channel. */
export interface Notice {
  readonly event: 'opened' | 'lasting' | 'closed' | 'test'
  readonly incident: Omit<Incident, 'kind'> & { readonly kind: IncidentKind | 'test' }
}

/** Characters of a text in an alert; chat services take no more than some thousands. */
const TEXT_MAX = 1_500
const HOUR_MS = 3_600_000

/** What every channel sends, in the same words. Chat services show `text`. */
export function alertContent({ event, incident }: Notice): Readonly<Record<string, unknown>> {
  const { outcome, agent, closedAt } = incident
  return {
    event,
    text: readable(textOf({ event, incident })),
    incident: incident.id,
    cause: readable(incident.cause),
    kind: incident.kind,
    agent: agent === null ? null : readable(agent),
    summary: readable(incident.summary),
    openedAt: instant(incident.openedAt),
    closedAt: closedAt === null ? null : instant(closedAt),
    outcome: outcome === null ? null : readable(outcome),
    retold: incident.retold,
  }
}

function textOf({ event, incident: { summary, outcome, retold } }: Notice): string {
  switch (event) {
    case 'opened':
      return `S2 incident: ${summary}`
    case 'lasting':
      return `S2 incident still open after ${(RETOLD_AFTER_MS[retold - 1] ?? 0) / HOUR_MS} h: ${summary}`
    case 'closed':
      return `S2 incident over: ${outcome ?? summary}`
    case 'test':
      return `S2 test alert: ${summary}`
  }
}

/** One line without secrets and control characters, cut between characters; what is cut off is looked through before. */
function readable(text: string): string {
  const line = redact(text).toWellFormed().replace(BREAKS, ' ').replace(UNSEEN, '').trim()
  if (line.length <= TEXT_MAX) return line
  let end = 0
  for (const { index, segment } of new Intl.Segmenter('en').segment(line.slice(0, 2 * TEXT_MAX))) {
    if (index + segment.length > TEXT_MAX - 1) break
    end = index + segment.length
  }
  return `${line.slice(0, end)}…`
}

const BREAKS = /[\s\p{Cc}]+/gu
/** Marks of direction, tags and fillers, which make a text read as another one; not the joiners of scripts and emoji. */
const UNSEEN =
  /[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu

function instant(ms: number): string {
  return new Date(ms).toISOString()
}
