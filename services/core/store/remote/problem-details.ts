import { textHead } from '#fleet/cut-text.ts'
import { CODES, type Code, S2Error } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import { UNREAD_SIGNATURE } from '#fleet/signature.ts'

/** How an error crosses the network: `application/problem+json` (RFC 9457). Its cause stays in the log. */
export interface ProblemDetails {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly code: Code
  readonly detail: string
  readonly next?: string
  readonly id?: string
  /** Finer than the Retry-After header, which knows whole seconds only. */
  readonly retryAfterS?: number
  /** The bridge's clock, milliseconds since 1970: sent when the caller's clock is wrong, or the bridge has just started. */
  readonly time?: number
}

export const PROBLEM_TYPE = 'application/problem+json'

const KINDS: Readonly<Record<Code, readonly [status: number, title: string]>> = {
  invalid: [400, 'The request is wrong'],
  unauthenticated: [401, 'The caller is not known'],
  forbidden: [403, 'The caller may not do this'],
  not_found: [404, 'There is no such thing'],
  conflict: [409, 'It contradicts what is there'],
  stale_epoch: [409, 'The task has another owner now'],
  expired: [410, 'Its time is over'],
  rate_limited: [429, 'Too many requests'],
  too_large: [413, 'It is too large'],
  unavailable: [503, 'Not possible just now'],
  unknown_outcome: [504, 'It may or may not have happened'],
  internal: [500, 'The bridge met an error'],
}

/** The time of a signature is not acceptable; with `time`, the bridge's, an honest caller can sign again. */
export class ClockError extends S2Error {
  readonly time: number

  constructor(message: string, time: number, details: { next?: string; id?: string; retryAfterS?: number } = {}) {
    super('expired', message, details)
    this.time = time
  }
}

/** What the caller may know of an error. Anything but an S2Error is `internal`, and its message stays inside. */
export function toProblem(error: unknown, id?: string, status?: number): ProblemDetails {
  const known = error instanceof S2Error ? error : null
  const code = known?.code ?? 'internal'
  const [usual, title] = KINDS[code]
  const shownId = id ?? known?.id
  return {
    type: `urn:s2:problem:${code}`,
    title,
    status: status ?? (known instanceof ClockError ? 401 : usual),
    code,
    detail: known !== null && code !== 'internal' ? redact(known.message) : 'the bridge met an error of its own',
    ...(known?.next === undefined ? {} : { next: redact(known.next) }),
    ...(shownId === undefined ? {} : { id: shownId }),
    ...(known?.retryAfterS === undefined ? {} : { retryAfterS: known.retryAfterS }),
    ...(known instanceof ClockError ? { time: known.time } : {}),
  }
}

/** Reads a problem that came from outside; null when it is none. */
export function fromProblem(value: unknown): S2Error | null {
  if (typeof value !== 'object' || value === null) return null
  const { code, detail, next, id, retryAfterS, time } = value as Record<string, unknown>
  const known = CODES.find((each) => each === code)
  if (known === undefined || typeof detail !== 'string') return null
  const details = {
    ...(typeof next === 'string' ? { next } : {}),
    ...(typeof id === 'string' ? { id } : {}),
    ...(typeof retryAfterS === 'number' && retryAfterS >= 0 ? { retryAfterS } : {}),
  }
  if (known === 'expired' && typeof time === 'number') return new ClockError(detail, time, details)
  return new S2Error(known, detail, details)
}

/** What answers that anybody could have given may still say: try again, later or with another credential. */
const UNSIGNED_CODES: readonly Code[] = ['unauthenticated', 'rate_limited', 'unavailable']
/** The longest that such an answer may have us wait, seconds. */
const UNSIGNED_RETRY_MAX_S = 30
const SAID_MAX = 300

/**
 * What an answer to a signed request means that the bridge has not signed. The bridge signs whatever it tells a caller that it
 * knows, its clock and every refusal for good included: so nothing here ends a task, refuses a message for ever, sets a
 * clock or makes a credential void. What it says is passed on for people to read.
 */
export function fromUnsigned(
  value: unknown,
  status: number,
  { where, writes }: { readonly where: string; readonly writes: boolean },
): S2Error {
  const said = fromProblem(value)
  const plain = said ?? fromStatus(status, writes)
  if (plain.message === UNREAD_SIGNATURE) return otherVersion(where)
  if (UNSIGNED_CODES.includes(plain.code)) {
    const retryAfterS = Math.min(plain.retryAfterS ?? 0, UNSIGNED_RETRY_MAX_S)
    const next = plain.next === undefined ? {} : { next: plain.next }
    return new S2Error(plain.code, plain.message, { ...next, ...(retryAfterS === 0 ? {} : { retryAfterS }) })
  }
  const what = said === null ? `status ${status}` : textHead(`${said.code}: ${said.message}`, SAID_MAX)
  return new S2Error(
    writes ? 'unknown_outcome' : 'unavailable',
    `the answer of ${where} is not signed by the bridge, and does not count; it says ${what}`,
    {
      next:
        said?.next === undefined
          ? 'check the address, what stands between, and whether both sides have the same version of S2'
          : textHead(said.next, SAID_MAX),
    },
  )
}

/** What this host signs is always of its own form: a bridge that cannot read it is of another version. */
function otherVersion(where: string): S2Error {
  return new S2Error(
    'unauthenticated',
    `the bridge at ${where} runs another version of S2 than this host: it cannot read how this one signs`,
    { next: 'update S2 on the bridge’s host first, and then here; what waits in the outbox is sent after that' },
  )
}

/** What a bare status means, where something between us and the bridge answered in its place. */
export function fromStatus(status: number, writes: boolean): S2Error {
  // A bridge that was paused while the request came in answers so too: it read nothing, and nothing happened.
  if (status === 408) return new S2Error('unavailable', 'the request was not read in time', { next: 'try again' })
  const code =
    status === 429
      ? 'rate_limited'
      : status === 413
        ? 'too_large'
        : status === 503 || (status >= 500 && !writes)
          ? 'unavailable'
          : status >= 500
            ? 'unknown_outcome'
            : 'internal'
  return new S2Error(code, `something that is not the bridge answered with status ${status}`, {
    next: 'check the address, and what stands between this host and the bridge',
  })
}
