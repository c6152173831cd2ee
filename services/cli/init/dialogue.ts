import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { plain } from '#console/text.ts'
import { redact } from '#fleet/redact.ts'

/** What is wrong with an answer; null when nothing is. */
export type Check = (answer: string) => string | null

/** The talk with the person at the terminal. Where nobody is, what would be said is said and nothing is asked. */
export class Dialogue {
  readonly canAsk: boolean
  /** Aborts when the person or the system wants an end. */
  readonly signal: AbortSignal
  readonly #context: Pick<CommandContext, 'ask' | 'tell'>

  constructor(context: Pick<CommandContext, 'ask' | 'tell'>, canAsk: boolean, signal: AbortSignal) {
    this.#context = context
    this.canAsk = canAsk
    this.signal = signal
  }

  /** Says lines that belong to the question before them. */
  say(...lines: readonly string[]): void {
    for (const line of lines) this.#context.tell(`  ${plain(redact(line))}\n`)
  }

  /** Asks until the answer is one: a slip of the finger costs one line, not all that was answered before. */
  async ask(question: string, check: Check = () => null): Promise<string> {
    for (;;) {
      const answer = this.signal.aborted ? null : await this.#context.ask(plain(redact(question)))
      if (answer === null) throw new Interrupted()
      const fault = check(answer.trim())
      if (fault === null) return answer.trim()
      this.say(fault)
    }
  }

  /** Asks for a yes or a no; where nobody can be asked it is a no. */
  async agrees(question: string): Promise<boolean> {
    if (!this.canAsk) return false
    const answer = await this.ask(`${question} (yes, no) `, (word) =>
      /^(yes|no|y|n)$/i.test(word) ? null : 'yes or no',
    )
    return /^y/i.test(answer)
  }

  /** Throws where an end is wanted: what was cut off by it is no answer. */
  goOn(): void {
    if (this.signal.aborted) throw new Interrupted()
  }
}

/** The person left in the middle. */
export class Interrupted extends UsageError {
  constructor() {
    super(
      'the questions were not answered',
      's2 init asks them again; s2 init --help names the options that answer them',
    )
  }
}
