import { cleanInstant } from './agent-condition.ts'
import { WHY_MAX } from './cut-text.ts'
import { redactedHead } from './redact.ts'

/**
 * What the client of an agent does at this moment, as hooks and files of its host show it. `working`: a turn runs; `idle`: it waits
 * for input; `waiting`: it shows a dialog, and goes on only when a person answers; `parked`: a limit of use is reached; `logged_out`:
 * nobody is logged in; `overloaded`: the service behind it refuses, and the client tries again; `gone`: its process has ended.
 */
export const CLIENT_ACTIVITIES = ['working', 'idle', 'waiting', 'parked', 'logged_out', 'overloaded', 'gone'] as const
export type ClientActivityState = (typeof CLIENT_ACTIVITIES)[number]

/** Which activity of several clients stands for their agent: the first of these that one of them has. */
const STRONGEST: readonly ClientActivityState[] = [
  'waiting', // a person is asked, and nobody else can help
  'working', // the agent gets on, whatever its other windows do
  'logged_out', // nothing gets on until a person logs in
  'overloaded',
  'parked', // a limit holds for all windows of one account
  'idle',
  'gone',
]

/** Below zero where the first of two activities stands for their agent, and not the second. */
export function byStrength(one: Pick<ClientActivity, 'state'>, other: Pick<ClientActivity, 'state'>): number {
  return STRONGEST.indexOf(one.state) - STRONGEST.indexOf(other.state)
}

export interface ClientActivity {
  readonly state: ClientActivityState
  /** One line for people: what a dialog asks, what a limit says; null where the state says it all. */
  readonly what: string | null
  /** Until when it is expected to last, milliseconds since 1970; null where nobody knows. */
  readonly until: number | null
}

/** An activity as another host says it, as it is kept; undefined where it says none, or one that only newer versions know. */
export function readClientActivity(said: ClientActivity | undefined): ClientActivity | undefined {
  return said === undefined || !CLIENT_ACTIVITIES.includes(said.state) ? undefined : cleanClientActivity(said)
}

/** An activity as it is kept: one line without secrets or characters that steer a terminal, and an instant that a date can show. */
export function cleanClientActivity({ state, what, until }: ClientActivity): ClientActivity {
  const line = what === null ? null : redactedHead(what.replace(/[\p{C}\p{Zl}\p{Zp}]+/gu, ' ').trim(), WHY_MAX)
  return { state, what: line === '' ? null : line, until: cleanInstant(until) }
}
