import { join } from 'node:path'
import { textHead, textTail } from '#fleet/cut-text.ts'
import { parseSession, type SessionId } from '#fleet/session-id.ts'
import { PROGRESS_MAX, TAIL_MAX, TASK_ID } from '#fleet/task.ts'
import { isRunningHere, type NamespacedProcess, readNamespacedProcess } from '#runtime/process-life.ts'
import { type JsonFields, JsonFolder } from './json-folder.ts'

/** A task that `s2 work` runs: what runs inside it, as a client and its tools, finds by this that it speaks for that task. */
export interface RunningTask {
  readonly session: SessionId
  readonly task: string
  readonly epoch: number
  /** The process of `s2 work`. */
  readonly worker: NamespacedProcess
}

/** What the agent of a running task has said of it, all words together. */
export interface SaidOfTask {
  readonly session: SessionId
  readonly task: string
  readonly epoch: number
  /** How many words it said. */
  readonly count: number
  /** The line that people read; null: none yet. */
  readonly progress: string | null
  /** How the task ended, by the agent's word; null while it goes on. */
  readonly end: { readonly state: 'completed' | 'failed'; readonly words: string } | null
}

/**
 * The tasks that `s2 work` runs on this host, `STATE/agents/running/TASK.json`, and what was said of them from inside,
 * `STATE/agents/said/TASK.json`. The agent's own user may write here. Verbs throw `unavailable` when the disk refuses.
 */
export class RunningTasks {
  readonly #running: JsonFolder<RunningTask>
  readonly #said: JsonFolder<SaidOfTask>

  constructor(state: string) {
    const agents = join(state, 'agents')
    const nameOf = ({ task }: Pick<RunningTask, 'task'>): string => task
    this.#running = new JsonFolder<RunningTask>({
      path: join(agents, 'running'),
      holds: 'running tasks',
      parse: parseRunning,
      nameOf,
    })
    this.#said = new JsonFolder<SaidOfTask>({
      path: join(agents, 'said'),
      holds: 'words of agents',
      parse: parseSaid,
      nameOf,
    })
  }

  get saidFolder(): string {
    return this.#said.path
  }

  /** Notes that it runs, and forgets what was said at another epoch. */
  async begin(running: RunningTask): Promise<void> {
    const before = this.#said.find(running.task)
    if (before !== null && before.epoch !== running.epoch) await this.forget(before)
    await this.#said.ensure()
    await this.#running.put(running)
  }

  async end({ task }: Pick<RunningTask, 'task'>): Promise<void> {
    await this.#running.remove(task)
  }

  /** Those whose `s2 work` lives. */
  async list(): Promise<RunningTask[]> {
    return (await this.#running.list()).filter(({ worker }) => isRunningHere(worker) !== false)
  }

  /** Keeps what its agent says, in place of what it said before. */
  async say(said: SaidOfTask): Promise<void> {
    const { progress, end } = said
    await this.#said.put({
      ...said,
      progress: progress === null ? null : textHead(progress, PROGRESS_MAX),
      end: end === null ? null : { ...end, words: textTail(end.words, TAIL_MAX) },
    })
  }

  /** What was said of a task at this epoch; null: nothing. */
  said({ task, epoch }: Pick<RunningTask, 'task' | 'epoch'>): SaidOfTask | null {
    const said = TASK_ID.test(task) ? this.#said.find(task) : null
    return said?.epoch === epoch ? said : null
  }

  async allSaid(): Promise<SaidOfTask[]> {
    return await this.#said.list()
  }

  async forget({ task }: Pick<SaidOfTask, 'task'>): Promise<void> {
    await this.#said.remove(task)
  }
}

function parseRunning(fields: JsonFields): RunningTask | null {
  const worker = readNamespacedProcess(fields.worker)
  return worker === null ? null : { ...parseNamed(fields), worker }
}

function parseSaid(fields: JsonFields): SaidOfTask {
  const { count, progress, end } = fields
  const { state, words } = (end ?? {}) as JsonFields
  const isEnd = (state === 'completed' || state === 'failed') && typeof words === 'string'
  return {
    ...parseNamed(fields),
    count: isCount(count) ? count : 0,
    progress: typeof progress === 'string' ? textHead(progress, PROGRESS_MAX) : null,
    end: isEnd ? { state, words: textTail(words, TAIL_MAX) } : null,
  }
}

/** Throws where it names no task. */
function parseNamed({ session, task, epoch }: JsonFields): Pick<RunningTask, 'session' | 'task' | 'epoch'> {
  if (typeof task !== 'string' || !TASK_ID.test(task) || !isCount(epoch)) throw new Error('it names no task')
  parseSession(String(session))
  return { session: session as SessionId, task, epoch }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
