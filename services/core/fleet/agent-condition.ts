import { WHY_MAX } from './cut-text.ts'
import { redactedHead } from './redact.ts'
import type { SessionId } from './session-id.ts'

/**
 * Whether an agent's place can do work, as the agent's own host says. `sick`: it cannot, for a reason of its own (no folder, no
 * program); `parked`: it may not for a while (a usage limit, a client that is logged out); `probing`: it tries with one task
 * whether it can again. A place of which nothing is kept is well.
 */
export const CONDITIONS = ['probing', 'sick', 'parked'] as const
export type ConditionState = (typeof CONDITIONS)[number]

export interface Condition {
  readonly state: ConditionState
  /** One line for people. */
  readonly why: string
  /** Until when it is expected to last, milliseconds since 1970; null where nobody knows. */
  readonly until: number | null
}

export interface AgentCondition extends Condition {
  readonly session: SessionId
  /** Since when the store has known of it, milliseconds since 1970. */
  readonly since: number
}

/** Whether an agent in this condition can do no work, not even to try. */
export function isUnable(state: ConditionState | undefined): boolean {
  return state === 'sick' || state === 'parked'
}

/** The last instant that a date can show (ECMA-262, time values). */
export const INSTANT_MAX = 8.64e15

/** An instant as somebody says it, as one that a date can show; null where nobody says one. */
export function cleanInstant(said: number | null): number | null {
  return said === null || Number.isNaN(said) ? null : Math.min(INSTANT_MAX, Math.max(0, Math.round(said)))
}

/** A condition as it is kept: one line without secrets, and an instant that a date can show. */
function cleanCondition({ state, why, until }: Condition): Condition {
  const line = why.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').trim()
  return { state, why: redactedHead(line, WHY_MAX), until: cleanInstant(until) }
}

/** What a condition becomes by what is said now: as long as its state is the same it lasts since the same time. */
export function nextCondition(
  before: AgentCondition | null,
  session: SessionId,
  said: Condition,
  now: number,
): AgentCondition {
  const isTrouble = before !== null && (before.state === said.state || said.state === 'probing')
  return { session, ...cleanCondition(said), since: isTrouble ? before.since : now }
}
