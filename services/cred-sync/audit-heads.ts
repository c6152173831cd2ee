import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type AuditHead, type HeadSigner, readHead, type SignedHead, signHead } from '#fleet/audit-head.ts'
import { type Identity, signBytes } from '#fleet/identity.ts'
import type { NewIncident } from '#fleet/incident.ts'
import type { GitPublisherParts } from '#git/git-publisher.ts'
import { Pauses } from '#runtime/backoff.ts'
import { boundedWait } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import type { HeadAddress } from '#runtime/setting-parsers.ts'
import { appendLine, formerOf } from '#spool/line-log.ts'
import type { Store } from '#store/store.ts'
import type { CredentialIncidents } from './credential-incidents.ts'
import { gitPlace, type HeadPlace, webhookPlace } from './head-places.ts'

const HEADS_EVERY_MS = 60_000
const SEND_TIMEOUT_MS = 20_000
const RETRY = { firstMs: 1_000, mostMs: HEADS_EVERY_MS, leastMs: 1_000 }
/** Bytes of the local file before it makes room: newer heads prove all that older ones do. */
const FILE_MAX = 4 * 1024 * 1024

export interface HeadParts {
  readonly clock: Clock
  readonly log: Log
  readonly draining: AbortSignal
  readonly incidents: Pick<CredentialIncidents, 'toggle'>
}

/**
 * Writes the end of the audit chain down every minute, signed, and sends it away: the issuer does, because it holds the key
 * that the fleet knows and the right to push, and the bridge, which writes the chain, holds neither.
 */
export class AuditHeads {
  readonly #file: string
  readonly #store: Pick<Store, 'auditHead'>
  readonly #sign: HeadSigner
  readonly #places: readonly HeadPlace[]
  readonly #parts: HeadParts
  readonly #sent = new Map<HeadPlace, number>()
  #last: SignedHead | null
  /** What people are to be told of. */
  #takenBack: NewIncident | null = null

  constructor(
    state: string,
    store: Pick<Store, 'auditHead'>,
    sign: HeadSigner,
    places: readonly HeadPlace[],
    parts: HeadParts,
  ) {
    this.#file = join(state, 'audit-heads.jsonl')
    this.#store = store
    this.#sign = sign
    this.#places = places
    this.#parts = parts
    this.#last = lastHead(this.#file)
  }

  /** Keeps the head of now where there is a new one; answers milliseconds until the next round. */
  async round(): Promise<number> {
    const head = await this.#store.auditHead()
    const last = this.#last
    if (last !== null && wasTakenBack(last, head)) {
      this.#parts.log.error('audit chain was taken back', { entry: head.seq, kept: last.seq })
      this.#takenBack = takenBack(last, head)
    }
    if (this.#takenBack !== null) await this.#parts.incidents.toggle(this.#takenBack, true)
    if (last === null || last.store !== head.store || last.hash !== head.hash) {
      const signed = signHead(head, this.#sign)
      await appendLine(this.#file, JSON.stringify(signed), FILE_MAX)
      this.#last = signed
    }
    await Promise.all(this.#places.map((place) => this.#send(place)))
    return HEADS_EVERY_MS
  }

  async #send(place: HeadPlace): Promise<void> {
    const head = this.#last
    if (head === null || this.#sent.get(place) === head.at) return
    const { clock, log, draining } = this.#parts
    try {
      await boundedWait((signal) => place.keep(head, signal), SEND_TIMEOUT_MS, clock, draining)
      this.#sent.set(place, head.at)
    } catch (error) {
      if (!draining.aborted) log.warn('audit head not kept, retrying', { place: place.name, entry: head.seq, error })
    }
  }
}

/** Signs the end of the audit trail every minute, and keeps it in the state folder and where the settings say. */
export function keepAuditHeads(state: string, addresses: readonly HeadAddress[], parts: KeepHeadsParts): Loop {
  const { clock, chance, log, draining, store, identity } = parts
  const places = addresses.map((each) => ('post' in each ? webhookPlace(each.post) : gitPlace(each.git, parts)))
  const heads = new AuditHeads(state, store, headSigner(identity), places, parts)
  const pauses = new Pauses(RETRY, chance)
  return new Loop({
    clock,
    signal: draining,
    step: async () => {
      const waitMs = await heads.round()
      pauses.succeeded()
      return waitMs
    },
    onError: (error) => {
      if (pauses.failures === 0) log.warn('audit head not written, retrying', { error })
      return pauses.failed()
    },
  })
}

export interface KeepHeadsParts extends HeadParts, GitPublisherParts {
  readonly store: Pick<Store, 'auditHead'>
  readonly identity: Identity
}

/** Signs heads by the orchestrator's key, which every host of the fleet knows. */
export function headSigner(identity: Identity): HeadSigner {
  return (bytes) => ({ key: identity.key, signature: signBytes(identity, bytes) })
}

/** Whether the chain does not hold the entry that the kept head names, as far as its own end tells. */
function wasTakenBack(last: SignedHead, head: AuditHead): boolean {
  return last.store === head.store && (last.seq > head.seq || (last.seq === head.seq && last.hash !== head.hash))
}

/** Each time is a cause of its own. A person ends it: nothing that the chain says later makes it good. */
function takenBack(last: SignedHead, head: AuditHead): NewIncident {
  const kept = `the head kept at ${new Date(last.at).toISOString()}`
  const found =
    last.seq > head.seq
      ? `the audit trail ends at entry ${head.seq}, and ${kept} names entry ${last.seq}`
      : `entry ${head.seq} of the audit trail is not the one that ${kept} names`
  const cause = `audit:taken_back:${last.seq}:${last.hash.slice(0, 8)}`
  return {
    cause,
    kind: 'audit',
    agent: null,
    summary: `${found}: unless you restored a backup, somebody put an older database in its place; compare with the kept heads by s2 audit verify (docs/operate.md, the audit trail), then s2 incident close ${cause}`,
  }
}

/** The newest that was kept; a crash may have cut the last line off, or come before the first one of a new file. */
function lastHead(file: string): SignedHead | null {
  for (const each of [file, formerOf(file)]) {
    const lines = existsSync(each) ? readFileSync(each, 'utf8').trimEnd().split('\n') : []
    const head = lines
      .reverse()
      .map(readHead)
      .find((found) => found !== null)
    if (head !== undefined) return head
  }
  return null
}
