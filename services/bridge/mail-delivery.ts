import type { StoredMessage } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { Pauses } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { MAIL_WINDOW } from '#store/remote/frames.ts'
import type { Store } from '#store/store.ts'
import type { RequestErrorLog } from './request-error-log.ts'

export interface MailDeliveryParts {
  readonly session: SessionId
  readonly store: Pick<Store, 'mail'>
  readonly clock: Clock
  readonly chance: Chance
  readonly errors: RequestErrorLog
  /** Settles when the wire has room again; null while it has. */
  untilWireHasRoom(): Promise<void> | null
  send(message: StoredMessage): void
}

const RETRY = { firstMs: 100, mostMs: 5_000 }

/** Sends one joined session its mail, for as long as the join lasts: no more than its reader and the wire have room for. */
export class MailDelivery {
  readonly #parts: MailDeliveryParts
  readonly #ending = new AbortController()
  /** Ids of messages that were sent and not taken yet. */
  #untaken: number[] = []
  #room: PromiseWithResolvers<void> | null = null

  constructor(parts: MailDeliveryParts) {
    this.#parts = parts
  }

  /** Sends the messages after this one until `end`; retries where the store fails. */
  async run(after: number): Promise<void> {
    const { session, store, clock, chance, errors } = this.#parts
    const { signal } = this.#ending
    let cursor = after
    const pauses = new Pauses(RETRY, chance)
    while (!signal.aborted) {
      try {
        for await (const batch of store.mail(session, cursor, signal)) {
          for (const message of batch) {
            await this.#push(message)
            if (signal.aborted) return
            cursor = message.id
          }
          pauses.succeeded()
        }
      } catch (error) {
        if (!signal.aborted) errors.report(error, 'mail', session)
      }
      await pauses.wait(clock, signal)
    }
  }

  /** The reader has taken all mail up to this id. */
  taken(upTo: number): void {
    this.#untaken = this.#untaken.filter((id) => id > upTo)
    if (this.#untaken.length < MAIL_WINDOW) this.#wake()
  }

  end(): void {
    this.#ending.abort()
    this.#wake()
  }

  /** Sends one message when there is room for it: in the reader's window, and on the wire. */
  async #push(message: StoredMessage): Promise<void> {
    while (!this.#ending.signal.aborted) {
      const roomComes = this.#untilTaken() ?? this.#parts.untilWireHasRoom()
      if (roomComes === null) {
        this.#untaken.push(message.id)
        this.#parts.send(message)
        return
      }
      await roomComes
    }
  }

  #untilTaken(): Promise<void> | null {
    if (this.#untaken.length < MAIL_WINDOW) return null
    this.#room ??= Promise.withResolvers()
    return this.#room.promise
  }

  #wake(): void {
    this.#room?.resolve()
    this.#room = null
  }
}
