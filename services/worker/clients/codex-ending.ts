import { retryTimeIn } from '#agents/retry-time.ts'
import type { ClientEnding } from './client-driver.ts'
import { field, numberOf, textOf } from './said.ts'

/** Errors of Codex by which nobody here may work for a while, or until a person has done something. */
const PARKING = [
  'usageLimitExceeded',
  'sessionBudgetExceeded',
  'rateLimitExceeded',
  'flexUnavailable',
  'serverOverloaded',
  'policyCapacityUnavailable',
  'internalServerError',
  'unauthorized',
]

/**
 * What an error of a turn means, by Codex's own code for it (`codexErrorInfo`: a word, or an object with the status of the
 * service). `limitEndsAt`: when a window of use that is full begins anew, milliseconds since 1970.
 */
export function codexFailure(error: unknown, limitEndsAt: number | null, now: number, zone: string): ClientEnding {
  const why = textOf(field(error, 'message')) ?? 'the turn failed'
  const said = `codex: ${why}`
  const info = field(error, 'codexErrorInfo')
  const code = typeof info === 'string' ? info : (Object.keys((info ?? {}) as object)[0] ?? '')
  const status = numberOf(field(field(info, code), 'httpStatusCode'))
  if (code === 'modelNotFound') return { is: 'sick', why: said, until: null }
  const isLost = CONNECTION.includes(code) && status === 0
  const isRefused = [401, 403, 429].includes(status) || status >= 500
  if (!PARKING.includes(code) && !isLost && !isRefused) return { is: 'failed', why }
  const until = code === 'usageLimitExceeded' ? (limitEndsAt ?? retryTimeIn(why, now, zone)) : null
  return { is: 'parked', why: said, until }
}

/** The service was not reached, or its answer broke off again and again. */
const CONNECTION = [
  'httpConnectionFailed',
  'responseStreamConnectionFailed',
  'responseStreamDisconnected',
  'responseTooManyFailedAttempts',
]

/** When the windows that are full begin anew, milliseconds since 1970; null where none is. */
export function fullUntil(rateLimits: unknown): number | null {
  const ends = ['primary', 'secondary']
    .map((name) => field(rateLimits, name))
    .filter((window) => numberOf(field(window, 'usedPercent')) >= 100)
    .map((window) => numberOf(field(window, 'resetsAt')) * 1000)
  const last = Math.max(0, ...ends)
  return last === 0 ? null : last
}
