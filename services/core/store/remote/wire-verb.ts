import type * as Type from 'typebox'
import type { Static, TProperties, TSchema } from 'typebox'
import type { SessionId } from '#fleet/session-id.ts'
import type { Store } from '../store.ts'
import { closed, type Frozen } from './wire-values.ts'

/**
 * Who may call. `public`: anybody, unsigned; what is asked and answered is sealed or signed by itself. `session`: a session
 * for itself alone, by its own signature. `participant`: a session, for what its conversations let it see
 * (`bridge/permissions.ts`). `admin`: only the bridge's own host, through the administration socket, which may call all verbs.
 */
export type Authority = 'public' | 'session' | 'participant' | 'admin'

/** How a verb behaves when its answer was lost: `reads` changes nothing, `repeats` answers the same again, `once` does not. */
export type Effect = 'reads' | 'repeats' | 'once'

export interface Verb {
  readonly who: Authority
  readonly effect: Effect
  readonly input: TSchema
  readonly output: TSchema
  /** Whether every session that the arguments speak for is this one. */
  speaksFor?(input: unknown, session: SessionId): boolean
  call(store: Store, input: unknown): Promise<unknown>
}

/** Input is closed: what is not named is refused. Output is open, so that an older client understands a newer bridge. */
export function verb<const I extends TProperties, O extends TSchema>(
  kind: readonly [Authority, Effect],
  input: I,
  output: O,
  call: (store: Store, input: Static<Type.TObject<I>>) => Promise<Frozen<Static<O>>>,
  speaksFor?: (input: Static<Type.TObject<I>>, session: SessionId) => boolean,
): Verb & { readonly input: Type.TObject<I>; readonly output: O } {
  return {
    who: kind[0],
    effect: kind[1],
    input: closed(input),
    output,
    // The bridge calls it only with what it has checked against `input`.
    call: call as Verb['call'],
    ...(speaksFor === undefined ? {} : { speaksFor: speaksFor as NonNullable<Verb['speaksFor']> }),
  }
}
