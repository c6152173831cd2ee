import type { SessionId } from '#fleet/session-id.ts'
import { WAKE_FAILED, WAKE_READ } from '#fleet/wake-acts.ts'
import { readCredentials } from '#spool/credentials.ts'
import type { Outbox } from '#spool/outbox.ts'

export interface WakeActsParts {
  /** The state folder, whose credentials say for whom this host speaks. */
  readonly state: string
  readonly outbox: Pick<Outbox, 'put'>
}

/** What an agent was to be woken for: how many messages wait, or the task that its client idles with. */
export type WakeMatter = { readonly messages: number } | { readonly task: string }

/** Tells the fleet that an agent of this host could not be woken, and that it was reached again, by the outbox of the host. */
export class WakeActs {
  readonly #parts: WakeActsParts

  constructor(parts: WakeActsParts) {
    this.#parts = parts
  }

  /** Answers whether it was told: nobody here speaks for an agent without a credential. Throws what the disk says. */
  async failed(sessions: readonly SessionId[], unwoken: WakeMatter, tried: string): Promise<boolean> {
    return await this.#tell(sessions, WAKE_FAILED, { ...unwoken, tried })
  }

  /** `task`: the one that its client idled with; null where it had mail. */
  async read(sessions: readonly SessionId[], task: string | null): Promise<boolean> {
    return await this.#tell(sessions, WAKE_READ, task === null ? {} : { task })
  }

  async #tell(sessions: readonly SessionId[], action: string, details: Record<string, unknown>): Promise<boolean> {
    const { state, outbox } = this.#parts
    const { credentials } = await readCredentials(state)
    const holder = credentials.find(({ session }) => sessions.includes(session))?.session
    if (holder === undefined) return false
    await outbox.put({ kind: 'act', holder, act: { action, details } })
    return true
  }
}
