import { type AuditEntry, auditHash, type ChainHead, detailsJsonOf, type HashedEntry } from './audit.ts'

/** Something that is wrong with an audit trail, and where. */
export interface ChainFault {
  /** The entry at which it shows. */
  readonly seq: number
  readonly kind:
    | 'missing'
    | 'changed'
    | 'out_of_order'
    | 'unreadable'
    | 'rolled_back'
    | 'rewritten'
    | 'foreign_rows'
    | 'segment'
    | 'head'
  readonly text: string
}

/** Follows a chain entry by entry, and goes on after each fault so that all of them are found. */
export class ChainCheck {
  #head: ChainHead

  constructor(start: ChainHead) {
    this.#head = start
  }

  /** The last entry that was taken. */
  get head(): ChainHead {
    return this.#head
  }

  /** Takes the next entry; answers what is wrong with it. */
  take(entry: HashedEntry & { readonly hash: string }): ChainFault | null {
    const { seq, hash } = this.#head
    if (entry.seq <= seq) {
      return { seq: entry.seq, kind: 'out_of_order', text: `entry ${entry.seq} stands after entry ${seq}` }
    }
    this.#head = { seq: entry.seq, hash: entry.hash }
    if (entry.seq > seq + 1) {
      const gap =
        entry.seq === seq + 2 ? `entry ${seq + 1} is missing` : `entries ${seq + 1} to ${entry.seq - 1} are missing`
      return { seq: seq + 1, kind: 'missing', text: gap }
    }
    if (entry.hash === auditHash(hash, entry)) return null
    return { seq: entry.seq, kind: 'changed', text: `entry ${entry.seq} was changed, or the one before it` }
  }
}

/** An entry as its hash covers it. */
export function hashedEntryOf(entry: AuditEntry): HashedEntry & { readonly hash: string } {
  return { ...entry, detailsJson: detailsJsonOf(entry) }
}
