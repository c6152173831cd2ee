import type { SessionId } from '#fleet/session-id.ts'
import type { Assignment, Revocation } from '#fleet/task-messages.ts'
import type { HeldTask } from '#spool/held-tasks.ts'

/** A task that mail of this host has assigned, as far as nothing here says that it was taken. */
export interface UntakenTask {
  readonly session: SessionId
  readonly task: string
  readonly epoch: number
}

/** Tasks that are remembered; the oldest go first. */
const TASKS_MAX = 1_000

/**
 * The tasks that the mail of this host assigned, and which of them nobody took here. What is settled stays known, as a message may come
 * again. A restart forgets them all: nobody is woken for one twice.
 */
export class UntakenTasks {
  readonly #tasks = new Map<string, UntakenTask & { readonly isSettled: boolean }>()

  /** Takes in what a message says; of two epochs of a task the later one counts. */
  hear(session: SessionId, { type, task, epoch }: Pick<Assignment | Revocation, 'type' | 'task' | 'epoch'>): void {
    const known = this.#tasks.get(keyOf({ session, task }))
    const said = { session, task, epoch: epoch ?? known?.epoch ?? 0 }
    if (known !== undefined && said.epoch < known.epoch) return
    if (type === 'task_revoked') this.#put(said, true)
    else if (known === undefined || said.epoch > known.epoch) this.#put(said, false)
  }

  /** Tasks that are held were taken. */
  see(held: readonly HeldTask[]): void {
    for (const each of held) {
      const known = this.#tasks.get(keyOf(each))
      if (known !== undefined && each.epoch >= known.epoch) this.settle(known)
    }
  }

  /** Nobody is to be woken for it. Another epoch that was assigned meanwhile stays. */
  settle(known: UntakenTask): void {
    if (this.has(known)) this.#put(known, true)
  }

  /** Whether it still counts as not taken. */
  has(known: UntakenTask): boolean {
    const found = this.#tasks.get(keyOf(known))
    return found?.epoch === known.epoch && !found.isSettled
  }

  list(): readonly UntakenTask[] {
    return [...this.#tasks.values()].filter(({ isSettled }) => !isSettled)
  }

  #put({ session, task, epoch }: UntakenTask, isSettled: boolean): void {
    this.#tasks.delete(keyOf({ session, task }))
    this.#tasks.set(keyOf({ session, task }), { session, task, epoch, isSettled })
    for (const oldest of [...this.#tasks.keys()].slice(0, -TASKS_MAX)) this.#tasks.delete(oldest)
  }
}

function keyOf({ session, task }: Pick<UntakenTask, 'session' | 'task'>): string {
  return `${session} ${task}`
}
