import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { plain } from '#console/terminal-text.ts'
import { redact } from '#fleet/redact.ts'

/** Answers the fault of an answer, or null when it has none. */
export type Check = (answer: string) => string | null

/** Asks and informs the person at the terminal. Without a person it prints the same lines and asks nothing. */
export class Dialogue {
  readonly canAsk: boolean
  /** Aborts when the person or the system ends the command. */
  readonly signal: AbortSignal
  readonly #context: Pick<CommandContext, 'ask' | 'tell'>

  constructor(context: Pick<CommandContext, 'ask' | 'tell'>, canAsk: boolean, signal: AbortSignal) {
    this.#context = context
    this.canAsk = canAsk
    this.signal = signal
  }

  /** Prints lines that belong to the question before them. */
  say(...lines: readonly string[]): void {
    for (const line of lines) this.#context.tell(`  ${plain(redact(line))}\n`)
  }

  /** Asks until the answer is valid: a typing error costs one line, not all the answers before it. */
  async ask(question: string, check: Check = () => null): Promise<string> {
    for (;;) {
      const answer = this.signal.aborted ? null : await this.#context.ask(plain(redact(question)))
      if (answer === null) throw new Interrupted()
      const fault = check(answer.trim())
      if (fault === null) return answer.trim()
      this.say(fault)
    }
  }

  /** Asks for a yes or a no. Without a person the answer is no. */
  async confirm(question: string): Promise<boolean> {
    if (!this.canAsk) return false
    const answer = await this.ask(`${question} (yes, no) `, (word) =>
      /^(yes|no|y|n)$/i.test(word) ? null : 'yes or no',
    )
    return /^y/i.test(answer)
  }

  /** Throws when the command is being ended: the result of a step that was cut off means nothing. */
  throwIfInterrupted(): void {
    if (this.signal.aborted) throw new Interrupted()
  }
}

/** The person ended the dialogue before its last question. */
export class Interrupted extends UsageError {
  constructor() {
    super(
      'the questions were not answered',
      's2 init asks them again; s2 init --help names the options that answer them',
    )
  }
}
