/**
 * The one short list of error codes that every door shares (HTTP, WebSocket, command line).
 * `unknown_outcome` is neither success nor failure: the commit may have happened; ask again with the same key.
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
  /** What the person or program should do next, as a sentence. */
  readonly next?: string
  /** For the log only: never shown to the other side. */
  readonly cause?: unknown
  /** Joins what the caller saw with what the log says; a caller's own id is carried over. */
  readonly id?: string
  /** Seconds to wait before another try, where the refusing side knows. */
  readonly retryAfterS?: number
}

/** An error with a code for the caller and a cause for the log. Its message says what happened, and to what. */
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

/** True when another try with the same idempotency key may succeed and cannot do harm. */
export function isPassing(error: unknown): boolean {
  return (
    error instanceof S2Error &&
    (error.code === 'unavailable' || error.code === 'unknown_outcome' || error.code === 'rate_limited')
  )
}
