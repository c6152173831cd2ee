import { appendFileSync, closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type HeadSigner, readHead, type SignedHead, signHead } from '#fleet/audit-head.ts'
import { type Identity, signBytes } from '#fleet/identity.ts'
import type { GitPublisherParts } from '#git/git-publisher.ts'
import { Pauses } from '#runtime/backoff.ts'
import { boundedWait } from '#runtime/bounded-wait.ts'
import type { Clock } from '#runtime/clock.ts'
import { httpExchange } from '#runtime/http-exchange.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import type { HeadAddress } from '#runtime/setting-parsers.ts'
import type { Store } from '#store/store.ts'
import { gitPlace } from './git-head-place.ts'

const HEADS_EVERY_MS = 60_000
const SEND_TIMEOUT_MS = 20_000
const RETRY = { firstMs: 1_000, mostMs: HEADS_EVERY_MS, leastMs: 1_000 }
/** Bytes of the local file before it makes room: newer heads prove all that older ones do. */
const FILE_MAX = 4 * 1024 * 1024

/** Where heads are kept off this machine. */
export interface HeadPlace {
  readonly name: string
  /** Keeps a head there; rejects when it was not taken. */
  keep(head: SignedHead, signal: AbortSignal): Promise<void>
}

export interface HeadParts {
  readonly clock: Clock
  readonly log: Log
  readonly draining: AbortSignal
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
    if (last !== null && last.store === head.store && last.seq > head.seq) {
      this.#parts.log.error('audit chain was taken back', { entry: head.seq, kept: last.seq })
    }
    if (last === null || last.store !== head.store || last.hash !== head.hash) {
      this.#last = signHead(head, this.#sign)
      appendLine(this.#file, JSON.stringify(this.#last))
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

/** Posts heads as JSON; only an answer of 2xx says that one was taken. Errors do not tell the address, which may be secret. */
export function webhookPlace(url: URL): HeadPlace {
  return {
    name: 'webhook',
    keep: async (head, signal) => {
      const asked = { to: url, method: 'POST' as const, body: JSON.stringify(head), answerMax: 65_536 }
      const { status } = await httpExchange(asked, signal).catch((error: NodeJS.ErrnoException) => {
        throw new Error(`the webhook was not reached: ${error.code ?? error.name}`)
      })
      if (status < 200 || status > 299) throw new Error(`the webhook did not take it: status ${status}`)
    },
  }
}

/** Signs the end of the audit trail every minute, and keeps it in the state folder and where the settings say. */
export function keepAuditHeads(state: string, addresses: readonly HeadAddress[], parts: KeepHeadsParts): Loop {
  const { clock, chance, log, draining, store, identity } = parts
  const places = addresses.map((each) => ('post' in each ? webhookPlace(each.post) : gitPlace(each.git, parts)))
  const heads = new AuditHeads(state, store, headSigner(identity), places, { clock, log, draining })
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

function lastHead(file: string): SignedHead | null {
  if (!existsSync(file)) return null
  return readHead(readFileSync(file, 'utf8').trimEnd().split('\n').at(-1) ?? '')
}

function appendLine(file: string, line: string): void {
  const bytes = statSync(file, { throwIfNoEntry: false })?.size ?? 0
  if (bytes > FILE_MAX) renameSync(file, `${file}.1`)
  const handle = openSync(file, 'a', 0o600)
  try {
    appendFileSync(handle, `${line}\n`)
    fsyncSync(handle)
  } finally {
    closeSync(handle)
  }
}
