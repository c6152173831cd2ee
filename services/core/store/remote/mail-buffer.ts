import type { StoredMessage } from '#fleet/message.ts'
import { MAIL_WINDOW } from './frames.ts'

const BATCH_MAX = MAIL_WINDOW / 2

/** Messages that wait for one reader: in order, each once. The cursor moves only when the reader takes a message. */
export class MailBuffer {
  #cursor: number
  #newest: number
  #waiting: StoredMessage[] = []
  #wake: PromiseWithResolvers<void> | null = null

  constructor(after: number) {
    this.#cursor = after
    this.#newest = after
  }

  /** The id of the last message taken. */
  get cursor(): number {
    return this.#cursor
  }

  get hasMail(): boolean {
    return this.#waiting.length > 0
  }

  /** Adds the next message; one that was added before is passed over. */
  put(message: StoredMessage): void {
    if (message.id <= this.#newest) return
    this.#newest = message.id
    this.#waiting.push(message)
    this.wake()
  }

  /** Takes the messages that wait, up to half the window: the bridge sends the other half meanwhile. */
  take(): readonly StoredMessage[] {
    const batch = this.#waiting.splice(0, BATCH_MAX)
    this.#cursor = batch.at(-1)?.id ?? this.#cursor
    return batch
  }

  /** Lets the reader look again. */
  wake(): void {
    this.#wake?.resolve()
    this.#wake = null
  }

  /** Settles when somebody wakes the reader, or the signal aborts. */
  async wait(signal: AbortSignal): Promise<void> {
    if (this.#waiting.length > 0 || signal.aborted) return
    this.#wake ??= Promise.withResolvers()
    const { promise } = this.#wake
    const onAbort = (): void => this.wake()
    signal.addEventListener('abort', onAbort, { once: true })
    await promise
    signal.removeEventListener('abort', onAbort) // a signal lives longer than a wait: listeners would pile up
  }
}
