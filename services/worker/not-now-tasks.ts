import type { Task } from '#fleet/task.ts'

/** Tasks that are remembered. One that is forgotten is only blamed on the place once more. */
const REMEMBERED_MAX = 500

/**
 * Tasks that their own command gave back. Once that is a word on the place; again, after other work went well there, it is one on the
 * task: the place is not to rest for it, and people are to be told.
 */
export class NotNowTasks {
  /** Whether other work went well here since, by task. */
  readonly #givenBack = new Map<string, boolean>()

  get tasks(): readonly string[] {
    return [...this.#givenBack.keys()]
  }

  /** Other work went well here. */
  noteWell(): void {
    for (const id of this.#givenBack.keys()) this.#givenBack.set(id, true)
  }

  /** Notes that its command gave a task back. Answers whether that says nothing of the place. */
  note({ id, attempts }: Pick<Task, 'id' | 'attempts'>): boolean {
    const isOfTask = this.#givenBack.get(id) === true || attempts.some(({ end }) => end === 'not_now')
    this.#givenBack.set(id, isOfTask)
    const [oldest] = this.#givenBack.keys()
    if (this.#givenBack.size > REMEMBERED_MAX && oldest !== undefined) this.#givenBack.delete(oldest)
    return isOfTask
  }
}
