import { isPassing, S2Error } from '#fleet/errors.ts'
import { ClockError } from '#store/remote/problem-details.ts'

/**
 * What an error means for something that waits to be carried. `again`: it says nothing of the item (the bridge is away, the clock
 * is off, the credential is about to change). `doubtful`: the bridge stumbles over it; a few times is chance. `refused`: never.
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

/** True when what the session belonged to is there no more. */
export function isOver(error: unknown): boolean {
  if (!(error instanceof S2Error) || error instanceof ClockError) return false
  return error.code === 'expired' || error.code === 'not_found'
}
