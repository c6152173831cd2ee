import { S2Error } from '#fleet/errors.ts'
import { type RunningTask, RunningTasks, type SaidOfTask } from '#spool/running-tasks.ts'
import type { Store } from '#store/store.ts'
import type { ReportedTask, TakenTask } from './member.ts'
import { STOP } from './refused-tasks.ts'

/** What an agent can say of the task that `s2 work` runs it for. `s2 work` holds the lease, and reports the end with what was used. */
export class TaskAtWork {
  readonly #tasks: RunningTasks

  constructor(state: string) {
    this.#tasks = new RunningTasks(state)
  }

  /** The task at hand. */
  async take(running: RunningTask, store: Store, id: string | null): Promise<TakenTask> {
    if (this.#said(running).end !== null) throw hasEnded(running)
    if (id !== null && id !== running.task) throw anotherIsAtHand(running, id)
    const task = await store.task(running.task)
    if (task.epoch !== running.epoch) {
      throw new S2Error('stale_epoch', `task ${task.id} is yours no more: it is at epoch ${task.epoch}`, { next: STOP })
    }
    return { task, renewal: '`s2 work`, which began it for you, renews the lease' }
  }

  /** Notes the line that people read, so that lines of output do not take its place. */
  async progress(running: RunningTask, line: string | null): Promise<void> {
    const said = this.#said(running)
    await this.#tasks.say({ ...said, count: said.count + 1, progress: line ?? said.progress })
  }

  /** Notes how it ended. The last word counts, until the turn has ended. */
  async end(running: RunningTask, state: 'completed' | 'failed', words: string): Promise<ReportedTask> {
    const said = this.#said(running)
    await this.#tasks.say({ ...said, count: said.count + 1, end: { state, words } })
    const { session, task, epoch } = running
    return { session, task, epoch, state: 'noted', why: null }
  }

  #said(running: RunningTask): SaidOfTask {
    const { session, task, epoch } = running
    return this.#tasks.said(running) ?? { session, task, epoch, count: 0, progress: null, end: null }
  }
}

function hasEnded({ task }: RunningTask): S2Error {
  return new S2Error('conflict', `you have ended task ${task}, and \`s2 work\` reports it when this turn has ended`, {
    next: 'end this turn: the next task comes by itself',
  })
}

function anotherIsAtHand({ task }: RunningTask, wanted: string): S2Error {
  return new S2Error('conflict', `\`s2 work\` runs task ${task} here, and no other beside it`, {
    next: `go on with ${task}; ${wanted} comes by itself when its turn has come`,
  })
}
