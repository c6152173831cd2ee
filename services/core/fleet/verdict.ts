import type { AuditedAct } from './audit.ts'
import type { ClientActivity } from './client-activity.ts'

/**
 * What an observer thinks of an agent. `new`: it was never heard, so it is not lost either. `gone`: its death is proved, or that
 * of its client. The last four are of an agent that beats: `sick` (its place fails its work), `parked` (it said why it waits),
 * `stalled` (it shows no sign of work), `waiting` (its client shows a dialog, and a person is to answer).
 */
export const VERDICTS = ['new', 'alive', 'late', 'silent', 'gone', 'sick', 'parked', 'stalled', 'waiting'] as const
export type Verdict = (typeof VERDICTS)[number]

/** The verdicts on the work of an agent that beats: they are shown in place of `alive`. */
export type WorkVerdict = Extract<Verdict, 'gone' | 'sick' | 'parked' | 'stalled' | 'waiting'>

const HEARD: readonly Verdict[] = ['alive', 'sick', 'parked', 'stalled', 'waiting']

/** Whether the agent's host is heard and it is not `gone`: whatever keeps it from work, it is there. */
export function isHeard(verdict: Verdict): boolean {
  return HEARD.includes(verdict)
}

/** The verdicts that a roster passes: three by beats alone, and one by proof. */
export type RosterVerdict = Extract<Verdict, 'alive' | 'late' | 'silent' | 'gone'>

export interface AgentVerdict {
  readonly agent: string
  readonly verdict: Verdict
  /** Since when, milliseconds since 1970 by the watchdog's wall clock: for people to read. */
  readonly since: number
  readonly host: string | null
  /** What explains the verdict, e.g. `folder /srv/x does not exist`; null or left out where nothing does. */
  readonly why?: string | null
  /** Until when it is expected to hold, milliseconds since 1970; null or left out where nobody knows. */
  readonly until?: number | null
  /** What its client does, and since when; null or left out where nothing is known of one. */
  readonly activity?: ShownActivity | null
}

/** What a client does, for people to read. */
export interface ShownActivity extends ClientActivity {
  /** Milliseconds since 1970 by the watchdog's wall clock. */
  readonly since: number
}

/** An agent that is judged otherwise than before. */
export interface ChangedVerdict {
  readonly agent: string
  /** Null where there was no verdict on it. */
  readonly from: string | null
  readonly to: string
}

/** Which of these verdicts differ from those of before, by agent. */
export function changesOf(before: ReadonlyMap<string, string>, verdicts: Iterable<AgentVerdict>): ChangedVerdict[] {
  const changes: ChangedVerdict[] = []
  for (const { agent, verdict } of verdicts) {
    const from = before.get(agent) ?? null
    if (from !== verdict) changes.push({ agent, from, to: verdict })
  }
  return changes
}

/** The audit entry of a round of verdicts. */
export function verdictsAct(changes: readonly ChangedVerdict[]): AuditedAct {
  return { actor: 'watchdog', action: 'verdicts_changed', details: { changes } }
}
