import type { Task } from '#fleet/task.ts'
import type { PlaceFault } from './place-fault.ts'

/** Quick failures in a row, of at least two tasks, by which the place is known to be sick. */
const ROW = 3

/**
 * The commands that failed within moments, in a row. One may be the fault of the place as well as of the task, so that another
 * agent is to try; several of different tasks show that it is the place.
 */
export class QuickFailures {
  readonly #withinMs: number
  #row: string[] = []

  /** `withinMs`: how soon a failure is quick; 0: none is. */
  constructor(withinMs: number) {
    this.#withinMs = withinMs
  }

  /** The tasks of the row. */
  get tasks(): readonly string[] {
    return [...new Set(this.#row)]
  }

  /**
   * Notes a run that succeeded or failed after so many milliseconds. Answers whether it was a quick failure. One of a task that
   * failed so at another agent too is the task's own: it neither prolongs the row nor ends it.
   */
  note(task: Pick<Task, 'id' | 'holder' | 'attempts'>, hasFailed: boolean, ms: number): boolean {
    const isQuick = hasFailed && ms < this.#withinMs
    if (!isQuick) this.#row = []
    else if (!hasFailedElsewhere(task)) this.#row.push(task.id)
    return isQuick
  }

  /** What the row shows of the place; null as long as it may be the tasks. `line` is the last that the command printed. */
  fault(line: string): PlaceFault | null {
    if (this.#row.length < ROW || this.tasks.length < 2) return null
    const said = line === '' ? '' : `: ${line}`
    const why = `its command failed within seconds ${this.#row.length} times in a row${said}`
    return { state: 'sick', why, until: null }
  }
}

/** Whether a task has failed within moments at another agent than its present one. */
export function hasFailedElsewhere({ attempts, holder }: Pick<Task, 'attempts' | 'holder'>): boolean {
  return attempts.some((each) => each.end === 'quick_failure' && each.holder !== holder)
}

/** Whether a task has failed within moments before, whoever had it. */
export function hasFailedQuickly({ attempts }: Pick<Task, 'attempts'>): boolean {
  return attempts.some(({ end }) => end === 'quick_failure')
}
