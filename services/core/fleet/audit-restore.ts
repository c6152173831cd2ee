import type { ChainHead } from './audit.ts'
import { areSignedBy, type Identity, signFields } from './identity.ts'

/** What the entry of a restore says: which chain goes on and where, and which one is given up. */
export interface RestoreClaim {
  /** Of the chain that goes on. */
  readonly store: string
  /** Of the entry itself. */
  readonly seq: number
  readonly at: number
  /** The hash before it. */
  readonly previous: string
  /** The end of the chain that is given up; null where nobody could read it. */
  readonly replaced: ChainHead | null
}

/** Answers the public key and the signature, both in base64url. */
export type RestoreSigner = (claim: RestoreClaim) => { readonly key: string; readonly signature: string }

/**
 * Signs restores by the orchestrator's key: whoever can write the database could record one to explain away the heads that
 * were kept of a chain that he altered.
 */
export function restoreSigner(identity: Pick<Identity, 'key' | 'signingKey'>): RestoreSigner {
  return (claim) => ({ key: identity.key, signature: signFields(identity, KIND, fieldsOf(claim)) })
}

/** The key that signed this restore; null where none did, or another one than `signed` names. */
export function signerOfRestore(claim: RestoreClaim, signed: unknown): string | null {
  const { key, signature } = (signed ?? {}) as { readonly key?: unknown; readonly signature?: unknown }
  if (typeof key !== 'string' || typeof signature !== 'string') return null
  return areSignedBy(key, KIND, fieldsOf(claim), signature) ? key : null
}

const KIND = 's2-audit-restore/1'

function fieldsOf({ store, seq, at, previous, replaced }: RestoreClaim): object {
  return { store, seq, at, previous, replaced: replaced === null ? null : { seq: replaced.seq, hash: replaced.hash } }
}
