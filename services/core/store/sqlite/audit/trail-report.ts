import type { ChainHead } from '#fleet/audit.ts'
import { isHeadSigned, type SignedHead } from '#fleet/audit-head.ts'
import { signerOfRestore } from '#fleet/audit-restore.ts'
import { ChainCheck, type ChainFault } from '#fleet/chain-check.ts'
import type { AuditRow } from '../tables/audit-chain.ts'

/** `unproven`: without a fault, but heads were kept and none of them stands in it, so that it may be another chain. */
export type TrailVerdict = 'whole' | 'unproven' | 'altered'

/** What going through a whole trail found. */
export interface TrailReport {
  readonly verdict: TrailVerdict
  /** Null where the trail does not say whose it is. */
  readonly store: string | null
  /** The first and the last entry that were gone through; 0 where there is none. */
  readonly first: number
  readonly last: number
  readonly entries: number
  /** The end of the chain, and when its entry was made (milliseconds since 1970); null where there is none. */
  readonly head: ChainHead
  readonly endedAt: number | null
  /** Segments that were gone through. */
  readonly segments: number
  /** Ranges of foreign rows that were compared, their rows, and rows that no entry seals yet. */
  readonly foreign: { readonly ranges: number; readonly rows: number; readonly unsealed: number }
  /** Kept heads whose signature counts, those of them that match, and those from before what can be gone through. */
  readonly heads: { readonly kept: number; readonly matched: number; readonly unchecked: number }
  readonly faults: readonly ChainFault[]
  /** What is no fault, but for a person to know. */
  readonly notes: readonly string[]
}

/** A fault shows at every later entry of a broken trail: a hundred of them say enough. */
const FAULTS_MAX = 100

/** A chain that was given up by a restore: its entries after the backup, up to the last. */
interface GivenUp {
  readonly seq: number
  readonly at: number
  readonly upTo: number
  /** The key that signed the restore; null: nobody did, or not this one. */
  readonly signedBy: string | null
}

/** Collects what is found on the way through a trail, entry by entry. */
export class TrailCheck {
  readonly #chain: ChainCheck
  readonly #heads = new Map<number, SignedHead[]>()
  readonly #store: string | null
  readonly #keys: ReadonlySet<string> | null
  readonly #faults: ChainFault[] = []
  readonly #notes: string[] = []
  readonly #mismatched: SignedHead[] = []
  readonly #givenUp: GivenUp[] = []
  #first = 0
  #endedAt: number | null = null
  #entries = 0
  #matched = 0
  #segments = 0
  #foreign = { ranges: 0, rows: 0, unsealed: 0 }

  /** `keys`: whose signatures count; null lets every key sign for itself. */
  constructor(start: ChainHead, store: string | null, heads: readonly SignedHead[], keys: ReadonlySet<string> | null) {
    this.#chain = new ChainCheck(start)
    this.#store = store
    this.#keys = keys
    for (const head of heads) {
      const fault = headFault(head, store, keys)
      if (fault !== null) this.fault({ seq: head.seq, kind: 'head', text: fault })
      else this.#heads.set(head.seq, [...(this.#heads.get(head.seq) ?? []), head])
    }
  }

  /** The entry that is due. */
  get next(): number {
    return this.#chain.head.seq + 1
  }

