import { textHead, WHY_MAX } from '#fleet/cut-text.ts'
import { type Code, S2Error } from '#fleet/errors.ts'
import type { Report, Task, TaskResult } from '#fleet/task.ts'

/** Why the bridge refused a report. */
export interface ReportRefusal {
  readonly refused: string
  readonly code: Code
}

/**
 * What follows a refusal: the report is made again without its text, its task is not taken again in this run, or nothing. It is
 * expected where the task had been taken away.
 */
export type AfterRefusal = 'told_without_text' | 'not_taken_again' | 'nothing' | 'expected'

/** Whether a report is refused for what it looks like, and not for what it says: the task may be its holder's all the same. */
export function isForForm({ code }: { readonly code: Code }): boolean {
  return code === 'invalid' || code === 'too_large'
}

/** What can be told of an end whose report was refused for its form: all but its text, in plain ASCII. */
export function withoutText(report: Report, { refused, code }: ReportRefusal): Report {
  const { exitCode = null, signal = null } = report.result ?? {}
  const why = textHead(refused, WHY_MAX).replaceAll(/[^\x20-\x7e]/g, '?')
  const tail = `S2: ${howEnded({ exitCode, signal })}. The bridge refused the report with its output (${code}: ${why}); it is kept on the host of the worker, in outbox/refused.\n`
  // An older bridge knows no usage, and refuses the report for it.
  const { usage: _, ...rest } = report
  return { ...rest, progress: null, result: { exitCode, signal, tail } }
}

function howEnded({ exitCode, signal }: Pick<TaskResult, 'exitCode' | 'signal'>): string {
  if (signal !== null) return `ended by ${signal}`
  return exitCode === null ? 'ended without an exit code' : `ended with exit code ${exitCode}`
}

export interface ProgressReportsParts {
  readonly task: Pick<Task, 'id' | 'epoch'>
  report(report: Report): Promise<unknown>
  /** Called with the first refusal of a text. */
  onRefused(refusal: ReportRefusal): void
}

/**
 * The reports of progress on one task, which renew its lease. A text that is refused for its form is left out at once: the lease
 * matters more than the line.
 */
export class ProgressReports {
  readonly #parts: ProgressReportsParts
  #refusedLine: string | null = null
  #refusal: ReportRefusal | null = null

  constructor(parts: ProgressReportsParts) {
    this.#parts = parts
  }

  /** Why not even the last report, without a text, was taken; null where it was, or failed for another reason. */
  get refusal(): ReportRefusal | null {
    return this.#refusal
  }

  async send(line: string | null): Promise<void> {
    if (line === null || line === this.#refusedLine) return await this.#sendBare()
    try {
      await this.#report(line)
    } catch (error) {
      const refusal = formRefusalOf(error)
      if (refusal === null) throw error
      if (this.#refusedLine === null) this.#parts.onRefused(refusal)
      this.#refusedLine = line
      await this.#sendBare()
    }
  }

  async #sendBare(): Promise<void> {
    try {
      await this.#report(null)
    } catch (error) {
      this.#refusal = formRefusalOf(error)
      throw error
    }
  }

  async #report(progress: string | null): Promise<void> {
    const { task, report } = this.#parts
    await report({ task: task.id, epoch: task.epoch, state: 'in_progress', progress, result: null })
    this.#refusal = null
  }
}

function formRefusalOf(error: unknown): ReportRefusal | null {
  return error instanceof S2Error && isForForm(error) ? { refused: error.message, code: error.code } : null
}
