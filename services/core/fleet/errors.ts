/**
 * The error codes of HTTP, WebSocket and the command line. `unknown_outcome` is neither success nor failure: the commit may
 * have happened; ask again with the same key.
 */
export const CODES = [
  'invalid',
  'unauthenticated',
  'forbidden',
  'not_found',
  'conflict',
  'stale_epoch',
  'expired',
  'rate_limited',
  'too_large',
  'unavailable',
  'unknown_outcome',
  'internal',
] as const

export type Code = (typeof CODES)[number]

export interface ErrorDetails {
  /** What the person or program should do next. */
  readonly next?: string
  /** For the log only: never shown to the other side. */
  readonly cause?: unknown
  /** Stands both in the caller's error and in the log; a caller's own id is kept. */
  readonly id?: string
  /** Seconds to wait before another try, where the refusing side knows. */
  readonly retryAfterS?: number
}

/** An error with a code for the caller and a cause for the log. Its message says what happened to what. */
export class S2Error extends Error {
  override readonly name = 'S2Error'
  readonly code: Code
  readonly next: string | undefined
  readonly id: string | undefined
  readonly retryAfterS: number | undefined

  constructor(code: Code, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.next = details.next
    this.id = details.id
    this.retryAfterS = details.retryAfterS
  }
}

/** True when a retry with the same idempotency key may succeed and can do no harm. */
export function isPassing(error: unknown): boolean {
  return (
    error instanceof S2Error &&
    (error.code === 'unavailable' || error.code === 'unknown_outcome' || error.code === 'rate_limited')
  )
}
