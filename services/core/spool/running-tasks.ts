import { join } from 'node:path'
import { textHead, textTail } from '#fleet/cut-text.ts'
import { parseSession, type SessionId } from '#fleet/session-id.ts'
import { PROGRESS_MAX, TAIL_MAX, TASK_ID } from '#fleet/task.ts'
import { isRunningHere, type NamespacedProcess, readNamespacedProcess } from '#runtime/process-life.ts'
import { ensureFolder } from './atomic-files.ts'
import { OwnFolder } from './own-folder.ts'
import { diskError, parseObject } from './plain-file.ts'
import { codeOf } from './quarantine.ts'

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

/** Bytes of the largest file that is read. */
const FILE_MAX = 64_000
/** How many are looked at: a host runs no more. */
const FILES_MAX = 1_000
const ENDING = '.json'

/**
 * The tasks that `s2 work` runs on this host, `STATE/agents/running/TASK.json`, and what was said of them from inside,
 * `STATE/agents/said/TASK.json`, each replaced whole. The agent's own user may write here, so that what is no such file is passed
 * over. Verbs that write throw `unavailable` when the disk refuses.
 */
export class RunningTasks {
  readonly saidFolder: string
  readonly #runningFolder: string

  constructor(state: string) {
    this.#runningFolder = join(state, 'agents', 'running')
    this.saidFolder = join(state, 'agents', 'said')
  }

  /** Notes that it runs, and forgets what was said at another epoch. */
  async begin(running: RunningTask): Promise<void> {
    const before = this.#readSaid(running.task)
    if (before !== null && before.epoch !== running.epoch) await this.forget(before)
    await ensureFolder(this.saidFolder).catch((error) => {
      throw diskError('making the folder for words of agents', error)
    })
    await this.#put(this.#runningFolder, running)
  }

  async end({ task }: Pick<RunningTask, 'task'>): Promise<void> {
    await this.#remove(this.#runningFolder, task)
  }

  /** Those whose `s2 work` lives. */
  async list(): Promise<RunningTask[]> {
    const found = await readAll(this.#runningFolder, parseRunning)
    return found.filter(({ worker }) => isRunningHere(worker) !== false)
  }

  /** Keeps what its agent says, in place of what it said before. */
  async say(said: SaidOfTask): Promise<void> {
    const { progress, end } = said
    await this.#put(this.saidFolder, {
      ...said,
      progress: progress === null ? null : textHead(progress, PROGRESS_MAX),
      end: end === null ? null : { ...end, words: textTail(end.words, TAIL_MAX) },
    })
  }

  /** What was said of a task at this epoch; null: nothing. */
  said({ task, epoch }: Pick<RunningTask, 'task' | 'epoch'>): SaidOfTask | null {
    const said = this.#readSaid(task)
    return said?.epoch === epoch ? said : null
  }

  async allSaid(): Promise<SaidOfTask[]> {
    return await readAll(this.saidFolder, parseSaid)
  }

  async forget({ task }: Pick<SaidOfTask, 'task'>): Promise<void> {
    await this.#remove(this.saidFolder, task)
  }

  #readSaid(task: string): SaidOfTask | null {
    using folder = opened(this.saidFolder)
    return folder === null || !TASK_ID.test(task) ? null : readOne(folder, nameOf(task), parseSaid)
  }

  async #put(path: string, of: RunningTask | SaidOfTask): Promise<void> {
    try {
      await ensureFolder(path)
      using folder = OwnFolder.open(path)
      await folder.publish(nameOf(of.task), `${JSON.stringify(of)}\n`)
    } catch (error) {
      throw diskError(`noting what is said of task ${of.task}`, error)
    }
  }

  async #remove(path: string, task: string): Promise<void> {
    using folder = opened(path)
    await folder?.unlink(nameOf(task)).catch((error) => {
      if (codeOf(error) !== 'ENOENT') throw diskError(`letting go of task ${task}`, error)
    })
  }
}

function nameOf(task: string): string {
  return `${task}${ENDING}`
}

/** Null where it is not there, or is no folder. */
function opened(path: string): OwnFolder | null {
  try {
    return OwnFolder.open(path)
  } catch (error) {
    if (/^(ENOENT|invalid)$/.test(codeOf(error))) return null
    throw diskError('looking into a folder of agents', error)
  }
}

type Fields = Readonly<Record<string, unknown>>

async function readAll<T>(path: string, parse: (fields: Fields) => T | null): Promise<T[]> {
  using folder = opened(path)
  if (folder === null) return []
  const names = (await folder.names()).filter((name) => name.endsWith(ENDING) && !name.startsWith('.'))
  return names
    .sort()
    .slice(0, FILES_MAX)
    .flatMap((name) => readOne(folder, name, parse) ?? [])
}

/** Null for what is no such file. */
function readOne<T>(folder: OwnFolder, name: string, parse: (fields: Fields) => T | null): T | null {
  try {
    const text = folder.readSync(name, FILE_MAX)
    const fields = text === null ? {} : parseObject(text)
    return name === nameOf(String(fields.task)) ? parse(fields) : null
  } catch {
    return null
  }
}

function parseRunning(fields: Fields): RunningTask | null {
  const worker = readNamespacedProcess(fields.worker)
  return worker === null ? null : { ...parseNamed(fields), worker }
}

function parseSaid(fields: Fields): SaidOfTask {
  const { count, progress, end } = fields
  const { state, words } = (end ?? {}) as Fields
  const isEnd = (state === 'completed' || state === 'failed') && typeof words === 'string'
  return {
    ...parseNamed(fields),
    count: isCount(count) ? count : 0,
    progress: typeof progress === 'string' ? textHead(progress, PROGRESS_MAX) : null,
    end: isEnd ? { state, words: textTail(words, TAIL_MAX) } : null,
  }
}

/** Throws where it names no task. */
function parseNamed({ session, task, epoch }: Fields): Pick<RunningTask, 'session' | 'task' | 'epoch'> {
  if (typeof task !== 'string' || !TASK_ID.test(task) || !isCount(epoch)) throw new Error('it names no task')
  parseSession(String(session))
  return { session: session as SessionId, task, epoch }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}
