import { isPassing, S2Error } from '#fleet/errors.ts'
import { ClockError } from '#store/remote/problem-details.ts'

/**
 * What an error means for an item that waits to be sent. `again`: the error says nothing about the item (the bridge is away, the
 * clock is off, the credential is about to change). `doubtful`: the bridge failed on the item, which may be chance a few times.
 * `refused`: the bridge will never take it.
 */
export function classifyError(error: unknown): 'again' | 'doubtful' | 'refused' {
  if (isPassing(error) || error instanceof ClockError) return 'again'
  if (!(error instanceof S2Error) || error.code === 'internal') return 'doubtful'
  return error.code === 'unauthenticated' ? 'again' : 'refused'
}

/** True when the bridge does not let the session speak, whatever it says. */
export function isLockedOut(error: unknown): boolean {
  if (!(error instanceof S2Error) || error instanceof ClockError) return false
  return /^(unauthenticated|forbidden|expired|not_found)$/.test(error.code)
}

/** True when the session's conversation has ended or is unknown to the bridge. */
function isOver(error: unknown): boolean {
  if (!(error instanceof S2Error) || error instanceof ClockError) return false
  return error.code === 'expired' || error.code === 'not_found'
}

/** The answer; null where its session's conversation is over, or the bridge of an earlier version: nobody wants to know there. */
export async function unlessOver<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked
  } catch (error) {
    if (isOver(error)) return null
    throw error
  }
}
