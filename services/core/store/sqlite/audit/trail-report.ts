import type { ChainHead } from '#fleet/audit.ts'
import { isHeadSigned, type SignedHead } from '#fleet/audit-head.ts'
import { ChainCheck, type ChainFault } from '#fleet/chain-check.ts'
import type { AuditRow } from '../tables/audit-chain.ts'

/** What going through a whole trail found. */
export interface TrailReport {
  /** Null where the trail does not say whose it is. */
  readonly store: string | null
  /** The first and the last entry that were gone through; 0 where there is none. */
  readonly first: number
  readonly last: number
  readonly entries: number
  /** The end of the chain. */
  readonly head: ChainHead
  /** Segments that were gone through. */
  readonly segments: number
  /** Ranges of foreign rows that were compared, their rows, and rows that no entry seals yet. */
  readonly foreign: { readonly ranges: number; readonly rows: number; readonly unsealed: number }
  /** Kept heads that match, and those from before what can be gone through. */
  readonly heads: { readonly matched: number; readonly unchecked: number }
  readonly faults: readonly ChainFault[]
  /** What is no fault, but for a person to know. */
  readonly notes: readonly string[]
}

/** A fault shows at every later entry of a broken trail: a hundred of them say enough. */
const FAULTS_MAX = 100

/** A chain that was given up by a restore: its entries after the backup, up to the last. */
interface GivenUp {
  readonly restored: AuditRow
  readonly upTo: number
}

/** Collects what is found on the way through a trail, entry by entry. */
export class TrailCheck {
  readonly #chain: ChainCheck
  readonly #heads = new Map<number, SignedHead[]>()
  readonly #store: string | null
  readonly #faults: ChainFault[] = []
  readonly #notes: string[] = []
  readonly #mismatched: SignedHead[] = []
  readonly #givenUp: GivenUp[] = []
  #first = 0
  #entries = 0
  #matched = 0
  #segments = 0
  #foreign = { ranges: 0, rows: 0, unsealed: 0 }

  /** `keys`: whose signatures count; null lets every key sign for itself. */
  constructor(start: ChainHead, store: string | null, heads: readonly SignedHead[], keys: ReadonlySet<string> | null) {
    this.#chain = new ChainCheck(start)
    this.#store = store
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
    const fault = this.#chain.take(row)
    if (fault !== null) this.fault(fault)
    if (this.#entries === 0) this.#first = row.seq
    this.#entries += 1
    for (const head of this.#heads.get(row.seq) ?? []) {
      if (head.hash === row.hash) this.#matched += 1
      else this.#mismatched.push(head)
    }
    if (row.action === 'database_restored') this.#noteRestored(row)
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
    return {
      store: this.#store,
      first: this.#first,
      last: head.seq,
      entries: this.#entries,
      head,
      segments: this.#segments,
      foreign: this.#foreign,
      heads: { matched: this.#matched, unchecked: kept.filter(({ seq }) => seq < this.#first).length },
      faults: this.#faults,
      notes: this.#notes,
    }
  }

  #noteRestored(row: AuditRow): void {
    const upTo = replacedEnd(row)
    if (upTo === null) this.unreadable(row)
    else this.#givenUp.push({ restored: row, upTo })
  }

  /** A restore gives up the end of a chain, and says so in the one that goes on. */
  #judgeHeads(beyond: readonly SignedHead[]): void {
    const explained = new Map<number, number>()
    for (const head of [...this.#mismatched, ...beyond]) {
      const restore = this.#givenUp.find(({ restored, upTo }) => restored.seq <= head.seq && head.seq <= upTo)
      if (restore !== undefined) {
        explained.set(restore.restored.seq, (explained.get(restore.restored.seq) ?? 0) + 1)
      } else if (head.seq > this.#chain.head.seq) {
        const text = `the chain ends at entry ${this.#chain.head.seq}, and a kept head of ${instant(head.at)} names entry ${head.seq}`
        this.fault({ seq: this.#chain.head.seq + 1, kind: 'rolled_back', text })
      } else {
        const text = `entry ${head.seq} is not the one that a kept head of ${instant(head.at)} names: history was rewritten at or before it`
        this.fault({ seq: head.seq, kind: 'rewritten', text })
      }
    }
    for (const [seq, count] of explained) {
      this.note(`${count} kept heads are of the chain that was given up by the restore in entry ${seq}`)
    }
  }
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

/** The last entry of the chain that a restore gave up. Where nobody could read it, any may have been. Null: it says neither. */
function replacedEnd(row: AuditRow): number | null {
  const details = detailsOf(row)
  if (details === null) return null
  const replaced = details.replaced as { readonly seq?: unknown } | null | undefined
  if (replaced === null || replaced === undefined) return Number.POSITIVE_INFINITY
  return Number.isSafeInteger(replaced.seq) ? (replaced.seq as number) : null
}

function instant(ms: number): string {
  return new Date(ms).toISOString()
}
