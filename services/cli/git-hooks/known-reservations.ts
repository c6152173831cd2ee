import type { CommandContext } from '#console/context.ts'
import { stateFolder } from '#console/state-folder.ts'
import { type ReachedFleet, reachFleet } from '#console/store-access.ts'
import type { Credential } from '#fleet/credential.ts'
import type { Reservation } from '#fleet/reservation.ts'
import { keepList } from '#member/keep-list.ts'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import { readCredentials } from '#spool/credentials.ts'
import { keptReservationList } from '#spool/reservation-list.ts'
import { selfOf } from '../reservations/own-session.ts'

/** What is known of who has which files. */
export interface Known {
  readonly reservations: readonly Reservation[]
  /** The agents for whom this host speaks: their files are no others'. */
  readonly own: ReadonlySet<string>
  /** When the fleet said so, milliseconds since 1970; null: now. */
  readonly at: number | null
  /** Why the fleet was not asked now; null where it was. */
  readonly why: string | null
}

/** Asks the fleet for at most so long, and else takes the list that it gave last; null where there is none. */
export async function knownReservations(
  context: CommandContext,
  mostMs: number,
): Promise<Known | { readonly why: string }> {
  const asked = await withFleet(context, mostMs, (reached) => askFleet(context, reached))
  if (!('why' in asked)) return { ...asked, at: null, why: null }
  const state = stateFolder(context)
  const kept = await keptReservationList(state)
  if (kept === null) return asked
  const { credentials } = await readCredentials(state)
  return { ...kept, own: agentsOf(credentials, context), why: asked.why }
}

/** Does something with the fleet for at most so long. What is not done by then is let go: nobody waits for it. */
export async function withFleet<T extends object>(
  context: CommandContext,
  mostMs: number,
  act: (reached: ReachedFleet) => Promise<T>,
): Promise<T | { readonly why: string }> {
  const reaching = reachFleet(context)
  try {
    const answer = await waitAtMost(reaching.then(act), mostMs, context.clock)
    return answer === LATE ? { why: 'the fleet does not answer' } : answer
  } catch (error) {
    return { why: error instanceof Error ? error.message : String(error) }
  } finally {
    void reaching.then((reached) => reached[Symbol.asyncDispose]()).catch(() => undefined)
  }
}

async function askFleet(context: CommandContext, reached: ReachedFleet): Promise<Pick<Known, 'reservations' | 'own'>> {
  const reservations = await keepList(reached.store, { state: stateFolder(context), clock: context.clock })
  const own = agentsOf(reached.credentials, context)
  if (own.size > 0) return { reservations, own }
  const self = await selfOf(reached, context).catch(() => null) // a fleet without conversations has no agents
  return { reservations, own: new Set(self === null ? [] : [self.agent]) }
}

/** All for whom this host has credentials, or of several the one for whose task `s2 work` runs this command. */
function agentsOf(credentials: readonly Credential[], { env }: CommandContext): ReadonlySet<string> {
  const told = credentials.filter(({ session }) => session === env.S2_TASK_SESSION)
  return new Set((told.length > 0 ? told : credentials).map(({ agent }) => agent))
}