  fault(fault: ChainFault): void {
    if (this.#faults.length < FAULTS_MAX) this.#faults.push(fault)
  }

  note(text: string): void {
    this.#notes.push(text)
  }

  take(row: AuditRow): void {
    if (row.action === 'database_restored') this.#noteRestored(row)
    const fault = this.#chain.take(row)
    if (fault !== null) this.fault(fault)
    if (this.#entries === 0) this.#first = row.seq
    this.#entries += 1
    this.#endedAt = row.at
    for (const head of this.#heads.get(row.seq) ?? []) {
      if (head.hash === row.hash) this.#matched += 1
      else this.#mismatched.push(head)
    }
  }

  /** The details of an entry are not those of its action: somebody other than S2 wrote them. */
  unreadable({ seq, action }: AuditRow): void {
    this.fault({ seq, kind: 'unreadable', text: `the details of entry ${seq} are none of ${action}` })
  }

  tookSegment(): void {
    this.#segments += 1
  }

  tookForeign(rows: number): void {
    this.#foreign.ranges += 1
    this.#foreign.rows += rows
  }

  leftUnsealed(rows: number): void {
    this.#foreign.unsealed = rows
  }

  report(): TrailReport {
    const { head } = this.#chain
    const kept = [...this.#heads.values()].flat()
    this.#judgeHeads(kept.filter(({ seq }) => seq > head.seq))
    const isProved = kept.length === 0 || this.#matched > 0
    return {
      verdict: this.#faults.length > 0 ? 'altered' : isProved ? 'whole' : 'unproven',
      store: this.#store,
      first: this.#first,
      last: head.seq,
      entries: this.#entries,
      head,
      endedAt: this.#endedAt,
      segments: this.#segments,
      foreign: this.#foreign,
      heads: {
        kept: kept.length,
        matched: this.#matched,
        unchecked: kept.filter(({ seq }) => seq < this.#first).length,
      },
      faults: this.#faults,
      notes: this.#notes,
    }
  }

  #noteRestored(row: AuditRow): void {
    const givenUp = givenUpBy(row, this.#store, this.#chain.head.hash)
    if (givenUp === null) this.unreadable(row)
    else this.#givenUp.push(givenUp)
  }

  /** A restore gives up the end of a chain, and says so in the one that goes on. */
  #judgeHeads(beyond: readonly SignedHead[]): void {
    const explained = new Map<number, number>()
    const unsigned = new Set<number>()
    for (const head of [...this.#mismatched, ...beyond]) {
      const restores = this.#givenUp.filter(({ seq, upTo }) => seq <= head.seq && head.seq <= upTo)
      const restore = restores.find((each) => this.#explains(each, head))
      if (restore !== undefined) {
        explained.set(restore.seq, (explained.get(restore.seq) ?? 0) + 1)
        continue
      }
      this.fault(faultOf(head, this.#chain.head.seq))
      for (const { seq, signedBy } of restores) if (!this.#counts(signedBy, head)) unsigned.add(seq)
    }
    for (const [seq, count] of explained) {
      this.note(`${count} kept heads are of the chain that was given up by the restore in entry ${seq}`)
    }
    for (const seq of unsigned) {
      this.note(
        `the restore in entry ${seq} is not signed by the orchestrator's key, so it explains no kept head: where it was yours, put the heads of before it away`,
      )
    }
  }

  /** Whoever can write the database can record a restore: one that is signed explains the heads that were signed before it. */
  #explains({ at, signedBy }: GivenUp, head: SignedHead): boolean {
    return head.at <= at && this.#counts(signedBy, head)
  }

  #counts(signedBy: string | null, head: SignedHead): boolean {
    return signedBy !== null && (this.#keys === null ? signedBy === head.key : this.#keys.has(signedBy))
  }
}

function faultOf({ seq, at }: SignedHead, end: number): ChainFault {
  if (seq > end) {
    const text = `the chain ends at entry ${end}, and a kept head of ${instant(at)} names entry ${seq}`
    return { seq: end + 1, kind: 'rolled_back', text }
  }
  const text = `entry ${seq} is not the one that a kept head of ${instant(at)} names: history was rewritten at or before it`
  return { seq, kind: 'rewritten', text }
}

function headFault(head: SignedHead, store: string | null, keys: ReadonlySet<string> | null): string | null {
  const which = `the kept head of entry ${head.seq}`
  if (!isHeadSigned(head)) return `${which} has a wrong signature`
  if (keys !== null && !keys.has(head.key)) return `${which} is signed by another key, ${head.key}`
  return store !== null && head.store !== store ? `${which} is of another store, ${head.store}` : null
}

/** The details of an entry; null where they are no JSON object. */
export function detailsOf({ detailsJson }: AuditRow): Readonly<Record<string, unknown>> | null {
  try {
    const details: unknown = JSON.parse(detailsJson)
    return typeof details === 'object' && !Array.isArray(details) ? (details as Record<string, unknown> | null) : null
  } catch {
    return null
  }
}

/** Where nobody could read the chain that was given up, it may have had any length. Null: the entry is none of a restore. */
function givenUpBy(row: AuditRow, store: string | null, previous: string): GivenUp | null {
  const { seq, at } = row
  const details = detailsOf(row)
  if (details === null) return null
  const replaced = (details.replaced ?? null) as ChainHead | null
  if (replaced !== null && !Number.isSafeInteger(replaced.seq)) return null
  const signedBy = signerOfRestore({ store: store ?? 'none', seq, at, previous, replaced }, details.signed)
  return { seq, at, upTo: replaced?.seq ?? Number.POSITIVE_INFINITY, signedBy }
}

function instant(ms: number): string {
  return new Date(ms).toISOString()
}
