import type { Report } from '#fleet/task.ts'
import { Pauses } from '#runtime/backoff.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { type AfterRefusal, isForForm, type ReportRefusal, withoutText } from './refused-reports.ts'

/** What became of a report that was put into the outbox. */
export type ReportOutcome = 'waiting' | 'carried' | 'unknown' | ReportRefusal

export interface EndReportParts {
  readonly clock: Clock
  readonly chance: Chance
  /** Keeps a report durably, and answers its name. */
  put(report: Report): Promise<string>
  outcome(name: string): Promise<ReportOutcome>
  onReported(): void
  onRefused(refusal: ReportRefusal, then: AfterRefusal): void
  onTrouble(error: unknown): void
  /** Aborts when the outbox alone is to go on with it. */
  readonly stopping: AbortSignal
}

/** The pauses between two looks at a report that waits in the outbox. */
const LOOK = { firstMs: 20, mostMs: 1_000, leastMs: 20 }

const LOST_SIGHT: ReportRefusal = {
  refused: 'the outbox does not know what became of the report',
  code: 'unknown_outcome',
}

/**
 * Reports the end of a task, and waits until it is sent. What is refused for its form is put again without its text; where not
 * even that is taken, the task is not to be taken again, since its next end would only be refused again.
 */
export async function reportEnd(report: Report, parts: EndReportParts): Promise<void> {
  let refusal = await carry(report, parts)
  if (refusal !== null && isForForm(refusal)) {
    parts.onRefused(refusal, 'told_without_text')
    refusal = await carry(withoutText(report, refusal), parts)
  }
  if (refusal === null) return
  parts.onRefused(refusal, isForForm(refusal) || refusal === LOST_SIGHT ? 'not_taken_again' : 'nothing')
}

/** Puts a report, and answers why it was refused; null where it was sent, or the outbox goes on alone. */
async function carry(report: Report, parts: EndReportParts): Promise<ReportRefusal | null> {
  // Where nobody knows what became of it, it is put again: a report that comes twice counts once.
  for (let tries = 0; tries < 2; tries += 1) {
    const outcome = await settled(await parts.put(report), parts)
    if (outcome === 'unknown') continue
    if (outcome === 'carried') parts.onReported()
    return typeof outcome === 'string' ? null : outcome
  }
  return LOST_SIGHT
}

/** Waits until a report waits no more, or until this program is to end. */
async function settled(name: string, parts: EndReportParts): Promise<ReportOutcome> {
  const { clock, chance, outcome, onTrouble, stopping } = parts
  const pauses = new Pauses(LOOK, chance)
  let isUnseen = false
  while (!stopping.aborted) {
    try {
      const found = await outcome(name)
      if (found !== 'waiting') return found
    } catch (error) {
      if (!isUnseen) onTrouble(error)
      isUnseen = true
    }
    await pauses.wait(clock, stopping)
  }
  return 'waiting'
}
